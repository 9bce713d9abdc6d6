"""The executions that were told, in a ring: who compares what the run has with what the venue says reads them there, at any time.

One writer (compiled code, as it tells each), one reader (a thread beside), which keeps up: what it has not read within EXECUTED_SLOTS
executions is written over.
"""

import numpy as np

from hftpipe.core.machine.jit import jit

#: ``price``, ``qty``: 1e-8; ``side`` as of its order; ``fee``: 1e-8 of the asset ``fee_asset`` (as in a FACT); ``ts``: the venue's, ns.
EXECUTED = np.dtype(
    [
        ("id", "u8"), ("trade_id", "u8"), ("ts", "i8"), ("price", "i8"), ("qty", "i8"), ("fee", "i8"),
        ("instrument", "u4"), ("side", "u1"), ("fee_asset", "u1"), ("fee_is_unread", "u1"), ("_pad", "u1"), ("_pad1", "i8"),
    ]
)  # fmt: skip
EXECUTED_SLOTS = 65536
_SHIFT, _PLACE = np.uint64(6), np.uint64(EXECUTED_SLOTS - 1)
assert EXECUTED.itemsize == 64


@jit
def executed_at(ring, number):
    """Address of the EXECUTED that is the ``number``-th (from 0) in the ring at address ``ring``."""
    return ring + ((number & _PLACE) << _SHIFT)


class ExecutedReader:
    """The reader's end.

    Args:
        account: ACCOUNT array (length 1); ring: its EXECUTED array.
    """

    def __init__(self, account: np.ndarray, ring: np.ndarray) -> None:
        self._account, self._ring, self._read = account, ring, 0

    def take(self) -> np.ndarray:
        """What has come since the last time, the oldest first, as an EXECUTED array (a copy).

        Raises:
            OverflowError: some of it is written over; what comes next begins after all that was.
        """
        written = int(self._account["n_executed"][0])
        made: np.ndarray = self._ring[np.arange(self._read, written) & int(_PLACE)]
        # The place that is written next may be half-written by now.
        first_whole = int(self._account["n_executed"][0]) - EXECUTED_SLOTS + 1
        lost, self._read = self._read < first_whole, written
        if lost:
            raise OverflowError("executions were written over before they were compared")
        return made
