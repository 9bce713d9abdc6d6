"""Writing OUCH messages: requests from templates made once, and a venue's reports.

A template is a whole message of one instrument and one time in force. Sending copies it (one or two vector moves) and
patches what differs between orders: reference, side, shares, price, client order id.

======== ===================================================
flags    on the wire
======== ===================================================
GTC      day
POST     day, PostOnly = P
IOC      immediate
FOK      immediate, MinQty = the whole quantity
MARKET   immediate, price MARKET_PRICE
======== ===================================================

The client order id goes out as its low 56 bits in 14 hexadecimal digits; its top 8 bits name the venue.
"""

import numpy as np

from hftpipe.core.machine.jit import jit
from hftpipe.core.machine.mem import U64, ZERO, copy_bytes, load_i64, store_i64, store_u8
from hftpipe.core.schema.records import BUY, FOK, GTC, IOC, MARKET, POST_ONLY
from hftpipe.venues.nasdaq.itch.encode import stock_word
from hftpipe.venues.nasdaq.itch.wire import put_be16, put_be32, put_be64
from hftpipe.venues.nasdaq.ouch import messages as ouch
from hftpipe.venues.nasdaq.ouch.messages import (
    A_EXTRA_AT,
    A_ID_AT,
    A_ORDER_AT,
    A_PRICE_AT,
    A_QTY_AT,
    A_SIDE_AT,
    A_STATE_AT,
    A_SYMBOL_AT,
    A_TIF_AT,
    C_REASON_AT,
    CANCEL_QTY_AT,
    CANCEL_REF_AT,
    CL_ORD_ID_BYTES,
    CODE_AT,
    E_EXTRA_AT,
    E_LIQUIDITY_AT,
    E_MATCH_AT,
    E_PRICE_AT,
    ENTER_ID_AT,
    ENTER_PRICE_AT,
    ENTER_QTY_AT,
    ENTER_REF_AT,
    ENTER_SIDE_AT,
    ENTER_SYMBOL_AT,
    J_ID_AT,
    J_REASON_AT,
    QTY_AT,
    REF_AT,
    REPLACE_ID_AT,
    REPLACE_OLD_AT,
    REPLACE_PRICE_AT,
    REPLACE_QTY_AT,
    REPLACE_REF_AT,
    REPORT_LENGTH,
    TIME_AT,
    U_SHIFT,
)

#: Templates of one instrument: enter orders by time in force, then replaces by time in force.
TEMPLATE_BYTES, TEMPLATE_SLOTS = 64, 16
_TEMPLATE_SHIFT = np.uint64(6)
_SLOT_SHIFT = np.uint64(4)
_REPLACE_SLOT = np.uint64(8)
_TIFS = (GTC, IOC, FOK, POST_ONLY, MARKET)
_EXTRA = {FOK: bytes((5, ouch.TAG_MIN_QTY, 0, 0, 0, 0)), POST_ONLY: bytes((2, ouch.TAG_POST_ONLY, ouch.POST_ONLY_YES))}
_MIN_QTY_AFTER = np.uint64(2)
_MARKET_PRICE = np.uint64(ouch.MARKET_PRICE)


def _lengths(base: int) -> np.ndarray:
    lengths = np.zeros(8, np.int64)
    for tif in _TIFS:
        lengths[tif] = base + len(_EXTRA.get(tif, b""))
    return lengths


#: Bytes of an enter order and of a replace by time in force; 0 for one that does not exist.
ENTER_BYTES = _lengths(ouch.REQUEST_LENGTHS["O"])
REPLACE_BYTES = _lengths(ouch.REQUEST_LENGTHS["U"])
_ENTER_MIN_QTY_AT = np.uint64(ouch.REQUEST_LENGTHS["O"]) + _MIN_QTY_AFTER
_REPLACE_MIN_QTY_AT = np.uint64(ouch.REQUEST_LENGTHS["U"]) + _MIN_QTY_AFTER
CANCEL_BYTES = ouch.REQUEST_LENGTHS["X"]
_DIGITS = np.frombuffer(b"0123456789ABCDEF", np.uint8)
assert ENTER_BYTES.max() <= TEMPLATE_BYTES


def templates_bytes(n_instruments: int) -> int:
    """Memory of the templates of ``n_instruments`` instruments."""
    return n_instruments * TEMPLATE_SLOTS * TEMPLATE_BYTES


