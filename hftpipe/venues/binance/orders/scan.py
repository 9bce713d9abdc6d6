"""What Binance says about our orders, as facts: the one function that reads a message of any kind.

Keys may come in any order, and unknown ones are stepped over.
"""

import numpy as np

from hftpipe.core.machine.jit import entry, jit
from hftpipe.core.machine.json_text import find_member, key_code, next_member, open_object, read_integer, text_code
from hftpipe.core.machine.mem import ZERO, store_release, view
from hftpipe.core.schema.layout import offset_of
from hftpipe.venues.binance.orders.answers import read_answer
from hftpipe.venues.binance.orders.events import SPOTS_BYTES, read_event
from hftpipe.venues.orders.facts import fact_clear
from hftpipe.venues.orders.state import ACCOUNT

__all__ = ["SPOTS_BYTES", "scan", "scan_entry"]

_ID, _STATUS, _RESULT, _ERROR, _EVENT, _DATA, _E, _O = (
    key_code(key) for key in ("id", "status", "result", "error", "event", "data", "e", "o")
)
_EXECUTION_REPORT, _ORDER_UPDATE, _KEY_EXPIRED, _STREAM_ENDED = (
    key_code(text) for text in ("executionReport", "ORDER_TRADE_UPDATE", "listenKeyExpired", "eventStreamTerminated")
)
_SESSION = np.uint64(offset_of(ACCOUNT, "session"))


@jit
def scan(account, text, end, fact):
    """Read a message in ``[text, end)``: 1 if it is a fact (at ``fact``) about one of our orders, else 0."""
    a = view(account, ACCOUNT)
    fact_clear(fact)
    id_at = id_after = result = error = event = order = ZERO
    status, kind = np.int64(0), ZERO
    at = open_object(text, end)
    while at != ZERO:
        code, value, after, at = next_member(at, end)
        if at == ZERO:
            break
        if code == _ID:
            id_at, id_after = value, after
        elif code == _STATUS:
            _is_read, status = read_integer(value, after)
        elif code == _RESULT:
            result = value
        elif code == _ERROR:
            error = value
        elif code in (_EVENT, _DATA):
            event = value
        elif code == _E:
            kind = text_code(value, after)
        elif code == _O:
            order = value
    if event != ZERO:
        value, after = find_member(event, end, _E)
        kind = text_code(value, after)
        order, _after = find_member(event, end, _O)
    elif kind != ZERO:
        event = text
    if event == ZERO:
        return np.int64(id_at != ZERO and read_answer(a, id_at, id_after, status, result, error, end, fact))
    if kind == _EXECUTION_REPORT:
        return np.int64(read_event(account, event, end, fact))
    if kind == _ORDER_UPDATE and order != ZERO:
        return np.int64(read_event(account, order, end, fact))
    if kind in (_KEY_EXPIRED, _STREAM_ENDED):
        # Nothing more comes over this connection: the threads beside open another one.
        store_release(account + _SESSION, ZERO)
    return np.int64(0)


@entry("int64(uint64, uint64, uint64, uint64)")
def scan_entry(account, text, end, fact):
    """:func:`scan` with a C address."""
    return scan(account, text, end, fact)
