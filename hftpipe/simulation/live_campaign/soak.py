"""A soak: ten thousand messages a second for an hour, and whether any process grows.

::

    python -m hftpipe.simulation.live_campaign.soak --minutes 60
    python -m hftpipe.simulation.live_campaign.soak --minutes 0.5 --json out.json

``hftpipe run`` follows a made-up Binance USD-M that sends so many messages a second (:mod:`.flood`), with orders on paper, and a
simulated Bybit beside it, with real orders there. Memory (PSS, and RSS, which counts what is shared in each process), descriptors
and threads of every process of the run are sampled; after the warm-up they must be flat: no line through the samples of a process
may gain more than :data:`GROWTH` of its memory, and descriptors and threads stay within what they were.
"""

import argparse
import sys
import tempfile
import time
from collections.abc import Callable, Sequence
from contextlib import ExitStack
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np

from hftpipe.core.schema.records import VALID
from hftpipe.simulation.live_campaign.client import LiveRun, soak_config
from hftpipe.simulation.live_campaign.flood import Flood
from hftpipe.simulation.live_campaign.venue import SimulatedVenue
from hftpipe.simulation.processes import report, say, stop_on_sigterm, until

#: Of the time, before anything is judged: rings and tables are gone through once, and pages come to be used.
WARM_UP, LONGEST_WARM_UP_S = 0.3, 600.0
#: What a line through the samples may gain over the judged time: bytes, and of the process's memory.
GROWTH, GROWTH_BYTES = 0.01, 1 << 20
FLOODED, BEGUN_S = 50, 120.0
_KB = 1024


@dataclass
class Samples:
    """What was seen of one process.

    Attributes:
        name: what it runs; seconds: when; pss, rss: bytes; descriptors, threads: how many.
    """

    name: str
    seconds: list[float] = field(default_factory=list)
    pss: list[int] = field(default_factory=list)
    rss: list[int] = field(default_factory=list)
    descriptors: list[int] = field(default_factory=list)
    threads: list[int] = field(default_factory=list)


def children_of(pid: int) -> list[int]:
    """Child processes, those of all threads."""
    found: list[int] = []
    for file in Path(f"/proc/{pid}/task").glob("*/children"):
        try:
            found += map(int, file.read_text().split())
        except OSError:
            continue
    return found


def family_of(pid: int) -> list[int]:
    """A process and all below it."""
    return [pid, *(one for child in children_of(pid) for one in family_of(child))]


def _sizes(pid: int) -> dict[str, int]:
    lines = (line.split() for line in Path(f"/proc/{pid}/smaps_rollup").read_text().splitlines()[1:])
    return {words[0]: int(words[1]) * _KB for words in lines if len(words) >= 3}


def sample(pid: int, into: Samples, now_s: float) -> None:
    """Look at a process once; one that has just ended is not seen."""
    folder = Path(f"/proc/{pid}")
    try:
        sizes, descriptors = _sizes(pid), len(list((folder / "fd").iterdir()))
        threads = len(list((folder / "task").iterdir()))
    except OSError:
        return
    into.seconds.append(now_s)
    into.pss.append(sizes["Pss:"])
    into.rss.append(sizes["Rss:"])
    into.descriptors.append(descriptors)
    into.threads.append(threads)


def gained(seconds: Sequence[float], values: Sequence[int]) -> float:
    """What a straight line through samples (least squares) gains from the first to the last of them."""
    if len(seconds) < 3:
        return 0.0
    return float(np.polyfit(seconds, values, 1)[0]) * (seconds[-1] - seconds[0])


