"""What each instrument is worth, and what all of them come to: gross notional by run, venue and strategy, and profit.

**Gross notional** of an instrument is its worst case, long or short, with everything that may still fill (UNKNOWN orders too),
valued at the last mid of a VALID book: of the last order or fill, or of the last look at what is held (``risk/looking.py``).
**Profit** is realised and unrealised, at the same mid, without fees in other assets than the quote currency.

Money of different currencies does not add up: each sum exists once a quote currency. Sums are kept up to date by differences,
so that a verdict looks at three numbers however many instruments there are::

    totals | TOTAL [run, each venue, each strategy][quote currencies]
"""

import numpy as np

from hftpipe.core.machine.fixed import INT64_MAX, OVERFLOW, notional
from hftpipe.core.machine.jit import jit
from hftpipe.core.machine.mem import U64, ZERO, view
from hftpipe.core.schema.instruments import INSTRUMENT, INSTRUMENT_BYTES
from hftpipe.core.schema.position import POSITION
from hftpipe.risk.losses import LOSS, LOSS_BYTES, book_profit
from hftpipe.risk.tripping import trip

#: One instrument, of the account or of a strategy: the mid it is valued at (0: none yet), its gross notional, and of the account its
#: profit (1e-8 of the quote currency) and the number of that.
WORTH = np.dtype([("mark", "i8"), ("gross", "i8"), ("profit", "i8"), ("quote", "i8")])
#: One sum, and how large it may get (the largest number: not limited).
TOTAL = np.dtype([("max_gross", "i8"), ("gross", "i8")])
WORTH_BYTES, TOTAL_BYTES = np.uint64(WORTH.itemsize), np.uint64(TOTAL.itemsize)
_POSITION_BYTES = np.uint64(POSITION.itemsize)
#: What a value counts for that no number holds; what such a value is added to has no room (:func:`has_room`).
TOO_MUCH = np.int64(1 << 62)


@jit
def worst_case(p, buy, sell):
    """The largest position, long or short, that a POSITION can come to if orders add ``buy`` and ``sell`` (1e-8)."""
    return max(p.qty + p.working_buy + buy, p.working_sell + sell - p.qty)


@jit
def value_of(qty, price):
    """Value (1e-8 of the quote currency) of a quantity; TOO_MUCH if that fits no number."""
    value = notional(price, qty)
    return TOO_MUCH if value == np.int64(OVERFLOW) else min(value, TOO_MUCH)


@jit
def worth_at(s, instrument):
    """Address of the account's WORTH of a registered instrument (``s``: risk's STATE)."""
    return s.worths + U64(instrument) * WORTH_BYTES


@jit
def own_worth_at(s, strategy, instrument):
    """Address of the WORTH that a strategy has of its own; 0 where it is the only one, or there is none such."""
    if s.own_worths == ZERO or U64(strategy) >= U64(s.n_desks):
        return ZERO
    return s.own_worths + (U64(strategy) * U64(s.n_instruments) + U64(instrument)) * WORTH_BYTES


@jit
def run_total(s, quote):
    """Address of the TOTAL of the run in a quote currency."""
    return s.totals + U64(quote) * TOTAL_BYTES


@jit
def venue_total(s, at, quote):
    """Address of the TOTAL of venue number ``at``."""
    return s.totals + (U64(s.n_quotes) * (U64(1) + U64(at)) + U64(quote)) * TOTAL_BYTES


@jit
def desk_total(s, strategy, quote):
    """Address of the TOTAL of a strategy."""
    first = U64(s.n_quotes) * (U64(1) + U64(s.n_lanes) + U64(strategy))
    return s.totals + (first + U64(quote)) * TOTAL_BYTES


@jit
def _venue_of(s, instrument):
    return view(s.instruments + U64(instrument) * U64(INSTRUMENT_BYTES), INSTRUMENT).at


@jit
def _regross(s, instrument):
    """The account's gross notional of an instrument, after any change of its position, orders or mid."""
    w = view(worth_at(s, instrument), WORTH)
    gross = value_of(worst_case(view(s.positions + U64(instrument) * _POSITION_BYTES, POSITION), 0, 0), w.mark)
    change = gross - w.gross
    w.gross = gross
    view(run_total(s, w.quote), TOTAL).gross += change
    view(venue_total(s, _venue_of(s, instrument), w.quote), TOTAL).gross += change


@jit
def regross_own(s, strategy, instrument, position):
    """The same of a strategy's own POSITION, 0 if it has none apart, at the account's mid."""
    own = own_worth_at(s, strategy, instrument)
    if own == ZERO or position == ZERO:
        return
    w, account = view(own, WORTH), view(worth_at(s, instrument), WORTH)
    gross = value_of(worst_case(view(position, POSITION), 0, 0), account.mark)
    view(desk_total(s, strategy, account.quote), TOTAL).gross += gross - w.gross
    w.gross = gross


@jit
def regross(s, strategy, instrument, own):
    """After a change of what a strategy holds or may still fill; ``own``: its own POSITION, 0 if it has none apart."""
    _regross(s, instrument)
    regross_own(s, strategy, instrument, own)


@jit
def profit_moved(s, quote, change, now):
    """The profit in a quote currency changed at event time ``now`` (ns), or what may be lost of it; beyond a limit risk trips."""
    loss = s.losses + U64(quote) * LOSS_BYTES
    cause = book_profit(loss, change, now)
    if cause != 0:
        lost, most = view(loss, LOSS).fault_lost, view(loss, LOSS).fault_limit
        trip(s, cause, quote, most, lost)


@jit
def reprofit(s, instrument, now):
    """The profit of an instrument, after a change of its position or mid at event time ``now`` (ns); beyond a limit risk trips."""
    w, p = view(worth_at(s, instrument), WORTH), view(s.positions + U64(instrument) * _POSITION_BYTES, POSITION)
    profit = p.realised - p.fees
    if w.mark > 0 and p.qty != 0:
        profit += notional(w.mark, p.qty) - p.cost
    change = profit - w.profit
    w.profit = profit
    profit_moved(s, w.quote, change, now)


@jit
def remark(s, instrument, mid, now):
    """A VALID book of a registered instrument had this mid at event time ``now`` (ns): everything is valued anew."""
    w = view(worth_at(s, instrument), WORTH)
    s.seen_ts = max(s.seen_ts, now)
    if w.mark == mid:
        return
    w.mark = mid
    _regross(s, instrument)
    reprofit(s, instrument, now)


@jit
def added_value(position, worth, top_mid, buy, sell):
    """What an order adds to the gross notional of a POSITION, at this mid; TOO_MUCH if it grows to what fits no number."""
    p = view(position, POSITION)
    worst = worst_case(p, buy, sell)
    gross = value_of(worst, top_mid)
    return TOO_MUCH if gross == TOO_MUCH and worst > worst_case(p, 0, 0) else gross - view(worth, WORTH).gross


@jit
def has_room(total, added):
    """Whether a TOTAL has room for what an order adds; what adds nothing always has. A sum that has grown beyond all numbers is below 0."""
    t = view(total, TOTAL)
    has_left = t.gross >= 0 and t.gross <= t.max_gross - added
    return added <= 0 or t.max_gross == INT64_MAX or (added != TOO_MUCH and has_left)
