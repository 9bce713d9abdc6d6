"""How a capture of Bybit's v5 streams is told by its lines: contracts from spot by the ids of trades, and by the place of a key."""

import re
from typing import Any

from hftpipe.core.machine.fixed import DECIMALS
from hftpipe.venues.contract import Evidence

LINEAR, SPOT = "bybit_linear", "bybit_spot"
_DECIMAL = re.compile(rf"(\d{{1,40}})(?:\.(\d{{0,{DECIMALS}}})0*)?", re.ASCII)
EVENTS = "a Bybit orderbook or publicTrade message"


def _e8(text: Any) -> int:
    """A decimal number in 1e-8, of any size. ValueError if it is none, or has more decimals."""
    if not isinstance(text, str) or not (found := _DECIMAL.fullmatch(text)):
        raise ValueError("not a plain decimal number")
    return int(found[1] + (found[2] or "").ljust(DECIMALS, "0"))


def _book_market(payload: dict[str, Any], depth: str) -> str:
    """Futures write ``type`` before ``ts``, spot after it; of level 1, and where a recorder has sorted the keys, nothing is told."""
    keys = list(payload)
    if depth == "1" or keys[0] != "topic" or not {"type", "ts"} <= payload.keys():
        return ""
    return LINEAR if keys.index("type") < keys.index("ts") else SPOT


def _trade_market(data: Any) -> str:
    """Ids of trades are numbers in spot, UUIDs elsewhere."""
    number = data[0].get("i") if isinstance(data, list) and data and isinstance(data[0], dict) else None
    if not isinstance(number, str):
        return ""
    return SPOT if number.isdigit() else LINEAR


def _pairs(name: str, data: Any) -> list[tuple[Any, Any]]:
    """Prices and quantities of a book or of trades, as text."""
    if name == "orderbook":
        return [(price, qty) for price, qty in (*data["b"], *data["a"])]
    return [(one["p"], one["v"]) for one in data]


def _levels(name: str, data: Any) -> list[tuple[int, int]]:
    try:
        return [(_e8(price), _e8(qty)) for price, qty in _pairs(name, data)]
    except (KeyError, TypeError, ValueError):
        return []


def recognise(payload: Any) -> Evidence:
    """What a JSON value says about its capture."""
    topic = payload.get("topic") if isinstance(payload, dict) else None
    name, _, rest = topic.partition(".") if isinstance(topic, str) else ("", "", "")
    data = payload.get("data") if name else None
    if name == "publicTrade" and rest:
        return Evidence(rest, _levels(name, data), _trade_market(data))
    depth, _, symbol = rest.partition(".")
    if name != "orderbook" or not depth.isdigit() or not symbol:
        return Evidence()
    return Evidence(symbol, _levels(name, data), _book_market(payload, depth), payload.get("type") == "snapshot")
