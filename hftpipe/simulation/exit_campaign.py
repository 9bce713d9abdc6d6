"""Every way down, with real processes: does anything of ours live on at the exchange, and does the summary tell the truth?

::

    python -m hftpipe.simulation.exit_campaign --runs 200        # one line for each run that fails
    python -m hftpipe.simulation.exit_campaign --runs 6 --paths kill_gateway,sigint --transports udp

A run is ``hftpipe run`` against an exchange in a process of its own, ended in one of the ways of :data:`PATHS` at a random
moment. The exchange writes down what it knows (``--truth``): within :data:`GONE_S` of the end no order of the account may
rest there, and the fills and position of the summary must be what the exchange executed, or the summary must say that
it does not know. The exchange outlives the runs; only the end of a recording needs one of its own, embedded in the run
(a process beside the stages all the same).
"""

import argparse
import itertools
import json
import os
import random
import signal
import subprocess
import sys
import tempfile
import time
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from hftpipe.simulation.processes import COMMAND, CampaignError, free_port, until, with_parent

TRANSPORTS = ("udp", "tcp")
SIGNALS = {"sigint": signal.SIGINT, "sigterm": signal.SIGTERM, "sighup": signal.SIGHUP}
#: Position of the process that is killed among those that the run says it has started; -1: the supervisor.
KILLED = {"kill_market": 0, "kill_strategy": 1, "kill_risk": 2, "kill_gateway": 3, "kill_supervisor": -1}
PATHS = (*SIGNALS, "duration", "end_of_recording", *KILLED)
USER, SYMBOL = "HFTPIP", "BTCUSDT"
GONE_S, START_S, TRADE_S, END_S = 5.0, 240.0, 30.0, 60.0
#: Runs on one exchange: who joins later has all that its session has sent to catch up with first.
RUNS_PER_EXCHANGE = 20
_E8 = 10**8


class Truth:
    """What an exchange writes down about the account."""

    def __init__(self, file: Path) -> None:
        self.file = file

    def after(self, moment_ns: int) -> dict[str, Any] | None:
        """The account as written after ``moment_ns`` (monotonic), if it has been."""
        if not self.file.exists():
            return None
        written = json.loads(self.file.read_bytes())
        account: dict[str, Any] = written["accounts"][USER]
        return account if written["written_ns"] >= moment_ns else None

    def logged_out(self) -> dict[str, Any] | None:
        """The account as it is from this moment on, if nobody is logged in."""
        account = self.now()
        return None if account["connected"] else account

    def now(self) -> dict[str, Any]:
        """The account as it is from this moment on."""
        asked = time.monotonic_ns()
        return until(lambda: self.after(asked), 10.0, "the exchange's truth")


class Exchange:
    """An exchange in a process of its own, for many runs."""

    def __init__(self, folder: Path, rate_per_s: float) -> None:
        self.ports = {"port_a": free_port(), "port_b": free_port()}
        truth, ports = folder / "truth.json", folder / "ports"
        truth.unlink(missing_ok=True)
        ports.unlink(missing_ok=True)
        flags = [f"--{name.replace('_', '-')}={port}" for name, port in self.ports.items()]
        self._process = subprocess.Popen(
            [*COMMAND, "sim-exchange", "--protocol", "itch", *flags, f"--rate={rate_per_s}", f"--truth={truth}",
             f"--ports-file={ports}"],
            stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL, preexec_fn=with_parent,
        )  # fmt: skip
        until(lambda: ports.exists() and ports.read_text().count("\n") == 5 and truth.exists(), START_S, "the exchange")
        for line in ports.read_text().splitlines():
            name, _, value = line.partition("=")
            self.ports[name] = int(value)
        self.truth = Truth(truth)

    def flags(self, transport: str) -> list[str]:
        """Flags of a run against it."""
        port = self.ports["order_port" if transport == "udp" else "tcp_port"]
        keys = {"embedded": "false", "order_port": port, "request_port": self.ports["request_port"]}
        keys |= {name: self.ports[name] for name in ("port_a", "port_b")}
        return [item for name, value in keys.items() for item in ("--set", f"udp.{name}={value}")]

    def close(self) -> None:
        """End it."""
        self._process.send_signal(signal.SIGINT)
        self._process.wait(END_S)


