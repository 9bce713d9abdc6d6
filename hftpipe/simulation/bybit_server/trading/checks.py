"""What lets a new or changed order through: filters of ``instruments-info``, the account's other orders, and what it has.

A price beyond the limit (5 % from the mark price) is refused on spot, and moved to the limit in linear, unless the account has asked for
the other. A reduce-only order is cut down to what the other reduce-only ones leave of the position.
"""

from dataclasses import dataclass
from typing import Any

from hftpipe.core.schema.records import BUY, SELL
from hftpipe.simulation.bybit_server.feed import Feed
from hftpipe.simulation.bybit_server.listing import TRADED, currencies_of, market_most, steps_of
from hftpipe.simulation.bybit_server.trading.account import Client, UnifiedAccount
from hftpipe.simulation.bybit_server.trading.refused import (
    BUY_BAND,
    CLOSED,
    DUPLICATE,
    FUNDS,
    LEAST_QTY,
    MANY_ORDERS,
    MOST_QTY,
    ORDER_VALUE,
    PRICE_RANGE,
    QTY,
    REDUCES_NOTHING,
    SELL_BAND,
    TICK,
    refusal,
)
from hftpipe.simulation.bybit_server.trading.settings import PRICE_BAND, TRADING
from hftpipe.simulation.market_server.trading import orders as words
from hftpipe.simulation.market_server.trading.margin_ledger import MarginLedger
from hftpipe.simulation.market_server.trading.market_orders import bought_for, cost_of, levels_met
from hftpipe.simulation.market_server.trading.orders import NewOrder, Order, worth

_SCALE = 10**8


@dataclass(frozen=True)
class Checks:
    """Of one category. ``feed``: its market."""

    feed: Feed

    @property
    def category(self) -> str:
        """``spot`` or ``linear``."""
        return self.feed.rules.name

    def _row(self, asked: NewOrder) -> Any:
        return self.feed.market.listing.instruments[asked.symbol.index]

    def _mark(self, asked: NewOrder) -> int:
        return self.feed.market.fair_price(asked.symbol.index)

    def check_new(self, account: UnifiedAccount, asked: NewOrder) -> None:
        """Let a new order through, its price and quantity as they will be.

        Raises:
            Refused: it is not let through.
        """
        client = account.clients[self.category]
        opened = client.orders.open
        count = len(client.orders.of()) if self.category == "spot" else len(opened.get(asked.symbol.index, ()))
        if count >= TRADING[self.category].orders_most:
            raise refusal(self.category, MANY_ORDERS)
        if asked.client_id and asked.client_id in client.link_ids:
            raise refusal(self.category, DUPLICATE)
        self.check(account, asked, None)

    def check(self, account: UnifiedAccount, asked: NewOrder, replaced: Order | None) -> None:
        """Let an order through that takes the place of another one, or of none.

        Raises:
            Refused: it is not let through.
        """
        if self.feed.market.statuses.get(asked.symbol.index, TRADED) != TRADED:
            raise refusal(self.category, CLOSED)
        if asked.reduce_only:
            self._cut_down(account.clients["linear"], asked, replaced)
        if asked.type != words.MARKET:
            self._price(account, asked)
        if not asked.quote_qty:
            self._qty(asked)
        price = asked.price or self._mark(asked)
        if not asked.reduce_only and (asked.quote_qty or worth(price, asked.qty)) < int(
            self._row(asked)["min_notional"]
        ):
            raise refusal(self.category, ORDER_VALUE)
        if self.category == "spot":
            self._spot_funds(account, asked, replaced)
        elif not asked.reduce_only:
            self._margin(account.clients["linear"], asked, replaced)

    def _price(self, account: UnifiedAccount, asked: NewOrder) -> None:
        tick, most, _, _ = steps_of(self._row(asked))
        if not tick <= asked.price <= most:
            raise refusal(self.category, PRICE_RANGE)
        if asked.price % tick:
            raise refusal(self.category, TICK)
        mark = self._mark(asked)
        is_buy = asked.side == BUY
        limit = mark * (_SCALE + (PRICE_BAND if is_buy else -PRICE_BAND)) // _SCALE // tick * tick
        if asked.price > limit if is_buy else asked.price < limit:
            if account.refuses_prices[self.category]:
                bands = {"spot": (BUY_BAND, SELL_BAND), "linear": (PRICE_RANGE, PRICE_RANGE)}[self.category]
                raise refusal(self.category, bands[0 if is_buy else 1])
            asked.price = limit

    def _qty(self, asked: NewOrder) -> None:
        row = self._row(asked)
        _, _, lot, most = steps_of(row)
        if asked.type == words.MARKET and self.category == "linear":
            most = market_most(row)
        if asked.qty % lot:
            raise refusal(self.category, QTY)
        if asked.qty < lot:
            raise refusal(self.category, LEAST_QTY)
        if asked.qty > most:
            raise refusal(self.category, MOST_QTY)

    def _spot_funds(self, account: UnifiedAccount, asked: NewOrder, replaced: Order | None) -> None:
        base, quote = currencies_of(self._row(asked))
        coin = base if asked.side == SELL else quote
        if replaced is not None:
            executed = replaced.executed
            need = asked.qty - executed if asked.side == SELL else worth(asked.price, asked.qty - executed)
            need -= account.spot.lock_of(replaced)[1]
        elif asked.type == words.MARKET:
            levels = levels_met(self.feed.market, account.clients["spot"].orders, asked)
            if asked.quote_qty:
                asked.qty = bought_for(levels, asked.quote_qty, steps_of(self._row(asked))[2])
                if not asked.qty:
                    raise refusal("spot", ORDER_VALUE)
            need = asked.qty if asked.side == SELL else cost_of(levels, asked.qty)
        else:
            need = asked.qty if asked.side == SELL else worth(asked.price, asked.qty)
        if need > 0 and need > account.spendable(coin):
            raise refusal("spot", FUNDS)

    def _margin(self, client: Client[MarginLedger], asked: NewOrder, replaced: Order | None) -> None:
        ledger, index = client.ledger, asked.symbol.index
        more = asked.qty - (replaced.executed + replaced.left if replaced else 0)
        added = sum(ledger.margin(index, client.orders, {asked.side: more})) - sum(ledger.margin(index, client.orders))
        if added > 0 and added > ledger.available(ledger.quotes[index], client.orders):
            raise refusal("linear", FUNDS)

    def _cut_down(self, client: Client[MarginLedger], asked: NewOrder, replaced: Order | None) -> None:
        held = client.ledger.position(asked.symbol.index).qty
        is_against = held < 0 if asked.side == BUY else held > 0
        others = [one for one in client.orders.of(asked.symbol.index) if one.asked.reduce_only and one is not replaced]
        free = abs(held) - sum(one.left for one in others) if is_against else 0
        if free <= 0:
            raise refusal("linear", REDUCES_NOTHING)
        # 0 closes all of it.
        asked.qty = min(asked.qty or free, free + (replaced.executed if replaced else 0))
