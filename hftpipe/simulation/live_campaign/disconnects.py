"""Two live venues at once, their connections lost again and again: does everything come back, and is it right?

::

    python -m hftpipe.simulation.live_campaign.disconnects --losses 100 --symbols 500
    python -m hftpipe.simulation.live_campaign.disconnects --losses 5 --symbols 20 --json out.json

A simulated Binance USD-M and a simulated Bybit, each a process of its own, list half of the symbols each; ``hftpipe run`` follows
all of them over several connections and has real orders in BTCUSDT at both. Losses of all kinds (:mod:`.kinds`) come at random.
After each one:

* every book is VALID again within :data:`BACK_S` from when a connection can be had; a connection that falls silent has to be
  noticed first, which counts;
* at a random moment meanwhile, and afterwards, both markets are made to stand still, and every book that says VALID is compared
  with the venue's own;
* every stream is subscribed to once;
* executions, positions and open orders here are those of the venue.

At the end the summary's fills and positions are the venues', and no order is left there.
"""

import argparse
import random
import sys
import tempfile
import time
from collections import defaultdict
from collections.abc import Callable, Sequence
from contextlib import ExitStack
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

import numpy as np

from hftpipe.core.schema.records import VALID
from hftpipe.simulation.live_campaign.checks import (
    Differing,
    check_subscriptions,
    compare_books,
    held_at,
    held_here,
    not_valid,
)
from hftpipe.simulation.live_campaign.client import LiveRun, config_text
from hftpipe.simulation.live_campaign.kinds import SNAPSHOT_WEIGHT, Loss, Plan
from hftpipe.simulation.live_campaign.venue import SimulatedVenue
from hftpipe.simulation.processes import CampaignError, report, say, stop_on_sigterm, until

#: Bars: from when a connection can be had to every book VALID.
BACK_S = 5.0
#: How long after a loss nothing is taken for granted: what was lost is known by then.
KNOWN_S, SILENCE_S = 1.2, 1.5
#: How long a market stands still for what is on its way to arrive, how often, and the pause in between. A standstill is much shorter
#: than SILENCE_S, or the run would end every connection for its silence.
STILL_S, STILLS, MOVING_S = 0.5, 6, 0.5
#: How long books that do not come back are waited for.
GIVEN_UP_S, BEGUN_S = 90.0, 120.0
CALM_S = (0.2, 2.0)
STREAMS_A_SYMBOL = 3
_LOOK_S = 0.01
_TRADED = "BTCUSDT"


@dataclass
class Outcome:
    """What became of one loss.

    Attributes:
        number, kind, venues: which; back_s: from when a connection could be had until the last book was VALID; lost: books that were.
        compared: VALID books found to be the venue's; wrong: VALID ones that were not.
        problems: all that was not as it must be.
    """

    number: int
    kind: str
    venues: str
    back_s: float = 0.0
    lost: int = 0
    compared: int = 0
    wrong: int = 0
    problems: list[str] = field(default_factory=list)

    def __str__(self) -> str:
        said = (
            "; ".join(self.problems)
            or f"{self.lost} books lost, back after {self.back_s:.2f} s, {self.compared} compared"
        )
        return f"loss {self.number}, {self.kind}, {self.venues}: {said}"


class _Watch:
    """Looks at the states of all books again and again, and knows when each was last not VALID."""

    def __init__(self, run: LiveRun) -> None:
        self._run, self._began = run, time.monotonic()
        self._bad_s = np.full(len(run.symbols), -1.0)

    @property
    def elapsed_s(self) -> float:
        return time.monotonic() - self._began

    def look(self) -> bool:
        """Whether all are VALID now."""
        bad = self._run.states != VALID
        self._bad_s[bad] = self.elapsed_s
        return not bad.any()

    def wait(self, seconds: float) -> None:
        """Look for so long."""
        until_s = self.elapsed_s + seconds
        while self.elapsed_s < until_s:
            self.look()
            time.sleep(_LOOK_S)

    @property
    def lost(self) -> int:
        """Books that were not VALID at some look."""
        return int((self._bad_s >= 0).sum())

    @property
    def last_bad_s(self) -> float:
        """When any was last not VALID, from the beginning; 0: never."""
        return max(0.0, float(self._bad_s.max()))


