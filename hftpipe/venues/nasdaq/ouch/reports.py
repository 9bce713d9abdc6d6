"""What the venue's messages mean to the gateway: OUCH reports into report RECORDs.

======================= =============================================================================================
message                 report
======================= =============================================================================================
A accepted              ACK; EXPIRED if the venue says it is dead already
  on other terms        VENUE_FAULT, WRONG_TERMS, with the client id and the price and quantity claimed; none is taken over
U replaced              REPLACED; quantity: what is filled plus what is left. EXPIRED if it is dead already; UNASKED if we did
                        not ask for it
  on other terms        VENUE_FAULT, WRONG_TERMS: another side, symbol or price, or more than was asked for (or than it had);
                        it is cancelled under its new number
E executed              FILL, ``trade_id`` the match number, FILL_MAKER if liquidity was added, fee from the INSTRUMENT; none if
                        that match of that order was heard of before
C cancelled, all of it  CANCELED for our own cancel, EXPIRED for what could not rest and for what the venue ends
C cancelled in part     REPLACED with the total that remains, UNASKED
J of an order           REJECT
J of a replace          CANCEL_REJECT; none if a cancel is on its way too, which is then sent again for the order itself
I cancel reject         CANCEL_REJECT, also of an order that had ended before its cancel left; none if it is about a number the order no longer has, or one the venue forgot
E of an unknown number  VENUE_FAULT, ORPHAN_FILL (quantity in shares): the wire does not say what to book it on; what is left
                        of it is cancelled
cannot be read          VENUE_FAULT, UNREADABLE_REPORT (number: its type byte, quantity: its length): it may have been a fill
B broken trade          VENUE_FAULT, BROKEN_TRADE: a fill that was booked did not happen
Q account query         VENUE_FAULT, VENUE_FORGOT if the venue does not go on where it was (see ``_account``)
P S others              none
======================= =============================================================================================
"""

import numpy as np

from hftpipe.core.machine.fixed import OVERFLOW, SCALE, muldiv_rem, notional
from hftpipe.core.machine.jit import jit
from hftpipe.core.machine.mem import ONE, U64, ZERO, load_u8, view
from hftpipe.core.schema import reasons
from hftpipe.core.schema.cells import BROKEN_TRADE, ORPHAN_FILL, UNREADABLE_REPORT, VENUE_FORGOT, WRONG_TERMS
from hftpipe.core.schema.instruments import INSTRUMENT, INSTRUMENT_BYTES
from hftpipe.core.schema.records import (
    ACK,
    CANCEL_REJECT,
    CANCELED,
    EXECUTION,
    EXPIRED,
    FILL,
    FILL_MAKER,
    FOK,
    MARKET,
    RECORD,
    REJECT,
    REPLACED,
    REPORT,
    TIF_MASK,
    UNASKED,
)
from hftpipe.core.trading.order_reports import move_filled, move_reported
from hftpipe.core.trading.order_table import A_REPLACE, ON_NO_ANSWER, ORDER, is_open, open_count, open_order, order_move
from hftpipe.core.trading.seen_fills import seen_add
from hftpipe.venues.nasdaq.ouch import messages as ouch
from hftpipe.venues.nasdaq.ouch.decode import IGNORED, REFUSED, WIRE, decode_report
from hftpipe.venues.nasdaq.ouch.encode import encode_cancel, stock_of
from hftpipe.venues.nasdaq.ouch.link import LINK, REPORTS_LOST, link_commit, link_reserve
from hftpipe.venues.nasdaq.ouch.messages import CANCEL_REASON, PRICE_UNIT, VENUE_REASONS
from hftpipe.venues.nasdaq.ouch.state import (
    ANSWERED,
    CANCELING,
    LOST,
    OWED,
    REF_MASK,
    UNTOLD,
    VENUE,
    WIRE_AT,
    fault_record,
    fill_record,
    local_slot,
    lot_of,
    order_of_ref,
    ref_of,
    remember_ref,
)


