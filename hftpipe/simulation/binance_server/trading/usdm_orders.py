"""USD-M: from the parameters of a new order to one that may enter the book.

Filters are those of ``exchangeInfo``; prices are measured by the mark price. What reduces a position needs no margin. A
reduce-only order must fit into the position beside the other reduce-only ones.
"""

from dataclasses import dataclass

from hftpipe.core.schema.records import BUY, SELL
from hftpipe.simulation.binance_server.answers import Answers, Refused
from hftpipe.simulation.binance_server.listing import MAX_ORDERS, PERCENT, TRADING, steps_of
from hftpipe.simulation.binance_server.trading.params import (
    Params,
    amount_in,
    choice_in,
    client_id_in,
    flag_in,
    needed_amount,
)
from hftpipe.simulation.binance_server.trading.refused import missing, refuse_all, unwanted
from hftpipe.simulation.binance_server.trading.usdm_books import UsdmTrader
from hftpipe.simulation.binance_server.trading.usdm_payloads import ONE_WAY
from hftpipe.simulation.market_server.market import Market
from hftpipe.simulation.market_server.trading import orders as words
from hftpipe.simulation.market_server.trading.orders import NewOrder, worth

CLIENT_ID = r"^[\.A-Z\:/a-z0-9_-]{1,36}$"
_CONDITIONAL = ("STOP", "STOP_MARKET", "TAKE_PROFIT", "TAKE_PROFIT_MARKET", "TRAILING_STOP_MARKET")
_NOT_SERVED = ("stopPrice", "activationPrice", "callbackRate", "goodTillDate")
_TIFS = (words.GTC, words.IOC, words.FOK, words.GTX)
_STPS = (words.EXPIRE_TAKER, words.EXPIRE_MAKER, words.EXPIRE_BOTH)
_SCALE = 10**8


