"""``exchangeInfo``: limits of the market, and of each symbol what may be traded of it, from its INSTRUMENT row."""

from typing import Any

import numpy as np

from hftpipe.simulation.binance_server.settings import MarketRules
from hftpipe.simulation.market_server.symbols import Symbol
from hftpipe.simulation.market_server.text import decimal_text, decimals_of

Info = dict[str, Any]
TRADING = "TRADING"
_SPOT_TYPES = (
    "LIMIT", "LIMIT_MAKER", "MARKET", "STOP_LOSS", "STOP_LOSS_LIMIT", "TAKE_PROFIT", "TAKE_PROFIT_LIMIT",
)  # fmt: skip
_USDM_TYPES = ("LIMIT", "MARKET", "STOP", "STOP_MARKET", "TAKE_PROFIT", "TAKE_PROFIT_MARKET", "TRAILING_STOP_MARKET")
_PREVENTION = ("EXPIRE_TAKER", "EXPIRE_MAKER", "EXPIRE_BOTH")
#: Open orders of a symbol that an account may have; amendments of an order; how far from the reference price a price may be,
#: 1e-8: least and most.
MAX_ORDERS, MAX_AMENDS = 200, 10
PERCENT = {"spot": (20_000_000, 500_000_000), "usdm": (95_000_000, 105_000_000)}
MAX_NOTIONAL = 9_000_000 * 10**8
#: Perpetual contracts are "delivered" in 2100.
_NEVER_MS = 4_133_404_800_000
#: Largest price over the reference price, and largest quantity in lots.
_MOST_PRICE, _MOST_LOTS = 10, 10**7
_MOST_AMOUNT = 9 * 10**17


def steps_of(row: np.void) -> tuple[int, int, int, int]:
    """Tick, largest price, lot, largest quantity (1e-8)."""
    tick, lot = int(row["tick"]), int(row["lot"])
    price = min(int(row["reference_price"]) * _MOST_PRICE, _MOST_AMOUNT) // tick * tick
    return tick, price, lot, min(lot * _MOST_LOTS, _MOST_AMOUNT) // lot * lot


def currencies_of(row: np.void) -> tuple[str, str]:
    """Base and quote."""
    return bytes(row["base"]).decode(), bytes(row["quote"]).decode()


def _spot_filters(row: np.void) -> list[Info]:
    tick, price, lot, qty = (decimal_text(value, 8) for value in steps_of(row))
    low, high = (_plain(value) for value in PERCENT["spot"])
    notional = decimal_text(int(row["min_notional"]), 8)
    return [
        {"filterType": "PRICE_FILTER", "minPrice": tick, "maxPrice": price, "tickSize": tick},
        {"filterType": "LOT_SIZE", "minQty": lot, "maxQty": qty, "stepSize": lot},
        {"filterType": "ICEBERG_PARTS", "limit": 10},
        {"filterType": "MARKET_LOT_SIZE", "minQty": "0.00000000", "maxQty": qty, "stepSize": "0.00000000"},
        {"filterType": "TRAILING_DELTA", "minTrailingAboveDelta": 10, "maxTrailingAboveDelta": 2000,
         "minTrailingBelowDelta": 10, "maxTrailingBelowDelta": 2000},
        {"filterType": "PERCENT_PRICE_BY_SIDE", "bidMultiplierUp": high, "bidMultiplierDown": low,
         "askMultiplierUp": high, "askMultiplierDown": low, "avgPriceMins": 5},
        {"filterType": "NOTIONAL", "minNotional": notional, "applyMinToMarket": True,
         "maxNotional": decimal_text(MAX_NOTIONAL, 8), "applyMaxToMarket": False, "avgPriceMins": 5},
        {"filterType": "MAX_NUM_ORDERS", "maxNumOrders": MAX_ORDERS},
        {"filterType": "MAX_NUM_ALGO_ORDERS", "maxNumAlgoOrders": 5},
        {"filterType": "MAX_NUM_ORDER_AMENDS", "maxNumOrderAmends": MAX_AMENDS},
    ]  # fmt: skip


def _spot_symbol(one: Symbol, row: np.void, status: str) -> Info:
    base, quote = currencies_of(row)
    return {
        "symbol": one.name, "status": status, "baseAsset": base, "baseAssetPrecision": 8, "quoteAsset": quote,
        "quotePrecision": 8, "quoteAssetPrecision": 8, "baseCommissionPrecision": 8, "quoteCommissionPrecision": 8,
        "orderTypes": _SPOT_TYPES, "icebergAllowed": True, "ocoAllowed": True, "otoAllowed": True,
        "quoteOrderQtyMarketAllowed": True, "allowTrailingStop": True, "cancelReplaceAllowed": True,
        "amendAllowed": True, "isSpotTradingAllowed": True, "isMarginTradingAllowed": False,
        "filters": _spot_filters(row), "permissions": [], "permissionSets": [["SPOT"]],
        "defaultSelfTradePreventionMode": "EXPIRE_MAKER", "allowedSelfTradePreventionModes": ("NONE", *_PREVENTION),
    }  # fmt: skip


