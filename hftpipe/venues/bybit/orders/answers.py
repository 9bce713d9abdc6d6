"""Answers of Bybit's interface for orders, as facts (4.3): one without an error is a receipt and nothing more."""

import numpy as np

from hftpipe.core.machine.jit import jit
from hftpipe.core.machine.json_text import inside_string, key_code, next_member, open_object, read_integer
from hftpipe.core.machine.mem import ZERO, view
from hftpipe.venues.bybit.orders.errors import WRONG_TIME
from hftpipe.venues.orders.errors import PAUSE, REJECT, look_up
from hftpipe.venues.orders.facts import FACT
from hftpipe.venues.orders.reading import begin_outcome, refuse
from hftpipe.venues.orders.requests import read_request_id
from hftpipe.venues.orders.windows import pause_until, pause_window

_RESET = key_code("X-Bapi-Limit-Reset-Timestamp")


@jit
def _pause(a, header, end):
    """The venue says in the header when it takes requests again."""
    at = open_object(header, end)
    while at != ZERO:
        code, value, after, at = next_member(at, end)
        if at != ZERO and code == _RESET:
            is_read, until_ms = read_integer(value, after)
            if is_read:
                pause_until(a, until_ms)


@jit
def read_outcome(a, id_, what, number, code, fact):
    """What became of a request, as a fact, by the venue's code: it was of an order (its client id), of a kind (PLACE and so on), and had
    a number. What is done about a refusal; of none, REJECT."""
    begin_outcome(a, id_, what, number, fact)
    if code == 0:
        return np.int64(REJECT)
    f = view(fact, FACT)
    f.code = code
    a.wrong_times += np.int64(code in WRONG_TIME)
    action, reason = look_up(a.errors, a.n_errors, code)
    if action == PAUSE:
        pause_window(a)
    refuse(f, action, reason)
    return action


@jit
def read_answer(a, id_at, id_after, code, header, end, fact):
    """A receipt, or a refusal; whether it is about an order."""
    text, length = inside_string(id_at, id_after)
    id_, what, number = read_request_id(text, length)
    if what < 0:
        return False
    if read_outcome(a, id_, what, number, code, fact) == PAUSE and header != ZERO:
        _pause(a, header, end)
    return True
