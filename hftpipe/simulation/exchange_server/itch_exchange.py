"""A simulated exchange as a process of its own: ITCH over multicast, OUCH over UDP and SoupBinTCP, one matching engine.

::

    synthetic flow,
    or a capture   ─▶ matching books ◀─ orders of clients (UDP session, SoupBinTCP)
                          │   └─▶ reports to their owners
                          └─▶ ITCH 5.0 in MoldUDP64 ─▶ line A, line B (each as bad as asked for), re-request server

Each round: requests are carried out, the flow's events that are due by the clock (times ``speed``; 0 stands still)
happen (or the capture's lines), and what came of it is published. A session starts with the system events O, S, Q, the directory and every
resting order; who comes late asks for all that from sequence 1, as long as it is kept: for the whole session, unless
that has more messages than the store (counted and said; the memory is only taken as they come).
"""

import socket
from dataclasses import replace
from importlib import import_module
from types import ModuleType
from typing import TYPE_CHECKING

import numpy as np

from hftpipe.core.machine.clock import calibrate, monotonic_ns
from hftpipe.core.machine.jit import jit
from hftpipe.core.machine.mem import U64, ZERO, call_step, load_relaxed, pause, rdtsc, sched_yield, usleep, view
from hftpipe.core.machine.system_clock import steady_ns, wall_ns
from hftpipe.core.schema.clock import CLOCK
from hftpipe.core.schema.instruments import INSTRUMENT
from hftpipe.core.schema.layout import Pieces, whole
from hftpipe.core.shared.stage import IDLE_NAMES, SLEEP, SPIN
from hftpipe.simulation.exchange_server.accounts import (
    ACCOUNT,
    ACCOUNT_BYTES,
    DESK,
    LOG_BYTES,
    account_at,
    desk_pump,
    log_commit,
    log_reserve,
    next_datagram,
    next_request,
    take_datagram,
)
from hftpipe.simulation.exchange_server.impair import Impairment, impair_bytes, impair_init
from hftpipe.simulation.exchange_server.ledger import TALLY, LedgerFile
from hftpipe.simulation.exchange_server.publisher import (
    PUBLISHER,
    publish_book,
    publish_directory,
    publish_end,
    publish_flush,
    publish_system,
    publisher_step,
)
from hftpipe.simulation.exchange_server.retransmit import STORE, store_bytes, store_init
from hftpipe.simulation.exchange_server.settings import ExchangeConfig, Told
from hftpipe.simulation.exchange_server.streams import STREAM, streams_close, streams_step
from hftpipe.simulation.exchange_server.trading import EXCHANGE, book_of, cancel_due, settle, take_request
from hftpipe.simulation.flow.decide import decide
from hftpipe.simulation.flow.fair_value import advance_fair_value
from hftpipe.simulation.flow.flow import flow_init, perform, wait_ns
from hftpipe.simulation.flow.state import FLOW, flow_bytes
from hftpipe.simulation.matching.engine import STP_CANCEL_MAKER, STP_CANCEL_TAKER, STP_NONE
from hftpipe.venues.nasdaq.itch.encode import ENCODER, encoder_init
from hftpipe.venues.nasdaq.itch.mold import PACKET, PACKET_BYTES_MAX, session_words
from hftpipe.venues.nasdaq.itch.sockets import claim_line, free_port, open_sender
from hftpipe.venues.nasdaq.ouch.encode import encode_system
from hftpipe.venues.nasdaq.ouch.messages import END_OF_DAY
from hftpipe.venues.nasdaq.ouch.session import VENUE_SIDE, session_bytes, session_end, session_init
from hftpipe.venues.nasdaq.ouch.sockets import bind_udp, listen_tcp
from hftpipe.venues.nasdaq.ouch.soup import soup_bytes, soup_init

if TYPE_CHECKING:
    from hftpipe.simulation.exchange_server.captured import CapturedMarket

