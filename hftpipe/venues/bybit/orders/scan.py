"""What Bybit says about our orders, as facts: the one function that reads a message of any kind, or what is left of one."""

import numpy as np

from hftpipe.core.machine.jit import entry, jit
from hftpipe.core.machine.json_text import key_code, next_member, open_object, read_integer, text_code
from hftpipe.core.machine.mem import ONE, ZERO, load_u8, store_release, view
from hftpipe.core.schema.layout import offset_of
from hftpipe.venues.bybit.orders.answers import read_answer
from hftpipe.venues.bybit.orders.topics import read_items
from hftpipe.venues.orders.facts import fact_clear
from hftpipe.venues.orders.state import ACCOUNT

_REQ_ID, _RET_CODE, _HEADER, _TOPIC, _DATA = (key_code(key) for key in ("reqId", "retCode", "header", "topic", "data"))
_TAILS = ("", ".spot", ".linear")
_ORDER_TOPICS = np.array([key_code(f"order{tail}") for tail in _TAILS], np.uint64)
_EXECUTION_TOPICS = np.array([key_code(f"execution{tail}") for tail in _TAILS], np.uint64)
_LIST = np.uint8(ord("["))
_SESSION = np.uint64(offset_of(ACCOUNT, "session"))
#: The server restarts.
RESTARTING = 10019
SCAN_BYTES = 64


@jit
def _is_topic(code, topics):
    return code in (topics[0], topics[1], topics[2])


@jit
def scan(account, text, end, fact):
    """Read a message in ``[text, end)``, or what is left of one: 1 if it has a fact about one of our orders, else 0."""
    a = view(account, ACCOUNT)
    if a.more != ZERO:
        return np.int64(read_items(a, a.more, end, fact, a.more_kind != 0))
    fact_clear(fact)
    id_at = id_after = header = data = topic = ZERO
    code = np.int64(0)
    at = open_object(text, end)
    while at != ZERO:
        key, value, after, at = next_member(at, end)
        if at == ZERO:
            break
        if key == _REQ_ID:
            id_at, id_after = value, after
        elif key == _RET_CODE:
            is_read, code = read_integer(value, after)
            code = code if is_read else np.int64(10000)
        elif key == _HEADER:
            header = value
        elif key == _TOPIC:
            topic = text_code(value, after)
        elif key == _DATA:
            data = value
    if topic == ZERO:
        if code == RESTARTING:
            # It takes no more requests on this connection: what is under way is asked about when there is another one.
            store_release(account + _SESSION, ZERO)
        return np.int64(id_at != ZERO and read_answer(a, id_at, id_after, code, header, end, fact))
    is_execution = _is_topic(topic, _EXECUTION_TOPICS)
    if data == ZERO or load_u8(data) != _LIST or not (is_execution or _is_topic(topic, _ORDER_TOPICS)):
        return np.int64(0)
    a.more_kind = np.int64(is_execution)
    return np.int64(read_items(a, data + ONE, end, fact, is_execution))


@entry("int64(uint64, uint64, uint64, uint64)")
def scan_entry(account, text, end, fact):
    """:func:`scan` with a C address."""
    return scan(account, text, end, fact)
