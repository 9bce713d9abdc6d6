"""Requests over REST from compiled code: a few kept connections, on each one request at a time.

::

    template, signature ─▶ a free connection ─▶ its answer, by whose connection it is known which request it answers
                               │ none: a new order is not taken      │ the connection ends first, or nothing comes for ANSWER_NS
                               │ one is kept for cancels             ▼
                               ▼                                nobody knows what became of it: it is asked about
                           cancels go by the threads beside

Connections are opened by Python (:mod:`hftpipe.transport.http.pool`); that the venue closes one on which nothing is under way is
seen before the next request, and is no fault.
"""

import numpy as np

from hftpipe.core.machine.jit import jit
from hftpipe.core.machine.mem import U64, ZERO, call_words, store_release, view
from hftpipe.core.schema import reasons
from hftpipe.core.schema.layout import offset_of
from hftpipe.core.trading.order_table import ORDER, is_open, order_find
from hftpipe.transport.http.exchange import is_still_there, next_response
from hftpipe.transport.http.response import WHOLE
from hftpipe.transport.websocket.link import ENDED, LINK, LINK_BYTES, OPEN, SILENT, end_link, receive
from hftpipe.transport.websocket.sending import SENT, send_whole
from hftpipe.venues.orders.apply import ask
from hftpipe.venues.orders.errors import ASK
from hftpipe.venues.orders.facts import (
    ASK_CANCEL,
    CANCEL_IT,
    FACT,
    PLACE,
    REFUSED,
    REQUEST_OF,
    fact_clear,
)
from hftpipe.venues.orders.state import ACCOUNT, ACKED, CALL, CALL_BYTES, FACT_AT, RESPONSE_AT
from hftpipe.venues.orders.windows import is_resting

#: A connection on which an answer has not come for so long is of no use any more.
ANSWER_NS = np.int64(5_000_000_000)
#: Connections on which nothing was asked are looked at so often, so that they are open again before they are needed.
IDLE_LOOK_NS = np.int64(1_000_000)
NONE = -1
_BUSY = np.uint64(offset_of(CALL, "busy"))


@jit
def _link(a, index):
    return a.call_links + U64(LINK_BYTES * index)


@jit
def _call(a, index):
    return a.calls + U64(CALL_BYTES * index)


# --- asking ------------------------------------------------------------------------------------------------------------------


@jit
def _free(a, spare):
    """A connection on which nothing is under way, if there are more than ``spare`` of them; else NONE."""
    found, count = np.int64(NONE), np.int64(0)
    for index in range(a.n_calls):
        if view(_call(a, index), CALL).busy == 0 and view(_link(a, index), LINK).state == OPEN:
            found = np.int64(index) if found == NONE else found
            count += 1
    return found if count > spare else np.int64(NONE)


@jit
def free_connection(a, what, now_ns):
    """The connection for a request; NONE: there is none, or the venue has demanded a rest."""
    if is_resting(a, now_ns):
        return np.int64(NONE)
    for _ in range(a.n_calls):
        index = _free(a, np.int64(what != CANCEL_IT))
        if index == NONE:
            break
        if is_still_there(_link(a, index), now_ns):
            return index
    a.crowded += np.int64(what != CANCEL_IT)
    return np.int64(NONE)


@jit
def send_call(a, index, what, o, text, length, now_ns):
    """Send a request about an order on a free connection: SENT, NOT_SENT or LOST. Its number is the account's last one."""
    c = view(_call(a, index), CALL)
    sent = send_whole(_link(a, index), text, length)
    if sent == SENT:
        c.id, c.what, c.number, c.sent_ns = o.id, what, a.requests, now_ns
        c.busy = 1
    return sent


# --- what comes of it --------------------------------------------------------------------------------------------------------


@jit
def _is_lost(account, call, fact):
    """Nobody will say what became of a request: whether that makes a FACT of it."""
    a, c, f = view(account, ACCOUNT), view(call, CALL), view(fact, FACT)
    a.calls_lost += 1
    slot = order_find(a.table, c.id)
    if slot == ZERO or not is_open(view(slot, ORDER).state):
        return False
    if c.what == PLACE and view(slot, ORDER).user & ACKED != 0:
        # It is there, as its event has said.
        return False
    if c.what == CANCEL_IT and ask(account, slot, np.int64(ASK_CANCEL)):
        # A cancel that is told twice does no harm.
        return False
    fact_clear(fact)
    f.id, f.request, f.number, f.cum = c.id, REQUEST_OF[c.what], c.number, -1
    f.kind, f.action, f.reason = REFUSED, np.uint8(ASK), np.uint8(reasons.VENUE_BUSY)
    return True


@jit
def _next_answer(account, index):
    """What has come of the request on a connection: 1: a FACT, 0: no more is to be said, NONE: nothing yet."""
    a = view(account, ACCOUNT)
    link, call = _link(a, index), _call(a, index)
    if view(call, CALL).busy == 0:
        return np.int64(NONE)
    found = next_response(link, account + RESPONSE_AT, a.headers, a.n_headers)
    if found == WHOLE:
        a.messages += 1
        told = np.int64(call_words(a.reply, (account, call, account + RESPONSE_AT, account + FACT_AT)))
        a.facts_told += told
    elif view(link, LINK).state == ENDED:
        told = np.int64(_is_lost(account, call, account + FACT_AT))
    else:
        return np.int64(NONE)
    # From now on the connection may be used again, or be opened again by the threads beside.
    store_release(call + _BUSY, ZERO)
    return told


@jit
def next_answer(account):
    """The next thing that has come over REST: 1: a FACT, in the account's memory; 0: something without one; NONE: nothing."""
    for index in range(view(account, ACCOUNT).n_calls):
        told = _next_answer(account, index)
        if told != NONE:
            return told
    return np.int64(NONE)


@jit
def receive_answers(account, now_ns):
    """Take what the sockets have; how many bytes came."""
    a, got = view(account, ACCOUNT), np.int64(0)
    is_idle_due = now_ns >= a.idle_ns
    if is_idle_due:
        a.idle_ns = now_ns + IDLE_LOOK_NS
    for index in range(a.n_calls):
        link = _link(a, index)
        if view(link, LINK).state != OPEN:
            continue
        if view(_call(a, index), CALL).busy != 0:
            got += receive(link, now_ns)
        elif is_idle_due:
            is_still_there(link, now_ns)
    return got


@jit
def mind_calls(account, now_ns):
    """End connections on which an answer has not come for too long."""
    a = view(account, ACCOUNT)
    for index in range(a.n_calls):
        c = view(_call(a, index), CALL)
        if c.busy != 0 and now_ns - c.sent_ns > ANSWER_NS:
            end_link(_link(a, index), SILENT, np.int64(0))
