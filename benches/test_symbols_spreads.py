"""Spreads between venues::

    one change of a top of book ─▶ copy it ─▶ judge (buy here, sell there) and the way back against each counterpart

1,000 names at two venues, in random order, against the same reckoned by a Python twin; and instrument to its counterparts.
"""

import time

import numpy as np
from conftest import Report
from harness import cpus, percentiles, pin

from hftpipe.core.machine.clock import calibrate
from hftpipe.core.machine.jit import jit
from hftpipe.core.machine.mem import U64, load_i64, rdtsc, rdtscp, store_i64
from hftpipe.core.schema.clock import CLOCK
from hftpipe.core.schema.instruments import INSTRUMENT
from hftpipe.core.schema.spreads import spreads_bytes, spreads_init, spreads_views
from hftpipe.core.trading.spreads import counterpart, counterpart_count, spreads_update, watch_spreads

NAMES, CHANGES, PASSES = 1_000, 10_000, 20
E8, MS = 10**8, 1_000_000
LOOKUP_BAR_NS, UPDATE_BAR_NS = 35.0, 50.0


@jit
def time_updates(spreads, changes, count, now, samples):
    """Ticks of each change into ``samples``; ``changes``: instrument, bid and ask by change (int64)."""
    for index in range(count):
        at = changes + U64(24) * U64(index)
        instrument, bid, ask = load_i64(at), load_i64(at + U64(8)), load_i64(at + U64(16))
        ts = now + np.int64(index)
        begun = rdtsc()
        spreads_update(spreads, instrument, bid, np.int64(E8), ask, np.int64(E8), ts, ts)
        ended = rdtscp()
        store_i64(samples + U64(8) * U64(index), np.int64(ended - begun))


@jit
def time_lookups(spreads, changes, count, samples):
    """Ticks of each look-up of all counterparts into ``samples``; the sum of their ids."""
    total = np.int64(0)
    for index in range(count):
        instrument = load_i64(changes + U64(24) * U64(index))
        begun, found = rdtsc(), np.int64(0)
        for other in range(counterpart_count(spreads, instrument)):
            found += counterpart(spreads, instrument, np.int64(other))
        ended = rdtscp()
        total += found
        store_i64(samples + U64(8) * U64(index), np.int64(ended - begun))
    return total


def _instruments() -> np.ndarray:
    rows = np.zeros(2 * NAMES, INSTRUMENT)
    for at in range(2 * NAMES):
        rows["symbol"][at], rows["at"][at] = f"C{at % NAMES}USDT".encode(), at // NAMES
    rows["lot"], rows["taker_fee"] = 1, 50_000
    return rows


def _changes() -> np.ndarray:
    """(instrument, bid, ask): prices of a name differ by up to 20 basis points between its venues."""
    draw = np.random.default_rng(1)
    instrument = draw.integers(0, 2 * NAMES, CHANGES)
    bid = (1 + instrument % NAMES) * E8 // 10_000 * (10_000 + draw.integers(-10, 11, CHANGES))
    return np.column_stack([instrument, bid, bid + bid // 20_000]).astype(np.int64)


class Twin:
    """The same, as one would write it in Python: what has begun, by (buy, sell)."""

    def __init__(self, threshold: int) -> None:
        self.tops: dict[int, tuple[int, int]] = {}
        self.standing: set[tuple[int, int]] = set()
        self.threshold, self.crossings = threshold, 0

    def update(self, at: int, bid: int, ask: int) -> None:
        self.tops[at] = (bid, ask)
        other = (at + NAMES) % (2 * NAMES)
        if other in self.tops:
            for buy, sell in ((at, other), (other, at)):
                cost, proceeds = self.tops[buy][1], self.tops[sell][0]
                net = proceeds * (E8 - 50_000) // cost - (E8 + 50_000)
                if net < self.threshold:
                    self.standing.discard((buy, sell))
                elif (buy, sell) not in self.standing:
                    self.standing.add((buy, sell))
                    self.crossings += 1


def test_spreads_of_a_thousand_names(report: Report) -> None:
    clock = np.zeros(1, CLOCK)
    calibrate(clock)
    pin(cpus(1)[0])
    rows, changes = _instruments(), _changes()
    memory = np.zeros(spreads_bytes(rows) + 64, np.uint8)
    memory = memory[-memory.ctypes.data % 64 :]
    spreads_init(memory, rows)
    spreads, places = np.uint64(memory.ctypes.data), np.uint64(changes.ctypes.data)
    watch_spreads(spreads, np.int64(20_000), np.int64(0), np.int64(10**15))
    samples = np.zeros((PASSES, CHANGES), np.int64)
    for row in range(-3, PASSES):
        now, address = np.int64(MS * (row + 4)), np.uint64(samples[max(row, 0)].ctypes.data)
        time_updates(spreads, places, np.int64(CHANGES), now, address)
    figures = percentiles(samples.ravel() * float(clock["ns_per_tick"][0]))
    twin, passes = Twin(20_000), PASSES + 3
    begun = time.perf_counter_ns()
    for _ in range(passes):
        for at, bid, ask in changes.tolist():
            twin.update(at, bid, ask)
    rival = (time.perf_counter_ns() - begun) / (passes * CHANGES)
    head = spreads_views(memory, 2 * NAMES, 2 * NAMES)[0]
    assert int(head["crossings"][0]) == twin.crossings > 0
    report.row(
        bench="spreads", what="change of a top, one counterpart, both ways", **figures,
        bar=f"p50 <= {UPDATE_BAR_NS:g} ns", ok=figures["p50"] <= UPDATE_BAR_NS, note=f"the same in Python: {rival:.0f} ns",
    )  # fmt: skip
    for row in range(-3, PASSES):
        total = time_lookups(spreads, places, np.int64(CHANGES), np.uint64(samples[max(row, 0)].ctypes.data))
        assert total == int(((changes[:, 0] + NAMES) % (2 * NAMES)).sum())
    figures = percentiles(samples.ravel() * float(clock["ns_per_tick"][0]))
    report.row(
        bench="spreads", what="instrument to its counterparts", **figures,
        bar=f"p50 <= {LOOKUP_BAR_NS:g} ns", ok=figures["p50"] <= LOOKUP_BAR_NS, note=f"2,000 instruments, {NAMES:,} names",
    )  # fmt: skip
