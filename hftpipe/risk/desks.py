"""What risk knows of each strategy: limits of its own, and where there are several the positions that are its own.

A strategy's limits come on top of those of the instruments: an order has to pass both.
"""

from typing import Any

import numpy as np

from hftpipe.core.machine.fixed import INT64_MAX
from hftpipe.core.machine.jit import jit
from hftpipe.core.machine.mem import U64, ZERO, view
from hftpipe.core.schema.layout import offset_of
from hftpipe.core.schema.position import POSITION
from hftpipe.risk.rate import RATE

#: One strategy. ``positions``: the POSITION rows that are its own, by instrument; 0: it is the only one, and those of the account
#: are. What is not limited has the largest number; ``is_limited``: whether anything is. ``rates``: all its orders.
DESK = np.dtype(
    [
        ("positions", "u8"), ("is_limited", "i8"), ("max_position", "i8"),
        ("orders_per_s", "i8"), ("orders_per_min", "i8"), ("_pad", "i8", 3), ("rates", RATE),
    ],
    align=True,
)  # fmt: skip
DESK_BYTES = np.uint64(DESK.itemsize)
RATES = np.uint64(offset_of(DESK, "rates"))
_POSITION_BYTES = np.uint64(POSITION.itemsize)
_LIMITS = ("max_position", "orders_per_s", "orders_per_min")


def desk_row(configured: Any, positions: int) -> np.void:
    """The DESK of a strategy.

    Args:
        configured: any object with the attributes ``max_position`` (int 1e-8), ``orders_per_s`` and ``orders_per_min``; None: no
            such limit.
        positions: address of the POSITION rows that are its own; 0 where it is the only strategy.
    """
    row = np.zeros(1, DESK)
    given = {name: getattr(configured, name) for name in _LIMITS}
    for name, limit in given.items():
        row[name] = INT64_MAX if limit is None else limit
    row["positions"], row["is_limited"] = positions, any(limit is not None for limit in given.values())
    made: np.void = row[0]
    return made


@jit
def desk_at(s, strategy):
    """Address of a strategy's DESK (``s``: risk's STATE); 0 if there is no such strategy."""
    if U64(strategy) >= U64(s.n_desks):
        return ZERO
    return s.desks + U64(strategy) * DESK_BYTES


@jit
def own_position(s, strategy, instrument):
    """Address of the POSITION row that a strategy has of its own in a registered instrument; 0 if it has none apart."""
    desk = desk_at(s, strategy)
    if desk == ZERO or view(desk, DESK).positions == ZERO:
        return ZERO
    return view(desk, DESK).positions + U64(instrument) * _POSITION_BYTES
