"""What a request does at the simulated exchange, and what is reported about it.

============================== ==================================================================================
request                        reports (each to its owner) and market data
============================== ==================================================================================
number already seen            nothing: it was sent again
enter, refused                 J with VENUE_REASONS plus the reason
enter                          A, then E for every execution (R: it took, A: it was resting), C for what may not rest
replace of an unknown order    J of the new number
replace                        U, then E and C as above; it always goes to the back of the queue
cancel, 0                      C (U)
cancel, a total                C for what is beyond that total; the order keeps its place
cancel of an unknown order     I
order meets one of its owner   by ``stp``: the resting one is cancelled (C, Q), or the rest of the incoming one
account query                  Q with the next number
============================== ==================================================================================
"""

import numpy as np

from hftpipe.core.machine.jit import jit
from hftpipe.core.machine.mem import ONE, U64, ZERO, view
from hftpipe.core.schema import reasons
from hftpipe.core.schema.layout import offset_of
from hftpipe.core.schema.records import FOK, GTC, IOC, MARKET, POST_ONLY
from hftpipe.simulation.exchange_server.accounts import ACCOUNT, DESK, account_at, log_commit, log_reserve
from hftpipe.simulation.exchange_server.captured_taken import note_execution
from hftpipe.simulation.exchange_server.ledger import tally
from hftpipe.simulation.exchange_server.publisher import encoder_of, publish_events, wire_number
from hftpipe.simulation.flow.flow import flow_book
from hftpipe.simulation.matching.engine import (
    match_cancel,
    match_event,
    match_event_count,
    match_events_clear,
    match_new,
    match_reduce,
    match_replace,
)
from hftpipe.simulation.matching.memory import CANCEL as EVENT_CANCEL
from hftpipe.simulation.matching.memory import DELETE, EVENT, EXECUTE, EXPIRE, MATCHING, ORDER
from hftpipe.simulation.matching.query import match_order
from hftpipe.venues.nasdaq.itch.encode import ENCODER
from hftpipe.venues.nasdaq.ouch import messages as ouch
from hftpipe.venues.nasdaq.ouch.decode import REFUSED, WIRE, decode_request
from hftpipe.venues.nasdaq.ouch.encode import (
    encode_accepted,
    encode_canceled,
    encode_executed,
    encode_plain,
    encode_rejected,
    encode_replaced,
)
from hftpipe.venues.nasdaq.ouch.messages import CANCEL_BYTE, PRICE_UNIT, VENUE_REASONS

EXCHANGE = np.dtype(
    [
        ("desk", "u8"), ("publisher", "u8"), ("flows", "u8"), ("flow_stride", "u8"), ("n_instruments", "i8"),
        # Time: market time now (ns since midnight) and our monotonic time now.
        ("time_ns", "i8"), ("now_ns", "i8"), ("start_ns", "i8"), ("open_ns", "i8"), ("speed", "f8"),
        ("stp", "i8"), ("streams", "u8"), ("n_streams", "i8"), ("listener", "i8"), ("flow_events", "i8"),
        ("entered", "i8"), ("rejected", "i8"), ("executed", "i8"), ("unknown_orders", "i8"), ("flow_behind", "i8"),
        # A captured market in place of the flows: its CAPTURED, the C function ``int64 f(uint64 exchange, int64 now_ns)``
        # that plays it, and what that needs from Python.
        ("captured", "u8"), ("play", "u8"), ("need", "i8"),
        # A TALLY of every account in every instrument.
        ("tallies", "u8"),
        ("wire", WIRE),
    ],
    align=True,
)  # fmt: skip
_WIRE_AT = np.uint64(offset_of(EXCHANGE, "wire"))
_OWNER_SHIFT = np.uint64(32)
_REF_MASK = np.uint64(0xFFFFFFFF)
_NO_TIF = np.int64(-1)


@jit
def book_of(exchange, instrument):
    """Address of an instrument's matching book."""
    x = view(exchange, EXCHANGE)
    return flow_book(x.flows + x.flow_stride * U64(instrument))


@jit
def _lot(exchange, instrument):
    return view(encoder_of(view(exchange, EXCHANGE).publisher, instrument), ENCODER).lot


@jit
def _order_id(account, ref):
    return (U64(view(account, ACCOUNT).owner) << _OWNER_SHIFT) | ref


@jit
def _owner_account(exchange, owner):
    """Address of the account of a book's owner, 0 for the flow."""
    return account_at(view(exchange, EXCHANGE).desk, np.int64(owner) - 1) if owner > 0 else ZERO


# Reports.


@jit
def _reject(exchange, account, ref, reason, id_at):
    x = view(exchange, EXCHANGE)
    x.rejected += 1
    log_commit(account, encode_rejected(x.time_ns, ref, VENUE_REASONS + reason, id_at, log_reserve(account)))


