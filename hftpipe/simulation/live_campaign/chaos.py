"""A run with real orders at a simulated venue, killed again and again and started again: is anything lost, doubled or left alone?

::

    python -m hftpipe.simulation.live_campaign.chaos --minutes 60
    python -m hftpipe.simulation.live_campaign.chaos --rounds 8 --seed 3 --json out.json

The venue outlives all rounds, and so do journal, state folder and name of the pipeline. A round starts it, lets it trade, has the venue do
something odd (:data:`FAULTS`), and then kills one of its processes, all of them, all and the watchdogs (a machine without power), or lets one
stand still (:data:`ACTS`). What must hold then, by what the venue knows in truth, stands in :mod:`.truth`.
"""

import argparse
import os
import random
import signal
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable
from contextlib import suppress
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

import numpy as np

from hftpipe.core.machine.system_clock import wall_ns
from hftpipe.simulation.live_campaign.client import LiveRun, config_text
from hftpipe.simulation.live_campaign.truth import Books, journal_folder, problems_of, venue_books
from hftpipe.simulation.live_campaign.venue import SimulatedVenue
from hftpipe.simulation.processes import COMMAND, CampaignError, report, say, stop_on_sigterm, until

#: Position of the process among those that a run says it has started.
STAGES = {"market": 0, "strategy": 1, "risk": 2, "gateway": 3}
KILLS = (*(f"kill_{name}" for name in STAGES), "kill_supervisor", "kill_all", "power_loss")
STOPS = ("stop_gateway", "stop_risk", "stop_strategy")
ACTS = (*KILLS, *STOPS)
#: What was told so long before a death may not have been read yet.
_UNREAD_NS = 1_000_000_000
#: After these nobody is left to hear of executions.
_DEAF = ("kill_gateway", "kill_supervisor", "kill_all")
#: What the venue does shortly before, the more often nothing.
FAULTS: tuple[dict[str, Any], ...] = (
    {}, {}, {"order_unknown": 2}, {"order_unavailable": 2}, {"order_delayed": 2, "order_delay_ms": 400}, {"ack_dropped": 2},
    {"drop_next_user": 2}, {"double_next_user": 3}, {"status_5xx": 2}, {"disconnect": "all"},
)  # fmt: skip
PROTOCOL, MARKET = "binance", "usdm"
#: No order may rest for longer after a death, while the watchdogs live; and after the next start, if they died too.
GONE_S, LIMIT_S, TRADE_S = 5.0, 60.0, 60.0
#: What a run may hold; its strategy would hold more.
MAX_POSITION = 0.004
_LIMITED = f'\n[risk.limits."{PROTOCOL}:BTCUSDT"]\nmax_position = "{MAX_POSITION}"\n'


@dataclass
class Round:
    """One life of the pipeline, and what was found; ``problems`` is empty if all was as it must be.

    Attributes:
        first_order_s: from its start to its first order; gone_s: how long its orders outlived it.
    """

    number: int
    act: str
    fault: str
    first_order_s: float = 0.0
    gone_s: float = 0.0
    exit_code: int = 0
    problems: list[str] = field(default_factory=list)

    def __str__(self) -> str:
        return f"round {self.number}, {self.act} after {self.fault or 'nothing'}: {'; '.join(self.problems) or 'ok'}"


