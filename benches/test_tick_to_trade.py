"""Tick-to-trade over loopback UDP: one ITCH datagram in, one OUCH order datagram out, against an echo that does no work.

::

    driver (CPU 0)                                     pipeline (CPU 1), one process, all compiled
    stamp, send A or D that moves the top ──▶ recv, arbiter, order book, decision, RISK (all checks), GATEWAY, OUCH send
    stamp when the order is back          ◀────────────────────────────────────────────────────────────────────┘
    answers the order (accepted, cancelled), waits a while, next

The decision is trivial (a buy ten ticks below the new bid); everything else is the product's own. The rival is a C++
loop that busy-polls one socket and answers each datagram with as many bytes as an order has.
"""

import ctypes
import os
import socket
import sys
from pathlib import Path
from typing import Any

import numpy as np
from harness import compile_cpp, cpus, fork_pinned, interleave, join, percentiles, pin, ratio

sys.path.append(str(Path(__file__).resolve().parents[1] / "tests"))
from memory import aligned, shared
from risk_rig import RiskRig

from hftpipe.core.book import BOOK
from hftpipe.core.cell import CELL_BYTES, write_top
from hftpipe.core.clock import CLOCK, calibrate, monotonic_ns
from hftpipe.core.hist import HIST_BYTES
from hftpipe.core.instruments import INSTRUMENT
from hftpipe.core.jit import entry, jit
from hftpipe.core.mem import ONE, U64, ZERO, load_relaxed, pause, rdtsc, rdtscp, store_i64, view
from hftpipe.core.order_table import table_bytes, table_init
from hftpipe.core.records import BUY, IOC, NEW, RECORD, VALID
from hftpipe.core.ring import ring_claim, ring_peek, ring_pop, ring_publish
from hftpipe.gateway import stage as gateway
from hftpipe.pipeline import ORDER_SLOTS
from hftpipe.risk import stage as risk
from hftpipe.venues.itch.arbiter import arbiter_bytes, arbiter_init
from hftpipe.venues.itch.encode import ENCODER, encode_add, encode_delete, encode_directory, encoder_init
from hftpipe.venues.itch.feed import feed_book, feed_bytes, feed_init
from hftpipe.venues.itch.mold import PACKET, PACKET_BYTES_MAX, packet_add, packet_close, session_words
from hftpipe.venues.itch.receive import receive_step, receiver_bytes, receiver_init
from hftpipe.venues.ouch import venue as ouch_venue
from hftpipe.venues.ouch.decode import WIRE, decode_request
from hftpipe.venues.ouch.encode import encode_accepted, encode_canceled, encode_plain
from hftpipe.venues.ouch.link import LINK
from hftpipe.venues.ouch.messages import ACCOUNT, ENTER, QUERY
from hftpipe.venues.ouch.session import (
    LOGIN,
    SESSION,
    VENUE_SIDE,
    session_accept,
    session_bytes,
    session_commit,
    session_init,
    session_kind,
    session_next,
    session_number,
    session_poll,
    session_reserve,
    session_take,
)
from hftpipe.venues.ouch.sockets import receive_bytes, send_bytes
from hftpipe.venues.ouch.state import part

BENCH = "tick to trade"
TICKS, WARM_UP, REPETITIONS = 3000, 500, 7
ORDER_BYTES = 28 + 2 + 47
PAUSE_TICKS = 60_000
SHARE, BASE_PRICE = 10**8, 1_000_000
RATIO_BAR, INSIDE_BAR_NS = 1.25, 1000.0
TIMEOUT_TICKS = 1 << 31

PIPE = np.dtype(
    [
        ("receiver", "u8"), ("book", "u8"), ("risk", "u8"), ("gateway", "u8"), ("intents", "u8"), ("updates", "u8"),
        ("top", "u8"), ("scratch", "u8"), ("clock", "u8"), ("link", "u8"), ("stop", "u8"), ("inside", "u8"),
        ("last_bid", "i8"), ("id", "u8"), ("orders", "i8"), ("now_ns", "i8"),
    ]
)  # fmt: skip
DRIVER = np.dtype(
    [
        ("feed_fd", "i8"), ("order_fd", "i8"), ("session", "u8"), ("data", "u8"), ("wire", "u8"), ("encoder", "u8"),
        ("packet", "u8"), ("block", "u8"), ("ref", "u8"), ("next_ref", "u8"), ("is_added", "i8"), ("ready", "i8"),
    ]
)  # fmt: skip


@jit
def _decide(pipe, count):
    """The stand-in for a strategy: an order for every new best bid."""
    p = view(pipe, PIPE)
    b = view(p.book, BOOK)
    if b.bid == p.last_bid or b.bid == 0 or b.ask == 0:
        return np.int64(0)
    p.last_bid = b.bid
    write_top(p.top, p.scratch, b.bid, b.bid_qty, b.ask, b.ask_qty, p.now_ns, np.int64(VALID), b.update_id)
    r = view(ring_claim(p.intents), RECORD)
    p.id += ONE
    r.origin_tsc, r.exchange_ts, r.local_ts = b.top_id, 0, p.now_ns
    r.price, r.qty, r.id, r.instrument = b.bid - 10 * 1_000_000, SHARE, p.id, 0
    r.kind, r.side, r.strategy, r.flags = NEW, BUY, 1, IOC
    ring_publish(p.intents)
    return np.int64(1)


