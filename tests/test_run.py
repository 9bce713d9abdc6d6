"""The whole pipeline as a user runs it: real processes, real shared memory, the `hftpipe` command."""

import gzip
import json
import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest
from usdm_tape import opened

from hftpipe.core.shared.shm import Segment
from hftpipe.core.trading.order_table import TABLE
from tests.data import DATA, needs_data

REPO = Path(__file__).resolve().parents[1]
USDM = DATA / "binance-usdm-2024" / "usdm_btcusdt_20240808.gz"
SPOT = DATA / "binance-spot-2024" / "spot_ethusdt_20240808.gz"
FILES = ["--config", str(REPO / "configs/paper.toml"), "--config", str(REPO / "configs/risk_limits.toml")]
KEYS = {
    "events", "book_updates", "intents", "orders", "fills", "cancels", "rejects", "drops", "conflations", "position",
    "pnl", "latency_ns", "startup_s", "pss_mb", "context_switches",
}  # fmt: skip
LIMIT_S = 240


MAIN = "from hftpipe.cli import main; main()"


def command(name: str, *flags: str, code: str = MAIN) -> list[str]:
    return [sys.executable, "-c", code, "run", *FILES, "--cpus", "0-1", "--name", name, *flags]


def run(name: str, *flags: str, code: str = MAIN) -> subprocess.CompletedProcess[str]:
    return subprocess.run(command(name, *flags, code=code), capture_output=True, text=True, timeout=LIMIT_S, cwd=REPO)


def start(name: str, *flags: str, new_group: bool = False) -> subprocess.Popen[str]:
    """Start a run and wait until it moves; ``new_group``: it leads a process group of its own."""
    process = subprocess.Popen(
        command(name, *flags), stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True, cwd=REPO,
        process_group=0 if new_group else None,
    )  # fmt: skip
    for _ in range(LIMIT_S * 10):
        line = process.stderr.readline()
        if "pipeline started" in line:
            return process
        if process.poll() is not None:
            break
    pytest.fail(f"did not start: {process.stderr.read()}")


def stages_of(process: subprocess.Popen[str]) -> list[int]:
    children = Path(f"/proc/{process.pid}/task/{process.pid}/children").read_text().split()
    return [int(pid) for pid in children]


def until_open_orders(name: str) -> None:
    """Wait until the gateway of a running pipeline has an open order."""
    table = Segment.attach(name).record("gateway.table", TABLE)
    deadline = time.monotonic() + LIMIT_S
    while not table["n_open"][0]:
        assert time.monotonic() < deadline, "no open order"
        time.sleep(0.005)


def is_gone(pid: int) -> bool:
    try:
        return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0] == "Z"
    except OSError:
        return True


def assert_clean(name: str, pids: list[int]) -> None:
    """No shared-memory segment and no process is left."""
    deadline = time.monotonic() + 10
    while time.monotonic() < deadline and not all(map(is_gone, pids)):
        time.sleep(0.05)
    assert all(map(is_gone, pids))
    assert not Path(f"/dev/shm/hftpipe-{name}").exists()


@pytest.mark.parametrize("processes", ["4", "2", "1"])
def test_a_paper_run_trades_and_sums_up(tmp_path, processes):
    out = tmp_path / "summary.json"
    done = run(f"t-run{processes}", "--duration", "4", "--json", str(out), "--processes", processes)
    assert done.returncode == 0, done.stderr
    summary = json.loads(out.read_text())
    assert summary.keys() >= KEYS
    assert summary["events"] > 1000 and summary["book_updates"] > 1000
    assert summary["orders"] > 0 and summary["fills"] > 0
    assert all(count == 0 for count in summary["drops"].values())
    assert summary["pnl"].keys() == {"realised", "unrealised", "fees"}
    assert summary["latency_ns"]["tick_to_order"]["count"] > 0
    assert {"p50", "p99", "p99_9", "p99_99", "max", "count"} <= summary["latency_ns"]["tick_to_order"].keys()
    assert summary["pss_mb"] > 10 and summary["startup_s"] > 0
    assert len(summary["context_switches"]) == int(processes) + 1
    assert "run ended: duration reached" in done.stdout and "drops" in done.stdout
    assert_clean(f"t-run{processes}", [])


