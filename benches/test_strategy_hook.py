"""The market maker's on_book and what brings its quotes about, called through its C pointer on every state of a captured BTCUSDT book.

::

    capture ─▶ book (untimed) ─▶ [ on_book ─▶ wishes ─▶ actions ] timed ─▶ answered at once: all carried out (untimed)

Each call sees another book, and the orders it left the last time are live, so quoting, moving and leaving alone all
happen as in trading. Figures include one pair of time-stamp reads and are those of the least disturbed pass (lowest p99).
After every call the touch and the quotes are checked.
"""

import gzip
from pathlib import Path

import numpy as np
import orjson
import pytest
from conftest import Report
from harness import cpus, percentiles, pin

from hftpipe.core.machine.clock import calibrate
from hftpipe.core.machine.fixed import to_fixed
from hftpipe.core.machine.jit import jit
from hftpipe.core.machine.mem import U64, rdtsc, rdtscp, store_i64, view
from hftpipe.core.schema.cells import HALT_CELL
from hftpipe.core.schema.clock import CLOCK
from hftpipe.core.schema.halts import halts_bytes
from hftpipe.core.schema.histogram import HIST_BYTES
from hftpipe.core.schema.instruments import INSTRUMENT
from hftpipe.core.schema.records import (
    ACK,
    ASK,
    BID,
    BOOK_RESET,
    BUY,
    CANCEL,
    CANCELED,
    LAST,
    LEVEL,
    NEW,
    RECORD,
    REPLACED,
    TOP,
    VALID,
)
from hftpipe.core.schema.ring import ring_bytes
from hftpipe.core.shared.ring import ring_init
from hftpipe.core.trading.book import BOOK, book_clear, book_commit, book_set, book_set_top, book_tradable
from hftpipe.core.trading.order_reports import move_reported
from hftpipe.core.trading.order_table import (
    ORDER,
    open_count,
    open_order,
    order_find,
)
from hftpipe.strategy.api.hooks import call_hook
from hftpipe.strategy.compile.loader import load
from hftpipe.strategy.context import CONTEXT, action_at
from hftpipe.strategy.quotes import answered, bring_about
from hftpipe.strategy.stage_state import CTX, HOOK_NUMBERS, SEAT, STATE
from hftpipe.strategy.wiring import Seat, init_seat, init_stage, seat_sizes, stage_sizes, wire_seat, wire_stage

CAPTURE = Path(__file__).resolve().parents[2] / "shared" / "data" / "binance-usdm-2024" / "usdm_btcusdt_20240808.gz"
LINES, LEVELS, PASSES, SAMPLES = 20_000, 4096, 5, 100_000
BAR_NS = 100.0
LEVEL_COUNTS = (1, 5)


def memory(n_bytes: int) -> np.ndarray:
    """Zeroed, touched bytes on a multiple of 128."""
    raw = np.empty(n_bytes + 128, np.uint8)
    raw.fill(0)
    at = -raw.ctypes.data % 128
    return raw[at : at + n_bytes]


def level_rows(data: dict, bids: str, asks: str, update_id: int, now: int) -> list[tuple]:
    """A depth message as LEVEL records."""
    changes = [(BID, *level) for level in data[bids]] + [(ASK, *level) for level in data[asks]]
    last = len(changes) - 1
    return [
        (now, to_fixed(price), to_fixed(qty), update_id, LEVEL, side, LAST if n == last else 0)
        for n, (side, price, qty) in enumerate(changes)
    ]