STP = {"none": STP_NONE, "cancel_resting": STP_CANCEL_MAKER, "cancel_incoming": STP_CANCEL_TAKER}
MAX_DATAGRAMS, MAX_FLOW_EVENTS, MAX_REQUESTS = 64, 64, 256
IDLE_US = 20
#: 09:30, when the session starts on its own clock.
OPEN_NS = 34_200 * 10**9
_DATAGRAM_MEMORY = 2048
#: Rounds between two looks at what a person should know of: a second or so.
ROUNDS = 20_000
#: From the last line of a capture to its end: receivers ask for what they miss.
LINGER_NS = 1_000_000_000


@jit
def _flow_event(exchange, instrument):
    """The next event of an instrument's flow, published."""
    x = view(exchange, EXCHANGE)
    flow = x.flows + x.flow_stride * U64(instrument)
    f = view(flow, FLOW)
    advance_fair_value(flow, np.float64(f.next_ts - f.now_ts) * 1e-9)
    f.now_ts = f.next_ts
    f.events += 1
    decide(flow)
    perform(flow)
    f.next_ts = f.now_ts + wait_ns(flow)
    x.flow_events += 1
    settle(exchange, instrument, ZERO)


@jit
def _play_flows(exchange):
    """The events that are due by the market's time; returns their number."""
    x, work = view(exchange, EXCHANGE), np.int64(0)
    if x.speed <= 0.0:
        return work
    due_ns = x.time_ns
    for instrument in range(x.n_instruments):
        f = view(x.flows + x.flow_stride * U64(instrument), FLOW)
        for _ in range(MAX_FLOW_EVENTS):
            if f.next_ts > due_ns:
                break
            x.time_ns = f.next_ts
            _flow_event(exchange, np.int64(instrument))
            work += 1
        x.flow_behind += 1 if f.next_ts <= due_ns else 0
        x.time_ns = due_ns
    return work


@jit
def _take_orders(exchange):
    """Carry out the requests that have come over UDP; returns the number of datagrams."""
    x = view(exchange, EXCHANGE)
    for done in range(MAX_DATAGRAMS):
        datagram, length = next_datagram(x.desk, x.now_ns)
        if length == 0:
            return np.int64(done)
        account = take_datagram(x.desk, datagram, length, x.now_ns)
        if account == ZERO:
            continue
        for _ in range(MAX_REQUESTS):
            text, size = next_request(account)
            if text == ZERO:
                break
            take_request(exchange, account, text, size)
    return np.int64(MAX_DATAGRAMS)


@jit
def exchange_step(exchange, now_ns):
    """One round (EXCHANGE at address ``exchange``); ``now_ns`` is our monotonic time. Returns things done."""
    x = view(exchange, EXCHANGE)
    x.now_ns = now_ns
    elapsed = now_ns - x.start_ns
    x.time_ns = x.open_ns + (np.int64(np.float64(elapsed) * x.speed) if x.speed > 0.0 else elapsed)
    work = _take_orders(exchange)
    work += streams_step(exchange)
    cancel_due(exchange)
    if x.play == ZERO:
        work += _play_flows(exchange)
    elif x.speed > 0.0:
        work += call_step(x.play, exchange, now_ns)
    work += publisher_step(x.publisher, now_ns)
    return work + desk_pump(x.desk, now_ns)


@jit
def exchange_open(exchange, now_ns):
    """The start of the session: system events, directory, every resting order."""
    x = view(exchange, EXCHANGE)
    x.now_ns, x.start_ns, x.time_ns = now_ns, now_ns, x.open_ns
    for code in (79, 83):
        publish_system(x.publisher, np.int64(code), x.time_ns, now_ns)
    for instrument in range(x.n_instruments):
        publish_directory(x.publisher, np.int64(instrument), x.time_ns, now_ns)
    publish_system(x.publisher, np.int64(81), x.time_ns, now_ns)
    for instrument in range(x.n_instruments):
        publish_book(x.publisher, book_of(exchange, np.int64(instrument)), np.int64(instrument), x.time_ns, now_ns)
    publish_flush(x.publisher, now_ns)


