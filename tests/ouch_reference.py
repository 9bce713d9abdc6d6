"""OUCH messages by ``struct``, as plainly as the specification's tables: the twin of the compiled codec."""

import struct

ENTER = struct.Struct(">cIcI8sQccccc14sH")
REPLACE = struct.Struct(">cIIIQccc14sH")
CANCEL = struct.Struct(">cII")
SYSTEM = struct.Struct(">cQc")
ACCEPTED = struct.Struct(">cQIcI8sQccQcccc14sH")
REPLACED = struct.Struct(">cQIIcI8sQccQcccc14sH")
CANCELED = struct.Struct(">cQIIc")
EXECUTED = struct.Struct(">cQIIQcQH")
REJECTED = struct.Struct(">cQIH14s")
PLAIN = struct.Struct(">cQI")
TIFS = {
    "GTC": (b"0", b""),
    "IOC": (b"3", b""),
    "FOK": (b"3", None),
    "POST_ONLY": (b"0", b"\2\x0cP"),
    "MARKET": (b"3", b""),
}
MARKET_PRICE = 0x7FFFFFFF


def side(is_buy: bool) -> bytes:
    return b"B" if is_buy else b"S"


def stock(symbol: str) -> bytes:
    return symbol.encode().ljust(8)


def cl_ord_id(id_: int) -> bytes:
    return f"{id_ & (1 << 56) - 1:014X}".encode()


def extra(tif: str, shares: int) -> bytes:
    text = TIFS[tif][1]
    return struct.pack(">BBI", 5, 3, shares) if text is None else text


def enter(symbol: str, tif: str, ref: int, is_buy: bool, shares: int, price: int, id_: int) -> bytes:
    more = extra(tif, shares)
    price = MARKET_PRICE if tif == "MARKET" else price
    return (
        ENTER.pack(b"O", ref, side(is_buy), shares, stock(symbol), price, TIFS[tif][0], b"Y", b"P", b"N", b"N",
                   cl_ord_id(id_), len(more)) + more
    )  # fmt: skip


def replace(tif: str, old_ref: int, ref: int, shares: int, price: int, id_: int) -> bytes:
    more = extra(tif, shares)
    head = REPLACE.pack(b"U", old_ref, ref, shares, price, TIFS[tif][0], b"Y", b"N", cl_ord_id(id_), len(more))
    return head + more


def appendage_is_whole(text: bytes, length_at: int) -> bool:
    """Whether the appendage behind the length field ends exactly at the end, and so do its elements."""
    (size,) = struct.unpack_from(">H", text, length_at)
    rest = text[length_at + 2 :]
    if size != len(rest):
        return False
    while rest:
        if rest[0] == 0 or rest[0] > len(rest) - 1:
            return False
        rest = rest[1 + rest[0] :]
    return True


SHORTEST = {b"O": 47, b"U": 40, b"X": 9, b"Q": 1}
SHORTEST_REPORT = {
    b"S": 10,
    b"A": 64,
    b"U": 68,
    b"C": 18,
    b"D": 32,
    b"E": 36,
    b"B": 36,
    b"J": 29,
    b"P": 13,
    b"I": 13,
    b"Q": 13,
}


def request_is_sound(text: bytes) -> bool:
    kind = text[:1]
    if kind not in SHORTEST or not SHORTEST[kind] <= len(text) <= 128:
        return False
    return kind not in (b"O", b"U") or appendage_is_whole(text, SHORTEST[kind] - 2)


def report_is_sound(text: bytes) -> bool:
    return text[:1] in SHORTEST_REPORT and SHORTEST_REPORT[text[:1]] <= len(text) <= 128
