"""What a Binance market takes from who trades there, and allows him."""

from dataclasses import dataclass


@dataclass(frozen=True)
class TradingRules:
    """What one market takes from who trades there, and allows him.

    Attributes:
        maker_fee, taker_fee: share of what an execution is worth, 1e-8.
        count_windows: orders that an account may send: (seconds, how many, name in headers, interval, its number).
        leverage: of a new account (USD-M).
    """

    maker_fee: int
    taker_fee: int
    count_windows: tuple[tuple[int, int, str, str, int], ...]
    leverage: int


SPOT_TRADING = TradingRules(
    100_000, 100_000, ((10, 100, "10S", "SECOND", 10), (86_400, 200_000, "1D", "DAY", 1)), 1
)  # fmt: skip
USDM_TRADING = TradingRules(
    20_000, 50_000, ((10, 300, "10S", "SECOND", 10), (60, 1200, "1M", "MINUTE", 1)), 20
)  # fmt: skip
TRADING = {"spot": SPOT_TRADING, "usdm": USDM_TRADING}