def test_positions_and_fees_agree_between_strategy_risk_and_summary(tmp_path):
    out = tmp_path / "summary.json"
    assert run("t-agree", "--duration", "4", "--json", str(out), "--processes", "2").returncode == 0
    summary = json.loads(out.read_text())
    counters = summary["counters"]
    assert counters["gateway"]["fills"] >= counters["risk"]["fills"] >= counters["strategy"]["fills"] > 0
    assert counters["gateway"]["illegal"] == counters["risk"]["illegal"] == 0
    assert abs(summary["position"]) <= 0.1


@needs_data
def test_a_capture_at_full_speed_is_read_whole_and_nothing_is_dropped(tmp_path):
    out = tmp_path / "summary.json"
    done = run("t-usdm", "--replay", str(USDM), "--speed", "max", "--json", str(out))
    assert done.returncode == 0, done.stderr
    summary = json.loads(out.read_text())
    assert summary["events"] == 93_954
    assert summary["counters"]["market_data"]["trades"] == 21_313
    assert all(count == 0 for count in summary["drops"].values()) and summary["conflations"] == 0
    assert summary["orders"] > 0
    # The strategy stage saw exactly the book updates that the market stage published.
    assert summary["counters"]["market_data"]["bad_messages"] == 0


@needs_data
def test_a_capture_of_a_symbol_nobody_configured_brings_its_own_instrument(tmp_path):
    out = tmp_path / "summary.json"
    done = run("t-eth", "--replay", str(SPOT), "--speed", "max", "--json", str(out))
    assert done.returncode == 0, done.stderr
    assert "instrument taken from the capture" in done.stderr
    summary = json.loads(out.read_text())
    assert list(summary["positions"]) == ["ETHUSDT"] and summary["book_updates"] > 3000


@needs_data
def test_the_udp_venue_trades_in_a_capture_until_its_end(tmp_path):
    capture, out = tmp_path / "head.txt", tmp_path / "summary.json"
    capture.write_bytes(b"".join(gzip.decompress(USDM.read_bytes()).splitlines(keepends=True)[:12_000]))
    done = run(
        "t-udp", "--venue", "udp", "--replay", str(capture), "--speed", "5", "--json", str(out), "--processes", "2"
    )
    assert done.returncode == 0, done.stderr
    summary = json.loads(out.read_text())
    assert summary["reason"] == "end of the recording" and summary["source_errors"] == []
    assert summary["counters"]["market_data"]["trades"] > 500 and summary["book_updates"] > 10_000
    assert summary["orders"] > 0 and all(count == 0 for count in summary["drops"].values())
    assert_clean("t-udp", [])


@pytest.mark.parametrize("speed", ["max", "5"])
def test_one_absurd_time_stamp_stalls_nothing_and_is_named(tmp_path, speed):
    tape, out = opened("BTCUSDT"), tmp_path / "summary.json"
    for number in range(2000):
        tape.depth([["99.99", str(20 + number % 7)]], [])
    stamp, _, rest = tape.lines[1000].partition(" ")
    tape.lines[1000] = f"{int(stamp) + 10 * 365 * 86_400 * 10**9} {rest}"
    done = run("t-absurd", "--replay", tape.write(tmp_path), "--speed", speed, "--json", str(out), "--processes", "2")
    assert done.returncode == 0, done.stderr
    summary = json.loads(out.read_text())
    assert summary["events"] == len(tape.lines) and summary["counters"]["market_data"]["timers"] < 10_000
    assert summary["faults"] == {"market_data.time_jumps": 2}


