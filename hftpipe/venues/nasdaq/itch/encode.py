"""Writing ITCH messages, for the simulated venue: a matching book's events in, length-prefixed messages out.

Event kinds are the numbers of :mod:`hftpipe.simulation.matching.engine` (which a codec does not import):

======= =====================================================================================
event   message
======= =====================================================================================
ADD     A
EXECUTE E of the maker; the taker is not on the wire
CANCEL  X
DELETE  D
REPLACE U; D and A if the order keeps its number, for a number is used once on the wire
EXPIRE  nothing: an order that never rested was never shown
======= =====================================================================================
"""

import numpy as np

from hftpipe.core.machine.jit import jit
from hftpipe.core.machine.mem import ONE, U64, ZERO, store_i64, store_u8, view
from hftpipe.core.schema.records import BUY
from hftpipe.venues.nasdaq.itch import messages as itch
from hftpipe.venues.nasdaq.itch.messages import (
    ADD_PRICE_AT,
    ADD_SHARES_AT,
    BODY_AT,
    EXECUTED_PRICE_AT,
    FIELD_MAX,
    LENGTHS,
    LOCATE_AT,
    MATCH_AT,
    NEW_REF_AT,
    PRICE_UNIT,
    PRINTABLE_AT,
    REF_AT,
    REPLACE_PRICE_AT,
    REPLACE_SHARES_AT,
    SHARES_AT,
    SIDE_AT,
    STOCK_AT,
    STOCK_OF_DIRECTORY_AT,
    TIME_AT,
    TRACKING_AT,
    TRADE_MATCH_AT,
)
from hftpipe.venues.nasdaq.itch.wire import put_be16, put_be32, put_be48, put_be64

EVENT_ADD, EVENT_EXECUTE, EVENT_CANCEL, EVENT_DELETE, EVENT_REPLACE, EVENT_EXPIRE = 1, 2, 3, 4, 5, 6
#: The most bytes one event can become.
EVENT_BYTES_MAX = 64

#: What the messages of one instrument have in common. ``lot``: the size of one share (1e-8).
ENCODER = np.dtype(
    [
        ("locate", "u8"), ("tracking", "u8"), ("stock", "u8"), ("lot", "i8"), ("round_lot", "u8"),
        ("messages", "i8"), ("refused", "i8"), ("_pad", "i8"),
    ],
    align=True,
)  # fmt: skip

# As int64: a plain constant argument would compile one copy of the helpers for each message type.
_ADD, _EXECUTED, _EXECUTED_PRICE, _CANCEL, _DELETE, _REPLACE, _TRADE, _SYSTEM, _DIRECTORY = (
    np.int64(kind)
    for kind in (itch.ADD, itch.EXECUTED, itch.EXECUTED_PRICE, itch.CANCEL, itch.DELETE, itch.REPLACE, itch.TRADE,
                 itch.SYSTEM, itch.DIRECTORY)
)  # fmt: skip
_BUY_MARK, _SELL_MARK = itch.SIDE_BUY, itch.SIDE_SELL
#: Directory fields after the symbol: category, status, round lot (written apart), flags; see the specification.
_DIRECTORY_FLAGS = ((19, b"Q"), (20, b"N"), (25, b"N"), (26, b"C"), (27, b"Z"), (28, b" "), (29, b"P"), (30, b"N"),
                    (31, b"N"), (32, b"1"), (33, b"N"), (38, b"N"))  # fmt: skip
_FLAG_AT = np.array([at for at, _ in _DIRECTORY_FLAGS], np.uint64)
_FLAG = np.array([flag[0] for _, flag in _DIRECTORY_FLAGS], np.uint8)
_ROUND_LOT_AT, _LEVERAGE_AT = np.uint64(21), np.uint64(34)


def stock_word(symbol: str) -> int:
    """A symbol as the 8 bytes on the wire, read as a little-endian integer.

    Raises:
        ValueError: not 1 to 8 ASCII characters.
    """
    if not 1 <= len(symbol) <= itch.STOCK_BYTES or not symbol.isascii():
        raise ValueError(f"symbol {symbol!r} is not 1 to {itch.STOCK_BYTES} ASCII characters")
    return int.from_bytes(symbol.encode().ljust(itch.STOCK_BYTES), "little")


