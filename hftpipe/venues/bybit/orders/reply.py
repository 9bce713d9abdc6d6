"""Answers of Bybit's REST interface to our requests, as facts: receipts, or refusals by ``retCode``, with HTTP 200 for both (3, 4.1).

====================================== ========================================================================================
answer                                 what it means
====================================== ========================================================================================
200 with ``retCode``                   a receipt, or refused as the code says (:mod:`hftpipe.venues.bybit.orders.errors`); too many
                                       visits: nothing new before ``X-Bapi-Limit-Reset-Timestamp``
429, 403                               nothing was done; nothing at all is sent before ``Retry-After`` (REST_S where there is none)
other, and what cannot be read         nobody knows: asked about
====================================== ========================================================================================
"""

import numpy as np

from hftpipe.core.machine.jit import entry, jit
from hftpipe.core.machine.json_text import find_member, key_code, read_integer
from hftpipe.core.machine.mem import ZERO, view
from hftpipe.transport.http.response import RESPONSE
from hftpipe.venues.bybit.orders.answers import read_outcome
from hftpipe.venues.orders.errors import PAUSE
from hftpipe.venues.orders.facts import PLACE, fact_clear
from hftpipe.venues.orders.state import ACCOUNT, CALL
from hftpipe.venues.orders.windows import note_left, pause_until, rest_for

#: Whose numbers are asked for: a rest, s; requests of this kind that are allowed within a second, how many are left, and from when
#: on they are allowed again (ms).
HEADERS = ("Retry-After", "X-Bapi-Limit", "X-Bapi-Limit-Status", "X-Bapi-Limit-Reset-Timestamp")
_RETRY_AFTER, _LIMIT, _LEFT, _RESET = range(4)
#: Statuses that ask for a rest, and how long a one, s, where no header says it: 403 is what an address gets that asks too often (8).
REST_S = {429: 60, 403: 600}
_REST_STATUSES, _REST_SECONDS = np.array(list(REST_S), np.int64), np.array(list(REST_S.values()), np.int64)
_FINE, _TOO_MANY, _UNKNOWN = 200, np.int64(429), np.int64(10000)
_RET_CODE = key_code("retCode")


@jit
def _code_of(r):
    """What the answer says, as a code of the venue's; one that says nothing is its time-out."""
    value, after = find_member(r.body, r.body_end, _RET_CODE)
    is_read, code = read_integer(value, after) if value != ZERO else (False, np.int64(0))
    return code if is_read and r.status == _FINE else _UNKNOWN


@jit
def reply(account, call, response, fact):
    """The answer in the RESPONSE at ``response`` to the request in the CALL at ``call``: 1, a FACT is at ``fact``."""
    a, c, r = view(account, ACCOUNT), view(call, CALL), view(response, RESPONSE)
    fact_clear(fact)
    code = _code_of(r)
    for index in range(len(_REST_STATUSES)):
        if r.status == _REST_STATUSES[index]:
            said, code = r.values[_RETRY_AFTER], _TOO_MANY
            rest_for(a, said if said > 0 else _REST_SECONDS[index])
    action = read_outcome(a, c.id, c.what, c.number, code, fact)
    if action == PAUSE and r.values[_RESET] > 0:
        pause_until(a, r.values[_RESET])
    if c.what == PLACE:
        # Changes and cancels have counts of their own.
        note_left(a, r.values[_LIMIT], r.values[_LEFT])
    return np.int64(1)


@entry("int64(uint64, uint64, uint64, uint64)")
def reply_entry(account, call, response, fact):
    """:func:`reply` with a C address."""
    return reply(account, call, response, fact)
