"""One account without a network: compiled code on one end of a socket, a test that plays the venue on the other."""

import json
import select
import socket
from typing import Any

import numpy as np
from memory import address
from websocket_server import frame

from hftpipe.config import Secret
from hftpipe.core.machine.clock import calibrate_once
from hftpipe.core.machine.system_clock import steady_ns, wall_ns
from hftpipe.core.schema.clock import CLOCK
from hftpipe.core.schema.instruments import INSTRUMENT
from hftpipe.core.schema.layout import aligned
from hftpipe.core.schema.records import (
    BUY,
    CANCEL,
    EXECUTION,
    FILL,
    GTC,
    KIND_NAMES,
    NEW,
    RECORD,
    REPLACE,
    REPORT,
    VENUE_FAULT,
)
from hftpipe.core.trading.order_table import ORDER, STATE_NAMES, order_find
from hftpipe.core.trading.seen_fills import seen_init
from hftpipe.transport.signing.keys import Key
from hftpipe.transport.websocket.link import OUT_BYTES, link_init, link_open
from hftpipe.venues.binance.orders.market import SPOT, USDM
from hftpipe.venues.binance.orders.reply import HEADERS, reply_entry
from hftpipe.venues.binance.orders.scan import SPOTS_BYTES, scan_entry
from hftpipe.venues.binance.orders.wire import RestWire, Wire
from hftpipe.venues.orders.client_text import client_text, prefix_of
from hftpipe.venues.orders.facts import (
    ASKED_ABOUT,
    FACT,
    FACT_BYTES,
    QUESTION,
    QUESTION_BYTES,
    queue_drop,
    queue_first,
    queue_put,
)
from hftpipe.venues.orders.setup import Speech, Terms, account_bytes, account_init, open_private
from hftpipe.venues.orders.state import EXTRA
from hftpipe.venues.orders.venue import venue_poll, venue_submit, venue_unanswered

SECRET = "NhqPtmdSJYdKjVHjA7PZj4Mge3R5YNiP1e3UZjInClVN65XAbvqqM6A7H5fATj0j"
ONE = 10**8
MARKETS = {"spot": SPOT, "usdm": USDM}


def instruments() -> np.ndarray:
    rows = np.zeros(2, INSTRUMENT)
    for row, symbol, base in zip(rows, ("BTCUSDT", "ETHUSDT"), ("BTC", "ETH"), strict=True):
        row["symbol"], row["base"], row["quote"] = symbol, base, "USDT"
        row["tick"], row["lot"] = ONE // 10, ONE // 1000
    return rows


def unmasked(data: bytes) -> tuple[bytes, bytes]:
    """The text of a client's first frame, and what follows it."""
    assert data[0] == 0x81 and data[1] & 0x80, "a whole text, masked"
    size, at = data[1] & 0x7F, 2
    if size == 126:
        size, at = int.from_bytes(data[2:4]), 4
    mask, body = data[at : at + 4], data[at + 4 : at + 4 + size]
    return bytes(byte ^ mask[at & 3] for at, byte in enumerate(body)), data[at + 4 + size :]


def waiting(sock: socket.socket) -> bytes:
    """What has come on a socket."""
    data = b""
    while select.select([sock], [], [], 0)[0] and (more := sock.recv(1 << 16)):
        data += more
    return data


def forgetful(account: "Account", limit: int) -> None:
    """Have an account remember so few executions: what more of them would do is seen sooner."""
    start = int(account.account["seen"][0]) - account.memory.ctypes.data
    seen_init(account.memory[start:], limit)


