"""From an approved order to its signed bytes in the kernel: Binance over WebSocket and over REST, TLS on loopback; and what signing costs.

Ours is the gateway's own function (client id, amounts, template, HMAC-SHA256, frame or head, TLS record, one ``send``). The rivals do the
same in Python with well-kept libraries. All are paced, one after the other, to a server that only reads, or answers REST with two bytes.
"""

import base64
import hashlib
import hmac
import http.client
import selectors
import socket
import ssl
import subprocess
import time
from collections.abc import Callable
from pathlib import Path
from urllib.parse import urlencode

import numpy as np
import orjson
import websocket
from conftest import Report
from harness import Series, cpus, fork_pinned, interleave, join, percentiles, pin, ratio, typical

from hftpipe.config import Secret
from hftpipe.core.machine.clock import calibrate
from hftpipe.core.machine.jit import jit
from hftpipe.core.machine.mem import U64, load_u32, rdtsc, rdtscp, store_i64, store_u8, store_u32, view
from hftpipe.core.machine.system_clock import steady_ns, wall_ns
from hftpipe.core.schema.clock import CLOCK
from hftpipe.core.schema.instruments import INSTRUMENT
from hftpipe.core.schema.layout import aligned
from hftpipe.core.schema.records import BUY, GTC, LEFT, NEW, RECORD, RECORD_BYTES
from hftpipe.core.trading.order_table import ON_REJECT, order_find, order_move
from hftpipe.transport.http.connect import Address, KeptConnection
from hftpipe.transport.signing.hmac_sha256 import SIGNER, sign_hex, signature, signer_init
from hftpipe.transport.signing.keys import Key
from hftpipe.transport.websocket.connect import Connection
from hftpipe.transport.websocket.link import link_init, link_open
from hftpipe.venues.binance.orders.market import USDM
from hftpipe.venues.binance.orders.reply import HEADERS, reply_entry
from hftpipe.venues.binance.orders.scan import SPOTS_BYTES, scan_entry
from hftpipe.venues.binance.orders.wire import RestWire, Wire
from hftpipe.venues.orders.client_text import prefix_of
from hftpipe.venues.orders.setup import Speech, Terms, account_bytes, account_init, open_private
from hftpipe.venues.orders.state import ACCOUNT
from hftpipe.venues.orders.venue import venue_poll, venue_submit

BENCH, OURS, RIVAL = "order_path", "hftpipe", "Python: hmac + orjson + websocket-client"
OURS_REST, RIVAL_REST = "hftpipe, REST", "Python: hmac + http.client"
ORDERS, APART_US, REPETITIONS = 2000, 100, 5
BAR_NS, REST_BAR_NS, CONNECTIONS = 10_000, 25_000, 8
API_KEY = "the-api-key-of-64-characters-as-the-venue-gives-them-to-everybody"
SECRET, ONE = 10_000, "NhqPtmdSJYdKjVHjA7PZj4Mge3R5YNiP1e3UZjInClVN65XAbvqqM6A7H5fATj0j", 10**8
GUID = b"258EAFA5-E914-47DA-95CA-C5AB0DC85B11"


class Sink:
    """A TLS WebSocket server that only reads: one connection at a time, each in a process of its own."""

    def __init__(self, folder: Path) -> None:
        folder = folder / type(self).__name__
        folder.mkdir()
        key, self.certificate = folder / "key.pem", folder / "cert.pem"
        subprocess.run(
            ["openssl", "req", "-x509", "-newkey", "rsa:2048", "-nodes", "-keyout", key, "-out", self.certificate, "-days",
             "2", "-subj", "/CN=localhost", "-addext", "subjectAltName=DNS:localhost"],
            check=True, capture_output=True,
        )  # fmt: skip
        self._context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
        self._context.load_cert_chain(self.certificate, key)
        self._listener = socket.create_server(("127.0.0.1", 0))
        self.url = f"wss://localhost:{self._listener.getsockname()[1]}/"

    def serve(self) -> None:
        """Read one connection to its end."""
        sock = self._context.wrap_socket(self._listener.accept()[0], server_side=True)
        head = b""
        while not head.endswith(b"\r\n\r\n"):
            head += sock.recv(1)
        key = next(
            line.split(b": ")[1] for line in head.split(b"\r\n") if line.lower().startswith(b"sec-websocket-key")
        )
        accept = base64.b64encode(hashlib.sha1(key + GUID).digest())
        sock.sendall(
            b"HTTP/1.1 101 Switching Protocols\r\nUpgrade: websocket\r\nConnection: Upgrade\r\nSec-WebSocket-Accept: "
            + accept + b"\r\n\r\n"
        )  # fmt: skip
        total = 0
        try:
            while more := sock.recv(1 << 16):
                total += len(more)
        except OSError:
            total += 0
        assert total > ORDERS * 300, "not all requests have come"


