"""The journal of real runs: what the exchange has seen stands in it, whenever the gateway is killed; and what people ask of it."""

import json
import os
import random
import signal
import time
from pathlib import Path
from typing import Any

import pytest
from binance_rig import Venue
from live_orders_rig import KEY, NAME, SECRET, BinanceAccount, BybitAccount, account_at, environment, live, options
from running import configs, hftpipe

from hftpipe.core.schema.records import FILL, NEW
from hftpipe.journal.files import numbered
from hftpipe.journal.reading import JournalFile, read_file
from hftpipe.venues.orders.watchdog import UNDER_WAY_S

pytest_plugins = ("live_exchanges",)
NAMES = ("binance_usdm", "bybit_linear")
KILLS = 3


def folder_of(tmp_path: Path) -> Path:
    (found,) = (tmp_path / "state" / "hftpipe" / f"{NAME}.journal").iterdir()
    return found


def read(tmp_path: Path) -> list[JournalFile]:
    return [read_file(path) for path in numbered(folder_of(tmp_path)).values()]


def rows_of(files: list[JournalFile], kind: int) -> list[Any]:
    return [entry for one in files for entry in one.entries if entry["kind"] == kind]


def seen_by(venue: Venue, name: str) -> set[str]:
    """Client ids of every order that the exchange has ever taken from the account."""
    account = account_at(venue, name)
    if isinstance(account, BybitAccount):
        return {one["orderLinkId"] for one in account.ask("order/history")} | set(account.open())
    assert isinstance(account, BinanceAccount)
    return {one["clientOrderId"] for one in account.ask("allOrders", symbol="BTCUSDT", limit=1000)}


def client_text(id_: int) -> str:
    return f"cm_a_{id_ >> 16 & 0xFFFFFFFF:08x}_{id_ >> 48:04x}{id_ & 0xFFFF:04x}"


def trades_of(venue: Venue, name: str, since_ms: int) -> int:
    return account_at(venue, name).traded(since_ms)[0]


@pytest.mark.parametrize("name", NAMES)
def test_whenever_the_gateway_is_killed_every_order_at_the_exchange_is_in_the_journal(
    venue: Venue, name: str, tmp_path: Path
) -> None:
    draw, before, began_ms = random.Random(name), seen_by(venue, name), int(time.time() * 1000)
    reported = 0
    for _ in range(KILLS):
        with live(venue, name, tmp_path) as run:
            time.sleep(draw.uniform(0.2, 3.0))
            os.kill(run.says("pipeline started")["processes"][3], signal.SIGKILL)
            run.process.wait(60)
        # What risk and strategy were told of before.
        reported += int(json.loads(run.out.read_text())["fills"])
        files = read(tmp_path)
        fills = rows_of(files, FILL)
        assert len(fills) >= reported, "a fill was reported that is not in the journal"
        assert len({int(one["a"]) for one in fills}) == len(fills) <= trades_of(venue, name, began_ms)
        noted = {client_text(int(one["id"])) for one in rows_of(files, NEW)}
        at_exchange = {one.rpartition("_")[0] if one.count("_") == 4 else one for one in seen_by(venue, name) - before}
        assert at_exchange and at_exchange <= noted, at_exchange - noted
        # A dead gateway is a halt that a person clears.
        assert hftpipe(run.env, "resume", NAME, "--yes").returncode == 0
    with live(venue, name, tmp_path) as run:
        run.end()
    verified = hftpipe(run.env, "journal", "verify", NAME)
    assert verified.returncode == 0 and "no problems" in verified.stdout, verified.stdout + verified.stderr
    written = b"".join(path.read_bytes() for path in folder_of(tmp_path).iterdir() if path.suffix == ".journal")
    assert KEY.encode() not in written and SECRET.encode() not in written


