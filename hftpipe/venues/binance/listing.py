"""Binance's exchangeInfo and 24 h tickers as instruments: each exact, or left out and counted by the reason."""

from collections.abc import Iterable, Mapping
from typing import Any

import numpy as np

from hftpipe.core.schema.instruments import SPOT
from hftpipe.venues.binance.markets import Market
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

#: Contracts of USD-M futures that are listed; others are settled, delivered or traded by other rules.
TAKEN_CONTRACTS = ("PERPETUAL", "CURRENT_QUARTER", "NEXT_QUARTER")
#: In the place of a day that was not asked for.
_NO_DAY = {"lastPrice": "1", "volume": "0", "quoteVolume": "0"}


def _filters(entry: Mapping[str, Any]) -> dict[str, Mapping[str, Any]]:
    filters = entry.get("filters")
    if not isinstance(filters, list):
        raise LeftOut("it has no filters")
    return {str(one.get("filterType")): one for one in filters if isinstance(one, Mapping)}


def _steps(filters: Mapping[str, Mapping[str, Any]], kind: str, step: str, least: str, market: Market) -> int:
    """The step of a price or quantity; it must be on a grid from 0, for that is how they are checked here."""
    if kind not in filters:
        raise LeftOut(f"it has no {kind}")
    value = exactly(filters[kind], step)
    if value <= 0:
        raise LeftOut(f"{step} is 0")
    if market.steps_from_least and exactly(filters[kind], least) % value:
        raise LeftOut(f"{least} is no multiple of {step}, and steps go from there")
    return value


def _min_notional(filters: Mapping[str, Mapping[str, Any]]) -> int:
    """The smallest value of an order, 1e-8 of the quote currency; 0 where there is no such rule."""
    rules = [filters[kind] for kind in ("NOTIONAL", "MIN_NOTIONAL") if kind in filters]
    found = max((exactly(one, "notional" if "notional" in one else "minNotional", 8) for one in rules), default=0)
    if found > INT64_MAX:
        raise LeftOut("its minimum notional does not fit")
    return found


def _is_traded(entry: Mapping[str, Any], market: Market) -> None:
    """That an instrument is traded, and valued as its market says; else it is left out."""
    if (status := entry.get("status")) != "TRADING":
        raise LeftOut(f"status {status}")
    if market.contract == SPOT:
        if entry.get("isSpotTradingAllowed") is not True:
            raise LeftOut("spot trading is not allowed")
        return
    if (kind := entry.get("contractType")) not in TAKEN_CONTRACTS:
        raise LeftOut(f"contract type {kind}")
    if entry.get("marginAsset") != entry.get("quoteAsset"):
        raise LeftOut("it is margined in another currency than it is quoted in")
    if entry.get("contractSize", 1) != 1:
        raise LeftOut("a contract is not one unit")


def _facts(entry: Mapping[str, Any], ticker: Mapping[str, Any] | None, market: Market) -> Facts:
    filters = _filters(entry)
    tick = _steps(filters, "PRICE_FILTER", "tickSize", "minPrice", market)
    lot = _steps(filters, "LOT_SIZE", "stepSize", "minQty", market)
    if ticker is None:
        raise LeftOut("it has no 24 h ticker")
    last = exactly(ticker, "lastPrice")
    if not last:
        raise LeftOut("it has no last price")
    return Facts(
        tick=tick,
        lot=lot,
        largest_qty=max(digits(filters["LOT_SIZE"], "maxQty", PLACES)[0], digits(ticker, "volume", PLACES)[0]),
        last_price=nearest_tick(last, tick),
        min_notional=_min_notional(filters),
        # It ranks instruments and decides nothing: of more than fits, as much as fits.
        volume_24h=min(digits(ticker, "quoteVolume", 8)[0], INT64_MAX),
    )


def _row(entry: Mapping[str, Any], ticker: Mapping[str, Any] | None, market: Market) -> np.ndarray:
    """The LISTED row (length 1) of an instrument."""
    _is_traded(entry, market)
    facts, fees = _facts(entry, ticker, market), (market.maker_fee, market.taker_fee)
    return row_of(entry, ("baseAsset", "quoteAsset"), facts, market.contract, fees)


def rules_of(entries: Iterable[Any], market: Market) -> Listing:
    """What a market lists, from the ``symbols`` of exchangeInfo alone: prices and volumes of a day are not asked for, and mean nothing."""
    return gather(entries, (), lambda entry, ticker: _row(entry, _NO_DAY, market))


def listing_of(entries: Iterable[Any], tickers: Iterable[Any], market: Market) -> Listing:
    """What a market lists, from the ``symbols`` of exchangeInfo and the list of 24 h tickers, as JSON values."""
    return gather(entries, tickers, lambda entry, ticker: _row(entry, ticker, market))
