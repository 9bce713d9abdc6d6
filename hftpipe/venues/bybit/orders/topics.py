"""Bybit's topics ``order`` and ``execution``, as facts (5).

A message of a topic is a list: one fact is read at a time, and where the next one begins is kept (``more`` of an ACCOUNT).
"""

import numpy as np

from hftpipe.core.machine.jit import jit
from hftpipe.core.machine.json_text import (
    after_value,
    inside_string,
    key_code,
    next_member,
    open_object,
    read_decimal,
    read_integer,
    skip_blanks,
    text_code,
)
from hftpipe.core.machine.mem import ONE, ZERO, load_u8, view
from hftpipe.core.trading.order_table import order_find
from hftpipe.venues.bybit.ids import trade_id
from hftpipe.venues.bybit.orders.words import set_end, state_of
from hftpipe.venues.orders.facts import CANCELLED, FACT, LIVE, STATE, TRADE, TURNED_DOWN, UNSAID, fact_clear
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

(
    _ORDER_ID, _LINK_ID, _SYMBOL, _STATUS, _PRICE, _QTY, _CUM, _REASON, _CANCEL_TYPE, _UPDATED, _EXEC_ID, _EXEC_PRICE, _EXEC_QTY,
    _FEE, _FEE_COIN, _EXEC_TYPE, _EXEC_TIME, _IS_MAKER, _ORDER_PRICE, _ORDER_QTY,
) = (
    key_code(key)
    for key in (
        "orderId", "orderLinkId", "symbol", "orderStatus", "price", "qty", "cumExecQty", "rejectReason", "cancelType", "updatedTime",
        "execId", "execPrice", "execQty", "execFee", "feeCurrency", "execType", "execTime", "isMaker", "orderPrice", "orderQty",
    )
)  # fmt: skip
_TRADED = key_code("Trade")
#: Rows of ``execution`` that are money alone, though they name a quantity.
_FUNDING, _CORPORATE = key_code("Funding"), key_code("CorporateAction")
#: Executions by the venue itself: a liquidation, an automatic deleveraging.
_BUST, _ADL = key_code("BustTrade"), key_code("AdlTrade")
_COMMA, _TRUE = np.uint8(ord(",")), np.uint8(ord("t"))


@jit
def _number(value, after, end):
    """64 bits of an order's or execution's id: (whether it is one, them)."""
    text, length = inside_string(value, after)
    if length <= 0:
        return False, ZERO
    done, number = trade_id(text, end)
    return done != ZERO, number


@jit
def _whose(a, at, end):
    """What an item is about: (client id, revision, where its symbol is, and ends, its kind); the id is 0 for none of ours."""
    id_, revision, symbol, symbol_after, kind = ZERO, np.int64(0), ZERO, ZERO, ZERO
    at = open_object(at, end)
    while at != ZERO:
        code, value, after, at = next_member(at, end)
        if at != ZERO and code == _LINK_ID:
            id_, revision = client_of(a, value, after)
        elif at != ZERO and code == _SYMBOL:
            symbol, symbol_after = value, after
        elif at != ZERO and code == _EXEC_TYPE:
            kind = text_code(value, after)
    return id_, revision, symbol, symbol_after, kind


@jit
def _read_order(a, at, end, f, slot):
    """An item of ``order``; False if something of it cannot be read."""
    price_places, qty_places = places_of(a, slot)
    is_read, f.cum = True, -1
    why, cancel = ZERO, ZERO
    at = open_object(at, end)
    while at != ZERO:
        code, value, after, at = next_member(at, end)
        is_fine = True
        if code == _ORDER_ID:
            is_fine, f.venue_id = _number(value, after, end)
        elif code == _STATUS:
            f.state = np.uint8(state_of(text_code(value, after)))
        elif code == _PRICE:
            is_fine, f.price = read_decimal(value, after, price_places)
        elif code == _QTY:
            is_fine, f.qty = read_decimal(value, after, qty_places)
        elif code == _CUM:
            is_fine, f.cum = read_decimal(value, after, qty_places)
        elif code == _REASON:
            why = text_code(value, after)
        elif code == _CANCEL_TYPE:
            cancel = text_code(value, after)
        elif code == _UPDATED:
            is_fine, number = read_integer(value, after)
            f.ts = number * MS
        is_read = is_read and is_fine
    if f.state == CANCELLED or f.state == TURNED_DOWN:
        set_end(f, slot, why, cancel)
    return is_read and f.state != UNSAID and f.cum >= 0 and f.qty > 0