def encoder_init(encoder: np.ndarray, locate: int, symbol: str, lot: int, round_lot: int = 100) -> None:
    """Fill an ENCODER array of length 1.

    Raises:
        ValueError: the symbol, locate or lot does not fit the wire.
    """
    if not 0 < locate < itch.LOCATES or not 0 < lot <= (2**63 - 1) // FIELD_MAX:
        raise ValueError(f"{symbol}: locate {locate} is not in 1..65535 or lot {lot} not in 1..2**31")
    encoder["locate"], encoder["stock"], encoder["lot"], encoder["round_lot"] = (
        locate,
        stock_word(symbol),
        lot,
        round_lot,
    )


@jit
def _head(encoder, kind, time_ns, target):
    """Write the length prefix and the first eleven bytes; returns the address of the message."""
    e = view(encoder, ENCODER)
    e.messages += 1
    put_be16(target, U64(LENGTHS[kind]))
    text = target + U64(2)
    store_u8(text, np.uint8(kind))
    put_be16(text + LOCATE_AT, e.locate)
    put_be16(text + TRACKING_AT, e.tracking)
    put_be48(text + TIME_AT, U64(time_ns))
    return text


@jit
def _block(kind):
    """Bytes of a message with its length prefix."""
    return np.int64(2) + np.int64(LENGTHS[kind])


@jit
def encode_system(encoder, code, time_ns, target):
    """S: ``code`` is the event's byte (O S Q M E C). Like all below, returns the bytes written, prefix included."""
    text = _head(encoder, _SYSTEM, time_ns, target)
    put_be16(text + LOCATE_AT, ZERO)
    store_u8(text + BODY_AT, np.uint8(code))
    return _block(_SYSTEM)


@jit
def encode_directory(encoder, time_ns, target):
    """R: the locate of this instrument, as an ordinary listed share."""
    e = view(encoder, ENCODER)
    text = _head(encoder, _DIRECTORY, time_ns, target)
    store_i64(text + STOCK_OF_DIRECTORY_AT, np.int64(e.stock))
    for index in range(_FLAG_AT.size):
        store_u8(text + _FLAG_AT[index], _FLAG[index])
    put_be32(text + _ROUND_LOT_AT, e.round_lot)
    put_be32(text + _LEVERAGE_AT, ZERO)
    return _block(_DIRECTORY)


@jit
def _put_side(text, side):
    store_u8(text + SIDE_AT, np.uint8(_BUY_MARK if side == BUY else _SELL_MARK))


@jit
def encode_add(encoder, ref, side, shares, price, time_ns, target):
    """A: ``shares`` and ``price`` (4 decimals) as on the wire, uint64; ``side`` BUY or SELL."""
    text = _head(encoder, _ADD, time_ns, target)
    put_be64(text + REF_AT, ref)
    _put_side(text, side)
    put_be32(text + ADD_SHARES_AT, shares)
    store_i64(text + STOCK_AT, np.int64(view(encoder, ENCODER).stock))
    put_be32(text + ADD_PRICE_AT, price)
    return _block(_ADD)


@jit
def encode_executed(encoder, ref, shares, match, time_ns, target):
    """E: at the order's own price."""
    text = _head(encoder, _EXECUTED, time_ns, target)
    put_be64(text + REF_AT, ref)
    put_be32(text + SHARES_AT, shares)
    put_be64(text + MATCH_AT, match)
    return _block(_EXECUTED)


@jit
def encode_executed_price(encoder, ref, shares, match, printable, price, time_ns, target):
    """C: at ``price``; ``printable`` is the byte Y or N."""
    text = _head(encoder, _EXECUTED_PRICE, time_ns, target)
    put_be64(text + REF_AT, ref)
    put_be32(text + SHARES_AT, shares)
    put_be64(text + MATCH_AT, match)
    store_u8(text + PRINTABLE_AT, np.uint8(printable))
    put_be32(text + EXECUTED_PRICE_AT, price)
    return _block(_EXECUTED_PRICE)


