"""Instruments and 24 h tickers as Binance writes them, for tests."""

from typing import Any

import pytest

from hftpipe.core.schema.instruments import SPOT
from hftpipe.venues.binance.markets import BINANCE_SPOT, BINANCE_USDM, Market

MARKETS = pytest.mark.parametrize("market", [BINANCE_SPOT, BINANCE_USDM], ids=lambda one: one.name)
SMALLEST = {"tickSize": "0.01", "minPrice": "0.01", "stepSize": "0.001", "minQty": "0.001", "maxQty": "1000"}
TICKER = {"lastPrice": "100.004", "volume": "5000.5", "quoteVolume": "500050.25"}


def entry(market: Market, symbol: str = "AUSDT", notional: str = "5", **more: Any) -> dict[str, Any]:
    """An instrument as the venue writes it; keys of filters and of the entry itself may be given anew."""
    filters: list[dict[str, Any]] = [
        {"filterType": "PRICE_FILTER", "maxPrice": "1000000", "tickSize": "", "minPrice": ""},
        {"filterType": "LOT_SIZE", "stepSize": "", "minQty": "", "maxQty": ""},
        {"filterType": "NOTIONAL", "minNotional": notional}
        if market.contract == SPOT
        else {"filterType": "MIN_NOTIONAL", "notional": notional},
    ]
    for one in filters:
        one.update({key: {**SMALLEST, **more}[key] for key in one if key in SMALLEST})
    own = (
        {"isSpotTradingAllowed": True}
        if market.contract == SPOT
        else {"contractType": "PERPETUAL", "marginAsset": "USDT"}
    )
    made = {"symbol": symbol, "status": "TRADING", "baseAsset": "A", "quoteAsset": "USDT", **own, "filters": filters}
    return {**made, **{key: value for key, value in more.items() if key not in SMALLEST}}


def ticker(symbol: str = "AUSDT", **more: Any) -> dict[str, Any]:
    return {"symbol": symbol, **TICKER, **more}