class Campaign:
    """One run and its venues, and losses.

    Args:
        symbols: of both venues together; connections: of each for its market data; rate_per_s: events of each venue.
        depth: how much of the books is followed.
    """

    def __init__(
        self, folder: Path, seed: int, symbols: int = 500, connections: int = 5, rate_per_s: float = 1500.0,
        depth: str = "shallow",
    ) -> None:  # fmt: skip
        self._rng, self.venues = random.Random(f"disconnects {seed}"), list[SimulatedVenue]()
        with ExitStack() as undo:
            undo.callback(self.close)
            self._begin(folder, symbols // 2, connections, rate_per_s, depth)
            undo.pop_all()

    def _begin(self, folder: Path, half: int, connections: int, rate_per_s: float, depth: str) -> None:
        for protocol, market in (("binance", "usdm"), ("bybit", "linear")):
            self.venues.append(SimulatedVenue(folder, protocol, market, half, rate_per_s))
        self.run = LiveRun(
            folder, self.venues, config_text(self.venues, "live", depth, connections, SILENCE_S), "--cpus", "0-1"
        )
        self._traded = [one for one, symbol in enumerate(self.run.symbols) if symbol == _TRADED]
        self._plan = Plan(self._rng, self.venues, [half] * len(self.venues), connections, depth)
        began = time.monotonic()
        until(lambda: not not_valid(self.run), BEGUN_S, "books of all symbols")
        self.begun_s = time.monotonic() - began
        self._plan.spend(time.monotonic(), SNAPSHOT_WEIGHT[depth] * half)
        until(lambda: all(held_here(self.run, one).working_buy for one in self._traded), BEGUN_S, "orders")

    def close(self) -> None:
        """End everything."""
        if hasattr(self, "run"):
            self.run.kill()
        for one in self.venues:
            one.close()

    def lose(self, number: int) -> Outcome:
        """One loss, and whether all comes back."""
        time.sleep(self._rng.uniform(*CALM_S))
        loss = until(lambda: self._plan.next(time.monotonic()), 120.0, "request weight for snapshots")
        names = "+".join(self.venues[one].protocol for one in loss.asked)
        outcome = Outcome(number, loss.kind.name, names)
        watch = _Watch(self.run)
        for one, asked in loss.asked.items():
            self.venues[one].control(**asked)
        if not loss.kind.is_unnoticed:
            watch.wait(self._rng.uniform(0.05, KNOWN_S))
            self._compare(outcome, watch)
        self._wait_until_back(outcome, watch, loss)
        self._check_rest(outcome)
        return outcome

    def _wait_until_back(self, outcome: Outcome, watch: _Watch, loss: Loss) -> None:
        known_s = KNOWN_S + loss.possible_s + (SILENCE_S if loss.kind.is_unnoticed else 0.0)
        while not watch.look() or watch.elapsed_s < known_s:
            if watch.elapsed_s > GIVEN_UP_S:
                outcome.problems.append(f"not back after {GIVEN_UP_S:g} s: {', '.join(not_valid(self.run)[:8])}")
                break
            time.sleep(_LOOK_S)
        outcome.lost, outcome.back_s = watch.lost, max(0.0, watch.last_bad_s - loss.possible_s)
        if outcome.back_s > BACK_S:
            outcome.problems.append(f"books were back after {outcome.back_s:.2f} s")

    def _freeze(self, is_frozen: bool) -> None:
        for one in self.venues:
            one.control(freeze=is_frozen)

    def _comes_true(self, is_so: Callable[[], bool]) -> bool:
        """Whether something comes true while both markets stand still, now or one of the next times."""
        for _ in range(STILLS):
            self._freeze(True)
            try:
                until(is_so, STILL_S, "")
                return True
            except CampaignError:
                pass
            finally:
                self._freeze(False)
            time.sleep(MOVING_S)
        return False

    def _compare(self, outcome: Outcome, watch: _Watch | None = None) -> None:
        """Both markets stand still: what has arrived by then is the venues' own, or wrong."""
        pending, found = set(range(len(self.run.symbols))), Differing({}, {})

        def is_right() -> bool:
            nonlocal found
            found = compare_books(self.run, self.venues, pending)
            if watch:
                watch.look()
            return not found

        self._comes_true(is_right)
        outcome.compared += len(self.run.symbols) - len(pending)
        outcome.wrong += len(found.standing)
        outcome.problems += [f"VALID, but {one}" for one in list(found.standing.values())[:8]]
        outcome.problems += [f"never stood still to be compared: {one}" for one in list(found.moved.values())[:8]]

    def _check_rest(self, outcome: Outcome) -> None:
        self._compare(outcome)
        for at, venue in enumerate(self.venues):
            half = int((self.run.at == at).sum())
            try:
                # A connection that takes the place of another has its streams while that one still has them.
                until(lambda venue=venue, half=half: not check_subscriptions(venue, STREAMS_A_SYMBOL * half), 5.0, "")  # type: ignore[misc]
            except CampaignError:
                outcome.problems += check_subscriptions(venue, STREAMS_A_SYMBOL * half)
        for instrument in self._traded:
            self._check_orders(outcome, instrument)

    def _check_orders(self, outcome: Outcome, instrument: int) -> None:
        venue = self.venues[int(self.run.at[instrument])]
        if not self._comes_true(lambda: held_here(self.run, instrument) == held_at(venue, _TRADED)):
            outcome.problems.append(
                f"{venue.protocol}: here {held_here(self.run, instrument)}, there {held_at(venue, _TRADED)}"
            )

    def end(self) -> tuple[dict[str, Any], list[str]]:
        """End the run: its summary, and what of it is not as the venues say."""
        summary, problems = self.run.end(), []
        if self.run.process.returncode or summary["faults"]:
            problems.append(f"exit code {self.run.process.returncode}, faults {summary['faults']}")
        held = [held_at(one, _TRADED) for one in self.venues]
        if summary["fills"] != sum(one.fills for one in held):
            problems.append(f"the summary has {summary['fills']} fills, the venues {[one.fills for one in held]}")
        for venue, one in zip(self.venues, held, strict=True):
            position = round(summary["positions"].get(f"{venue.protocol}:{_TRADED}", 0.0) * 1e8)
            if position != one.position:
                problems.append(f"{venue.protocol}: position {position}, not {one.position}")
            if one.working_buy or one.working_sell:
                problems.append(f"{venue.protocol}: orders are left: {one}")
        return summary, problems


def table(outcomes: Sequence[Outcome]) -> str:
    """By kind: how many losses, how long until all was back, what was compared, what was wrong."""
    by_kind = defaultdict[str, list[Outcome]](list)
    for one in outcomes:
        by_kind[one.kind].append(one)
    lines = [
        f"{'kind':<24}{'losses':>7}{'books lost':>12}{'back, median s':>16}{'longest s':>11}{'compared':>10}{'wrong':>7}"
    ]
    for kind, of_it in [*by_kind.items(), ("all", list(outcomes))]:
        back = np.array([one.back_s for one in of_it])
        lines.append(
            f"{kind:<24}{len(of_it):>7}{sum(one.lost for one in of_it):>12}{np.median(back):>16.2f}{back.max():>11.2f}"
            f"{sum(one.compared for one in of_it):>10}{sum(one.wrong for one in of_it):>7}"
        )
    return "\n".join(lines)


def run_campaign(campaign: Campaign, losses: int, say: Any) -> dict[str, Any]:
    """So many losses; the figures of all, ``problems`` empty if all was as it must be."""
    outcomes: list[Outcome] = []
    for number in range(1, losses + 1):
        outcomes.append(campaign.lose(number))
        say(f"{outcomes[-1]}\n")
    summary, problems = campaign.end()
    say(table(outcomes) + "\n")
    return {
        "losses": [asdict(one) for one in outcomes], "symbols": len(campaign.run.symbols), "begun_s": campaign.begun_s,
        "fills": summary["fills"], "orders": summary["orders"], "counters": summary["counters"],
        "problems": [*problems, *(str(one) for one in outcomes if one.problems)],
    }  # fmt: skip


def main(argv: list[str] | None = None) -> int:
    """Run the campaign and say what is not as it must be; the exit code is 0 if nothing is."""
    parser = argparse.ArgumentParser(
        prog="python -m hftpipe.simulation.live_campaign.disconnects", description=__doc__.splitlines()[0]
    )
    parser.add_argument("--losses", type=int, default=100)
    parser.add_argument("--symbols", type=int, default=500, help="of both venues together")
    parser.add_argument("--connections", type=int, default=5, help="of each venue for its market data")
    parser.add_argument("--rate", type=float, default=1500.0, help="events a second of each venue")
    parser.add_argument("--depth", default="shallow", choices=sorted(SNAPSHOT_WEIGHT))
    parser.add_argument("--seed", type=int, default=1)
    parser.add_argument("--json", default="", help="write all figures to this file")
    given = parser.parse_args(argv)
    stop_on_sigterm()

    with tempfile.TemporaryDirectory(prefix="hftpipe-disconnects-") as folder:
        campaign = Campaign(
            Path(folder), given.seed, given.symbols, given.connections, given.rate, given.depth
        )  # fmt: skip
        try:
            found = run_campaign(campaign, given.losses, say)
        finally:
            campaign.close()
    ended = sum(one["endings"] for name, one in found["counters"].items() if "endings" in one)
    return report(
        found,
        given.json,
        f"{given.losses} losses, {found['symbols']} books, {ended} connections ended, {found['orders']} orders, {found['fills']} fills, "
        f"begun in {found['begun_s']:.1f} s",
    )


if __name__ == "__main__":
    sys.exit(main())
