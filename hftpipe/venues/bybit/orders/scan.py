"""What Bybit says about our orders, as facts: answers to requests, and the topics ``order`` and ``execution`` (4.3, 5).

An answer without an error is a receipt and nothing more: that an order rests, was changed or has ended is told by its topic. A
message of a topic is a list: one fact is read at a time, and where the next one begins is kept (``more`` of an ACCOUNT).
"""

import numpy as np

from hftpipe.core.machine.jit import entry, jit
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
from hftpipe.core.machine.mem import ONE, U64, ZERO, load_i64, load_u8, store_i64, view
from hftpipe.core.schema import reasons
from hftpipe.core.schema.records import FOK, GTC, IOC, MARKET, POST_ONLY, TIF_MASK
from hftpipe.core.trading.order_table import ORDER, order_find
from hftpipe.venues.bybit.ids import trade_id
from hftpipe.venues.orders.client_text import read_client_text
from hftpipe.venues.orders.errors import ASK, PAUSE, look_up
from hftpipe.venues.orders.facts import (
    CANCEL_ASKED,
    CANCELLED,
    CHANGED,
    DONE,
    FACT,
    FACT_BYTES,
    LAPSED,
    LIVE,
    PLACED,
    REFUSED,
    STATE,
    TRADE,
    TURNED_DOWN,
    UNSAID,
)
from hftpipe.venues.orders.requests import read_request_id
from hftpipe.venues.orders.state import ACCOUNT
from hftpipe.venues.orders.windows import pause_until, pause_window

(
    _REQ_ID, _RET_CODE, _HEADER, _TOPIC, _DATA, _ORDER_ID, _LINK_ID, _STATUS, _PRICE, _QTY, _CUM, _REASON, _CANCEL_TYPE,
    _UPDATED, _EXEC_ID, _EXEC_PRICE, _EXEC_QTY, _FEE, _FEE_COIN, _EXEC_TYPE, _EXEC_TIME, _IS_MAKER, _ORDER_PRICE, _ORDER_QTY,
    _RESET,
) = (
    key_code(key)
    for key in (
        "reqId", "retCode", "header", "topic", "data", "orderId", "orderLinkId", "orderStatus", "price", "qty", "cumExecQty",
        "rejectReason", "cancelType", "updatedTime", "execId", "execPrice", "execQty", "execFee", "feeCurrency", "execType",
        "execTime", "isMaker", "orderPrice", "orderQty", "X-Bapi-Limit-Reset-Timestamp",
    )
)  # fmt: skip
_ORDER_TOPICS = np.array([key_code(f"order{tail}") for tail in ("", ".spot", ".linear")], np.uint64)
_EXECUTION_TOPICS = np.array([key_code(f"execution{tail}") for tail in ("", ".spot", ".linear")], np.uint64)
_STATES = {
    "New": LIVE, "PartiallyFilled": LIVE, "Untriggered": LIVE, "Triggered": LIVE, "Filled": DONE, "Cancelled": CANCELLED,
    "PartiallyFilledCanceled": CANCELLED, "Deactivated": CANCELLED, "Rejected": TURNED_DOWN,
}  # fmt: skip
_STATE_CODES = np.array([key_code(text) for text in _STATES], np.uint64)
_STATE_OF = np.array(list(_STATES.values()), np.uint8)
#: Why an order is cancelled that nobody cancelled: (text of ``rejectReason`` or ``cancelType``, state, reason).
ENDS = (
    ("EC_PostOnlyWillTakeLiquidity", TURNED_DOWN, reasons.POST_ONLY_WOULD_TAKE),
    ("EC_NoImmediateQtyToFill", LAPSED, reasons.IOC_REMAINDER),
    ("EC_CancelForNoFullFill", LAPSED, reasons.FOK_UNFILLABLE),
    ("EC_ReachMarketPriceLimit", LAPSED, reasons.IOC_REMAINDER),
    ("EC_BySelfMatch", LAPSED, reasons.SELF_TRADE),
    ("CancelBySmp", LAPSED, reasons.SELF_TRADE),
    ("CancelByReduceOnly", LAPSED, reasons.REDUCE_ONLY_REJECT),
    ("CancelByDCP", LAPSED, reasons.DISCONNECTED),
    ("CancelByUser", CANCELLED, reasons.USER_REQUEST),
)
_END_CODES = np.array([key_code(text) for text, *_ in ENDS], np.uint64)
_END_OF = np.array([[state, reason] for _, state, reason in ENDS], np.uint8)
#: Why an order of each time in force ends that nothing is said of.
_LAPSES = np.zeros(8, np.uint8)
for _tif, _why in (
    (GTC, reasons.VENUE_ENDED), (IOC, reasons.IOC_REMAINDER), (FOK, reasons.FOK_UNFILLABLE),
    (POST_ONLY, reasons.VENUE_ENDED), (MARKET, reasons.IOC_REMAINDER),
):  # fmt: skip
    _LAPSES[_tif] = _why
