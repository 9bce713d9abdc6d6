"""Tickers: what a venue says of a day and of a contract stands in a table for people, exactly, and what it leaves out stays as it was."""

import json
import os
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import numpy as np
import pytest
from binance_rig import Venue
from bybit_venue import bybit_venue
from live_rig import StageRig
from running import Running, configs, hftpipe

from hftpipe.core.schema.tickers import FIGURES, TICKER, UNKNOWN, forget
from hftpipe.monitor.tickers import tickers_of
from hftpipe.venues.binance import tickers as binance_tickers
from hftpipe.venues.bybit import tickers as bybit_tickers
from hftpipe.venues.live import tickers as tickers_module
from hftpipe.venues.live.tickers import fixed, put, whole

SNAPSHOT = {
    "topic": "tickers.BTCUSDT", "type": "snapshot", "cs": 1, "ts": 1,
    "data": {
        "symbol": "BTCUSDT", "lastPrice": "61000.10", "markPrice": "61000.5", "indexPrice": "61001.25", "openInterest": "5123.5",
        "turnover24h": "20000000000.5", "volume24h": "12345.678", "nextFundingTime": "1790006400000", "fundingRate": "-0.000125",
        "bid1Price": "61000.10", "bid1Size": "1.203",
    },
}  # fmt: skip


def row(told: dict[str, int] | None = None) -> np.ndarray:
    made = np.zeros(1, TICKER)
    forget(made)
    for name, value in (told or {}).items():
        made[name] = value
    return made


def figures(one: np.void) -> dict[str, int]:
    return {name: int(one[name]) for name in FIGURES if int(one[name]) != UNKNOWN}


def test_what_a_delta_does_not_name_stays_and_what_is_empty_is_not_known() -> None:
    made = row()
    ((symbol, told),) = bybit_tickers.read(json.dumps(SNAPSHOT).encode())
    put(made[0], told, 0)
    whole_row = {
        "last": 6100010000000, "mark": 6100050000000, "index": 6100125000000, "volume_24h": 1234567800000,
        "open_interest": 512350000000, "turnover_24h": 2000000000050000000, "funding_rate": -12500,
        "next_funding_ms": 1790006400000,
    }  # fmt: skip
    assert symbol == "BTCUSDT" and figures(made[0]) == whole_row and made["messages"][0] == 1
    delta = SNAPSHOT | {"type": "delta", "data": {"symbol": "BTCUSDT", "markPrice": "60999.75", "fundingRate": ""}}
    ((_, told),) = bybit_tickers.read(json.dumps(delta).encode())
    put(made[0], told, 0)
    rest = {name: value for name, value in whole_row.items() if name != "funding_rate"}
    assert figures(made[0]) == rest | {"mark": 6099975000000} and made["messages"][0] == 2 and made["told_ns"][0] > 0


def test_binance_tells_a_day_and_a_contract_in_two_streams() -> None:
    made = row()
    day = {
        "e": "24hrMiniTicker",
        "E": 1,
        "s": "BTCUSDT",
        "c": "61000.10",
        "o": "1",
        "h": "1",
        "l": "1",
        "v": "10.5",
        "q": "640500.25",
    }
    mark = {
        "e": "markPriceUpdate",
        "E": 1,
        "s": "BTCUSDT",
        "p": "61001.5",
        "i": "61002",
        "P": "6",
        "r": "0.00010000",
        "T": 1790006400000,
    }
    for data in (day, mark):
        ((_, told),) = binance_tickers.read(json.dumps({"stream": "x", "data": data}).encode())
        put(made[0], told, 0)
    assert figures(made[0]) == {
        "last": 6100010000000, "volume_24h": 1050000000, "turnover_24h": 64050025000000, "mark": 6100150000000,
        "index": 6100200000000, "funding_rate": 10000, "next_funding_ms": 1790006400000,
    }  # fmt: skip


def test_a_pack_has_its_figures_in_its_own_units_and_no_number_is_rounded() -> None:
    made = row()
    put(made[0], {"last": "0.00001234", "volume_24h": "123456789.5", "turnover_24h": "9" * 30}, 3)
    assert figures(made[0]) == {"last": 1234000, "volume_24h": 12345678950000, "turnover_24h": 2**63 - 1}
    assert fixed("1.999999999", 8) == 199999999 and fixed("-0.00000001", 8) == -1
    assert {fixed(bad, 8) for bad in ("", "1e5", None, 7, "1,5", "+1", "NaN")} == {UNKNOWN}
    assert whole("1790006400000") == whole(1790006400000) == 1790006400000
    assert {whole(bad) for bad in ("", "0", 0, True, None, "-5", "1.5", "9" * 40)} == {UNKNOWN}


