"""What a venue's refusal means: data a venue, one row a code."""

from collections.abc import Iterable
from typing import NamedTuple

import numpy as np

from hftpipe.core.machine.jit import jit
from hftpipe.core.machine.mem import U64, view
from hftpipe.core.schema import reasons

#: Refused for good; refused now, nothing was done; it may have been done: ask; the account or its key is refused: stop trading;
#: nothing was done, and nothing may be sent before the venue's window ends.
REJECT, RETRY, ASK, STOP, PAUSE = range(5)
ACTION_NAMES = {REJECT: "reject", RETRY: "retry", ASK: "ask", STOP: "stop", PAUSE: "pause"}


class Row(NamedTuple):
    """A code of the venue, what is done, and the reason that the strategy is told."""

    code: int
    action: int
    reason: int


ERROR = np.dtype([("code", "i8"), ("action", "u1"), ("reason", "u1"), ("_pad", "u1", 6)])
_ERROR_SHIFT = np.uint64(4)
assert ERROR.itemsize == 16
#: Of a code that the table does not have: the venue has refused, and says so.
UNLISTED = (REJECT, reasons.VENUE_REFUSED)


def error_table(rows: Iterable[Row]) -> np.ndarray:
    """The ERROR array of a table, sorted by code.

    Raises:
        ValueError: a code stands twice.
    """
    made = sorted(rows)
    codes = [row.code for row in made]
    if len(set(codes)) != len(codes):
        raise ValueError(f"codes that stand twice: {sorted({code for code in codes if codes.count(code) > 1})}")
    table = np.zeros(len(made), ERROR)
    for index, row in enumerate(made):
        table[index]["code"], table[index]["action"], table[index]["reason"] = row
    return table


@jit
def look_up(errors, count, code):
    """(action, reason) of a code; errors: address of ``count`` ERROR rows, sorted."""
    low, high = np.int64(0), count
    while low < high:
        middle = (low + high) >> 1
        row = view(errors + (U64(middle) << _ERROR_SHIFT), ERROR)
        if row.code == code:
            return np.int64(row.action), np.int64(row.reason)
        if row.code < code:
            low = middle + 1
        else:
            high = middle
    return np.int64(UNLISTED[0]), np.int64(UNLISTED[1])