@jit
def exchange_close(exchange, now_ns):
    """The end of the session, told to everyone."""
    x = view(exchange, EXCHANGE)
    for code in (77, 69, 67):
        publish_system(x.publisher, np.int64(code), x.time_ns, now_ns)
    publish_end(x.publisher, now_ns)
    for index in range(view(x.desk, DESK).n_accounts):
        account = account_at(x.desk, np.int64(index))
        log_commit(account, encode_system(np.int64(END_OF_DAY), x.time_ns, log_reserve(account)))
    streams_step(exchange)
    desk_pump(x.desk, now_ns)
    for index in range(view(x.desk, DESK).n_accounts):
        session_end(view(account_at(x.desk, np.int64(index)), ACCOUNT).session)
    desk_pump(x.desk, now_ns)
    streams_close(exchange)


@jit
def serve(exchange, clock, stop, idle, rounds):
    """Run rounds until the word at ``stop`` is not 0 (True), or ``rounds`` of them, or Python is needed (False).

    The clock is the CLOCK record's.
    """
    for _ in range(rounds):
        if load_relaxed(stop) != ZERO:
            return True
        work = exchange_step(exchange, monotonic_ns(clock, rdtsc()))
        if view(exchange, EXCHANGE).need != 0:
            return False
        if work > 0 or idle == SPIN:
            pause()
        elif idle == SLEEP:
            usleep(np.uint32(IDLE_US))
        else:
            sched_yield()
    return False


def captured() -> ModuleType:
    """The module of captured markets, compiled only where there is one."""
    return import_module("hftpipe.simulation.exchange_server.captured")


def _new_session() -> str:
    """A name that no earlier start had: the time in milliseconds."""
    return f"{wall_ns() // 1_000_000 % 16**10:010X}"