@needs_data
def test_a_paced_replay_keeps_the_recorded_spacing(tmp_path):
    capture = tmp_path / "two_seconds.txt"
    first = None
    with gzip.open(USDM, "rt") as source, capture.open("w") as target:
        for line in source:
            now = int(line.partition(" ")[0])
            first = first or now
            if now > first + 2_000_000_000:
                break
            target.write(line)
    out = tmp_path / "summary.json"
    assert run("t-paced", "--replay", str(capture), "--speed", "1", "--json", str(out)).returncode == 0
    assert json.loads(out.read_text())["run_s"] >= 1.9


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_a_signal_ends_the_run_cleanly_with_a_summary(number):
    name = f"t-sig{int(number)}"
    process = start(name)
    pids = stages_of(process)
    assert len(pids) == 4
    process.send_signal(number)
    out, _ = process.communicate(timeout=60)
    assert process.returncode == 0
    assert f"run ended: {number.name} received" in out
    assert_clean(name, pids)


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGQUIT])
def test_a_signal_to_every_process_still_cancels_and_confirms(number, tmp_path):
    """``timeout``, ``kill -- -PGID`` and systemd signal the whole group."""
    out = tmp_path / "summary.json"
    process = start(f"t-group{int(number)}", "--json", str(out))
    pids = stages_of(process)
    until_open_orders(f"t-group{int(number)}")
    for pid in (*pids, process.pid):
        os.kill(pid, number)
    process.communicate(timeout=60)
    stop = json.loads(out.read_text())["stop"]
    assert process.returncode == 0 and stop["still_open"] == [] and stop["unknown_because"] == []
    assert stop["open_at_stop"] == 0 or stop["cancels_sent"] > 0
    assert_clean(f"t-group{int(number)}", pids)


def test_a_killed_stage_halts_and_ends_the_run_with_a_summary():
    process = start("t-kill")
    pids = stages_of(process)
    os.kill(pids[1], signal.SIGKILL)
    out, _ = process.communicate(timeout=60)
    assert process.returncode == 1
    assert "process strategy" in out and "killed by SIGKILL" in out and "HALTED" in out
    assert_clean("t-kill", pids)


def test_a_killed_supervisor_leaves_no_process_and_its_segment_is_replaced():
    process = start("t-crash")
    pids = stages_of(process)
    process.kill()
    process.communicate(timeout=60)
    deadline = time.monotonic() + 10
    while time.monotonic() < deadline and not all(map(is_gone, pids)):
        time.sleep(0.05)
    assert all(map(is_gone, pids))
    assert Path("/dev/shm/hftpipe-t-crash").exists()
    done = run("t-crash", "--duration", "1")
    assert done.returncode == 0 and "replaced the segment of a crashed run" in done.stderr
    assert_clean("t-crash", [])


def test_a_second_run_under_the_same_name_is_refused_and_the_first_goes_on():
    process = start("t-twice")
    second = run("t-twice", "--duration", "1")
    assert second.returncode == 2
    assert "/dev/shm/hftpipe-t-twice" in second.stderr and "live run" in second.stderr
    assert process.poll() is None
    process.send_signal(signal.SIGINT)
    process.communicate(timeout=60)
    assert process.returncode == 0


def test_top_attaches_read_only_to_a_running_pipeline():
    process = start("t-top")
    until_open_orders("t-top")
    loaded = "print('compiler loaded:', bool({'numba', 'llvmlite'} & set(sys.modules)), file=sys.stderr)"
    code = f"import atexit, sys\nfrom hftpipe.cli import main\natexit.register(lambda: {loaded})\nmain()"
    top = [sys.executable, "-c", code, "top", "--name", "t-top", "--once"]
    seen = subprocess.run(top, capture_output=True, text=True, timeout=LIMIT_S, env={**os.environ, "COLUMNS": "140"})
    process.send_signal(signal.SIGINT)
    process.communicate(timeout=60)
    assert seen.returncode == 0 and "compiler loaded: False" in seen.stderr, seen.stderr
    assert "BTCUSDT" in seen.stdout and "tick to order" in seen.stdout and "gateway" in seen.stdout
    gone = subprocess.run(top, capture_output=True, text=True, timeout=LIMIT_S)
    assert gone.returncode == 2 and "no pipeline named 't-top' is running" in gone.stderr


def test_changed_parameters_reach_the_running_strategy(tmp_path):
    mine = tmp_path / "mine.toml"
    mine.write_text("[strategy]\nreload_s = 0.1\n[strategy.params]\nspread_bps = 0.5\n")
    process = start("t-reload", "--config", str(mine))
    mine.write_text("[strategy]\nreload_s = 0.1\n[strategy.params]\nspread_bps = -1\n")
    time.sleep(0.7)
    mine.write_text("[strategy]\nreload_s = 0.1\n[strategy.params]\nspread_bps = 2.0\n")
    time.sleep(0.7)
    process.send_signal(signal.SIGINT)
    _, err = process.communicate(timeout=60)
    assert "parameters and limits not changed" in err and "spread_bps" in err
    assert "strategy parameters changed" in err


