"""Tick-to-trade over loopback UDP: one ITCH datagram in, one OUCH order datagram out, against an echo that does no work.

::

    driver (CPU 0), the venue                     the product (CPU 1): one process of all four stages, in its duty loop
    stamp, send A or D that moves the top ──▶ lines A and B, re-request socket: recv, arbiter, order book, market ring,
                                              STRATEGY (the hook of a plain class), RISK (all checks), GATEWAY,
    stamp when the order is back          ◀── OUCH send
    answers the order (accepted, cancelled), waits a while, next

The product reads its lines as it would by itself: from a packet ring where that is allowed, else from sockets (the facts
are in the note). Market data is multicast, on line A alone in the first row (nothing of line B's then hides in the driver's own time) and on
both lines in the second. The rival is a C++ loop that has joined line A only, busy-polls that one socket, and answers each
datagram with as many bytes as an order has; the driver and what it sends are the same.
"""

import ctypes
import mmap
import os
import socket
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from harness import compile_cpp, cpus, fork_pinned, interleave, join, percentiles, pin, ratio

from hftpipe.config import Config, load
from hftpipe.core.machine.clock import calibrate, tsc_now
from hftpipe.core.machine.jit import jit
from hftpipe.core.machine.mem import ONE, U64, ZERO, load_relaxed, pause, rdtsc, rdtscp, store_i64, view
from hftpipe.core.schema.clock import CLOCK
from hftpipe.core.schema.records import BUY, RECORD
from hftpipe.core.schema.ring import RING, RING_HEADER_BYTES
from hftpipe.core.shared.stage import SPIN, build_loop, duty_loop
from hftpipe.gateway import stage as gateway
from hftpipe.strategy.compile.loader import load as load_strategy
from hftpipe.topology.pipeline import Pipeline
from hftpipe.venues.nasdaq.itch.encode import ENCODER, encode_add, encode_delete, encode_directory, encoder_init
from hftpipe.venues.nasdaq.itch.mold import PACKET, PACKET_BYTES_MAX, packet_add, packet_close, session_words
from hftpipe.venues.nasdaq.itch.sockets import open_line, open_sender
from hftpipe.venues.nasdaq.ouch.datagram import LOGIN, session_kind, session_number
from hftpipe.venues.nasdaq.ouch.decode import WIRE, decode_request
from hftpipe.venues.nasdaq.ouch.encode import encode_accepted, encode_canceled, encode_plain
from hftpipe.venues.nasdaq.ouch.link import LINK
from hftpipe.venues.nasdaq.ouch.messages import ACCOUNT, ENTER, QUERY
from hftpipe.venues.nasdaq.ouch.session import (
    SESSION,
    VENUE_SIDE,
    session_accept,
    session_bytes,
    session_commit,
    session_init,
    session_next,
    session_poll,
    session_reserve,
    session_take,
)
from hftpipe.venues.nasdaq.ouch.sockets import bind_udp, receive_bytes, send_bytes
from hftpipe.venues.nasdaq.ouch.state import part

BENCH = "tick to trade"
TICKS, WARM_UP, REPETITIONS = 3000, 500, 7
ORDER_BYTES = 28 + 2 + 47
PAUSE_TICKS = 60_000
SHARE, BASE_PRICE = 10**8, 1_000_000
RATIO_BAR, INSIDE_BAR_NS = 1.25, 1000.0
TIMEOUT_TICKS = 1 << 31
GROUPS, FIRST_PORT = ("239.192.7.1", "239.192.7.2"), 26_700
STRATEGY = """
from hftpipe.strategy import IOC, Price, Strategy, state

class EveryBid(Strategy):
    seen: Price = state()

    def on_book(self, ctx, book):
        if book.bid != self.seen:
            self.seen = book.bid
            ctx.buy(book.bid - 10 * ctx.tick(), ctx.lot(), IOC)
"""

#: What watches the product's duty loop: addresses, and the receive-return to send-call ticks of each order.
WATCH = np.dtype(
    [
        ("loop", "u8"),
        ("stop", "u8"),
        ("gateway", "u8"),
        ("orders", "u8"),
        ("link", "u8"),
        ("inside", "u8"),
        ("sent", "i8"),
        ("room", "i8"),
    ]
)
DRIVER = np.dtype(
    [
        ("feed_fds", "i8", 2), ("order_fd", "i8"), ("session", "u8"), ("data", "u8"), ("wire", "u8"), ("encoder", "u8"),
        ("packet", "u8"), ("block", "u8"), ("ref", "u8"), ("is_added", "i8"), ("ready", "i8"),
    ]
)  # fmt: skip


