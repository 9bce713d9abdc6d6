"""Symbol text to instrument id: one look-up among 5,000 symbols, in random order, against a Python dictionary of bytes."""

import time

import numpy as np
from conftest import Report
from harness import cpus, percentiles, pin

from hftpipe.core.machine.clock import calibrate
from hftpipe.core.machine.jit import jit
from hftpipe.core.machine.mem import U64, load_i64, rdtsc, rdtscp, store_i64
from hftpipe.core.schema.clock import CLOCK
from hftpipe.core.schema.instruments import INSTRUMENT, symbols_table
from hftpipe.core.trading.symbols import find_symbol

COUNT, PASSES, BAR_NS = 5_000, 20, 60.0


@jit
def time_lookups(table, places, count, samples):
    """Ticks of each look-up into ``samples``; the sum of the ids found. ``places``: address and length by look-up."""
    total = np.int64(0)
    for index in range(count):
        at = places + U64(16) * U64(index)
        start, length = U64(load_i64(at)), load_i64(at + U64(8))
        begun = rdtsc()
        found = find_symbol(table, start, length)
        ended = rdtscp()
        total += found
        store_i64(samples + U64(8) * U64(index), np.int64(ended - begun))
    return total


def _texts() -> list[bytes]:
    quotes = ("USDT", "USDC", "BTC", "ETH", "EUR")
    return [f"{chr(65 + n % 26)}{chr(65 + n // 26 % 26)}{n:X}{quotes[n % 5]}".encode() for n in range(COUNT)]


def test_symbol_to_id_among_five_thousand(report: Report) -> None:
    clock = np.zeros(1, CLOCK)
    calibrate(clock)
    pin(cpus(1)[0])
    texts, order = _texts(), np.random.default_rng(1).permutation(COUNT)
    rows = np.zeros(COUNT, INSTRUMENT)
    rows["symbol"] = texts
    table, joined = symbols_table(rows), np.frombuffer(b"".join(texts) + bytes(16), np.uint8)
    starts = np.cumsum([0, *map(len, texts)])[:-1]
    places = np.array([(joined.ctypes.data + starts[i], len(texts[i])) for i in order], np.int64)
    samples = np.zeros((PASSES, COUNT), np.int64)
    for row in range(-3, PASSES):
        address = np.uint64(samples[max(row, 0)].ctypes.data)
        total = time_lookups(np.uint64(table.ctypes.data), np.uint64(places.ctypes.data), np.int64(COUNT), address)
        assert total == COUNT * (COUNT - 1) // 2
    figures = percentiles(samples.ravel() * float(clock["ns_per_tick"][0]))
    ids, shuffled = {text: index for index, text in enumerate(texts)}, [texts[i] for i in order]
    begun = time.perf_counter_ns()
    for _ in range(PASSES):
        assert sum(map(ids.__getitem__, shuffled)) == COUNT * (COUNT - 1) // 2
    rival = (time.perf_counter_ns() - begun) / (PASSES * COUNT)
    report.row(
        bench="symbols", what="text to id, 5,000 symbols", **figures, bar=f"p50 <= {BAR_NS:g} ns",
        ok=figures["p50"] <= BAR_NS, note=f"a dict of bytes objects made beforehand: {rival:.0f} ns",
    )  # fmt: skip
