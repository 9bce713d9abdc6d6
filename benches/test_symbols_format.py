"""An order's price and quantity as the text that its venue takes, 5,000 instruments in random order::

    price, quantity (int64, 1e-8) ──▶ whole multiples of tick and lot? ──▶ "61800.10" "0.025"

Against the same in C++ (``std::to_chars``, ``snprintf``) and in Python; every text is compared with Decimal's beforehand.
"""

import ctypes
import time
from collections.abc import Callable
from decimal import Decimal
from pathlib import Path

import numpy as np
from conftest import Report
from harness import Figures, compile_cpp, cpus, interleave, percentiles, pin, ratio, typical

from hftpipe.core.machine.clock import calibrate
from hftpipe.core.machine.jit import jit
from hftpipe.core.machine.mem import U64, ZERO, load_i64, rdtsc, rdtscp, store_i64
from hftpipe.core.schema.amounts import amounts_table, decimals_of
from hftpipe.core.schema.clock import CLOCK
from hftpipe.core.schema.instruments import INSTRUMENT
from hftpipe.core.trading.amounts import write_price, write_qty
from hftpipe.venues.paper.catalogue import embedded_catalogue

COUNT, ORDERS, REPETITIONS = 5_000, 20_000, 15
BAR_NS, SPEC_NS = 100.0, 306.0
OURS, CHARCONV, SNPRINTF = "hftpipe", "C++ to_chars", "C++ snprintf"


@jit
def time_texts(amounts, values, count, text, samples):
    """Ticks of each price and quantity into ``samples``; the bytes written. ``values``: instrument, price and quantity by row."""
    total = np.int64(0)
    for index in range(count):
        at = values + U64(24) * U64(index)
        instrument, price, qty = load_i64(at), load_i64(at + U64(8)), load_i64(at + U64(16))
        begun = rdtsc()
        middle = write_price(amounts, instrument, price, text)
        end = write_qty(amounts, instrument, qty, middle) if middle != ZERO else ZERO
        ended = rdtscp()
        total += np.int64(end - text) if end != ZERO else np.int64(0)
        store_i64(samples + U64(8) * U64(index), np.int64(ended - begun))
    return total


def aligned(array: np.ndarray) -> np.ndarray:
    """A copy on a cache line."""
    raw = np.zeros(array.nbytes + 64, np.uint8)
    at = -raw.ctypes.data % 64
    raw[at : at + array.nbytes] = np.ascontiguousarray(array).view(np.uint8).ravel()
    return raw[at : at + array.nbytes]


def _orders(rows: np.ndarray) -> np.ndarray:
    """(instrument, price, quantity): around the last price, 1 to 5,000 lots."""
    draw = np.random.default_rng(1)
    index = draw.integers(0, len(rows), ORDERS)
    ticks = rows["reference_price"][index] // rows["tick"][index] + draw.integers(-500, 501, ORDERS)
    lots = draw.integers(1, 5_001, ORDERS)
    return np.column_stack([index, ticks * rows["tick"][index], lots * rows["lot"][index]]).astype(np.int64)


def _text(value: int, decimals: int) -> str:
    return f"{Decimal(value).scaleb(-8):.{decimals}f}"


