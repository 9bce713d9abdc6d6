"""Answers of Binance's REST interface to our requests, as facts; and what their headers say about how much may be asked (1.8).

====================================== ========================================================================================
answer                                 what it means
====================================== ========================================================================================
200 with an order                      done
4xx with a code                        refused, as the code says (:mod:`hftpipe.venues.binance.orders.errors`)
429, 418, 403                          nothing was done; nothing at all is sent before ``Retry-After`` (REST_S where there is none),
                                       but for -1015, which is about new orders alone
408, 5xx, what cannot be read          nobody knows: asked about
====================================== ========================================================================================
"""

import numpy as np

from hftpipe.core.machine.jit import entry, jit
from hftpipe.core.machine.json_text import open_object
from hftpipe.core.machine.mem import ZERO, view
from hftpipe.transport.http.response import RESPONSE
from hftpipe.venues.binance.orders.answers import read_outcome
from hftpipe.venues.orders.facts import FACT, fact_clear
from hftpipe.venues.orders.state import ACCOUNT, CALL
from hftpipe.venues.orders.windows import note_count, pause_for, rest_for

#: Whose numbers are asked for: a rest, s; weight used this minute; orders counted in each window, whose lengths (ms) follow.
HEADERS = (
    "Retry-After", "X-MBX-USED-WEIGHT-1M", "X-MBX-ORDER-COUNT-10S", "X-MBX-ORDER-COUNT-1M", "X-MBX-ORDER-COUNT-1D",
)  # fmt: skip
_RETRY_AFTER, _WEIGHT, _COUNTS = 0, 1, 2
_LENGTHS_MS = np.array([10_000, 60_000, 86_400_000], np.int64)
#: Statuses that ask for a rest, and how long a one, s, where no header says it.
REST_S = {429: 60, 418: 120, 403: 300}
_REST_STATUSES, _REST_SECONDS = np.array(list(REST_S), np.int64), np.array(list(REST_S.values()), np.int64)
_FINE, _TOO_MANY_ORDERS = 200, -1015


@jit
def _heed(a, r, code):
    """What an answer says about what may be sent from now on."""
    if r.values[_WEIGHT] >= 0:
        a.weight_used = r.values[_WEIGHT]
    for index in range(len(_LENGTHS_MS)):
        note_count(a, _LENGTHS_MS[index], r.values[_COUNTS + index])
    for index in range(len(_REST_STATUSES)):
        if r.status == _REST_STATUSES[index]:
            said = r.values[_RETRY_AFTER]
            seconds = said if said > 0 else _REST_SECONDS[index]
            if code == _TOO_MANY_ORDERS:
                pause_for(a, seconds)
            else:
                rest_for(a, seconds)


@jit
def reply(account, call, response, fact):
    """The answer in the RESPONSE at ``response`` to the request in the CALL at ``call``: 1, a FACT is at ``fact``."""
    a, c, r = view(account, ACCOUNT), view(call, CALL), view(response, RESPONSE)
    fact_clear(fact)
    body = r.body if open_object(r.body, r.body_end) != ZERO else ZERO
    result, error = (body, ZERO) if r.status == _FINE else (ZERO, body)
    read_outcome(a, c.id, c.what, c.number, r.status, result, error, r.body_end, fact)
    _heed(a, r, view(fact, FACT).code)
    return np.int64(1)


@entry("int64(uint64, uint64, uint64, uint64)")
def reply_entry(account, call, response, fact):
    """:func:`reply` with a C address."""
    return reply(account, call, response, fact)
