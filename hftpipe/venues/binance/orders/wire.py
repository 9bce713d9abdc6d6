"""How requests about orders are said to Binance, as templates (spot 1.7 and 1.9, USD-M 2.4 and 2.5): over its WebSocket interface, or
over REST, where the same parameters are a query.

What is signed are all parameters but the signature, ``k=v`` joined by ``&``, over WebSocket sorted by name, over REST just as they are
sent (section 3). After a log-in (``session.logon``, Ed25519 alone) neither key nor signature is sent.
"""

from collections.abc import Sequence

import numpy as np

from hftpipe.core.schema.records import BUY, FOK, GTC, IOC, MARKET, POST_ONLY, SELL
from hftpipe.transport.http.head import head_text, target_of
from hftpipe.venues.orders.facts import CANCEL_IT, CHANGE, PLACE
from hftpipe.venues.orders.requests import NO_TEMPLATE, VARIANTS, variant_of
from hftpipe.venues.orders.template import Piece, Value

Param = tuple[str, str | Value]
_SIDES = {BUY: "BUY", SELL: "SELL"}
_TIFS = (GTC, IOC, FOK, POST_ONLY, MARKET)
#: Values that are numbers in the message; all others are texts.
_NUMBERS = ("recvWindow", "timestamp")
#: What makes a time in force, apart from side and amounts; price: whether the order has one.
_SPOT = {
    GTC: {"type": "LIMIT", "timeInForce": "GTC"},
    IOC: {"type": "LIMIT", "timeInForce": "IOC"},
    FOK: {"type": "LIMIT", "timeInForce": "FOK"},
    POST_ONLY: {"type": "LIMIT_MAKER"},
    MARKET: {"type": "MARKET"},
}
_USDM = {**_SPOT, POST_ONLY: {"type": "LIMIT", "timeInForce": "GTX"}}
#: Where REST takes what the WebSocket interface calls so.
_SPOT_PATHS = {
    "order.place": ("POST", "/api/v3/order"), "order.cancel": ("DELETE", "/api/v3/order"),
    "order.cancelReplace": ("POST", "/api/v3/order/cancelReplace"),
}  # fmt: skip
_USDM_PATHS = {
    "order.place": ("POST", "/fapi/v1/order"), "order.cancel": ("DELETE", "/fapi/v1/order"),
    "order.modify": ("PUT", "/fapi/v1/order"),
}  # fmt: skip


