"""The symbols of one market: their names, how their amounts are written, what has been traded of them."""

from dataclasses import dataclass

from hftpipe.simulation.market_server.history import Candle, History
from hftpipe.simulation.market_server.market import Market
from hftpipe.simulation.market_server.text import Decimals

_SCALE = 10**8


@dataclass(frozen=True, slots=True)
class Symbol:
    """One symbol.

    Attributes:
        index: in its market; name: ``BTCUSDT``; decimals: how its amounts are written.
        history: what has been traded of it.
    """

    index: int
    name: str
    decimals: Decimals
    history: History


@dataclass(frozen=True, slots=True)
class Day:
    """24 hours of a symbol as tickers tell them (1e-8; quote: 1e-16). Without trades all is 0 and the trade ids are -1."""

    open_ms: int
    close_ms: int
    candle: Candle
    last_qty: int

    @property
    def change(self) -> int:
        """From the first price to the last one."""
        return self.candle.close - self.candle.open

    @property
    def change_percent(self) -> int:
        """The same in percent of the first one, 1e-8."""
        return self.change * 100 * _SCALE // self.candle.open if self.candle.open else 0

    @property
    def average(self) -> int:
        """Average price, weighted by quantity."""
        return self.candle.quote // self.candle.volume if self.candle.volume else 0


_NOTHING = Candle(0, 0, 0, 0, 0)


def day_of(symbol: Symbol, now_ms: int) -> Day:
    """The last 24 hours of a symbol."""
    history = symbol.history
    last = history.trades[-1].qty if history.trades else 0
    return Day(now_ms - 86_400_000, now_ms, history.day(now_ms) or _NOTHING, last)


class Symbols:
    """All symbols of a market.

    Attributes:
        all: by index; by_name: by ``BTCUSDT``; by_stream: by ``btcusdt``, as stream names have it.
    """

    def __init__(self, market: Market, first_aggregate: int) -> None:
        rows, rules = market.listing.instruments, market.listing.rules
        self.all = [
            Symbol(index, name, rules.decimals(tick, lot), History(first_aggregate, rules.aggregate_ns))
            for index, (name, tick, lot) in enumerate(
                zip(market.symbols, rows["tick"].tolist(), rows["lot"].tolist(), strict=True)
            )
        ]
        self.by_name = {one.name: one for one in self.all}
        self.by_stream = {one.name.lower(): one for one in self.all}