_TRADED = key_code("Trade")
_REQUESTS = np.array([PLACED, CHANGED, CANCEL_ASKED], np.uint8)
_MS = np.int64(1_000_000)
_LIST, _COMMA, _TRUE = np.uint8(ord("[")), np.uint8(ord(",")), np.uint8(ord("t"))
SCAN_BYTES = 64


@jit
def _places(a, slot):
    power = np.int64(load_u8(a.powers + U64(view(slot, ORDER).instrument))) if slot != ZERO else np.int64(0)
    return np.int64(8) + power, np.int64(8) - power


@jit
def _is_topic(code, topics):
    return code in (topics[0], topics[1], topics[2])


# --- answers -----------------------------------------------------------------------------------------------------------------


@jit
def _answer(a, id_at, id_after, code, header, end, fact):
    """A receipt, or a refusal; whether it is about an order."""
    f = view(fact, FACT)
    text, length = inside_string(id_at, id_after)
    id_, what, f.number = read_request_id(text, length)
    if what < 0:
        return False
    f.id, f.request, f.cum, f.kind, f.state = id_, _REQUESTS[what], -1, STATE, UNSAID
    slot = order_find(a.table, id_)
    if slot != ZERO:
        f.revision = np.uint8(view(slot, ORDER).user & 255)
    if code == 0:
        return True
    f.code = code
    action, reason = look_up(a.errors, a.n_errors, code)
    if action == PAUSE:
        pause_window(a)
        if header != ZERO:
            _pause(a, header, end)
    f.kind, f.action, f.reason = REFUSED, np.uint8(action), np.uint8(reason)
    return True


@jit
def _pause(a, header, end):
    """The venue says in the header when it takes requests again."""
    at = open_object(header, end)
    while at != ZERO:
        code, value, after, at = next_member(at, end)
        if at != ZERO and code == _RESET:
            is_read, until_ms = read_integer(value, after)
            if is_read:
                pause_until(a, until_ms)


# --- topics ------------------------------------------------------------------------------------------------------------------


@jit
def _client(a, value, after):
    text, length = inside_string(value, after)
    return read_client_text(a.prefix, a.prefix_bytes, text, length) if length > 0 else (ZERO, np.int64(0))


@jit
def _number(value, after, end):
    """64 bits of an order's or execution's id: (whether it is one, them)."""
    text, length = inside_string(value, after)
    if length <= 0:
        return False, ZERO
    done, number = trade_id(text, end)
    return done != ZERO, number


@jit
def _find_client(a, at, end):
    """The order that an item is about: (client id, revision); (0, 0): none of ours."""
    id_, revision = ZERO, np.int64(0)
    at = open_object(at, end)
    while at != ZERO:
        code, value, after, at = next_member(at, end)
        if at != ZERO and code == _LINK_ID:
            id_, revision = _client(a, value, after)
    return id_, revision


@jit
def _end(f, slot, code):
    """What ``rejectReason`` or ``cancelType`` says of an end; the first of them that says something counts."""
    for index in range(len(_END_CODES)):
        if _END_CODES[index] == code:
            if f.reason == reasons.NONE or f.reason == reasons.USER_REQUEST:
                f.state, f.reason = _END_OF[index, 0], _END_OF[index, 1]
            return


@jit
def _read_order(a, at, end, f, slot):
    """An item of ``order``; False if something of it cannot be read."""
    price_places, qty_places = _places(a, slot)
    is_read, f.cum = True, -1
    state, why, cancel = np.int64(UNSAID), ZERO, ZERO
    at = open_object(at, end)
    while at != ZERO:
        code, value, after, at = next_member(at, end)
        is_fine = True
        if code == _ORDER_ID:
            is_fine, f.venue_id = _number(value, after, end)
        elif code == _STATUS:
            status = text_code(value, after)
            for index in range(len(_STATE_CODES)):
                if _STATE_CODES[index] == status:
                    state = np.int64(_STATE_OF[index])
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
            f.ts = number * _MS
        is_read = is_read and is_fine
    f.state = np.uint8(state)
    if state == CANCELLED:
        _end(f, slot, why)
        _end(f, slot, cancel)
        if f.reason == reasons.NONE and slot != ZERO:
            f.reason = _LAPSES[np.int64(view(slot, ORDER).flags & TIF_MASK)]
            f.state = LAPSED
    return is_read and state != UNSAID and f.cum >= 0 and f.qty > 0


