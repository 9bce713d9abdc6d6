"""How a capture of Binance's streams is told by its lines: USD-M futures from spot by keys that only they have."""

import re
from typing import Any

from hftpipe.core.machine.fixed import DECIMALS
from hftpipe.venues.contract import Evidence

_DECIMAL = re.compile(rf"(\d{{1,40}})(?:\.(\d{{0,{DECIMALS}}})0*)?", re.ASCII)
_TICKER_KEYS = {"b", "B", "a", "A"}
EVENTS = "a Binance depthUpdate, bookTicker or trade"


def recognise(payload: Any) -> Evidence:
    """What a JSON value says about its capture.

    USD-M futures are told from spot by ``pu`` in a depthUpdate (or ``e`` in a bookTicker, ``X`` in a trade, ``nq`` in an aggregate).
    """
    data = payload.get("data", payload) if isinstance(payload, dict) else None
    if not isinstance(data, dict):
        return Evidence()
    # A spot bookTicker has no event type: it is known by what it must have.
    nameless = "bookTicker" if data.keys() >= _TICKER_KEYS else ""
    is_snapshot, symbol, event = "lastUpdateId" in data, data.get("s"), data.get("e", nameless)
    if not isinstance(symbol, str) or event not in ("depthUpdate", "bookTicker", "trade", "aggTrade"):
        return Evidence(is_snapshot=is_snapshot)
    is_usdm = "pu" in data or (event == "bookTicker" and "e" in data) or "X" in data or "nq" in data
    return Evidence(symbol, _levels(data, event), "binance_usdm" if is_usdm else "", is_snapshot)


def _e8(text: Any) -> int:
    """A decimal number in 1e-8, of any size. ValueError if it is none, or has more decimals."""
    if not isinstance(text, str) or not (found := _DECIMAL.fullmatch(text)):
        raise ValueError("not a plain decimal number")
    return int(found[1] + (found[2] or "").ljust(DECIMALS, "0"))


def _levels(data: dict[str, Any], event: str) -> list[tuple[int, int]]:
    try:
        if event == "depthUpdate":
            pairs = [*data["b"], *data["a"]]
        elif event in ("trade", "aggTrade"):
            pairs = [(data["p"], data["q"])]
        else:
            pairs = [(data["b"], data["B"]), (data["a"], data["A"])]
        return [(_e8(price), _e8(qty)) for price, qty in pairs]
    except (KeyError, TypeError, ValueError):
        return []
