"""How much has been lost: today, and since the best moment of the last hour; both have a limit, and beyond it risk trips.

Profit here is what ``risk/worth.py`` makes of positions and mids: realised and unrealised, a row a quote currency.

**Drawdown** is what lies between the highest profit within the window and the profit now. The window is 60 slices and the
current one, of which each keeps its highest: never shorter than what is configured, and at most a sixtieth longer.
**Today** begins at midnight UTC. What earlier runs of the same day have lost is in ``carried`` (``app/loss_state.py``).
Both are reckoned in UTC: event time of a live feed is the machine's monotonic clock, and ``utc_ns`` is what that lacks.

Exactly at a limit passes; one unit beyond trips, DRAWDOWN or DAILY_LOSS. A limit of 0 lets nothing be lost.
"""

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np

from hftpipe.core.machine.jit import jit
from hftpipe.core.machine.mem import view
from hftpipe.core.schema.cells import DAILY_LOSS, DRAWDOWN

SLICES, BEFORE = 64, 60
DAY_NS = 86_400 * 10**9
#: An event time below this (2001-09-09, or 31 years of uptime) is of the monotonic clock, above it is UTC already.
_FIRST_UTC_NS = np.int64(10**18)
#: One quote currency. ``base``: profit of this run when today began; ``carried``: of earlier runs today. ``peak``: the highest of the
#: slices that count. ``fault_lost`` and ``fault_limit``: what made it trip. ``utc_ns``: UTC less the monotonic clock.
LOSS = np.dtype(
    [
        ("profit", "i8"), ("base", "i8"), ("carried", "i8"), ("day_end_ns", "i8"), ("max_daily_loss", "i8"), ("max_drawdown", "i8"),
        ("slice_ns", "i8"), ("slice_end_ns", "i8"), ("slice", "i8"), ("peak", "i8"), ("fault_lost", "i8"), ("fault_limit", "i8"),
        ("utc_ns", "i8"), ("_pad", "i8", 3), ("highest", "i8", SLICES),
    ],
    align=True,
)  # fmt: skip
LOSS_BYTES = np.uint64(LOSS.itemsize)


def loss_rows(configured: Any, count: int) -> np.ndarray:
    """The LOSS rows of ``count`` quote currencies.

    Args:
        configured: any object with the attributes ``max_daily_loss``, ``max_drawdown`` (int 1e-8) and ``drawdown_window_s``.
    """
    rows = np.zeros(count, LOSS)
    rows["max_daily_loss"], rows["max_drawdown"] = configured.max_daily_loss, configured.max_drawdown
    rows["slice_ns"] = -(-configured.drawdown_window_s * 10**9 // BEFORE)
    return rows


def utc_of(row: np.void, now_ns: int) -> int:
    """An event time as UTC, ns."""
    return now_ns + int(row["utc_ns"]) if now_ns < _FIRST_UTC_NS else now_ns


def today(row: np.void, now_ns: int) -> int:
    """Profit (1e-8) of all runs of the day of ``now_ns`` (event time or UTC, ns): none once midnight has passed that nothing came after."""
    if 0 < row["day_end_ns"] <= utc_of(row, now_ns):
        return 0
    return int(row["profit"] - row["base"] + row["carried"])


def since_peak(row: np.void) -> list[int]:
    """By slice, the newest first, how far above the profit now the highest was (1e-8)."""
    at = (int(row["slice"]) - np.arange(BEFORE + 1)) % SLICES
    return [int(value) for value in row["highest"][at] - row["profit"]]


def carry(row: np.ndarray, now_ns: int, lost_today: int, slices_since: int, above: Sequence[int]) -> None:
    """Go on, in a LOSS row of a run that begins, where an earlier run of today ended.

    Args:
        row: array of length 1; now_ns: UTC; lost_today: profit of today (1e-8).
        slices_since: slices that have passed since; above: what :func:`since_peak` gave then.
    """
    row["carried"] = lost_today
    row["day_end_ns"] = (now_ns // DAY_NS + 1) * DAY_NS
    slice_ns = int(row["slice_ns"][0])
    number = now_ns // slice_ns
    row["slice"], row["slice_end_ns"] = number, (number + 1) * slice_ns
    for age, value in enumerate(above, slices_since):
        if age <= BEFORE:
            row["highest"][0, (number - age) % SLICES] = max(value, 0)
    row["peak"] = row["highest"].max()


#: What a run begins with besides its limits.
_BEGUN = ("utc_ns", "carried", "day_end_ns", "slice", "slice_end_ns", "peak", "highest")


def losses_begun(rows: np.ndarray) -> list[dict[str, Any]]:
    """What LOSS rows say before the first event, as JSON values: a replay begins with it (:func:`begin_with`)."""
    return [{name: row[name].tolist() for name in _BEGUN} for row in rows]


def begin_with(rows: np.ndarray, begun: Sequence[Mapping[str, Any]]) -> None:
    """Let LOSS rows begin as those of a recorded run did."""
    for row, facts in zip(rows, begun, strict=True):
        for name in _BEGUN:
            row[name] = facts[name]


@jit
def _highest_of_all(loss):
    """The highest profit of the slices that count, which is 0 or more at the start."""
    peak = loss.profit
    for age in range(BEFORE + 1):
        peak = max(peak, loss.highest[(loss.slice - age) & (SLICES - 1)])
    return peak


@jit
def _next_slice(loss, now):
    """Time has passed; until now the profit was what it is."""
    number = now // loss.slice_ns
    for at in range(max(loss.slice + 1, number - SLICES + 1), number + 1):
        loss.highest[at & (SLICES - 1)] = loss.profit
    loss.slice, loss.slice_end_ns = number, (number + 1) * loss.slice_ns
    loss.peak = _highest_of_all(loss)


@jit
def _next_day(loss, now):
    """Midnight: today begins with what there is. At the first call of a run it began before."""
    if loss.day_end_ns != 0:
        loss.base, loss.carried = loss.profit, 0
    loss.day_end_ns = (now // np.int64(DAY_NS) + 1) * np.int64(DAY_NS)


@jit
def book_profit(row, change, now):
    """The profit of the LOSS at address ``row`` has changed at event time ``now`` (ns): 0, or DRAWDOWN or DAILY_LOSS."""
    loss = view(row, LOSS)
    if now < _FIRST_UTC_NS:
        now += loss.utc_ns
    if now >= loss.day_end_ns:
        _next_day(loss, now)
    if now >= loss.slice_end_ns and loss.slice_ns > 0:
        _next_slice(loss, now)
    loss.profit += change
    at = loss.slice & (SLICES - 1)
    loss.highest[at] = max(loss.highest[at], loss.profit)
    loss.peak = max(loss.peak, loss.profit)
    lost = loss.base - loss.profit - loss.carried
    if lost > loss.max_daily_loss:
        loss.fault_lost, loss.fault_limit = lost, loss.max_daily_loss
        return DAILY_LOSS
    if loss.peak - loss.profit > loss.max_drawdown:
        loss.fault_lost, loss.fault_limit = loss.peak - loss.profit, loss.max_drawdown
        return DRAWDOWN
    return 0
