"""Instruments: dense ids fixed at start, their filters and fees as one array, and symbol lookup without hashing objects.

All per-instrument state anywhere is an array indexed by the id. Registration happens before the first event.
"""

import numpy as np

from hftpipe.core.schema.layout import whole

MAX_INSTRUMENTS = 8192
SYMBOL_WORDS = 3
SYMBOL_BYTES = 8 * SYMBOL_WORDS
#: As many venues as a pipeline can have.
MAX_VENUES = 16
VENUES = {"binance_spot": 1, "binance_usdm": 2, "bybit_spot": 3, "bybit_linear": 4}
#: How much of a book is followed: all of it, some levels around the touch, the best prices alone.
FULL, SHALLOW, TOP_ONLY = DEPTHS = ("full", "shallow", "top")
SHALLOW_LEVELS, TOP_LEVELS = 64, 1
#: What is traded: something valued in the quote currency, something valued in the base currency, the base currency itself.
LINEAR, INVERSE, SPOT = CONTRACTS = ("linear", "inverse", "spot")
#: Those whose money is reckoned here. Notional, fees, position, PnL and limits are price x quantity in the quote currency, with a
#: multiplier of 1; an inverse contract is worth contract value / price in the base currency.
RECKONED_CONTRACTS, RECKONED_MULTIPLIER = (LINEAR, SPOT), 10**8
#: An instrument's unit is a *pack* of up to 10**8 of the venue's units where quantities would not fit otherwise (decision 0018).
MAX_POWER = 8
#: What a symbol may be quoted in; the longest that fits is taken.
QUOTES = ("USDT", "USDC", "FDUSD", "BUSD", "USD", "EUR", "GBP", "JPY", "TRY", "BTC", "ETH", "BNB")
_LONGEST_FIRST = tuple(sorted(QUOTES, key=len, reverse=True))

#: One cache line pair an instrument. Sizes and notional in 1e-8; fees in 1e-8 of the notional (2 bps = 20_000).
INSTRUMENT = np.dtype(
    [
        ("symbol", "S24"), ("venue", "i8"), ("tick", "i8"), ("lot", "i8"), ("min_notional", "i8"),
        ("maker_fee", "i8"), ("taker_fee", "i8"), ("reference_price", "i8"),
        # Which of the pipeline's venues it is traded at.
        ("at", "i8"),
        # Currencies; units of the base a contract stands for (1e-8); levels a side of its books; indices in CONTRACTS and DEPTHS.
        ("base", "S16"), ("quote", "S8"), ("multiplier", "i8"), ("levels", "i4"), ("contract", "u1"), ("depth", "u1"),
        # One unit here is a pack of 10**power of the venue's.
        ("power", "u1"), ("_pad", "u1"),
    ],
    align=True,
)  # fmt: skip
INSTRUMENT_BYTES = 128
assert INSTRUMENT.itemsize == INSTRUMENT_BYTES

#: Head of the index from symbol to id: ``mask`` is its number of slots, a power of two, less one; ``powers``: where the byte by id
#: that says the power of its pack begins, from the head on (0: there are no packs).
SYMBOLS = np.dtype([("mask", "u8"), ("count", "i8"), ("powers", "u8"), ("_pad", "u8", 5)])
#: A slot: the symbol as little-endian words, padded with zero bytes, and the id; -1: free.
SYMBOL_SLOT = np.dtype([("words", "u8", SYMBOL_WORDS), ("id", "i8")])
#: Odd multipliers that spread the words of a symbol over 64 bits (splitmix64's and xxHash64's constants).
SYMBOL_MIX = (0x9E3779B97F4A7C15, 0xC2B2AE3D27D4EB4F, 0x165667B19E3779F9)
_WORD = (1 << 64) - 1


def is_reckoned(rows: np.ndarray) -> np.ndarray:
    """Of INSTRUMENT or LISTED rows: whether the money of each is reckoned here (bool[n])."""
    contracts = [CONTRACTS.index(one) for one in RECKONED_CONTRACTS]
    made: np.ndarray = np.isin(rows["contract"], contracts) & (rows["multiplier"] == RECKONED_MULTIPLIER)
    return made


def side_levels(depth: str, full: int) -> int:
    """Levels a side of a book that is followed to ``depth`` (one of DEPTHS), where ``full`` is all of it."""
    return {FULL: full, SHALLOW: min(SHALLOW_LEVELS, full), TOP_ONLY: TOP_LEVELS}[depth]


def split_symbol(symbol: str) -> tuple[str, str]:
    """Base and quote currency of a symbol such as ``BTCUSDT`` or ``venue:BTCUSDT``; ``("", "")`` where it does not say."""
    for quote in _LONGEST_FIRST:
        if symbol.endswith(quote) and (base := symbol.rpartition(":")[2].removesuffix(quote).rstrip("-_")):
            return base, quote
    return "", ""


def _slots(count: int) -> int:
    """At most half of the slots are used, so that a symbol that is not there is missed after a step or two."""
    return 1 << max(2, (2 * count - 1).bit_length())


def symbols_bytes(count: int) -> int:
    """Memory of the index of ``count`` symbols."""
    return _powers_at(count) + whole(count)


def _powers_at(count: int) -> int:
    return SYMBOLS.itemsize + _slots(count) * SYMBOL_SLOT.itemsize


def symbol_hashes(words: np.ndarray) -> np.ndarray:
    """Where the search for each symbol begins, before the mask: what :func:`hftpipe.core.trading.symbols.find_symbol` reckons.

    ``words``: uint64[n, SYMBOL_WORDS]; uint64[n].
    """
    mixed = np.zeros(len(words), np.uint64)
    for word, factor in zip(words.T, SYMBOL_MIX, strict=True):
        mixed ^= word * np.uint64(factor)
    return (mixed ^ mixed >> np.uint64(29)) * np.uint64(SYMBOL_MIX[0]) >> np.uint64(32)


def symbols_table(instruments: np.ndarray) -> np.ndarray:
    """Build the index (uint8 array of :func:`symbols_bytes`) of an INSTRUMENT array; of a symbol that stands twice the first."""
    memory = np.zeros(symbols_bytes(len(instruments)), np.uint8)
    powers_at = _powers_at(len(instruments))
    head, slots = memory[: SYMBOLS.itemsize].view(SYMBOLS), memory[SYMBOLS.itemsize : powers_at].view(SYMBOL_SLOT)
    memory[powers_at:][: len(instruments)] = instruments["power"]
    head["powers"] = powers_at if instruments["power"].any() else 0
    head["mask"], head["count"], slots["id"] = len(slots) - 1, len(instruments), -1
    words = np.ascontiguousarray(instruments["symbol"]).view(np.uint64).reshape(-1, SYMBOL_WORDS)
    mask, used = len(slots) - 1, bytearray(len(slots))
    places = (symbol_hashes(words) & np.uint64(mask)).tolist()
    for index, at in enumerate(places):
        while used[at]:
            at = (at + 1) & mask
        used[at], places[index] = 1, at
    slots["words"][places], slots["id"][places] = words, np.arange(len(instruments))
    return memory
