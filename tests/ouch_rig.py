"""A simulated exchange in a thread, a gateway's venue on loopback, and a receiver of its market data, for tests."""

import socket
import threading
import time
from pathlib import Path

import numpy as np
from memory import aligned

from hftpipe.core.machine.clock import calibrate
from hftpipe.core.machine.system_clock import steady_ns
from hftpipe.core.schema.clock import CLOCK
from hftpipe.core.schema.instruments import INSTRUMENT
from hftpipe.core.schema.records import BUY, CANCEL, GTC, NEW, RECORD, REPLACE
from hftpipe.simulation.exchange_server.itch_exchange import ItchExchange
from hftpipe.simulation.exchange_server.settings import Account, ExchangeConfig, Told
from hftpipe.venues.nasdaq.itch.arbiter_state import ARBITER, arbiter_bytes, arbiter_init
from hftpipe.venues.nasdaq.itch.feed import FEED, feed_bytes, feed_init
from hftpipe.venues.nasdaq.itch.receive import RECEIVER, receive_step, receiver_bytes, receiver_init
from hftpipe.venues.nasdaq.itch.sockets import open_line, open_request
from hftpipe.venues.nasdaq.ouch.link import UDP
from hftpipe.venues.nasdaq.ouch.state import VENUE, part
from hftpipe.venues.nasdaq.ouch.venue import (
    close,
    open_venue,
    venue_bytes,
    venue_init,
    venue_poll,
    venue_submit,
    venue_unanswered,
)

TICK, SHARE, PRICE = 10**6, 10**8, 150 * 10**8
WAIT_S = 20.0
ACCOUNTS = (Account("HFTPIP", "SECRET"), Account("OTHER", "X"))


def instruments(count: int = 2) -> np.ndarray:
    rows = np.zeros(count, INSTRUMENT)
    rows["symbol"] = [name.encode() for name in ("TEST", "OTHER")[:count]]
    rows["tick"], rows["lot"], rows["reference_price"] = TICK, SHARE, PRICE
    rows["maker_fee"], rows["taker_fee"] = -10_000, 30_000
    return rows


def free_port() -> int:
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as sock:
        sock.bind(("127.0.0.1", 0))
        return sock.getsockname()[1]


def wait_for(condition, seconds: float = WAIT_S):
    """Call until it is true; its value."""
    deadline = time.monotonic() + seconds
    while time.monotonic() < deadline:
        if value := condition():
            return value
        time.sleep(0.0005)
    raise AssertionError("it never came to that")


class Exchange:
    """An exchange that runs in a thread until :meth:`stop`."""

    def __init__(self, rows: np.ndarray | None = None, **settings):
        settings = {"speed": 0.0, "accounts": ACCOUNTS, "port_a": free_port(), "port_b": free_port()} | settings
        self.config = ExchangeConfig(instruments() if rows is None else rows, **settings)
        self.server = ItchExchange(self.config)
        self._stop, self.said = np.zeros(1, np.uint64), list[str]()
        self.told = Told(self.said.append, self.said.append, lambda: self.said.append("ended"))
        self._thread = threading.Thread(target=self.server.run, args=(self._stop, self.told), daemon=True)

    def start(self) -> "Exchange":
        self._thread.start()
        return self

    def stop(self) -> None:
        self._stop[0] = 1
        if self._thread.ident:
            self._thread.join(WAIT_S)
        assert not self._thread.is_alive()
        self.server.close()