@jit
def _set_fee(a, f, slot, coin):
    if coin == ZERO or U64(load_i64(a.quotes + (U64(view(slot, ORDER).instrument) << U64(3)))) == coin:
        return
    for index in range(a.n_assets):
        if U64(load_i64(a.assets + U64(8 * index))) == coin:
            f.fee_asset = np.uint8(index + 1)
            return
    a.unknown_fees += 1
    f.fee = 0


@jit
def _read_execution(a, at, end, f, slot):
    """An item of ``execution``: (whether it is an execution of an order, whether it could be read)."""
    price_places, qty_places = _places(a, slot)
    kind, coin, is_read = ZERO, ZERO, True
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
            # More decimals than fees are kept in, or none: the fee is not known, the execution is.
            _is_known, f.fee = read_decimal(value, after, np.int64(8))
        elif code == _FEE_COIN:
            coin = text_code(value, after)
        elif code == _EXEC_TYPE:
            kind = text_code(value, after)
        elif code == _EXEC_TIME:
            is_fine, number = read_integer(value, after)
            f.ts = number * _MS
        elif code == _IS_MAKER:
            f.is_maker = np.uint8(load_u8(value) == _TRUE)
        is_read = is_read and is_fine
    f.cum = -1
    if slot != ZERO and coin != ZERO:
        _set_fee(a, f, slot, coin)
    return kind == _TRADED, is_read and f.last_qty > 0 and f.last_price > 0 and f.trade_id != ZERO


@jit
def _item(a, at, end, fact, is_execution):
    """One item of a topic; whether it is a fact about an order of ours."""
    f = view(fact, FACT)
    id_, revision = _find_client(a, at, end)
    if id_ == ZERO:
        a.external += 1
        a.external_fills += np.int64(is_execution)
        return False
    slot = order_find(a.table, id_)
    f.id, f.revision = id_, np.uint8(revision)
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
        a.unread += 1
        f.kind, f.action, f.reason = REFUSED, ASK, reasons.VENUE_BUSY
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
def _clear(fact):
    for word in range(FACT_BYTES // 8):
        store_i64(fact + U64(8 * word), np.int64(0))


@jit
def _items(a, at, end, fact, is_execution):
    """Items from ``at`` on, up to the first that is a fact: whether there is one."""
    while True:
        _clear(fact)
        item, after = _next_item(a, at, end)
        if item == ZERO:
            a.more = ZERO
            return False
        if _item(a, item, after, fact, is_execution):
            return True
        if a.more == ZERO:
            return False
        at = a.more


@jit
def scan(account, text, end, fact):
    """Read a message in ``[text, end)``, or what is left of one: 1 if it has a fact about one of our orders, else 0."""
    a = view(account, ACCOUNT)
    if a.more != ZERO:
        return np.int64(_items(a, a.more, end, fact, a.more_kind != 0))
    _clear(fact)
    id_at = id_after = header = data = topic = ZERO
    code = np.int64(0)
    at = open_object(text, end)
    while at != ZERO:
        key, value, after, at = next_member(at, end)
        if at == ZERO:
            break
        if key == _REQ_ID:
            id_at, id_after = value, after
        elif key == _RET_CODE:
            is_read, code = read_integer(value, after)
            code = code if is_read else np.int64(10000)
        elif key == _HEADER:
            header = value
        elif key == _TOPIC:
            topic = text_code(value, after)
        elif key == _DATA:
            data = value
    if topic == ZERO:
        return np.int64(id_at != ZERO and _answer(a, id_at, id_after, code, header, end, fact))
    is_execution = _is_topic(topic, _EXECUTION_TOPICS)
    if data == ZERO or load_u8(data) != _LIST or not (is_execution or _is_topic(topic, _ORDER_TOPICS)):
        return np.int64(0)
    a.more_kind = np.int64(is_execution)
    return np.int64(_items(a, data + ONE, end, fact, is_execution))


@entry("int64(uint64, uint64, uint64, uint64)")
def scan_entry(account, text, end, fact):
    """:func:`scan` with a C address."""
    return scan(account, text, end, fact)
