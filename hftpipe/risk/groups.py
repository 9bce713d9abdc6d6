"""Limits on what several instruments come to together: a venue's, an account's, those of one base currency at all venues.

An instrument may be in some groups. An approved order counts in all of them at once; what is *net* is the sum of the positions,
in the base currency: one 1000PEPE is a thousand of it (``units``).
"""

from collections.abc import Sequence
from typing import Any

import numpy as np

from hftpipe.core.machine.fixed import INT64_MAX
from hftpipe.core.machine.jit import jit
from hftpipe.core.machine.mem import U64, ZERO, mul_wide, view
from hftpipe.core.schema.layout import offset_of
from hftpipe.core.schema.records import BUY
from hftpipe.risk.rate import RATE, rate_add, rate_fits
from hftpipe.risk.room import room_holds

#: Groups that an instrument can be in.
MOST_GROUPS = 8
#: One group: its limits (the largest number: none), what it holds and may still fill (1e-8 of the base), and its orders.
GROUP = np.dtype(
    [
        ("max_net", "i8"), ("orders_per_s", "i8"), ("orders_per_min", "i8"),
        ("qty", "i8"), ("working_buy", "i8"), ("working_sell", "i8"), ("_pad", "i8", 2), ("rates", RATE),
    ],
    align=True,
)  # fmt: skip
#: One instrument: how many of the base currency one of it is, and its groups.
MEMBER = np.dtype([("units", "i8"), ("count", "i8"), ("groups", "i8", MOST_GROUPS), ("_pad", "i8", 6)], align=True)
_GROUP_BYTES, _MEMBER_BYTES = np.uint64(GROUP.itemsize), np.uint64(MEMBER.itemsize)
_RATES = np.uint64(offset_of(GROUP, "rates"))
_LIMITS = ("max_net", "orders_per_s", "orders_per_min")


def fill_groups(
    groups: np.ndarray, members: np.ndarray, configured: Sequence[tuple[Any, np.ndarray]], units: np.ndarray
) -> None:
    """Write the GROUP rows and the MEMBER rows (one an instrument) of what is configured.

    Args:
        configured: of each group any object with the attributes ``max_net`` (int 1e-8), ``orders_per_s`` and
            ``orders_per_min`` (None: no such limit), and its instruments (bool by id).
        units: int64 by instrument.
    """
    members["units"] = units
    for index, (limits, own) in enumerate(configured):
        for name in _LIMITS:
            limit = getattr(limits, name)
            groups[index][name] = INT64_MAX if limit is None else limit
        for instrument in np.flatnonzero(own).tolist():
            row = members[instrument]
            row["groups"][row["count"]] = index
            row["count"] += 1


@jit
def member_at(s, instrument):
    """Address of the MEMBER row of a registered instrument (``s``: risk's STATE); 0 where there are no groups."""
    if s.members == ZERO:
        return ZERO
    return s.members + U64(instrument) * _MEMBER_BYTES


@jit
def _group(groups, m, index):
    return view(groups + U64(m.groups[index]) * _GROUP_BYTES, GROUP)


@jit
def groups_add(s, instrument, qty, buy, sell):
    """What a registered instrument holds, and what may still fill on each side, has changed by so much (int64, 1e-8 of it)."""
    member = member_at(s, instrument)
    if member == ZERO:
        return
    m = view(member, MEMBER)
    for index in range(m.count):
        g = _group(s.groups, m, index)
        g.qty += qty * m.units
        g.working_buy += buy * m.units
        g.working_sell += sell * m.units


@jit
def groups_count(groups, member, now):
    """Count an order approved at event time ``now`` (ns) in the groups of the MEMBER at an address (0: there are none)."""
    if member == ZERO:
        return
    m = view(member, MEMBER)
    for index in range(m.count):
        rate_add(groups + U64(m.groups[index]) * _GROUP_BYTES + _RATES, now)


@jit
def net_fits(groups, member, side, growth):
    """Whether the worst case of every group of a MEMBER stays within its ``max_net`` if an order adds ``growth`` (1e-8)."""
    if member == ZERO:
        return True
    m = view(member, MEMBER)
    high, grown = mul_wide(U64(growth), U64(m.units))
    fits = high == ZERO
    for index in range(m.count):
        g = _group(groups, m, index)
        held, working = (g.qty, g.working_buy) if side == BUY else (-g.qty, g.working_sell)
        fits &= g.max_net == INT64_MAX or room_holds(held, working, grown, g.max_net)
    return fits


@jit
def rates_fit(groups, member, now):
    """Whether one more order at ``now`` keeps every group of a MEMBER within its rates."""
    if member == ZERO:
        return True
    m, fits = view(member, MEMBER), True
    for index in range(m.count):
        g = _group(groups, m, index)
        rates = groups + U64(m.groups[index]) * _GROUP_BYTES + _RATES
        fits &= rate_fits(rates, now, g.orders_per_s, g.orders_per_min)
    return fits