def capture_rows() -> list[tuple]:
    """(local_ts, price, qty, id, kind, side, flags) of the capture's book messages, from its snapshot on."""
    rows, snapshot_id = [], 0
    with gzip.open(CAPTURE, "rb") as lines:
        for _, line in zip(range(LINES), lines):
            stamp, _, text = line.partition(b" ")
            now, message = int(stamp), orjson.loads(text)
            data = message.get("data", message)
            if "lastUpdateId" in data:
                snapshot_id = data["lastUpdateId"]
                rows.append((now, 0, 0, snapshot_id, BOOK_RESET, 0, 0))
                rows += level_rows(data, "bids", "asks", snapshot_id, now)
            elif snapshot_id and data.get("e") == "depthUpdate" and data["u"] >= snapshot_id and data["b"] + data["a"]:
                rows += level_rows(data, "b", "a", data["u"], now)
            elif snapshot_id and data.get("e") == "bookTicker":
                for side, price, qty, flags in ((BID, "b", "B", 0), (ASK, "a", "A", LAST)):
                    rows.append((now, to_fixed(data[price]), to_fixed(data[qty]), data["u"], TOP, side, flags))
    return rows


def to_records(rows: list[tuple]) -> np.ndarray:
    """The rows as RECORD array."""
    records = memory(len(rows) * RECORD.itemsize).view(RECORD)
    for column, name in enumerate(("local_ts", "price", "qty", "id", "kind", "side", "flags")):
        records[name] = [row[column] for row in rows]
    return records


@jit
def apply(book, record, previous):
    """Bring one record into the book: True when that ends an update of a tradable book."""
    r, p = view(record, RECORD), view(previous, RECORD)
    if r.kind == BOOK_RESET:
        book_clear(book)
        return False
    if r.kind == LEVEL:
        book_set(book, np.int64(r.side), r.price, r.qty)
        if r.flags & LAST:
            book_commit(book, r.id, r.local_ts, r.local_ts)
    elif r.flags & LAST and not book_set_top(book, p.price, p.qty, r.price, r.qty, r.id, r.local_ts, r.local_ts):
        return False
    return r.flags & LAST != 0 and book_tradable(book)


@jit
def answer(ctx):
    """What risk and the venue would answer, at once: how many actions there were."""
    c = view(ctx, CONTEXT)
    for index in range(c.n_actions):
        action = view(action_at(ctx, index), RECORD)
        slot = order_find(c.table, action.id)
        if action.kind == NEW:
            action.kind = ACK
        elif action.kind == CANCEL:
            action.kind = CANCELED
        else:
            action.kind = REPLACED
        move_reported(c.table, slot, action)
        answered(ctx, slot, action)
    count = c.n_actions
    c.n_actions = 0
    return count


@jit
def quotes_are_sane(ctx, book, most):
    """At most ``most`` live orders a side, and no bid at or above a live ask."""
    b, table = view(book, BOOK), view(ctx, CONTEXT).table
    bids, asks, best_bid, best_ask = np.int64(0), np.int64(0), np.int64(0), b.ask * 2
    for index in range(open_count(table)):
        order = view(open_order(table, index), ORDER)
        if order.side == BUY:
            bids, best_bid = bids + 1, max(best_bid, order.price)
        else:
            asks, best_ask = asks + 1, min(best_ask, order.price)
    return bids <= most and asks <= most and best_bid < best_ask and b.bid < b.ask


@jit
def replay(records, count, hook, self_record, ctx, book, most, samples, tally):
    """Time every on_book of a pass into ``samples`` (ticks): number of calls, or -1 when a check fails.

    ``tally`` counts actions, then calls that led to any.
    """
    c, calls = view(ctx, CONTEXT), np.int64(0)
    actions, acting = np.int64(0), np.int64(0)
    for index in range(1, count):
        record = records + U64(64) * U64(index)
        if not apply(book, record, record - U64(64)):
            continue
        c.now = view(record, RECORD).local_ts
        start = rdtsc()
        failed = call_hook(hook, self_record, ctx, book)
        if c.now >= c.quote_due:
            bring_about(ctx)
        end = rdtscp()
        store_i64(samples + U64(8) * U64(calls), np.int64(end - start))
        calls += 1
        done = answer(ctx)
        actions += done
        acting += done > 0
        if failed != 0 or not quotes_are_sane(ctx, book, most):
            return np.int64(-1)
    store_i64(tally, actions)
    store_i64(tally + U64(8), acting)
    return calls