@dataclass
class Run:
    """One run: how it ended, and what was found; ``problems`` is empty if it was as it must be."""

    number: int
    path: str
    transport: str
    gone_s: float = 0.0
    exit_code: int = 0
    fills: int = 0
    open_at_end: int = 0
    said_unknown: bool = False
    problems: list[str] = field(default_factory=list)

    def __str__(self) -> str:
        return f"run {self.number} {self.path} {self.transport}: {'; '.join(self.problems) or 'ok'}"


def capture(folder: Path, rng: random.Random, seconds: float) -> Path:
    """A USD-M capture of a market that moves, for a run that ends with its recording."""
    lines, mid, last, start = [], 60_000 * 10, 100, 1_700_000_000 * 10**9

    def levels(side: int) -> list[list[str]]:
        return [[f"{(mid + side * (n + 1)) / 10:.1f}", f"{1 + n}.000"] for n in range(5)]

    def add(ms: int, data: dict[str, Any], stream: str = "") -> None:
        text = json.dumps({"stream": stream, "data": data} if stream else data, separators=(",", ":"))
        lines.append(f"{start + ms * 10**6} {text}")

    add(0, {"lastUpdateId": last, "bids": levels(-1), "asks": levels(1)})
    for ms in range(1, int(seconds * 1000), 5):
        old = [levels(-1), levels(1)]
        mid += rng.choice((-1, 0, 0, 1))
        changes = [
            {price: "0" for price, _ in gone} | dict(new)
            for gone, new in zip(old, (levels(-1), levels(1)), strict=True)
        ]
        ids = {"U": last + (last > 100), "u": last + 1, "pu": last}
        head = {"e": "depthUpdate", "E": ms, "T": ms, "s": SYMBOL}
        sides = {name: [list(one) for one in side.items()] for name, side in zip("ba", changes, strict=True)}
        add(ms, head | ids | sides, f"{SYMBOL.lower()}@depth@0ms")
        last += 1
        taker = rng.random() < 0.5
        price = f"{(mid - 1 if taker else mid + 1) / 10:.1f}"
        trade = {
            "e": "trade",
            "E": ms,
            "T": ms,
            "s": SYMBOL,
            "t": ms,
            "p": price,
            "q": "0.500",
            "X": "MARKET",
            "m": taker,
        }
        add(ms, trade, f"{SYMBOL.lower()}@trade")
    file = folder / "capture.txt"
    file.write_text("\n".join(lines) + "\n")
    return file


class Client:
    """One ``hftpipe run``; its error output goes to a file, where the pids of its processes are read."""

    def __init__(self, folder: Path, number: int, flags: list[str]) -> None:
        self.summary, self._log = folder / f"summary-{number}.json", folder / f"log-{number}"
        name = f"exits-{os.getpid()}-{number}"
        environment = os.environ | {"HFTPIPE_STATE_DIR": str(folder / f"state-{number}")}
        with self._log.open("w") as log:
            self.process = subprocess.Popen(
                [*COMMAND, "run", "--venue", "udp", "--name", name, "--json", str(self.summary), *flags,
                 "--set", "log.format=json"],
                stdout=subprocess.DEVNULL, stderr=log, env=environment, start_new_session=True,
            )  # fmt: skip
        self._segment = Path(f"/dev/shm/hftpipe-{name}")

    def pids(self) -> list[int]:
        """Of its stage processes, in the order of the pipeline."""

        def started() -> list[int] | None:
            if self.process.poll() is not None:
                raise CampaignError(f"the run did not start:\n{self._log.read_text()}")
            found = [line for line in self._log.read_text().splitlines() if "pipeline started" in line]
            if not found:
                return None
            pids: list[int] = json.loads(found[0])["processes"]
            return pids

        return until(started, START_S, "the run")

    def end(self, seconds: float = END_S) -> int:
        """Its exit code; nothing of it is left behind.

        Raises:
            CampaignError: it did not end within so many seconds.
        """
        try:
            return self.process.wait(seconds)
        except subprocess.TimeoutExpired as error:
            text = self._log.read_text()[-2000:]
            raise CampaignError(f"the run did not end within {seconds:g} s:\n{text}") from error
        finally:
            if self.process.poll() is None:
                self.process.kill()
                self.process.wait()
            self._segment.unlink(missing_ok=True)

    def facts(self) -> dict[str, Any] | None:
        """The summary, if there is one."""
        return json.loads(self.summary.read_bytes()) if self.summary.exists() else None


