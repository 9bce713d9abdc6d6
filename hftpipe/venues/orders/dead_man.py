"""A venue's dead man's switch: it cancels what is open in a symbol unless it is told again and again that somebody is there.

Telling costs request weight, so only symbols in which orders are open are covered, as many as the weight allows, and only while the
compiled loop moves: threads that live on beside a loop that hangs would hold the switch off for ever.
"""

import threading
from collections.abc import Callable, Iterable, Sequence

import numpy as np

from hftpipe.venues.orders.looks import open_instruments

#: The last telling that is under way is waited for so long.
_RELEASE_S = 3.0


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
        self._moved_ns, self._has_said, self._held = -1, False, set[str]()
        #: What is told at the end is told last.
        self._alone, self._is_over = threading.Lock(), False

    def tell(self) -> None:
        """Tell the venue that somebody is there, if somebody is. Raises OSError."""
        moved_ns = int(self._account["presence_ns"][0])
        if moved_ns == self._moved_ns:
            return
        self._moved_ns = moved_ns
        with self._alone:
            if not self._is_over:
                self._tell()

    def _tell(self) -> None:
        found = open_instruments(self._table)
        if len(found) > self._most and not self._has_said:
            self._has_said = True
            self._report(f"orders: dead man's switch: {len(found)} symbols have open orders, it covers {self._most}")
        held = [self._symbols[one] for one in found[: self._most]]
        before, self._held = self._held, self._held | set(held)
        self._hold_off(held, self._countdown_ms)
        self.let_go(before - set(held))

    def let_go(self, symbols: Iterable[str]) -> None:
        """Nothing of ours is open there any more: the switch would cancel what others have. Raises OSError."""
        gone = list(symbols)
        self._hold_off(gone, 0)
        self._held -= set(gone)

    def release(self) -> None:
        """The same of all symbols, at the end; what the venue says against it is reported."""
        self._is_over = True
        if not self._alone.acquire(timeout=_RELEASE_S):
            self._report(
                "orders: dead man's switch: the venue does not answer; it may cancel what others have in these symbols"
            )
            return
        try:
            self.let_go(self._held)
        except OSError as wrong:
            self._report(f"orders: dead man's switch: {wrong}")
        finally:
            self._alone.release()