class Wire:
    """The requests of a market as templates.

    Attributes:
        templates: in the order in which ``variants`` numbers them; variants: int64[VARIANTS], NO_TEMPLATE for what cannot be said.

    Args:
        is_spot: which market; api_key: of the account, empty after a log-in; recv_window_ms: how old a request may be.
    """

    def __init__(self, is_spot: bool, api_key: str, recv_window_ms: int) -> None:
        self._is_spot, self._key, self._window = is_spot, api_key, str(recv_window_ms)
        self.templates: list[Sequence[Piece]] = []
        self.variants = np.full(VARIANTS, NO_TEMPLATE, np.int64)
        cancel = self._add("order.cancel", {"origClientOrderId": Value.OLD_CLIENT_ID})
        for side, side_text in _SIDES.items():
            for tif in _TIFS:
                for is_reduce_only in (False, True):
                    at = [variant_of(what, side, tif, is_reduce_only) for what in (PLACE, CHANGE, CANCEL_IT)]
                    self.variants[at[2]] = cancel
                    if not (is_spot and is_reduce_only):
                        self.variants[at[0]] = self._place(side_text, tif, is_reduce_only)
                        if tif != MARKET:
                            self.variants[at[1]] = self._change(side_text, tif)

    def __repr__(self) -> str:
        return f"Wire({len(self.templates)} templates)"

    def _order(self, side: str, tif: int) -> dict[str, str | Value]:
        params: dict[str, str | Value] = {
            "newClientOrderId": Value.CLIENT_ID, "newOrderRespType": "RESULT", "side": side, "quantity": Value.QUANTITY,
        }  # fmt: skip
        params |= (_SPOT if self._is_spot else _USDM)[tif]
        if tif != MARKET:
            params["price"] = Value.PRICE
        return params

    def _place(self, side: str, tif: int, is_reduce_only: bool) -> int:
        params = self._order(side, tif)
        if is_reduce_only:
            params["reduceOnly"] = "true"
        return self._add("order.place", params)

    def _change(self, side: str, tif: int) -> int:
        """USD-M changes the order; spot replaces it by a new one, if nothing of it has filled."""
        if not self._is_spot:
            return self._add(
                "order.modify",
                {
                    "origClientOrderId": Value.OLD_CLIENT_ID, "side": side, "quantity": Value.QUANTITY, "price": Value.PRICE,
                },
            )  # fmt: skip
        replace: dict[str, str | Value] = {
            "cancelReplaceMode": "STOP_ON_FAILURE", "cancelRestrictions": "ONLY_NEW",
            "cancelOrigClientOrderId": Value.OLD_CLIENT_ID,
        }  # fmt: skip
        return self._add("order.cancelReplace", self._order(side, tif) | replace)

    def _add(self, method: str, params: dict[str, str | Value]) -> int:
        common: dict[str, str | Value] = {
            "symbol": Value.SYMBOL,
            "recvWindow": self._window,
            "timestamp": Value.TIMESTAMP,
        }
        if self._key:
            common["apiKey"] = self._key
        self.templates.append(self._said(method, sorted((common | params).items())))
        return len(self.templates) - 1

    def _said(self, method: str, params: list[Param]) -> Sequence[Piece]:
        return _message(method, params, bool(self._key))


class RestWire(Wire):
    """The same over REST: a query, its signature behind it, and no body.

    Args:
        address: of the interface, as :class:`hftpipe.transport.http.rest.RestClient` has it; api_key: of the account, whose key
            for signing is an HMAC one.
    """

    def __init__(self, is_spot: bool, api_key: str, recv_window_ms: int, address: str) -> None:
        self._target, host = target_of(address)
        self._head = head_text(("Host", host), ("X-MBX-APIKEY", api_key), ("Content-Length", "0"))
        self._paths = _SPOT_PATHS if is_spot else _USDM_PATHS
        super().__init__(is_spot, "", recv_window_ms)

    def _said(self, method: str, params: list[Param]) -> Sequence[Piece]:
        verb, path = self._paths[method]
        text, signed, made = f"{verb} {self._target}{path}?", "", list[Piece]()
        for index, (name, value) in enumerate(params):
            part = ("&" if index else "") + f"{name}="
            text, signed = text + part, signed + part
            if isinstance(value, Value):
                made.append(Piece(text, signed, value))
                text = signed = ""
            else:
                text, signed = text + value, signed + value
        made.append(Piece(f"{text}&signature=", signed, Value.SIGNATURE))
        return [*made, Piece(f" HTTP/1.1\r\n{self._head}\r\n")]


def _message(method: str, params: list[Param], is_signed: bool) -> list[Piece]:
    """The segments of a message whose parameters are in order."""
    made, text, signed = (
        [Piece('{"id":"', "", Value.REQUEST_ID, is_signed=False)],
        f'","method":"{method}","params":{{',
        "",
    )
    for index, (name, value) in enumerate(params):
        quote = "" if name in _NUMBERS else '"'
        text += ("," if index else "") + f'"{name}":{quote}'
        signed += ("&" if index else "") + f"{name}="
        if isinstance(value, Value):
            made.append(Piece(text, signed, value))
            text, signed = quote, ""
        else:
            text, signed = text + value + quote, signed + value
    if is_signed:
        made.append(Piece(text + ',"signature":"', signed, Value.SIGNATURE))
        text = '"'
    return [*made, Piece(text + "}}")]
