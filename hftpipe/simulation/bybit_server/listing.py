"""``instruments-info``: what each category lists, from its INSTRUMENT rows."""

from typing import Any

import numpy as np

from hftpipe.simulation.bybit_server.payloads import amount_text
from hftpipe.simulation.market_server.symbols import Symbol

Info = dict[str, Any]
TRADED = "Trading"
#: Largest price over the reference price, and largest quantity in lots.
_MOST_PRICE, _MOST_LOTS = 10, 10**7
_MOST_AMOUNT = 9 * 10**17
_MARKET_SHARE = 5


def steps_of(row: np.void) -> tuple[int, int, int, int]:
    """Tick, largest price, lot, largest quantity (1e-8)."""
    tick, lot = int(row["tick"]), int(row["lot"])
    price = min(int(row["reference_price"]) * _MOST_PRICE, _MOST_AMOUNT) // tick * tick
    return tick, price, lot, min(lot * _MOST_LOTS, _MOST_AMOUNT) // lot * lot


def currencies_of(row: np.void) -> tuple[str, str]:
    """Base and quote."""
    return bytes(row["base"]).decode(), bytes(row["quote"]).decode()


def market_most(row: np.void) -> int:
    """Largest quantity of a market order for a contract, 1e-8."""
    _, _, lot, most = steps_of(row)
    return max(most // _MARKET_SHARE // lot, 1) * lot


def spot_info(one: Symbol, row: np.void, status: str, opened_ms: int) -> Info:
    """A symbol of spot."""
    base, quote = currencies_of(row)
    tick, _, lot, most = (amount_text(value) for value in steps_of(row))
    least = amount_text(int(row["min_notional"]))
    return {
        "symbol": one.name, "baseCoin": base, "quoteCoin": quote, "innovation": "0", "status": status,
        "marginTrading": "none", "stTag": "0",
        "lotSizeFilter": {
            "basePrecision": lot, "quotePrecision": "0.00000001", "minOrderQty": lot, "maxOrderQty": most,
            "minOrderAmt": least, "maxOrderAmt": "9000000", "maxLimitOrderQty": most, "maxMarketOrderQty": most,
            "postOnlyMaxLimitOrderSize": most,
        },
        "priceFilter": {"tickSize": tick}, "riskParameters": {"priceLimitRatioX": "0.05", "priceLimitRatioY": "0.05"},
    }  # fmt: skip


def linear_info(one: Symbol, row: np.void, status: str, opened_ms: int) -> Info:
    """A perpetual contract."""
    base, quote = currencies_of(row)
    tick, price, lot, most = steps_of(row)
    market = amount_text(market_most(row))
    step, largest = amount_text(lot), amount_text(most)
    return {
        "symbol": one.name, "contractType": "LinearPerpetual", "status": status, "baseCoin": base, "quoteCoin": quote,
        "launchTime": str(opened_ms), "deliveryTime": "0", "deliveryFeeRate": "",
        "priceScale": str(one.decimals.price),
        "leverageFilter": {"minLeverage": "1", "maxLeverage": "100.00", "leverageStep": "0.01"},
        "priceFilter": {"minPrice": amount_text(tick), "maxPrice": amount_text(price), "tickSize": amount_text(tick)},
        "lotSizeFilter": {
            "maxOrderQty": largest, "minOrderQty": step, "qtyStep": step, "postOnlyMaxOrderQty": largest,
            "maxMktOrderQty": market, "minNotionalValue": amount_text(int(row["min_notional"])),
        },
        "unifiedMarginTrade": True, "fundingInterval": 480, "settleCoin": quote, "copyTrading": "none",
        "upperFundingRate": "0.00375", "lowerFundingRate": "-0.00375", "isPreListing": False, "preListingInfo": None,
        "riskParameters": {"priceLimitRatioX": "0.05", "priceLimitRatioY": "0.05"},
    }  # fmt: skip
