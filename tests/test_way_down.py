"""Every way down with real processes: nothing of ours lives on at the exchange, and the summary says what is true."""

import json
import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest
from test_run import FILES, REPO, stages_of, start

from hftpipe.simulation import exit_campaign
from hftpipe.simulation.exit_campaign import Campaign, Exchange, until

CODE = "from hftpipe.cli import main; main()"


@pytest.fixture(scope="module")
def campaign(tmp_path_factory):
    one = Campaign(tmp_path_factory.mktemp("exits"), 1)
    yield one
    one.close()


@pytest.mark.parametrize(
    ("path", "transport"),
    [("sigint", "udp"), ("sighup", "tcp"), ("duration", "tcp"), ("end_of_recording", "udp"), ("kill_strategy", "udp"),
     ("kill_gateway", "udp"), ("kill_gateway", "tcp"), ("kill_supervisor", "udp")],
)  # fmt: skip
def test_no_order_outlives_its_run_and_the_summary_is_the_exchanges_truth(campaign, path, transport):
    result = campaign.run(next(NUMBERS), path, transport)
    assert not result.problems, str(result)
    assert result.path == "end_of_recording" or result.open_at_end or result.fills or path == "duration"


NUMBERS = iter(range(1, 1000))


def against(exchange: Exchange, name: str, *flags: str) -> subprocess.Popen[str]:
    command = [sys.executable, "-c", CODE, "run", *FILES, "--cpus", "0-1", "--venue", "udp", "--name", name]
    command += [*exchange.flags("udp"), *flags]
    return subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True, cwd=REPO)


@pytest.fixture
def exchange(tmp_path):
    one = Exchange(tmp_path, 400.0)
    yield one
    one.close()


def test_a_venue_that_confirms_nothing_leaves_its_orders_listed_and_the_run_failed(exchange, tmp_path):
    """The exchange is stopped: cancels go out, none is answered."""
    out = tmp_path / "summary.json"
    run = against(exchange, "t-unconfirmed", "--json", str(out), "--set", "pipeline.stop_timeout_s=1")
    until(lambda: len(exchange.truth.now()["orders"]) == 2, 60, "two orders")
    os.kill(exchange._process.pid, signal.SIGSTOP)
    time.sleep(0.3)
    run.send_signal(signal.SIGTERM)
    text, _ = run.communicate(timeout=60)
    os.kill(exchange._process.pid, signal.SIGCONT)
    stop = json.loads(out.read_text())["stop"]
    assert run.returncode == 1 and "STILL OPEN" in text and "NOT KNOWN" in text
    assert len(stop["still_open"]) >= 1 and stop["unknown_because"] and not stop["venue_ended"]
    assert {"id", "instrument", "side", "price", "qty", "filled", "state"} == stop["still_open"][0].keys()
    assert stop["cancels_sent"] >= 1 and stop["cancels_confirmed"] == 0


def test_a_second_signal_shortens_the_wait_and_says_so(exchange, tmp_path):
    run = against(exchange, "t-hurry", "--set", "pipeline.stop_timeout_s=120", "--set", "log.format=json")
    until(lambda: exchange.truth.now()["orders"], 60, "an order")
    os.kill(exchange._process.pid, signal.SIGSTOP)
    time.sleep(0.3)
    run.send_signal(signal.SIGINT)
    time.sleep(1)
    assert run.poll() is None, "it waits for what is open"
    run.send_signal(signal.SIGINT)
    _, log = run.communicate(timeout=60)
    os.kill(exchange._process.pid, signal.SIGCONT)
    assert run.returncode == 1 and "asked again while stopping" in log


def test_an_account_in_use_ends_the_second_run_by_name_and_the_first_goes_on(exchange, tmp_path):
    first = against(exchange, "t-first")
    until(lambda: exchange.truth.now()["orders"], 60, "an order")
    out = tmp_path / "second.json"
    second = against(exchange, "t-second", "--json", str(out), "--set", "udp.login_timeout_s=1")
    text, log = second.communicate(timeout=60)
    facts = json.loads(out.read_text())
    assert second.returncode == 1 and facts["halted"] == "login_refused", text + log
    assert "no log-in at the venue" in facts["reason"] and facts["orders"] == 0
    assert '"cause":"login_refused"' in log.replace(" ", "") and facts["faults"] == {"gateway.login_refused": 1}
    before = exchange.truth.now()["requests"]
    until(lambda: exchange.truth.now()["requests"] > before, 30, "a request of the first")
    first.send_signal(signal.SIGINT)
    first.communicate(timeout=60)
    assert first.returncode == 0 and exchange.truth.now()["orders"] == []


@pytest.mark.parametrize("killed", [0, 1, 2], ids=["market", "strategy", "risk"])
def test_the_paper_venue_confirms_cancels_though_a_stage_is_dead(killed, tmp_path):
    out = tmp_path / "summary.json"
    process = start(f"t-paper{killed}", "--json", str(out))
    time.sleep(1)
    os.kill(stages_of(process)[killed], signal.SIGKILL)
    process.communicate(timeout=60)
    stop = json.loads(out.read_text())["stop"]
    assert process.returncode == 1 and stop["still_open"] == []
    assert bool(stop["unknown_because"]) == (killed == 2), "only what died with risk may be missing"


def test_every_way_down_is_one_of_the_campaigns():
    assert set(exit_campaign.PATHS) >= {"sigint", "sigterm", "sighup", "duration", "end_of_recording"}
    assert len([path for path in exit_campaign.PATHS if path.startswith("kill_")]) == 5


def test_the_campaign_fails_when_an_order_lives_on(campaign):
    """The checker itself: a truth with an order of ours is a problem."""
    result = exit_campaign.Run(1, "sigint", "udp")
    nothing = {"BTCUSDT": {"bought": 0, "sold": 0, "fills": 0}}
    some = {"BTCUSDT": {"bought": 5, "sold": 0, "fills": 1}}
    facts = {"stop": {"unknown_because": []}, "fills": 0, "positions": {"BTCUSDT": 0.0}}
    campaign._compare(result, facts, nothing, some)
    assert "the summary says" in result.problems[0]
    quiet = exit_campaign.Run(2, "sigint", "udp", exit_code=1)
    campaign._compare(quiet, facts | {"stop": {"unknown_because": ["x"]}}, nothing, some)
    assert quiet.problems == [] and Path(campaign._folder).exists()