@jit
def _run(watch):
    """The product's duty loop, round by round, until its stop word is set."""
    w = view(watch, WATCH)
    g, k, ring = view(w.gateway, gateway.STATE), view(w.link, LINK), view(w.orders, RING)
    while load_relaxed(w.stop) == ZERO:
        duty_loop(w.loop, np.int64(1))
        if g.sent == w.sent:
            continue
        if g.sent <= w.room:
            order = w.orders + U64(RING_HEADER_BYTES) + (((ring.next_out - ONE) & ring.mask) << U64(6))
            store_i64(w.inside + U64(8) * U64(g.sent - 1), np.int64(k.send_tsc - view(order, RECORD).origin_tsc))
        w.sent = g.sent


@jit
def _say(driver, length):
    d = view(driver, DRIVER)
    datagram = session_commit(d.session, length, np.int64(0))
    send_bytes(d.order_fd, datagram, view(d.session, SESSION).out_length)


@jit
def _serve(driver, length):
    """Answer what a datagram of the pipeline brings."""
    d = view(driver, DRIVER)
    if session_kind(d.data) == LOGIN:
        session_accept(d.session, session_number(d.data, length), np.int64(0))
    session_take(d.session, d.data, length, np.int64(0))
    text = session_next(d.session)
    while text != ZERO:
        kind, w = decode_request(d.wire, text, view(d.session, SESSION).in_length), view(d.wire, WIRE)
        if kind == ENTER:
            _say(
                driver,
                encode_accepted(
                    np.int64(0),
                    w.ref,
                    w.side,
                    w.shares,
                    w.stock,
                    w.price,
                    w.tif,
                    w.ref,
                    ZERO,
                    session_reserve(d.session),
                ),
            )
            _say(driver, encode_canceled(np.int64(0), w.ref, w.shares, np.int64(73), session_reserve(d.session)))
        elif kind == QUERY:
            _say(driver, encode_plain(np.int64(ACCOUNT), np.int64(0), ONE, session_reserve(d.session)))
            d.ready = 1
        text = session_next(d.session)
    datagram = session_poll(d.session, np.int64(0))
    while datagram != ZERO:
        send_bytes(d.order_fd, datagram, view(d.session, SESSION).out_length)
        datagram = session_poll(d.session, np.int64(0))


@jit
def _drain(driver, ticks, serves):
    """Serve the pipeline (or throw away) for so many ticks of the counter."""
    d, end = view(driver, DRIVER), rdtsc() + U64(ticks)
    while rdtsc() < end:
        length = receive_bytes(d.order_fd, d.data, np.int64(2048))
        if length > 0 and serves:
            _serve(driver, length)
        pause()


@jit
def _next_tick(driver):
    """The packet of the next tick: a bid above the others, or its removal; bytes to send."""
    d = view(driver, DRIVER)
    if d.is_added == 0:
        d.ref += ONE
        size = encode_add(d.encoder, d.ref, np.int64(BUY), U64(100), U64(BASE_PRICE + 100), np.int64(0), d.block)
    else:
        size = encode_delete(d.encoder, d.ref, np.int64(0), d.block)
    d.is_added = 1 - d.is_added
    packet_add(d.packet, d.block, size)
    return packet_close(d.packet)


@jit
def _drive(driver, count, serves, times):
    """Send ``count`` ticks, one at a time; ticks of the counter until each order was back (0: it never came)."""
    d = view(driver, DRIVER)
    for index in range(count):
        length = _next_tick(driver)
        before = rdtsc()
        for line in range(2):
            if d.feed_fds[line] >= 0:
                send_bytes(d.feed_fds[line], view(d.packet, PACKET).data, length)
        got, spent = np.int64(-1), U64(0)
        while got != ORDER_BYTES and spent < U64(TIMEOUT_TICKS):
            got = receive_bytes(d.order_fd, d.data, np.int64(2048))
            after = rdtscp()
            spent = after - before
            if got > 0 and got != ORDER_BYTES and serves:
                _serve(driver, got)
        store_i64(times + U64(8 * index), np.int64(spent) if got == ORDER_BYTES else np.int64(0))
        if got > 0 and serves:
            _serve(driver, got)
        _drain(driver, np.int64(PAUSE_TICKS), serves)


