"""The simulated venue: our orders matched against a recorded or live market that does not know of them.

Paper trading, backtest and fault tests use this one model. Feed it market records and requests in the order in which
they happen, and poll the reports::

    submit(exchange, request)   NEW, CANCEL or REPLACE, sent at its local_ts; arrives a latency later
    market(exchange, record)    first what has arrived by local_ts meets the book as it stood, then the record
    poll(exchange, out)         the oldest report, once it has travelled back

``exchange`` is the address of memory made by :func:`exchange_init`; records are addresses of 64-byte RECORDs. All
times are ns of the local clock of the records (``local_ts``). Decisions and their reasons: docs/fill-model.md.
"""

import numpy as np

from hftpipe.core.machine.jit import entry, jit
from hftpipe.core.machine.mem import ONE, U64, ZERO, copy_bytes, view
from hftpipe.core.schema.records import CANCEL, LEVEL, RECORD, RECORD_BYTES, TIMER
from hftpipe.venues.paper.feed import apply_record, close_update
from hftpipe.venues.paper.models import SimModel
from hftpipe.venues.paper.reports import exchange_next_release, exchange_pending, exchange_report_room, poll
from hftpipe.venues.paper.requests import ahead_of, execute, left_of
from hftpipe.venues.paper.state import EXCHANGE, INBOUND, MARKET, exchange_bytes, exchange_init, market_at

__all__ = [
    "EXCHANGE", "SimModel", "exchange_advance", "exchange_bytes", "exchange_inbound", "exchange_init",
    "exchange_next_arrival", "exchange_next_release", "exchange_open_orders", "exchange_pending",
    "exchange_report_room", "exchange_time", "market", "market_entry", "own_ahead", "own_position", "own_remaining",
    "poll", "poll_entry", "submit", "submit_entry",
]  # fmt: skip

_NEVER = 0x7FFFFFFFFFFFFFFF
_IN_MASK = np.uint64(INBOUND - 1)


@jit
def _inbound(ex, index):
    return ex.inbound + U64(RECORD_BYTES) * (index & _IN_MASK)


@jit
def submit(exchange, request):
    """Send the request record at address ``request``: 1, or 0 when too many are under way (reject it then).

    It arrives a latency after its local_ts, never before an earlier request of this connection.
    """
    ex = view(exchange, EXCHANGE)
    if ex.in_next - ex.in_done >= U64(INBOUND):
        ex.refused_requests += 1
        return np.int64(0)
    slot = _inbound(ex, ex.in_next)
    copy_bytes(slot, request, np.int64(RECORD_BYTES))
    r = view(slot, RECORD)
    latency = ex.latency_cancel if r.kind == CANCEL else ex.latency_new
    ex.last_arrival = max(ex.last_arrival, r.local_ts + latency)
    # The stamp of the sending stage is of no use here; the field carries the arrival time instead.
    r.exchange_ts = ex.last_arrival
    ex.in_next += ONE
    return np.int64(1)


@jit
def exchange_advance(exchange, now):
    """Let time pass to ``now`` (ns; never back): carry out what has arrived by then, in order, while reports have room.

    1, or 0: poll first, then again.
    """
    ex = view(exchange, EXCHANGE)
    if exchange_report_room(exchange) == 0:
        ex.refused_records += 1
        return np.int64(0)
    until = max(now, ex.now)
    while ex.open_update == ZERO and ex.in_done != ex.in_next and exchange_report_room(exchange) > 0:
        slot = _inbound(ex, ex.in_done)
        arrival = view(slot, RECORD).exchange_ts
        if arrival > until:
            break
        ex.now = max(ex.now, arrival)
        execute(ex, slot)
        ex.in_done += ONE
    ex.now = until
    return np.int64(1)


@jit
def market(exchange, record):
    """Feed the market record at address ``record``: 1, or 0 when reports must be polled first (then feed it again).

    A book update of several records takes effect at its LAST one; nothing is matched in the middle of it.
    """
    ex = view(exchange, EXCHANGE)
    r = view(record, RECORD)
    if ex.open_update != ZERO and (r.kind != LEVEL or ex.open_update != market_at(ex, r.instrument)):
        if exchange_report_room(exchange) == 0:
            ex.refused_records += 1
            return np.int64(0)
        close_update(ex)
    if exchange_advance(exchange, r.local_ts) == 0:
        return np.int64(0)
    if r.kind != TIMER:
        apply_record(ex, r)
    return np.int64(1)


@jit
def exchange_time(exchange):
    """Exchange time, ns: the greatest local_ts seen."""
    return view(exchange, EXCHANGE).now


@jit
def exchange_inbound(exchange):
    """Requests under way."""
    ex = view(exchange, EXCHANGE)
    return np.int64(ex.in_next - ex.in_done)


@jit
def exchange_next_arrival(exchange):
    """When the oldest request under way arrives, ns; the greatest int64 when there is none."""
    ex = view(exchange, EXCHANGE)
    if ex.in_done == ex.in_next:
        return np.int64(_NEVER)
    return view(_inbound(ex, ex.in_done), RECORD).exchange_ts


@jit
def exchange_open_orders(exchange):
    """Own orders resting, over all instruments."""
    return view(exchange, EXCHANGE).n_open


@jit
def own_remaining(exchange, instrument, id_):
    """Unfilled quantity (1e-8) of the resting order with client id ``id_``; -1 if there is none."""
    return left_of(view(market_at(view(exchange, EXCHANGE), instrument), MARKET), id_)


@jit
def own_ahead(exchange, instrument, id_):
    """Quantity (1e-8) ahead of the resting order with client id ``id_``; -1 if there is none."""
    return ahead_of(view(market_at(view(exchange, EXCHANGE), instrument), MARKET), id_)


@jit
def own_position(exchange, instrument):
    """Our net position (1e-8, signed) from this venue's own fills."""
    return view(market_at(view(exchange, EXCHANGE), instrument), MARKET).position


@entry("int64(uint64, int64)")
def submit_entry(exchange, request):
    """:func:`submit` behind a C pointer."""
    return submit(exchange, np.uint64(request))


@entry("int64(uint64, int64)")
def market_entry(exchange, record):
    """:func:`market` behind a C pointer."""
    return market(exchange, np.uint64(record))


@entry("int64(uint64, int64)")
def poll_entry(exchange, out):
    """:func:`poll` behind a C pointer."""
    return poll(exchange, np.uint64(out))
