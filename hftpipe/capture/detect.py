"""What a capture holds, by its first lines: market, symbols, steps and prices."""

import math
from collections import defaultdict
from pathlib import Path
from statistics import median_low
from typing import Any, NamedTuple

import orjson

from hftpipe.capture.reader import FORMAT, CaptureError, CaptureReader
from hftpipe.core.machine.fixed import DECIMALS, INT64_MAX, SCALE
from hftpipe.core.schema.instruments import MAX_POWER
from hftpipe.venues.codecs import codecs
from hftpipe.venues.contract import Codec

_READ_BYTES = 64 << 10
#: Quantities may become so many times the largest that was seen.
_ROOM = 10


class CaptureInfo(NamedTuple):
    """What the first lines of a capture say about it.

    Attributes:
        symbols: in order of first appearance.
        market: whose lines they are.
        ticks: greatest common divisor of the prices seen, 1e-8 units, one per symbol.
        lots: the same of the quantities.
        prices: median of the prices seen, 1e-8 units, one per symbol.
        powers: ticks, lots and prices are of packs of 10**n of the venue's units, one n per symbol: not 0 where quantities come near
            what an int64 holds.
        first_ts: the recorder's time of the first line, ns.
        lines: how many lines were looked at.
        snapshots: how many of them are order book snapshots.
    """

    symbols: tuple[str, ...]
    market: str
    ticks: tuple[int, ...]
    lots: tuple[int, ...]
    prices: tuple[int, ...]
    powers: tuple[int, ...]
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
        self.most: dict[str, int] = defaultdict(int)
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
            if price > INT64_MAX or qty > INT64_MAX * 10**MAX_POWER:
                continue
            tick, lot = math.gcd(tick, price), math.gcd(lot, qty)
            self.prices[said.symbol].append(price)
            self.most[said.symbol] = max(self.most[said.symbol], qty)
        self.steps[said.symbol] = tick, lot

    def power(self, symbol: str) -> int:
        """The unit of a symbol should be a pack of 10**n of the venue's: n, as small as leaves quantities room to grow."""
        lot, most = self.steps[symbol][1] or SCALE, self.most[symbol] * _ROOM
        dearest = max(self.prices[symbol], default=0) * _ROOM

        def is_enough(power: int) -> bool:
            larger = 10 ** (power + 1)
            return bool(most <= INT64_MAX * 10**power or lot % larger or dearest * larger > INT64_MAX)

        return next((power for power in range(MAX_POWER) if is_enough(power)), MAX_POWER)


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
    steps, symbols = evidence.steps.values(), tuple(evidence.steps)
    powers = tuple(map(evidence.power, symbols))
    packs = [10**power for power in powers]
    return CaptureInfo(
        symbols=symbols,
        market=evidence.market or evidence.codec.markets[0],
        ticks=tuple((tick or SCALE) * pack for (tick, _), pack in zip(steps, packs, strict=True)),
        lots=tuple((lot or SCALE) // pack for (_, lot), pack in zip(steps, packs, strict=True)),
        prices=tuple(
            median_low(evidence.prices[symbol] or [SCALE]) * pack for symbol, pack in zip(symbols, packs, strict=True)
        ),
        powers=powers,
        first_ts=int(sample[0].partition(b" ")[0]),
        lines=len(sample),
        snapshots=evidence.snapshots,
    )
