"""How a venue's prices and quantities are written: for each instrument the step, and the decimals that it has.

A value is legal if it is a whole multiple of the step (tick or lot). With ``step = odd * 2**shift`` that is so exactly if
``value * inverse``, turned right by ``shift`` bits, is at most ``most`` (T. Granlund and P. Montgomery, "Division by invariant
integers using multiplication", 1994): a product and a turn instead of a division.
"""

import numpy as np

#: ``inverse``: of the odd part of the step, modulo 2**64; ``most``: (2**64 - 1) // step.
STEP = np.dtype([("inverse", "u8"), ("most", "u8"), ("shift", "u8"), ("decimals", "i8")])
#: A row an instrument, one cache line.
AMOUNTS = np.dtype([("price", STEP), ("qty", STEP)])
AMOUNTS_BYTES = 64
assert AMOUNTS.itemsize == AMOUNTS_BYTES

_DECIMALS = 8
_WORD = 1 << 64


def decimals_of(step: int) -> int:
    """Decimals (0..8) of the multiples of a step (1e-8, above 0): none of 5 or 100, one of 0.5, two of 0.05, eight of 1e-8."""
    return next(at for at in range(_DECIMALS + 1) if step % 10 ** (_DECIMALS - at) == 0)


def _step(step: int) -> tuple[int, int, int, int]:
    shift = (step & -step).bit_length() - 1
    return pow(step >> shift, -1, _WORD), (_WORD - 1) // step, shift, decimals_of(step)


def amounts_table(instruments: np.ndarray) -> np.ndarray:
    """The AMOUNTS rows of an INSTRUMENT array.

    Raises:
        ValueError: a tick or lot that is not above 0; names the instrument.
    """
    rows = np.zeros(len(instruments), AMOUNTS)
    # A few different steps; those of thousands of instruments are the same.
    known: dict[int, tuple[int, int, int, int]] = {}
    for part, column in (("price", "tick"), ("qty", "lot")):
        steps = instruments[column].tolist()
        if (least := min(steps, default=1)) <= 0:
            symbol = instruments["symbol"][steps.index(least)].decode()
            raise ValueError(f"{symbol}: {column} {least} (1e-8) is not above 0")
        known |= {step: _step(step) for step in set(steps) - known.keys()}
        rows[part] = [known[step] for step in steps]
    return rows