@entry("int64(uint64, int64)")
def decide_entry(pipe, count):
    return _decide(pipe, count)


@jit
def _pipeline(pipe, out, samples):
    """The fused pipeline until the stop word is set; receive-return to send-call of each order into ``inside`` (ticks)."""
    p = view(pipe, PIPE)
    k = view(p.link, LINK)
    while load_relaxed(p.stop) == ZERO:
        p.now_ns = monotonic_ns(p.clock, rdtsc())
        before = p.id
        receive_step(p.receiver, p.now_ns)
        risk.step(p.risk, p.now_ns)
        gateway.step(p.gateway, p.now_ns)
        if p.id != before and p.orders < samples:
            store_i64(p.inside + U64(8 * p.orders), np.int64(k.send_tsc - view(out, RECORD).origin_tsc))
            p.orders += 1
        while ring_peek(p.updates) != ZERO:
            ring_pop(p.updates)


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
        send_bytes(d.feed_fd, view(d.packet, PACKET).data, length)
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


def _pair() -> tuple[socket.socket, socket.socket]:
    """Two UDP sockets connected to each other."""
    left, right = (socket.socket(socket.AF_INET, socket.SOCK_DGRAM) for _ in range(2))
    left.bind(("127.0.0.1", 0))
    right.bind(("127.0.0.1", 0))
    left.connect(right.getsockname())
    right.connect(left.getsockname())
    for sock in (left, right):
        sock.setblocking(False)
    return left, right


class Driver:
    """The other end of both sockets: the venue."""

    def __init__(self, feed: socket.socket, orders: socket.socket):
        self.memory = {"driver": np.zeros(1, DRIVER), "session": aligned(session_bytes(1024)), "data": aligned(4096)}
        self.memory |= {"wire": np.zeros(1, WIRE), "encoder": np.zeros(1, ENCODER), "packet": np.zeros(1, PACKET)}
        self.memory |= {"block": aligned(128), "text": aligned(2048)}
        session_init(self.memory["session"], VENUE_SIDE, window=1024)
        encoder_init(self.memory["encoder"], 1, "TEST", SHARE)
        packet = self.memory["packet"]
        packet["session_low"], packet["session_high"] = session_words("BENCH")
        packet["sequence"], packet["capacity"], packet["data"] = 1, PACKET_BYTES_MAX, self.memory["text"].ctypes.data
        self.state = self.memory["driver"]
        self.state["feed_fd"], self.state["order_fd"] = feed.fileno(), orders.fileno()
        for name in ("session", "data", "wire", "encoder", "packet", "block"):
            self.state[name] = self.memory[name].ctypes.data
        self.address, self.feed = np.uint64(self.state.ctypes.data), feed

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
        self.feed.send(self.memory["text"][:size].tobytes())

    def drive(self, count: int, serves: bool) -> np.ndarray:
        times = np.zeros(count, np.int64)
        _drive(self.address, np.int64(count), serves, np.uint64(times.ctypes.data))
        return times


def _build_pipeline(pipe: np.ndarray, feed: socket.socket, orders: socket.socket, stop: int, inside: int) -> list[Any]:
    """Wire a pipeline into the PIPE array; what is returned must stay alive."""
    rig, n_refs = RiskRig(slots=ORDER_SLOTS["risk"]), 1 << 14
    rows = aligned(INSTRUMENT.itemsize).view(INSTRUMENT)
    rows["symbol"], rows["lot"], rows["tick"], rows["reference_price"] = b"TEST", SHARE, 10**6, 100 * 10**8
    rig.instruments["tick"], rig.instruments["lot"] = 10**6, SHARE
    for name in ("rate_per_s", "rate_per_min", "orders_per_s", "orders_per_min"):
        if name in rig.limits.dtype.names:
            rig.limits[name] = 1 << 40
    clock = np.zeros(1, CLOCK)
    calibrate(clock)
    feed_memory, arbiter, receiver = (
        aligned(feed_bytes(1, 1 << 12, 64)),
        aligned(arbiter_bytes()),
        aligned(receiver_bytes()),
    )
    feed_init(feed_memory, rows, 1 << 12, 64)
    arbiter_init(arbiter, silence_ns=0)
    out = np.zeros(1024, RECORD)
    receiver_init(
        receiver, arbiter.ctypes.data, feed_memory.ctypes.data, out, line_a=feed.fileno(),
        max_datagrams=1, sink=decide_entry.address, sink_state=pipe.ctypes.data,
    )  # fmt: skip
    venue = aligned(ouch_venue.venue_bytes(1, n_refs))
    ouch_venue.venue_init(venue, rows, clock.ctypes.data, server="127.0.0.1", port=1, refs=n_refs, silence_ns=1 << 60)
    part(venue, "link")["fd"] = orders.fileno()
    table, state = aligned(table_bytes(ORDER_SLOTS["gateway"])), aligned(gateway.STATE.itemsize).view(gateway.STATE)
    table_init(table, ORDER_SLOTS["gateway"])
    hists = [aligned(HIST_BYTES) for _ in range(2)]
    for name, value in (
        ("orders", rig.rings["orders"]), ("reports", rig.rings["reports"]), ("halt", rig.halt), ("table", table),
        ("venue", venue), ("h_risk_to_gateway", hists[0]), ("h_tick_to_order", hists[1]),
    ):  # fmt: skip
        state[name] = value.ctypes.data
    state["venue_submit"], state["venue_poll"] = ouch_venue.submit_entry.address, ouch_venue.poll_entry.address
    scratch = aligned(CELL_BYTES)
    for name, value in (
        ("receiver", receiver), ("risk", rig.state), ("gateway", state), ("intents", rig.rings["intents"]),
        ("updates", rig.rings["updates"]), ("top", rig.tops), ("scratch", scratch), ("clock", clock),
    ):  # fmt: skip
        pipe[name] = value.ctypes.data
    pipe["book"], pipe["link"] = (
        feed_book(np.uint64(feed_memory.ctypes.data), np.int64(0)),
        part(venue, "link").ctypes.data,
    )
    pipe["stop"], pipe["inside"] = stop, inside
    return [rig, rows, clock, feed_memory, arbiter, receiver, out, venue, table, state, hists, scratch]


