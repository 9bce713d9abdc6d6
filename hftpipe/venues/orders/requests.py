"""Requests to a venue: each is a variant with a template of its own, signed and sent with one call of the system, as a frame of the
WebSocket connection for requests or, where there are connections over REST, as a request on a free one of those."""

import numpy as np

from hftpipe.core.machine.digits import hex_word, read_hex, store_text, write_hex, write_number
from hftpipe.core.machine.jit import jit
from hftpipe.core.machine.mem import U64, ZERO, load_i64, load_u8, store_u8, view
from hftpipe.core.schema.records import MARKET, REDUCE_ONLY, TIF_MASK
from hftpipe.core.trading.amounts import write_price, write_qty
from hftpipe.core.trading.order_table import ORDER
from hftpipe.transport.websocket.link import LINK_BYTES
from hftpipe.transport.websocket.sending import HEADER_ROOM, NOT_SENT, send_text
from hftpipe.venues.orders.calls import NONE, free_connection, send_call
from hftpipe.venues.orders.client_text import write_client_text
from hftpipe.venues.orders.facts import CHANGE
from hftpipe.venues.orders.state import ACCOUNT, REVISION, extra_of
from hftpipe.venues.orders.template import VALUE, Value, set_value, write_request

#: The letters by which an answer says what was asked.
LETTERS = "nrc"
_LETTERS = np.frombuffer(LETTERS.encode(), np.uint8).copy()
_SIDES, _TIFS = 2, MARKET + 1
VARIANTS = len(LETTERS) * _SIDES * _TIFS * 2
#: Characters of a request's id: the client id, the letter, and a number, for venues take no id twice.
REQUEST_ID_BYTES = 25
_LETTER_AT, _NUMBER_AT = np.uint64(16), np.uint64(17)
#: Where the text of each value is written, from ACCOUNT's ``values`` on; that of a symbol stands still.
TEXT_ROOM = 64
NO_TEMPLATE = -1
#: The link that requests go over.
REQUEST_LINK = 0
_VALUE_SHIFT = np.uint64(4)
_ID, _CLIENT, _OLD, _SYMBOL, _PRICE, _QTY, _TIME = (
    np.int64(one)
    for one in (
        Value.REQUEST_ID, Value.CLIENT_ID, Value.OLD_CLIENT_ID, Value.SYMBOL, Value.PRICE, Value.QUANTITY, Value.TIMESTAMP,
    )
)  # fmt: skip
_MS = np.int64(1_000_000)
#: Where in its memory the text of a message begins: its frame's header stands before.
TEXT_AT = np.uint64(-(-HEADER_ROOM // 8) * 8)


def variant_of(what: int, side: int, tif: int, is_reduce_only: bool) -> int:
    """The number of a variant of a request."""
    return ((what * _SIDES + side) * _TIFS + tif) * 2 + int(is_reduce_only)


@jit
def template_of(a, what, side, flags):
    """The template of a request; NO_TEMPLATE: the venue cannot be told it. A cancel is the same for all."""
    tif = np.int64(flags & TIF_MASK)
    if tif > MARKET or side > 1:
        return np.int64(NO_TEMPLATE)
    reduce = np.int64(flags & REDUCE_ONLY != 0)
    variant = ((what * _SIDES + np.int64(side)) * _TIFS + tif) * 2 + reduce
    return load_i64(a.variants + (U64(variant) << U64(3)))


@jit
def _put_client_text(a, value, id_, revision):
    at = view(a.values + (U64(value) << _VALUE_SHIFT), VALUE).at
    end = write_client_text(a.prefix, a.prefix_bytes, id_, revision, at)
    set_value(a.values, value, at, np.int64(end - at))


@jit
def put_amounts(a, instrument, price, qty, is_market):
    """Write a price and a quantity as the venue reads them; False if they are none of this instrument."""
    at = view(a.values + (U64(_QTY) << _VALUE_SHIFT), VALUE).at
    end = write_qty(a.amounts, instrument, qty, at)
    if end == ZERO:
        return False
    set_value(a.values, _QTY, at, np.int64(end - at))
    if is_market:
        return True
    at = view(a.values + (U64(_PRICE) << _VALUE_SHIFT), VALUE).at
    end = write_price(a.amounts, instrument, price, at)
    if end == ZERO:
        return False
    set_value(a.values, _PRICE, at, np.int64(end - at))
    return True


@jit
def send_request(account, slot, what, template, revision, now_ns):
    """Send a request about the order at ``slot``: SENT, NOT_SENT or LOST. Its amounts have been put.

    ``revision``: of the order as the request makes it; that which the venue knows now is in the order.
    """
    a, o = view(account, ACCOUNT), view(slot, ORDER)
    values, connection = a.values, np.int64(NONE)
    if a.n_calls != 0:
        connection = free_connection(a, what, now_ns)
        if connection == NONE:
            return NOT_SENT
    _put_client_text(a, _CLIENT, o.id, revision)
    _put_client_text(a, _OLD, o.id, o.user & REVISION)
    at = view(values + (U64(_ID) << _VALUE_SHIFT), VALUE).at
    store_u8(write_hex(at, o.id), _LETTERS[what])
    a.requests += 1
    extra = extra_of(a, slot)
    extra.last_no = a.requests
    if what == CHANGE:
        extra.change_no = a.requests
    store_text(at + _NUMBER_AT, hex_word(U64(a.requests)))
    set_value(values, _ID, at, np.int64(REQUEST_ID_BYTES))
    at = view(values + (U64(_TIME) << _VALUE_SHIFT), VALUE).at
    set_value(values, _TIME, at, np.int64(write_number(at, U64((now_ns + a.wall_offset_ns) // _MS)) - at))
    symbol = view(a.symbols + (U64(o.instrument) << _VALUE_SHIFT), VALUE)
    set_value(values, _SYMBOL, symbol.at, symbol.length)
    text = a.text + TEXT_AT
    end = write_request(a.templates, template, values, a.signer, a.signed, text)
    if a.n_calls != 0:
        return send_call(a, connection, what, o, text, np.int64(end - text), now_ns)
    return send_text(a.links + U64(LINK_BYTES * REQUEST_LINK), text, np.int64(end - text))


@jit
def read_request_id(at, length):
    """What an answer is about: (client id, PLACE, CHANGE or CANCEL_IT, its number); (0, -1, 0): none of our requests."""
    if length != REQUEST_ID_BYTES:
        return ZERO, np.int64(-1), np.int64(0)
    is_id, id_ = read_hex(at, np.int64(_LETTER_AT))
    is_number, number = read_hex(at + _NUMBER_AT, np.int64(8))
    if is_id and is_number:
        letter = load_u8(at + _LETTER_AT)
        for what in range(3):
            if letter == _LETTERS[what]:
                return id_, np.int64(what), np.int64(number)
    return ZERO, np.int64(-1), np.int64(0)