class Driver:
    """The venue: market data out on multicast, orders in and reports out on one socket."""

    def __init__(self, lines: list[socket.socket], orders: socket.socket):
        self.memory = {"driver": np.zeros(1, DRIVER), "session": _aligned(session_bytes(1024)), "data": _aligned(4096)}
        self.memory |= {"wire": np.zeros(1, WIRE), "encoder": np.zeros(1, ENCODER), "packet": np.zeros(1, PACKET)}
        self.memory |= {"block": _aligned(128), "text": _aligned(2048)}
        session_init(self.memory["session"], VENUE_SIDE, window=1024)
        encoder_init(self.memory["encoder"], 1, "TEST", SHARE)
        packet = self.memory["packet"]
        packet["session_low"], packet["session_high"] = session_words("BENCH")
        packet["sequence"], packet["capacity"], packet["data"] = 1, PACKET_BYTES_MAX, self.memory["text"].ctypes.data
        self.state, self.lines = self.memory["driver"], lines
        self.state["feed_fds"] = -1
        self.state["feed_fds"][0][: len(lines)] = [line.fileno() for line in lines]
        self.state["order_fd"] = orders.fileno()
        for name in ("session", "data", "wire", "encoder", "packet", "block"):
            self.state[name] = self.memory[name].ctypes.data
        self.address = np.uint64(self.state.ctypes.data)

    def open_market(self) -> None:
        """The directory and one order a side."""
        encoder, block = (np.uint64(self.memory[name].ctypes.data) for name in ("encoder", "block"))
        packet = np.uint64(self.memory["packet"].ctypes.data)
        packet_add(packet, block, np.int64(encode_directory(encoder, np.int64(0), block)))
        for ref, side, price in ((1 << 40, 0, BASE_PRICE), ((1 << 40) + 1, 1, BASE_PRICE + 400)):
            size = encode_add(
                encoder, np.uint64(ref), np.int64(side), np.uint64(100), np.uint64(price), np.int64(0), block
            )
            packet_add(packet, block, np.int64(size))
        size = int(packet_close(packet))
        for line in self.lines:
            line.send(self.memory["text"][:size].tobytes())

    def serve(self, pauses: int) -> None:
        """Answer the pipeline for a while."""
        _drain(self.address, np.int64(pauses * PAUSE_TICKS), True)

    def drive(self, count: int, serves: bool) -> np.ndarray:
        times = np.zeros(count, np.int64)
        _drive(self.address, np.int64(count), serves, np.uint64(times.ctypes.data))
        assert (times > 0).all(), f"{int((times == 0).sum())} orders never came"
        return times


def _aligned(size: int) -> np.ndarray:
    raw = np.zeros(size + 64, np.uint8)
    start = -raw.ctypes.data % 64
    return raw[start : start + size]


def _config(name: str, port: int, order_port: int, strategy: Path) -> Config:
    """One process of four stages on the UDP venue, with limits that let every order pass."""
    limits = {
        "max_order_qty": 100, "max_market_order_qty": 100, "max_order_notional": 1_000_000, "max_position": 1_000_000,
        "orders_per_s": 1_000_000, "orders_per_min": 60_000_000,
    }  # fmt: skip
    instrument = {
        "symbol": "TEST", "venue": "binance_spot", "tick_size": "0.01", "lot_size": "1", "min_notional": "0",
        "reference_price": "100",
    }  # fmt: skip
    return load(
        [], {},
        {
            "pipeline.name": name, "pipeline.processes": 1, "pipeline.venue": "udp", "instruments": [instrument],
            "udp.embedded": False, "udp.group_a": GROUPS[0], "udp.group_b": GROUPS[1], "udp.port_a": port,
            "udp.port_b": port + 1, "udp.request_port": order_port, "udp.order_port": order_port,
            "strategy.name": f"{strategy}:EveryBid", **{f"risk.limits.TEST.{key}": value for key, value in limits.items()},
        },
    )  # fmt: skip


@dataclass
class Bench:
    """What every run needs: CPUs, length of a tick of the counter, the strategy's file, how many lines carry the data."""

    places: list[int]
    scale: float
    strategy: Path
    lines: int

    def senders(self, port: int) -> list[socket.socket]:
        return [open_sender(group, port + line) for line, group in enumerate(GROUPS[: self.lines])]

    def ours(self, inside: list[np.ndarray]) -> np.ndarray:
        """One run of the product: round trips in ns; its inside times are appended."""
        count, port = WARM_UP + TICKS, FIRST_PORT
        orders = bind_udp("127.0.0.1", 0)
        config = _config(f"bench-{os.getpid()}", port, orders.getsockname()[1], self.strategy)
        pipeline = Pipeline(config, [load_strategy(config.strategy.name)], tsc_now() & 0xFFFF, 10**18)
        lines = self.senders(port)
        try:
            samples = _watched(count)
            pid = fork_pinned(self.places[1], lambda: _child(pipeline, samples))
            try:
                times = self._drive(orders, lines, count)
            finally:
                pipeline.stop_word()[0] = 1
                join(pid)
            inside.append(samples[WARM_UP:].copy() * self.scale)
        finally:
            pipeline.segment.unlink()
            for sock in (orders, *lines, *pipeline.joined["market_data"].keep[0].sockets):
                sock.close()
        return times[WARM_UP:] * self.scale

    def _drive(self, orders: socket.socket, lines: list[socket.socket], count: int) -> np.ndarray:
        pin(self.places[0])
        orders.settimeout(30)
        # The first datagram is the login, whoever sent it is the pipeline; it is read again below.
        orders.connect(orders.recvfrom(1, socket.MSG_PEEK)[1])
        orders.setblocking(False)
        driver = Driver(lines, orders)
        while not driver.state["ready"][0]:
            driver.serve(10)
        driver.open_market()
        driver.serve(50)
        return driver.drive(count, True)

    def echo(self, library: ctypes.CDLL) -> np.ndarray:
        """One run of the echo: round trips in ns."""
        stop, port = np.frombuffer(_shared(64), np.uint64), FIRST_PORT
        feed, lines = open_line(GROUPS[0], port).socket, self.senders(port)
        orders, replies = bind_udp("127.0.0.1", 0), bind_udp("127.0.0.1", 0)
        orders.connect(replies.getsockname())
        replies.connect(orders.getsockname())
        library.udp_echo.argtypes = [ctypes.c_int, ctypes.c_int, ctypes.c_int64, ctypes.c_void_p]
        pid = fork_pinned(
            self.places[1], lambda: library.udp_echo(feed.fileno(), replies.fileno(), ORDER_BYTES, stop.ctypes.data)
        )
        try:
            pin(self.places[0])
            times = Driver(lines, orders).drive(WARM_UP + TICKS, False)
        finally:
            stop[0] = 1
            join(pid)
            for sock in (feed, orders, replies, *lines):
                sock.close()
        return times[WARM_UP:] * self.scale


