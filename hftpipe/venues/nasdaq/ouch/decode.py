"""Reading OUCH messages into one flat record, with every length checked first. Both directions.

A message is refused (0) when its type is unknown, it is shorter than its type or longer than MESSAGE_BYTES_MAX, or
its appendage does not end where it says, or the price of a report does not fit an int64 in units of 1e-8; nothing beyond its
bytes is ever read.
"""

import numpy as np

from hftpipe.core.machine.jit import jit
from hftpipe.core.machine.mem import U64, ZERO, load_i64, load_u8, view
from hftpipe.core.schema.records import BUY, SELL
from hftpipe.venues.nasdaq.itch.wire import be16, be32, be64
from hftpipe.venues.nasdaq.ouch import messages as ouch
from hftpipe.venues.nasdaq.ouch.messages import (
    A_ORDER_AT,
    A_PRICE_AT,
    A_QTY_AT,
    A_SIDE_AT,
    A_STATE_AT,
    A_SYMBOL_AT,
    B_MATCH_AT,
    B_REASON_AT,
    C_REASON_AT,
    CANCEL_QTY_AT,
    CANCEL_REF_AT,
    CODE_AT,
    E_LIQUIDITY_AT,
    E_MATCH_AT,
    E_PRICE_AT,
    ENTER_EXTRA_AT,
    ENTER_ID_AT,
    ENTER_PRICE_AT,
    ENTER_QTY_AT,
    ENTER_REF_AT,
    ENTER_SIDE_AT,
    ENTER_SYMBOL_AT,
    ENTER_TIF_AT,
    IS_IGNORED,
    J_REASON_AT,
    MESSAGE_BYTES_MAX,
    PRICE_MAX,
    QTY_AT,
    REF_AT,
    REPLACE_EXTRA_AT,
    REPLACE_ID_AT,
    REPLACE_OLD_AT,
    REPLACE_PRICE_AT,
    REPLACE_QTY_AT,
    REPLACE_REF_AT,
    REPLACE_TIF_AT,
    REPORT_LENGTH,
    REQUEST_LENGTH,
    TAG_MIN_QTY,
    TAG_POST_ONLY,
    TIME_AT,
    U_SHIFT,
)

#: One message, numbers as on the wire; what a type does not have is 0. ``id_at``: address of the client id's text.
WIRE = np.dtype(
    [
        # ``side`` -1: no such side.
        ("kind", "i8"), ("time_ns", "i8"), ("ref", "u8"), ("old_ref", "u8"), ("side", "i8"),
        ("shares", "u8"), ("price", "u8"), ("order", "u8"), ("match", "u8"), ("code", "i8"),
        ("tif", "i8"), ("min_shares", "u8"), ("post_only", "i8"), ("stock", "u8"), ("id_at", "u8"),
        ("_pad", "i8"),
    ],
    align=True,
)  # fmt: skip
#: Known and not used.
IGNORED = np.int64(-1)
REFUSED = np.int64(0)


@jit
def _clear(wire):
    w = view(wire, WIRE)
    w.kind, w.time_ns, w.side, w.code, w.tif, w.post_only = 0, 0, 0, 0, 0, 0
    w.ref, w.old_ref, w.shares, w.price, w.order, w.match = ZERO, ZERO, ZERO, ZERO, ZERO, ZERO
    w.min_shares, w.stock, w.id_at = ZERO, ZERO, ZERO


@jit
def _side(letter):
    """BUY, SELL (short sales too), or -1."""
    if letter == ouch.SIDE_BUY:
        return np.int64(BUY)
    return np.int64(SELL) if letter == ouch.SIDE_SELL or letter == 84 or letter == 69 else np.int64(-1)


@jit
def _appendage(wire, extra_at, end):
    """Read the appendage whose length field is at ``extra_at``; False if it does not end exactly at ``end``."""
    w = view(wire, WIRE)
    at = extra_at + U64(2)
    if at + be16(extra_at) != end:
        return False
    while at < end:
        size, tag_at = U64(load_u8(at)), at + U64(1)
        if size == ZERO or tag_at + size > end:
            return False
        tag = load_u8(tag_at)
        if tag == TAG_MIN_QTY and size == U64(5):
            w.min_shares = be32(tag_at + U64(1))
        elif tag == TAG_POST_ONLY and size == U64(2):
            w.post_only = 1 if load_u8(tag_at + U64(1)) == ouch.POST_ONLY_YES else 0
        at = tag_at + size
    return True


