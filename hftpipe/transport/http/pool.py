"""Kept connections to one server for compiled code, opened and opened again by a thread beside it. Cold code.

A server closes what is idle for long, and that is no fault: the connection is open again within some milliseconds. What cannot be
opened, or ends as soon as it is open, is tried again after pauses.
"""

import threading
from collections.abc import Callable

import numpy as np

from hftpipe.core.machine.system_clock import steady_ns
from hftpipe.transport.errands import Errands
from hftpipe.transport.http.connect import Address, KeptConnection
from hftpipe.transport.http.exchange import BUFFER_BYTES
from hftpipe.transport.pauses import ALARM_AFTER, pause_s
from hftpipe.transport.tls.openssl import TlsError
from hftpipe.transport.websocket.connect import ConnectError
from hftpipe.transport.websocket.link import CLOSED, ENDED, OPEN, link_close, link_init, link_open, why_ended

LOOK_S = 0.002
FIRST_PAUSE_S, LONGEST_PAUSE_S = 0.1, 10.0
#: How long the first connection is waited for; without any for so long the server is not there.
FIRST_S, GONE_S = 3.0, 2.0
#: A connection that has lived for so long, or brought an answer, was one.
_LIVED_NS = 1_000_000_000


class Pool:
    """The connections.

    Args:
        links: LINK array, one a connection; busy: integers beside it, not 0: compiled code has not yet looked at what became of the
            request on that connection.
        address: of the server; each_look: done every LOOK_S, in the thread.
        report: takes one line about what goes wrong.
    """

    def __init__(
        self,
        links: np.ndarray,
        busy: np.ndarray,
        address: Address,
        report: Callable[[str], None],
        each_look: Callable[[], None] = lambda: None,
    ) -> None:
        self._links, self._busy, self._address = links, busy, address
        self._report, self._each_look = report, each_look
        self._connections: list[KeptConnection | None] = [None] * len(links)
        self._opened_ns, self._answered = [0] * len(links), [0] * len(links)
        self._buffers = [np.zeros(BUFFER_BYTES, np.uint8) for _ in range(len(links))]
        self._failures, self._next_ns, self._why, self._there_ns = 0, 0, "", 0
        for at, buffer in enumerate(self._buffers):
            # Nothing is answered to a ping, for there are none.
            link_init(links[at : at + 1], buffer, buffer)
        self._thread = Errands("orders-rest", report)

    def open(self) -> None:
        """Begin to connect."""
        self._there_ns = steady_ns()
        self._thread.start()
        self._thread.ask(self._look)

    def close(self) -> None:
        """End the thread and close every connection; compiled code does not run any more."""
        self._thread.end()
        if self._thread.is_alive():
            self._thread.join(FIRST_S)
        for at in range(len(self._links)):
            self._close(at)

    @property
    def why_gone(self) -> str:
        """Why there has been no connection for GONE_S; empty: there is one, or was just now."""
        if self._is_there() or steady_ns() - self._there_ns < GONE_S * 1e9:
            return ""
        return self._why or f"{self._address.server}: no connection"

    def wait(self) -> None:
        """Wait for a first connection. Raises ConnectError if there is none within FIRST_S."""
        until = steady_ns() + int(FIRST_S * 1e9)
        while not self._is_there():
            if steady_ns() > until:
                raise ConnectError(self._why or f"{self._address.server}: no connection within {FIRST_S:.0f} s")
            threading.Event().wait(LOOK_S)

    def _is_there(self) -> bool:
        return bool((self._links["state"] == OPEN).any())

    def _look(self) -> None:
        self._each_look()
        states = self._links["state"]
        if self._failures or (states != OPEN).any():
            for at in range(len(states)):
                self._mind(at, int(states[at]))
        if self._is_there():
            self._there_ns = steady_ns()
        self._thread.ask(self._look, LOOK_S)

    def _mind(self, at: int, state: int) -> None:
        was_one = steady_ns() - self._opened_ns[at] > _LIVED_NS or self._links["messages"][at] != self._answered[at]
        if state == OPEN and was_one:
            self._failures = 0
        elif state == ENDED and not self._busy[at]:
            if not was_one:
                self._fail(f"{self._address.server}: {why_ended(self._links[at : at + 1])}")
            self._close(at)
        elif state == CLOSED and steady_ns() >= self._next_ns:
            self._connect(at)

    def _connect(self, at: int) -> None:
        try:
            made = KeptConnection(self._address)
        except (ConnectError, TlsError) as wrong:
            self._fail(str(wrong))
            return
        self._connections[at], self._opened_ns[at] = made, steady_ns()
        self._answered[at] = int(self._links["messages"][at])
        link_open(self._links[at : at + 1], made.fd, steady_ns(), made.tls)

    def _fail(self, why: str) -> None:
        self._failures += 1
        self._why = why
        self._next_ns = steady_ns() + int(pause_s(self._failures, FIRST_PAUSE_S, LONGEST_PAUSE_S) * 1e9)
        if self._failures >= ALARM_AFTER:
            self._report(f"orders: REST connection: attempt {self._failures} failed: {why}")

    def _close(self, at: int) -> None:
        if (made := self._connections[at]) is not None:
            link_close(self._links[at : at + 1])
            made.close()
        self._connections[at] = None
