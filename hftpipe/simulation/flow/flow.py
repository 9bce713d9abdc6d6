"""A seeded synthetic order flow through a matching book: the embedded market, as market records.

Nothing here reads a clock or a global generator: the whole state is the memory of one FLOW record and its book, so
the same seed gives the same bytes. One step is one event; what drives it:

* **Arrivals** excite themselves (Hawkes process, exponential kernel): each event raises the rate by ``excitation``,
  which fades at ``decay`` per second. Drawn exactly, without thinning (Dassios and Zhao, 2013).
* **Fair value** reverts to the reference price (Ornstein-Uhlenbeck) with rare small jumps; quotes hang on it, and
  whoever still rests on the wrong side of it is taken (sweeps after a jump).
* **Limit orders** lie ``scale x (1/u - 1)`` ticks behind the fair value's quote: a power law with tail exponent 1,
  between the 0.6 of Bouchaud, Mezard and Potters (2002) and the 1.5 of Zovko and Farmer (2002).
* **Cancels** follow the same law from the touch, tighter, so that most are near it; orders far out go first.
* **Market orders** lean towards the fair value, with lognormal sizes that walk levels, at most MAX_MAKERS makers.
* **The spread** reverts: while it is wide nobody sends market orders, and most events quote at the fair value.
* **Depth** is held at ``side_target`` orders a side: the fewer there are, the likelier the next event adds one, and
  below a quarter of it nothing is cancelled or taken, so that no side ever empties.

Every order of the flow belongs to FLOW_OWNER and has the top bit of its id set, so that others may trade in the same
book (:func:`flow_book`): they call :func:`flow_publish` after each of their operations, before the next step.

Records of one event: its TRADEs (one per maker, id = match id), then the LEVELs that changed, all with one update
id, LAST on the final one. ``exchange_ts`` and ``local_ts`` are both the time of the event.
"""

import math

import numpy as np

from hftpipe.core.machine.jit import jit
from hftpipe.core.machine.mem import ONE, U64, ZERO, call_step, view
from hftpipe.core.machine.random import exponential_of, log_of, random_exponential, random_init
from hftpipe.core.schema.reasons import NONE
from hftpipe.core.schema.records import BID, BOOK_RESET, GTC, IOC, LAST, LEVEL, RECORD, RECORD_BYTES, TRADE
from hftpipe.simulation.flow.decide import decide
from hftpipe.simulation.flow.demo_market import DemoMarket
from hftpipe.simulation.flow.fair_value import advance_fair_value, hold_fair_value, release_fair_value
from hftpipe.simulation.flow.state import (
    ACT_ADD,
    ACT_CANCEL,
    ACT_REDUCE,
    ACT_TAKE,
    BOOK_AT,
    FLOW,
    FLOW_HEADER_BYTES,
    FLOW_MAX_RECORDS,
    FLOW_OWNER,
    MAX_ORDERS,
    MIN_REFERENCE_TICKS,
    SNAPSHOT_MAX_RECORDS,
    WINDOW_TICKS,
    defaults,
    flow_bytes,
)
from hftpipe.simulation.matching.engine import (
    STP_NONE,
    match_cancel,
    match_event,
    match_event_count,
    match_events_clear,
    match_new,
    match_reduce,
    match_replace,
    matching_init,
)
from hftpipe.simulation.matching.memory import EVENT, EXECUTE, EXPIRE, REPLACE
from hftpipe.simulation.matching.query import match_best, match_level_qty, match_next_level

__all__ = [
    "FLOW_MAX_RECORDS", "FLOW_OWNER", "SNAPSHOT_MAX_RECORDS",
    "flow_book", "flow_bytes", "flow_init", "flow_next_ts", "flow_publish", "flow_snapshot", "flow_step",
    "perform", "wait_ns",
]  # fmt: skip

_FIRST_ORDER_ID = np.uint64(1 << 63)
_LN_2_63 = 63 * math.log(2)
_TWO_63 = 2.0**63
#: Events before the first one that anybody sees, in side targets.
_WARM_UP_ROUNDS = 10