class Campaign:
    """Runs in all ways, on one exchange.

    Args:
        seed: decides when and how each run ends.
        rate_per_s: events of the exchange's market.
    """

    def __init__(self, folder: Path, seed: int, rate_per_s: float = 400.0) -> None:
        self._folder, self._rng, self._rate_per_s = folder, random.Random(f"exits {seed}"), rate_per_s
        self._exchange = Exchange(folder, rate_per_s)

    def _renew(self) -> None:
        self._exchange.close()
        self._exchange = Exchange(self._folder, self._rate_per_s)

    def close(self) -> None:
        """End the exchange."""
        self._exchange.close()

    def run(self, number: int, path: str, transport: str) -> Run:
        """One run, ended in the way of ``path``."""
        result = Run(number, path, transport)
        flags = ["--cpus", "0-1", "--set", f"udp.transport={transport}"]
        if path == "end_of_recording":
            return self._with_recording(result, flags)
        if number and number % RUNS_PER_EXCHANGE == 0:
            self._renew()
        moment_s = self._rng.uniform(0.0, 1.5)
        before = until(self._exchange.truth.logged_out, 10.0, "the last session")
        flags += self._exchange.flags(transport) + (
            ["--duration", f"{moment_s + 1.5:.2f}"] if path == "duration" else []
        )
        client = Client(self._folder, number, flags)
        pids = client.pids()
        if path != "duration":
            until(lambda: self._exchange.truth.now()["requests"] > before["requests"] + 3, TRADE_S, "an order")
            time.sleep(moment_s)
            result.open_at_end = len(self._exchange.truth.now()["orders"])
            self._end(client, pids, path)
        ended = time.monotonic()
        result.gone_s = self._until_gone(result, ended) if path in KILLED else 0.0
        result.exit_code = client.end()
        if path not in KILLED:
            result.gone_s = self._until_gone(result, time.monotonic())
        self._compare(result, client.facts(), before["executed"], self._exchange.truth.now()["executed"])
        return result

    def _end(self, client: Client, pids: list[int], path: str) -> None:
        if path in SIGNALS:
            client.process.send_signal(SIGNALS[path])
        elif KILLED[path] < 0:
            client.process.kill()
        else:
            os.kill(pids[KILLED[path]], signal.SIGKILL)

    def _until_gone(self, result: Run, since: float) -> float:
        """Seconds until no order of the account rests at the exchange."""
        while left := self._exchange.truth.now()["orders"]:
            if time.monotonic() - since > GONE_S:
                result.problems.append(f"{len(left)} orders live on: {left[0]}")
                break
        return time.monotonic() - since

    def _with_recording(self, result: Run, flags: list[str]) -> Run:
        """An exchange of the run's own plays a capture; what it has written at the end is the truth."""
        file = self._folder / f"truth-{result.number}.json"
        tape = capture(self._folder, self._rng, self._rng.uniform(0.5, 2.0))
        ports = {"port_a": free_port(), "port_b": free_port(), "truth_file": file}
        settings = [item for name, value in ports.items() for item in ("--set", f"udp.{name}={value}")]
        client = Client(self._folder, result.number, [*flags, *settings, "--replay", str(tape)])
        result.exit_code = client.end(START_S)
        account = json.loads(file.read_bytes())["accounts"][USER]
        if account["orders"]:
            result.problems.append(f"{len(account['orders'])} orders live on: {account['orders'][0]}")
        nothing = {SYMBOL: dict.fromkeys(("bought", "sold", "fills"), 0)}
        self._compare(result, client.facts(), nothing, account["executed"])
        return result

    def _compare(self, result: Run, facts: dict[str, Any] | None, before: Any, after: Any) -> None:
        """The summary against the exchange."""
        executed = {name: after[SYMBOL][name] - before[SYMBOL][name] for name in ("bought", "sold", "fills")}
        result.fills = executed["fills"]
        expected = {"kill_supervisor": -signal.SIGKILL}.get(result.path, int(result.path in KILLED))
        if facts is None:
            result.said_unknown = True
            if result.path != "kill_supervisor":
                result.problems.append("there is no summary")
        else:
            result.said_unknown = bool(facts["stop"]["unknown_because"])
            expected = max(expected, int(result.said_unknown))
            found = {"fills": facts["fills"], "position": round(facts["positions"][SYMBOL] * _E8)}
            wanted = {"fills": executed["fills"], "position": executed["bought"] - executed["sold"]}
            if found != wanted and not result.said_unknown:
                result.problems.append(f"the summary says {found}, the exchange {wanted}")
        if result.exit_code != expected:
            result.problems.append(f"exit code {result.exit_code}, not {expected}")


