"""What a capture holds, by its first lines: market, symbols, steps and prices."""

import math
from collections import defaultdict
from pathlib import Path
from statistics import median_low
from typing import Any, NamedTuple

import orjson

from hftpipe.capture.reader import FORMAT, CaptureError, CaptureReader
from hftpipe.core.machine.fixed import DECIMALS, SCALE
from hftpipe.venues.codecs import codecs
from hftpipe.venues.contract import Codec

_READ_BYTES = 64 << 10


class CaptureInfo(NamedTuple):
    """What the first lines of a capture say about it.

    Attributes:
        symbols: in order of first appearance.
        market: whose lines they are.
        ticks: greatest common divisor of the prices seen, 1e-8 units, one per symbol.
        lots: the same of the quantities.
        prices: median of the prices seen, 1e-8 units, one per symbol.
        first_ts: the recorder's time of the first line, ns.
        lines: how many lines were looked at.
        snapshots: how many of them are order book snapshots.
    """

    symbols: tuple[str, ...]
    market: str
    ticks: tuple[int, ...]
    lots: tuple[int, ...]
    prices: tuple[int, ...]
    first_ts: int
    lines: int
    snapshots: int

    def price_decimals(self, index: int = 0) -> int:
        """Decimals that every price of a symbol can be written with."""
        tick, decimals = self.ticks[index], DECIMALS
        while decimals > 0 and tick % 10 ** (DECIMALS - decimals + 1) == 0:
            decimals -= 1
        return decimals


class _Detector:
    """Gathers what a codec finds, line by line."""

    def __init__(self, codec: Codec) -> None:
        self.codec, self.market, self.snapshots = codec, "", 0
        self.steps: dict[str, tuple[int, int]] = {}
        self.prices: dict[str, list[int]] = defaultdict(list)

    def add(self, payload: Any) -> None:
        """A line's JSON value."""
        said = self.codec.recognise(payload)
        self.snapshots += said.is_snapshot
        if not said.symbol:
            return
        self.market = self.market or said.market
        tick, lot = self.steps.get(said.symbol, (0, 0))
        for price, qty in said.levels:
            tick, lot = math.gcd(tick, price), math.gcd(lot, qty)
            self.prices[said.symbol].append(price)
        self.steps[said.symbol] = tick, lot


def _first_lines(path: str | Path, count: int) -> list[bytes]:
    lines: list[bytes] = []
    try:
        for chunk in CaptureReader(path, chunk_bytes=_READ_BYTES):
            lines += chunk.tobytes().splitlines()
            if len(lines) >= count:
                break
    except CaptureError:
        # Damage after whole lines is for the reader to report, once these have been used.
        if not lines:
            raise
    return lines[:count]


def _values(lines: list[bytes]) -> list[Any]:
    values = []
    for line in lines:
        try:
            values.append(orjson.loads(line.partition(b" ")[2]))
        except orjson.JSONDecodeError:
            continue
    return values


def detect(path: str | Path, lines: int = 3000) -> CaptureInfo:
    """Look at the first ``lines`` lines of a capture, so that replaying it needs no configuration.

    Tick and lot are guesses: the true ones divide them.

    Raises:
        CaptureError: as :class:`hftpipe.capture.reader.CaptureReader`; or no codec knows any of the lines.
    """
    sample, known = _first_lines(path, lines), codecs()
    detectors = [_Detector(one) for one in known]
    for value in _values(sample):
        for one in detectors:
            one.add(value)
    evidence = max(detectors, key=lambda one: len(one.steps))
    if not evidence.steps:
        events = " or ".join(one.events for one in known)
        raise CaptureError(f"{path}: none of the first {len(sample)} lines is {events}; {FORMAT}")
    steps = evidence.steps.values()
    return CaptureInfo(
        symbols=tuple(evidence.steps),
        market=evidence.market or evidence.codec.markets[0],
        ticks=tuple(tick or SCALE for tick, _ in steps),
        lots=tuple(lot or SCALE for _, lot in steps),
        prices=tuple(median_low(evidence.prices[symbol] or [SCALE]) for symbol in evidence.steps),
        first_ts=int(sample[0].partition(b" ")[0]),
        lines=len(sample),
        snapshots=evidence.snapshots,
    )