def test_a_run_says_what_the_last_one_left_and_answers_what_is_asked_of_it(
    exchanges: dict[str, Venue], tmp_path: Path
) -> None:
    name, venue = "binance_usdm", exchanges["binance"]
    with live(venue, name, tmp_path) as run:
        time.sleep(4)
        os.kill(run.process.pid, signal.SIGKILL)
        run.process.wait(30)
    left = json.loads(hftpipe(run.env, "journal", "state", NAME, "--json").stdout)
    assert left["open"], "it was killed with orders at the exchange"
    order = left["open"][0]["id"]
    shown = hftpipe(run.env, "journal", "show", NAME, "--order", order, "--json").stdout.splitlines()
    kinds = [json.loads(line)["kind"] for line in shown]
    assert kinds[0] == "new" and {json.loads(line)["order"] for line in shown} == {order}
    by_text = hftpipe(run.env, "journal", "show", NAME, "--client-id", client_text(int(order, 16)), "--json").stdout
    assert by_text.splitlines() == shown
    if "ack" in kinds:
        number = json.loads(shown[kinds.index("ack")])["venue_id"]
        by_venue = hftpipe(run.env, "journal", "show", NAME, "--venue-id", number, "--json").stdout
        assert by_venue.splitlines() == shown
    nothing = hftpipe(run.env, "journal", "show", NAME, "--until", "2001-01-01", "--json")
    assert nothing.returncode == 0 and nothing.stdout == ""
    for ending in ("csv", "parquet"):
        target = tmp_path / f"all.{ending}"
        done = hftpipe(run.env, "journal", "show", NAME, "--instrument", "BTCUSDT", "--export", str(target))
        assert done.returncode == 0 and target.stat().st_size > 500, done.stderr
    refused = hftpipe(run.env, "journal", "show", NAME, "--export", str(tmp_path / "all.txt"))
    assert refused.returncode == 2 and ".parquet, .csv" in refused.stderr
    time.sleep(UNDER_WAY_S + 2)
    with live(venue, name, tmp_path) as run:
        told = run.says("orders that were open or unknown when the last run ended")
        assert order in {one["id"] for one in told["orders"]}
        second = hftpipe(
            run.env, "run", *configs("paper", "risk_limits"), "--name", NAME, *options(venue, name, tmp_path)
        )
        assert second.returncode == 2, "one run a journal"
        summary = run.end()
    assert summary["journals"][name]["open_before"] and not summary["journals"][name]["before_ended"]
    assert summary["counters"]["journal"]["entries"] > 0


def test_a_damaged_journal_keeps_a_run_from_starting_and_is_named(exchanges: dict[str, Venue], tmp_path: Path) -> None:
    name, venue = "bybit_linear", exchanges["bybit"]
    with live(venue, name, tmp_path) as run:
        time.sleep(2)
        run.end()
    (path,) = numbered(folder_of(tmp_path)).values()
    one = read_file(path)
    at = int(one.header["head_bytes"]) + 3 * 64
    raw = bytearray(path.read_bytes())
    raw[at + 24] ^= 1
    path.write_bytes(raw)
    done = hftpipe(
        environment(tmp_path, name),
        "run",
        *configs("paper", "risk_limits"),
        "--name",
        NAME,
        *options(venue, name, tmp_path),
    )
    assert done.returncode == 2 and f"{path}: byte {at}: " in done.stderr, done.stderr
    verified = hftpipe(run.env, "journal", "verify", NAME)
    assert verified.returncode == 1 and f"{path}: byte {at}: " in verified.stdout


def test_on_paper_there_is_a_journal_only_where_one_is_asked_for(tmp_path: Path) -> None:
    env = {**os.environ, "HFTPIPE_STATE_DIR": str(tmp_path / "state")}
    common = ["run", *configs("paper", "risk_limits"), "--name", "t-journal-paper", "--duration", "3"]
    assert hftpipe(env, *common).returncode == 0
    base = tmp_path / "state" / "hftpipe" / "t-journal-paper.journal"
    assert not base.exists()
    out, sessions = tmp_path / "out.json", tmp_path / "sessions"
    done = hftpipe(env, *common, "--set", "journal.orders=all", "--json", str(out), "--record", str(sessions))
    assert done.returncode == 0, done.stderr
    summary = json.loads(out.read_text())
    (folder,) = base.iterdir()
    files = [read_file(path) for path in numbered(folder).values()]
    assert len(rows_of(files, NEW)) == summary["orders"] > 0 and len(rows_of(files, FILL)) == summary["fills"]
    verified = hftpipe(env, "replay", str(next(sessions.iterdir())), "--verify")
    assert verified.returncode == 0 and verified.stdout.startswith("identical"), verified.stdout + verified.stderr
    state = json.loads(hftpipe(env, "journal", "state", "t-journal-paper", "--json").stdout)
    held = {row["instrument"]: float(row["position"]) for row in state["positions"]}
    assert state["open"] == [] and held.get("BTCUSDT", 0.0) == summary["position"]


@pytest.mark.parametrize(
    ("key", "value"), [("orders", "some"), ("fsync", "often"), ("fsync_ms", "1"), ("file_mb", "0")]
)
def test_a_wrong_setting_is_refused_by_name(tmp_path: Path, key: str, value: str) -> None:
    env = {**os.environ, "HFTPIPE_STATE_DIR": str(tmp_path)}
    done = hftpipe(env, "run", "--set", f"journal.{key}={value}")
    assert done.returncode == 2 and f"journal.{key} = {value}" in done.stderr and "allowed: " in done.stderr
