"""Events of our orders, as facts: executionReport of spot (1.10), what stands in ORDER_TRADE_UPDATE of USD-M (2.6)."""

import numpy as np

from hftpipe.core.machine.jit import jit
from hftpipe.core.machine.json_text import key_code, next_member, open_object, read_decimal, read_integer, text_code
from hftpipe.core.machine.mem import U64, ZERO, load_u8, view
from hftpipe.core.schema.records import UNKNOWN_FEE_ASSET
from hftpipe.core.trading.order_table import order_find
from hftpipe.venues.binance.orders.words import set_state
from hftpipe.venues.orders.facts import FACT, NO_REQUEST, STATE, TRADE, UNSAID
from hftpipe.venues.orders.fees import set_fee
from hftpipe.venues.orders.reading import (
    MS,
    client_of,
    count_external,
    give_up,
    is_of_another,
    note_takeover,
    places_of,
)
from hftpipe.venues.orders.state import ACCOUNT

_IS_TRADE, _IS_LIQUIDATION = key_code("TRADE"), key_code("CALCULATED")
(
    _CH_SYMBOL,
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
) = (np.uint8(ord(letter)) for letter in "scCxXipqzTtLlmnNt")
#: Where the values of one-letter keys are noted: (address, address after it) by the letter's low six bits.
_LETTERS = 64
SPOTS_BYTES = 16 * _LETTERS
_SPOT_SHIFT, _LOW = np.uint64(4), np.uint64(63)
#: Of the code of a key: its length is 1, and its byte from 64 to 127.
_LETTER_BITS, _IS_LETTER = np.uint64(0xFF000000000000C0), np.uint64(1 << 56 | 64)
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
        # Only letters: a digit would have the low bits of one.
        if at != ZERO and code & _LETTER_BITS == _IS_LETTER:
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
def _set_fee(a, f, slot):
    """Fee and its asset; an execution that costs nothing names neither."""
    at, after = _letter(a, _CH_N)
    asset_at, asset_after = _letter(a, _CH_N_ASSET)
    coin = text_code(asset_at, asset_after)
    if at == ZERO and coin == ZERO:
        return
    set_fee(a, f, slot, coin, at, after)
    if coin == ZERO and f.fee != 0:
        f.fee_asset = np.uint8(UNKNOWN_FEE_ASSET)


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
def _read_order(a, f, slot, kind):
    """What an event says of its order; False if something of it cannot be read."""
    price_places, qty_places = places_of(a, slot)
    set_state(f, slot, text_code(*_letter(a, _CH_STATUS)))
    is_id, number = _integer_of(a, _CH_ORDER_ID)
    f.venue_id = U64(number)
    has_price, f.price = _decimal_of(a, _CH_PRICE, price_places)
    has_qty, f.qty = _decimal_of(a, _CH_QTY, qty_places)
    has_cum, f.cum = _decimal_of(a, _CH_CUM, qty_places)
    has_time, time_ms = _integer_of(a, _CH_TIME)
    f.ts = time_ms * MS
    is_read = is_id and has_price and has_qty and has_cum and has_time and f.state != UNSAID
    return is_read and (kind != _IS_TRADE or _execution(a, f, slot, price_places, qty_places))


@jit
def read_event(account, at, end, fact):
    """An event of one order; whether it is one of ours."""
    a, f = view(account, ACCOUNT), view(fact, FACT)
    if not _note_letters(a, at, end):
        a.unread += 1
        return False
    # Of a cancelled or replaced order ``C`` is its id on spot, and ``c`` that of the request.
    id_, revision = client_of(a, *_letter(a, _CH_ORIGINAL)) if a.is_revised != 0 else (ZERO, np.int64(0))
    if id_ == ZERO:
        id_, revision = client_of(a, *_letter(a, _CH_CLIENT))
    kind, symbol = text_code(*_letter(a, _CH_EXECUTION)), _letter(a, _CH_SYMBOL)
    if kind == _IS_LIQUIDATION:
        note_takeover(a, symbol[0], symbol[1])
    if id_ == ZERO:
        count_external(a, kind in (_IS_TRADE, _IS_LIQUIDATION), symbol[0], symbol[1])
        return False
    slot = order_find(a.table, id_)
    f.id, f.revision, f.kind, f.request, f.cum = id_, np.uint8(revision), STATE, NO_REQUEST, -1
    if not is_of_another(a, f, slot, symbol[0], symbol[1]) and not _read_order(a, f, slot, kind):
        give_up(a, f)
    return True
