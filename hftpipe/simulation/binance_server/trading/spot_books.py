"""How spot keeps the accounts of its traders: balances, and the user data that tells of them."""

from typing import Any

from hftpipe.core.schema import reasons
from hftpipe.simulation.binance_server.answers import Refused
from hftpipe.simulation.binance_server.trading import spot_payloads as say
from hftpipe.simulation.binance_server.trading.account import Account
from hftpipe.simulation.binance_server.trading.settings import TradingRules
from hftpipe.simulation.binance_server.trading.spot_payloads import Report, amount
from hftpipe.simulation.market_server.trading.orders import Fill, Order, worth
from hftpipe.simulation.market_server.trading.spot_ledger import SpotLedger
from hftpipe.simulation.market_server.trading.trader import NowMs

SpotTrader = Account[SpotLedger]
#: What the book does not take: code and text.
_REFUSALS = {
    reasons.POST_ONLY_WOULD_TAKE: (-2010, "Order would immediately match and take."),
    reasons.VENUE_BUSY: (-1008, "Server is currently overloaded with other requests. Please try again in a few minutes."),
    reasons.TICK_FILTER: (-1013, "Filter failure: PRICE_FILTER"),
    reasons.LOT_FILTER: (-1013, "Filter failure: LOT_SIZE"),
    reasons.INVALID_VALUE: (-1013, "Filter failure: PRICE_FILTER"),
    reasons.VENUE_FILTER: (-1013, "Filter failure: PRICE_FILTER"),
    reasons.DUPLICATE_ID: (-2010, "Duplicate order sent."),
}  # fmt: skip


class SpotBooks:
    """The bookkeeping of spot.

    Args:
        rules: fees; now_ms: the venue's time.
    """

    def __init__(self, rules: TradingRules, now_ms: NowMs) -> None:
        self._rules, self._now_ms, self._executions = rules, now_ms, 0

    def refusal(self, reason: int) -> Refused | None:
        """What an order is refused with that the book has not taken; None: it is taken."""
        return Refused(*_REFUSALS[reason]) if reason in _REFUSALS else None

    def _report(self, trader: SpotTrader, order: Order, told: Report) -> None:
        self._executions += 1
        trader.events.tell(say.execution_report(order, told, self._now_ms(), self._executions))

    def opened(self, trader: SpotTrader, order: Order) -> None:
        """An order is open."""
        trader.ledger.lock(order)
        self._report(trader, order, Report("NEW", order.client_id))

    def executed(
        self, trader: SpotTrader, order: Order, price: int, qty: int, trade_id: int, is_maker: bool, ts_ms: int
    ) -> Fill:
        """It was executed."""
        if not order.executed:
            trader.counts.executed(is_maker, ts_ms)
        ledger, rate = trader.ledger, self._rules.maker_fee if is_maker else self._rules.taker_fee
        before, (fee, asset) = ledger.lock_of(order)[1], ledger.fee_of(order, price, qty, rate)
        fill = Fill(
            trade_id, order.id, order.symbol, order.side, price, qty, worth(price, qty), fee, asset, is_maker, ts_ms
        )
        order.take(fill)
        ledger.unlock(order, before - ledger.lock_of(order)[1])
        ledger.settle(fill)
        self._report(trader, order, Report("TRADE", order.client_id, fill=fill))
        return fill

    def ended(self, trader: SpotTrader, order: Order, status: str, why: int, cancel_id: str) -> None:
        """It is over."""
        trader.ledger.unlock(order, trader.ledger.lock_of(order)[1])
        order.status = status
        told = Report(say.refuses_as(status), order.client_id, why=why)
        if status == "CANCELED":
            told = Report(status, cancel_id, order.client_id)
        self._report(trader, order, told)

    def changed(self, trader: SpotTrader, order: Order, price: int, qty: int, client_id: str) -> None:
        """Its total is smaller from now on, and it goes by another id."""
        before, original = trader.ledger.lock_of(order)[1], order.client_id
        order.asked.price, order.asked.qty, order.updated_ms = price, qty, self._now_ms()
        order.changes += 1
        trader.ledger.lock(order, before)
        trader.orders.rename(order, client_id)
        self._report(trader, order, Report("REPLACED", client_id, original))

    def told(self, trader: SpotTrader) -> None:
        """Tell of balances that have changed."""
        changed = trader.ledger.take_changed()
        if changed:
            trader.events.tell(say.account_position(changed, self._now_ms()))

    def truth(self, trader: SpotTrader) -> dict[str, Any]:
        """What he has, for checkers."""
        ledger = trader.ledger
        assets = sorted({*ledger.free, *ledger.locked})
        return {
            "balances": {
                asset: {"free": amount(ledger.free[asset]), "locked": amount(ledger.locked[asset])} for asset in assets
            },
            "openOrders": [say.row(one) for one in trader.orders.of()],
            "fills": [say.trade_row(one) for one in trader.orders.fills],
            "names": trader.orders.names(),
        }