class RestSink(Sink):
    """The same for HTTP/1.1: every request on any of its connections is answered at once."""

    @property
    def http(self) -> str:
        """Its address."""
        return self.url.replace("wss", "https").rstrip("/")

    def serve(self) -> None:
        """Answer up to CONNECTIONS connections to their ends."""
        chosen, total = selectors.DefaultSelector(), 0
        chosen.register(self._listener, selectors.EVENT_READ)
        began, is_open = steady_ns(), 0
        while (not total or is_open) and steady_ns() - began < 60_000_000_000:
            for key, _ in chosen.select(1.0):
                sock = key.fileobj
                if sock is self._listener:
                    accepted = self._listener.accept()[0]
                    chosen.register(self._context.wrap_socket(accepted, server_side=True), selectors.EVENT_READ)
                    is_open += 1
                    continue
                assert isinstance(sock, ssl.SSLSocket)
                try:
                    data = sock.recv(1 << 16)
                except OSError:
                    data = b""
                if not data:
                    chosen.unregister(sock)
                    sock.close()
                    is_open -= 1
                elif data.endswith(b"\r\n\r\n"):
                    total += 1
                    sock.sendall(b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\n{}")
        assert total >= ORDERS, f"{total} requests have come"


@jit
def _submit_many(account, record, count, first, apart, samples):
    """Submit orders ``apart`` ticks from one another; ticks of each into ``samples``; how many left."""
    a, r, left = view(account, ACCOUNT), view(record, RECORD), np.int64(0)
    due, report = rdtsc(), record + U64(RECORD_BYTES)
    for index in range(count):
        while rdtsc() < due:
            # What has come is taken between orders, as the gateway does it.
            venue_poll(account, report)
        due += apart
        r.id = first + U64(index)
        r.price = (np.int64(600_000) + index) * np.int64(ONE // 10)
        began = rdtsc()
        taken = venue_submit(account, record)
        ended = rdtscp()
        left += np.int64(taken == LEFT)
        store_i64(samples + U64(8 * index), np.int64(ended - began))
        slot = order_find(a.table, r.id)
        if slot != U64(0):
            order_move(a.table, slot, np.int64(ON_REJECT))
    return left


class Ours:
    """An account whose requests go to the sink."""

    def __init__(self, sink: Sink, clock: np.ndarray, calls: int = 0) -> None:
        rows = np.zeros(1, INSTRUMENT)
        rows["symbol"], rows["quote"], rows["tick"], rows["lot"] = "BTCUSDT", "USDT", ONE // 10, ONE // 1000
        self._rows, self._memory = rows, aligned(account_bytes(), 128)
        made = account_init(
            self._memory, 1, clock.ctypes.data, Terms(1 - bool(calls), False, 60.0, 600.0, 600.0, {}, calls)
        )
        wire = RestWire(False, API_KEY, 5000, sink.http) if isinstance(sink, RestSink) else Wire(False, API_KEY, 5000)
        self._private = open_private(
            made.account, rows, Key(Secret("k"), Secret(SECRET)), prefix_of("a"),
            Speech(
                wire.templates, wire.variants, USDM.errors, scan_entry.address, SPOTS_BYTES, reply_entry.address, HEADERS
            ), (),
        )  # fmt: skip
        made.account["wall_offset_ns"] = wall_ns() - steady_ns()
        self.connections: list[Connection | KeptConnection] = []
        self._rooms = [np.zeros(1 << 17, np.uint8) for _ in range(max(calls, 1))]
        links = made.call_links if calls else made.links
        for at, room in enumerate(self._rooms):
            if isinstance(sink, RestSink):
                kept = KeptConnection(Address(sink.http, str(sink.certificate)))
                self.connections.append(kept)
                fd, tls = kept.fd, kept.tls
            else:
                opened = Connection(sink.url, str(sink.certificate))
                self.connections.append(opened)
                fd, tls = opened.hand_over()
            link_init(links[at : at + 1], room, room)
            link_open(links[at : at + 1], fd, steady_ns(), tls)
        made.account["session"] = 1
        self.account = made.account
        # Behind the request, room for a report.
        self.record = np.zeros(2, RECORD)[:1]
        self.record["kind"], self.record["qty"], self.record["side"], self.record["flags"] = NEW, ONE // 100, BUY, GTC

    def close(self) -> None:
        for one in self.connections:
            one.close()

    def run(self, apart: int, samples: np.ndarray) -> int:
        return int(
            _submit_many(
                np.uint64(self.account.ctypes.data), np.uint64(self.record.ctypes.data), np.int64(len(samples)),
                np.uint64(1), np.uint64(apart), np.uint64(samples.ctypes.data),
            )
        )  # fmt: skip


def _rival(sink: Sink, samples: np.ndarray) -> int:
    """The same requests as a careful Python program sends them; ns into ``samples``."""
    client = websocket.create_connection(
        sink.url, sslopt={"context": ssl.create_default_context(cafile=str(sink.certificate))},
        sockopt=((socket.IPPROTO_TCP, socket.TCP_NODELAY, 1),),
    )  # fmt: skip
    secret, due = SECRET.encode(), steady_ns()
    for index in range(len(samples)):
        while steady_ns() < due:
            pass
        due += APART_US * 1000
        began = steady_ns()
        params = {
            "apiKey": API_KEY, "newClientOrderId": f"cm_a_{index:017x}",
            "newOrderRespType": "RESULT", "price": f"{60_000 + index / 10:.1f}", "quantity": "0.010", "recvWindow": 5000,
            "side": "BUY", "symbol": "BTCUSDT", "timeInForce": "GTC", "timestamp": wall_ns() // 1_000_000, "type": "LIMIT",
        }  # fmt: skip
        text = "&".join(f"{name}={value}" for name, value in params.items())
        params["signature"] = hmac.new(secret, text.encode(), hashlib.sha256).hexdigest()
        client.send(orjson.dumps({"id": f"{index:016x}n", "method": "order.place", "params": params}))
        samples[index] = steady_ns() - began
    client.close()
    return len(samples)


def _rest_rival(sink: RestSink, samples: np.ndarray) -> int:
    """The same over REST; its answers are read between the orders."""
    client = http.client.HTTPSConnection(
        sink.http.removeprefix("https://"), context=ssl.create_default_context(cafile=str(sink.certificate))
    )
    client.connect()
    client.sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
    secret, due = SECRET.encode(), steady_ns()
    for index in range(len(samples)):
        while steady_ns() < due:
            pass
        due += APART_US * 1000
        began = steady_ns()
        params = {
            "newClientOrderId": f"cm_a_{index:017x}", "newOrderRespType": "RESULT", "price": f"{60_000 + index / 10:.1f}",
            "quantity": "0.010", "recvWindow": 5000, "side": "BUY", "symbol": "BTCUSDT", "timeInForce": "GTC",
            "timestamp": wall_ns() // 1_000_000, "type": "LIMIT",
        }  # fmt: skip
        text = urlencode(params)
        signature_ = hmac.new(secret, text.encode(), hashlib.sha256).hexdigest()
        client.request("POST", f"/fapi/v1/order?{text}&signature={signature_}", headers={"X-MBX-APIKEY": API_KEY})
        samples[index] = steady_ns() - began
        client.getresponse().read()
    client.close()
    return len(samples)


def test_an_order_reaches_the_kernel_signed(report: Report, tmp_path: Path) -> None:
    clock = np.zeros(1, CLOCK)
    calibrate(clock)
    own, other = cpus(2)
    sink, rest, ns_per_tick = Sink(tmp_path), RestSink(tmp_path), float(clock["ns_per_tick"][0])
    _submit_many.compile("(uint64, uint64, int64, uint64, uint64, uint64)")
    pin(own)

    def measured(to: Sink, run: Callable[[np.ndarray], int], unit_ns: float) -> dict[str, float]:
        samples = np.ones(ORDERS, np.int64)
        server = fork_pinned(other, to.serve)
        assert run(samples) == ORDERS
        join(server)
        ns = samples * unit_ns
        return percentiles(ns) | {"typical": typical(ns)}

    def ours(to: Sink, calls: int, samples: np.ndarray) -> int:
        one = Ours(to, clock, calls)
        left = one.run(int(APART_US * 1000 / ns_per_tick), samples)
        one.close()
        return left

    series = interleave(
        {
            OURS: lambda: measured(sink, lambda at: ours(sink, 0, at), ns_per_tick),
            OURS_REST: lambda: measured(rest, lambda at: ours(rest, CONNECTIONS, at), ns_per_tick),
            RIVAL: lambda: measured(sink, lambda at: _rival(sink, at), 1.0),
            RIVAL_REST: lambda: measured(rest, lambda at: _rest_rival(rest, at), 1.0),
        },
        REPETITIONS,
    )
    for way, mine, rival, bar_ns in (
        ("WebSocket", OURS, RIVAL, BAR_NS), ("REST", OURS_REST, RIVAL_REST, REST_BAR_NS),
    ):  # fmt: skip
        what, own = f"order to signed bytes, {way}, TLS", f"p50 <= {bar_ns / 1000:g} us"
        _rows(report, what, (series[mine], series[rival], rival), "<= 0.5", own, series[mine]["p50"] <= bar_ns)


def _rows(report: Report, what: str, both: tuple[Series, Series, str], bar: str, own_bar: str, ok: bool) -> None:
    mine, rival, name_of_it = both
    figures = ("p50", "p99", "p99_9", "max")
    report.row(
        bench=BENCH, what=what, **{name: mine[name] for name in figures}, bar=own_bar, ok=ok, note=mine.spread("p50")
    )
    report.row(
        bench=BENCH,
        what=what,
        rival=name_of_it,
        **{name: rival[name] for name in figures},
        ratio=ratio(mine, rival, "p50"),
        bar=bar,
    )


# --- what signing costs ------------------------------------------------------------------------------------------------------

_K = np.array(
    [
        int((abs(prime ** (1 / 3)) % 1) * 2**32)
        for prime in [p for p in range(2, 312) if all(p % d for d in range(2, p))][:64]
    ],
    np.uint32,
)
_H = np.array(
    [0x6A09E667, 0xBB67AE85, 0x3C6EF372, 0xA54FF53A, 0x510E527F, 0x9B05688C, 0x1F83D9AB, 0x5BE0CD19], np.uint32
)


def at(array: np.ndarray) -> np.uint64:
    return np.uint64(array.ctypes.data)


@jit
def _turn(x, n):
    return np.uint32((x >> np.uint32(n)) | (x << np.uint32(32 - n)))


@jit
def _block(h, w, at):
    """One block of SHA-256 (FIPS 180-4) in compiled code; ``h``: uint32[8] (address), ``w``: uint32[64] (address)."""
    for i in range(16):
        x = load_u32(at + U64(4 * i))
        swapped = (x >> 24) | ((x >> 8) & 0xFF00) | ((x << 8) & 0xFF0000) | (x << 24)
        store_u32(w + U64(4 * i), np.uint32(swapped))
    for i in range(16, 64):
        a, b = load_u32(w + U64(4 * (i - 15))), load_u32(w + U64(4 * (i - 2)))
        s0 = _turn(a, 7) ^ _turn(a, 18) ^ np.uint32(a >> np.uint32(3))
        s1 = _turn(b, 17) ^ _turn(b, 19) ^ np.uint32(b >> np.uint32(10))
        store_u32(w + U64(4 * i), np.uint32(load_u32(w + U64(4 * (i - 16))) + s0 + load_u32(w + U64(4 * (i - 7))) + s1))
    a, b, c, d = load_u32(h), load_u32(h + U64(4)), load_u32(h + U64(8)), load_u32(h + U64(12))
    e, f, g, k = load_u32(h + U64(16)), load_u32(h + U64(20)), load_u32(h + U64(24)), load_u32(h + U64(28))
    for i in range(64):
        s1 = _turn(e, 6) ^ _turn(e, 11) ^ _turn(e, 25)
        t1 = np.uint32(k + s1 + ((e & f) ^ (np.uint32(~e) & g)) + _K[i] + load_u32(w + U64(4 * i)))
        s0 = _turn(a, 2) ^ _turn(a, 13) ^ _turn(a, 22)
        t2 = np.uint32(s0 + ((a & b) ^ (a & c) ^ (b & c)))
        k, g, f, e, d, c, b, a = g, f, e, np.uint32(d + t1), c, b, a, np.uint32(t1 + t2)
    values = (a, b, c, d, e, f, g, k)
    for i in range(8):
        store_u32(h + U64(4 * i), np.uint32(load_u32(h + U64(4 * i)) + values[i]))


@jit
def _compiled_blocks(h, w, text, blocks):
    for index in range(blocks):
        _block(h, w, text + U64(64 * index))


@jit
def _time_compiled(h, w, text, blocks, count, samples):
    for index in range(count):
        began = rdtsc()
        _compiled_blocks(h, w, text, blocks)
        store_i64(samples + U64(8 * index), np.int64(rdtscp() - began))
    return count


@jit
def _time_signing(signer, text, length, target, count, samples):
    for index in range(count):
        store_u8(text, np.uint8(index & 0xFF))
        began = rdtsc()
        sign_hex(signer, text, length, target)
        store_i64(samples + U64(8 * index), np.int64(rdtscp() - began))
    return count


def test_signing_through_openssl_beats_sha256_compiled_here(report: Report) -> None:
    """The blocks alone of the same signature (five of the text, two of the key's states) in compiled code, without SHA instructions."""
    clock = np.zeros(1, CLOCK)
    calibrate(clock)
    pin(cpus(1)[0])
    ns_per_tick, count, length = float(clock["ns_per_tick"][0]), 5000, 280
    signer, text, target = np.zeros(1, SIGNER), aligned(512), aligned(64)
    signer_init(signer, SECRET.encode())
    text[:length] = ord("x")
    assert (
        signature(signer, bytes(text[:length]))
        == hmac.new(SECRET.encode(), bytes(text[:length]), hashlib.sha256).hexdigest()
    )
    state, words, samples = _H.copy(), np.zeros(64, np.uint32), np.ones(count, np.int64)
    padded = np.frombuffer(b"abc\x80" + bytes(52) + (24).to_bytes(8, "big"), np.uint8)
    _compiled_blocks(at(state), at(words), at(padded), np.int64(1))
    assert state.astype(">u4").tobytes() == hashlib.sha256(b"abc").digest()

    def figures() -> dict[str, float]:
        ns = samples * ns_per_tick
        return percentiles(ns) | {"typical": typical(ns)}

    def openssl() -> dict[str, float]:
        assert _time_signing(at(signer), at(text), np.int64(length), at(target), np.int64(count), at(samples)) == count
        return figures()

    def compiled() -> dict[str, float]:
        assert _time_compiled(at(state), at(words), at(text), np.int64(7), np.int64(count), at(samples)) == count
        return figures()

    def python() -> dict[str, float]:
        key, raw = SECRET.encode(), bytes(text[:length])
        for index in range(count):
            began = time.perf_counter_ns()
            hmac.new(key, raw, hashlib.sha256).hexdigest()
            samples[index] = int((time.perf_counter_ns() - began) / ns_per_tick)
        return figures()

    series = interleave({"ours": openssl, "compiled": compiled, "python": python}, REPETITIONS)
    mine, what = series.pop("ours"), "HMAC-SHA256 of 280 bytes as hexadecimal"
    names = ("p50", "p99", "p99_9", "max")
    report.row(bench=BENCH, what=what, **{name: mine[name] for name in names}, note="OpenSSL's SHA-256 by address")
    bars = {"compiled": ("its blocks alone, compiled here", "<= 1.0"), "python": ("Python's hmac", "<= 1.0")}
    for name, (label, bar) in bars.items():
        other = series[name]
        report.row(
            bench=BENCH,
            what=what,
            rival=label,
            **{figure: other[figure] for figure in names},
            ratio=ratio(mine, other, "p50"),
            bar=bar,
        )
