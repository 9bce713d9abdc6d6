"""Binance's exchangeInfo and 24 h tickers as instruments: each exact, or left out and counted by the reason.

Amounts are read as integers of 1e-16, the finest that a pack of 10**8 makes whole in 1e-8: no number is rounded, but those that
are no rule of the venue (volumes are cut, the last price goes to the nearest tick).
"""

import re
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np

from hftpipe.core.schema.catalogue import LISTED
from hftpipe.core.schema.instruments import CONTRACTS, MAX_POWER, SPOT
from hftpipe.venues.binance.markets import Market

INT64_MAX = 2**63 - 1
_E8 = 10**8
_PLACES = 16
#: Quantities have room for so many times the largest order or a day's volume.
ROOM = 10
#: Contracts of USD-M futures that are listed; others are settled, delivered or traded by other rules.
TAKEN_CONTRACTS = ("PERPETUAL", "CURRENT_QUARTER", "NEXT_QUARTER")
_NUMBER = re.compile(r"(\d{1,40})(?:\.(\d{1,40}))?", re.ASCII)
_SYMBOL = re.compile(r"[A-Z0-9_-]{1,24}", re.ASCII)
_BASE, _QUOTE = re.compile(r"[A-Z0-9]{1,16}", re.ASCII), re.compile(r"[A-Z0-9]{1,8}", re.ASCII)


class _LeftOut(Exception):
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
class _Facts:
    """What the venue says of an instrument; amounts in 1e-16 of its own units, minimum notional and volume in 1e-8."""

    tick: int
    lot: int
    largest_qty: int
    last_price: int
    min_notional: int
    volume_24h: int


def _digits(source: Mapping[str, Any], name: str, places: int) -> tuple[int, bool]:
    """A number in units of 10**-places, cut, and whether that is all of it."""
    text = source.get(name)
    match = _NUMBER.fullmatch(text) if isinstance(text, str) else None
    if not match:
        raise _LeftOut(f"{name} is not a decimal number of 0 or more")
    whole, decimals = match[1], match[2] or ""
    return int(whole + decimals[:places].ljust(places, "0")), not decimals[places:].strip("0")


def _exactly(source: Mapping[str, Any], name: str, places: int = _PLACES) -> int:
    value, is_all = _digits(source, name, places)
    if not is_all:
        raise _LeftOut(f"{name} has too many decimals")
    return value


def _filters(entry: Mapping[str, Any]) -> dict[str, Mapping[str, Any]]:
    filters = entry.get("filters")
    if not isinstance(filters, list):
        raise _LeftOut("it has no filters")
    return {str(one.get("filterType")): one for one in filters if isinstance(one, Mapping)}


def _steps(filters: Mapping[str, Mapping[str, Any]], kind: str, step: str, least: str, market: Market) -> int:
    """The step of a price or quantity; it must be on a grid from 0, for that is how they are checked here."""
    if kind not in filters:
        raise _LeftOut(f"it has no {kind}")
    value = _exactly(filters[kind], step)
    if value <= 0:
        raise _LeftOut(f"{step} is 0")
    if market.steps_from_least and _exactly(filters[kind], least) % value:
        raise _LeftOut(f"{least} is no multiple of {step}, and steps go from there")
    return value


def _min_notional(filters: Mapping[str, Mapping[str, Any]]) -> int:
    """The smallest value of an order, 1e-8 of the quote currency; 0 where there is no such rule."""
    rules = [filters[kind] for kind in ("NOTIONAL", "MIN_NOTIONAL") if kind in filters]
    found = max((_exactly(one, "notional" if "notional" in one else "minNotional", 8) for one in rules), default=0)
    if found > INT64_MAX:
        raise _LeftOut("its minimum notional does not fit")
    return found


def _is_traded(entry: Mapping[str, Any], market: Market) -> None:
    """That an instrument is traded, and valued as its market says; else it is left out."""
    if (status := entry.get("status")) != "TRADING":
        raise _LeftOut(f"status {status}")
    if market.contract == SPOT:
        if entry.get("isSpotTradingAllowed") is not True:
            raise _LeftOut("spot trading is not allowed")
        return
    if (kind := entry.get("contractType")) not in TAKEN_CONTRACTS:
        raise _LeftOut(f"contract type {kind}")
    if entry.get("marginAsset") != entry.get("quoteAsset"):
        raise _LeftOut("it is margined in another currency than it is quoted in")
    if entry.get("contractSize", 1) != 1:
        raise _LeftOut("a contract is not one unit")


