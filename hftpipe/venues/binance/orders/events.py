"""Events of our orders, as facts: executionReport of spot (1.10), what stands in ORDER_TRADE_UPDATE of USD-M (2.6)."""

import numpy as np

from hftpipe.core.machine.jit import jit
from hftpipe.core.machine.json_text import (
    inside_string,
    key_code,
    next_member,
    open_object,
    read_decimal,
    read_integer,
    text_code,
)
from hftpipe.core.machine.mem import U64, ZERO, load_i64, load_u8, view
from hftpipe.core.schema import reasons
from hftpipe.core.trading.order_table import ORDER, order_find
from hftpipe.venues.binance.orders.words import MS, places_of, refuse, set_state
from hftpipe.venues.orders.client_text import read_client_text
from hftpipe.venues.orders.errors import ASK
from hftpipe.venues.orders.facts import FACT, NO_REQUEST, STATE, TRADE, UNSAID
from hftpipe.venues.orders.state import ACCOUNT

_IS_TRADE, _IS_LIQUIDATION = key_code("TRADE"), key_code("CALCULATED")
(
    _CH_CLIENT,
    _CH_ORIGINAL,
    _CH_EXECUTION,
    _CH_STATUS,
    _CH_ORDER_ID,
    _CH_PRICE,
    _CH_QTY,
    _CH_CUM,
    _CH_TIME,
    _CH_T_ID,
    _CH_LAST_PRICE,
    _CH_LAST_QTY,
    _CH_MAKER,
    _CH_N,
    _CH_N_ASSET,
    _CH_TRUE,
) = (np.uint8(ord(letter)) for letter in "cCxXipqzTtLlmnNt")
#: Where the values of one-letter keys are noted: (address, address after it) by the letter's low six bits.
_LETTERS = 64
SPOTS_BYTES = 16 * _LETTERS
_SPOT_SHIFT, _LOW = np.uint64(4), np.uint64(63)
SPOT = np.dtype([("at", "u8"), ("after", "u8")])


@jit
def _note_letters(a, at, end):
    """Note where the values of the one-letter keys of an object are; False if it is none."""
    for index in range(_LETTERS):
        view(a.spots + (U64(index) << _SPOT_SHIFT), SPOT).at = ZERO
    at = open_object(at, end)
    if at == ZERO:
        return False
    while at != ZERO:
        code, value, after, at = next_member(at, end)
        if at != ZERO and code >> U64(56) == U64(1):
            spot = view(a.spots + ((code & _LOW) << _SPOT_SHIFT), SPOT)
            spot.at, spot.after = value, after
    return True


@jit
def _letter(a, letter):
    spot = view(a.spots + ((U64(letter) & _LOW) << _SPOT_SHIFT), SPOT)
    return (spot.at, spot.after) if spot.at != ZERO else (ZERO, ZERO)


@jit
def _integer_of(a, letter):
    at, after = _letter(a, letter)
    return read_integer(at, after) if at != ZERO else (False, np.int64(0))


@jit
def _decimal_of(a, letter, places):
    at, after = _letter(a, letter)
    return read_decimal(at, after, places) if at != ZERO else (False, np.int64(0))


@jit
def _client_of(a, letter):
    """The order that a client id names: (id, revision); (0, 0): it is none of ours."""
    at, after = _letter(a, letter)
    text, length = inside_string(at, after)
    return read_client_text(a.prefix, a.prefix_bytes, text, length) if length > 0 else (ZERO, np.int64(0))


@jit
def _set_fee(a, f, slot):
    """Fee and its asset: n of the run's, 0 for the quote currency."""
    at, after = _letter(a, _CH_N_ASSET)
    code = text_code(at, after) if at != ZERO else ZERO
    f.fee_asset = 0
    if code == ZERO or slot == ZERO:
        return
    _is_read, f.fee = _decimal_of(a, _CH_N, np.int64(8))
    if U64(load_i64(a.quotes + (U64(view(slot, ORDER).instrument) << U64(3)))) == code:
        return
    for index in range(a.n_assets):
        if U64(load_i64(a.assets + U64(8 * index))) == code:
            f.fee_asset = np.uint8(index + 1)
            return
    a.unknown_fees += 1
    f.fee = 0


@jit
def _execution(a, f, slot, price_places, qty_places):
    """What was executed; False if that cannot be read."""
    is_number, number = _integer_of(a, _CH_T_ID)
    has_price, f.last_price = _decimal_of(a, _CH_LAST_PRICE, price_places)
    has_qty, f.last_qty = _decimal_of(a, _CH_LAST_QTY, qty_places)
    f.kind, f.trade_id = TRADE, U64(number)
    at, _after = _letter(a, _CH_MAKER)
    f.is_maker = np.uint8(at != ZERO and load_u8(at) == _CH_TRUE)
    _set_fee(a, f, slot)
    return is_number and number > 0 and has_price and has_qty and f.last_qty > 0 and f.last_price > 0


@jit
def read_event(account, at, end, fact):
    """An event of one order; whether it is one of ours."""
    a, f = view(account, ACCOUNT), view(fact, FACT)
    if not _note_letters(a, at, end):
        a.unread += 1
        return False
    # Of a cancelled or replaced order ``C`` is its id on spot, and ``c`` that of the request.
    id_, revision = _client_of(a, _CH_ORIGINAL) if a.is_revised != 0 else (ZERO, np.int64(0))
    if id_ == ZERO:
        id_, revision = _client_of(a, _CH_CLIENT)
    kind = text_code(*_letter(a, _CH_EXECUTION))
    if id_ == ZERO:
        a.external += 1
        a.external_fills += np.int64(kind in (_IS_TRADE, _IS_LIQUIDATION))
        return False
    slot = order_find(a.table, id_)
    price_places, qty_places = places_of(a, slot)
    f.id, f.revision, f.kind, f.request = id_, np.uint8(revision), STATE, NO_REQUEST
    set_state(f, slot, text_code(*_letter(a, _CH_STATUS)))
    is_id, number = _integer_of(a, _CH_ORDER_ID)
    f.venue_id = U64(number)
    has_price, f.price = _decimal_of(a, _CH_PRICE, price_places)
    has_qty, f.qty = _decimal_of(a, _CH_QTY, qty_places)
    has_cum, f.cum = _decimal_of(a, _CH_CUM, qty_places)
    has_time, time_ms = _integer_of(a, _CH_TIME)
    f.ts = time_ms * MS
    is_read = is_id and has_price and has_qty and has_cum and has_time and f.state != UNSAID
    if kind == _IS_TRADE:
        is_read = is_read and _execution(a, f, slot, price_places, qty_places)
    if not is_read:
        a.unread += 1
        refuse(f, ASK, reasons.VENUE_BUSY)
    return True
