"""How requests about orders are said to Bybit, as templates (4.1, 4.3): over its WebSocket interface, where one log-in is enough, or over
REST, where each is signed (7): its time, the key, the window, and its body to the byte."""

from dataclasses import replace

import numpy as np

from hftpipe.core.schema.records import BUY, FOK, GTC, IOC, MARKET, POST_ONLY, SELL
from hftpipe.transport.http.head import head_text, target_of
from hftpipe.venues.orders.facts import CANCEL_IT, CHANGE, PLACE
from hftpipe.venues.orders.requests import NO_TEMPLATE, VARIANTS, variant_of
from hftpipe.venues.orders.template import Piece, Value

_SIDES = {BUY: "Buy", SELL: "Sell"}
_TIFS = {GTC: "GTC", IOC: "IOC", FOK: "FOK", POST_ONLY: "PostOnly", MARKET: ""}
#: Where REST takes what the WebSocket interface calls so.
_PATHS = {f"order.{name}": f"/v5/order/{name}" for name in ("create", "amend", "cancel")}
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
        given: list[_Param] = [("category", self._category), ("symbol", Value.SYMBOL), *params]
        self.templates.append(self._said(op, _object(given, tail)))
        return len(self.templates) - 1

    def _said(self, op: str, args: list[Piece]) -> list[Piece]:
        """A request with ``args``, whose pieces are text alone."""
        text = f'","X-BAPI-RECV-WINDOW":"{self._window}"}},"op":"{op}","args":['
        return [
            Piece('{"reqId":"', value=Value.REQUEST_ID),
            Piece('","header":{"X-BAPI-TIMESTAMP":"', value=Value.TIMESTAMP),
            replace(args[0], text=text + args[0].text),
            *args[1:-1],
            replace(args[-1], text=args[-1].text + "]}"),
        ]


class RestWire(Wire):
    """The same over REST: ``args`` is the body.

    Args:
        address: of the interface, as :class:`hftpipe.transport.http.rest.RestClient` has it; api_key: of the account, whose key for
            signing is an HMAC one.
    """

    def __init__(self, category: str, recv_window_ms: int, address: str, api_key: str) -> None:
        self._target, host = target_of(address)
        self._head = head_text(
            ("Host", host), ("Content-Type", "application/json"), ("X-BAPI-API-KEY", api_key),
            ("X-BAPI-RECV-WINDOW", str(recv_window_ms)),
        )  # fmt: skip
        self._key = api_key
        super().__init__(category, recv_window_ms)

    def _said(self, op: str, args: list[Piece]) -> list[Piece]:
        start = f"POST {self._target}{_PATHS[op]} HTTP/1.1\r\n{self._head}"
        return [
            Piece(f"{start}X-BAPI-TIMESTAMP: ", "", Value.TIMESTAMP),
            Piece("\r\nX-BAPI-SIGN: ", f"{self._key}{self._window}", Value.SIGNATURE_AHEAD),
            Piece("\r\nContent-Length: ", "", Value.BODY_BYTES),
            Piece("\r\n\r\n", "", Value.BODY),
            *(replace(one, signed=one.text) for one in args),
        ]


def _object(params: list[_Param], tail: str) -> list[Piece]:
    """A JSON object of texts, ``tail`` behind them."""
    made, text = list[Piece](), ""
    for name, value in params:
        text += ("," if made or text else "{") + f'"{name}":"'
        if isinstance(value, Value):
            made.append(Piece(text, value=value))
            text = '"'
        else:
            text += value + '"'
    return [*made, Piece(text + tail + "}")]
