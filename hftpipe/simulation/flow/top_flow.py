"""A light market of one instrument: its best prices and trades, and nothing behind them. A few cache lines of state.

For the many instruments of a universe of which only the top is followed; one with a whole book has the order flow of
:mod:`hftpipe.simulation.flow.flow`. Events come at random, on average so many a second. Of each 64

* 40 change the size at one of the best prices; while the spread is wider than usual they close it first;
* 9 move both prices by a part of the spread, up or down, the likelier back to the reference price the farther they are from it;
* 15 are trades at one of the best prices. What takes the last of it moves that price away, and half of the time the other after it.

Records of an event: its TRADE, then the TOP pair, LAST on the ask. ``exchange_ts`` and ``local_ts`` are the time of the event. The
memory of a flow is all its state: the same seed gives the same records.
"""

import numpy as np

from hftpipe.core.machine.jit import entry, jit
from hftpipe.core.machine.mem import ONE, U64, ZERO, view
from hftpipe.core.machine.random import random_below, random_exponential, random_init
from hftpipe.core.schema.records import ASK, BID, BOOK_RESET, BUY, LAST, RECORD, TOP, TRADE

TOP_FLOW = np.dtype(
    [
        ("random", "u8", 4),
        # Times in ns; mean time from one event to the next.
        ("now_ts", "i8"), ("next_ts", "i8"), ("wait_ns", "f8"),
        ("update_id", "u8"), ("match_id", "u8"), ("instrument", "i8"), ("tick", "i8"), ("lot", "i8"),
        # Best prices in ticks, their sizes in lots.
        ("bid", "i8"), ("ask", "i8"), ("bid_lots", "i8"), ("ask_lots", "i8"),
        # Ticks: the usual spread, where the bid started, and the farthest it goes from there. Lots: least size, and how much more.
        ("spread", "i8"), ("reference", "i8"), ("farthest", "i8"), ("min_lots", "i8"), ("more_lots", "i8"), ("trades", "i8"),
        ("_pad", "i8", 2),
    ],
    align=True,
)  # fmt: skip
TOP_FLOW_BYTES = 192
assert TOP_FLOW.itemsize == TOP_FLOW_BYTES
#: A trade and a pair of best prices; a snapshot has a BOOK_RESET in place of the trade.
TOP_FLOW_RECORDS = 3
MIN_REFERENCE_TICKS = 40
#: How far prices go from the reference, and what rests at a price in quote currency.
_FARTHEST_SHARE, _NOTIONAL = 20, 2_000
_DRAWS, _SIZES, _MOVES = 64, 40, 49
_RECORD_SHIFT = np.uint64(6)