class Bench:
    """The stage's memory for one strategy, without a stage around it."""

    def __init__(self, num_levels: int) -> None:
        self.seat = Seat(load("market_making", {"num_levels": num_levels, "reprice_threshold": "0.05"}))
        self._sizes = stage_sizes(1, LEVELS) | seat_sizes(self.seat, 1)
        self.regions = {n: memory(size) for n, size in self._sizes.items()}
        for name in ("market", "updates", "intents"):
            self.regions[name] = memory(ring_bytes(1024))
            ring_init(self.regions[name], 1024)
        for name in ("h_market_to_strategy", "h_strategy"):
            self.regions[name] = memory(HIST_BYTES)
        self.regions["halt"], self.regions["halts"] = memory(HALT_CELL.itemsize), memory(halts_bytes(1))
        self.regions["instruments"] = memory(INSTRUMENT.itemsize)
        row = self.regions["instruments"].view(INSTRUMENT)
        row["tick"], row["lot"], row["venue"] = to_fixed("0.1"), to_fixed("0.001"), 2
        self.state, self.seats = self.regions["state"].view(STATE), self.regions["seats"].view(SEAT)

    def reset(self) -> None:
        ticks = self.regions["instruments"].view(INSTRUMENT)["tick"]
        for name in self._sizes:
            self.regions[name][:] = 0
        init_stage(self.regions, [self.seat], 1, LEVELS, ticks)
        init_seat(self.regions, self.seat)
        addresses = {name: array.ctypes.data for name, array in self.regions.items()}
        wire_stage(self.state, addresses, n_instruments=1, levels=LEVELS)
        wire_seat(self.seats, self.seat, self.state, addresses)
        self.regions["books"].view(np.uint8)[: BOOK.itemsize].view(BOOK)["state"] = VALID

    def run(self, records: np.ndarray, most: int, samples: np.ndarray, tally: np.ndarray) -> int:
        self.reset()
        at = {name: np.uint64(array.ctypes.data) for name, array in self.regions.items()}
        hook = np.uint64(self.seats["hooks"][0][HOOK_NUMBERS["on_book"]])
        calls = replay(
            np.uint64(records.ctypes.data), np.int64(len(records)), hook, at["self"], at["seats"] + CTX, at["books"],
            np.int64(most), np.uint64(samples.ctypes.data), np.uint64(tally.ctypes.data),
        )  # fmt: skip
        return int(calls)


@pytest.mark.skipif(not CAPTURE.is_file(), reason="captured feeds are not on this machine (../shared/data)")
def test_on_book_of_the_market_maker(report: Report) -> None:
    pin(cpus(1)[0])
    clock = np.zeros(1, CLOCK)
    calibrate(clock)
    records = to_records(capture_rows())
    for num_levels in LEVEL_COUNTS:
        bench, samples, tally = Bench(num_levels), memory(8 * SAMPLES).view(np.int64), np.zeros(2, np.int64)
        passes = []
        for _ in range(PASSES):
            calls = bench.run(records, num_levels, samples, tally)
            assert 1000 <= calls <= SAMPLES, "a check failed, or the capture is too short"
            passes.append(percentiles(samples[:calls] * float(clock["ns_per_tick"][0])))
        assert tally[1] > 20, "the quotes never moved: nothing was measured"
        figures = min(passes, key=lambda figure: figure["p99"])
        report.row(
            bench="strategy hook",
            what=f"market_making on_book, {num_levels} level(s) a side",
            **figures,
            bar=f"p50 <= {BAR_NS:.0f} ns" if num_levels == 1 else None,
            ok=figures["p50"] <= BAR_NS if num_levels == 1 else None,
            note=f"{calls} book states, {int(tally[1])} calls sent {int(tally[0])} actions",
        )
