"""Rules that change and instruments that are delisted while a pipeline runs: noticed, named, halted; the rest goes on."""

import json
import os
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import numpy as np
import pytest
import requests
from binance_rig import Venue
from bybit_venue import bybit_venue
from live_rig import StageRig
from running import Running, configs, hftpipe

from hftpipe.core.schema.cells import NOT_TRADED, RULES_CHANGED
from hftpipe.core.schema.halts import place_of, scope_words
from hftpipe.core.schema.instruments import INSTRUMENT
from hftpipe.venues.live import listing_watch
from hftpipe.venues.live.source import LIVE

pytest.importorskip("aiohttp", reason="the simulated venues need aiohttp (hftpipe[sim])")
TICKS = {
    "usdm": {"BTCUSDT": ("0.10", "0.001"), "ETHUSDT": ("0.01", "0.001")},
    "spot": {"BTCUSDT": ("0.01", "0.00001"), "ETHUSDT": ("0.01", "0.0001")},
}
TICKS["linear"] = TICKS["usdm"]
START: dict[str, Callable[..., Venue]] = {"binance": Venue, "bybit": bybit_venue}
CLOSED = {"binance": "BREAK", "bybit": "Closed"}


def tables(market: str, symbols: tuple[str, ...] = ("BTCUSDT", "ETHUSDT")) -> list[dict[str, str]]:
    steps = TICKS[market.partition("_")[2]]
    return [
        {"symbol": one, "tick_size": steps[one][0], "lot_size": steps[one][1], "min_notional": "5", "reference_price": "100"}
        for one in symbols
    ]  # fmt: skip


class Rig(StageRig):
    """The stage on a simulated venue that is asked again and again what it lists."""

    def __init__(self, caplog: pytest.LogCaptureFixture, venue: Venue, market: str, **more: object) -> None:
        settings: dict[str, object] = {
            "pipeline.venue": market, "live.server": f"http://127.0.0.1:{venue.port}", "instruments": tables(market),
            "live.listing_check_s": 0.3,
        }  # fmt: skip
        super().__init__(caplog, None, settings | more)

    def halts(self) -> list[int]:
        words = scope_words(self.pipeline.segment.region("halts"))
        return [int(words[place_of("instrument", one)]) for one in range(len(self.config.instruments))]

    def changes(self) -> int:
        return int(self.pipeline.segment.region("market.source")[: LIVE.itemsize].view(LIVE)["rule_changes"][0])

    def rest(self, seconds: float = 1.5) -> None:
        deadline = time.monotonic() + seconds
        self.until(lambda: time.monotonic() > deadline)