@jit
def fee_of(price, qty, rate):
    """Fee of a fill: ``rate`` is 1e-8 of the notional; a cost is rounded up, a rebate toward zero; OVERFLOW if none."""
    value = notional(price, qty)
    if value == np.int64(OVERFLOW):
        return value
    amount, rest = muldiv_rem(value, rate, np.int64(SCALE))
    return amount + 1 if rate > 0 and rest != ZERO else amount


@jit
def _tell(venue, slot, record, kind, price, qty, flags):
    """A report for the gateway (kind ... flags as in a RECORD), which moves the order here as it does in every table."""
    fill_record(record, view(slot, ORDER), kind, price, qty, np.uint8(flags))
    move_reported(view(venue, VENUE).table, slot, view(record, RECORD))
    return True


@jit
def _is_priced(o):
    return np.int64(o.flags & TIF_MASK) != MARKET


@jit
def _is_ours(venue, o, w, price):
    """Whether an Accepted or Replaced is about what the order is: its side, its symbol, and the price we asked for."""
    if w.side != np.int64(o.side) or w.stock != stock_of(view(venue, VENUE).templates, o.instrument):
        return False
    return np.int64(w.price) * PRICE_UNIT == price or not _is_priced(o)


@jit
def _wrong_terms(venue, slot, o, w, record):
    """What the venue claims is not taken over; nothing is known of the order now but that it may live."""
    v = view(venue, VENUE)
    v.wrong_terms += 1
    order_move(v.table, slot, np.int64(ON_NO_ANSWER))
    qty = np.int64(w.shares) * lot_of(venue, o.instrument)
    fault_record(record, np.int64(WRONG_TERMS), o.id, np.int64(w.price) * PRICE_UNIT, qty)
    return True


@jit
def _accepted(venue, slot, o, w, record):
    o.venue_id |= ANSWERED
    if np.int64(w.shares) * lot_of(venue, o.instrument) != o.qty or not _is_ours(venue, o, w, o.price):
        return _wrong_terms(venue, slot, o, w, record)
    if w.code == ouch.STATE_DEAD:
        reason = np.int64(reasons.IOC_REMAINDER)
        return _tell(venue, slot, record, np.int64(EXPIRED), o.price, o.qty - o.filled, reason)
    _tell(venue, slot, record, np.int64(ACK), o.price, o.qty, np.int64(o.flags))
    view(record, REPORT).venue_id = w.order
    return True


@jit
def _replaced(venue, slot, o, w, record):
    """The order has its new number, whoever asked for that; its new terms only if they are within those asked for."""
    is_asked = o.user != 0 and U64(o.user) == w.ref
    price, most = (o.asked_price, o.asked_qty) if is_asked else (o.price, o.qty)
    if not is_asked:
        remember_ref(venue, w.ref, o.id)
    o.venue_id, o.user = w.ref | ANSWERED | (o.venue_id & CANCELING), 0 if is_asked else o.user
    left = np.int64(w.shares) * lot_of(venue, o.instrument)
    # What was claimed and what is filled may be too much for one int64 together.
    if left > max(most - o.filled, np.int64(0)) or not _is_ours(venue, o, w, price):
        return _wrong_terms(venue, slot, o, w, record)
    if w.code == ouch.STATE_DEAD:
        return _tell(venue, slot, record, np.int64(EXPIRED), price, left, np.int64(reasons.DEAD_WHEN_REPLACED))
    flags = np.int64(o.flags) if is_asked else np.int64(o.flags | UNASKED)
    _tell(venue, slot, record, np.int64(REPLACED), price, o.filled + left, flags)
    view(record, REPORT).venue_id = w.order
    return True


