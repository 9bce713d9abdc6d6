"""What USD-M does to orders of its own accord: the dead man's switch, and reduce-only orders with nothing left to reduce."""

from typing import Any

from hftpipe.simulation.binance_server.answers import Answers, number_in
from hftpipe.simulation.binance_server.trading.params import Params
from hftpipe.simulation.binance_server.trading.refused import missing
from hftpipe.simulation.binance_server.trading.usdm_books import UsdmTrader
from hftpipe.simulation.market_server.trading.desk import Desk
from hftpipe.simulation.market_server.trading.reducers import Reducers


class UsdmUpkeep:
    """Looked after at every step of the venue.

    Args:
        answers: of the market; desk: its orders.
    """

    def __init__(self, answers: Answers, desk: Desk[UsdmTrader]) -> None:
        self._answers, self._desk, self._reducers = answers, desk, Reducers(desk.expire)

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
            self._reducers.advance(trader)

    def _end_countdowns(self, trader: UsdmTrader) -> None:
        now = self._answers.now_ms()
        for index in [index for index, due_ms in trader.countdowns.items() if due_ms <= now]:
            del trader.countdowns[index]
            for one in trader.orders.of(index):
                self._desk.cancel(trader, one)
