"""A venue's dead man's switch: it cancels what is open in a symbol unless it is told again and again that somebody is there.

Telling costs request weight, so only symbols in which orders are open are covered, as many as the weight allows, and only while the
compiled loop moves: threads that live on beside a loop that hangs would hold the switch off for ever.
"""

from collections.abc import Callable, Iterable, Sequence

import numpy as np

from hftpipe.core.trading.order_table import ORDER, TABLE, is_open

_IS_OPEN = np.array([bool(is_open.py_func(state)) for state in range(16)])


def open_instruments(table: np.ndarray) -> list[int]:
    """Instruments with open orders, those of an order table (its memory, uint8) of another thread or process."""
    head = table[: TABLE.itemsize].view(TABLE)
    rows = table[TABLE.itemsize :][: int(head["capacity"][0]) * ORDER.itemsize].view(ORDER)
    return [int(one) for one in np.unique(rows["instrument"][_IS_OPEN[rows["state"] & 15]])]


class DeadMan:
    """Holds off the switch of each symbol with open orders.

    Args:
        hold_off: tells the venue: symbols, ms; table: the account's order table (its memory); account: ACCOUNT array (length 1).
        symbols: of the instruments; countdown_s: after which the venue cancels; most: symbols that can be told of each time.
        report: takes one line about what it cannot do.
    """

    def __init__(
        self,
        hold_off: Callable[[Iterable[str], int], None],
        table: np.ndarray,
        account: np.ndarray,
        symbols: Sequence[str],
        countdown_s: float,
        most: int,
        report: Callable[[str], None],
    ) -> None:
        self._hold_off, self._table, self._account, self._symbols = hold_off, table, account, symbols
        self._countdown_ms, self._most, self._report = int(countdown_s * 1000), most, report
        self._moved_ns, self._has_said = -1, False

    def tell(self) -> None:
        """Tell the venue that somebody is there, if somebody is. Raises OSError."""
        moved_ns = int(self._account["presence_ns"][0])
        if moved_ns == self._moved_ns:
            return
        self._moved_ns = moved_ns
        found = open_instruments(self._table)
        if len(found) > self._most and not self._has_said:
            self._has_said = True
            self._report(f"orders: dead man's switch: {len(found)} symbols have open orders, it covers {self._most}")
        self._hold_off([self._symbols[one] for one in found[: self._most]], self._countdown_ms)
