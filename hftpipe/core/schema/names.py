"""Names of instruments that mean the same at several venues: 1000PEPE-USDT here is a thousand of PEPEUSDT there.

::

    symbol              common name     pack
    BTCUSDT, BTC-USDT   BTCUSDT         1
    1000PEPEUSDT        PEPEUSDT        1,000       a number in front
    SHIB1000USDT        SHIBUSDT        1,000       or behind the coin
    1MBABYDOGEUSDT      BABYDOGEUSDT    1,000,000
    1INCHUSDT           1INCHUSDT       1           no pack: 1, 10 and 100 never are

The *pack* is how many coins one unit of the instrument is. A name says nothing of the kind of contract: whoever lists two
instruments of one name at two venues says by that that they are the same thing.
"""

import re

from hftpipe.core.schema.instruments import QUOTES, split_symbol

_PACKS = {"1000": 1_000, "10000": 10_000, "100000": 100_000, "1000000": 1_000_000, "1M": 1_000_000}
_PACK = "|".join(sorted(_PACKS, key=len, reverse=True))
_QUOTE = "|".join(QUOTES)
_IN_FRONT = re.compile(rf"({_PACK})(?=[A-Z]{{2}})(.+?)({_QUOTE})")
_BEHIND = re.compile(rf"(.*[A-Z])({_PACK})({_QUOTE})")


def common_name(symbol: str) -> tuple[str, int]:
    """``(common name, pack)`` of a symbol, see above."""
    plain = symbol.replace("-", "").replace("_", "")
    if found := _IN_FRONT.fullmatch(plain):
        return found[2] + found[3], _PACKS[found[1]]
    if found := _BEHIND.fullmatch(plain):
        return found[1] + found[3], _PACKS[found[2]]
    return plain, 1


def base_of(symbol: str, base: str = "") -> tuple[str, int]:
    """What an instrument is an amount of, and how much of it one is: ``("PEPE", 1000)`` of 1000PEPEUSDT.

    Args:
        base: the base currency that is configured, if any; of a pack the name says it. Where nobody says, it is the name itself.
    """
    name, pack = common_name(symbol)
    said = split_symbol(name)[0]
    return (said or name if pack > 1 else base or said or name), pack