def _shared(size: int) -> mmap.mmap:
    return mmap.mmap(-1, size)


def _watched(count: int) -> np.ndarray:
    """Memory for the inside times (int64 ticks), shared with the child."""
    return np.frombuffer(_shared(8 * count), np.int64)


def _child(pipeline: Pipeline, samples: np.ndarray) -> None:
    """The product's process: all stages opened, then its loop."""
    pipeline.segment.prefault()
    stages = list(pipeline.stages.values())
    for stage in stages:
        if stage.opened:
            stage.opened()
    statuses = [pipeline.address(f"status.{stage.name}") for stage in stages]
    loop = build_loop(stages, SPIN, pipeline.segment.address("stop"), pipeline.segment.address("clock"), statuses)
    watch = np.zeros(1, WATCH)
    watch["loop"], watch["stop"], watch["room"] = loop.ctypes.data, pipeline.segment.address("stop"), len(samples)
    watch["gateway"], watch["orders"] = pipeline.address("state.gateway"), pipeline.address("ring.orders")
    watch["link"], watch["inside"] = part(pipeline.segment.region("ouch"), "link").ctypes.data, samples.ctypes.data
    _run(np.uint64(watch.ctypes.data))
    for stage in stages:
        if stage.closed:
            stage.closed()


def _ns_per_tick() -> float:
    clock = np.zeros(1, CLOCK)
    calibrate(clock)
    return float(clock["ns_per_tick"][0])


@pytest.mark.parametrize("lines", [1, 2], ids=["line-a", "both-lines"])
def test_tick_to_trade_against_an_echo(report: Any, tmp_path: Path, lines: int) -> None:
    places, inside = cpus(2), []
    strategy = tmp_path / "every_bid.py"
    strategy.write_text(STRATEGY)
    library = compile_cpp("udp_echo.cpp", tmp_path)
    bench = Bench(places, _ns_per_tick(), strategy, lines)
    # Compiled beforehand: a venue that says nothing for a second is taken for lost.
    for function, signature in (
        (_run, "(uint64,)"),
        (_drain, "(uint64, int64, boolean)"),
        (_drive, "(uint64, int64, boolean, uint64)"),
    ):
        function.compile(signature)
    series = interleave({"ours": lambda: bench.ours(inside), "echo": lambda: bench.echo(library)}, REPETITIONS)
    ours, echo, which = series["ours"], series["echo"], "line A" if lines == 1 else "lines A and B"
    report.row(BENCH, f"ITCH datagram in -> order datagram back, {which}", **ours.figures(), note=ours.spread("p50"))
    bars = {"bar": f"<= {RATIO_BAR}"} if lines == 1 else {}
    report.row(
        BENCH, "the same", rival="C++ busy-poll echo, no work", ratio=ratio(ours, echo, "p50"), **bars, **echo.figures(),
        note=echo.spread("p50"),
    )  # fmt: skip
    runs = [percentiles(ticks) for ticks in inside]
    typical = {name: float(np.median([run[name] for run in runs])) for name in runs[0]}
    report.row(
        BENCH, f"inside: receive returned -> send called, {which}", ok=typical["p50"] <= INSIDE_BAR_NS,
        note=f"p50 at most {INSIDE_BAR_NS:.0f} ns", **typical,
    )  # fmt: skip
