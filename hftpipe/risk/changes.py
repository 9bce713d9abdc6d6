"""Limits that change while a run goes on: the supervisor writes down what changes, risk takes all of it between two orders.

::

    supervisor ──▶ CHANGES | CHANGE [count] ──▶ risk ──▶ words of risk's own rows, and of each a LIMIT_SEEN on its tape
                   published ········ taken

A batch is written by one process while it is nobody else's: the next is written when this one was taken. No verdict is ever reached
by half of a batch.
"""

import numpy as np

from hftpipe.core.machine.jit import jit
from hftpipe.core.machine.mem import U64, ZERO, load_acquire, store_i64, store_release, view
from hftpipe.core.schema.layout import offset_of
from hftpipe.core.schema.position import POSITION
from hftpipe.core.shared.tape import tape_limit
from hftpipe.risk.limits import LIMITS
from hftpipe.risk.losses import LOSS
from hftpipe.risk.worth import profit_moved

#: Head of the area: number of the last batch that was written, number of the last that was taken, CHANGEs in it.
CHANGES = np.dtype([("published", "u8"), ("taken", "u8"), ("count", "i8"), ("_pad", "i8", 5)])
#: One word: in which of AREAS, how many bytes from its begin, and what it is from now on.
CHANGE = np.dtype([("area", "i8"), ("offset", "i8"), ("value", "i8"), ("_pad", "i8")])
#: Risk's own rows that have limits, by number: fields of its STATE, and names of its regions.
AREAS = ("limits", "totals", "losses", "standings", "repeats", "desks")
LIMIT_ROWS, TOTALS, LOSSES, STANDINGS, REPEATED, DESKS = range(len(AREAS))
_HEADER, _CHANGE_BYTES = np.uint64(CHANGES.itemsize), np.uint64(CHANGE.itemsize)
_LOSS_BYTES, _LIMITS_BYTES = np.int64(LOSS.itemsize), np.int64(LIMITS.itemsize)
_POSITION_BYTES = np.int64(POSITION.itemsize)
_MAX_POSITION = np.int64(offset_of(LIMITS, "max_position"))
_TAKEN = np.uint64(offset_of(CHANGES, "taken"))


@jit
def _base(s, area):
    if area == LIMIT_ROWS:
        return s.limits
    if area == TOTALS:
        return s.totals
    if area == LOSSES:
        return s.losses
    if area == STANDINGS:
        return s.standings
    return s.repeats if area == REPEATED else s.desks


@jit
def _note_lowered(s, offset, value):
    """What was approved under a limit of the position that is now lowered must not be taken for what nobody has asked for."""
    instrument = offset // _LIMITS_BYTES
    row = view(s.limits + U64(instrument * _LIMITS_BYTES), LIMITS)
    if offset % _LIMITS_BYTES != _MAX_POSITION or value >= row.max_position:
        return
    p = view(s.positions + U64(instrument * _POSITION_BYTES), POSITION)
    row.most_long, row.most_short, row.is_lowered = p.qty + p.working_buy, p.working_sell - p.qty, 1


@jit
def change_word(s, area, offset, value):
    """Let one word of risk's rows (``s``: its STATE) be ``value``; ``area``: number of AREAS, ``offset``: bytes."""
    if area == LIMIT_ROWS:
        _note_lowered(s, offset, value)
    store_i64(_base(s, area) + U64(offset), value)
    s.limits_changed += 1
    if area == LOSSES and s.seen_ts != 0:
        # What is lost already may be too much by now.
        profit_moved(s, offset // _LOSS_BYTES, np.int64(0), s.seen_ts)


@jit
def take_changes(s):
    """Take the batch that is waiting, if one is (``s``: risk's STATE)."""
    if s.changes == ZERO:
        return
    published, head = load_acquire(s.changes), view(s.changes, CHANGES)
    if published == head.taken:
        return
    for at in range(head.count):
        change = view(s.changes + _HEADER + U64(at) * _CHANGE_BYTES, CHANGE)
        tape_limit(s.tape, change.area, change.offset, change.value)
        change_word(s, change.area, change.offset, change.value)
    store_release(s.changes + _TAKEN, published)