def judge(one: Samples, from_s: float) -> tuple[dict[str, Any], list[str]]:
    """Figures of a process from ``from_s`` on, and what of them is not flat."""
    kept = [at for at, second in enumerate(one.seconds) if second >= from_s]
    if len(kept) < 3:
        return {"name": one.name, "samples": len(kept)}, [f"{one.name}: seen only {len(kept)} times"]
    seconds, problems = [one.seconds[at] for at in kept], []
    made: dict[str, Any] = {"name": one.name, "samples": len(kept)}
    for name in ("pss", "rss"):
        values = [getattr(one, name)[at] for at in kept]
        gain = gained(seconds, values)
        made |= {
            f"{name}_first": values[0],
            f"{name}_last": values[-1],
            f"{name}_most": max(values),
            f"{name}_gained": gain,
        }
        if gain > GROWTH_BYTES + GROWTH * values[0]:
            problems.append(f"{one.name}: {name} gains {gain / 1e6:.1f} MB of {values[0] / 1e6:.1f}")
    for name in ("descriptors", "threads"):
        values = [getattr(one, name)[at] for at in kept]
        made |= {
            f"{name}_first": values[0],
            f"{name}_last": values[-1],
            f"{name}_least": min(values),
            f"{name}_most": max(values),
        }
        if min(values[-3:]) > max(values[: max(1, len(values) // 3)]):
            problems.append(f"{one.name}: {name} went from {values[0]} to {values[-1]}")
    return made, problems


class Soak:
    """The venues, the run and what is seen of it."""

    def __init__(self, folder: Path, rate_per_s: float) -> None:
        names = ["BTCUSDT", *(f"S{number:02}USDT" for number in range(1, FLOODED))]
        self.flood, self._rate = Flood(names, rate_per_s), rate_per_s
        self._bybit: SimulatedVenue | None = None
        with ExitStack() as undo:
            undo.callback(self.close)
            self._bybit = SimulatedVenue(folder, "bybit", "linear", 10, 100.0)
            self.run = LiveRun(
                folder, [self._bybit], soak_config(self.flood.address, names, self._bybit), "--cpus", "0-1"
            )
            until(lambda: (self.run.states == VALID).all(), BEGUN_S, "books of all symbols")
            undo.pop_all()
        self.rates: list[float] = []

    def close(self) -> None:
        """End everything."""
        if hasattr(self, "run"):
            self.run.kill()
        if self._bybit:
            self._bybit.close()
        self.flood.close()

    def watch(self, seconds: float, every_s: float, say: Callable[[str], None]) -> dict[int, Samples]:
        """Samples of every process of the run for so long."""
        stages = dict(zip(self.run.pids, self.run.stage_names, strict=False))
        found: dict[int, Samples] = {}
        began, sent, seen_s = time.monotonic(), self.flood.sent, time.monotonic()
        while (now := time.monotonic() - began) < seconds:
            for pid in family_of(self.run.process.pid):
                name = "supervisor" if pid == self.run.process.pid else stages.get(pid, "beside a stage")
                sample(pid, found.setdefault(pid, Samples(f"{name} ({pid})")), now)
            time.sleep(every_s)
            passed, seen_s = time.monotonic() - seen_s, time.monotonic()
            self.rates.append((self.flood.sent - sent) / passed)
            sent = self.flood.sent
            if len(self.rates) % max(1, round(60 / every_s)) == 0:
                valid = int((self.run.states == VALID).sum())
                pss = sum(one.pss[-1] for one in found.values()) / 1e6
                say(
                    f"{now / 60:.0f} min: {self.rates[-1]:,.0f} messages/s, {valid} books VALID, PSS of all {pss:.1f} MB\n"
                )
        return found


def run_soak(soak: Soak, seconds: float, every_s: float, say: Callable[[str], None]) -> dict[str, Any]:
    """Watch for so long and end the run; figures, ``problems`` empty if all is flat."""
    found = soak.watch(seconds, every_s, say)
    valid, books = int((soak.run.states == VALID).sum()), len(soak.run.symbols)
    from_s = min(WARM_UP * seconds, LONGEST_WARM_UP_S)
    judged = [judge(one, from_s) for one in found.values()]
    problems = [problem for _, of_one in judged for problem in of_one]
    summary = soak.run.end()
    links = {name: one for name, one in summary["counters"].items() if "messages" in one}
    if valid < books:
        problems.append(f"only {valid} of {books} books were VALID at the end")
    if soak.run.process.returncode or summary["faults"]:
        problems.append(
            f"exit code {soak.run.process.returncode}, faults {summary['faults']}:\n{soak.run.log()[-4000:]}"
        )
    return {
        "seconds": seconds, "judged_from_s": from_s, "rate_per_s": float(np.mean(soak.rates)),
        "slowest_per_s": float(np.min(soak.rates)), "sent": soak.flood.sent, "late": soak.flood.late, "links": links,
        "processes": [made for made, _ in judged], "events": summary["events"], "orders": summary["orders"],
        "fills": summary["fills"], "problems": problems,
    }  # fmt: skip


def table(found: dict[str, Any]) -> str:
    """The figures of every process."""
    lines = [
        f"{'process':<32}{'PSS MB':>18}{'gained MB':>11}{'RSS MB':>18}{'gained MB':>11}{'descriptors':>14}{'threads':>10}"
    ]
    for one in found["processes"]:
        if "pss_first" not in one:
            lines.append(f"{one['name']:<32}  seen {one['samples']} times")
            continue
        cells = [f"{one[f'{name}_first'] / 1e6:.1f} -> {one[f'{name}_last'] / 1e6:.1f}" for name in ("pss", "rss")]
        counts = [f"{one[f'{name}_least']}..{one[f'{name}_most']}" for name in ("descriptors", "threads")]
        lines.append(
            f"{one['name']:<32}{cells[0]:>18}{one['pss_gained'] / 1e6:>11.2f}{cells[1]:>18}{one['rss_gained'] / 1e6:>11.2f}"
            f"{counts[0]:>14}{counts[1]:>10}"
        )
    return "\n".join(lines)


def main(argv: list[str] | None = None) -> int:
    """Run the soak and say what is not flat; the exit code is 0 if all is."""
    parser = argparse.ArgumentParser(
        prog="python -m hftpipe.simulation.live_campaign.soak", description=__doc__.splitlines()[0]
    )
    parser.add_argument("--minutes", type=float, default=60.0)
    parser.add_argument("--rate", type=float, default=10_000.0, help="messages a second")
    parser.add_argument("--every", type=float, default=5.0, help="seconds between samples")
    parser.add_argument("--json", default="", help="write all figures to this file")
    given = parser.parse_args(argv)
    stop_on_sigterm()

    with tempfile.TemporaryDirectory(prefix="hftpipe-soak-") as folder:
        soak = Soak(Path(folder), given.rate)
        try:
            found = run_soak(soak, given.minutes * 60, given.every, say)
        finally:
            soak.close()
    say(table(found) + "\n")
    return report(
        found,
        given.json,
        f"{given.minutes:g} min, {found['sent']:,} messages sent, {found['rate_per_s']:,.0f}/s (slowest sample "
        f"{found['slowest_per_s']:,.0f}/s), {found['events']:,} events, {found['orders']:,} orders, {found['fills']:,} fills",
    )


if __name__ == "__main__":
    sys.exit(main())
