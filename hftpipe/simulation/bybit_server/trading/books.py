"""How each category keeps the accounts of its clients. Orders that a book does not take are taken, and end with its reason."""

from typing import Any, Generic, TypeVar

from hftpipe.core.schema.records import BUY
from hftpipe.simulation.bybit_server.answers import Refused
from hftpipe.simulation.bybit_server.feed import Feed
from hftpipe.simulation.bybit_server.trading import payloads as say
from hftpipe.simulation.bybit_server.trading.account import Client
from hftpipe.simulation.bybit_server.trading.settings import TRADING
from hftpipe.simulation.bybit_server.trading.telling import Teller
from hftpipe.simulation.market_server.trading.margin_ledger import MarginLedger
from hftpipe.simulation.market_server.trading.orders import Fill, Order, worth
from hftpipe.simulation.market_server.trading.spot_ledger import SpotLedger

SpotClient = Client[SpotLedger]
LinearClient = Client[MarginLedger]
C = TypeVar("C", SpotClient, LinearClient)


class _Books(Generic[C]):
    """What both categories do alike.

    Args:
        feed: of the category; teller: of the same.
    """

    def __init__(self, feed: Feed, teller: Teller) -> None:
        self._feed, self._teller, self._rules = feed, teller, TRADING[feed.rules.name]

    def refusal(self, reason: int) -> Refused | None:
        """Nothing is refused here any more: that an order is not taken is told of like its other ends."""
        return None

    def _rate(self, is_maker: bool) -> int:
        return self._rules.maker_fee if is_maker else self._rules.taker_fee

    def _note_fill(self, client: C, order: Order, fill: Fill, closed: int) -> None:
        index, fills = order.symbol.index, client.orders.fills
        is_second = bool(fills) and (fills[-1].symbol, fills[-1].trade_id) == (fill.symbol, fill.trade_id)
        mark, seq = self._feed.market.fair_price(index), self._feed.seq_of(index, fill.trade_id)
        told = say.Executed(self._rate(fill.is_maker), mark, seq, closed, is_second)
        row = say.execution_row(order, self._feed.rules, fill, told)
        client.executions.append(row)
        client.untold_executions.append(row)
        client.note(order)

    def told(self, client: C) -> None:
        """Tell of all that has changed."""
        self._teller.tell(client)

    def truth(self, client: C) -> dict[str, Any]:
        """What he has in this category, for checkers."""
        rules = self._feed.rules
        return {
            "openOrders": [say.order_row(one, rules) for one in client.orders.of()], "fills": list(client.executions),
            "names": client.orders.names(),
        }  # fmt: skip


class SpotBooks(_Books[SpotClient]):
    """Spot: what is bought and sold changes hands; fees are taken from what is received."""

    def opened(self, client: SpotClient, order: Order) -> None:
        """An order is open."""
        client.link_ids.add(order.client_id)
        client.ledger.lock(order)
        client.note(order)

    def executed(
        self, client: SpotClient, order: Order, price: int, qty: int, trade_id: int, is_maker: bool, ts_ms: int
    ) -> Fill:
        """It was executed."""
        ledger = client.ledger
        before, (fee, asset) = ledger.lock_of(order)[1], ledger.fee_of(order, price, qty, self._rate(is_maker))
        fill = Fill(
            trade_id, order.id, order.symbol, order.side, price, qty, worth(price, qty), fee, asset, is_maker, ts_ms
        )
        order.take(fill)
        ledger.unlock(order, before - ledger.lock_of(order)[1])
        ledger.settle(fill)
        self._note_fill(client, order, fill, 0)
        return fill

    def ended(self, client: SpotClient, order: Order, status: str, why: int, cancel_id: str) -> None:
        """It is over."""
        client.ledger.unlock(order, client.ledger.lock_of(order)[1])
        order.status = status
        client.note(order)

    def changed(self, client: SpotClient, order: Order, price: int, qty: int, client_id: str) -> None:
        """Its price and quantity are these from now on."""
        before = client.ledger.lock_of(order)[1]
        order.asked.price, order.asked.qty, order.changes = price, qty, order.changes + 1
        order.updated_ms = self._feed.clock.now_ns // 1_000_000
        client.ledger.lock(order, before)
        client.note(order)


class LinearBooks(_Books[LinearClient]):
    """Linear contracts: positions, one-way, on margin of the whole account."""

    def opened(self, client: LinearClient, order: Order) -> None:
        """An order is open."""
        client.link_ids.add(order.client_id)
        client.note(order)

    def executed(
        self, client: LinearClient, order: Order, price: int, qty: int, trade_id: int, is_maker: bool, ts_ms: int
    ) -> Fill:
        """It was executed."""
        ledger = client.ledger
        fee, asset = ledger.fee_of(order, price, qty, self._rate(is_maker))
        held = ledger.position(order.symbol.index)
        is_against = held.qty < 0 if order.side == BUY else held.qty > 0
        closed = min(qty, abs(held.qty)) if is_against else 0
        realized = held.take(order.side, price, qty)
        held.updated_ms = ts_ms
        fill = Fill(
            trade_id, order.id, order.symbol, order.side, price, qty, worth(price, qty), fee, asset, is_maker, ts_ms,
            realized,
        )  # fmt: skip
        order.take(fill)
        ledger.settle(fill)
        self._note_fill(client, order, fill, closed)
        return fill

    def ended(self, client: LinearClient, order: Order, status: str, why: int, cancel_id: str) -> None:
        """It is over."""
        order.status = status
        client.note(order)

    def changed(self, client: LinearClient, order: Order, price: int, qty: int, client_id: str) -> None:
        """Its price and quantity are these from now on."""
        order.asked.price, order.asked.qty, order.changes = price, qty, order.changes + 1
        order.updated_ms = self._feed.clock.now_ns // 1_000_000
        client.note(order)