def _ns_per_tick() -> float:
    clock = np.zeros(1, CLOCK)
    calibrate(clock)
    return float(clock["ns_per_tick"][0])


def _ours(places: list[int], scale: float, inside: list[np.ndarray]) -> np.ndarray:
    """One run of the pipeline: round trips in ns; its inside times are appended."""
    count = WARM_UP + TICKS
    words = shared(8 * (count + 8)).view(np.int64)
    (feed, feed_in), (orders, orders_out) = _pair(), _pair()
    driver, pipe = Driver(feed, orders), aligned(PIPE.itemsize).view(PIPE)
    keep = _build_pipeline(pipe, feed_in, orders_out, words[:1].ctypes.data, words[8:].ctypes.data)
    out = np.uint64(keep[6].ctypes.data)
    pid = fork_pinned(places[1], lambda: _pipeline(np.uint64(pipe.ctypes.data), out, np.int64(count)))
    try:
        pin(places[0])
        while not driver.state["ready"][0]:
            _drain(driver.address, np.int64(10 * PAUSE_TICKS), True)
        driver.open_market()
        _drain(driver.address, np.int64(50 * PAUSE_TICKS), True)
        times = driver.drive(count, True)
    finally:
        words[0] = 1
        join(pid)
        for sock in (feed, feed_in, orders, orders_out):
            sock.close()
    assert (times > 0).all(), f"{int((times == 0).sum())} orders never came"
    inside.append(words[8 + WARM_UP + 1 : 8 + count] * scale)
    return times[WARM_UP:] * scale


def _echo(places: list[int], scale: float, library: ctypes.CDLL) -> np.ndarray:
    """One run of the echo: round trips in ns."""
    stop = shared(64).view(np.uint64)
    (feed, feed_in), (orders, orders_out) = _pair(), _pair()
    driver = Driver(feed, orders)
    library.udp_echo.argtypes = [ctypes.c_int, ctypes.c_int, ctypes.c_int64, ctypes.c_void_p]
    pid = fork_pinned(
        places[1],
        lambda: library.udp_echo(feed_in.fileno(), orders_out.fileno(), ORDER_BYTES, stop.ctypes.data),
    )
    try:
        pin(places[0])
        times = driver.drive(WARM_UP + TICKS, False)
    finally:
        stop[0] = 1
        join(pid)
        for sock in (feed, feed_in, orders, orders_out):
            sock.close()
    assert (times > 0).all()
    return times[WARM_UP:] * scale


def test_tick_to_trade_against_an_echo(report: Any, tmp_path: Path) -> None:
    places, scale, before = cpus(2), _ns_per_tick(), os.sched_getaffinity(0)
    library, inside = compile_cpp("udp_echo.cpp", tmp_path), []
    try:
        series = interleave(
            {"ours": lambda: _ours(places, scale, inside), "echo": lambda: _echo(places, scale, library)}, REPETITIONS
        )
    finally:
        os.sched_setaffinity(0, before)
    ours, echo = series["ours"], series["echo"]
    value = ratio(ours, echo, "p50")
    report.row(BENCH, "ITCH datagram in -> order datagram back", **ours.figures(), note=ours.spread("p50"))
    report.row(
        BENCH, "the same", rival="C++ busy-poll echo, no work", ratio=value, bar=f"<= {RATIO_BAR}", **echo.figures(),
        note=echo.spread("p50"),
    )  # fmt: skip
    runs = [percentiles(run) for run in inside]
    best = {name: float(np.median([run[name] for run in runs])) for name in runs[0]}
    report.row(
        BENCH, "inside: receive returned -> send called", ok=best["p50"] <= INSIDE_BAR_NS,
        note=f"p50 at most {INSIDE_BAR_NS:.0f} ns", **best,
    )  # fmt: skip
