"""From the parameters of a new order to an order, as both categories read them, and which order a request means."""

from dataclasses import dataclass
from typing import Any

from hftpipe.core.schema.records import BUY, SELL
from hftpipe.simulation.bybit_server.feed import Feed
from hftpipe.simulation.bybit_server.trading.account import Client
from hftpipe.simulation.bybit_server.trading.ids import order_place
from hftpipe.simulation.bybit_server.trading.params import (
    Params,
    amount_in,
    choice_in,
    flag_in,
    link_in,
    number_in,
    refuse_all,
    text_in,
)
from hftpipe.simulation.bybit_server.trading.payloads import SMPS, TIFS
from hftpipe.simulation.bybit_server.trading.refused import NO_ORDER, SYMBOL, not_served, refusal, wrong
from hftpipe.simulation.market_server.symbols import Symbol
from hftpipe.simulation.market_server.trading import orders as words
from hftpipe.simulation.market_server.trading.orders import NewOrder, Order

_NOT_SERVED = (
    "triggerPrice", "triggerDirection", "takeProfit", "stopLoss", "tpslMode", "bboSideType", "bboLevel", "isLeverage",
    "slippageToleranceType", "slippageTolerance", "orderIv", "mmp", "rpiTakerAccess",
)  # fmt: skip
_ORDER_FILTER = "Order"


@dataclass(frozen=True)
class Asking:
    """Reads what is asked of one category. ``feed``: its market."""

    feed: Feed

    @property
    def category(self) -> str:
        """``spot`` or ``linear``."""
        return self.feed.rules.name

    def symbol(self, params: Params) -> Symbol:
        """The symbol that is named.

        Raises:
            Refused: none is, or one that is not listed.
        """
        symbol = self.feed.symbols.by_name.get(text_in(params, "symbol"))
        if symbol is None:
            raise refusal(self.category, SYMBOL)
        return symbol

    def new_order(self, params: Params) -> NewOrder:
        """The order that is asked for.

        Raises:
            Refused: the parameters make none.
        """
        symbol = self.symbol(params)
        refuse_all(params, _NOT_SERVED)
        if text_in(params, "orderFilter", _ORDER_FILTER) != _ORDER_FILTER:
            raise not_served("orderFilter")
        if number_in(params, "positionIdx", 0):
            raise wrong("positionIdx", "0: position idx not match position mode")
        side = BUY if choice_in(params, "side", ("Buy", "Sell")) == "Buy" else SELL
        kind = choice_in(params, "orderType", ("Limit", "Market"))
        is_market = kind == "Market"
        tif, qty = self._tif(params, is_market), amount_in(params, "qty")
        if qty is None:
            raise wrong("qty")
        price = 0 if is_market else amount_in(params, "price")
        if price is None:
            raise wrong("price")
        quote_qty = qty if is_market and self._is_by_quote(params, side) else 0
        return NewOrder(
            symbol, side, words.MARKET if is_market else words.LIMIT, tif, price, 0 if quote_qty else qty, quote_qty,
            link_in(params), self._reduces(params), SMPS[choice_in(params, "smpType", tuple(SMPS), "None")],
        )  # fmt: skip

    @staticmethod
    def _tif(params: Params, is_market: bool) -> str:
        if text_in(params, "timeInForce") == "RPI":
            raise not_served("timeInForce RPI")
        given = choice_in(params, "timeInForce", tuple(TIFS), "IOC" if is_market else "GTC")
        return words.IOC if is_market else TIFS[given]

    def _is_by_quote(self, params: Params, side: int) -> bool:
        """Spot: market orders to buy are by value unless they say otherwise."""
        if self.category != "spot":
            return False
        default = "quoteCoin" if side == BUY else "baseCoin"
        return choice_in(params, "marketUnit", ("baseCoin", "quoteCoin"), default) == "quoteCoin"

    def _reduces(self, params: Params) -> bool:
        reduces, closes = flag_in(params, "reduceOnly"), flag_in(params, "closeOnTrigger")
        return (reduces or closes) and self.category == "linear"

    def find(self, client: Client[Any], params: Params) -> Order | None:
        """The order that is named, by its id if both are given; None: there is none of that name.

        Raises:
            Refused: none is named.
        """
        text, link = text_in(params, "orderId"), link_in(params)
        if not text and not link:
            raise wrong("orderId", "orderId or orderLinkId must be sent")
        name = text_in(params, "symbol")
        if text:
            place = order_place(self.category, text)
            found = client.orders.by_id(*place) if place else None
        else:
            indexes = [self.symbol(params).index] if name else range(len(self.feed.symbols.all))
            among = (client.orders.by_client(index, link) for index in indexes)
            found = next((one for one in among if one is not None), None)
        return found if found is None or name in ("", found.symbol.name) else None

    def open_order(self, client: Client[Any], params: Params) -> Order:
        """The same, if it is open.

        Raises:
            Refused: it is not.
        """
        self.symbol(params)
        order = self.find(client, params)
        if order is None or not order.is_open:
            raise refusal(self.category, NO_ORDER)
        return order
