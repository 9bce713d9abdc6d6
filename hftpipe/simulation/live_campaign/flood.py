"""A venue that only sends: Binance USD-M's market streams of made-up books at a given rate, as many as a plain socket takes.

What it serves: ``SUBSCRIBE`` on ``/public/stream`` and ``GET /fapi/v1/depth``, with ids and books that fit together. Messages are made
from texts that lie ready, with their numbers put in, and sent many at a time: a server that works out each message could not send so
many beside what reads them.
"""

import base64
import hashlib
import json
import select
import socket
import struct
import threading
import time
from functools import cache
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from random import Random
from urllib.parse import parse_qs, urlsplit

from hftpipe.core.machine.system_clock import wall_ns

_GUID = b"258EAFA5-E914-47DA-95CA-C5AB0DC85B11"
#: Levels of a side, and how many ticks the middle of a book stays within of where it began.
LEVELS, REACH = 20, 40
#: A turn of the sender, s: what is due is sent at once.
TURN_S = 0.01
#: Of eight messages: depth, best prices, trades.
_ROUND = ("depth", "top", "depth", "top", "trade", "depth", "top", "depth")
_LAG_S = 1.0


def _frame(text: bytes) -> bytes:
    size = len(text)
    head = struct.pack("!BB", 0x81, size) if size < 126 else struct.pack("!BBH", 0x81, 126, size)
    return head + text


def _price(tenths: int) -> str:
    return f"{tenths // 10}.{tenths % 10}0"


@cache
def _levels(mid: int) -> tuple[dict[int, str], dict[int, str]]:
    sides = [{mid + sign * (n + 1): f"{1 + (mid + n) % 7}.000" for n in range(LEVELS)} for sign in (-1, 1)]
    return sides[0], sides[1]


#: Changes of both sides from one middle to another, as JSON: the same for all books.
_CHANGES: dict[tuple[int, int], tuple[bytes, bytes]] = {}


class FloodBook:
    """The book of one symbol: ``LEVELS`` a side, a tick of 0.10 apart, around a middle that wanders."""

    def __init__(self, symbol: str, rng: Random) -> None:
        self._rng = rng
        self._name, self._stream = symbol.encode(), symbol.lower().encode()
        self.mid = self._middle = 600_000
        self.id, self.trade_id, self._turn = 1000, 1, rng.randrange(len(_ROUND))

    def _change(self, old: int, new: int) -> tuple[bytes, bytes]:
        """Changes of both sides from one middle to another, as JSON."""
        made = _CHANGES.get((old, new))
        if made is None:
            sides = []
            for before, after in zip(_levels(old), _levels(new), strict=True):
                changed = {price: "0.000" for price in before if price not in after} | after
                sides.append(
                    json.dumps([[_price(one), qty] for one, qty in changed.items()], separators=(",", ":")).encode()
                )
            made = _CHANGES[old, new] = sides[0], sides[1]
        return made

    def snapshot(self, now_ms: int) -> bytes:
        """The whole book, as REST gives it."""
        bids, asks = ([[_price(one), qty] for one, qty in side.items()] for side in _levels(self.mid))
        return json.dumps({"lastUpdateId": self.id, "E": now_ms, "T": now_ms, "bids": bids, "asks": asks}).encode()

    def next(self, now_ms: int) -> bytes:
        """The next message."""
        kind = _ROUND[self._turn]
        self._turn = (self._turn + 1) % len(_ROUND)
        return {"depth": self._depth, "top": self._top, "trade": self._trade}[kind](now_ms)

    def _depth(self, now_ms: int) -> bytes:
        old, self.mid = self.mid, self.mid + self._rng.choice((-1, 0, 1))
        if abs(self.mid - self._middle) > REACH:
            self.mid = old
        bids, asks = self._change(old, self.mid)
        before, self.id = self.id, self.id + 2
        return (
            b'{"stream":"%s@depth@100ms","data":{"e":"depthUpdate","E":%d,"T":%d,"s":"%s","U":%d,"u":%d,"pu":%d,"b":%s,"a":%s}}'
            % (self._stream, now_ms, now_ms, self._name, before + 1, self.id, before, bids, asks)
        )

    def _top(self, now_ms: int) -> bytes:
        # As the levels have them: the quantity of a level follows from its price.
        sides = _levels(self.mid)
        bid, ask = self.mid - 1, self.mid + 1
        return (
            b'{"stream":"%s@bookTicker","data":{"e":"bookTicker","u":%d,"s":"%s","b":"%s","B":"%s","a":"%s","A":"%s","T":%d,"E":%d}}'
            % (
                self._stream, self.id, self._name, _price(bid).encode(), sides[0][bid].encode(), _price(ask).encode(),
                sides[1][ask].encode(), now_ms, now_ms,
            )
        )  # fmt: skip

    def _trade(self, now_ms: int) -> bytes:
        self.trade_id += 1
        is_sell = self._rng.random() < 0.5
        price = _price(self.mid + (-1 if is_sell else 1)).encode()
        return (
            b'{"stream":"%s@trade","data":{"e":"trade","E":%d,"T":%d,"s":"%s","t":%d,"p":"%s","q":"0.500","X":"MARKET","m":%s}}'
            % (self._stream, now_ms, now_ms, self._name, self.trade_id, price, b"true" if is_sell else b"false")
        )