@pytest.mark.parametrize("read", [binance_tickers.read, bybit_tickers.read])
@pytest.mark.parametrize(
    "text",
    [b"", b"{", b"[]", b"7", b"null", b'{"data":[]}', b'{"data":{"e":"24hrMiniTicker"}}', b'{"topic":"tickers.X","data":[1]}',
     b'{"topic":"tickers.X","data":{"symbol":5}}', b'{"topic":7,"data":{"symbol":"X"}}', b'{"success":true,"op":"ping"}'],
)  # fmt: skip
def test_what_is_no_ticker_tells_nothing(read: Callable[[bytes], object], text: bytes) -> None:
    assert not read(text)


# --- against the simulated venues ---------------------------------------------------------------

pytest.importorskip("aiohttp", reason="the simulated venues need aiohttp (hftpipe[sim])")
START: dict[str, Callable[..., Venue]] = {"binance": Venue, "bybit": bybit_venue}


@pytest.fixture(scope="module")
def venues(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Callable[[str], Venue]]:
    made: dict[str, Venue] = {}

    def of(which: str) -> Venue:
        if which not in made:
            made[which] = START[which](tmp_path_factory.mktemp(which), "--rate", 100)
        return made[which]

    yield of
    for one in made.values():
        one.close()


@pytest.mark.parametrize(
    ("which", "market", "known"),
    [
        (
            "binance",
            "binance_usdm",
            {"last", "volume_24h", "turnover_24h", "mark", "index", "funding_rate", "next_funding_ms"},
        ),
        ("binance", "binance_spot", {"last", "volume_24h", "turnover_24h"}),
        ("bybit", "bybit_linear", {"last", "volume_24h", "turnover_24h", "mark", "index"}),
        ("bybit", "bybit_spot", {"last", "volume_24h", "turnover_24h"}),
    ],
)
def test_tickers_of_chosen_instruments_are_followed_and_come_back(
    venues: Callable[[str], Venue], caplog: pytest.LogCaptureFixture, monkeypatch: pytest.MonkeyPatch, which: str, market: str,
    known: set[str],
) -> None:  # fmt: skip
    monkeypatch.setattr(tickers_module, "FIRST_PAUSE_S", 0.1)
    venue = venues(which)
    tables = [
        {"symbol": one, "tick_size": "0.01", "lot_size": "0.00001", "min_notional": "5", "reference_price": "100"}
        for one in ("BTCUSDT", "ETHUSDT")
    ]
    rig = StageRig(
        caplog, None,
        {"pipeline.venue": market, "live.server": f"http://127.0.0.1:{venue.port}", "instruments": tables, "live.tickers": ["BTC*"]},
    )  # fmt: skip
    rows = rig.pipeline.segment.region("tickers").view(TICKER)
    rig.until(lambda: figures(rows[0]).keys() == known and int(rows["last"][0]) > 0, 60)
    assert not figures(rows[1]) and int(rows["messages"][1]) == 0
    (view,) = tickers_of(rig.pipeline.segment)
    assert view.symbol == "BTCUSDT" and view.last == int(rows["last"][0]) / 1e8 and view.open_interest is None
    path = {"binance_usdm": "/fapi/v1/ticker/24hr", "binance_spot": "/api/v3/ticker/24hr"}.get(market)
    if path:
        with venue.frozen():
            time.sleep(0.3)
            held = venue.json(path, symbol="BTCUSDT")
            rig.until(lambda: int(rows["last"][0]) == round(float(held["lastPrice"]) * 1e8), 20)
            assert int(rows["volume_24h"][0]) == round(float(held["volume"]) * 1e8)
    venue.control(disconnect="all")
    rig.until(lambda: "tickers: attempt 1 failed" in rig.said())
    before = int(rows["messages"][0])
    rig.until(lambda: int(rows["messages"][0]) > before + 2, 60)
    rig.close()


def test_a_run_shows_them_and_replays_identical(venues: Callable[[str], Venue], tmp_path: Path) -> None:
    env = {**os.environ, "HFTPIPE_STATE_DIR": str(tmp_path / "state"), "COLUMNS": "200"}
    name, sessions = "t-tickers", tmp_path / "sessions"
    run = Running(
        env, tmp_path / "out.json", name, "--set", "pipeline.venue=binance_usdm", "--set", 'live.tickers=["*"]',
        "--set", f"live.server=http://127.0.0.1:{venues('binance').port}", "--set", "log.format=json", "--record", str(sessions),
        files=configs("paper", "risk_limits"),
    )  # fmt: skip
    run.says("pipeline started")
    deadline = time.monotonic() + 60
    while "funding %" not in (shown := hftpipe(env, "top", "--name", name, "--once").stdout):
        assert time.monotonic() < deadline, shown
        time.sleep(0.5)
    line = next(line for line in shown.splitlines() if line.startswith("BTCUSDT") and line.count(":") == 1)
    assert "-" in line.split()[-1], "this venue has no open interest"
    summary = run.end()
    told = summary["tickers"]["BTCUSDT"]
    assert told["mark"] > 0 and told["next_funding_ms"] > 0 and told["open_interest"] is None
    verified = hftpipe(env, "replay", str(next(sessions.iterdir())), "--verify")
    assert verified.returncode == 0 and verified.stdout.startswith("identical"), verified.stdout + verified.stderr