def test_a_price_and_a_quantity_as_text(report: Report, tmp_path: Path) -> None:
    clock = np.zeros(1, CLOCK)
    calibrate(clock)
    pin(cpus(1)[0])
    ns_per_tick = float(clock["ns_per_tick"][0])
    listed = embedded_catalogue(COUNT)
    rows = np.zeros(COUNT, INSTRUMENT)
    for name in ("symbol", "tick", "lot", "reference_price"):
        rows[name] = listed[name]
    table, values = aligned(amounts_table(rows)), _orders(rows)
    both = np.column_stack([rows["tick"], rows["lot"]]).ravel().tolist()
    steps = np.array([(step, decimals_of(step)) for step in both], np.int64)
    decimals = steps[:, 1].reshape(-1, 2).tolist()
    texts = [[_text(price, decimals[at][0]), _text(qty, decimals[at][1])] for at, price, qty in values.tolist()]
    expected = sum(len(price) + len(qty) for price, qty in texts)
    library, buffer, samples = compile_cpp("format.cpp", tmp_path), np.zeros(64, np.uint8), np.ones(ORDERS, np.int64)
    _agree(library, table, steps, values, texts, buffer)

    def measured(run: Callable[[], int]) -> Figures:
        assert run() == expected
        ns = samples * ns_per_tick
        return percentiles(ns) | {"typical": typical(ns)}

    def rival(name: str) -> Callable[[], int]:
        function = _of(library, name)
        return lambda: function(values.ctypes.data, steps.ctypes.data, ORDERS, buffer.ctypes.data, samples.ctypes.data)

    def ours() -> int:
        addresses = [np.uint64(array.ctypes.data) for array in (table, values, buffer, samples)]
        return int(time_texts(addresses[0], addresses[1], np.int64(ORDERS), addresses[2], addresses[3]))

    runs = {OURS: ours, CHARCONV: rival("charconv_run"), SNPRINTF: rival("snprintf_run")}
    series = interleave({name: lambda run=run: measured(run) for name, run in runs.items()}, REPETITIONS)
    mine, what = series.pop(OURS), "price and quantity as text, 5,000 symbols"
    shown = {name: mine[name] for name in ("p50", "p99", "p99_9", "max")}
    report.row(
        bench="symbols", what=what, **shown, bar=f"p50 <= {BAR_NS:g} ns", ok=mine["p50"] <= BAR_NS,
        note=f"spec {SPEC_NS:g} ns; f'{{:.nf}}' of floats in Python: {_python(values, decimals):.0f} ns; {mine.spread('p50')}",
    )  # fmt: skip
    bars = {CHARCONV: "<= 1.0", SNPRINTF: "<= 0.5"}
    for name, other in series.items():
        shown = {figure: other[figure] for figure in ("p50", "p99", "p99_9", "max")}
        report.row("symbols", what, name, **shown, ratio=ratio(mine, other, "typical"), bar=bars[name])


def _of(library: ctypes.CDLL, name: str) -> Callable[..., int]:
    function = library[name]
    function.argtypes, function.restype = (
        [ctypes.c_uint64] * 2 + [ctypes.c_int64] + [ctypes.c_uint64] * 2,
        ctypes.c_int64,
    )
    return function


def _agree(
    library: ctypes.CDLL,
    table: np.ndarray,
    steps: np.ndarray,
    values: np.ndarray,
    texts: list[list[str]],
    buffer: np.ndarray,
) -> None:
    """Every candidate writes what Decimal writes."""
    base, ticks = np.uint64(buffer.ctypes.data), np.zeros(1, np.int64)
    for row, text in zip(np.ascontiguousarray(values[:500]), texts, strict=False):
        one = np.ascontiguousarray(row)
        end = write_qty(
            np.uint64(table.ctypes.data),
            one[0],
            one[2],
            write_price(np.uint64(table.ctypes.data), one[0], one[1], base),
        )
        lengths = [int(end - base)]
        assert bytes(buffer[: lengths[0]]).decode() == "".join(text)
        for name in ("charconv_run", "snprintf_run"):
            function = _of(library, name)
            length = function(one.ctypes.data, steps.ctypes.data, 1, buffer.ctypes.data, ticks.ctypes.data)
            assert bytes(buffer[:length]).decode() == "".join(text), name


def _python(values: np.ndarray, decimals: list[list[int]]) -> float:
    """ns for both as one would write it in Python: of floats, so not always the same text."""
    work = [(price / 1e8, qty / 1e8, *decimals[at]) for at, price, qty in values.tolist()]
    begun = time.perf_counter_ns()
    for price, qty, of_price, of_qty in work:
        f"{price:.{of_price}f}"
        f"{qty:.{of_qty}f}"
    return (time.perf_counter_ns() - begun) / len(work)