class Flood:
    """The venue, served by threads of this process.

    Attributes:
        address: host and port; books: by symbol in small letters; sent: messages so far; late: turns that were skipped, for more than a second was due.

    Args:
        symbols: what it lists; rate_per_s: messages a second of all connections together.
    """

    def __init__(self, symbols: list[str], rate_per_s: float) -> None:
        self._rate, self._n = rate_per_s, len(symbols)
        self.books = {one.lower(): FloodBook(one, Random(one)) for one in symbols}
        self._lock, self._over = threading.Lock(), threading.Event()
        self.sent = self.late = 0
        flood = self

        class Handler(BaseHTTPRequestHandler):
            protocol_version = "HTTP/1.1"

            def do_GET(self) -> None:
                flood._serve(self)

            def log_message(self, *_: object) -> None:
                return

        self._server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        self._server.daemon_threads = True
        self.address = f"127.0.0.1:{self._server.server_address[1]}"
        threading.Thread(target=self._server.serve_forever, name="flood", daemon=True).start()

    def close(self) -> None:
        """End it."""
        self._over.set()
        self._server.shutdown()
        self._server.server_close()

    def _serve(self, request: BaseHTTPRequestHandler) -> None:
        parts = urlsplit(request.path)
        if request.headers.get("Upgrade", "").lower() == "websocket":
            self._upgrade(request)
            return
        book = (
            self.books.get(parse_qs(parts.query).get("symbol", [""])[0].lower())
            if parts.path.endswith("/depth")
            else None
        )
        if book is None:
            request.send_error(404)
            return
        with self._lock:
            body = book.snapshot(wall_ns() // 1_000_000)
        request.send_response(200)
        request.send_header("Content-Type", "application/json")
        request.send_header("Content-Length", str(len(body)))
        request.end_headers()
        request.wfile.write(body)

    def _upgrade(self, request: BaseHTTPRequestHandler) -> None:
        key = request.headers["Sec-WebSocket-Key"].encode()
        request.send_response(101)
        request.send_header("Upgrade", "websocket")
        request.send_header("Connection", "Upgrade")
        request.send_header("Sec-WebSocket-Accept", base64.b64encode(hashlib.sha1(key + _GUID).digest()).decode())
        request.end_headers()
        request.close_connection = True
        try:
            self._send_on(request.connection)
        except OSError:
            return

    def _send_on(self, sock: socket.socket) -> None:
        """One connection: what it asks for, and what is due of it."""
        books: list[FloodBook] = []
        unread, due, at = bytearray(), 0.0, 0
        last = time.monotonic()
        while not self._over.wait(TURN_S):
            if select.select([sock], [], [], 0)[0]:
                got = sock.recv(1 << 16)
                if not got:
                    return
                unread += got
                for text in _texts(unread):
                    asked = json.loads(text)
                    names = dict.fromkeys(one.partition("@")[0] for one in asked["params"])
                    books += [self.books[one] for one in names if self.books[one] not in books]
                    sock.sendall(_frame(b'{"result":null,"id":%d}' % asked["id"]))
            now = time.monotonic()
            due += (now - last) * self._rate * len(books) / self._n
            last = now
            if due > self._rate * _LAG_S:
                self.late += 1
                due = 0.0
            count, made = int(due) if books else 0, []
            due -= count
            now_ms = wall_ns() // 1_000_000
            with self._lock:
                for _ in range(count):
                    made.append(_frame(books[at % len(books)].next(now_ms)))
                    at += 1
                self.sent += count
            if made:
                sock.sendall(b"".join(made))


def _texts(unread: bytearray) -> list[bytes]:
    """Whole texts of a client, which are taken from ``unread``."""
    found = []
    while len(unread) >= 6:
        size, head = unread[1] & 0x7F, 2
        if size == 126:
            size, head = int.from_bytes(unread[2:4], "big"), 4
        elif size == 127:
            size, head = int.from_bytes(unread[2:10], "big"), 10
        if len(unread) < head + 4 + size:
            break
        mask, body = unread[head : head + 4], unread[head + 4 : head + 4 + size]
        if unread[0] & 0x0F == 1:
            found.append(bytes(one ^ mask[n & 3] for n, one in enumerate(body)))
        del unread[: head + 4 + size]
    return found
