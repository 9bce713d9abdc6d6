"""What USD-M does to orders of its own accord: the dead man's switch, and reduce-only orders with nothing left to reduce."""

from typing import Any

from hftpipe.core.schema.records import BUY
from hftpipe.simulation.binance_server.answers import Answers, number_in
from hftpipe.simulation.binance_server.trading.params import Params
from hftpipe.simulation.binance_server.trading.refused import missing
from hftpipe.simulation.binance_server.trading.usdm_books import UsdmTrader
from hftpipe.simulation.market_server.trading.desk import Desk
from hftpipe.simulation.market_server.trading.orders import Fill


class UsdmUpkeep:
    """Looked after at every step of the venue.

    Args:
        answers: of the market; desk: its orders.
    """

    def __init__(self, answers: Answers, desk: Desk[UsdmTrader]) -> None:
        self._answers, self._desk = answers, desk
        self._seen: dict[int, Fill] = {}

    def count_down(self, trader: UsdmTrader, params: Params) -> Any:
        """All orders of a symbol are to be cancelled after a while, unless this is asked again; 0: no longer."""
        symbol, after = self._answers.symbol_of(params), number_in(params, "countdownTime")
        if after is None:
            raise missing("countdownTime")
        trader.countdowns.pop(symbol.index, None)
        if after:
            trader.countdowns[symbol.index] = self._answers.now_ms() + after
        return {"symbol": symbol.name, "countdownTime": str(after)}

    def advance(self) -> None:
        """Do what is due."""
        for trader in self._desk.traders:
            if trader.countdowns:
                self._end_countdowns(trader)
            last = trader.orders.fills[-1] if trader.orders.fills else None
            if last is not None and self._seen.get(trader.account) is not last:
                self._seen[trader.account] = last
                self._trim_reducers(trader)

    def _end_countdowns(self, trader: UsdmTrader) -> None:
        now = self._answers.now_ms()
        for index in [index for index, due_ms in trader.countdowns.items() if due_ms <= now]:
            del trader.countdowns[index]
            for one in trader.orders.of(index):
                self._desk.cancel(trader, one)

    def _trim_reducers(self, trader: UsdmTrader) -> None:
        """End reduce-only orders, the youngest first, that have no position left to reduce."""
        for index, held in tuple(trader.ledger.positions.items()):
            reducers = [one for one in trader.orders.of(index) if one.asked.reduce_only]
            for one in reversed(reducers):
                is_against = held.qty < 0 if one.side == BUY else held.qty > 0
                left = sum(other.left for other in reducers if other.is_open and other.side == one.side)
                if not is_against or left > abs(held.qty):
                    self._desk.expire(trader, one)
