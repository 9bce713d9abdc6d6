"""Follows the spreads between venues (:mod:`hftpipe.core.schema.spreads`): each change of a top of book judges its rows.

::

    net >= threshold                       an opportunity begins: it fires, once
    net >= threshold - hysteresis          it goes on
    net below that; a leg not VALID        it ends
    a leg older than max_age               it has ended when it became so, whenever that is noticed

Nothing is judged by the clock: what has grown old between two changes is taken off by the next one, with its true end.
"""

import numpy as np

from hftpipe.core.machine.fixed import INT64_MAX
from hftpipe.core.machine.jit import jit
from hftpipe.core.machine.mem import U64, ZERO, div_wide, mul_wide, view
from hftpipe.core.schema.spreads import (
    DEAD,
    LARGEST_NET,
    LARGEST_SETTING,
    LEG,
    LEG_BYTES,
    MOST_CROSSED,
    NO_NET,
    SPREAD,
    SPREAD_BYTES,
    SPREADS,
)

_TOO_LARGE = np.int64(LARGEST_NET + 1)
_SIGN = np.uint64(1 << 63)
_LARGEST = np.int64(LARGEST_SETTING)


@jit
def leg_at(spreads, instrument):
    """Address of the LEG of a registered instrument."""
    return view(spreads, SPREADS).legs + U64(LEG_BYTES) * U64(instrument)


@jit
def spread_at(spreads, index):
    """Address of SPREAD row ``index``."""
    return view(spreads, SPREADS).rows + U64(SPREAD_BYTES) * U64(index)


@jit
def counterpart_count(spreads, instrument):
    """How many other instruments are the same thing (int64)."""
    return view(leg_at(spreads, instrument), LEG).count


@jit
def counterpart(spreads, instrument, index):
    """Id of the ``index``-th counterpart, by their ids; -1 if there are not so many."""
    leg = view(leg_at(spreads, instrument), LEG)
    if index < 0 or index >= leg.count:
        return np.int64(-1)
    return view(spread_at(spreads, leg.first + index), SPREAD).sell


@jit
def find_spread(spreads, buy, sell):
    """Address of the row that buys at one registered instrument and sells at the other; 0 if they are no counterparts."""
    leg = view(leg_at(spreads, buy), LEG)
    for index in range(leg.first, leg.first + leg.count):
        row = spread_at(spreads, index)
        if view(row, SPREAD).sell == sell:
            return row
    return ZERO


@jit
def net_of(bid, ask, keeps, pays):
    """Net spread (1e-8, rounded down) of buying at ``ask`` and selling at ``bid``, both above 0 and in the same unit.

    ``(bid x keeps - ask x pays) / ask``; what is too large for an int64 is beyond LARGEST_NET.
    """
    high, low = mul_wide(U64(bid), U64(keeps))
    if high >= U64(ask):
        return _TOO_LARGE
    quotient, _ = div_wide(high, low, U64(ask))
    return _TOO_LARGE if quotient >= _SIGN else np.int64(quotient) - pays


@jit
def _end(r, ts):
    """The opportunity of a row is over since ``ts``."""
    r.lasted = max(ts - r.since, np.int64(0))
    r.longest = max(r.longest, r.lasted)
    r.total += r.lasted
    r.since = 0


@jit
def _begin(h, r, index, now):
    r.since, r.peak = now, r.net
    r.fired += 1
    h.crossings += 1
    if h.n_crossed < MOST_CROSSED:
        h.crossed[h.n_crossed] = index
        h.n_crossed += 1


@jit
def _note_best(r, now):
    r.peak = max(r.peak, r.net)
    if r.net > r.best:
        r.best, r.best_ts = r.net, now


@jit
def _judge(h, r, index, buy, sell, now):
    """Row ``index`` by what its legs (LEG records) show now."""
    if r.since != 0 and r.until < now:
        _end(r, r.until)
    r.until = min(buy.ts, sell.ts) + h.max_age
    r.net = NO_NET
    if r.until >= now:
        net = net_of(sell.bid * sell.units, buy.ask * buy.units, r.keeps, r.pays)
        h.implausible += np.int64(net > LARGEST_NET)
        r.net = net if net <= LARGEST_NET else np.int64(NO_NET)
    if r.since != 0:
        if r.net < h.threshold - h.hysteresis:
            _end(r, now)
            return
    elif r.net >= h.threshold:
        _begin(h, r, index, now)
    if r.since != 0:
        _note_best(r, now)


@jit
def _judge_all(spreads, leg, now):
    """Every row that a leg (a LEG record) is part of."""
    h = view(spreads, SPREADS)
    h.updates += 1
    h.now = now
    for index in range(leg.first, leg.first + leg.count):
        r = view(spread_at(spreads, index), SPREAD)
        other, back = view(leg_at(spreads, r.sell), LEG), view(spread_at(spreads, r.back), SPREAD)
        _judge(h, r, index, leg, other, now)
        _judge(h, back, r.back, other, leg, now)


@jit
def spreads_update(spreads, instrument, bid, bid_qty, ask, ask_qty, ts, now):
    """A new top of book, that may be traded on, of a registered instrument.

    Args:
        bid, ask: above 0, in the instrument's own unit (1e-8), and so the quantities.
        ts: event time of the change; now: event time, never before an earlier one.
    """
    h, leg = view(spreads, SPREADS), view(leg_at(spreads, instrument), LEG)
    h.n_crossed, h.taken = 0, 0
    if leg.count == 0:
        return
    leg.bid, leg.bid_qty, leg.ask, leg.ask_qty = bid, bid_qty, ask, ask_qty
    # A price that has no int64 in the common unit is none to compare.
    leg.ts = np.int64(DEAD) if leg.units != 1 and ask > INT64_MAX // leg.units else ts
    _judge_all(spreads, leg, now)


@jit
def spreads_lost(spreads, instrument, now):
    """The book of a registered instrument may not be traded on: none of its spreads counts until its next update."""
    h, leg = view(spreads, SPREADS), view(leg_at(spreads, instrument), LEG)
    h.n_crossed, h.taken = 0, 0
    if leg.count == 0 or leg.ts == DEAD:
        return
    leg.ts = DEAD
    _judge_all(spreads, leg, now)


@jit
def take_crossed(spreads):
    """Address of the next row that the last change made cross, each handed out once; 0 if there is none."""
    h = view(spreads, SPREADS)
    if h.taken >= h.n_crossed:
        return ZERO
    h.taken += 1
    return spread_at(spreads, h.crossed[h.taken - 1])


@jit
def watch_spreads(spreads, threshold, hysteresis, max_age):
    """What counts as an opportunity from the next change on: 1e-8 of the price, 1e-8 and ns; below 0 is 0 for the last two.

    What has begun by the former threshold goes on if the new one lets it.
    """
    h = view(spreads, SPREADS)
    h.threshold = min(max(threshold, -_LARGEST), _LARGEST)
    h.hysteresis = min(max(hysteresis, np.int64(0)), _LARGEST)
    h.max_age = min(max(max_age, np.int64(0)), _LARGEST)