@dataclass(frozen=True)
class UsdmEntry:
    """What checks new orders of USD-M.

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
        if flag_in(params, "closePosition") or params.get("priceMatch", words.STP_NONE) != words.STP_NONE:
            raise Refused(-1106, "Neither closePosition nor priceMatch is served by the simulated venue.")
        side = choice_in(params, "side", ("BUY", "SELL"), -1117, "Invalid side.")
        if params.get("type") in _CONDITIONAL:
            raise Refused(
                -4120, "Order type not supported for this endpoint. Please use the Algo Order API endpoints instead."
            )
        kind = choice_in(params, "type", (words.LIMIT, words.MARKET), -1116, "Invalid orderType.")
        if params.get("positionSide", ONE_WAY) != ONE_WAY:
            raise Refused(-4061, "Order's position side does not match user's setting.")
        if kind == words.LIMIT:
            tif = choice_in(params, "timeInForce", _TIFS, -1115, "Invalid timeInForce.")
            price = needed_amount(params, "price", symbol.decimals.price)
        else:
            tif, price = words.GTC, 0
            if "price" in params:
                raise unwanted("price")
        text = "Data sent for parameter 'selfTradePreventionMode' is not valid."
        return NewOrder(
            symbol, BUY if side == "BUY" else SELL, kind, tif, price,
            needed_amount(params, "quantity", symbol.decimals.qty),
            client_id=client_id_in(params, "newClientOrderId", CLIENT_ID),
            reduce_only=flag_in(params, "reduceOnly"),
            stp=choice_in(params, "selfTradePreventionMode", _STPS, -1130, text, words.EXPIRE_MAKER),
            answer=choice_in(params, "newOrderRespType", ("ACK", "RESULT"), -1130, "Invalid newOrderRespType.", "ACK"),
        )  # fmt: skip

    def read_change(self, params: Params, price: int, qty: int) -> tuple[int, int]:
        """Price and total that a change asks for; those of now are given.

        Raises:
            Refused: there is none.
        """
        symbol = self.answers.symbol_of(params)
        new_price = amount_in(params, "price", symbol.decimals.price)
        new_qty = amount_in(params, "quantity", symbol.decimals.qty)
        if new_price is None and new_qty is None:
            raise missing("price")
        return (price if new_price is None else new_price), (qty if new_qty is None else new_qty)

    def check(self, trader: UsdmTrader, asked: NewOrder, replaced: int = 0, executed: int = 0) -> None:
        """Let an order through that the filters, the account's other orders and its margin allow.

        Args:
            replaced: id of the order that it takes the place of, 0 if none; executed: how much of that is.

        Raises:
            Refused: they do not.
        """
        index = asked.symbol.index
        if self.market.statuses.get(index, TRADING) != TRADING:
            raise Refused(-4108, "Symbol is on delivering or delivered or settling or closed or pre-trading.")
        self._filters(asked)
        if not replaced and len(trader.orders.open.get(index, ())) >= MAX_ORDERS:
            raise Refused(-2025, "Reach max open order limit.")
        if not replaced and asked.client_id and trader.orders.is_taken(index, asked.client_id):
            raise Refused(-4116, "ClientOrderId is duplicated.")
        if asked.reduce_only:
            self._reduces(trader, asked, replaced, executed)
        else:
            self._margin(trader, asked, replaced, executed)

    def _filters(self, asked: NewOrder) -> None:
        row = self.market.listing.instruments[asked.symbol.index]
        tick, most_price, lot, most_qty = steps_of(row)
        mark, decimals = self.answers.mark_price(asked.symbol), asked.symbol.decimals
        if asked.type == words.LIMIT:
            price = asked.price
            if price <= 0:
                raise Refused(-4001, "Price less than 0.")
            if price > most_price:
                raise Refused(-4002, "Price greater than max price.")
            if price < tick:
                raise Refused(-4013, f"Price less than min price {decimals.price_text(tick)}.")
            if price % tick:
                raise Refused(-4014, "Price not increased by tick size.")
            low, high = (mark * share // _SCALE for share in PERCENT["usdm"])
            if price > high and asked.side == BUY:
                raise Refused(-4016, f"Limit price can't be higher than {decimals.price_text(high)}.")
            if price < low and asked.side == SELL:
                raise Refused(-4024, f"Limit price can't be lower than {decimals.price_text(low)}.")
        if asked.qty <= 0:
            raise Refused(-4003, "Quantity less than or equal to zero.")
        if asked.qty < lot:
            raise Refused(-4004, "Quantity less than min quantity.")
        if asked.qty > most_qty:
            raise Refused(-4005, "Quantity greater than max quantity.")
        if asked.qty % lot:
            raise Refused(-4023, "Quantity not increased by step size.")
        least = int(row["min_notional"])
        if not asked.reduce_only and worth(asked.price or mark, asked.qty) < least:
            raise Refused(
                -4164, f"Order's notional must be no smaller than {least // _SCALE} (unless you choose reduce only)."
            )

    def _reduces(self, trader: UsdmTrader, asked: NewOrder, replaced: int, executed: int) -> None:
        held = trader.ledger.position(asked.symbol.index).qty
        others = sum(
            one.left for one in trader.orders.of(asked.symbol.index) if one.asked.reduce_only and one.id != replaced
        )
        is_against = held < 0 if asked.side == BUY else held > 0
        if not is_against or asked.qty - executed > abs(held) - others:
            raise Refused(-2022, "ReduceOnly Order is rejected.")

    def _margin(self, trader: UsdmTrader, asked: NewOrder, replaced: int, executed: int) -> None:
        ledger, index = trader.ledger, asked.symbol.index
        old = trader.orders.by_id(index, replaced) if replaced else None
        more = asked.qty - executed - (old.left if old else 0)
        before = sum(ledger.margin(index, trader.orders))
        added = sum(ledger.margin(index, trader.orders, {asked.side: more})) - before
        if added > 0 and added > ledger.available(ledger.quotes[index], trader.orders):
            raise Refused(-2019, "Margin is insufficient.")