class Campaign:
    """One venue and one pipeline that is killed and started again.

    Args:
        folder: for the files of both; seed: decides what happens when.
    """

    def __init__(self, folder: Path, seed: int, rate_per_s: float = 800.0) -> None:
        self._rng, self._folder = random.Random(f"chaos {seed}"), folder
        os.environ["HFTPIPE_STATE_DIR"] = str(folder / "state")
        self._venue = SimulatedVenue(folder, PROTOCOL, MARKET, 1, rate_per_s)
        self._text = config_text([self._venue], "live", "shallow", 1, 10.0) + _LIMITED
        self._name, self._untold_ns = f"live-{os.getpid()}", list[tuple[int, int]]()

    def close(self) -> None:
        """End the venue."""
        self._venue.close()

    def _account(self) -> dict[str, Any]:
        found: dict[str, Any] = self._venue.account()[MARKET]
        return found

    def _open(self) -> int:
        return len(self._account()["openOrders"])

    def _fills(self) -> int:
        return len(self._account()["fills"])

    def _resume(self) -> None:
        """What an operator does after a death, before the next start."""
        subprocess.run([*COMMAND, "resume", self._name, "--yes"], capture_output=True, check=False, timeout=LIMIT_S)

    def round(self, number: int) -> Round:
        """Start it, let it trade, let something happen, and look at what is left."""
        act, fault = self._rng.choice(ACTS), self._rng.choice(FAULTS)
        result = Round(number, act, " ".join(f"{key}={value}" for key, value in fault.items()))
        self._resume()
        began, fills = time.monotonic(), self._fills()
        run = LiveRun(self._folder, [self._venue], self._text, "--cpus", "0-1")
        try:
            until(lambda: self._open() > 0, TRADE_S, "an order")
            result.first_order_s = time.monotonic() - began
            time.sleep(self._rng.uniform(0.0, 2.0))
            if fault:
                self._venue.control(market=MARKET, **fault)
                time.sleep(self._rng.uniform(0.0, 0.5))
            if act in KILLS:
                self._kill(run, act, result)
            else:
                self._stand_still(run, act, result, fills)
        except CampaignError as error:
            result.problems.append(f"{error}; it said: {run.log()[-1500:]}")
        finally:
            run.kill()
        self._venue.control(**dict.fromkeys((key for fault in FAULTS for key in fault if key != "disconnect"), 0))
        result.problems += problems_of(self._look(), self._untold_ns, MAX_POSITION)
        return result

    def _look(self) -> Books:
        """What venue and journal have to say, once what is on its way has come."""
        return venue_books(self._venue, journal_folder(self._folder / "state", self._name))

    def _kill(self, run: LiveRun, act: str, result: Round) -> None:
        began, since = wall_ns(), time.monotonic()
        if act == "power_loss":
            with suppress(ProcessLookupError):
                os.killpg(run.process.pid, signal.SIGKILL)
        for pid in self._victims(run, act):
            with suppress(ProcessLookupError):
                os.kill(pid, signal.SIGKILL)
        if act != "power_loss":
            until(lambda: self._open() == 0, GONE_S, "the end of its orders")
            result.gone_s = time.monotonic() - since
        result.exit_code = run.process.wait(LIMIT_S)
        expected = 1 if act.removeprefix("kill_") in STAGES else -signal.SIGKILL
        if result.exit_code != expected:
            result.problems.append(f"exit code {result.exit_code}, not {expected}")
        if act == "power_loss":
            self._next_of_kin(result, since, began)
            return
        if act in _DEAF:
            self._untold_ns.append((began - _UNREAD_NS, wall_ns()))
        time.sleep(self._rng.uniform(0.0, 1.0))
        if left := self._open():
            result.problems.append(f"{left} orders live on after all was over")

    def _victims(self, run: LiveRun, act: str) -> list[int]:
        if act == "kill_all":
            return [run.process.pid, *run.pids]
        if act == "kill_supervisor":
            return [run.process.pid]
        return [] if act == "power_loss" else [run.pids[STAGES[act.removeprefix("kill_")]]]

    def _next_of_kin(self, result: Round, since: float, died_ns: int) -> None:
        """Nothing of the run lives: the next start finds its orders and cancels them, before it has any of its own."""
        left = self._ids()
        self._resume()
        run = LiveRun(self._folder, [self._venue], self._text, "--cpus", "0-1")
        try:
            until(lambda: not left & self._ids(), LIMIT_S, "the end of the orders of the run before")
            result.gone_s = time.monotonic() - since
            # From here on the one that has started hears of everything.
            self._untold_ns.append((died_ns - _UNREAD_NS, wall_ns()))
            run.end()
        finally:
            run.kill()

    def _ids(self) -> set[str]:
        return {one["clientOrderId"] for one in self._account()["openOrders"]}

    def _stand_still(self, run: LiveRun, act: str, result: Round, fills: int) -> None:
        """One process stands still for a while, and goes on; then the run ends as one does."""
        pid = run.pids[STAGES[act.removeprefix("stop_")]]
        os.kill(pid, signal.SIGSTOP)
        time.sleep(self._rng.uniform(0.1, 1.5))
        os.kill(pid, signal.SIGCONT)
        time.sleep(self._rng.uniform(0.5, 2.0))
        summary = run.end()
        result.exit_code = run.process.returncode
        if left := self._open():
            result.problems.append(f"{left} orders live on after an orderly end")
        there = self._fills() - fills
        if summary["fills"] != there and not summary["stop"]["unknown_because"]:
            result.problems.append(f"the summary says {summary['fills']} fills, the venue {there}")


def run_rounds(campaign: Campaign, is_over: Callable[[int], bool]) -> dict[str, Any]:
    """Rounds until it is over (given how many there were); figures as JSON values."""
    rounds: list[Round] = []
    while not is_over(len(rounds)):
        rounds.append(campaign.round(len(rounds)))
        say(f"{rounds[-1]}\n")
    firsts, gone = ([getattr(one, name) for one in rounds] for name in ("first_order_s", "gone_s"))
    return {
        "rounds": [asdict(one) for one in rounds],
        "kills": sum(one.act in KILLS for one in rounds),
        "first_order_s": {"p50": float(np.median(firsts)), "max": max(firsts)},
        "gone_s": {"p50": float(np.median(gone)), "max": max(gone)},
        "problems": [str(one) for one in rounds if one.problems],
    }


def main(argv: list[str] | None = None) -> int:
    """Run the campaign and say what was found; the exit code is 0 if nothing was wrong."""
    parser = argparse.ArgumentParser(
        prog="python -m hftpipe.simulation.live_campaign.chaos", description=__doc__.splitlines()[0]
    )
    parser.add_argument("--minutes", type=float, default=0.0, help="how long; or:")
    parser.add_argument("--rounds", type=int, default=8)
    parser.add_argument("--seed", type=int, default=1)
    parser.add_argument("--json", default="", help="write all figures to this file")
    given = parser.parse_args(argv)
    stop_on_sigterm()
    ends = time.monotonic() + given.minutes * 60
    with tempfile.TemporaryDirectory(prefix="hftpipe-chaos-") as folder:
        campaign = Campaign(Path(folder), given.seed)
        try:
            found = run_rounds(
                campaign, lambda done: done > 0 and time.monotonic() > ends if given.minutes else done >= given.rounds
            )
        finally:
            campaign.close()
    times = ", ".join(
        f"{name} p50 {found[name]['p50']:.2f} max {found[name]['max']:.2f}" for name in ("first_order_s", "gone_s")
    )
    return report(found, given.json, f"{len(found['rounds'])} rounds, {found['kills']} kills, {times}")


if __name__ == "__main__":
    sys.exit(main())