def top_flows_init(
    memory: np.ndarray, rows: np.ndarray, instruments: np.ndarray, seed: int, rates: np.ndarray, start_ts: int,
    spread_bps: float,
) -> None:  # fmt: skip
    """Make the flows of many instruments.

    Args:
        memory: uint8 array of TOP_FLOW_BYTES each, zeroed, 64-byte aligned.
        rows: INSTRUMENT array; ``tick``, ``lot`` and ``reference_price`` must be set. instruments: their ids, int64[n].
        seed: any integer; equal seeds give equal bytes.
        rates: mean events a second of each, float64[n], above 0 and at most 1e6.
        start_ts: time of the snapshots, ns; the first events follow it.
        spread_bps: usual spread in basis points of the price; at least a tick.

    Raises:
        ValueError: a filter, price or rate that makes no market.
    """
    flows = memory[: TOP_FLOW_BYTES * len(rows)].view(TOP_FLOW)
    ticks = rows["reference_price"] // np.maximum(rows["tick"], 1)
    wrong = (rows["tick"] <= 0) | (rows["lot"] <= 0) | (ticks < MIN_REFERENCE_TICKS) | ~((rates > 0) & (rates <= 1e6))
    for at in np.flatnonzero(wrong).tolist():
        raise ValueError(
            f"instrument {instruments[at]}: tick {rows['tick'][at]} and lot {rows['lot'][at]} must be positive, the "
            f"reference price {rows['reference_price'][at]} at least {MIN_REFERENCE_TICKS} ticks, the rate {rates[at]} in (0, 1e6]"
        )
    flows["instrument"], flows["tick"], flows["lot"] = instruments, rows["tick"], rows["lot"]
    flows["next_ts"], flows["wait_ns"] = start_ts, 1e9 / rates
    flows["spread"] = np.maximum((spread_bps * 1e-4 * ticks).astype(np.int64), 1)
    flows["reference"] = flows["bid"] = ticks - flows["spread"] // 2
    flows["ask"] = flows["bid"] + flows["spread"]
    flows["farthest"] = np.maximum(ticks // _FARTHEST_SHARE, 1)
    lots_of_one = 1e16 / rows["reference_price"].astype(float) / rows["lot"].astype(float)
    least = np.ceil(rows["min_notional"] * 1.1e-8 * lots_of_one)
    flows["min_lots"] = np.clip(least, 1, 2**60 / rows["lot"].astype(float))
    flows["more_lots"] = np.clip(2 * _NOTIONAL * lots_of_one, 1, 2**60 / rows["lot"].astype(float))
    flows["bid_lots"] = flows["ask_lots"] = flows["min_lots"] + flows["more_lots"] // 2
    for index, instrument in enumerate(np.asarray(instruments).tolist()):
        address = memory.ctypes.data + TOP_FLOW_BYTES * index
        random_init(np.uint64(address), np.uint64((seed + instrument) & 0xFFFFFFFFFFFFFFFF))


@jit
def _lots(flow):
    f = view(flow, TOP_FLOW)
    return f.min_lots + random_below(flow, f.more_lots)


@jit
def _resize(flow):
    """Another size at one of the best prices, which comes nearer if the spread is wide."""
    f = view(flow, TOP_FLOW)
    wide = max(f.ask - f.bid - f.spread, np.int64(0))
    if random_below(flow, np.int64(2)) == BID:
        f.bid, f.bid_lots = f.bid + wide, _lots(flow)
    else:
        f.ask, f.ask_lots = f.ask - wide, _lots(flow)


@jit
def _shift(flow, by):
    """Both prices ``by`` ticks up, with new sizes; nothing at the end of where they go."""
    f = view(flow, TOP_FLOW)
    if abs(f.bid + by - f.reference) > f.farthest:
        return
    f.bid, f.ask = f.bid + by, f.ask + by
    f.bid_lots, f.ask_lots = _lots(flow), _lots(flow)


@jit
def _move(flow):
    f = view(flow, TOP_FLOW)
    by = np.int64(1) + random_below(flow, (f.spread >> 1) + 1)
    is_up = random_below(flow, 2 * f.farthest) < f.farthest - (f.bid - f.reference)
    _shift(flow, by if is_up else -by)


@jit
def _put(flow, out, index, kind, side, flags, price, qty, id_):
    f = view(flow, TOP_FLOW)
    r = view(out + (U64(index) << _RECORD_SHIFT), RECORD)
    r.seq, r.origin_tsc = ZERO, ZERO
    r.exchange_ts, r.local_ts = f.now_ts, f.now_ts
    r.price, r.qty, r.id = price, qty, id_
    r.instrument, r.kind, r.side, r.strategy, r.flags = f.instrument, kind, side, 0, flags


@jit
def _put_top(flow, out, index):
    f = view(flow, TOP_FLOW)
    bid, ask = np.int64(BID), np.int64(ASK)
    _put(flow, out, index, np.int64(TOP), bid, np.int64(0), f.bid * f.tick, f.bid_lots * f.lot, f.update_id)
    _put(flow, out, index + 1, np.int64(TOP), ask, np.int64(LAST), f.ask * f.tick, f.ask_lots * f.lot, f.update_id)
    return index + 2


@jit
def _trade(flow, out):
    """Somebody takes at a best price: the TRADE is written, and what is left of the price is known. Records written: 1."""
    f = view(flow, TOP_FLOW)
    side = random_below(flow, np.int64(2))
    is_buy = side == BUY
    shown = f.ask_lots if is_buy else f.bid_lots
    lots = min(np.int64(1) + random_below(flow, f.more_lots), shown)
    f.trades += 1
    f.match_id += ONE
    price = (f.ask if is_buy else f.bid) * f.tick
    _put(flow, out, np.int64(0), np.int64(TRADE), side, np.int64(0), price, lots * f.lot, f.match_id)
    left = shown - lots
    if left > 0:
        if is_buy:
            f.ask_lots = left
        else:
            f.bid_lots = left
        return np.int64(1)
    step = np.int64(1) + (f.spread >> 2)
    if is_buy:
        f.ask, f.ask_lots = f.ask + step, _lots(flow)
    else:
        f.bid, f.bid_lots = max(f.bid - step, np.int64(1)), _lots(flow)
    if random_below(flow, np.int64(2)) == 0:
        _shift(flow, step if is_buy else -step)
    return np.int64(1)


@jit
def top_flow_step(flow, out):
    """Make the next event and write its records to the RECORD array at ``out``; their number, 2 or 3."""
    f = view(flow, TOP_FLOW)
    f.now_ts = f.next_ts
    f.update_id += ONE
    draw, count = random_below(flow, np.int64(_DRAWS)), np.int64(0)
    if draw < _SIZES:
        _resize(flow)
    elif draw < _MOVES:
        _move(flow)
    else:
        count = _trade(flow, out)
    f.next_ts = f.now_ts + np.int64(random_exponential(flow) * f.wait_ns + 0.5)
    return _put_top(flow, out, count)


@jit
def top_flow_snapshot(flow, out):
    """Write BOOK_RESET and the best prices: 3 records. It takes the place of the first event."""
    f = view(flow, TOP_FLOW)
    f.now_ts = f.next_ts
    f.update_id += ONE
    zero = np.int64(0)
    _put(flow, out, zero, np.int64(BOOK_RESET), zero, zero, zero, zero, f.update_id)
    f.next_ts = f.now_ts + np.int64(random_exponential(flow) * f.wait_ns + 0.5)
    return _put_top(flow, out, np.int64(1))


@entry("int64(uint64, int64)")
def top_step_entry(flow, out):
    return top_flow_step(flow, U64(out))


@entry("int64(uint64, int64)")
def top_snapshot_entry(flow, out):
    return top_flow_snapshot(flow, U64(out))
