"""What has changed between two listings of a market, in words."""

from collections.abc import Sequence
from decimal import Context, Decimal
from typing import Any, NamedTuple

import numpy as np

from hftpipe.core.schema.instruments import CONTRACTS
from hftpipe.venues.listing import Listing

_EXACT = Context(prec=60)
#: Columns of LISTED that are rules of the venue, as they are called here. Prices and volumes of a day are none.
_COMPARED = {
    "contract": "contract", "base": "base", "quote": "quote", "multiplier": "multiplier", "power": "pack",
    "tick": "tick", "lot": "lot", "min_notional": "minimum notional", "maker_fee": "maker fee", "taker_fee": "taker fee",
}  # fmt: skip


def _shown(row: np.void, column: str) -> str:
    """A column in the venue's own units, exactly: a pack of another size changes no tick and no lot."""
    value: Any = row[column].item()
    if isinstance(value, bytes):
        return value.decode()
    if column == "contract":
        return CONTRACTS[value]
    if column == "power":
        return str(10**value)
    shift = {"tick": -int(row["power"]), "lot": int(row["power"])}.get(column, 0)
    if column in ("maker_fee", "taker_fee"):
        return f"{Decimal(value).scaleb(-4, _EXACT).normalize(_EXACT):f} bps"
    return f"{Decimal(value).scaleb(shift - 8, _EXACT).normalize(_EXACT):f}"


class Change(NamedTuple):
    """What has changed of an instrument; is_gone: it is not traded any more."""

    symbol: str
    said: str
    is_gone: bool


#: Rules that an order must keep to.
ORDER_RULES = ("tick", "lot", "min_notional")


def changes(before: Listing, after: Listing) -> list[str]:
    """Lines about instruments of ``before`` whose rules have changed or that are not listed any more, in its order.

    Such as ``BTCUSDT: tick 0.1 is now 0.01`` and ``LUNAUSDT: no longer traded (status BREAK)``. What is new is no change.
    """
    return [f"{one.symbol}: {one.said}" for one in changes_of(before, after, tuple(_COMPARED))]


def changes_of(before: Listing, after: Listing, columns: Sequence[str]) -> list[Change]:
    """The same one by one, of some columns of LISTED alone."""
    now = {row["symbol"]: row for row in after.rows}
    why = {symbol: reason for reason, symbols in after.left_out.items() for symbol in symbols}
    found = []
    for row in before.rows:
        symbol = row["symbol"].decode()
        if row["symbol"] not in now:
            said = f"traded ({why[symbol]})" if symbol in why else "listed"
            found.append(Change(symbol, f"no longer {said}", True))
            continue
        for column in columns:
            old, new = _shown(row, column), _shown(now[row["symbol"]], column)
            if old != new:
                found.append(Change(symbol, f"{_COMPARED[column]} {old} is now {new}", False))
    return found
