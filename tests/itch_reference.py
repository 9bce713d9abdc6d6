"""Slow, obvious twins of the ITCH feed: struct and dicts, written from the message table alone."""

import random
import struct
from dataclasses import dataclass, field

SHARE = 10**8
BODIES = {
    "A": ">QcI8sI", "F": ">QcI8sI4s", "E": ">QIQ", "C": ">QIQcI", "X": ">QI", "D": ">Q", "U": ">QQII",
    "P": ">QcI8sIQ", "R": ">8s19x", "S": ">c",
}  # fmt: skip


def message(kind: str, locate: int, *values, time_ns: int = 0) -> bytes:
    """A whole message without length prefix."""
    head = struct.pack(">cHHHI", kind.encode(), locate, 0, time_ns >> 32, time_ns & 0xFFFFFFFF)
    return head + struct.pack(BODIES[kind], *values)


def directory(locate: int, symbol: str) -> bytes:
    return struct.pack(">cHHHI8s", b"R", locate, 0, 0, 0, symbol.encode().ljust(8)) + b" " * 20


def block(text: bytes) -> bytes:
    return struct.pack(">H", len(text)) + text


def packet(session: str, sequence: int, texts: list[bytes], count: int | None = None) -> bytes:
    """A MoldUDP64 packet."""
    head = struct.pack(">10sQH", session.encode().rjust(10), sequence, len(texts) if count is None else count)
    return head + b"".join(block(text) for text in texts)


@dataclass
class TwinBook:
    """Orders and levels of the listed instruments, and the records that each message should cause."""

    locates: dict[int, int]
    orders: dict[int, list] = field(default_factory=dict)
    damaged: set[int] = field(default_factory=set)

    def levels(self, instrument: int, side: int) -> dict[int, int]:
        total: dict[int, int] = {}
        for owner, its_side, price, qty in self.orders.values():
            if owner == instrument and its_side == side:
                total[price] = total.get(price, 0) + qty
        return total

    def apply(self, text: bytes) -> list[tuple]:
        """(kind, side, price, qty) of the trades and levels that follow."""
        kind = chr(text[0])
        instrument = self.locates.get(struct.unpack_from(">H", text, 1)[0])
        if instrument is None or kind not in BODIES or kind in "RS":
            return []
        try:
            return self._apply(kind, instrument, struct.unpack(BODIES[kind], text[11:]))
        except KeyError:
            self.damaged.add(instrument)
            return []

    def _apply(self, kind: str, instrument: int, v: tuple) -> list[tuple]:
        if kind in "AF":
            side = {b"B": 0, b"S": 1}[v[1]]
            return self._changed(instrument, side, [self._rest(v[0], instrument, side, v[4], v[2])])
        if kind == "P":
            if v[1] not in b"BS" or not v[2] or not v[4]:
                return []
            return [("trade", 1 - (v[1] == b"S"), v[4] * 10_000, v[2] * SHARE)]
        order = self.orders[v[0]]
        _need(order[0] == instrument)
        if kind == "U":
            _need(v[2] > 0 and v[3] > 0 and (v[1] == v[0] or v[1] not in self.orders))
            del self.orders[v[0]]
            new = self._rest(v[1], instrument, order[1], v[3], v[2])
            return self._changed(instrument, order[1], [order[2], new])
        qty = order[3] if kind == "D" else v[1] * SHARE
        _need(0 < qty <= order[3])
        records = self._prints(kind, order, v, qty)
        order[3] -= qty
        if order[3] == 0:
            del self.orders[v[0]]
        return records + self._changed(instrument, order[1], [order[2]])

    def _prints(self, kind: str, order: list, v: tuple, qty: int) -> list[tuple]:
        price = v[4] * 10_000 if kind == "C" else order[2]
        if kind not in "EC" or (kind == "C" and v[3] != b"Y") or price == 0:
            return []
        return [("trade", 1 - order[1], price, qty)]

    def _rest(self, ref: int, instrument: int, side: int, price: int, shares: int) -> int:
        _need(shares > 0 and price > 0 and ref not in self.orders)
        self.orders[ref] = [instrument, side, price * 10_000, shares * SHARE]
        return price * 10_000

    def _changed(self, instrument: int, side: int, prices: list[int]) -> list[tuple]:
        levels = self.levels(instrument, side)
        return [("level", side, price, levels.get(price, 0)) for price in dict.fromkeys(prices)]


def _need(condition: bool) -> None:
    """A message that cannot be applied."""
    if not condition:
        raise KeyError


def random_flow(seed: int, count: int, locates: tuple[int, ...] = (7,), faults: float = 0.0) -> list[bytes]:
    """``count`` order messages that make sense, but for a share of ``faults`` that do not."""
    rng = random.Random(seed)
    live: dict[int, list] = {}
    texts, next_ref = [], rng.randrange(1, 10**9)
    while len(texts) < count:
        if rng.random() < faults:
            texts.append(_faulty(rng, locates, live))
            continue
        kind = rng.choice("AAAAFEECXXDDUUP")
        time_ns, locate = len(texts), rng.choice(locates)
        side, shares, price = rng.choice([b"B", b"S"]), rng.randrange(1, 500), rng.randrange(9_900, 10_100)
        if kind in "AF":
            next_ref += rng.choice([1, 1, 1, 2, 64])
            live[next_ref] = [locate, shares]
            tail = (b"MPID",) if kind == "F" else ()
            texts.append(message(kind, locate, next_ref, side, shares, b"TEST    ", price, *tail, time_ns=time_ns))
        elif kind == "P":
            texts.append(message("P", locate, 0, side, shares, b"TEST    ", price, time_ns, time_ns=time_ns))
        elif live:
            texts.append(_on_live(rng, kind, live, next_ref + 1, shares, price, time_ns))
            next_ref += kind == "U"
    return texts


def _on_live(rng: random.Random, kind: str, live: dict, new_ref: int, shares: int, price: int, time_ns: int) -> bytes:
    ref = rng.choice(list(live))
    locate, left = live[ref]
    part = rng.choice([left, rng.randint(1, left)])
    if kind == "U":
        del live[ref]
        live[new_ref] = [locate, shares]
        return message("U", locate, ref, new_ref, shares, price, time_ns=time_ns)
    gone = left if kind == "D" else part
    live[ref][1] -= gone
    if live[ref][1] == 0:
        del live[ref]
    values = {"D": (ref,), "X": (ref, part), "E": (ref, part, time_ns)}
    values["C"] = (ref, part, time_ns, rng.choice([b"Y", b"N"]), price)
    return message(kind, locate, *values[kind], time_ns=time_ns)


def _faulty(rng: random.Random, locates: tuple[int, ...], live: dict) -> bytes:
    locate = rng.choice((*locates, 9))
    known = rng.choice(list(live)) if live and rng.random() < 0.7 else 5
    return rng.choice(
        [
            message("D", locate, rng.randrange(10**12, 10**13)),
            message("E", locate, known, 10**6, 1),
            message("X", locate, known, 0),
            message("A", locate, known, b"B", 5, b"TEST    ", 10_000),
            message("A", locate, 10**14, b"B", 0, b"TEST    ", 10_000),
            message("A", locate, 10**14, b"?", 5, b"TEST    ", 10_000),
            message("U", locate, known, known, 0, 10_000),
            message("P", locate, 0, b"B", 0, b"TEST    ", 10_000, 1),
        ]
    )