def flow_init(
    memory: np.ndarray,
    row: np.void,
    instrument: int,
    seed: int,
    rate_per_s: float,
    start_ts: int,
    market: DemoMarket | None = None,
) -> None:
    """Make a flow with a populated book.

    Args:
        memory: uint8 array of :func:`flow_bytes`, zeroed, 64-byte aligned.
        row: one element of an INSTRUMENT array; ``tick``, ``lot`` and ``reference_price`` must be set.
        instrument: dense instrument id for the records.
        seed: any integer; equal seeds give equal bytes.
        rate_per_s: mean rate of events, above 0 and at most 1e6.
        start_ts: time of the snapshot, ns; the first event follows it.
        market: the market it is to be; None: the tight one described above.

    Raises:
        ValueError: a filter, price or rate that makes no market.
    """
    tick, lot, price = int(row["tick"]), int(row["lot"]), int(row["reference_price"])
    if tick <= 0 or lot <= 0 or price < MIN_REFERENCE_TICKS * tick:
        raise ValueError(
            f"instrument {instrument}: tick {tick} and lot {lot} must be positive and the reference price {price} "
            f"at least {MIN_REFERENCE_TICKS} ticks"
        )
    if not 0 < rate_per_s <= 1e6:
        raise ValueError(f"rate_per_s {rate_per_s} is not in (0, 1e6]")
    header = memory[:FLOW_HEADER_BYTES].view(FLOW)
    tunables = defaults(row, rate_per_s)
    if market is not None:
        tunables |= market.tunables(float(price // tick), rate_per_s)
    for name, value in tunables.items():
        header[name] = value
    header["instrument"], header["tick"], header["lot"] = instrument, tick, lot
    header["now_ts"], header["order_id"] = start_ts, _FIRST_ORDER_ID
    matching_init(memory[FLOW_HEADER_BYTES:], tick, lot, price, MAX_ORDERS, WINDOW_TICKS)
    random_init(np.uint64(memory.ctypes.data), np.uint64(seed & 0xFFFFFFFFFFFFFFFF))
    header["next_ts"] = start_ts
    if market is not None:
        hold_fair_value(memory, market, row["symbol"])
    _populate(memory)
    if market is not None:
        release_fair_value(memory, market, start_ts)


@jit
def flow_book(flow):
    """Address of the flow's matching book."""
    return flow + BOOK_AT


@jit
def flow_next_ts(flow):
    """Time of the next event, ns."""
    return view(flow, FLOW).next_ts


@jit
def wait_ns(flow):
    """Time from an event to the next one, and the rate's excess by then.

    The excess alone would bring the next event after ``-ln(1 - decay E / excess) / decay`` (never, if that has no
    value), the floor alone after ``E' / base_rate``, with exponential E: the earlier of the two comes.
    """
    f = view(flow, FLOW)
    f.excess += f.excitation
    by_floor = random_exponential(flow) / f.base_rate
    kept = 1.0 - f.decay * random_exponential(flow) / f.excess
    scaled = kept * _TWO_63
    if scaled >= 1.0:
        by_excess = (_LN_2_63 - log_of(U64(scaled))) / f.decay
        if by_excess < by_floor:
            f.excess *= kept
            return np.int64(by_excess * 1e9 + 0.5)
    f.excess *= exponential_of(-f.decay * by_floor)
    return np.int64(by_floor * 1e9 + 0.5)


@jit
def _run(step, flow, out, count):
    for _ in range(count):
        call_step(step, flow, out)


def _populate(memory: np.ndarray) -> None:
    """Let an empty market run until its book is a typical one (an empty side only ever gains orders); then rewind time."""
    # Through the C entry that the market stage calls: calling flow_step by name would compile all of it once more.
    from hftpipe.simulation.flow.entries import step_entry

    header = memory[:FLOW_HEADER_BYTES].view(FLOW)
    out, start_ts = np.zeros(FLOW_MAX_RECORDS, RECORD), int(header["now_ts"][0])
    count = _WARM_UP_ROUNDS * int(header["side_target"][0])
    _run(np.uint64(step_entry.address), np.uint64(memory.ctypes.data), np.int64(out.ctypes.data), np.int64(count))
    header["next_ts"] += start_ts - header["now_ts"]
    header["now_ts"] = start_ts
    header["events"], header["trades"], header["traded_qty"] = 0, 0, 0


@jit
def perform(flow):
    """Carry out on the book what was decided, without publishing it; the events are the caller's to read and clear."""
    f = view(flow, FLOW)
    book = flow + BOOK_AT
    if f.action == ACT_ADD or f.action == ACT_TAKE:
        f.order_id += ONE
        tif = np.int64(GTC) if f.action == ACT_ADD else np.int64(IOC)
        match_new(book, f.order_id, np.int64(FLOW_OWNER), f.side, f.price, f.qty, tif, np.int64(STP_NONE))
    elif f.action == ACT_REDUCE:
        match_reduce(book, f.target_id, f.qty)
    # A move that is refused (the window, say) is still a withdrawal.
    elif f.action == ACT_CANCEL or match_replace(book, f.target_id, f.target_id, f.price, f.qty) != NONE:
        match_cancel(book, f.target_id)


@jit
def _write(out, index, flow, kind, side, price, qty, id_):
    f = view(flow, FLOW)
    r = view(out + U64(index) * U64(RECORD_BYTES), RECORD)
    r.seq, r.origin_tsc = ZERO, ZERO
    r.exchange_ts, r.local_ts = f.now_ts, f.now_ts
    r.price, r.qty, r.id = price, qty, id_
    r.instrument, r.kind, r.side, r.strategy, r.flags = f.instrument, kind, side, 0, 0


@jit
def _write_trades(flow, out):
    f = view(flow, FLOW)
    book = flow + BOOK_AT
    count = np.int64(0)
    for i in range(match_event_count(book)):
        e = view(match_event(book, i), EVENT)
        if e.kind == EXECUTE:
            _write(out, count, flow, np.int64(TRADE), np.int64(e.side), e.price, e.qty, e.match_id)
            f.traded_qty += e.qty
            count += 1
    f.trades += count
    return count


@jit
def _write_level(flow, out, count, side, price):
    """Write one level as it stands now unless the record before is the same level; returns the new count."""
    f = view(flow, FLOW)
    if count > 0:
        r = view(out + U64(count - 1) * U64(RECORD_BYTES), RECORD)
        if r.kind == LEVEL and np.int64(r.side) == side and r.price == price:
            return count
    _write(out, count, flow, np.int64(LEVEL), side, price, match_level_qty(flow + BOOK_AT, side, price), f.update_id)
    return count + 1


@jit
def flow_publish(flow, out, max_records):
    """Write the records of the book's events since they were last published, and clear them.

    Args:
        out: address of an array of RECORD.

    Returns:
        The number of records; -1, and nothing is done, if ``max_records`` is below 2 for each event.
    """
    f = view(flow, FLOW)
    book = flow + BOOK_AT
    events = match_event_count(book)
    if max_records < 2 * events:
        return np.int64(-1)
    trades = _write_trades(flow, out)
    count = trades
    f.update_id += ONE
    for i in range(events):
        e = view(match_event(book, i), EVENT)
        side = np.int64(e.side)
        if e.kind == REPLACE:
            count = _write_level(flow, out, count, side, e.old_price)
        if e.kind != EXPIRE:
            count = _write_level(flow, out, count, 1 - side if e.kind == EXECUTE else side, e.price)
    match_events_clear(book)
    if count == trades:
        f.update_id -= ONE
        return count
    view(out + U64(count - 1) * U64(RECORD_BYTES), RECORD).flags = LAST
    return count


@jit
def flow_step(flow, out, max_records):
    """Make the next event and write its records to the RECORD array at ``out``.

    Returns:
        Their number, 1 to FLOW_MAX_RECORDS (0 if others' orders fill the whole pool); -1, and nothing happens, if
        ``max_records`` is below that or the caller has left events of his own unpublished.
    """
    f = view(flow, FLOW)
    if max_records < FLOW_MAX_RECORDS or match_event_count(flow + BOOK_AT) != 0:
        return np.int64(-1)
    advance_fair_value(flow, np.float64(f.next_ts - f.now_ts) * 1e-9)
    f.now_ts = f.next_ts
    f.events += 1
    decide(flow)
    perform(flow)
    f.next_ts = f.now_ts + wait_ns(flow)
    return flow_publish(flow, out, max_records)


@jit
def flow_snapshot(flow, out, max_records):
    """Write BOOK_RESET and every level, best first, bids then asks, LAST on the final one.

    Returns:
        The number of records; -1, with ``out`` partly written, if there are more than ``max_records``
        (SNAPSHOT_MAX_RECORDS always suffices).
    """
    f = view(flow, FLOW)
    book = flow + BOOK_AT
    if max_records < 1:
        return np.int64(-1)
    _write(out, np.int64(0), flow, np.int64(BOOK_RESET), np.int64(BID), np.int64(0), np.int64(0), f.update_id)
    count = np.int64(1)
    for side in range(2):
        price, qty = match_best(book, side)
        while qty != 0:
            if count == max_records:
                return np.int64(-1)
            _write(out, count, flow, np.int64(LEVEL), side, price, qty, f.update_id)
            count += 1
            price, qty = match_next_level(book, side, price)
    if count > 1:
        view(out + U64(count - 1) * U64(RECORD_BYTES), RECORD).flags = LAST
    return count
