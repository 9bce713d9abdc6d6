"""Tickers of chosen instruments, read beside the feed in a thread of their own: a table for people to look at, which nothing trades on.

What a message does not name stays as it was (Bybit sends what has changed alone); what is named and empty is not known.
"""

import re
import threading
from collections.abc import Mapping, Sequence

import numpy as np

from hftpipe.core.machine.process import leave_hot_cpu
from hftpipe.core.machine.system_clock import steady_ns
from hftpipe.core.schema.tickers import AMOUNTS, PRICES, QUANTITIES, UNKNOWN
from hftpipe.transport.pauses import ALARM_AFTER, pause_s
from hftpipe.transport.websocket.connect import ConnectError, Connection
from hftpipe.venues.live.books import Desk
from hftpipe.venues.live.plan import TickerPlan, Told

FIRST_PAUSE_S, LONGEST_PAUSE_S = 1.0, 60.0
#: A connection on which nothing comes for so long is opened again.
SILENCE_S = 60.0
_INT64_MAX = 2**63 - 1
_NUMBER = re.compile(r"(-?)(\d{1,40})(?:\.(\d{1,40}))?", re.ASCII)


def fixed(text: object, places: int) -> int:
    """A decimal number in units of 10**-places, cut, and no more than fits; UNKNOWN where it is none."""
    match = _NUMBER.fullmatch(text) if isinstance(text, str) else None
    if match is None:
        return UNKNOWN
    size = min(int(match[2] + (match[3] or "")[:places].ljust(places, "0")), _INT64_MAX)
    return -size if match[1] else size


def whole(value: object) -> int:
    """A whole number, or the text of one; UNKNOWN where it is none. 0 stands for none at the venues."""
    text = value if isinstance(value, str) else str(value) if type(value) is int else ""
    return int(text) if re.fullmatch(r"[1-9]\d{0,17}", text, re.ASCII) else UNKNOWN


def put(row: np.void, told: Mapping[str, object], power: int) -> None:
    """Lay what a message tells over what was known.

    Args:
        row: a TICKER; told: decimal numbers as text, by the names of its figures; power: of the instrument's pack.
    """
    for name, value in told.items():
        if name in PRICES:
            row[name] = fixed(value, 8 + power)
        elif name in QUANTITIES:
            row[name] = fixed(value, 8 - power)
        else:
            row[name] = fixed(value, 8) if name in AMOUNTS else whole(value)
    row["messages"] += 1
    row["told_ns"] = steady_ns()


class Tickers(threading.Thread):
    """Follows the tickers of some instruments; connects again without end.

    Args:
        desk: the keeper; plan: of the venue; instruments: their numbers; powers: of the packs of all; rows: TICKER of all.
        ca_file: certificates to trust instead of the system's.
    """

    def __init__(
        self, desk: Desk, plan: TickerPlan, instruments: Sequence[int], powers: Sequence[int], rows: np.ndarray, ca_file: str
    ) -> None:  # fmt: skip
        super().__init__(name="live-tickers", daemon=True)
        self._desk, self._plan, self._powers, self._rows, self._ca_file = desk, plan, powers, rows, ca_file
        self._numbers = {desk.names[one]: one for one in instruments}
        self._over = threading.Event()

    def end(self) -> None:
        """Follow nothing any more."""
        self._over.set()

    def run(self) -> None:
        leave_hot_cpu()
        failures = 0
        while not self._over.is_set():
            try:
                connection = Connection(self._plan.url, self._ca_file)
            except ConnectError as wrong:
                failures = self._failed(failures, str(wrong))
                continue
            try:
                self._take(self._plan.subscribe(connection, list(self._numbers)))
                failures = 0
                self._read(connection)
            except ConnectError as wrong:
                failures = self._failed(failures, str(wrong))
            finally:
                connection.close()

    def _failed(self, failures: int, why: str) -> int:
        failures += 1
        if not self._over.is_set() and (failures == 1 or failures >= ALARM_AFTER):
            self._desk.report(f"tickers: attempt {failures} failed: {why}")
        self._over.wait(pause_s(failures, FIRST_PAUSE_S, LONGEST_PAUSE_S))
        return failures

    def _take(self, all_told: Sequence[Told]) -> None:
        for symbol, told in all_told:
            if (number := self._numbers.get(symbol)) is not None:
                put(self._rows[number], told, self._powers[number])

    def _read(self, connection: Connection) -> None:
        said_ns = steady_ns()
        while not self._over.is_set():
            self._take(self._plan.read(connection.receive(SILENCE_S)))
            if self._plan.alive and steady_ns() - said_ns >= self._plan.alive_s * 1e9:
                said_ns = steady_ns()
                connection.send(self._plan.alive)