def templates_init(memory: np.ndarray, symbols: list[str]) -> None:
    """Write the templates of every instrument into ``memory`` (uint8 array of :func:`templates_bytes`).

    Raises:
        ValueError: a symbol is not 1 to 8 ASCII characters.
    """
    memory[: templates_bytes(len(symbols))] = 0
    for index, symbol in enumerate(symbols):
        stock = stock_word(symbol).to_bytes(8, "little")
        for tif in _TIFS:
            mark = bytes((ouch.TIF_DAY if tif in (GTC, POST_ONLY) else ouch.TIF_IOC,))
            extra = _EXTRA.get(tif, b"")
            length, blank = len(extra).to_bytes(2, "big"), b" " * CL_ORD_ID_BYTES
            enter = b"O" + bytes(9) + stock + bytes(8) + mark + b"YPNN" + blank + length + extra
            replace = b"U" + bytes(20) + mark + b"YN" + blank + length + extra
            for slot, text in ((tif, enter), (tif + int(_REPLACE_SLOT), replace)):
                at = (index * TEMPLATE_SLOTS + slot) * TEMPLATE_BYTES
                memory[at : at + len(text)] = np.frombuffer(text, np.uint8)


@jit
def put_cl_ord_id(target, id_):
    """Write the low 56 bits of ``id_`` as 14 hexadecimal digits."""
    for digit in range(CL_ORD_ID_BYTES):
        shift = U64(4 * (CL_ORD_ID_BYTES - 1 - digit))
        store_u8(target + U64(digit), _DIGITS[(id_ >> shift) & U64(15)])


@jit
def _template(templates, instrument, slot):
    return templates + (((U64(instrument) << _SLOT_SHIFT) + slot) << _TEMPLATE_SHIFT)


@jit
def stock_of(templates, instrument):
    """The 8 bytes of an instrument's symbol, as they lie in a message (uint64)."""
    return U64(load_i64(_template(templates, instrument, ZERO) + ENTER_SYMBOL_AT))


@jit
def encode_enter(templates, instrument, tif, ref, side, shares, price, id_, target):
    """O: room for TEMPLATE_BYTES at ``target``; ``shares`` and ``price`` as on the wire. Returns the bytes written.

    ``tif`` (int64) must be one of GTC, IOC, FOK, POST_ONLY, MARKET; a MARKET order's price is ignored.
    """
    copy_bytes(target, _template(templates, instrument, U64(tif)), np.int64(TEMPLATE_BYTES))
    put_be32(target + ENTER_REF_AT, ref)
    store_u8(target + ENTER_SIDE_AT, np.uint8(ouch.SIDE_BUY if side == BUY else ouch.SIDE_SELL))
    put_be32(target + ENTER_QTY_AT, shares)
    put_be64(target + ENTER_PRICE_AT, _MARKET_PRICE if tif == MARKET else price)
    put_cl_ord_id(target + ENTER_ID_AT, id_)
    if tif == FOK:
        put_be32(target + _ENTER_MIN_QTY_AT, shares)
    return ENTER_BYTES[tif]


@jit
def encode_replace(templates, tif, old_ref, ref, shares, price, id_, target):
    """U: the order ``old_ref`` becomes ``ref`` with ``shares`` in all, executed ones included."""
    copy_bytes(target, _template(templates, np.int64(0), U64(tif) + _REPLACE_SLOT), np.int64(TEMPLATE_BYTES))
    put_be32(target + REPLACE_OLD_AT, old_ref)
    put_be32(target + REPLACE_REF_AT, ref)
    put_be32(target + REPLACE_QTY_AT, shares)
    put_be64(target + REPLACE_PRICE_AT, price)
    put_cl_ord_id(target + REPLACE_ID_AT, id_)
    if tif == FOK:
        put_be32(target + _REPLACE_MIN_QTY_AT, shares)
    return REPLACE_BYTES[tif]


@jit
def encode_cancel(ref, shares, target):
    """X: ``shares`` 0 cancels the whole order."""
    store_u8(target, np.uint8(ouch.CANCEL))
    put_be32(target + CANCEL_REF_AT, ref)
    put_be32(target + CANCEL_QTY_AT, shares)
    return np.int64(CANCEL_BYTES)


@jit
def encode_query(target):
    """Q: ask for the next reference number."""
    store_u8(target, np.uint8(ouch.QUERY))
    return np.int64(1)


