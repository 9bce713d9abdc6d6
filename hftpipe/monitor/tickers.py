"""Tickers of a running pipeline: what the venues say of a day and of a contract, of the instruments that they are followed for."""

from dataclasses import dataclass

import numpy as np
from rich.table import Table

from hftpipe.core.machine.system_clock import wall_ns
from hftpipe.core.schema.instruments import INSTRUMENT
from hftpipe.core.schema.tickers import TICKER, UNKNOWN
from hftpipe.core.shared.shm import Segment
from hftpipe.monitor.figures import plain, price

#: Shown one by one at most.
MOST_SHOWN = 20
_E8 = 10**8
_FIGURES = ("last", "volume_24h", "turnover_24h", "mark", "index", "funding_rate", "open_interest")


@dataclass(frozen=True)
class TickerView:
    """One instrument's; prices and quantities in the venue's units, None: the venue does not say. ``next_funding_ms``: since 1970."""

    symbol: str
    last: float | None
    volume_24h: float | None
    turnover_24h: float | None
    mark: float | None
    index: float | None
    funding_rate: float | None
    open_interest: float | None
    next_funding_ms: int | None


def _view(symbol: str, power: int, row: np.void) -> TickerView:
    shift = {"last": -power, "mark": -power, "index": -power, "volume_24h": power, "open_interest": power}
    found = {
        name: None if (value := int(row[name])) == UNKNOWN else value / _E8 * 10.0 ** shift.get(name, 0)
        for name in _FIGURES
    }
    due = int(row["next_funding_ms"])
    return TickerView(symbol, **found, next_funding_ms=None if due == UNKNOWN else due)


def tickers_of(segment: Segment) -> list[TickerView]:
    """All that have been told, in the order of the instruments."""
    rows, instruments = segment.region("tickers").view(TICKER), segment.region("instruments").view(INSTRUMENT)
    told, symbols = np.flatnonzero(rows["told_ns"]).tolist(), segment.meta["symbols"]
    return [_view(symbols[one], int(instruments["power"][one]), rows[one].copy()) for one in told]


def _or_dash(value: float | None, decimals: int = 8) -> str:
    return "-" if value is None else plain(value, decimals)


def _left(due_ms: int | None) -> str:
    """Time until funding, h:mm."""
    minutes = (due_ms - wall_ns() // 1_000_000) // 60_000 if due_ms else -1
    return f"{minutes // 60}:{minutes % 60:02d}" if minutes >= 0 else "-"


def table_of(views: list[TickerView]) -> Table:
    """One row each, the first ones."""
    table = Table(box=None, pad_edge=False, header_style="dim", padding=(0, 2, 0, 0))
    names = ("24 h", "last", "volume", "turnover", "mark", "index", "funding %", "in h:mm", "open interest")
    for index, name in enumerate(names):
        table.add_column(name, justify="right" if index else "left", no_wrap=True)
    for one in views[:MOST_SHOWN]:
        prices = (price(value or 0.0) for value in (one.mark, one.index))
        rate = "-" if one.funding_rate is None else plain(100 * one.funding_rate, 4)
        table.add_row(
            one.symbol, price(one.last or 0.0), _or_dash(one.volume_24h, 3), _or_dash(one.turnover_24h, 0), *prices, rate,
            _left(one.next_funding_ms), _or_dash(one.open_interest, 3),
        )  # fmt: skip
    if len(views) > MOST_SHOWN:
        table.add_row(f"and {len(views) - MOST_SHOWN:,} more")
    return table
