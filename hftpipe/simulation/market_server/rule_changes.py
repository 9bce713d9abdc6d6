"""What a test may do to the rules of a symbol while the venue runs: its steps, its least value, whether it is traded.

==================== =======================================================================================
key                  what it does
==================== =======================================================================================
symbol               whose rules
set_tick, set_lot    its step from now on; ``"0.5"``
set_min_notional     its least value
set_status           its status as the venue words it, such as ``"BREAK"``; ``""``: it is not listed any more
==================== =======================================================================================
"""

import re
from collections.abc import Mapping
from typing import Any

from hftpipe.simulation.market_server.market import Market

AMOUNTS = {"set_tick": "tick", "set_lot": "lot", "set_min_notional": "min_notional"}
TEXTS = (*AMOUNTS, "set_status")
_AMOUNT = re.compile(r"(\d{1,9})(?:\.(\d{1,8}))?", re.ASCII)


def _amount(key: str, text: str) -> int:
    match = _AMOUNT.fullmatch(text)
    value = int(match[1]) * 10**8 + int((match[2] or "").ljust(8, "0")) if match else 0
    if not value:
        raise ValueError(f"control: {key} = {text!r}; allowed: a decimal number above 0 with at most 8 decimals")
    return value


def change_rules(market: Market, asked: Mapping[str, Any]) -> None:
    """Take what a checked request asks of a symbol's rules.

    Raises:
        ValueError: an amount that is none; no such symbol. Nothing has been changed.
    """
    given = {key: asked[key] for key in TEXTS if key in asked}
    if not given:
        return
    symbol = asked.get("symbol", "")
    if symbol not in market.symbols:
        raise ValueError(f"control: symbol = {symbol!r}; allowed: {', '.join(market.symbols[:20])}")
    amounts = {column: _amount(key, given[key]) for key, column in AMOUNTS.items() if key in given}
    index = market.symbols.index(symbol)
    for column, value in amounts.items():
        market.listing.instruments[column][index] = value
    if "set_status" in given:
        market.statuses[index] = given["set_status"]
