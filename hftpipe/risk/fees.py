"""Fees that are not in the instrument's quote currency, added up by asset: of the account, and of each strategy.

Amounts of different assets do not add up, so these are no part of any PnL; positions book the fees in quote currency alone.

::

    base | i64 amount (1e-8 of the asset) [1 + strategies][assets]     row 0: the account

Which assets there are is fixed at the start (``fee_assets`` of the segment's facts, in order); number n of a fill's FEE_ASSET
is the n-th of them.
"""

import numpy as np

from hftpipe.core.machine.jit import jit
from hftpipe.core.machine.mem import U64, load_i64, store_i64
from hftpipe.core.schema.records import FEE_ASSET


def fees_bytes(n_strategies: int, n_assets: int) -> int:
    """Memory of the sums; never none, so that the region exists."""
    return max(8 * (1 + n_strategies) * n_assets, 64)


@jit
def _add(s, row, asset, fee):
    at = s.fees + ((U64(row) * U64(s.n_fee_assets) + U64(asset)) << U64(3))
    store_i64(at, load_i64(at) + fee)


@jit
def book_fee(s, strategy, execution):
    """Book the fee of an EXECUTION (``s``: risk's STATE) if it is not in quote currency: False if nobody knows its asset."""
    number = np.int64(execution.flags >> FEE_ASSET)
    if number == 0:
        return True
    if number > s.n_fee_assets:
        return False
    _add(s, 0, number - 1, execution.fee)
    if U64(strategy) < U64(s.n_desks):
        _add(s, 1 + np.int64(strategy), number - 1, execution.fee)
    return True
