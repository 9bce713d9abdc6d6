"""Who may trade at a simulated venue, and with what. The defaults are names, not secrets."""

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

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
    """One account: the same keys open it at all markets of a venue.

    Attributes:
        key: of its HMAC secret, as requests name it; secret: of that key.
        public_key_id: the key whose signatures are checked with ``public_key``; empty: there is none.
        public_key: Ed25519 or RSA, PEM.
        balances: what it has at the start in each market, 1e-8, by asset; an asset that is not named has the default.
    """

    key: str = SIM_KEY
    secret: str = field(default=SIM_SECRET, repr=False)
    public_key_id: str = ""
    public_key: str = field(default="", repr=False)
    balances: Mapping[str, int] = field(default_factory=dict)


#: What an account has of a quote currency at the start; of a base currency the power of ten that is worth no more.
QUOTE_AT_START = 1_000_000 * _SCALE


def base_at_start(reference_price: int) -> int:
    """What an account has of a base currency at the start, 1e-8, by what one of it is worth (1e-8)."""
    whole, ten = QUOTE_AT_START // max(1, reference_price), 1
    while ten * 10 <= whole:
        ten *= 10
    return ten * _SCALE


def balances_at_start(rows: Any, given: Mapping[str, int], with_bases: bool) -> dict[str, int]:
    """What an account has at the start, 1e-8, by asset.

    Args:
        rows: INSTRUMENT of what is listed; given: amounts that are not the default ones; with_bases: whether base currencies are
            held, too; without them what is given of them is left out.
    """
    made: dict[str, int] = {}
    for row in rows:
        base, quote = bytes(row["base"]).decode(), bytes(row["quote"]).decode()
        made.setdefault(quote, QUOTE_AT_START)
        if with_bases:
            made.setdefault(base, base_at_start(int(row["reference_price"])))
    return made | {asset: amount for asset, amount in given.items() if with_bases or asset in made}


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