@jit
def _read_execution(a, at, end, f, slot):
    """An item of ``execution``: (whether it is an execution of an order, whether it could be read)."""
    price_places, qty_places = places_of(a, slot)
    kind, coin, is_read = ZERO, ZERO, True
    fee, fee_after = ZERO, ZERO
    at = open_object(at, end)
    while at != ZERO:
        code, value, after, at = next_member(at, end)
        is_fine = True
        if code == _ORDER_ID:
            is_fine, f.venue_id = _number(value, after, end)
        elif code == _EXEC_ID:
            is_fine, f.trade_id = _number(value, after, end)
        elif code == _EXEC_PRICE:
            is_fine, f.last_price = read_decimal(value, after, price_places)
        elif code == _EXEC_QTY:
            is_fine, f.last_qty = read_decimal(value, after, qty_places)
        elif code == _ORDER_PRICE:
            is_fine, f.price = read_decimal(value, after, price_places)
        elif code == _ORDER_QTY:
            is_fine, f.qty = read_decimal(value, after, qty_places)
        elif code == _FEE:
            fee, fee_after = value, after
        elif code == _FEE_COIN:
            coin = text_code(value, after)
        elif code == _EXEC_TYPE:
            kind = text_code(value, after)
        elif code == _EXEC_TIME:
            is_fine, number = read_integer(value, after)
            f.ts = number * MS
        elif code == _IS_MAKER:
            f.is_maker = np.uint8(load_u8(value) == _TRUE)
        is_read = is_read and is_fine
    f.cum = -1
    if kind == _TRADED:
        set_fee(a, f, slot, coin, fee, fee_after)
    return kind == _TRADED, is_read and f.last_qty > 0 and f.last_price > 0 and f.trade_id != ZERO


@jit
def _item(a, at, end, fact, is_execution):
    """One item of a topic; whether it is a fact about an order of ours."""
    f = view(fact, FACT)
    id_, revision, symbol, symbol_after, kind = _whose(a, at, end)
    if is_execution and kind in (_BUST, _ADL):
        note_takeover(a, symbol, symbol_after)
    if id_ == ZERO:
        count_external(a, is_execution and kind != _FUNDING and kind != _CORPORATE, symbol, symbol_after)
        return False
    slot = order_find(a.table, id_)
    f.id, f.revision = id_, np.uint8(revision)
    if is_of_another(a, f, slot, symbol, symbol_after):
        return True
    if is_execution:
        f.kind, f.state = TRADE, LIVE
        is_trade, is_read = _read_execution(a, at, end, f, slot)
        if not is_trade:
            # Funding and the like: money, but no execution of an order.
            return False
    else:
        f.kind = STATE
        is_read = _read_order(a, at, end, f, slot)
    if not is_read:
        give_up(a, f)
    return True


@jit
def _next_item(a, at, end):
    """The item of a list at ``at``: (its address, the address after it), (0, 0) at the end; notes where the next one is."""
    at = skip_blanks(at, end)
    if at < end and load_u8(at) == _COMMA:
        at = skip_blanks(at + ONE, end)
    after = after_value(at, end)
    if at >= end or after == ZERO:
        return ZERO, ZERO
    following = skip_blanks(after, end)
    has_more = following < end and load_u8(following) == _COMMA
    a.more, a.more_end = after if has_more else ZERO, end
    return at, after


@jit
def read_items(a, at, end, fact, is_execution):
    """Items from ``at`` on, up to the first that is a fact: whether there is one."""
    while True:
        fact_clear(fact)
        item, after = _next_item(a, at, end)
        if item == ZERO:
            a.more = ZERO
            return False
        if _item(a, item, after, fact, is_execution):
            return True
        if a.more == ZERO:
            return False
        at = a.more
