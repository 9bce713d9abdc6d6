"""Answers of Binance to our requests, as facts (spot 1.7 and 1.9, USD-M 2.4 and 2.5): what REST answers with stands in the WebSocket
interface's as ``result``, or as ``error``."""

import numpy as np

from hftpipe.core.machine.jit import jit
from hftpipe.core.machine.json_text import (
    find_member,
    inside_string,
    key_code,
    next_member,
    open_object,
    read_decimal,
    read_integer,
    text_code,
)
from hftpipe.core.machine.mem import U64, ZERO, view
from hftpipe.core.schema import reasons
from hftpipe.core.schema.cells import LOGIN_REFUSED
from hftpipe.venues.binance.orders.errors import MESSAGES, WRONG_TIME
from hftpipe.venues.binance.orders.words import set_state
from hftpipe.venues.orders.errors import ASK, PAUSE, look_up
from hftpipe.venues.orders.facts import CANCEL_ASKED, CANCELLED, CHANGED, FACT, STATE, UNSAID
from hftpipe.venues.orders.reading import (
    MS,
    begin_outcome,
    client_of,
    give_up,
    instrument_at,
    is_symbol_of,
    places_of,
    refuse,
)
from hftpipe.venues.orders.requests import read_request_id
from hftpipe.venues.orders.windows import pause_until, pause_window

_CODE, _MSG, _DATA, _STATUS, _RETRY_AFTER = (key_code(key) for key in ("code", "msg", "data", "status", "retryAfter"))
_ORDER_ID, _CLIENT_ID, _SYMBOL, _EXECUTED, _PRICE, _QTY, _UPDATED, _TRANSACTED = (
    key_code(key)
    for key in ("orderId", "clientOrderId", "symbol", "executedQty", "price", "origQty", "updateTime", "transactTime")
)
_NEW_RESPONSE, _CANCEL_RESPONSE, _CANCEL_RESULT, _NEW_RESULT = (
    key_code(key) for key in ("newOrderResponse", "cancelResponse", "cancelResult", "newOrderResult")
)
_SUCCESS = key_code("SUCCESS")
_MESSAGE_CODES = np.array([key_code(text) for text, *_ in MESSAGES], np.uint64)
_MESSAGE_ACTIONS = np.array([[action, reason] for _, action, reason in MESSAGES], np.int64)
#: HTTP statuses.
_FINE, _SERVER_ERROR, _UNAVAILABLE, _LIMITED, _BANNED, _UNAUTHORISED, _FORBIDDEN, _TIMED_OUT = (
    200,
    500,
    503,
    429,
    418,
    401,
    403,
    408,
)


@jit
def _read_order(a, at, end, f, slot):
    """An order as an answer describes it; False if something of it cannot be read."""
    price_places, qty_places = places_of(a, slot)
    is_read, f.cum = True, -1
    at = open_object(at, end)
    while at != ZERO:
        code, value, after, at = next_member(at, end)
        is_fine = True
        if code == _ORDER_ID:
            is_fine, number = read_integer(value, after)
            f.venue_id = U64(number)
        elif code == _STATUS:
            set_state(f, slot, text_code(value, after))
        elif code == _EXECUTED:
            is_fine, f.cum = read_decimal(value, after, qty_places)
        elif code == _PRICE:
            is_fine, f.price = read_decimal(value, after, price_places)
        elif code == _QTY:
            is_fine, f.qty = read_decimal(value, after, qty_places)
        elif code in (_UPDATED, _TRANSACTED):
            is_fine, number = read_integer(value, after)
            f.ts = number * MS
        elif code == _SYMBOL:
            is_fine = is_symbol_of(a, slot, value, after)
            f.instrument = instrument_at(a, value, after) if slot == ZERO else np.int32(0)
        elif code == _CLIENT_ID and f.request != CANCEL_ASKED:
            # (That of a cancel is its own.)
            id_, revision = client_of(a, value, after)
            is_fine = id_ == f.id
            f.revision = np.uint8(revision)
        is_read = is_read and is_fine
    return is_read and f.state != UNSAID


@jit
def _judge(a, status, code, message):
    """(action, reason) of a refusal."""
    if status == _TIMED_OUT:
        return np.int64(ASK), np.int64(reasons.VENUE_BUSY)
    # Of a 503 on USD-M the message says that nothing was done; on spot no status of the server's own says that.
    if code == -2010 or (status == _UNAVAILABLE and a.is_revised == 0):
        for index in range(len(_MESSAGE_CODES)):
            if _MESSAGE_CODES[index] == message:
                return _MESSAGE_ACTIONS[index, 0], _MESSAGE_ACTIONS[index, 1]
    if status >= _SERVER_ERROR:
        return np.int64(ASK), np.int64(reasons.VENUE_BUSY)
    if status in (_LIMITED, _BANNED, _FORBIDDEN):
        return np.int64(PAUSE), np.int64(reasons.VENUE_BUSY)
    return look_up(a.errors, a.n_errors, code)


