"""Who may trade at the simulated venue, with what, and what it costs. The defaults are names, not secrets."""

from collections.abc import Mapping
from dataclasses import dataclass, field

SIM_KEY, SIM_SECRET = "sim-key", "sim-secret"
_SCALE = 10**8


@dataclass(frozen=True)
class AccountSettings:
    """One account: the same keys open it at both markets.

    Attributes:
        key: of its HMAC secret, in ``X-MBX-APIKEY``; secret: of that key.
        public_key_id: the key whose signatures are checked with ``public_key``; empty: there is none.
        public_key: Ed25519 or RSA, PEM.
        balances: what it has at the start in each market, 1e-8, by asset; an asset that is not named has the default.
    """

    key: str = SIM_KEY
    secret: str = field(default=SIM_SECRET, repr=False)
    public_key_id: str = ""
    public_key: str = field(default="", repr=False)
    balances: Mapping[str, int] = field(default_factory=dict)


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

#: What an account has of a quote currency at the start; of a base currency the power of ten that is worth no more.
QUOTE_AT_START = 1_000_000 * _SCALE


def base_at_start(reference_price: int) -> int:
    """What an account has of a base currency at the start, 1e-8, by what one of it is worth (1e-8)."""
    whole, ten = QUOTE_AT_START // max(1, reference_price), 1
    while ten * 10 <= whole:
        ten *= 10
    return ten * _SCALE
