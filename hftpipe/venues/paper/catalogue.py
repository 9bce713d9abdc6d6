"""What the embedded market lists: as many symbols as asked for, made from nothing but their number.

The first ones are as on any venue; behind them come made-up names. Prices span from fractions of a cent to tens of thousands, ticks
and lots follow the price as venues set them, and the volume of a day falls with the rank (Zipf): a few symbols are most of the
market. The same number of symbols gives the same catalogue on every machine.
"""

import numpy as np

from hftpipe.core.schema.catalogue import LISTED
from hftpipe.core.schema.instruments import CONTRACTS, LINEAR

_E8 = 10**8
#: Name and price of the symbols that everybody knows.
_KNOWN = (
    ("BTC", 60_000.0), ("ETH", 3_000.0), ("SOL", 150.0), ("XRP", 0.55), ("DOGE", 0.12), ("BNB", 580.0), ("1000PEPE", 0.0098),
    ("ADA", 0.45), ("AVAX", 28.0), ("1000SHIB", 0.018), ("LINK", 14.0), ("DOT", 6.2), ("LTC", 72.0), ("TRX", 0.13),
    ("1000BONK", 0.022), ("UNI", 7.4), ("NEAR", 5.1), ("APT", 7.9), ("1000FLOKI", 0.15), ("1MBABYDOGE", 0.0021),
)  # fmt: skip
_SYLLABLES = ("BA", "CO", "DU", "FI", "GE", "HO", "KA", "LU", "MI", "NO", "PA", "RE", "SU", "TI", "VO", "ZE")
#: Every so many made-up names count by the thousand, or are quoted in another currency.
_BY_THOUSAND, _OTHER_QUOTE = 37, 10
_LARGEST_VOLUME, _FIRST_RANKS = 2.0e10, 3
#: A tick is about so much of the price, a lot about so much of the notional.
_TICK_SHARE, _LOT_NOTIONAL, _MIN_NOTIONAL = 2e-5, 0.5, 5 * _E8
_MAKER_FEE, _TAKER_FEE = 20_000, 50_000


def _name(number: int) -> str:
    """A made-up name of four syllables; each number has its own."""
    letters, mixed = "", (number * 40_503 + 7) & 0xFFFF
    for shift in (12, 8, 4, 0):
        letters += _SYLLABLES[mixed >> shift & 15]
    return f"1000{letters}" if number % _BY_THOUSAND == 0 else letters


def _powers_of_ten(values: np.ndarray) -> np.ndarray:
    """The greatest power of ten (in 1e-8, at least one of them) not above each value."""
    made: np.ndarray = 10 ** np.clip(np.floor(np.log10(np.maximum(values, 1.0)) + 1e-9), 0, 17).astype(np.int64)
    return made


def embedded_catalogue(count: int) -> np.ndarray:
    """The LISTED array of the embedded market with ``count`` symbols, the most traded first."""
    made = max(count - len(_KNOWN), 0)
    bases = [*(base for base, _ in _KNOWN), *(_name(number) for number in range(1, made + 1))][:count]
    quotes = ["USDT" if at < len(_KNOWN) or at % _OTHER_QUOTE else "USDC" for at in range(count)]
    ranks = np.arange(count, dtype=np.int64)
    # Spread over nine powers of ten by a multiplicative hash of the rank.
    spread = (ranks * 2_654_435_761 % 2**32) / 2**32
    prices = 10 ** (-4.0 + 6.0 * spread)
    prices[: len(_KNOWN)] = [price for _, price in _KNOWN][:count]
    rows = np.zeros(count, LISTED)
    rows["base"], rows["quote"] = bases, quotes
    rows["symbol"] = [base + quote for base, quote in zip(bases, quotes, strict=True)]
    rows["contract"], rows["multiplier"] = CONTRACTS.index(LINEAR), _E8
    rows["tick"] = _powers_of_ten(prices * _E8 * _TICK_SHARE * 5)
    rows["reference_price"] = np.maximum((prices * _E8 / rows["tick"]).astype(np.int64), 1_000) * rows["tick"]
    rows["lot"] = _powers_of_ten(_LOT_NOTIONAL * 1e16 / rows["reference_price"] * 5)
    rows["min_notional"], rows["maker_fee"], rows["taker_fee"] = _MIN_NOTIONAL, _MAKER_FEE, _TAKER_FEE
    rows["volume_24h"] = (_LARGEST_VOLUME * _FIRST_RANKS / (ranks + _FIRST_RANKS)).astype(np.int64) * _E8
    return rows