class ItchExchange:
    """The exchange with its sockets, ready to run; close it when done.

    Attributes:
        config: as given; port_a, port_b, order_port, tcp_port, request_port: what is really served.
        captured: the captured market, if it is one.
        memory: ``publisher``, ``desk``, ``accounts`` and whatever else there is, by name.

    Raises:
        ValueError: a setting that makes no exchange; CaptureError: a capture that cannot be read; OSError: a port or
            group that cannot be had, by name (EADDRINUSE: another exchange of this machine speaks on a line).
    """

    def __init__(self, config: ExchangeConfig) -> None:
        if config.stp not in STP or config.idle not in IDLE_NAMES or config.speed < 0:
            raise ValueError(f"stp {config.stp!r}, idle {config.idle!r} or speed {config.speed} is not usable")
        if not config.accounts or config.log_messages < 2 or config.log_messages & (config.log_messages - 1):
            raise ValueError("at least one account, and log_messages a power of two")
        self.config = replace(config, mold_session=config.mold_session or _new_session())
        self.memory = Pieces()
        self._sockets: list[socket.socket] = []
        self.captured: CapturedMarket | None = None
        self._too_late, self._ended_ns, self._told_end = 0, 0, False
        self.clock = np.zeros(1, CLOCK)
        self.state = self.memory.make("exchange", (EXCHANGE, 1))
        try:
            self._build()
        except (OSError, ValueError):
            self.close()
            raise

    @property
    def _store(self) -> np.ndarray:
        """The STORE at the head of what is kept for re-requests."""
        return self.memory.piece("store")[: STORE.itemsize].view(STORE)

    def _keep(self, sock: socket.socket) -> socket.socket:
        self._sockets.append(sock)
        return sock

    def _build(self) -> None:
        config = self.config
        self.port_a = config.port_a or free_port(config.group_a)
        self.port_b = config.port_b or free_port(config.group_b)
        # Both lines may be one (in a test).
        for group, port in dict.fromkeys([(config.group_a, self.port_a), (config.group_b, self.port_b)]):
            self._keep(claim_line(group, port))
        orders = self._keep(bind_udp(config.address, config.order_port))
        requests = self._keep(bind_udp(config.address, config.request_port))
        listener = self._keep(listen_tcp(config.address, config.tcp_port))
        self.order_port: int = orders.getsockname()[1]
        self.request_port: int = requests.getsockname()[1]
        self.tcp_port: int = listener.getsockname()[1]
        self._build_flows()
        self._build_publisher(requests)
        self._build_desk(orders)
        self._build_streams()
        state = self.state
        state["publisher"], state["desk"] = self.memory.address("publisher"), self.memory.address("desk")
        state["open_ns"], state["speed"], state["stp"] = OPEN_NS, config.speed, STP[config.stp]
        state["n_instruments"], state["listener"] = len(config.instruments), listener.fileno()
        tallies = self.memory.make("tallies", (TALLY, len(config.instruments) * len(config.accounts)))
        state["tallies"] = tallies.ctypes.data

    def _build_flows(self) -> None:
        rows, stride = self.config.instruments, whole(self._book_bytes())
        assert rows.dtype == INSTRUMENT
        memory = self.memory.make("flows", stride * len(rows))
        for index, row in enumerate(rows):
            part = memory[index * stride : (index + 1) * stride]
            if self.config.replay:
                captured().book_memory_init(part, row)
            else:
                seed = self.config.seed + index
                flow_init(part, row, index, seed, self.config.rate_per_s, OPEN_NS, self.config.market)
        self.state["flows"], self.state["flow_stride"] = memory.ctypes.data, stride

    def _book_bytes(self) -> int:
        """Memory of one instrument's market. A captured one is set up first: it may have to be refused."""
        if not self.config.replay:
            return flow_bytes()
        module = captured()
        self.captured = module.CapturedMarket(self.config.replay, self.config.instruments)
        self.state["captured"], self.state["play"] = self.captured.state.ctypes.data, module.play_entry.address
        size: int = module.book_memory()
        return size

    def _line(self, name: str, impairment: Impairment, salt: int) -> int:
        memory = self.memory.make(name, impair_bytes())
        impair_init(memory, impairment, self.config.seed * 1_000_003 + salt)
        return memory.ctypes.data

    def _build_publisher(self, requests: socket.socket) -> None:
        config = self.config
        encoders = self.memory.make("encoders", (ENCODER, len(config.instruments)))
        for index, row in enumerate(config.instruments):
            encoder_init(encoders[index : index + 1], index + 1, bytes(row["symbol"]).decode(), int(row["lot"]))
        words = session_words(config.mold_session)
        store_init(self.memory.make("store", store_bytes(config.store_messages)), config.store_messages, words)
        packet = self.memory.make("packet", (PACKET, 1))
        packet["session_low"], packet["session_high"], packet["sequence"] = *words, 1
        packet["data"], packet["capacity"] = self.memory.make("packet_data", 2048).ctypes.data, PACKET_BYTES_MAX
        publisher = self.memory.make("publisher", (PUBLISHER, 1))
        for name in ("packet", "store", "encoders"):
            publisher[name] = self.memory.address(name)
        for name in ("scratch", "datagram", "answer", "spare"):
            publisher[name] = self.memory.make(f"publisher_{name}", _DATAGRAM_MEMORY).ctypes.data
        publisher["lines"][0] = self._line("line_a", config.line_a, 1), self._line("line_b", config.line_b, 2)
        senders = [
            self._keep(open_sender(group, port, interface=config.interface)).fileno()
            for group, port in ((config.group_a, self.port_a), (config.group_b, self.port_b))
        ]
        publisher["sockets"][0], publisher["request_socket"] = senders, requests.fileno()
        publisher["n_instruments"], publisher["heartbeat_ns"] = len(config.instruments), config.heartbeat_ms * 10**6

    def _build_desk(self, orders: socket.socket) -> None:
        config = self.config
        desk = self.memory.make("desk", (DESK, 1))
        memory = self.memory.make("accounts", ACCOUNT_BYTES * len(config.accounts))
        for index, who in enumerate(config.accounts):
            if len(who.user) > 6 or len(who.password) > 10:
                raise ValueError(f"user {who.user!r}: at most 6 characters, its password at most 10")
            account = memory[index * ACCOUNT_BYTES :][: ACCOUNT.itemsize].view(ACCOUNT)
            text = who.user.encode().ljust(6) + who.password.encode().ljust(10)
            account["owner"], account["credentials"][0] = index + 1, np.frombuffer(text, np.uint8)
            session = self.memory.make(f"session_{index}", session_bytes())
            session_init(session, VENUE_SIDE)
            log = self.memory.make(f"log_{index}", LOG_BYTES * config.log_messages)
            account["session"], account["log"] = session.ctypes.data, log.ctypes.data
            account["log_capacity"] = config.log_messages
            for name in ("log_next", "cursor", "base"):
                account[name] = 1
        desk["accounts"], desk["n_accounts"], desk["socket"] = memory.ctypes.data, len(config.accounts), orders.fileno()
        for name in ("datagram", "spare", "reply"):
            desk[name] = self.memory.make(f"desk_{name}", _DATAGRAM_MEMORY).ctypes.data
        desk["line_in"] = self._line("orders_in", config.orders_in, 3)
        desk["line_out"] = self._line("orders_out", config.orders_out, 4)
        desk["cancel_on_loss"], desk["cancel_on_new_session"] = config.cancel_on_loss, config.cancel_on_new_session

    def _build_streams(self) -> None:
        count = len(self.config.accounts) + 2
        streams = self.memory.make("streams", (STREAM, count))
        streams["fd"] = -1
        for index in range(count):
            soup = self.memory.make(f"soup_{index}", soup_bytes())
            soup_init(soup, session=self.config.mold_session)
            streams["soup"][index] = soup.ctypes.data
        self.state["streams"], self.state["n_streams"] = streams.ctypes.data, count

    def book(self, instrument: int) -> np.uint64:
        """Address of an instrument's matching book."""
        address: np.uint64 = book_of(np.uint64(self.state.ctypes.data), np.int64(instrument))
        return address

    def _say_who_is_too_late(self, told: Told) -> None:
        """Say it when someone first asks for what is no longer kept."""
        count = int(self._store["too_late"][0])
        if count and not self._too_late:
            kept = self.config.store_messages
            told.say(f"a receiver asks for messages that are no longer kept (only the last {kept}): store more of them")
        self._too_late = count

    def _serve_capture(self, market: "CapturedMarket", told: Told) -> None:
        """Bring what the capture needs; a while after its end, tell of that."""
        if self.state["need"][0]:
            market.source.service()
            self.state["need"], market.cursor["need"] = 0, 0
        if market.has_ended() and not self._told_end:
            self._ended_ns = self._ended_ns or steady_ns()
            if steady_ns() - self._ended_ns > LINGER_NS:
                self._told_end = True
                told.ended()

    def run(self, stop: np.ndarray, told: Told, truth: str = "") -> None:
        """Serve until the stop word (uint64 array of length 1) is not 0, then end the session.

        At the end of a capture the market stands still, and goes on being served. ``truth``: file that is kept up to date
        with what is known of the accounts (:mod:`hftpipe.simulation.exchange_server.ledger`).
        """
        exchange, clock = np.uint64(self.state.ctypes.data), np.uint64(self.clock.ctypes.data)
        calibrate(self.clock)
        exchange_open(exchange, np.int64(steady_ns()))
        idle, address = np.int64(IDLE_NAMES[self.config.idle]), np.uint64(stop.ctypes.data)
        books = LedgerFile(self, truth)
        if self.captured:
            self.captured.source.open(told.damaged)
        while not serve(exchange, clock, address, idle, np.int64(books.rounds or ROUNDS)):
            books.write(steady_ns())
            self._say_who_is_too_late(told)
            if self.captured:
                self._serve_capture(self.captured, told)
        if self.captured:
            self.captured.source.close()
        books.write(steady_ns(), is_last=True)
        exchange_close(exchange, np.int64(steady_ns()))

    def close(self) -> None:
        """Close every socket."""
        for sock in self._sockets:
            sock.close()
        self._sockets.clear()

    def figures(self) -> dict[str, int]:
        """Counters for a summary."""
        names = ("flow_events", "entered", "rejected", "executed", "unknown_orders", "flow_behind")
        figures = {name: int(self.state[name][0]) for name in names}
        publisher = self.memory.piece("publisher")
        figures |= {name: int(publisher[name][0]) for name in ("messages", "packets", "send_errors", "unencodable")}
        figures["too_late"] = int(self._store["too_late"][0])
        return figures | (self.captured.figures() if self.captured else {})
