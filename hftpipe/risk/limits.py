"""Limits of one instrument as a row in memory, so that a change takes effect on the next intent and is never frozen.

No limit configured means no order: a row of zeros refuses everything (:data:`hftpipe.core.schema.reasons.NO_LIMIT`).
"""

from collections.abc import Sequence
from decimal import Decimal
from typing import Any

import numpy as np

#: Quantities and amounts in 1e-8, collars as a share of the mid in 1e-8 (1 basis point = 10_000). ``is_lowered``: max_position was lowered
#: while the run went on, and what was approved before may still take the position beyond it, as far as ``most_long`` and ``most_short``.
LIMITS = np.dtype(
    [
        ("max_order_qty", "i8"), ("max_market_qty", "i8"), ("max_order_notional", "i8"), ("max_position", "i8"),
        ("collar_e8", "i8"), ("post_only_collar_e8", "i8"),
        ("max_book_age_ns", "i8"), ("max_intent_age_ns", "i8"), ("orders_per_s", "i8"), ("orders_per_min", "i8"), ("is_lowered", "i8"),
        ("most_long", "i8"), ("most_short", "i8"), ("_pad", "i8", 3),
    ],
    align=True,
)  # fmt: skip
LIMITS_BYTES = 128
assert LIMITS.itemsize == LIMITS_BYTES

#: Attribute of the configuration -> field of the row. All of them are needed before anything may trade.
SIZE_LIMITS = {
    "max_order_qty": "max_order_qty",
    "max_market_order_qty": "max_market_qty",
    "max_order_notional": "max_order_notional",
    "max_position": "max_position",
}
_E8_PER_BPS = 10_000
_NS_PER_MS = 1_000_000


def _share_e8(bps: Decimal | float) -> int:
    """Basis points as a share in 1e-8; what lies below one unit is cut, which only makes a collar tighter."""
    return int(Decimal(str(bps)) * _E8_PER_BPS)


def limits_row(configured: Any) -> np.ndarray:
    """The LIMITS row (array of length 1) of one instrument.

    Args:
        configured: any object with the attributes of the risk configuration: ``max_order_qty``,
            ``max_market_order_qty``, ``max_order_notional``, ``max_position`` (int 1e-8, or None for "not
            configured"), ``collar_bps``, ``post_only_collar_bps``, ``max_book_age_ms``,
            ``max_intent_age_ms``, ``orders_per_s``, ``orders_per_min``.

    Returns:
        The row; if any of the four size limits is None, all four are 0 and no order passes.
    """
    row = np.zeros(1, LIMITS)
    sizes = {field: getattr(configured, name) for name, field in SIZE_LIMITS.items()}
    if all(size is not None for size in sizes.values()):
        for field, size in sizes.items():
            row[field] = size
    row["collar_e8"] = _share_e8(configured.collar_bps)
    row["post_only_collar_e8"] = _share_e8(configured.post_only_collar_bps)
    row["max_book_age_ns"] = configured.max_book_age_ms * _NS_PER_MS
    row["max_intent_age_ns"] = configured.max_intent_age_ms * _NS_PER_MS
    row["orders_per_s"], row["orders_per_min"] = configured.orders_per_s, configured.orders_per_min
    return row


def limits_rows(rows: np.ndarray, ages: np.ndarray, configured: Sequence[Any]) -> None:
    """Fill in what is configured of each instrument: LIMITS ``rows``, and how old (ns) what its orders are sent on may be.

    Most instruments of a universe have the same limits: each kind is worked out once. ``configured`` holds one object an
    instrument; those that are the same object have the same limits.
    """
    made: dict[int, tuple[np.void, int]] = {}
    for index, one in enumerate(configured):
        if id(one) not in made:
            row = limits_row(one)[0]
            made[id(one)] = (row, oldest_to_send(row))
        rows[index], ages[index] = made[id(one)]


def oldest_to_send(row: np.void) -> int:
    """How old (ns) the event behind an order may be when it is sent: no older than it, or the book, may be to risk."""
    return int(min(row["max_intent_age_ns"], row["max_book_age_ns"]))