@jit
def _enter(wire, data, end):
    w = view(wire, WIRE)
    w.ref, w.side = be32(data + ENTER_REF_AT), _side(load_u8(data + ENTER_SIDE_AT))
    w.shares, w.price = be32(data + ENTER_QTY_AT), be64(data + ENTER_PRICE_AT)
    w.stock, w.tif = U64(load_i64(data + ENTER_SYMBOL_AT)), np.int64(load_u8(data + ENTER_TIF_AT))
    w.id_at = data + ENTER_ID_AT
    return _appendage(wire, data + ENTER_EXTRA_AT, end)


@jit
def _replace(wire, data, end):
    w = view(wire, WIRE)
    w.old_ref, w.ref = be32(data + REPLACE_OLD_AT), be32(data + REPLACE_REF_AT)
    w.shares, w.price = be32(data + REPLACE_QTY_AT), be64(data + REPLACE_PRICE_AT)
    w.tif, w.id_at = np.int64(load_u8(data + REPLACE_TIF_AT)), data + REPLACE_ID_AT
    return _appendage(wire, data + REPLACE_EXTRA_AT, end)


@jit
def decode_request(wire, data, length):
    """Read a message to the venue into the WIRE record at ``wire``: its type byte (int64), or REFUSED."""
    _clear(wire)
    if length < 1 or length > MESSAGE_BYTES_MAX:
        return REFUSED
    w = view(wire, WIRE)
    kind = np.int64(load_u8(data))
    if REQUEST_LENGTH[kind] == 0 or length < REQUEST_LENGTH[kind]:
        return REFUSED
    end = data + U64(length)
    if kind == ouch.ENTER and not _enter(wire, data, end):
        return REFUSED
    if kind == ouch.REPLACE and not _replace(wire, data, end):
        return REFUSED
    if kind == ouch.CANCEL:
        w.ref, w.shares = be32(data + CANCEL_REF_AT), be32(data + CANCEL_QTY_AT)
    w.kind = kind
    return kind


@jit
def _order_report(wire, at):
    """The fields that Accepted and Replaced share."""
    w = view(wire, WIRE)
    w.side, w.shares = _side(load_u8(at + A_SIDE_AT)), be32(at + A_QTY_AT)
    w.price, w.order, w.code = be64(at + A_PRICE_AT), be64(at + A_ORDER_AT), np.int64(load_u8(at + A_STATE_AT))
    w.stock = U64(load_i64(at + A_SYMBOL_AT))


@jit
def _report_body(wire, kind, data):
    w = view(wire, WIRE)
    if kind == ouch.ACCEPTED:
        _order_report(wire, data)
    elif kind == ouch.REPLACED:
        w.old_ref, w.ref = w.ref, be32(data + REF_AT + U_SHIFT)
        _order_report(wire, data + U_SHIFT)
    elif kind == ouch.CANCELED or kind == ouch.SELF_MATCH:
        w.shares, w.code = be32(data + QTY_AT), np.int64(load_u8(data + C_REASON_AT))
    elif kind == ouch.EXECUTED:
        w.shares, w.price = be32(data + QTY_AT), be64(data + E_PRICE_AT)
        w.code, w.match = np.int64(load_u8(data + E_LIQUIDITY_AT)), be64(data + E_MATCH_AT)
    elif kind == ouch.BROKEN:
        w.match, w.code = be64(data + B_MATCH_AT), np.int64(load_u8(data + B_REASON_AT))
    elif kind == ouch.REJECTED:
        w.code = np.int64(be16(data + J_REASON_AT))


@jit
def decode_report(wire, data, length):
    """Read a message from the venue into the WIRE record at ``wire``: its type byte, IGNORED or REFUSED."""
    _clear(wire)
    if length < 1 or length > MESSAGE_BYTES_MAX:
        return REFUSED
    w = view(wire, WIRE)
    kind = np.int64(load_u8(data))
    if IS_IGNORED[kind]:
        return IGNORED
    if REPORT_LENGTH[kind] == 0 or length < REPORT_LENGTH[kind]:
        return REFUSED
    w.kind, w.time_ns = kind, np.int64(be64(data + TIME_AT) & U64(0x7FFFFFFFFFFFFFFF))
    if kind == ouch.SYSTEM:
        w.code = np.int64(load_u8(data + CODE_AT))
        return kind
    w.ref = be32(data + REF_AT)
    _report_body(wire, kind, data)
    return kind if w.price <= U64(PRICE_MAX) else REFUSED