def _names(entry: Mapping[str, Any]) -> tuple[str, str, str]:
    symbol, base, quote = (entry.get(name) for name in ("symbol", "baseAsset", "quoteAsset"))
    if not (isinstance(symbol, str) and _SYMBOL.fullmatch(symbol)):
        raise _LeftOut("its symbol is not 1 to 24 of A-Z, 0-9, _ and -")
    if not (isinstance(base, str) and _BASE.fullmatch(base) and isinstance(quote, str) and _QUOTE.fullmatch(quote)):
        raise _LeftOut("a currency of it is not up to 16 (base) or 8 (quote) of A-Z and 0-9")
    return symbol, base, quote


def _facts(entry: Mapping[str, Any], ticker: Mapping[str, Any] | None, market: Market) -> _Facts:
    filters = _filters(entry)
    tick = _steps(filters, "PRICE_FILTER", "tickSize", "minPrice", market)
    lot = _steps(filters, "LOT_SIZE", "stepSize", "minQty", market)
    if ticker is None:
        raise _LeftOut("it has no 24 h ticker")
    last = _exactly(ticker, "lastPrice")
    if not last:
        raise _LeftOut("it has no last price")
    return _Facts(
        tick=tick,
        lot=lot,
        largest_qty=max(_digits(filters["LOT_SIZE"], "maxQty", _PLACES)[0], _digits(ticker, "volume", _PLACES)[0]),
        # At least a tick: nothing trades at 0.
        last_price=max((2 * last + tick) // (2 * tick), 1) * tick,
        min_notional=_min_notional(filters),
        # It ranks instruments and decides nothing: of more than fits, as much as fits.
        volume_24h=min(_digits(ticker, "quoteVolume", 8)[0], INT64_MAX),
    )


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


def _row(entry: Mapping[str, Any], ticker: Mapping[str, Any] | None, market: Market) -> np.ndarray:
    """The LISTED row (length 1) of an instrument."""
    _is_traded(entry, market)
    symbol, base, quote = _names(entry)
    facts = _facts(entry, ticker, market)
    try:
        power = power_of(facts.tick, facts.lot, facts.largest_qty, facts.last_price)
    except ValueError as why:
        raise _LeftOut(str(why)) from why
    row = np.zeros(1, LISTED)
    row["symbol"], row["base"], row["quote"] = symbol, base, quote
    row["contract"], row["multiplier"], row["power"] = CONTRACTS.index(market.contract), _E8, power
    row["tick"], row["reference_price"] = (one // 10 ** (8 - power) for one in (facts.tick, facts.last_price))
    row["lot"] = facts.lot // 10 ** (8 + power)
    row["min_notional"], row["volume_24h"] = facts.min_notional, facts.volume_24h
    row["maker_fee"], row["taker_fee"] = market.maker_fee, market.taker_fee
    return row


def listing_of(entries: Iterable[Any], tickers: Iterable[Any], market: Market) -> Listing:
    """What a market lists, from the ``symbols`` of exchangeInfo and the list of 24 h tickers, as JSON values."""
    by_symbol = {str(one.get("symbol")): one for one in tickers if isinstance(one, Mapping)}
    rows: dict[str, np.ndarray] = {}
    left_out: dict[str, list[str]] = {}
    for entry in entries:
        named = entry.get("symbol") if isinstance(entry, Mapping) else None
        symbol = named if isinstance(named, str) else "?"
        try:
            if not isinstance(entry, Mapping):
                raise _LeftOut("it is no table")
            if symbol in rows:
                raise _LeftOut("it stands there a second time")
            rows[symbol] = _row(entry, by_symbol.get(symbol), market)
        except _LeftOut as why:
            left_out.setdefault(str(why), []).append(symbol)
    made = np.concatenate([np.zeros(0, LISTED), *rows.values()])
    made = made[np.argsort(-made["volume_24h"], kind="stable")]
    return Listing(made, {reason: tuple(symbols) for reason, symbols in left_out.items()})