@jit
def encode_cancel(encoder, ref, shares, time_ns, target):
    """X: part of an order."""
    text = _head(encoder, _CANCEL, time_ns, target)
    put_be64(text + REF_AT, ref)
    put_be32(text + SHARES_AT, shares)
    return _block(_CANCEL)


@jit
def encode_delete(encoder, ref, time_ns, target):
    """D: a whole order."""
    text = _head(encoder, _DELETE, time_ns, target)
    put_be64(text + REF_AT, ref)
    return _block(_DELETE)


@jit
def encode_replace(encoder, ref, new_ref, shares, price, time_ns, target):
    """U: the order continues as ``new_ref`` with these shares and price."""
    text = _head(encoder, _REPLACE, time_ns, target)
    put_be64(text + REF_AT, ref)
    put_be64(text + NEW_REF_AT, new_ref)
    put_be32(text + REPLACE_SHARES_AT, shares)
    put_be32(text + REPLACE_PRICE_AT, price)
    return _block(_REPLACE)


@jit
def encode_trade(encoder, side, shares, price, match, time_ns, target):
    """P: a trade with a hidden order of ``side`` (the venue itself always says BUY)."""
    text = _head(encoder, _TRADE, time_ns, target)
    put_be64(text + REF_AT, ZERO)
    _put_side(text, side)
    put_be32(text + ADD_SHARES_AT, shares)
    store_i64(text + STOCK_AT, np.int64(view(encoder, ENCODER).stock))
    put_be32(text + ADD_PRICE_AT, price)
    put_be64(text + TRADE_MATCH_AT, match)
    return _block(_TRADE)


@jit
def _field(value, unit):
    """``value / unit`` as a field of the wire, 0 if it is not a whole number of 1..2**32-1."""
    if value <= 0 or value % unit != 0 or value // unit > FIELD_MAX:
        return ZERO
    return U64(value // unit)


@jit
def _encode(encoder, kind, order_id, maker_id, side, price, shares, match_id, time_ns, target):
    if kind == EVENT_ADD:
        return encode_add(encoder, order_id, side, shares, price, time_ns, target)
    if kind == EVENT_EXECUTE:
        return encode_executed(encoder, maker_id, shares, match_id, time_ns, target)
    if kind == EVENT_CANCEL:
        return encode_cancel(encoder, order_id, shares, time_ns, target)
    if kind == EVENT_DELETE:
        return encode_delete(encoder, order_id, time_ns, target)
    if order_id != maker_id:
        return encode_replace(encoder, maker_id, order_id, shares, price, time_ns, target)
    size = encode_delete(encoder, order_id, time_ns, target)
    return size + encode_add(encoder, order_id, side, shares, price, time_ns, target + U64(size))


@jit
def encode_event(encoder, kind, order_id, maker_id, side, price, qty, match_id, time_ns, target):
    """Write what one event of a matching book is on the wire.

    Args:
        encoder: address of an ENCODER; kind, side, price, qty (1e-8): int64; order_id, maker_id, match_id: uint64.
        time_ns: since midnight, int64; target: address with room for EVENT_BYTES_MAX.

    Returns:
        Bytes written, 0 for EXPIRE; -1 (counted in ``refused``) for an unknown kind, or a price or quantity that is
        not a whole number of the wire's units or does not fit. ``messages`` has gone up by the number of messages.
    """
    e = view(encoder, ENCODER)
    if kind == EVENT_EXPIRE:
        return np.int64(0)
    raw, shares = _field(price, np.int64(PRICE_UNIT)), _field(qty, e.lot)
    if kind < EVENT_ADD or kind > EVENT_EXPIRE or raw == ZERO or shares == ZERO:
        e.refused += 1
        return np.int64(-1)
    e.tracking = (e.tracking + ONE) & U64(0xFFFF)
    return _encode(encoder, kind, order_id, maker_id, side, raw, shares, match_id, time_ns, target)
