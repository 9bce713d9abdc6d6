"""A live feed over TLS on loopback: real captured messages, one WebSocket message a send.

Ours is the product's market stage as it runs: frames, decryption, scanner, book, record in the ring. The rivals decrypt, split
frames and parse the JSON, no more. All run in the same way, pinned, one after the other; the sender has the other CPU.
"""

import asyncio
import base64
import gzip
import hashlib
import os
import socket
import ssl
import subprocess
import time
from collections.abc import Callable
from pathlib import Path

import numpy as np
import orjson
import pytest
from conftest import Report
from harness import cpus, fork_pinned, join, pin

from hftpipe.config import load
from hftpipe.core.machine.clock import calibrate_once, tsc_now
from hftpipe.core.machine.jit import jit
from hftpipe.core.machine.mem import U64, ZERO, call_step, load_i64, rdtsc, store_i64
from hftpipe.core.machine.system_clock import steady_ns
from hftpipe.core.schema.clock import CLOCK
from hftpipe.core.schema.histogram import summarize
from hftpipe.core.shared.private import PrivateSegment
from hftpipe.core.shared.ring import ring_peek, ring_pop
from hftpipe.core.shared.stage import SERVICE
from hftpipe.strategy.compile.loader import load as load_strategy
from hftpipe.topology.pipeline import Pipeline
from hftpipe.transport.tls.openssl import TlsReader
from hftpipe.transport.tls.reading import tls_send

USDM = Path(__file__).resolve().parents[2] / "shared" / "data" / "binance-usdm-2024" / "usdm_btcusdt_20240808.gz"
BENCH, OURS, PICOWS, CLIENT = "live_feed", "hftpipe", "picows + orjson", "websocket-client + orjson"
REPETITIONS, SLOW_RATE_PER_S, SLOW_SECONDS = 5, 10_000, 5
FLOOD_BAR_PER_S = 500_000
GUID = b"258EAFA5-E914-47DA-95CA-C5AB0DC85B11"

pytestmark = pytest.mark.skipif(not USDM.is_file(), reason="captured feeds are not on this machine (../shared/data)")


@jit
def _send_frames(tls, data, ends, count, period):
    """Send frames one by one, each at its time by the time-stamp counter (``period`` ticks apart, 0: at once); how many."""
    at, due = np.int64(0), rdtsc()
    for index in range(count):
        end = load_i64(ends + U64(8) * U64(index))
        while rdtsc() < due:
            pass
        due += period
        if tls_send(tls, data + U64(at), end - at) != end - at:
            return np.int64(index)
        at = end
    return np.int64(count)


@jit
def _turn(market, state, ring, sim, count, now_ns, busy):
    """Steps of the market stage, its rings emptied; the last step's answer. Ticks of steps that did something: added to ``busy``."""
    done = np.int64(0)
    for _ in range(count):
        began = rdtsc()
        done = call_step(market, state, now_ns)
        if done > 0:
            store_i64(busy, load_i64(busy) + np.int64(rdtsc() - began))
        while ring_peek(ring) != ZERO:
            ring_pop(ring)
        while ring_peek(sim) != ZERO:
            ring_pop(sim)
        if done == SERVICE:
            break
    return done


def _frame(text: bytes) -> bytes:
    size = len(text)
    if size < 126:
        return bytes([0x81, size]) + text
    return (
        bytes([0x81, 126]) + size.to_bytes(2, "big") + text
        if size < 1 << 16
        else bytes([0x81, 127]) + size.to_bytes(8, "big") + text
    )


