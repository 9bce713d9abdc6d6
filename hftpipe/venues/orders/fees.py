"""The fee of an execution: its amount, and which of the run's assets it is in. What is not known is said to be so, never to be 0.

A venue may tell more decimals than amounts have here (8): they are rounded up, so that costs are never understated, nor
rebates overstated.
"""

from collections.abc import Mapping

import numpy as np

from hftpipe.core.machine.jit import jit
from hftpipe.core.machine.json_text import read_decimal_up
from hftpipe.core.machine.mem import U64, ZERO, load_i64, view
from hftpipe.core.schema.records import BUY, UNKNOWN_FEE_ASSET
from hftpipe.core.trading.order_table import ORDER
from hftpipe.venues.orders.numbers import scaled_up

_PLACES = 8
_WORD = np.uint64(3)


@jit
def _unnamed(a, slot, is_rebate):
    """The coin that a fee is in where none is named; 0: the quote currency.

    Where there are codes of base currencies, it is what was received, and of a rebate what was paid.
    """
    o = view(slot, ORDER)
    return U64(load_i64(a.bases + (U64(o.instrument) << _WORD))) if (o.side == BUY) != is_rebate else ZERO


@jit
def _number_of(a, slot, coin):
    """n of the run's assets; 0: the quote currency of the order at ``slot``."""
    if coin == ZERO or U64(load_i64(a.quotes + (U64(view(slot, ORDER).instrument) << _WORD))) == coin:
        return np.int64(0)
    for index in range(a.n_assets):
        if U64(load_i64(a.assets + (U64(index) << _WORD))) == coin:
            return np.int64(index) + 1
    return np.int64(UNKNOWN_FEE_ASSET)


@jit
def set_fee(a, f, slot, coin, at, after):
    """The fee of an execution (a FACT, as a view) of the order at ``slot``, as the venue tells it.

    ``coin``: code of its asset, 0: none is named; ``at``, ``after``: its amount, 0: none is told.
    """
    if slot == ZERO:
        return
    is_read, f.fee = read_decimal_up(at, after, np.int64(_PLACES)) if at != ZERO else (False, np.int64(0))
    f.fee_is_unread = np.uint8(not is_read)
    coin = coin if coin != ZERO else _unnamed(a, slot, f.fee < 0)
    f.fee_asset = np.uint8(_number_of(a, slot, coin)) if is_read else np.uint8(UNKNOWN_FEE_ASSET)


def put_fee(fact: np.ndarray, text: object, asset: str, quote: str, numbers: Mapping[str, int]) -> None:
    """The same for cold code: into a FACT array of length 1; ``numbers``: of the run's assets; ``quote``: of the instrument."""
    try:
        fact["fee"] = scaled_up(text, _PLACES)
    except ValueError:
        fact["fee_is_unread"], fact["fee_asset"] = 1, UNKNOWN_FEE_ASSET
        return
    fact["fee_asset"] = 0 if asset == quote else numbers.get(asset, UNKNOWN_FEE_ASSET)
