"""Spot: from the parameters of a new order to one that may enter the book.

Filters are those of ``exchangeInfo``. The price of PERCENT_PRICE_BY_SIDE and of the NOTIONAL of market orders is the average of
the last five minutes.
"""

from dataclasses import dataclass

from hftpipe.core.schema.records import BUY, SELL
from hftpipe.simulation.binance_server.answers import Answers, Refused
from hftpipe.simulation.binance_server.listing import (
    MAX_NOTIONAL,
    MAX_ORDERS,
    PERCENT,
    TRADING,
    currencies_of,
    steps_of,
)
from hftpipe.simulation.binance_server.trading.params import (
    Params,
    amount_in,
    choice_in,
    client_id_in,
    needed_amount,
)
from hftpipe.simulation.binance_server.trading.refused import filter_failure, missing, refuse_all, unwanted
from hftpipe.simulation.binance_server.trading.spot_books import SpotTrader
from hftpipe.simulation.market_server.market import Market
from hftpipe.simulation.market_server.symbols import Symbol
from hftpipe.simulation.market_server.trading import orders as words
from hftpipe.simulation.market_server.trading.market_orders import bought_for, cost_of, levels_met
from hftpipe.simulation.market_server.trading.orders import NewOrder, worth

CLIENT_ID = "^[a-zA-Z0-9-_]{1,36}$"
_TYPES = (words.LIMIT, words.LIMIT_MAKER, words.MARKET)
#: Types that the venue has and this one does not.
_OTHER_TYPES = ("STOP_LOSS", "STOP_LOSS_LIMIT", "TAKE_PROFIT", "TAKE_PROFIT_LIMIT")
_NOT_SERVED = (
    "stopPrice", "trailingDelta", "icebergQty", "pegPriceType", "pegOffsetType", "pegOffsetValue",
)  # fmt: skip
_TIFS = (words.GTC, words.IOC, words.FOK)
_STPS = (words.STP_NONE, words.EXPIRE_TAKER, words.EXPIRE_MAKER, words.EXPIRE_BOTH)
_SCALE = 10**8


@dataclass(frozen=True)
class SpotEntry:
    """What checks new orders of spot.

    Attributes:
        answers: of the market; market: its books.
    """

    answers: Answers
    market: Market

    def read(self, params: Params) -> NewOrder:
        """The order that is asked for.

        Raises:
            Refused: the parameters make none.
        """
        symbol = self.answers.symbol_of(params)
        refuse_all(params, _NOT_SERVED)
        side = choice_in(params, "side", ("BUY", "SELL"), -1117, "Invalid side.")
        kind = params.get("type", "")
        if not kind:
            raise missing("type")
        if kind in _OTHER_TYPES:
            raise Refused(-1013, "This order type is not served by the simulated venue.")
        choice_in(params, "type", _TYPES, -1116, "Invalid orderType.")
        tif = self._tif(params, kind)
        price = needed_amount(params, "price") if kind != words.MARKET else 0
        if kind == words.MARKET and "price" in params:
            raise unwanted("price")
        quote_qty = amount_in(params, "quoteOrderQty") if kind == words.MARKET else None
        if quote_qty is None:
            qty = needed_amount(params, "quantity")
        elif "quantity" in params:
            raise Refused(-1128, "Combination of optional parameters invalid.")
        else:
            qty = 0
        default = "ACK" if kind == words.LIMIT_MAKER else "FULL"
        text = "Invalid newOrderRespType."
        return NewOrder(
            symbol, BUY if side == "BUY" else SELL, kind, tif, price, qty, quote_qty or 0,
            client_id_in(params, "newClientOrderId", CLIENT_ID),
            stp=choice_in(params, "selfTradePreventionMode", _STPS, -1130, "Data sent for parameter 'selfTradePreventionMode' is not valid.", words.EXPIRE_MAKER),
            answer=choice_in(params, "newOrderRespType", ("ACK", "RESULT", "FULL"), -1130, text, default),
        )  # fmt: skip

    @staticmethod
    def _tif(params: Params, kind: str) -> str:
        if kind == words.LIMIT:
            return choice_in(params, "timeInForce", _TIFS, -1115, "Invalid timeInForce.")
        if "timeInForce" in params:
            raise unwanted("timeInForce")
        return words.GTC

    def check(self, trader: SpotTrader, asked: NewOrder) -> None:
        """Let an order through that the filters, the account's other orders and its balances allow; what a quote quantity buys or
        sells is found here.

        Raises:
            Refused: they do not.
        """
        index = asked.symbol.index
        if self.market.statuses.get(index, TRADING) != TRADING:
            raise Refused(-2010, "Market is closed.")
        self._filters(asked)
        if len(trader.orders.open.get(index, ())) >= MAX_ORDERS:
            raise filter_failure("MAX_NUM_ORDERS")
        if asked.client_id and trader.orders.is_taken(index, asked.client_id):
            raise Refused(-2010, "Duplicate order sent.")
        base, quote = currencies_of(self.market.listing.instruments[index])
        if asked.quote_qty:
            lot = steps_of(self.market.listing.instruments[index])[2]
            asked.qty = bought_for(levels_met(self.market, trader.orders, asked), asked.quote_qty, lot)
        if not asked.qty:
            raise filter_failure("LOT_SIZE")
        if asked.side == SELL:
            need = base, asked.qty
        elif asked.type == words.MARKET:
            need = quote, cost_of(levels_met(self.market, trader.orders, asked), asked.qty)
        else:
            need = quote, worth(asked.price, asked.qty)
        if need[1] > trader.ledger.free[need[0]]:
            raise Refused(-2010, "Account has insufficient balance for requested action.")

    def _filters(self, asked: NewOrder) -> None:
        row = self.market.listing.instruments[asked.symbol.index]
        tick, most_price, lot, most_qty = steps_of(row)
        reference = self.reference(asked.symbol)
        price = asked.price if asked.type != words.MARKET else reference
        if asked.type != words.MARKET:
            if not tick <= price <= most_price or price % tick:
                raise filter_failure("PRICE_FILTER")
            low, high = PERCENT["spot"]
            if not reference * low // _SCALE <= price <= reference * high // _SCALE:
                raise filter_failure("PERCENT_PRICE_BY_SIDE")
        if not asked.quote_qty and (not lot <= asked.qty <= most_qty or asked.qty % lot):
            raise filter_failure("LOT_SIZE")
        value = asked.quote_qty or worth(price, asked.qty)
        if value < int(row["min_notional"]) or (asked.type != words.MARKET and value > MAX_NOTIONAL):
            raise filter_failure("NOTIONAL")

    def reference(self, symbol: Symbol) -> int:
        """The price that others are measured by."""
        return self.answers.average_price(symbol) or self.answers.mark_price(symbol)
