"""How requests about orders are said over Bybit's WebSocket interface, as templates (4.1, 4.3): one log-in, no signature a request."""

import numpy as np

from hftpipe.core.schema.records import BUY, FOK, GTC, IOC, MARKET, POST_ONLY, SELL
from hftpipe.venues.orders.requests import CANCEL_IT, CHANGE, NO_TEMPLATE, PLACE, VARIANTS, variant_of
from hftpipe.venues.orders.template import Piece, Value

_SIDES = {BUY: "Buy", SELL: "Sell"}
_TIFS = {GTC: "GTC", IOC: "IOC", FOK: "FOK", POST_ONLY: "PostOnly", MARKET: ""}
#: Quoted values and others that an order has; a Value is quoted.
_Param = tuple[str, str | Value]


class Wire:
    """The requests of a category as templates.

    Attributes:
        templates: in the order in which ``variants`` numbers them; variants: int64[VARIANTS], NO_TEMPLATE for what cannot be said.

    Args:
        category: ``spot`` or ``linear``; recv_window_ms: how old a request may be.
    """

    def __init__(self, category: str, recv_window_ms: int) -> None:
        self._category, self._window = category, recv_window_ms
        self.templates: list[list[Piece]] = []
        self.variants = np.full(VARIANTS, NO_TEMPLATE, np.int64)
        cancel = self._add("order.cancel", [("orderLinkId", Value.OLD_CLIENT_ID)])
        change = self._add(
            "order.amend",
            [("orderLinkId", Value.OLD_CLIENT_ID), ("qty", Value.QUANTITY), ("price", Value.PRICE)],
        )
        for side in _SIDES:
            for tif in _TIFS:
                for is_reduce_only in (False, True):
                    at = [variant_of(what, side, tif, is_reduce_only) for what in (PLACE, CHANGE, CANCEL_IT)]
                    self.variants[at[2]] = cancel
                    if category == "spot" and is_reduce_only:
                        continue
                    self.variants[at[0]] = self._place(side, tif, is_reduce_only)
                    if tif != MARKET:
                        self.variants[at[1]] = change

    def _place(self, side: int, tif: int, is_reduce_only: bool) -> int:
        params: list[_Param] = [("side", _SIDES[side]), ("orderType", "Market" if tif == MARKET else "Limit")]
        params += [("qty", Value.QUANTITY), ("orderLinkId", Value.CLIENT_ID)]
        if tif != MARKET:
            params += [("price", Value.PRICE), ("timeInForce", _TIFS[tif])]
        elif self._category == "spot":
            # Else the quantity of a purchase would be in the quote currency.
            params.append(("marketUnit", "baseCoin"))
        return self._add("order.create", params, ',"reduceOnly":true' if is_reduce_only else "")

    def _add(self, op: str, params: list[_Param], tail: str = "") -> int:
        pieces = [
            Piece('{"reqId":"', value=Value.REQUEST_ID),
            Piece('","header":{"X-BAPI-TIMESTAMP":"', value=Value.TIMESTAMP),
        ]
        text = (
            f'","X-BAPI-RECV-WINDOW":"{self._window}"}},"op":"{op}","args":[{{"category":"{self._category}","symbol":"'
        )
        pieces.append(Piece(text, value=Value.SYMBOL))
        text = '"'
        for name, value in params:
            text += f',"{name}":"'
            if isinstance(value, Value):
                pieces.append(Piece(text, value=value))
                text = '"'
            else:
                text += value + '"'
        self.templates.append([*pieces, Piece(text + tail + "}]}")])
        return len(self.templates) - 1