def _plain(value: int, least: int = 0) -> str:
    """As short as it can be written, with at least so many decimals."""
    return decimal_text(value, max(least, decimals_of(value) if value else 0))


def _usdm_filters(one: Symbol, row: np.void) -> list[Info]:
    tick, price, lot, qty = steps_of(row)
    least, step = one.decimals.price_text(tick), one.decimals.qty_text(lot)
    low, high = (decimal_text(value, 4) for value in PERCENT["usdm"])
    lots = {"minQty": step, "maxQty": _plain(qty), "stepSize": step}
    return [
        {"filterType": "PRICE_FILTER", "minPrice": least, "maxPrice": _plain(price), "tickSize": least},
        {"filterType": "LOT_SIZE", **lots},
        {"filterType": "MARKET_LOT_SIZE", **lots},
        {"filterType": "MAX_NUM_ORDERS", "limit": MAX_ORDERS},
        {"filterType": "MAX_NUM_ALGO_ORDERS", "limit": 10},
        {"filterType": "MIN_NOTIONAL", "notional": _plain(int(row["min_notional"]))},
        {"filterType": "PERCENT_PRICE", "multiplierUp": high, "multiplierDown": low, "multiplierDecimal": "4"},
        {"filterType": "POSITION_RISK_CONTROL", "positionControlSide": "NONE"},
    ]


def _usdm_symbol(one: Symbol, row: np.void, status: str, opened_ms: int) -> Info:
    base, quote = currencies_of(row)
    return {
        "symbol": one.name, "pair": one.name, "contractType": "PERPETUAL", "deliveryDate": _NEVER_MS,
        "onboardDate": opened_ms, "status": status, "maintMarginPercent": "2.5000",
        "requiredMarginPercent": "5.0000", "baseAsset": base, "quoteAsset": quote, "marginAsset": quote,
        "pricePrecision": one.decimals.price, "quantityPrecision": one.decimals.qty, "baseAssetPrecision": 8,
        "quotePrecision": 8, "underlyingType": "COIN", "underlyingSubType": [], "triggerProtect": "0.0500",
        "liquidationFee": "0.012500", "marketTakeBound": "0.05", "maxMoveOrderLimit": 10000,
        "filters": _usdm_filters(one, row), "orderTypes": _USDM_TYPES,
        "timeInForce": ("GTC", "IOC", "FOK", "GTX", "GTD"), "permissionSets": [],
    }  # fmt: skip


def _limit(kind: str, interval: str, count: int, limit: int) -> Info:
    return {"rateLimitType": kind, "interval": interval, "intervalNum": count, "limit": limit}


def exchange_info(
    rules: MarketRules, listed: list[tuple[Symbol, str]], rows: np.ndarray, per_min: int, now_ms: int, opened_ms: int
) -> Info:
    """What a market says of itself.

    Args:
        listed: the symbols asked for, and the status of each; rows: INSTRUMENT of all, by index; per_min: request weight of a minute.
    """
    head = {"timezone": "UTC", "serverTime": now_ms}
    weight = _limit("REQUEST_WEIGHT", "MINUTE", 1, per_min)
    if rules.name == "spot":
        limits = [
            weight, _limit("ORDERS", "SECOND", 10, 100), _limit("ORDERS", "DAY", 1, 200_000),
            _limit("RAW_REQUESTS", "MINUTE", 5, 300_000),
        ]  # fmt: skip
        symbols = [_spot_symbol(one, rows[one.index], status) for one, status in listed]
        return head | {"rateLimits": limits, "exchangeFilters": [], "symbols": symbols}
    limits = [weight, _limit("ORDERS", "MINUTE", 1, 1200), _limit("ORDERS", "SECOND", 10, 300)]
    assets = sorted({currencies_of(rows[one.index])[1] for one, _ in listed})
    margins = [{"asset": name, "marginAvailable": True, "autoAssetExchange": "-10000"} for name in assets]
    symbols = [_usdm_symbol(one, rows[one.index], status, opened_ms) for one, status in listed]
    return head | {
        "futuresType": "U_MARGINED", "rateLimits": limits, "exchangeFilters": [], "assets": margins, "symbols": symbols,
    }  # fmt: skip