@pytest.fixture(autouse=True)
def soon(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(listing_watch, "AGAIN_S", 0.2)
    monkeypatch.setattr(listing_watch, "FIRST_PAUSE_S", 0.2)


MARKETS = [("binance", "binance_usdm"), ("binance", "binance_spot"), ("bybit", "bybit_linear"), ("bybit", "bybit_spot")]


@pytest.mark.parametrize(("which", "market"), MARKETS)
def test_an_instrument_whose_rules_change_or_that_is_delisted_is_halted_by_name(
    tmp_path: Path, caplog: pytest.LogCaptureFixture, which: str, market: str
) -> None:
    venue = START[which](tmp_path, "--rate", 50)
    name = market.partition("_")[2]
    rig = Rig(caplog, venue, market)
    rig.rest()
    assert rig.halts() == [0, 0] and rig.changes() == 0 and rig.said() == "", "nothing has changed"
    venue.control(market=name, symbol="ETHUSDT", set_tick="0.05", set_min_notional="20")
    rig.until(lambda: rig.halts() == [0, RULES_CHANGED])
    rig.rest()
    assert rig.changes() == 2 and "ETHUSDT: tick 0.01 is now 0.05; it is halted" in rig.said()
    assert "ETHUSDT: minimum notional 5 is now 20; it is halted" in rig.said() and "BTCUSDT" not in rig.said()
    venue.control(market=name, symbol="BTCUSDT", set_status=CLOSED[which])
    rig.until(lambda: rig.halts() == [NOT_TRADED, RULES_CHANGED])
    assert f"BTCUSDT: no longer traded (status {CLOSED[which]}); it is halted" in rig.said()
    venue.control(market=name, symbol="BTCUSDT", set_status="")
    rig.until(lambda: "BTCUSDT: no longer listed; it is halted" in rig.said())
    rig.close()
    venue.close()


@pytest.fixture(scope="module")
def usdm(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Venue]:
    made = Venue(tmp_path_factory.mktemp("venue"), "--rate", 200)
    yield made
    made.close()


def test_other_rules_than_those_configured_are_said_and_what_is_not_traded_is_halted(
    usdm: Venue, caplog: pytest.LogCaptureFixture
) -> None:
    own = tables("binance_usdm")
    own[0]["tick_size"] = "0.50"
    gone = own[1] | {"symbol": "LUNAUSDT"}
    rig = Rig(caplog, usdm, "binance_usdm", instruments=[*own, gone])
    rig.until(lambda: rig.halts() == [0, 0, NOT_TRADED])
    assert "BTCUSDT: configured tick 0.5; at the venue 0.1" in rig.said()
    assert "LUNAUSDT: no longer listed; it is halted" in rig.said() and rig.changes() == 1
    rig.close()


def test_answers_that_do_not_come_change_nothing(usdm: Venue, caplog: pytest.LogCaptureFixture) -> None:
    usdm.control(market="usdm", status_5xx=30)
    rig = Rig(caplog, usdm, "binance_usdm")
    rig.until(lambda: "what is listed could not be asked" in rig.said())
    rig.rest()
    assert rig.halts() == [0, 0] and rig.said().count("what is listed could not be asked") == 1
    usdm.control(market="usdm", status_5xx=0)
    rig.close()


def test_a_change_that_only_one_answer_tells_is_not_believed() -> None:
    class Desk:
        def __init__(self) -> None:
            self.names, self.looks, self.told = {0: "AUSDT"}, list[Callable[[], None]](), list[Callable[[], bool]]()

        def look(self, job: Callable[[], None], after_s: float = 0.0) -> None:
            self.looks.append(job)

        def tell(self, what: Callable[[], bool]) -> None:
            self.told.append(what)

    rows = np.zeros(1, INSTRUMENT)
    rows["symbol"], rows["tick"], rows["lot"] = b"AUSDT", 10, 10
    right = listing_watch.configured(rows)
    rows["tick"] = 20
    wrong = listing_watch.configured(rows)
    answers = iter([right, wrong, right, wrong, wrong])
    desk = Desk()
    plan = listing_watch.ListingPlan(lambda: next(answers), 1.0)
    watch = listing_watch.ListingWatch(desk, plan, right, lambda instrument, cause: None)  # type: ignore[arg-type]
    watch.begin()
    for told in (0, 0, 0, 0, 1):
        desk.looks.pop()()
        assert len(desk.told) == told


def test_what_the_rules_of_a_symbol_cannot_be_is_refused_by_name(usdm: Venue) -> None:
    def said(**asked: object) -> str:
        answer = requests.post(f"http://127.0.0.1:{usdm.port}/control", json=asked, timeout=10)
        assert answer.status_code == 400
        return str(answer.json()["error"])

    assert said(set_tick="0.1").startswith("control: symbol = ''; allowed: BTCUSDT, ETHUSDT")
    assert (
        said(symbol="BTCUSDT", set_lot="-1")
        == "control: set_lot = '-1'; allowed: a decimal number above 0 with at most 8 decimals"
    )
    assert said(symbol="BTCUSDT", set_lot=1) == "control: set_lot = 1; allowed: a text"


def test_a_run_goes_on_without_the_instrument_and_says_why(usdm: Venue, tmp_path: Path) -> None:
    env = {**os.environ, "HFTPIPE_STATE_DIR": str(tmp_path / "state")}
    config = tmp_path / "two.toml"
    config.write_text(
        "".join(
            "[[instruments]]\n" + "".join(f'{key} = "{value}"\n' for key, value in one.items())
            for one in tables("binance_usdm")
        )
    )
    name, files = "t-listing", [*configs("paper", "risk_limits"), f"--config={config}"]
    settings = {
        "pipeline.venue": "binance_usdm", "live.server": f"http://127.0.0.1:{usdm.port}", "live.listing_check_s": "1",
        "log.format": "json",
    }  # fmt: skip
    args = [item for key, value in settings.items() for item in ("--set", f"{key}={value}")]
    run = Running(env, tmp_path / "out.json", name, *args, "--record", str(tmp_path / "sessions"), files=files)
    run.says("pipeline started")
    time.sleep(4)
    usdm.control(market="usdm", symbol="ETHUSDT", set_lot="0.005")
    said = run.says("trading is halted")
    assert said["cause"] == "rules_changed" and said["scope"] == "instrument.ETHUSDT", said
    assert "has changed its rules" in said["what"]
    time.sleep(2)
    summary = run.end()
    assert summary["halted"] is None and summary["halted_scopes"] == {"instrument.ETHUSDT": "rules_changed"}
    assert summary["counters"]["live"]["rule_changes"] == 1 and not summary["faults"]
    eth, btc = summary["instruments"]["ETHUSDT"], summary["instruments"]["BTCUSDT"]
    assert eth["working_buy"] == eth["working_sell"] == 0 and btc["state"] == eth["state"] == "VALID"
    assert "ETHUSDT: lot 0.001 is now 0.005; it is halted" in run.log.read_text()
    verified = hftpipe(env, "replay", str(next((tmp_path / "sessions").iterdir())), "--verify")
    assert verified.returncode == 0 and verified.stdout.startswith("identical"), verified.stdout + verified.stderr
    resumed = hftpipe(env, "resume", name, "--instrument", "ETHUSDT", "--yes")
    assert resumed.returncode == 0 and "rules_changed" in resumed.stdout, json.dumps([resumed.stdout, resumed.stderr])
