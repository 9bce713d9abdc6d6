"""Who may trade at the simulated venue, with what, and what it costs. The defaults are names, not secrets."""

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path

SIM_KEY, SIM_SECRET = "sim-key", "sim-secret"
#: Where other ones are taken from: both or none.
KEY_ENV, SECRET_ENV = "HFTPIPE_SIM_API_KEY", "HFTPIPE_SIM_API_SECRET"
#: Name of the key that goes with a public key.
SIM_PUBLIC_KEY_ID = "sim-public-key"
_SCALE, _DECIMALS = 10**8, 8
_NAME = re.compile(r"[A-Za-z0-9_.-]{1,128}")
_BALANCE = re.compile(r"([A-Z0-9]{1,16})=(\d{1,10})(?:\.(\d{1,8}))?")


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


def _balances_in(texts: Sequence[str]) -> dict[str, int]:
    """``USDT=1000.5`` and the like, 1e-8."""
    made = {}
    for text in texts:
        found = _BALANCE.fullmatch(text)
        if not found:
            raise ValueError(f"--balance {text}: allowed: ASSET=AMOUNT, at most 8 decimals, below 10,000,000,000")
        made[found[1]] = int(found[2]) * _SCALE + int((found[3] or "").ljust(_DECIMALS, "0"))
    return made


def account_from(env: Mapping[str, str], public_key_file: str = "", balances: Sequence[str] = ()) -> AccountSettings:
    """The account of a venue.

    Args:
        env: KEY_ENV and SECRET_ENV are taken from here; without them the key and its secret are the default ones.
        public_key_file: PEM; empty: the account has no public key. balances: ``ASSET=AMOUNT`` each.

    Raises:
        ValueError: naming what is wrong, and what is allowed; OSError: a file that cannot be read.
    """
    key, secret = env.get(KEY_ENV, ""), env.get(SECRET_ENV, "")
    if bool(key) != bool(secret):
        given, absent = (KEY_ENV, SECRET_ENV) if key else (SECRET_ENV, KEY_ENV)
        raise ValueError(f"{given} is set and {absent} is not; allowed: both, or none")
    if key and not _NAME.fullmatch(key):
        raise ValueError(f"{KEY_ENV}: allowed: 1 to 128 letters, digits and _ . -")
    public_key = Path(public_key_file).read_text() if public_key_file else ""
    return AccountSettings(
        key or SIM_KEY,
        secret or SIM_SECRET,
        SIM_PUBLIC_KEY_ID if public_key else "",
        public_key,
        _balances_in(balances),
    )
