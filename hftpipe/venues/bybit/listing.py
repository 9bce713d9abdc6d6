"""Bybit's instruments-info and 24 h tickers as instruments: each exact, or left out and counted by the reason."""

from collections.abc import Iterable, Mapping
from typing import Any

import numpy as np

from hftpipe.core.schema.instruments import SPOT
from hftpipe.venues.bybit.markets import Market
from hftpipe.venues.listing import (
    INT64_MAX,
    PLACES,
    Facts,
    LeftOut,
    Listing,
    digits,
    exactly,
    gather,
    nearest_tick,
    row_of,
)

#: Contracts that are listed: those that are valued in their quote currency.
TAKEN_CONTRACTS = ("LinearPerpetual", "LinearFutures")
#: Of each kind of contract: where the quantity's step, the largest quantity and the smallest value of an order stand.
_LOT_KEYS = {
    True: ("basePrecision", "maxLimitOrderQty", "minOrderAmt"),
    False: ("qtyStep", "maxOrderQty", "minNotionalValue"),
}
#: In the place of a day that was not asked for.
_NO_DAY = {"lastPrice": "1", "volume24h": "0", "turnover24h": "0"}


def _table(entry: Mapping[str, Any], name: str) -> Mapping[str, Any]:
    table = entry.get(name)
    if not isinstance(table, Mapping):
        raise LeftOut(f"it has no {name}")
    return table


def _step(table: Mapping[str, Any], name: str) -> int:
    value = exactly(table, name)
    if value <= 0:
        raise LeftOut(f"{name} is 0")
    return value


def _is_traded(entry: Mapping[str, Any], market: Market) -> None:
    """That an instrument is traded, and valued as its category says; else it is left out."""
    if (status := entry.get("status")) != "Trading":
        raise LeftOut(f"status {status}")
    if market.contract == SPOT:
        return
    if (kind := entry.get("contractType")) not in TAKEN_CONTRACTS:
        raise LeftOut(f"contract type {kind}")
    if entry.get("settleCoin") != entry.get("quoteCoin"):
        raise LeftOut("it is settled in another currency than it is quoted in")
    if entry.get("isPreListing") is True:
        raise LeftOut("it is not listed yet")


def _min_notional(lots: Mapping[str, Any], name: str) -> int:
    """The smallest value of an order, 1e-8 of the quote currency; 0 where there is no such rule."""
    found = exactly(lots, name, 8) if lots.get(name, "") != "" else 0
    if found > INT64_MAX:
        raise LeftOut("its minimum notional does not fit")
    return found


def _facts(entry: Mapping[str, Any], ticker: Mapping[str, Any] | None, market: Market) -> Facts:
    lots, (step, most, least) = _table(entry, "lotSizeFilter"), _LOT_KEYS[market.contract == SPOT]
    tick, lot = _step(_table(entry, "priceFilter"), "tickSize"), _step(lots, step)
    if ticker is None:
        raise LeftOut("it has no 24 h ticker")
    last = exactly(ticker, "lastPrice")
    if not last:
        raise LeftOut("it has no last price")
    return Facts(
        tick=tick,
        lot=lot,
        largest_qty=max(digits(lots, most, PLACES)[0], digits(ticker, "volume24h", PLACES)[0]),
        last_price=nearest_tick(last, tick),
        min_notional=_min_notional(lots, least),
        # It ranks instruments and decides nothing: of more than fits, as much as fits.
        volume_24h=min(digits(ticker, "turnover24h", 8)[0], INT64_MAX),
    )


def _row(entry: Mapping[str, Any], ticker: Mapping[str, Any] | None, market: Market) -> np.ndarray:
    """The LISTED row (length 1) of an instrument."""
    _is_traded(entry, market)
    facts, fees = _facts(entry, ticker, market), (market.maker_fee, market.taker_fee)
    return row_of(entry, ("baseCoin", "quoteCoin"), facts, market.contract, fees)


def rules_of(entries: Iterable[Any], market: Market) -> Listing:
    """What a category lists, from instruments-info alone: prices and volumes of a day are not asked for, and mean nothing."""
    return gather(entries, (), lambda entry, ticker: _row(entry, _NO_DAY, market))


def listing_of(entries: Iterable[Any], tickers: Iterable[Any], market: Market) -> Listing:
    """What a category lists, from the lists of instruments-info and of 24 h tickers, as JSON values."""
    return gather(entries, tickers, lambda entry, ticker: _row(entry, ticker, market))