@jit
def _report_executed(exchange, owner, side, id_, e, instrument, letter):
    x = view(exchange, EXCHANGE)
    account = _owner_account(exchange, owner)
    if account == ZERO:
        return
    x.executed += 1
    tally(x.tallies, x.n_instruments, np.int64(owner), instrument, side, e.qty)
    shares, price = U64(e.qty // _lot(exchange, instrument)), U64(e.price // PRICE_UNIT)
    match = wire_number(instrument, e.match_id)
    log_commit(account, encode_executed(x.time_ns, id_ & _REF_MASK, shares, price, letter, match, log_reserve(account)))


@jit
def _report_canceled(exchange, e, instrument):
    x = view(exchange, EXCHANGE)
    account = _owner_account(exchange, e.owner)
    if account == ZERO:
        return
    shares = U64(e.qty // _lot(exchange, instrument))
    log_commit(
        account,
        encode_canceled(x.time_ns, e.order_id & _REF_MASK, shares, CANCEL_BYTE[e.reason], log_reserve(account)),
    )


@jit
def settle(exchange, instrument, replaced_id):
    """Report and publish the events of a book, and clear them. The removal of ``replaced_id`` (0: none) is not reported."""
    x = view(exchange, EXCHANGE)
    book = book_of(exchange, instrument)
    for index in range(match_event_count(book)):
        e = view(match_event(book, np.int64(index)), EVENT)
        if e.kind == EXECUTE:
            if x.captured != ZERO:
                note_execution(x.captured, instrument, match_event(book, np.int64(index)))
            side = np.int64(e.side)
            _report_executed(exchange, e.owner, side, e.order_id, e, instrument, np.int64(ouch.LIQUIDITY_REMOVED))
            _report_executed(
                exchange, e.maker_owner, 1 - side, e.maker_id, e, instrument, np.int64(ouch.LIQUIDITY_ADDED)
            )
        elif (e.kind == EXPIRE or e.kind == EVENT_CANCEL or e.kind == DELETE) and e.order_id != replaced_id:
            _report_canceled(exchange, e, instrument)
    publish_events(x.publisher, book, instrument, x.time_ns, x.now_ns)
    match_events_clear(book)


# Requests.


@jit
def _instrument_of_stock(exchange, stock):
    x = view(exchange, EXCHANGE)
    for instrument in range(x.n_instruments):
        if view(encoder_of(x.publisher, np.int64(instrument)), ENCODER).stock == stock:
            return np.int64(instrument)
    return np.int64(-1)


@jit
def _instrument_of_order(exchange, id_):
    """Where an order rests, -1 if nowhere."""
    for instrument in range(view(exchange, EXCHANGE).n_instruments):
        if match_order(book_of(exchange, np.int64(instrument)), id_) != ZERO:
            return np.int64(instrument)
    return np.int64(-1)


@jit
def _tif(w):
    """Time in force of a request as in the records, _NO_TIF for a combination that this venue does not know."""
    if w.tif == ouch.TIF_DAY:
        if w.min_shares != ZERO:
            return _NO_TIF
        return np.int64(POST_ONLY if w.post_only else GTC)
    if w.tif != ouch.TIF_IOC or w.post_only:
        return _NO_TIF
    if w.price == U64(ouch.MARKET_PRICE):
        return np.int64(MARKET)
    if w.min_shares == ZERO:
        return np.int64(IOC)
    return np.int64(FOK) if w.min_shares == w.shares else _NO_TIF


@jit
def _enter(exchange, account, w):
    x = view(exchange, EXCHANGE)
    x.entered += 1
    instrument, tif = _instrument_of_stock(exchange, w.stock), _tif(w)
    if instrument < 0 or tif == _NO_TIF or w.side < 0 or w.price > U64(ouch.PRICE_MAX):
        reason = reasons.UNKNOWN_INSTRUMENT if instrument < 0 else reasons.INVALID_VALUE
        _reject(exchange, account, w.ref, np.int64(reason), w.id_at)
        return
    book, id_ = book_of(exchange, instrument), _order_id(account, w.ref)
    price, qty = np.int64(w.price) * PRICE_UNIT, np.int64(w.shares) * _lot(exchange, instrument)
    owner = view(account, ACCOUNT).owner
    reason = match_new(book, id_, owner, w.side, price, qty, tif, x.stp)
    if reason != reasons.NONE and match_event_count(book) == 0:
        _reject(exchange, account, w.ref, reason, w.id_at)
        return
    number = wire_number(instrument, id_)
    log_commit(
        account,
        encode_accepted(
            x.time_ns, w.ref, w.side, w.shares, w.stock, w.price, w.tif, number, w.id_at, log_reserve(account)
        ),
    )
    settle(exchange, instrument, ZERO)


@jit
def _replace(exchange, account, w):
    x = view(exchange, EXCHANGE)
    old_id, new_id = _order_id(account, w.old_ref), _order_id(account, w.ref)
    instrument = _instrument_of_order(exchange, old_id)
    if instrument < 0 or w.price > U64(ouch.PRICE_MAX):
        x.unknown_orders += 1
        _reject(exchange, account, w.ref, np.int64(reasons.VENUE_UNKNOWN_ORDER), w.id_at)
        return
    book, lot = book_of(exchange, instrument), _lot(exchange, instrument)
    resting = view(match_order(book, old_id), ORDER)
    side, filled, total = np.int64(resting.side), resting.filled, np.int64(w.shares) * lot
    reason = match_replace(book, old_id, new_id, np.int64(w.price) * PRICE_UNIT, total)
    if reason == reasons.AMEND_BELOW_FILLED or (reason != reasons.NONE and match_event_count(book) == 0):
        _reject(exchange, account, w.ref, reason, w.id_at)
        settle(exchange, instrument, ZERO)
        return
    left, stock = U64((total - filled) // lot), view(encoder_of(x.publisher, instrument), ENCODER).stock
    number = wire_number(instrument, new_id)
    log_commit(
        account,
        encode_replaced(
            x.time_ns, w.old_ref, w.ref, side, left, stock, w.price, w.tif, number, w.id_at, log_reserve(account)
        ),
    )
    settle(exchange, instrument, old_id)


@jit
def _cancel(exchange, account, w):
    x = view(exchange, EXCHANGE)
    id_ = _order_id(account, w.ref)
    instrument = _instrument_of_order(exchange, id_)
    if instrument < 0:
        x.unknown_orders += 1
        log_commit(account, encode_plain(np.int64(ouch.CANCEL_REJECT), x.time_ns, w.ref, log_reserve(account)))
        return
    book = book_of(exchange, instrument)
    resting = view(match_order(book, id_), ORDER)
    beyond = resting.filled + resting.qty - np.int64(w.shares) * _lot(exchange, instrument)
    if w.shares == ZERO:
        match_cancel(book, id_)
    elif beyond > 0:
        match_reduce(book, id_, beyond)
    settle(exchange, instrument, ZERO)


@jit
def _is_new(account, ref):
    """Whether a reference number is above all seen; then it is seen now."""
    a = view(account, ACCOUNT)
    if ref <= a.last_ref:
        a.repeated += 1
        return False
    a.last_ref = ref
    return True


@jit
def take_request(exchange, account, data, length):
    """Carry out one message of an account."""
    x, a = view(exchange, EXCHANGE), view(account, ACCOUNT)
    wire = exchange + _WIRE_AT
    kind, w = decode_request(wire, data, length), view(wire, WIRE)
    a.requests += 1
    if kind == REFUSED:
        a.malformed += 1
    elif kind == ouch.ENTER:
        if _is_new(account, w.ref):
            _enter(exchange, account, w)
    elif kind == ouch.REPLACE:
        if _is_new(account, w.ref):
            _replace(exchange, account, w)
    elif kind == ouch.CANCEL:
        _cancel(exchange, account, w)
    else:
        length = encode_plain(np.int64(ouch.ACCOUNT), x.time_ns, a.last_ref + ONE, log_reserve(account))
        log_commit(account, length)


@jit
def cancel_account(exchange, account):
    """Cancel every order of an account that is not connected any more."""
    x, owner = view(exchange, EXCHANGE), view(account, ACCOUNT).owner
    for instrument in range(x.n_instruments):
        book = book_of(exchange, np.int64(instrument))
        m = view(book, MATCHING)
        for index in range(1, m.max_orders + 1):
            order = view(book + m.orders_at + (U64(index) << U64(6)), ORDER)
            if order.id != ZERO and np.int64(order.owner) == owner and order.qty > 0:
                match_cancel(book, order.id)
                if match_event_count(book) > 0:
                    view(match_event(book, match_event_count(book) - 1), EVENT).reason = np.uint8(reasons.DISCONNECTED)
                settle(exchange, np.int64(instrument), ZERO)


@jit
def cancel_due(exchange):
    """Cancel the orders of accounts that have gone or come back anew."""
    d = view(view(exchange, EXCHANGE).desk, DESK)
    for index in range(d.n_accounts):
        account = account_at(view(exchange, EXCHANGE).desk, np.int64(index))
        if view(account, ACCOUNT).cancel_due != 0:
            view(account, ACCOUNT).cancel_due = 0
            cancel_account(exchange, account)