class Client:
    """A gateway's venue, polled by hand."""

    def __init__(self, port: int, transport: int = UDP, account: Account = ACCOUNTS[0], session: int = 1, **settings):
        self.rows, self.clock = instruments(), np.zeros(1, CLOCK)
        calibrate(self.clock, 0.005)
        self.memory = aligned(venue_bytes(len(self.rows), refs=1024, orders=256))
        venue_init(
            self.memory, self.rows, self.clock.ctypes.data, server="127.0.0.1", port=port, transport=transport,
            user=account.user, password=account.password, session=session, refs=1024, orders=256, **settings,
        )  # fmt: skip
        self.address = np.uint64(self.memory.ctypes.data)
        self.state = self.memory[: VENUE.itemsize].view(VENUE)[0]
        self.request, self.report = np.zeros(1, RECORD), np.zeros(1, RECORD)
        self.reports: list[np.void] = []
        self.sock = open_venue(self.memory)
        self.next_id = session << 32

    def log_in(self) -> "Client":
        wait_for(lambda: self.poll() or self.state["ready"])
        return self

    def poll(self) -> None:
        while venue_poll(self.address, np.uint64(self.report.ctypes.data)):
            self.reports.append(self.report[0].copy())

    def unanswered(self) -> list[int]:
        found = []
        while venue_unanswered(self.address, np.uint64(self.report.ctypes.data)):
            found.append(int(self.report["id"][0]))
        return found

    def submit(
        self,
        kind: int,
        id_: int,
        side: int = BUY,
        price: int = 0,
        shares: int = 0,
        flags: int = 0,
        instrument: int = 0,
        qty: int = 0,
    ) -> int:
        r = self.request[0]
        r["kind"], r["id"], r["side"], r["price"], r["qty"] = kind, id_, side, price, qty or shares * SHARE
        r["flags"], r["instrument"], r["strategy"] = flags, instrument, 3
        return int(venue_submit(self.address, np.uint64(self.request.ctypes.data)))

    def new(self, side: int, price: int, shares: int, flags: int = GTC, **more) -> int:
        """Enter an order; its id."""
        self.next_id += 1
        assert self.submit(NEW, self.next_id, side, price, shares, flags, **more) == 1
        return self.next_id

    def replace(self, id_: int, price: int, shares: int, side: int = BUY) -> int:
        return self.submit(REPLACE, id_, side, price, shares)

    def cancel(self, id_: int) -> int:
        return self.submit(CANCEL, id_)

    def wait(self, id_: int, count: int) -> list[np.void]:
        """The reports about an order, once there are ``count``."""

        def enough():
            self.poll()
            return self.about(id_) if len(self.about(id_)) >= count else None

        return wait_for(enough)

    def about(self, id_: int) -> list[np.void]:
        return [r for r in self.reports if r["id"] == id_]

    def part(self, name: str) -> np.void:
        return part(self.memory, name)[0]

    def close(self) -> None:
        close(self.memory, self.sock, steady_ns())


class Watcher:
    """A receiver of both lines and the re-request server."""

    def __init__(self, exchange: Exchange, order_capacity: int = 1 << 14, levels: int = 2048):
        config = exchange.config
        self.rows = config.instruments
        self.feed_memory = aligned(feed_bytes(len(self.rows), order_capacity, levels))
        feed_init(self.feed_memory, self.rows, order_capacity, levels)
        self.arbiter_memory = aligned(arbiter_bytes())
        arbiter_init(self.arbiter_memory)
        self.lines = [
            open_line(config.group_a, config.port_a).socket,
            open_line(config.group_b, config.port_b).socket,
            open_request("127.0.0.1", exchange.server.request_port).socket,
        ]
        self.memory, self.out = aligned(receiver_bytes()), np.zeros(4096, RECORD)
        fds = [sock.fileno() for sock in self.lines]
        receiver_init(
            self.memory, self.arbiter_memory.ctypes.data, self.feed_memory.ctypes.data, self.out,
            line_a=fds[0], line_b=fds[1], retransmit=fds[2],
        )  # fmt: skip
        self.address, self.feed = np.uint64(self.memory.ctypes.data), np.uint64(self.feed_memory.ctypes.data)
        self.state = self.memory[: RECEIVER.itemsize].view(RECEIVER)[0]
        self.arbiter = self.arbiter_memory[: ARBITER.itemsize].view(ARBITER)[0]
        self.feed_state = self.feed_memory[: FEED.itemsize].view(FEED)[0]
        self.records: list[np.ndarray] = []

    def step(self) -> int:
        done = int(receive_step(self.address, np.int64(steady_ns())))
        if self.state["count"]:
            self.records.append(self.out[: int(self.state["count"])].copy())
            self.state["count"] = 0
        return done

    def kernel_drops(self) -> int:
        """Datagrams that came but found the sockets' buffers full: not the fault of the lines."""
        ports = {sock.getsockname()[1] for sock in self.lines}
        rows = [line.split() for line in Path("/proc/net/udp").read_text().splitlines()[1:]]
        return sum(int(row[-1]) for row in rows if int(row[1].partition(":")[2], 16) in ports)

    def close(self) -> None:
        for sock in self.lines:
            sock.close()