@jit
def _executed(venue, slot, o, w, record):
    v = view(venue, VENUE)
    if w.match != ZERO:
        head = seen_add(v.seen, U64(o.quote), o.id, w.match)
        if head == ZERO:
            v.duplicate_fills += 1
            return False
        o.quote = np.int64(head)
    qty, price = np.int64(w.shares) * lot_of(venue, o.instrument), np.int64(w.price) * PRICE_UNIT
    maker = w.code == ouch.LIQUIDITY_ADDED
    instrument = view(v.instruments + U64(o.instrument) * U64(INSTRUMENT_BYTES), INSTRUMENT)
    o.venue_id |= ANSWERED
    move_filled(v.table, slot, qty)
    fill_record(record, o, FILL, price, qty, np.uint8(FILL_MAKER if maker else 0))
    x = view(record, EXECUTION)
    x.trade_id = w.match
    x.fee = fee_of(price, qty, instrument.maker_fee if maker else instrument.taker_fee)
    return True


@jit
def _why_ended(o, letter):
    """Reason code of a cancellation, made precise by what kind of order it was."""
    reason = np.int64(CANCEL_REASON[letter & 255])
    tif = np.int64(o.flags & TIF_MASK)
    if reason == reasons.IOC_REMAINDER and tif == FOK:
        return np.int64(reasons.FOK_UNFILLABLE)
    if reason == reasons.IOC_REMAINDER and tif == MARKET and o.filled == 0:
        return np.int64(reasons.NO_LIQUIDITY)
    return reason


@jit
def _canceled(venue, slot, o, w, record):
    left, gone = max(o.qty - o.filled, np.int64(0)), np.int64(w.shares) * lot_of(venue, o.instrument)
    if gone < left:
        flags = np.int64(o.flags | UNASKED)
        return _tell(venue, slot, record, np.int64(REPLACED), o.price, o.qty - gone, flags)
    reason = _why_ended(o, w.code)
    kind = np.int64(CANCELED if reason == reasons.USER_REQUEST else EXPIRED)
    return _tell(venue, slot, record, kind, o.price, left, reason)


@jit
def _reject_reason(code):
    """Reason code of a reject: the simulated venue's are ours, of Nasdaq's none is more precise than a filter."""
    if code >= VENUE_REASONS and code < VENUE_REASONS + reasons.REASON_SLOTS:
        return np.int64(code - VENUE_REASONS)
    return np.int64(reasons.VENUE_FILTER)


@jit
def _send_cancel(venue, ref, now_ns):
    v = view(venue, VENUE)
    text = link_reserve(v.link)
    if text == ZERO:
        return False
    link_commit(v.link, encode_cancel(ref, ZERO, text), now_ns)
    v.cancels += 1
    return True


@jit
def cancel_now(venue, slot, ref, now_ns):
    """Send a cancel for ``ref``; False if the link cannot take it."""
    if not _send_cancel(venue, ref, now_ns):
        return False
    view(slot, ORDER).created_ts = now_ns
    return True


@jit
def _refuse(venue, slot, record, reason):
    return _tell(venue, slot, record, np.int64(CANCEL_REJECT), np.int64(0), np.int64(0), reason)


@jit
def _cancel_again(venue, slot, o, now_ns):
    """The number under which an order was being cancelled came to nothing: now under that which it has, or it is refused."""
    if cancel_now(venue, slot, ref_of(o), now_ns):
        return
    v = view(venue, VENUE)
    o.venue_id &= ~CANCELING
    o.cancels = 0
    # Own answers are told before the venue's, so there is room.
    _refuse(venue, slot, local_slot(venue, v.local_in), np.int64(reasons.VENUE_BUSY))
    v.local_in += ONE


@jit
def _rejected(venue, slot, o, w, record, now_ns):
    v = view(venue, VENUE)
    reason = _reject_reason(w.code)
    if o.user != 0 and U64(o.user) == w.ref:
        o.user = 0
        _refuse(venue, slot, record, reason)
        if o.venue_id & CANCELING:
            _cancel_again(venue, slot, o, now_ns)
        return True
    if ref_of(o) != w.ref or o.venue_id & ANSWERED:
        v.stale += 1
        return False
    return _tell(venue, slot, record, np.int64(REJECT), o.price, o.qty, reason)


