"""Symbol text to instrument id, without hashing objects."""

import numpy as np

from hftpipe.core.machine.jit import jit
from hftpipe.core.machine.mem import U64, ZERO, load_u8, view
from hftpipe.core.schema.instruments import SYMBOL_BYTES, SYMBOLS


@jit
def find_symbol(table, start, length):
    """Instrument id of the symbol text at ``start``; -1 if it is not registered."""
    if length <= 0 or length > SYMBOL_BYTES:
        return np.int64(-1)
    low, high = ZERO, ZERO
    for i in range(length):
        byte = U64(load_u8(start + U64(i)))
        if i < 8:
            low |= byte << U64(8 * i)
        else:
            high |= byte << U64(8 * (i - 8))
    t = view(table, SYMBOLS)
    for index in range(t.count):
        if t.low[index] == low and t.high[index] == high:
            return np.int64(index)
    return np.int64(-1)