# What a venue sends. ``target`` has room for MESSAGE_BYTES_MAX; all return the bytes written.


@jit
def _head(kind, time_ns, ref, target):
    store_u8(target, np.uint8(kind))
    put_be64(target + TIME_AT, U64(time_ns))
    put_be32(target + REF_AT, ref)
    return np.int64(REPORT_LENGTH[kind])


@jit
def encode_system(code, time_ns, target):
    """S: ``code`` is START_OF_DAY or END_OF_DAY."""
    length = _head(np.int64(ouch.SYSTEM), time_ns, ZERO, target)
    store_u8(target + CODE_AT, np.uint8(code))
    return length


@jit
def _order_body(at, side, shares, stock, price, tif, order, id_at):
    """The fields that Accepted and Replaced share; ``at`` is shifted for the latter, ``id_at`` the id's text or 0."""
    store_u8(at + A_SIDE_AT, np.uint8(ouch.SIDE_BUY if side == BUY else ouch.SIDE_SELL))
    put_be32(at + A_QTY_AT, shares)
    store_i64(at + A_SYMBOL_AT, np.int64(stock))
    put_be64(at + A_PRICE_AT, price)
    store_u8(at + A_TIF_AT, np.uint8(tif))
    store_u8(at + A_TIF_AT + U64(1), np.uint8(89))
    put_be64(at + A_ORDER_AT, order)
    for offset, letter in ((44, 80), (45, 78), (46, 78)):
        store_u8(at + U64(offset), np.uint8(letter))
    store_u8(at + A_STATE_AT, np.uint8(ouch.STATE_LIVE))
    put_text_id(at + A_ID_AT, id_at)
    put_be16(at + A_EXTRA_AT, ZERO)


@jit
def put_text_id(target, id_at):
    """Copy 14 characters, or blanks if ``id_at`` is 0."""
    if id_at != ZERO:
        copy_bytes(target, id_at, np.int64(CL_ORD_ID_BYTES))
        return
    for index in range(CL_ORD_ID_BYTES):
        store_u8(target + U64(index), np.uint8(32))


@jit
def encode_accepted(time_ns, ref, side, shares, stock, price, tif, order, id_at, target):
    """A: ``stock`` as the 8 bytes in memory, ``tif`` the byte, ``order`` the venue's number."""
    length = _head(np.int64(ouch.ACCEPTED), time_ns, ref, target)
    _order_body(target, side, shares, stock, price, tif, order, id_at)
    return length


@jit
def encode_replaced(time_ns, old_ref, ref, side, shares, stock, price, tif, order, id_at, target):
    """U: ``shares`` are those left to execute."""
    length = _head(np.int64(ouch.REPLACED), time_ns, old_ref, target)
    put_be32(target + REF_AT + U_SHIFT, ref)
    _order_body(target + U_SHIFT, side, shares, stock, price, tif, order, id_at)
    return length


@jit
def encode_canceled(time_ns, ref, shares, reason, target):
    """C: ``shares`` taken away, ``reason`` the byte."""
    length = _head(np.int64(ouch.CANCELED), time_ns, ref, target)
    put_be32(target + QTY_AT, shares)
    store_u8(target + C_REASON_AT, np.uint8(reason))
    return length


@jit
def encode_executed(time_ns, ref, shares, price, liquidity, match, target):
    """E: ``liquidity`` is LIQUIDITY_ADDED or LIQUIDITY_REMOVED."""
    length = _head(np.int64(ouch.EXECUTED), time_ns, ref, target)
    put_be32(target + QTY_AT, shares)
    put_be64(target + E_PRICE_AT, price)
    store_u8(target + E_LIQUIDITY_AT, np.uint8(liquidity))
    put_be64(target + E_MATCH_AT, match)
    put_be16(target + E_EXTRA_AT, ZERO)
    return length


@jit
def encode_rejected(time_ns, ref, reason, id_at, target):
    """J: ``reason`` as on the wire."""
    length = _head(np.int64(ouch.REJECTED), time_ns, ref, target)
    put_be16(target + J_REASON_AT, U64(reason))
    put_text_id(target + J_ID_AT, id_at)
    return length


@jit
def encode_plain(kind, time_ns, ref, target):
    """P, I or Q (then ``ref`` is the next one to use): ``kind`` is the type byte, int64."""
    return _head(kind, time_ns, ref, target)