@jit
def _refused_part(a, at, end, f, slot):
    """Of a replacement that went half through: (whether the old order is gone, code of the part that failed)."""
    data, _after = find_member(at, end, _DATA)
    if data == ZERO:
        return False, np.int64(0)
    result, after = find_member(data, end, _CANCEL_RESULT)
    is_gone = text_code(result, after) == _SUCCESS
    part, after = find_member(data, end, _NEW_RESPONSE if is_gone else _CANCEL_RESPONSE)
    value, after = find_member(part, end, _CODE) if part != ZERO else (ZERO, ZERO)
    _is_read, code = read_integer(value, after) if value != ZERO else (False, np.int64(0))
    if is_gone:
        cancel, _after = find_member(data, end, _CANCEL_RESPONSE)
        if cancel != ZERO:
            value, after = find_member(cancel, end, _EXECUTED)
            _is_read, f.cum = (
                read_decimal(value, after, places_of(a, slot)[1]) if value != ZERO else (False, np.int64(-1))
            )
    return is_gone, code


@jit
def _read_error(a, status, at, end, f, slot):
    code, message = np.int64(0), ZERO
    inner = open_object(at, end)
    while inner != ZERO:
        key, value, after, inner = next_member(inner, end)
        if key == _CODE:
            _is_read, code = read_integer(value, after)
        elif key == _MSG:
            message = text_code(value, after)
        elif key == _DATA:
            retry, after = find_member(value, end, _RETRY_AFTER)
            is_read, until_ms = read_integer(retry, after) if retry != ZERO else (False, np.int64(0))
            if is_read:
                pause_until(a, until_ms)
    f.code = code
    a.wrong_times += np.int64(code in WRONG_TIME)
    if a.is_revised != 0 and f.request == CHANGED and (code == -2021 or code == -2022):
        is_gone, part = _refused_part(a, at, end, f, slot)
        if is_gone and look_up(a.errors, a.n_errors, part)[0] != ASK:
            # The old order is cancelled, and no new one was made.
            f.kind, f.state, f.reason = STATE, CANCELLED, reasons.DEAD_WHEN_REPLACED
            return
        code = part
        if code == 0 or is_gone:
            # The old one is gone, and of the new one nothing is known; or nothing is said at all.
            refuse(f, ASK, reasons.VENUE_UNKNOWN_ORDER)
            return
        action, reason = look_up(a.errors, a.n_errors, code)
        refuse(f, action if action != ASK else np.int64(0), reason)
        return
    action, reason = _judge(a, status, code, message)
    if action == PAUSE:
        pause_window(a)
    refuse(f, action, reason)


@jit
def read_answer(a, id_at, id_after, status, result, error, end, fact):
    """An answer of the interface; whether it is a fact about an order."""
    text, length = inside_string(id_at, id_after)
    if length < 0:
        # Told of its own accord: the key is of no use any more.
        if status == _UNAUTHORISED and a.fault == 0:
            a.fault = LOGIN_REFUSED
        return False
    id_, what, number = read_request_id(text, length)
    if what < 0:
        return False
    read_outcome(a, id_, what, number, status, result, error, end, fact)
    return True


@jit
def read_outcome(a, id_, what, number, status, result, error, end, fact):
    """What became of a request, as a fact: it was of an order (its client id), of a kind (PLACE and so on), and had a number.

    ``result``, ``error``: addresses of these objects, 0: there is none.
    """
    f, slot = view(fact, FACT), begin_outcome(a, id_, what, number, fact)
    if status == _FINE and result != ZERO:
        if a.is_revised != 0 and f.request == CHANGED:
            result, _after = find_member(result, end, _NEW_RESPONSE)
        if result != ZERO and _read_order(a, result, end, f, slot):
            if f.request == CANCEL_ASKED and f.state == CANCELLED:
                f.reason = reasons.USER_REQUEST
            return
        # It was done, and we cannot read what.
        give_up(a, f)
    elif error != ZERO:
        _read_error(a, status, error, end, f, slot)
    elif status in (_LIMITED, _BANNED, _FORBIDDEN):
        # Refused before anything of it was looked at.
        refuse(f, np.int64(PAUSE), np.int64(reasons.VENUE_BUSY))
    else:
        give_up(a, f)
