"""Thousands of instruments: chosen from what a venue lists, run for real, looked at without naming them all, replayed to the byte."""

import json
import os
import subprocess
import sys
import time
from dataclasses import fields, replace
from decimal import Decimal
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest

from hftpipe.config import Config, ConfigError, Instrument, Universe, load
from hftpipe.core.schema.cells import TOP_CELL
from hftpipe.core.schema.instruments import CONTRACTS, DEPTHS, INSTRUMENT, MAX_INSTRUMENTS, TOP_LEVELS, is_reckoned
from hftpipe.core.schema.position import POSITION
from hftpipe.core.schema.records import VALID
from hftpipe.core.shared.private import PrivateSegment
from hftpipe.monitor.instruments import MOST_SHOWN, look_at
from hftpipe.record.replay.rebuild import config_from
from hftpipe.topology import universe
from hftpipe.topology.configured import instrument_rows, limits_of, venues_of
from hftpipe.topology.graph import order_slots
from hftpipe.topology.universe import choose, with_universe
from hftpipe.venues.paper.catalogue import embedded_catalogue
from hftpipe.venues.paper.flows import flow_rates

ROOT = Path(__file__).resolve().parents[1]
FILE = str(ROOT / "configs" / "universe.toml")
E8 = 10**8


def chosen(*rules: dict[str, Any], **more: Any) -> Config:
    return with_universe(load([], {}, {"universe": list(rules), "market.listed": 300, **more}))


# --- what there is to choose from -------------------------------------------------------------------


def test_the_embedded_catalogue_is_the_same_for_everybody_and_makes_a_market():
    listed = embedded_catalogue(5000)
    assert (listed == embedded_catalogue(5000)).all() and (listed[:40] == embedded_catalogue(40)).all()
    assert len(set(listed["symbol"].tolist())) == 5000
    assert {b"BTCUSDT", b"1000PEPEUSDT", b"1MBABYDOGEUSDT"} <= set(listed["symbol"].tolist())
    assert set(listed["quote"].tolist()) == {b"USDT", b"USDC"}
    assert (listed["symbol"] == np.char.add(listed["base"], listed["quote"])).all()
    ticks = listed["reference_price"] // listed["tick"]
    assert not (listed["reference_price"] % listed["tick"]).any() and ticks.min() >= 1_000 and ticks.max() <= 10**6
    lot_value = listed["lot"].astype(float) * listed["reference_price"] / 1e16
    assert (lot_value > 0).all() and lot_value.max() < 10
    assert (np.diff(listed["volume_24h"]) <= 0).all() and listed["volume_24h"][-1] > 0


def test_patterns_choose_the_most_traded_first_and_a_symbol_once():
    config = chosen({"symbols": ["*USDT"], "most": 10}, {"symbols": ["*"], "depth": "top"})
    listed = embedded_catalogue(300)
    usdt = [one.decode() for one in listed["symbol"].tolist() if one.endswith(b"USDT")]
    assert [one.symbol for one in config.instruments[:10]] == usdt[:10]
    assert len(config.instruments) == len({one.symbol for one in config.instruments}) == 300
    assert {one.depth for one in config.instruments[:10]} == {"full"} and {
        one.depth for one in config.instruments[10:]
    } == {"top"}
    assert config.levels() == [config.market.book_levels] * 10 + [TOP_LEVELS] * 290


def test_exclusions_and_a_least_volume_leave_symbols_out():
    config = chosen({"symbols": ["*"], "exclude": ["1000*", "BTC?SDT"], "min_volume_24h": "500000000"})
    symbols = [one.symbol for one in config.instruments]
    assert "ETHUSDT" in symbols and "BTCUSDT" not in symbols and not [one for one in symbols if one.startswith("1000")]
    assert all(one.volume_24h >= 500_000_000 * E8 for one in config.instruments) and len(symbols) < 300


def test_facts_of_the_catalogue_reach_the_table_of_instruments():
    config, listed = chosen({"symbols": ["1000PEPEUSDT", "XRPUSDT"]}), embedded_catalogue(300)
    rows = instrument_rows(config)
    assert rows["symbol"].tolist() == [b"XRPUSDT", b"1000PEPEUSDT"]
    for row in rows:
        facts = listed[listed["symbol"] == row["symbol"]][0]
        for name in (
            "base",
            "quote",
            "multiplier",
            "tick",
            "lot",
            "min_notional",
            "maker_fee",
            "taker_fee",
            "reference_price",
        ):
            assert row[name] == facts[name], name
        assert CONTRACTS[row["contract"]] == "linear" and DEPTHS[row["depth"]] == "full"
        assert row["levels"] == config.market.book_levels


