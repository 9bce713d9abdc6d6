"""What must hold between a run and its venues: books, subscriptions, orders and fills."""

from collections.abc import Sequence
from dataclasses import dataclass
from decimal import Decimal
from typing import Any

import numpy as np

from hftpipe.core.schema.records import VALID
from hftpipe.simulation.live_campaign.client import LiveRun
from hftpipe.simulation.live_campaign.venue import SimulatedVenue

#: Levels of the venue's book that are asked for, and those from the touch that ours must have, each of them.
ASKED_LEVELS, SAME_LEVELS = 512, 20
_E8 = 10**8


def difference(ours: dict[str, Any], truth: dict[str, Any]) -> str:
    """What is wrong with a book; empty: nothing.

    The best SAME_LEVELS of each side must be the venue's, each level behind them one of the venue's: a book that is not followed to
    its end does not know what comes back from beyond it.
    """
    for side in ("bids", "asks"):
        mine, theirs = ours[side], truth[side]
        if mine[:SAME_LEVELS] != theirs[:SAME_LEVELS]:
            at = next(
                (n for n, pair in enumerate(zip(mine, theirs, strict=False)) if pair[0] != pair[1]),
                min(len(mine), len(theirs)),
            )
            return f"{side}[{at}] is {mine[at : at + 1]}, not {theirs[at : at + 1]}"
        levels = dict(map(tuple, theirs))
        for price, qty in mine[SAME_LEVELS:]:
            if levels.get(price, 0) != qty and not (len(theirs) == ASKED_LEVELS and price not in levels):
                return f"{side}: {qty} at {price}, not {levels.get(price, 0)}"
    best = [*(truth["bids"] or [[0, 0]])[0], *(truth["asks"] or [[0, 0]])[0]]
    return "" if ours["top"] == best else f"top is {ours['top']}, not {best}"


@dataclass
class Differing:
    """Instruments whose VALID books were not found to be the venue's, and why not: those whose venue's book stood still meanwhile, and
    those that orders of the run have moved: of them nothing can be said yet."""

    standing: dict[int, str]
    moved: dict[int, str]

    def __bool__(self) -> bool:
        return bool(self.standing or self.moved)


def compare_books(run: LiveRun, venues: Sequence[SimulatedVenue], pending: set[int]) -> Differing:
    """Compare the VALID books among ``pending`` and take those from it that are the venue's; the others."""
    truths, why = [one.books(ASKED_LEVELS) for one in venues], dict[int, str]()
    states = run.states
    for instrument in sorted(pending):
        if states[instrument] != VALID:
            continue
        ours = run.book(instrument)
        at, symbol = int(run.at[instrument]), run.symbols[instrument]
        wrong = "changes all the time" if ours is None else difference(ours, truths[at][symbol])
        if wrong:
            number = ours["id"] if ours else "none"
            why[instrument] = f"{venues[at].protocol} {symbol}: {wrong} (update {number} of {truths[at][symbol]['id']})"
        elif run.states[instrument] == VALID:
            pending.discard(instrument)
    found = Differing({}, {})
    now = [one.books(1) for one in venues] if why else []
    for instrument, reason in why.items():
        at, symbol = int(run.at[instrument]), run.symbols[instrument]
        has_stood = truths[at][symbol]["id"] == now[at][symbol]["id"]
        (found.standing if has_stood else found.moved)[instrument] = reason
    return found


def check_subscriptions(venue: SimulatedVenue, expected: int) -> list[str]:
    """Each stream once, none on two connections, none asked for twice."""
    told, market = venue.figures(), venue.market
    wanted = {f"{market}_streams": expected, f"{market}_streams_doubled": 0, f"{market}_asked_twice": 0}
    found = {name: told[name] for name in wanted}
    return [] if found == wanted else [f"{venue.protocol}: subscriptions: {found}, not {wanted}"]


def _e8(text: Any) -> int:
    return int(Decimal(str(text)) * _E8)


def _signed(rows: Sequence[dict[str, Any]], qty: str) -> int:
    return sum(
        _e8(one[qty])
        * (1 if (one.get("buyer", one.get("isBuyer")) is True or one.get("side", "").upper() == "BUY") else -1)
        for one in rows
    )


@dataclass(frozen=True)
class Held:
    """What there is of an instrument: executions, signed position, and what its open orders may still buy and sell (1e-8)."""

    fills: int
    position: int
    working_buy: int
    working_sell: int


_BINANCE = {"fills": "qty", "open": ("origQty", "executedQty"), "side": "side"}


def held_at(venue: SimulatedVenue, symbol: str) -> Held:
    """What the account has of a symbol, in the venue's own words."""
    account = venue.account()[venue.market]
    fills = [one for one in account["fills"] if one["symbol"] == symbol]
    orders = [one for one in account["openOrders"] if one["symbol"] == symbol]
    is_binance = venue.protocol == "binance"
    position = _signed(fills, "qty" if is_binance else "execQty")
    left = {"BUY": 0, "SELL": 0}
    for one in orders:
        whole, done = ("origQty", "executedQty") if is_binance else ("qty", "cumExecQty")
        left[one["side"].upper()] += _e8(one[whole]) - _e8(one[done])
    return Held(len(fills), position, left["BUY"], left["SELL"])


def held_here(run: LiveRun, instrument: int) -> Held:
    """What risk thinks there is of an instrument."""
    row = run.position(instrument)
    return Held(*(int(row[name]) for name in ("fills", "qty", "working_buy", "working_sell")))


def not_valid(run: LiveRun) -> list[str]:
    """Symbols whose books are not VALID now."""
    return [run.symbols[one] for one in np.flatnonzero(run.states != VALID).tolist()]
