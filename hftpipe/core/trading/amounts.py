"""A price or quantity of an instrument as the text that its venue takes (:mod:`hftpipe.core.schema.amounts`).

Nothing is rounded: what is not a whole multiple of the tick or lot, or not above 0, is refused.
"""

import numpy as np

from hftpipe.core.machine.digits import write_amount, write_shifted
from hftpipe.core.machine.jit import jit
from hftpipe.core.machine.mem import U64, ZERO, view
from hftpipe.core.schema.amounts import AMOUNTS, AMOUNTS_BYTES, STEP
from hftpipe.core.schema.layout import offset_of

_ROW = np.uint64(AMOUNTS_BYTES)
_QTY_AT = np.uint64(offset_of(AMOUNTS, "qty"))
_BITS = np.uint64(63)
_PLACES = np.int32(8)


@jit
def is_multiple(step, value):
    """Whether ``value`` (int64) is a positive whole multiple of the STEP at address ``step``."""
    s = view(step, STEP)
    product = U64(value) * s.inverse
    turned = (product >> s.shift) | (product << ((U64(64) - s.shift) & _BITS))
    return value > 0 and turned <= s.most


@jit
def _write(step, value, target):
    s = view(step, STEP)
    if not is_multiple(step, value):
        return ZERO
    if s.places == _PLACES:
        return write_amount(target, value, s.decimals)
    return write_shifted(target, value, s.places, s.decimals)


@jit
def write_price(amounts, instrument, price, target):
    """Write a price (1e-8 a unit here) as text of the venue's units to ``target``: the end address, or 0 if it is no price of this instrument.

    The TEXT_BYTES (:mod:`hftpipe.core.machine.digits`) from ``target`` on may be written over.
    """
    return _write(amounts + U64(instrument) * _ROW, price, target)


@jit
def write_qty(amounts, instrument, qty, target):
    """The same of a quantity (1e-8)."""
    return _write(amounts + U64(instrument) * _ROW + _QTY_AT, qty, target)
