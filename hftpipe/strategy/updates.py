"""Records from risk: what they do to the strategy's own orders and positions.

A replace and a cancel of the same order may be under way at once; the order then stands in PENDING_CANCEL with its
``new_qty`` still set, which is how the answer to the replace is told from the answer to the cancel. An UNASKED
REPLACED is no answer: what is under way stays so.
"""

import numpy as np

from hftpipe.core.machine.jit import jit
from hftpipe.core.machine.mem import view
from hftpipe.core.schema.records import ACK, CANCEL_REJECT, CANCELED, EXPIRED, FILL, RECORD, REJECT, REPLACED, UNASKED
from hftpipe.core.trading.order_table import (
    ON_ACK,
    ON_CANCELED,
    ON_CHANGE_DONE,
    ON_EXPIRED,
    ON_FILLED,
    ON_PART_FILL,
    ON_REJECT,
    ORDER,
    PENDING_CANCEL,
    PENDING_REPLACE,
    is_open,
    order_move,
    remaining,
)

#: Events of the answers that only move a state, by record kind (0: handled below).
_EVENTS = np.zeros(64, np.int64)
_EVENTS[ACK], _EVENTS[CANCELED], _EVENTS[EXPIRED] = ON_ACK, ON_CANCELED, ON_EXPIRED


@jit
def _change_done(table, slot):
    """The answer to a replace, or the refusal of a cancel; one that crossed the end of its order changes nothing."""
    order = view(slot, ORDER)
    if not is_open(order.state):
        return True
    replacing = order.new_qty != 0 or order.new_price != 0 or order.state == PENDING_REPLACE
    order.new_price, order.new_qty = 0, 0
    if order.qty > 0 and order.filled >= order.qty:
        # All of the old quantity had filled while a larger one was asked for, and refused.
        return order_move(table, slot, np.int64(ON_FILLED))
    if replacing and order.state == PENDING_CANCEL:
        return True
    return order_move(table, slot, np.int64(ON_CHANGE_DONE))


@jit
def _filled(table, slot, qty):
    order = view(slot, ORDER)
    order.filled += qty
    if remaining(order) == 0:
        return order_move(table, slot, np.int64(ON_FILLED))
    return order_move(table, slot, np.int64(ON_PART_FILL))


@jit
def _replaced(table, slot, r):
    order = view(slot, ORDER)
    if is_open(order.state):
        order.price, order.qty = r.price, r.qty
        if r.flags & UNASKED:
            return True
        if order.filled >= r.qty:
            return order_move(table, slot, np.int64(ON_FILLED))
    return _change_done(table, slot)


@jit
def _rejected(table, slot):
    """The order was refused, unless a replace of it is under way: then that was."""
    order = view(slot, ORDER)
    if order.new_qty != 0 or order.new_price != 0 or order.state == PENDING_REPLACE:
        return _change_done(table, slot)
    return order_move(table, slot, np.int64(ON_REJECT))


@jit
def apply_update(table, slot, record):
    """Bring the order at ``slot`` up to date with an ACK ... CANCEL_REJECT record about it.

    Returns:
        True if it was applied, False if the order's state does not allow it (counted in the table).
    """
    r = view(record, RECORD)
    if r.kind == FILL:
        return _filled(table, slot, r.qty)
    if r.kind == REPLACED:
        return _replaced(table, slot, r)
    if r.kind == REJECT:
        return _rejected(table, slot)
    if r.kind == CANCEL_REJECT:
        return _change_done(table, slot)
    return order_move(table, slot, _EVENTS[r.kind & 63])