def total(results: list[Run]) -> str:
    """The figures of a campaign; how long orders outlived a kill, a way down at a time."""
    failed = sum(bool(one.problems) for one in results)
    lines = [
        f"{len(results)} runs, {failed} failed, {sum(one.open_at_end for one in results)} orders open when ended, "
        f"{sum(one.fills for one in results)} fills, {sum(one.said_unknown for one in results)} not known and said so"
    ]
    for path in dict.fromkeys(one.path for one in results):
        mine = [one for one in results if one.path == path]
        unknown = sum(one.said_unknown for one in mine)
        slowest = max(one.gone_s for one in mine)
        lines.append(f"  {path:<17} {len(mine):>4} runs, slowest until gone {slowest:.2f} s, {unknown} not known")
    return "\n".join(lines)


def main(argv: list[str] | None = None) -> int:
    """Run the campaign and say which runs fail; the exit code is 0 if none does."""
    parser = argparse.ArgumentParser(
        prog="python -m hftpipe.simulation.exit_campaign", description=__doc__.splitlines()[0]
    )
    parser.add_argument("--runs", type=int, default=200)
    parser.add_argument("--seed", type=int, default=1)
    parser.add_argument("--paths", default=",".join(PATHS), help="ways down, in turn")
    parser.add_argument("--transports", default=",".join(TRANSPORTS))
    given = parser.parse_args(argv)
    kinds = list(itertools.product(given.paths.split(","), given.transports.split(",")))
    results: list[Run] = []
    with tempfile.TemporaryDirectory(prefix="hftpipe-exits-") as folder:
        campaign = Campaign(Path(folder), given.seed)
        try:
            for number, (path, transport) in zip(range(given.runs), itertools.cycle(kinds), strict=False):
                results.append(campaign.run(number, path, transport))
                if results[-1].problems:
                    sys.stdout.write(f"{results[-1]}\n")
                    sys.stdout.flush()
        finally:
            campaign.close()
    sys.stdout.write(total(results) + "\n")
    return int(any(one.problems for one in results))


if __name__ == "__main__":
    sys.exit(main())