@pytest.mark.parametrize(
    ("flags", "message"),
    [
        (["--replay", "missing.gz"], "market.replay = missing.gz"),
        (["--strategy", "nothing"], "unknown strategy 'nothing'"),
        (["--cpus", "0-x"], "pipeline.cpus"),
        (["--speed", "0"], "market.speed"),
        (["--processes", "3"], "allowed are 4"),
        (["--venue", "nasdaq"], "pipeline.venue = nasdaq"),
        (["--set", "nonsense"], "write it as KEY=VALUE"),
        (["--set", "risk.limits.BTCUSDT.max_position=-1"], "risk.limits.BTCUSDT.max_position"),
        (["--json", "/nowhere/at/all.json"], "does not exist"),
        (["--config", "nowhere.toml"], "nowhere.toml"),
    ],
)
def test_a_bad_flag_is_refused_in_one_message_without_a_traceback(flags, message):
    done = run("t-bad", *flags)
    assert done.returncode == 2
    assert message in done.stderr and "Traceback" not in done.stderr


@pytest.mark.parametrize(
    ("content", "message"),
    [
        (b"", "is empty"),
        (b"\x00\x01\x02" * 100, "binary data"),
        (b"hello\nworld\n", "no local time in ns"),
        (b'1 {"a": 1}\n', "is a Binance depthUpdate"),
        (gzip.compress(b"1 {}\n" * 100000)[:200], "is a Binance depthUpdate"),
    ],
)
def test_a_file_that_is_no_capture_is_refused_by_name(tmp_path, content, message):
    path = tmp_path / "bad.gz"
    path.write_bytes(content)
    done = run("t-badfile", "--replay", str(path), "--speed", "max")
    assert done.returncode == 2
    assert str(path) in done.stderr and message in done.stderr and "Traceback" not in done.stderr


@needs_data
def test_a_capture_cut_off_in_the_middle_is_used_up_to_the_damage_and_reported(tmp_path):
    path = tmp_path / "cut.gz"
    path.write_bytes(USDM.read_bytes()[:100_000])
    done = run("t-cut", "--replay", str(path), "--speed", "max")
    assert done.returncode == 1
    assert "gzip data is cut off at byte 100000" in done.stdout and "events             2,4" in done.stdout


STRATEGIES = """
import math
from hftpipe.strategy import POST_ONLY, Strategy

class Broken(Strategy):
    def on_book(self, ctx, book):
        x = ctx.nothing_like_this

class NotANumber(Strategy):
    def on_book(self, ctx, book):
        ctx.buy(math.nan, 100000)

class Flood(Strategy):
    def on_book(self, ctx, book):
        for _ in range(100):
            ctx.buy(book.bid, 100000, POST_ONLY)
"""


def test_a_strategy_that_does_not_compile_is_refused_with_file_line_and_hook(tmp_path):
    path = tmp_path / "mine.py"
    path.write_text(STRATEGIES)
    done = run("t-broken", "--strategy", f"{path}:Broken")
    assert done.returncode == 2
    assert f"{path}:7: on_book:" in done.stderr and "nothing_like_this" in done.stderr
    assert "Traceback" not in done.stderr


@pytest.mark.parametrize(("name", "reason"), [("NotANumber", "invalid_value"), ("Flood", "too_many_actions")])
def test_a_hostile_strategy_is_counted_not_obeyed(tmp_path, name, reason):
    path, out = tmp_path / "mine.py", tmp_path / "summary.json"
    path.write_text(STRATEGIES)
    done = run(f"t-{name.lower()}", "--strategy", f"{path}:{name}", "--duration", "2", "--json", str(out))
    assert done.returncode == 0, done.stderr
    summary = json.loads(out.read_text())
    assert summary["rejects"][reason] > 0
    assert summary["orders"] <= 200 and abs(summary["position"]) <= 0.1