@jit
def _cancel_rejected(venue, slot, o, w, record):
    v = view(venue, VENUE)
    # A venue that has forgotten the order proves nothing by not knowing it.
    if o.venue_id & LOST:
        v.stale += 1
        return False
    if ref_of(o) != w.ref:
        v.crossed += 1
        return False
    if o.cancels <= 0:
        # Told twice, or the answer to a cancel that was sent again after a log-in.
        v.stale += 1
        return False
    o.cancels -= 1
    if o.cancels == 0:
        o.venue_id &= ~CANCELING
    if o.under_way == A_REPLACE or o.cancels > 0:
        # A replace asked for since, or another cancel, is still to be answered.
        fill_record(record, o, CANCEL_REJECT, np.int64(0), np.int64(0), np.uint8(reasons.VENUE_UNKNOWN_ORDER))
        return True
    return _refuse(venue, slot, record, np.int64(reasons.VENUE_UNKNOWN_ORDER))


@jit
def _orphan(venue, kind, w, record, now_ns):
    """A report about a number that is not ours (any more): nothing, unless it is an execution. Then more may follow."""
    v = view(venue, VENUE)
    v.unknown_ref += 1
    if kind != ouch.EXECUTED:
        return False
    v.orphan_fills += 1
    _send_cancel(venue, w.ref, now_ns)
    fault_record(record, np.int64(ORPHAN_FILL), w.ref, np.int64(w.price) * PRICE_UNIT, np.int64(w.shares))
    return True


@jit
def _broken(venue, w, record):
    view(venue, VENUE).broken_trades += 1
    fault_record(record, np.int64(BROKEN_TRADE), w.ref, np.int64(0), np.int64(0))
    view(record, EXECUTION).trade_id = w.match
    return True


@jit
def _has_unseen(venue, next_ref):
    """Whether an order without answer has a number that the venue has not seen."""
    v = view(venue, VENUE)
    for index in range(open_count(v.table)):
        o = view(open_order(v.table, np.int64(index)), ORDER)
        if o.venue_id & ANSWERED == ZERO and ref_of(o) >= next_ref:
            return True
    return False


@jit
def doubt_orders(venue):
    """The session that our orders were in is gone, which says nothing of what became of them: the gateway is told."""
    v = view(venue, VENUE)
    for index in range(open_count(v.table)):
        view(open_order(v.table, np.int64(index)), ORDER).venue_id |= UNTOLD
    v.check_ns = 0


@jit
def _lose_orders(venue):
    """The venue does not know our orders any more, which says nothing of what became of them: all are UNKNOWN."""
    v = view(venue, VENUE)
    for index in range(open_count(v.table)):
        slot = open_order(v.table, np.int64(index))
        view(slot, ORDER).venue_id |= LOST
        order_move(v.table, slot, np.int64(ON_NO_ANSWER))
    doubt_orders(venue)


@jit
def _account(venue, w, record):
    """The venue's next number, asked for after a login: does it go on where it was?

    =========================================================== =======================================================
    case                                                        what happens
    =========================================================== =======================================================
    it would take a number that it has answered about           it has forgotten: a restart, or another day
    its reports do not go on where ours ended, and we had any   the same: some are lost
    it is in another session, and has not seen an order we sent the same: it may have seen it, and forgotten
    otherwise                                                   what has no answer goes out again under its own number
    =========================================================== =======================================================

    Forgotten orders become UNKNOWN, and nothing is sent again: what was sent may have been executed.
    """
    v = view(venue, VENUE)
    k = view(v.link, LINK)
    # Numbers have 32 bits: after the last one the venue's next is 0, and there is none.
    next_ref = w.ref if w.ref != ZERO else REF_MASK + ONE
    has_gaps = k.restarted == REPORTS_LOST and (v.answered_ref != ZERO or open_count(v.table) > 0)
    lost = has_gaps or next_ref <= v.answered_ref or (k.restarted != 0 and _has_unseen(venue, next_ref))
    v.next_ref, v.ready, v.has_logged_in, k.restarted = max(v.next_ref, next_ref), 1, 1, 0
    v.resend = 0 if lost else 1
    if not lost:
        return False
    v.forgotten += 1
    v.answered_ref = ZERO
    _lose_orders(venue)
    fault_record(record, np.int64(VENUE_FORGOT), next_ref, np.int64(0), np.int64(open_count(v.table)))
    return True


