"""What the gateway is told of an order, and what the threads beside are asked about it."""

import numpy as np

from hftpipe.core.machine.jit import jit
from hftpipe.core.machine.mem import ONE, ZERO, store_release, view
from hftpipe.core.schema.cells import INVARIANT
from hftpipe.core.schema.layout import offset_of
from hftpipe.core.schema.records import (
    ACK,
    EXECUTION,
    FEE_ASSET,
    FILL,
    FILL_MAKER,
    RECORD,
    RECORD_BYTES,
    REPLACED,
    REPORT,
    UNKNOWN_FEE_ASSET,
)
from hftpipe.core.trading.order_reports import move_filled, move_reported
from hftpipe.core.trading.order_table import ORDER, may_be_replaced
from hftpipe.venues.orders.executed import EXECUTED, executed_at
from hftpipe.venues.orders.facts import ASK_CANCEL, ASK_STATE, FACT, QUESTION, QUESTION_BYTES, queue_put
from hftpipe.venues.orders.state import (
    ACCOUNT,
    ASKED,
    CANCEL_OUT,
    END_TOLD,
    QUESTION_AT,
    REPORT_AT,
    REVISION,
    UNTOLD,
    extra_of,
)

_N_EXECUTED = np.uint64(offset_of(ACCOUNT, "n_executed"))


@jit
def _put(account, id_):
    """Put the report in the account's memory behind those that wait. There is room, as no fact is read before they are gone, and none tells
    of so much; if there were none all the same, trading would end."""
    a = view(account, ACCOUNT)
    if not queue_put(a.reports, account + REPORT_AT, RECORD_BYTES) and a.fault == 0:
        a.fault, a.fault_id = INVARIANT, id_


@jit
def emit(account, slot, kind, price, qty, reason, fact):
    """Put a report (no FILL) about the order at ``slot`` behind those that wait, and do to our own table what it says.

    Of an order whose end has been told nobody is to hear more: our own table alone follows.

    ``fact``: address of the FACT that it comes of; 0: of none.
    """
    a, o = view(account, ACCOUNT), view(slot, ORDER)
    r = view(account + REPORT_AT, REPORT)
    r.seq, r.venue_id, r.exchange_ts, r.local_ts = ZERO, ZERO, 0, 0
    if fact != ZERO:
        r.exchange_ts = view(fact, FACT).ts
        if kind in (ACK, REPLACED):
            r.venue_id = view(fact, FACT).venue_id
    r.price, r.qty, r.id, r.instrument = price, qty, o.id, o.instrument
    r.kind, r.side, r.strategy, r.flags = kind, o.side, o.strategy, np.uint8(reason)
    if o.user & END_TOLD == 0:
        _put(account, o.id)
    move_reported(a.table, slot, view(account + REPORT_AT, RECORD))


@jit
def _note_executed(account, o, f):
    """Keep an execution (a FACT, as a view) for who compares what the run has with what the venue says."""
    a = view(account, ACCOUNT)
    x = view(executed_at(a.executed, a.n_executed), EXECUTED)
    x.id, x.trade_id, x.ts, x.price, x.qty, x.fee = o.id, f.trade_id, f.ts, f.last_price, f.last_qty, f.fee
    x.instrument, x.side, x.fee_asset, x.fee_is_unread = o.instrument, o.side, f.fee_asset, f.fee_is_unread
    store_release(account + _N_EXECUTED, a.n_executed + ONE)


@jit
def tell_fill(account, slot, fact):
    """Put the FILL that a FACT (its address) is about the order at ``slot`` behind the reports that wait, and book it in our own table."""
    a, o, f = view(account, ACCOUNT), view(slot, ORDER), view(fact, FACT)
    x = view(account + REPORT_AT, EXECUTION)
    x.seq, x.trade_id, x.exchange_ts, x.fee = ZERO, f.trade_id, f.ts, f.fee
    x.price, x.qty, x.id, x.instrument = f.last_price, f.last_qty, o.id, o.instrument
    x.kind, x.side, x.strategy = FILL, o.side, o.strategy
    x.flags = np.uint8(FILL_MAKER * (f.is_maker != 0)) | np.uint8(f.fee_asset << FEE_ASSET)
    a.unread_fees += np.int64(f.fee_is_unread != 0)
    a.unknown_fees += np.int64(f.fee_asset == UNKNOWN_FEE_ASSET and f.fee_is_unread == 0)
    _put(account, o.id)
    _note_executed(account, o, f)
    move_filled(a.table, slot, f.last_qty)
    # Whoever hears of it knows that the order lives, and is to hear of its end.
    o.user &= ~END_TOLD


@jit
def ask(account, slot, what):
    """Have the threads beside find out about the order at ``slot`` (or cancel it); False if no more can be asked now, or they are at its
    cancel already."""
    a, o = view(account, ACCOUNT), view(slot, ORDER)
    if what == ASK_CANCEL:
        if o.user & CANCEL_OUT != 0:
            return False
        # A request like any other: what is answered to a question from before it says nothing about it.
        a.requests += 1
        extra_of(a, slot).last_no = a.requests
    q = view(account + QUESTION_AT, QUESTION)
    q.id, q.what, q.venue_id, q.instrument = o.id, what, o.venue_id, np.int64(o.instrument)
    q.revision, q.number = o.user & REVISION, extra_of(a, slot).last_no
    q.was_changed, q.is_changing = np.int64(o.asked_qty != 0), np.int64(may_be_replaced(o))
    if not queue_put(a.questions, account + QUESTION_AT, QUESTION_BYTES):
        return False
    a.questions_asked += 1
    if what == ASK_STATE:
        extra_of(a, slot).asked_ns = a.now_ns
    o.user |= ASKED if what == ASK_STATE else CANCEL_OUT
    return True


@jit
def doubt(account, slot, now_ns):
    """Nothing is known of the order at ``slot``: the gateway is to hear so, and the venue is asked."""
    a, o = view(account, ACCOUNT), view(slot, ORDER)
    o.user |= UNTOLD
    a.check_ns = now_ns
    if o.user & ASKED == 0:
        ask(account, slot, np.int64(ASK_STATE))
