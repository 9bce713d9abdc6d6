"""How USD-M keeps the accounts of its traders: wallets and positions, and the user data that tells of them."""

from typing import Any

from hftpipe.core.schema import reasons
from hftpipe.simulation.binance_server.answers import Refused
from hftpipe.simulation.binance_server.trading import usdm_payloads as say
from hftpipe.simulation.binance_server.trading.account import Account
from hftpipe.simulation.binance_server.trading.settings import TradingRules
from hftpipe.simulation.market_server.symbols import Symbol
from hftpipe.simulation.market_server.trading import orders as words
from hftpipe.simulation.market_server.trading.margin_ledger import MarginLedger
from hftpipe.simulation.market_server.trading.orders import Fill, Order, worth
from hftpipe.simulation.market_server.trading.trader import NowMs

UsdmTrader = Account[MarginLedger]
#: What the book does not take: code and text.
_REFUSALS = {
    reasons.POST_ONLY_WOULD_TAKE: (
        -5022, "Due to the order could not be executed as maker, the Post Only order will be rejected. "
        "The order will not be recorded in the order history",
    ),
    reasons.FOK_UNFILLABLE: (
        -5021, "Due to the order could not be filled immediately, the FOK order has been rejected. "
        "The order will not be recorded in the order history",
    ),
    reasons.VENUE_BUSY: (-1008, "Server is currently overloaded with other requests. Please try again in a few minutes."),
    reasons.TICK_FILTER: (-4014, "Price not increased by tick size."),
    reasons.LOT_FILTER: (-4023, "Quantity not increased by step size."),
    reasons.INVALID_VALUE: (-4003, "Quantity less than or equal to zero."),
    reasons.VENUE_FILTER: (-4002, "Price greater than max price."),
    reasons.DUPLICATE_ID: (-4116, "ClientOrderId is duplicated."),
}  # fmt: skip


class UsdmBooks:
    """The bookkeeping of USD-M.

    Args:
        rules: fees; symbols: of the market, by index; now_ms: the venue's time.
    """

    def __init__(self, rules: TradingRules, symbols: list[Symbol], now_ms: NowMs) -> None:
        self._rules, self._symbols, self._now_ms = rules, symbols, now_ms

    def refusal(self, reason: int) -> Refused | None:
        """What an order is refused with that the book has not taken; None: it is taken."""
        return Refused(*_REFUSALS[reason]) if reason in _REFUSALS else None

    def _update(self, trader: UsdmTrader, order: Order, kind: str, client_id: str, fill: Fill | None = None) -> None:
        notionals = say.notionals_of([one for one in trader.orders.of(order.symbol.index) if one.is_open])
        trader.events.tell(say.order_update(order, kind, client_id, fill, notionals, self._now_ms()))

    def opened(self, trader: UsdmTrader, order: Order) -> None:
        """An order is open."""
        self._update(trader, order, words.NEW, order.client_id)

    def executed(
        self, trader: UsdmTrader, order: Order, price: int, qty: int, trade_id: int, is_maker: bool, ts_ms: int
    ) -> Fill:
        """It was executed."""
        ledger, rate = trader.ledger, self._rules.maker_fee if is_maker else self._rules.taker_fee
        fee, asset = ledger.fee_of(order, price, qty, rate)
        held = ledger.position(order.symbol.index)
        realized = held.take(order.side, price, qty)
        held.updated_ms = ts_ms
        fill = Fill(
            trade_id, order.id, order.symbol, order.side, price, qty, worth(price, qty), fee, asset, is_maker, ts_ms,
            realized,
        )  # fmt: skip
        order.take(fill)
        ledger.settle(fill)
        trader.events.tell(say.trade_lite(order, fill, self._now_ms()))
        self._update(trader, order, "TRADE", order.client_id, fill)
        return fill

    def ended(self, trader: UsdmTrader, order: Order, status: str, why: int, cancel_id: str) -> None:
        """It is over."""
        order.status = status
        kind = words.EXPIRED if status == words.EXPIRED_IN_MATCH else status
        self._update(trader, order, kind, order.client_id)

    def changed(self, trader: UsdmTrader, order: Order, price: int, qty: int, client_id: str) -> None:
        """Its price and quantity are these from now on."""
        order.asked.price, order.asked.qty, order.updated_ms = price, qty, self._now_ms()
        order.changes += 1
        self._update(trader, order, "AMENDMENT", order.client_id)

    def told(self, trader: UsdmTrader) -> None:
        """Tell of wallets and positions that have changed."""
        ledger = trader.ledger
        assets, indexes = ledger.take_changed()
        if not assets:
            return
        balances = [say.balance_of(asset, ledger.wallets[asset]) for asset in assets]
        positions = [self._position(ledger, index) for index in indexes]
        ts_ms = max(ledger.position(index).updated_ms for index in indexes)
        trader.events.tell(say.account_update(balances, positions, ts_ms, self._now_ms()))

    def _position(self, ledger: MarginLedger, index: int) -> dict[str, Any]:
        symbol, held = self._symbols[index], ledger.position(index)
        return say.position_of(symbol.name, symbol.decimals.qty_text(held.qty), held, ledger.mark(index))

    def truth(self, trader: UsdmTrader) -> dict[str, Any]:
        """What he has, for checkers."""
        ledger = trader.ledger
        return {
            "balances": {asset: {"wallet": say.money(value)} for asset, value in sorted(ledger.wallets.items())},
            "positions": {
                self._symbols[index].name: {
                    "qty": self._symbols[index].decimals.qty_text(one.qty), "cost": say.money(one.paid),
                    "realized": say.money(one.realized),
                }
                for index, one in sorted(ledger.positions.items())
            },
            "openOrders": [say.row(one) for one in trader.orders.of()],
            "fills": [say.trade_row(one) for one in trader.orders.fills],
            "names": trader.orders.names(),
        }  # fmt: skip