class Sender:
    """The other side: takes one WebSocket connection, confirms its first message, and sends the capture."""

    def __init__(self, folder: Path, messages: list[bytes]) -> None:
        key, self.certificate = folder / "key.pem", folder / "cert.pem"
        subprocess.run(
            ["openssl", "req", "-x509", "-newkey", "rsa:2048", "-nodes", "-keyout", key, "-out", self.certificate, "-days",
             "2", "-subj", "/CN=localhost", "-addext", "subjectAltName=DNS:localhost"],
            check=True, capture_output=True,
        )  # fmt: skip
        self._context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
        self._context.load_cert_chain(self.certificate, key)
        frames = [_frame(one) for one in messages]
        self._data = np.frombuffer(b"".join(frames), np.uint8)
        self._ends = np.cumsum([len(one) for one in frames]).astype(np.int64)
        self.count = len(frames)
        self.listener = socket.create_server(("127.0.0.1", 0), backlog=16)
        self.port = self.listener.getsockname()[1]
        _send_frames(ZERO, ZERO, ZERO, np.int64(0), ZERO)

    def serve(self, count: int, period: int) -> None:
        """One connection, ``count`` messages; then wait until the other side is gone."""
        sock = self._context.wrap_socket(self.listener.accept()[0], server_side=True)
        head = b""
        while not head.endswith(b"\r\n\r\n"):
            head += sock.recv(1)
        key = next(
            line.partition(b": ")[2] for line in head.split(b"\r\n") if line.lower().startswith(b"sec-websocket-key")
        )
        accept = base64.b64encode(hashlib.sha1(key + GUID).digest())
        sock.sendall(
            b"HTTP/1.1 101 Switching Protocols\r\nUpgrade: websocket\r\nConnection: Upgrade\r\nSec-WebSocket-Accept: "
            + accept + b"\r\n\r\n"
        )  # fmt: skip
        sock.recv(4096)
        sock.sendall(_frame(b'{"result":null,"id":1}'))
        time.sleep(0.3)
        sock.setblocking(True)
        reader = TlsReader(sock)
        sent = _send_frames(
            np.uint64(reader.address), np.uint64(self._data.ctypes.data), np.uint64(self._ends.ctypes.data), np.int64(count),
            np.uint64(period),
        )  # fmt: skip
        assert sent == count
        time.sleep(2.0)


def _messages() -> list[bytes]:
    with gzip.open(USDM) as file:
        return [line.partition(b" ")[2].strip() for line in file]


class Ours:
    """The product's market stage on the sender, and what it cost."""

    def __init__(self, sender: Sender) -> None:
        settings = {
            "pipeline.venue": "binance_usdm", "live.ca_file": str(sender.certificate), "market.timer_ms": 10_000,
            "network.binance_usdm.main.public_streams": f"wss://localhost:{sender.port}/public",
            "network.binance_usdm.main.rest": "http://127.0.0.1:9", "rings.market": 65_536, "rings.sim": 65_536,
        }  # fmt: skip
        self.pipeline = Pipeline(
            load([], {}, settings), [load_strategy("market_making")], 1, 10**18, PrivateSegment, calibrate_once
        )
        self.stage, self.state = self.pipeline.stages["market_data"], self.pipeline.state("market_data")
        addresses = (
            self.stage.step,
            self.stage.state,
            self.pipeline.address("ring.market"),
            self.pipeline.address("ring.sim"),
        )
        self._busy = np.zeros(1, np.int64)
        self._at = tuple(np.uint64(one) for one in addresses)

    def run(self, count: int) -> dict[str, float]:
        """Until ``count`` messages have been taken."""
        self.stage.opened()
        while int(self.state["events"][0]) == 0:
            self._steps(100)
        began = time.perf_counter_ns()
        while int(self.state["events"][0]) < count:
            self._steps(10_000)
        passed = time.perf_counter_ns() - began
        self.stage.closed()
        assert int(self.state["bad_messages"][0]) == 0 and int(self.state["book_updates"][0]) > 0
        clock = self.pipeline.segment.record("clock", CLOCK)
        hist = summarize(self.pipeline.segment.region("hist.decode").view(np.int64), float(clock["ns_per_tick"][0]))
        self.pipeline.segment.unlink()
        # It looks at the socket without end: what it does in vain, for nothing has come, is no message's.
        spent = float(self._busy[0]) * float(clock["ns_per_tick"][0])
        return {
            "cpu": spent / count,
            "passed": passed,
            **{name: hist.as_dict()[name] for name in ("p50", "p99", "p99_9", "max")},
        }

    def _steps(self, count: int) -> None:
        if int(_turn(*self._at, np.int64(count), np.int64(steady_ns()), np.uint64(self._busy.ctypes.data))) == SERVICE:
            self.stage.service()