@jit
def _order_of(venue, kind, w):
    """The ORDER that a report is about, 0 if none is known; a Replaced may give it a number that we never gave out."""
    slot = order_of_ref(venue, w.ref)
    return order_of_ref(venue, w.old_ref) if slot == ZERO and kind == ouch.REPLACED else slot


@jit
def _about_ended(venue, kind, o, w, record):
    """A report of an order that has ended here says nothing new, unless a cancel left after that: then it is the answer."""
    v = view(venue, VENUE)
    if kind == ouch.CANCEL_REJECT and o.venue_id & OWED:
        o.venue_id &= ~OWED
        fill_record(record, o, CANCEL_REJECT, np.int64(0), np.int64(0), np.uint8(reasons.VENUE_UNKNOWN_ORDER))
        return True
    is_change = kind == ouch.REJECTED and o.user != 0 and U64(o.user) == w.ref
    if is_change or kind == ouch.CANCEL_REJECT or kind == ouch.CANCEL_PENDING:
        v.crossed += 1
    else:
        v.stale += 1
    return False


@jit
def _about_order(venue, kind, w, record, now_ns):
    """A report that names an order: whether it is one for the gateway."""
    v = view(venue, VENUE)
    if kind == ouch.BROKEN:
        return _broken(venue, w, record)
    slot = _order_of(venue, kind, w)
    if slot == ZERO:
        return _orphan(venue, kind, w, record, now_ns)
    o = view(slot, ORDER)
    v.answered_ref = max(v.answered_ref, w.ref)
    if kind == ouch.EXECUTED:
        return _executed(venue, slot, o, w, record)
    if not is_open(o.state):
        return _about_ended(venue, kind, o, w, record)
    if kind == ouch.ACCEPTED:
        return _accepted(venue, slot, o, w, record)
    if kind == ouch.REPLACED:
        return _replaced(venue, slot, o, w, record)
    if kind == ouch.CANCELED or kind == ouch.SELF_MATCH:
        return _canceled(venue, slot, o, w, record)
    if kind == ouch.REJECTED:
        return _rejected(venue, slot, o, w, record, now_ns)
    return kind == ouch.CANCEL_REJECT and _cancel_rejected(venue, slot, o, w, record)


@jit
def _unreadable(venue, data, length, record):
    """What cannot be read may have been a fill."""
    view(venue, VENUE).refused += 1
    letter = U64(load_u8(data)) if length > 0 else ZERO
    fault_record(record, np.int64(UNREADABLE_REPORT), letter, np.int64(0), np.int64(length))
    return True


@jit
def apply_message(venue, data, length, record, now_ns):
    """Take one message from the venue: True if the RECORD at ``record`` now holds a report for the gateway."""
    v = view(venue, VENUE)
    wire = venue + WIRE_AT
    kind = decode_report(wire, data, length)
    w = view(wire, WIRE)
    if kind == REFUSED:
        return _unreadable(venue, data, length, record)
    if kind == IGNORED:
        v.ignored += 1
        return False
    v.reports += 1
    if kind == ouch.SYSTEM:
        v.system_events += 1
        if w.code == ouch.END_OF_DAY or w.code == ouch.START_OF_DAY:
            v.day_ended = np.int64(w.code == ouch.END_OF_DAY)
        return False
    if kind == ouch.ACCOUNT:
        return _account(venue, w, record)
    if not _about_order(venue, kind, w, record, now_ns):
        return False
    view(record, REPORT).exchange_ts = v.midnight_ns + w.time_ns
    return True
