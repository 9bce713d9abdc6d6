"""How a venue's prices and quantities are written: for each instrument the step, and the decimals that it has.

Of an instrument whose unit is a pack of 10**n of the venue's, the last digit of a price stands n places further right in what
the venue reads, and that of a quantity n places further left.

A value is legal if it is a whole multiple of the step (tick or lot). With ``step = odd * 2**shift`` that is so exactly if
``value * inverse``, turned right by ``shift`` bits, is at most ``most`` (T. Granlund and P. Montgomery, "Division by invariant
integers using multiplication", 1994): a product and a turn instead of a division.
"""

from functools import cache

import numpy as np

#: ``inverse``: of the odd part of the step, modulo 2**64; ``most``: (2**64 - 1) // step; ``places``: what the last digit of a
#: value is worth at the venue, 10**-places (8 but for packs); ``decimals``: how many of them are written.
STEP = np.dtype([("inverse", "u8"), ("most", "u8"), ("shift", "u8"), ("decimals", "i4"), ("places", "i4")])
#: A row an instrument, one cache line.
AMOUNTS = np.dtype([("price", STEP), ("qty", STEP)])
AMOUNTS_BYTES = 64
assert AMOUNTS.itemsize == AMOUNTS_BYTES

_PLACES = 8
_WORD = 1 << 64


def decimals_of(step: int, places: int = _PLACES) -> int:
    """Decimals (0..places) of the multiples of a step (10**-places, above 0).

    Of 8 places: none of 5 or 100, one of 0.5, two of 0.05, eight of 1e-8.
    """
    return next(at for at in range(places + 1) if step % 10 ** (places - at) == 0)


@cache
def _step(step: int, places: int) -> tuple[int, int, int, int, int]:
    shift = (step & -step).bit_length() - 1
    return pow(step >> shift, -1, _WORD), (_WORD - 1) // step, shift, decimals_of(step, places), places


def amounts_table(instruments: np.ndarray) -> np.ndarray:
    """The AMOUNTS rows of an INSTRUMENT array.

    Raises:
        ValueError: a tick or lot that is not above 0; names the instrument.
    """
    rows = np.zeros(len(instruments), AMOUNTS)
    for part, column, places in (
        ("price", "tick", _PLACES + instruments["power"].astype(int)),
        ("qty", "lot", _PLACES - instruments["power"].astype(int)),
    ):
        steps = instruments[column].tolist()
        if (least := min(steps, default=1)) <= 0:
            symbol = instruments["symbol"][steps.index(least)].decode()
            raise ValueError(f"{symbol}: {column} {least} (1e-8) is not above 0")
        # A few different steps; those of thousands of instruments are the same.
        rows[part] = list(map(_step, steps, places.tolist()))
    return rows