def _picows(sender: Sender, count: int) -> dict[str, float]:
    import picows

    context, seen = ssl.create_default_context(cafile=str(sender.certificate)), [0, 0, 0]

    class Listener(picows.WSListener):
        def on_ws_connected(self, transport) -> None:
            transport.send(picows.WSMsgType.TEXT, b"begin")

        def on_ws_frame(self, transport, frame) -> None:
            orjson.loads(frame.get_payload_as_memoryview())
            if seen[0] == 1:
                seen[1:] = time.thread_time_ns(), time.perf_counter_ns()
            seen[0] += 1
            if seen[0] == count + 1:
                seen[1:] = time.thread_time_ns() - seen[1], time.perf_counter_ns() - seen[2]
                transport.disconnect()

    async def run() -> None:
        url = f"wss://localhost:{sender.port}/"
        transport, _ = await picows.ws_connect(Listener, url, ssl_context=context)
        await transport.wait_disconnected()

    asyncio.run(run())
    return {"cpu": seen[1] / count, "passed": seen[2]}


def _client(sender: Sender, count: int) -> dict[str, float]:
    import websocket

    context = ssl.create_default_context(cafile=str(sender.certificate))
    client = websocket.create_connection(
        f"wss://localhost:{sender.port}/", sslopt={"context": context}, skip_utf8_validation=True
    )
    client.send("begin")
    client.recv()
    orjson.loads(client.recv())
    cpu, began = time.thread_time_ns(), time.perf_counter_ns()
    for _ in range(count - 1):
        orjson.loads(client.recv())
    made = {"cpu": (time.thread_time_ns() - cpu) / count, "passed": time.perf_counter_ns() - began}
    client.close()
    return made


def _run(sender: Sender, receive: Callable[[], dict[str, float]], count: int, period: int = 0) -> dict[str, float]:
    """One receiver in this process, the sender in another on the other CPU."""
    near, far = cpus(2)
    child = fork_pinned(far, lambda: sender.serve(count, period))
    usable = os.sched_getaffinity(0)
    pin(near)
    try:
        made = receive()
    finally:
        os.sched_setaffinity(0, usable)
    join(child)
    return made


def test_a_live_feed_over_tls_against_other_clients(report: Report, tmp_path: Path) -> None:
    pytest.importorskip("picows", reason="the bench extra is not installed")
    sender, runs = Sender(tmp_path, _messages()), {OURS: [], PICOWS: [], CLIENT: []}
    few = 20_000
    for _ in range(REPETITIONS):
        runs[OURS].append(_run(sender, lambda: Ours(sender).run(sender.count), sender.count))
        runs[PICOWS].append(_run(sender, lambda: _picows(sender, sender.count), sender.count))
        runs[CLIENT].append(_run(sender, lambda: _client(sender, few), few))
    rate = max(sender.count / one["passed"] * 1e9 for one in runs[OURS])
    cost = {name: float(np.median([one["cpu"] for one in made])) for name, made in runs.items()}
    report.row(
        BENCH, "saturated, one connection, one message a send", unit="messages/s", p50=rate, ok=rate >= FLOOD_BAR_PER_S,
        note=f"at least {FLOOD_BAR_PER_S:,}; {sender.count} messages, none lost",
    )  # fmt: skip
    for rival, bar in ((PICOWS, 0.5), (CLIENT, 0.1)):
        ratio = float(np.median([a["cpu"] / b["cpu"] for a, b in zip(runs[OURS], runs[rival], strict=True)]))
        report.row(
            BENCH, "CPU of the reading thread a message", rival=rival, p50=cost[OURS], ratio=ratio, bar=f"<= {bar}",
            note=f"{rival} {cost[rival]:.0f} ns",
        )  # fmt: skip


def test_from_the_socket_to_the_ring_at_ten_thousand_a_second(report: Report, tmp_path: Path) -> None:
    count = SLOW_RATE_PER_S * SLOW_SECONDS
    sender = Sender(tmp_path, _messages()[:count])
    began, tsc = time.perf_counter_ns(), tsc_now()
    time.sleep(0.1)
    per_ns = (tsc_now() - tsc) / (time.perf_counter_ns() - began)
    made = _run(sender, lambda: Ours(sender).run(count), count, round(1e9 / SLOW_RATE_PER_S * per_ns))
    report.row(
        BENCH, "recv returns -> record in the ring, 10,000 a second", **{name: made[name] for name in ("p50", "p99", "p99_9", "max")},
        ok=made["p50"] <= 1_000 and made["p99"] <= 50_000, note=f"p50 at most 1 us, p99 at most 50 us; {os.cpu_count()} CPUs",
    )  # fmt: skip
