"""What a market lists, as instruments: each exact, or left out and counted by the reason. What all venues' listings have in common.

Amounts are read as integers of 1e-16, the finest that a pack of 10**8 makes whole in 1e-8: no number is rounded, but those that
are no rule of the venue (volumes are cut, the last price goes to the nearest tick).
"""

import re
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np

from hftpipe.core.schema.catalogue import LISTED
from hftpipe.core.schema.instruments import CONTRACTS, MAX_POWER

INT64_MAX = 2**63 - 1
_E8 = 10**8
PLACES = 16
#: Quantities have room for so many times the largest order or a day's volume.
ROOM = 10
_NUMBER = re.compile(r"(\d{1,40})(?:\.(\d{1,40}))?", re.ASCII)
_SYMBOL = re.compile(r"[A-Z0-9_-]{1,24}", re.ASCII)
_BASE, _QUOTE = re.compile(r"[A-Z0-9]{1,16}", re.ASCII), re.compile(r"[A-Z0-9]{1,8}", re.ASCII)


class LeftOut(Exception):
    """An instrument is left out; the text is the reason."""


@dataclass(frozen=True)
class Listing:
    """What a market lists at one time.

    Attributes:
        rows: LISTED array, the most traded first.
        left_out: symbols that are left out, by reason; together with the rows all that the venue named.
    """

    rows: np.ndarray
    left_out: Mapping[str, Sequence[str]] = field(default_factory=dict)

    def lines(self) -> list[str]:
        """How many are left out for each reason, with one of them: one line a reason, the most frequent first."""
        ranked = sorted(self.left_out.items(), key=lambda one: (-len(one[1]), one[0]))
        return [f"{len(symbols)} left out: {reason} (such as {symbols[0]})" for reason, symbols in ranked]


@dataclass(frozen=True)
class Facts:
    """What the venue says of an instrument; amounts in 1e-16 of its own units, minimum notional and volume in 1e-8."""

    tick: int
    lot: int
    largest_qty: int
    last_price: int
    min_notional: int
    volume_24h: int


def digits(source: Mapping[str, Any], name: str, places: int) -> tuple[int, bool]:
    """A number in units of 10**-places, cut, and whether that is all of it."""
    text = source.get(name)
    match = _NUMBER.fullmatch(text) if isinstance(text, str) else None
    if not match:
        raise LeftOut(f"{name} is not a decimal number of 0 or more")
    whole, decimals = match[1], match[2] or ""
    return int(whole + decimals[:places].ljust(places, "0")), not decimals[places:].strip("0")


def exactly(source: Mapping[str, Any], name: str, places: int = PLACES) -> int:
    """A number in units of 10**-places, all of it."""
    value, is_all = digits(source, name, places)
    if not is_all:
        raise LeftOut(f"{name} has too many decimals")
    return value


def _names(entry: Mapping[str, Any], base_key: str, quote_key: str) -> tuple[str, str, str]:
    symbol, base, quote = (entry.get(name) for name in ("symbol", base_key, quote_key))
    if not (isinstance(symbol, str) and _SYMBOL.fullmatch(symbol)):
        raise LeftOut("its symbol is not 1 to 24 of A-Z, 0-9, _ and -")
    if not (isinstance(base, str) and _BASE.fullmatch(base) and isinstance(quote, str) and _QUOTE.fullmatch(quote)):
        raise LeftOut("a currency of it is not up to 16 (base) or 8 (quote) of A-Z and 0-9")
    return symbol, base, quote


def nearest_tick(price: int, tick: int) -> int:
    """A price at the nearest tick; at least one, for nothing trades at 0."""
    return max((2 * price + tick) // (2 * tick), 1) * tick


def power_of(tick: int, lot: int, largest_qty: int, price: int) -> int:
    """The smallest power of ten whose packs hold an instrument (docs/discovery.md); all in 1e-16 of the venue's units.

    Raises:
        ValueError: no power does; says why a pack is needed, and why none helps.
    """
    why: list[str] = []
    for power in range(MAX_POWER + 1):
        of_price, of_qty = 10 ** (8 - power), 10 ** (8 + power)
        # The first two get no better in a larger pack, the others no worse.
        if lot % of_qty:
            why.append("its lot has too many decimals")
        elif max(tick, price) > INT64_MAX * of_price:
            why.append("its prices do not fit")
        elif max(lot, ROOM * largest_qty) > INT64_MAX * of_qty:
            why.append("its quantities do not fit")
        elif tick % of_price:
            why.append("its tick has too many decimals")
        else:
            return power
    is_hopeless = why[0] in ("its lot has too many decimals", "its prices do not fit")
    raise ValueError(why[0] if is_hopeless or why[0] == why[-1] else f"{why[0]}, and in packs {why[-1]}")


def row_of(
    entry: Mapping[str, Any], coins: tuple[str, str], facts: Facts, contract: str, fees: tuple[int, int]
) -> np.ndarray:
    """The LISTED row (length 1) of an instrument.

    Args:
        coins: which keys of the entry name its base and its quote currency.
        contract: one of CONTRACTS; fees: maker's and taker's, 1e-8 of the notional.

    Raises:
        LeftOut: it cannot be held.
    """
    symbol, base, quote = _names(entry, *coins)
    try:
        power = power_of(facts.tick, facts.lot, facts.largest_qty, facts.last_price)
    except ValueError as why:
        raise LeftOut(str(why)) from why
    row = np.zeros(1, LISTED)
    row["symbol"], row["base"], row["quote"] = symbol, base, quote
    row["contract"], row["multiplier"], row["power"] = CONTRACTS.index(contract), _E8, power
    row["tick"], row["reference_price"] = (one // 10 ** (8 - power) for one in (facts.tick, facts.last_price))
    row["lot"] = facts.lot // 10 ** (8 + power)
    row["min_notional"], row["volume_24h"] = facts.min_notional, facts.volume_24h
    row["maker_fee"], row["taker_fee"] = fees
    return row


def gather(
    entries: Iterable[Any],
    tickers: Iterable[Any],
    row: Callable[[Mapping[str, Any], Mapping[str, Any] | None], np.ndarray],
) -> Listing:
    """All that a market names, from its entries and its 24 h tickers, as JSON values with a ``symbol`` each.

    Args:
        row: makes the LISTED row of an entry and its ticker (None: it has none), or raises :class:`LeftOut`.
    """
    by_symbol = {str(one.get("symbol")): one for one in tickers if isinstance(one, Mapping)}
    rows: dict[str, np.ndarray] = {}
    left_out: dict[str, list[str]] = {}
    for entry in entries:
        named = entry.get("symbol") if isinstance(entry, Mapping) else None
        symbol = named if isinstance(named, str) else "?"
        try:
            if not isinstance(entry, Mapping):
                raise LeftOut("it is no table")
            if symbol in rows:
                raise LeftOut("it stands there a second time")
            rows[symbol] = row(entry, by_symbol.get(symbol))
        except LeftOut as why:
            left_out.setdefault(str(why), []).append(symbol)
    made = np.concatenate([np.zeros(0, LISTED), *rows.values()])
    made = made[np.argsort(-made["volume_24h"], kind="stable")]
    return Listing(made, {reason: tuple(symbols) for reason, symbols in left_out.items()})