def test_instruments_written_out_come_first_and_are_not_chosen_again():
    own = {"symbol": "ETHUSDT", "tick_size": "0.5", "lot_size": "0.01", "min_notional": "5", "reference_price": "3000"}
    config = chosen({"symbols": ["ETHUSDT", "BTCUSDT"]}, instruments=[own])
    assert [(one.symbol, one.tick_size) for one in config.instruments] == [("ETHUSDT", E8 // 2), ("BTCUSDT", E8)]


def test_a_pattern_can_name_its_venue():
    venues = [{"name": "alpha", "kind": "paper"}, {"name": "beta", "kind": "paper", "market": {"listed": 30}}]
    config = chosen({"symbols": ["alpha:*PEPE*", "beta:*"], "exclude": ["beta:BTC*"]}, venues=venues)
    by_venue = {name: [one.symbol for one in config.instruments if one.venue == name] for name in ("alpha", "beta")}
    assert by_venue["alpha"] == ["1000PEPEUSDT"] and len(by_venue["beta"]) == 29 and "BTCUSDT" not in by_venue["beta"]
    assert instrument_rows(config)["at"].tolist() == [0] + [1] * 29


@pytest.mark.parametrize(
    ("rule", "more", "complaint"),
    [
        ({"symbols": ["gamma:*"]}, {}, "gamma:.*no such venue; allowed: sim"),
        ({"symbols": ["NOSUCH*"]}, {}, "no instrument of venue sim is chosen"),
        ({"symbols": ["*"]}, {"pipeline.venue": "udp"}, "does not say what it lists"),
        ({"symbols": ["usdt"]}, {}, "not a list of patterns"),
        ({"symbols": "*"}, {}, "not a list of patterns"),
        ({"depth": "deep"}, {}, "universe.*depth.*allowed.*full"),
        ({"pattern": ["*"]}, {}, "unknown key"),
    ],
)
def test_a_universe_that_cannot_be_is_refused_by_name(rule, more, complaint):
    with pytest.raises(ConfigError, match=complaint):
        chosen(rule, **more)


def test_a_configuration_without_a_universe_is_left_alone():
    config = load([], {})
    assert with_universe(config) is config and config.instruments == (Instrument(),)


def test_choosing_leaves_what_is_taken():
    listed = embedded_catalogue(50)
    taken = np.zeros(50, bool)
    taken[:10] = True
    assert choose(listed, Universe(), "sim", taken).tolist() == list(range(10, 50))


def test_a_recorded_configuration_brings_its_universe_back():
    config = with_universe(load([FILE], {}, {"market.listed": 150}))
    again = config_from(json.loads(json.dumps(config.as_dict())))
    assert again == config and again.fingerprint() == config.fingerprint()
    assert (instrument_rows(again) == instrument_rows(config)).all()


def test_every_field_of_an_instrument_can_be_chosen():
    names = {one.name for one in fields(Instrument)}
    config = chosen({"symbols": ["BTCUSDT"]})
    one = config.instruments[0]
    assert names >= {"depth", "base", "quote", "contract", "multiplier", "volume_24h"}
    assert (one.base, one.quote, one.contract, one.multiplier) == ("BTC", "USDT", "linear", E8)
    assert (one.maker_fee_bps, one.taker_fee_bps) == (Decimal(2), Decimal(5))


def test_the_rate_of_all_is_shared_out_by_volume():
    config = with_universe(load([FILE], {}))
    rates = flow_rates(config)
    assert len(rates) == 5000 and rates.sum() == pytest.approx(20_000) and (np.diff(rates[100:]) <= 1e-9).all()
    asked = with_universe(load([FILE], {}, {"market.total_rate_per_s": 200_000}))
    assert flow_rates(asked).sum() == pytest.approx(200_000)
    assert (flow_rates(load([], {}, {"market.event_rate_per_s": 70})) == 70).all()


def test_instruments_without_limits_of_their_own_share_them():
    config = chosen({"symbols": ["*"]}, **{"risk.limits.BTCUSDT.orders_per_s": 7})
    limits = limits_of(config)
    assert limits[0].orders_per_s == 7 and len({id(one) for one in limits}) == 2
    for one, item in zip(limits, config.instruments, strict=True):
        assert one == config.risk.for_symbol(item.symbol, item.venue)


def test_there_are_orders_for_a_quote_on_each_side_of_each_instrument():
    for part in ("strategy", "risk", "gateway", "exchange"):
        slots = [order_slots(part, n) for n in (1, 2, 64, 341, 342, 5_000, MAX_INSTRUMENTS)]
        assert slots == sorted(slots) and all(one & (one - 1) == 0 for one in slots)
        assert slots[0] == order_slots(part, 64) and slots[-2] >= 10_000 and slots[-1] >= 2 * MAX_INSTRUMENTS


# --- looking at them ---------------------------------------------------------------------------------


def segment_of(n: int) -> PrivateSegment:
    sizes = {
        "tops": n * TOP_CELL.itemsize, "risk.positions": n * POSITION.itemsize, "instruments": n * INSTRUMENT.itemsize,
    }  # fmt: skip
    segment = PrivateSegment("look", sizes, {"symbols": [f"SYM{at}" for at in range(n)]}, 1)
    tops = segment.region("tops").view(TOP_CELL)
    tops["bid"], tops["ask"], tops["state"], tops["version"] = 99 * E8, 101 * E8, VALID, 2 * np.arange(n)
    segment.region("instruments").view(INSTRUMENT)["quote"] = b"USDT"
    return segment


def test_those_of_ours_are_shown_before_those_that_move_and_the_rest_is_counted():
    segment = segment_of(5_000)
    rows = segment.region("risk.positions").view(POSITION)
    rows["qty"][7], rows["cost"][7], rows["fills"][7], rows["turnover"][7] = E8, 90 * E8, 1, 90 * E8
    rows["working_buy"][4000] = E8
    segment.region("tops").view(TOP_CELL)["state"][100:150] = 0
    look = look_at(segment)
    symbols = [one.symbol for one in look.shown]
    assert symbols[:2] == ["SYM7", "SYM4000"] and symbols[2:] == [f"SYM{4999 - at}" for at in range(MOST_SHOWN - 2)]
    assert (look.more, look.not_valid) == (5_000 - MOST_SHOWN, 50)
    assert look.held["SYM7"] == E8 and look.sums["USDT"]["unrealised"] == 10 * E8


def test_sums_are_over_all_instruments_and_not_those_shown():
    segment, random = segment_of(300), np.random.default_rng(3)
    rows = segment.region("risk.positions").view(POSITION)
    for name in ("qty", "cost", "realised", "fees", "at_mid", "taker_fees", "turnover"):
        rows[name] = random.integers(-(10**12), 10**12, 300)
    rows["fills"], rows["turnover"] = random.integers(0, 3, 300), np.abs(rows["turnover"])
    look, all_of_them = look_at(segment), look_at(segment, most=300)
    assert len(look.shown) == MOST_SHOWN and len(all_of_them.shown) == 300 and all_of_them.more == 0
    assert look.sums == all_of_them.sums
    active = [one for one in all_of_them.shown if one.fills or one.qty]
    assert look.sums["USDT"] == {name: sum(getattr(one, name) for one in active) for name in look.sums["USDT"]}
    assert (
        look.sums["USDT"]["captured"] + look.sums["USDT"]["inventory"]
        == look.sums["USDT"]["realised"] + look.sums["USDT"]["unrealised"]
    )
    assert set(look.held) >= {f"SYM{at}" for at in np.flatnonzero(rows["qty"])}


def test_a_look_at_thousands_takes_milliseconds():
    segment = segment_of(MAX_INSTRUMENTS)
    look_at(segment)
    began = time.process_time()
    for _ in range(10):
        look_at(segment)
    assert (time.process_time() - began) / 10 < 0.05


# --- a run -------------------------------------------------------------------------------------------


def command(*arguments: str, folder: Path) -> subprocess.CompletedProcess[str]:
    line = [sys.executable, "-c", "from hftpipe.cli import main; main()", *arguments]
    environment = os.environ | {"HFTPIPE_STATE_DIR": str(folder / "state")}
    return subprocess.run(line, capture_output=True, text=True, env=environment, timeout=600, cwd=ROOT)


@pytest.fixture(scope="module")
def recorded(tmp_path_factory: pytest.TempPathFactory) -> tuple[dict[str, Any], Path, str]:
    """A few seconds of the universe of 5,000, recorded: summary, folder, what it said."""
    folder = tmp_path_factory.mktemp("universe")
    done = command(
        "run", "--config", FILE, "--record", str(folder), "--name", f"uni-test-{os.getpid()}", "--duration", "6",
        "--processes", "2", "--json", str(folder / "summary.json"), "--set", "market.total_rate_per_s=5000", folder=folder,
    )  # fmt: skip
    assert done.returncode == 0, done.stderr[-3000:]
    return json.loads((folder / "summary.json").read_text()), folder, done.stdout


def test_the_universe_runs_and_every_book_becomes_valid(recorded):
    summary, _, text = recorded
    market, strategy = summary["counters"]["market_data"], summary["counters"]["strategy"]
    assert market["events"] > 10_000 and summary["books_not_valid"] == 0
    assert market["top_updates"] > 5_000 and market["book_updates"] > 1_000 and market["trades"] > 100
    assert strategy["bad_records"] == 0 and summary["faults"] == {}
    assert summary["orders"] > 50 and summary["fills"] > 0
    assert len(summary["instruments"]) == MOST_SHOWN and summary["instruments_more"] == 5_000 - MOST_SHOWN
    assert f"and {5_000 - MOST_SHOWN:,} more" in text


def test_the_recorded_universe_has_its_instruments_and_replays_identical(recorded):
    summary, folder, _ = recorded
    session = Path(summary["recording"]["session"])
    header = json.loads((session / "session.json").read_text())
    assert len(header["instruments"]) == 5_000
    first = header["instruments"][0]
    assert (first["symbol"], first["base"], first["quote"], first["levels"]) == ("BTCUSDT", "BTC", "USDT", 4096)
    done = command("replay", str(session), "--verify", folder=folder)
    assert done.returncode == 0 and done.stdout.startswith("identical:"), done.stdout + done.stderr[-2000:]


def test_a_venue_of_one_instrument_has_a_row_as_before():
    rows = instrument_rows(load([], {}))
    assert rows.dtype == INSTRUMENT and len(rows) == 1 and rows["symbol"][0] == b"BTCUSDT"
    assert (rows["base"][0], rows["quote"][0], rows["levels"][0]) == (b"BTC", b"USDT", 16_384)
    assert venues_of(load([], {}))[0].name == "sim"


# --- what is not reckoned here ----------------------------------------------------------------------


def listing(monkeypatch: pytest.MonkeyPatch, **changes: dict[bytes, int]) -> None:
    """The embedded catalogue, with columns of some symbols changed."""
    listed = embedded_catalogue(300)
    for column, values in changes.items():
        for symbol, value in values.items():
            listed[column][listed["symbol"] == symbol] = value
    monkeypatch.setattr(universe, "find_venue", lambda entry: SimpleNamespace(catalogue=lambda config: listed))


def test_symbols_whose_money_is_not_reckoned_here_are_left_out_and_counted(monkeypatch: pytest.MonkeyPatch) -> None:
    inverse, thousand = CONTRACTS.index("inverse"), 1000 * E8
    listing(monkeypatch, contract={b"BTCUSDT": inverse}, multiplier={b"ETHUSDT": thousand, b"1000PEPEUSDT": thousand})
    said: list[str] = []
    rules = [{"symbols": ["*USDT"], "exclude": ["1000*"], "most": 3}, {"symbols": ["ETH*", "SOL*"], "depth": "top"}]
    config = with_universe(load([], {}, {"universe": rules, "market.listed": 300}), said.append)
    # The next most traded ones take their places; who is not asked for is not counted.
    assert [one.symbol for one in config.instruments] == ["SOLUSDT", "XRPUSDT", "DOGEUSDT"]
    assert said == [
        "universe: 2 symbols of venue sim are left out: inverse contracts and multipliers other than 1 are not reckoned here"
    ]


def test_a_universe_of_nothing_that_is_reckoned_here_is_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    listing(monkeypatch, contract={b"BTCUSDT": CONTRACTS.index("inverse")})
    said: list[str] = []
    with pytest.raises(ConfigError, match="no instrument of venue sim is chosen"):
        with_universe(load([], {}, {"universe": [{"symbols": ["BTCUSDT"]}], "market.listed": 300}), said.append)
    assert len(said) == 1 and said[0].startswith("universe: 1 symbols")


@pytest.mark.parametrize("change", [{"contract": "inverse"}, {"multiplier": 10 * E8}])
def test_whatever_makes_instruments_makes_none_whose_money_is_not_reckoned_here(change: dict[str, Any]) -> None:
    config = load([], {})
    right = config.instruments[0]
    config = replace(config, instruments=(right, replace(right, symbol="ETHUSDT", **change)))
    with pytest.raises(ConfigError, match=r"instrument ETHUSDT: .* not reckoned here"):
        instrument_rows(config)


def test_spot_and_linear_are_reckoned_and_the_embedded_market_lists_nothing_else() -> None:
    assert is_reckoned(embedded_catalogue(300)).all()
    rows = instrument_rows(
        load([], {}, {"instruments": [{"symbol": "BTCUSDT", "venue": "binance_usdm", "contract": "spot"}]})
    )
    assert is_reckoned(rows).all() and CONTRACTS[rows["contract"][0]] == "spot"