class Account:
    """An account whose connections are socket pairs; ``terms``, ``speech``: of the venue."""

    def __init__(self, terms: Terms, speech: Speech) -> None:
        self.rows, self.clock = instruments(), np.zeros(1, CLOCK)
        calibrate_once(self.clock)
        self.prefix = prefix_of("t1")
        self.memory = aligned(account_bytes(), 128)
        made = account_init(self.memory, len(self.rows), int(address(self.clock)), terms)
        self.account, self.table, self._made = made.account, made.table, made
        key = Key(Secret("the-api-key"), Secret(SECRET))
        self.private = open_private(self.account, self.rows, key, self.prefix, speech, ("BNB", "BTC", "ETH"))
        self.account["wall_offset_ns"] = wall_ns() - steady_ns()
        self.at, self.record = address(self.account), np.zeros(1, RECORD)
        self._keep: list[Any] = []
        self.theirs: list[socket.socket] = []
        #: The venue's ends of the connections over REST.
        self.lines: list[socket.socket] = []
        for index in range(terms.links):
            self.connect(index)
        for index in range(terms.calls):
            self.connect_line(index)
        self.account["session"] = 1

    def connect(self, index: int) -> None:
        """A new connection; the one before, if any, has ended."""
        self.theirs[index : index + 1] = [self._joined(self._made.links[index : index + 1])]

    def connect_line(self, index: int) -> None:
        """The same over REST."""
        self.lines[index : index + 1] = [self._joined(self._made.call_links[index : index + 1])]

    def _joined(self, link: np.ndarray) -> socket.socket:
        ours, theirs = socket.socketpair()
        ours.setblocking(False)
        theirs.settimeout(2.0)
        room, out = np.zeros(1 << 17, np.uint8), np.zeros(OUT_BYTES, np.uint8)
        link_init(link, room, out)
        link_open(link, ours.fileno(), steady_ns())
        self._keep += [ours, room, out]
        return theirs

    def line_states(self) -> list[int]:
        return [int(one) for one in self._made.call_links["state"]]

    def calls(self) -> np.ndarray:
        return self._made.calls

    def close(self) -> None:
        for one in (*self.theirs, *self.lines, *(one for one in self._keep if isinstance(one, socket.socket))):
            one.close()

    # The gateway's side.

    def submit(
        self, kind: int, id_: int, price: int = 0, qty: int = 0, flags: int = GTC, side: int = BUY, instrument: int = 0
    ) -> int:
        self.record[:] = 0
        for name, value in (
            ("kind", kind),
            ("id", id_),
            ("price", price),
            ("qty", qty),
            ("flags", flags),
            ("side", side),
            ("instrument", instrument),
        ):
            self.record[name] = value
        return int(venue_submit(self.at, address(self.record)))

    def new(self, id_: int, price: int = 61_000 * ONE, qty: int = ONE // 100, **other: int) -> int:
        return self.submit(NEW, id_, price, qty, **other)

    def replace(self, id_: int, price: int, qty: int = ONE // 100) -> int:
        return self.submit(REPLACE, id_, price, qty)

    def cancel(self, id_: int) -> int:
        return self.submit(CANCEL, id_)

    def poll(self) -> list[tuple[Any, ...]]:
        """All reports that have come: (kind, id, price, qty, reason or flags); of a fill (.., trade id, fee, flags)."""
        found = []
        for _ in range(200):
            self.record[:] = 0
            if not int(venue_poll(self.at, address(self.record))):
                return found
            found.append(self._told())
        raise AssertionError("no end of reports")

    def _told(self) -> tuple[Any, ...]:
        r = self.record[0]
        head = (KIND_NAMES[int(r["kind"])], int(r["id"]), int(r["price"]), int(r["qty"]))
        if r["kind"] in (FILL, VENUE_FAULT):
            x = self.record.view(EXECUTION)[0]
            return (*head, int(x["trade_id"]), int(x["fee"]), int(x["flags"]))
        assert int(self.record.view(REPORT)[0]["strategy"]) == 0
        return (*head, int(r["flags"]))

    def unanswered(self) -> list[int]:
        self.account["check_ns"] = 0
        found = []
        while int(venue_unanswered(self.at, address(self.record))):
            found.append(int(self.record["id"][0]))
        return found

    def state(self, id_: int) -> str:
        slot = int(order_find(np.uint64(self.account["table"][0]), np.uint64(id_)))
        start = slot - self.memory.ctypes.data
        return STATE_NAMES[int(self.memory[start : start + ORDER.itemsize].view(ORDER)["state"][0])] if slot else "GONE"

    def questions(self) -> list[np.void]:
        """What compiled code wants to know."""
        found, queue = [], np.uint64(self._made.questions)
        while at := int(queue_first(queue, np.int64(QUESTION_BYTES))):
            start = at - self.memory.ctypes.data
            found.append(self.memory[start : start + QUESTION_BYTES].view(QUESTION)[0].copy())
            queue_drop(queue)
        return found

    def tell(self, soon: bool = False, **fields: int) -> None:
        """A fact, as the threads beside tell it; of what was asked long after the last request, unless it was ``soon``."""
        fact = np.zeros(1, FACT)
        fact["cum"] = -1
        if fields.get("request") == ASKED_ABOUT:
            if "number" not in fields:
                fields["number"] = self.last_number(fields["id"])
            if (extra := self._extra(fields["id"])) is not None and not soon:
                extra["asked_ns"] = extra["left_ns"] + self.account["answer_ns"][0]
        for name, value in fields.items():
            fact[name] = value
        assert queue_put(np.uint64(self._made.facts), address(fact), np.int64(FACT_BYTES))

    def _extra(self, id_: int) -> np.ndarray | None:
        """What is known of an order besides its row, an array of length 1; None if there is no such order."""
        slot = int(order_find(np.uint64(self.account["table"][0]), np.uint64(id_)))
        at = (slot - int(self.account["orders"][0])) // 128 * EXTRA.itemsize + int(self.account["extras"][0])
        start = at - self.memory.ctypes.data
        return self.memory[start : start + EXTRA.itemsize].view(EXTRA) if slot else None

    def last_number(self, id_: int) -> int:
        """Of the last request about an order."""
        extra = self._extra(id_)
        assert extra is not None, id_
        return int(extra["last_no"][0])

    def counter(self, name: str) -> int:
        return int(self.account[name][0])

    # The venue's side.

    def requests(self, index: int = 0) -> list[dict[str, Any]]:
        """What was sent over a connection and not read yet."""
        data, found = waiting(self.theirs[index]), []
        while data:
            text, data = unmasked(data)
            found.append(json.loads(text))
        return found

    def say(self, message: dict[str, Any], index: int = 0) -> None:
        self.theirs[index].sendall(frame(json.dumps(message, separators=(",", ":")).encode()))

    def text(self, id_: int, revision: int = 0) -> str:
        return client_text(self.prefix, id_, revision)


class Desk(Account):
    """An account at Binance."""

    def __init__(self, market: str = "usdm", windows: dict[int, int] | None = None, calls: int = 0) -> None:
        self.market, self.is_spot = MARKETS[market], market == "spot"
        wire = Wire(self.is_spot, "the-api-key", 5000)
        if calls:
            wire = RestWire(self.is_spot, "the-api-key", 5000, "https://api.example:8443")
        super().__init__(
            Terms(1 if self.is_spot or calls else 2, self.is_spot, 60.0, 60.0, 600.0, windows or {}, calls),
            Speech(
                wire.templates,
                wire.variants,
                self.market.errors,
                scan_entry.address,
                SPOTS_BYTES,
                reply_entry.address,
                HEADERS,
            ),
        )

    def accept(self, request: dict[str, Any], order_id: int = 9001, status: str = "NEW", **other: str) -> None:
        """Answer an order or a change of it as the venue does."""
        params = request["params"]
        result = {
            "orderId": order_id, "symbol": params["symbol"], "status": status, "price": params.get("price", "0.00"),
            "clientOrderId": params.get("newClientOrderId", params.get("origClientOrderId")), "executedQty": "0.000",
            "origQty": params["quantity"], "updateTime": 1790000000000,
        }  # fmt: skip
        self.say({"id": request["id"], "status": 200, "result": result | other})

    def refuse(self, request: dict[str, Any], code: int, text: str = "no", status: int = 400, **data: Any) -> None:
        error = {"code": code, "msg": text} | ({"data": data} if data else {})
        self.say({"id": request["id"], "status": status, "error": error})

    def event(self, id_: int, what: str, state: str, **fields: Any) -> None:
        """An event of an order, as the market words it."""
        o = {
            "s": "BTCUSDT", "c": self.text(id_), "S": "BUY", "o": "LIMIT", "f": "GTC", "q": "0.010", "p": "61000.00", "x": what,
            "X": state, "i": 9001, "l": "0", "z": "0", "L": "0", "n": "0", "N": None, "T": 1790000000001, "t": 0, "m": True,
        } | fields  # fmt: skip
        if self.is_spot:
            event = {"e": "executionReport", "E": 1790000000002, "C": "", "I": 5, **o}
            self.say({"subscriptionId": 0, "event": event})
        else:
            self.say(
                {"e": "ORDER_TRADE_UPDATE", "E": 1790000000002, "T": 1790000000001, "o": {**o, "ap": "0", "R": False}},
                len(self.theirs) - 1,
            )
