"""What people read of a run: money by its parts, rejects apart from races, and plain text where nobody has colours."""

import dataclasses
import io

import numpy as np
import pytest
from rich.console import Console

from hftpipe.core.schema import reasons
from hftpipe.core.schema.histogram import Summary
from hftpipe.core.schema.instruments import split_symbol
from hftpipe.monitor.figures import counts, microseconds, plain, price, signed
from hftpipe.monitor.instruments import SUMS, Instruments, InstrumentView
from hftpipe.monitor.metrics import Snapshot, _by_reason
from hftpipe.monitor.summary import render, summarise
from hftpipe.monitor.view import View
from hftpipe.topology.graph import Graph

E8 = 10**8
MARKET = {"events": 120_000, "book_updates": 119_000, "dropped_trades": 0, "conflations": 3}
GATEWAY = {"sent": 320, "replaces_sent": 1_210, "fills": 34, "cancels_sent": 12}
FACTS = {
    "reason": "duration reached", "exit_code": 0, "startup_s": 1.5, "run_s": 60.0, "events_per_s": 2000.0, "pss_mb": 351.2,
    "context_switches": {"risk": {"voluntary": 1, "involuntary": 2}}, "strategy": "market_making",
    "source": "synthetic", "orders_to": "paper", "source_errors": [],
}  # fmt: skip


def instrument(**values: int) -> InstrumentView:
    names = {field.name: 0 for field in dataclasses.fields(InstrumentView)}
    return InstrumentView(**{**names, "symbol": "BTCUSDT", "pack": 1, "state": "VALID", **values})


def instruments(*views: InstrumentView, more: int = 0, not_valid: int = 0) -> Instruments:
    quotes = {split_symbol(view.symbol)[1]: None for view in views} or {"USDT": None}
    sums = {
        quote: {name: sum(getattr(view, name) for view in views if view.symbol.endswith(quote)) for name in SUMS}
        for quote in quotes
    }
    net: dict[str, tuple[int, int]] = {}
    for view in views:
        base = split_symbol(view.symbol)[0]
        qty, count = net.get(base, (0, 0))
        net[base] = qty + view.qty, count + 1
    not_valid += sum(view.state != "VALID" for view in views)
    return Instruments(list(views), more, not_valid, {view.symbol: view.qty for view in views}, sums, net)


def snapshot(*views: InstrumentView, **changes) -> Snapshot:
    risk = dict.fromkeys(("unknown_reports", "not_booked", "overfills", "illegal"), 0)
    gateway = GATEWAY | {"late_fills": 0}
    values = {
        "graph": Graph(("paper",)), "tsc": 1, "ns_per_tick": 1.0, "skew_ns": 0.0, "skew_bound_ns": 0.0,
        "counters": {"market_data": MARKET, "strategy": {"intents_sent": 1_550}, "risk": risk, "gateway": gateway},
        "kinds": {("risk", "overfills"): "fault", ("gateway", "late_fills"): "fault", ("market_data", "dropped_trades"): "notice"},
        "rejects": {}, "races": {}, "latency": {"tick_to_order": Summary(5, 0, 8_200.0, 12_000.0, 1e5, 1e5, 5e6)},
        "rings": {}, "tapes": {}, "status": {}, "instruments": instruments(*views), "halted": None, "halted_scopes": {},
        "strategies": {},
    }  # fmt: skip
    return Snapshot(**{**values, **changes})


EARNED = instrument(
    qty=-3 * E8 // 1000, mid=60_000 * E8, realised=E8, unrealised=-E8 // 4, captured=2 * E8, inventory=-5 * E8 // 4,
    fees=E8 // 2, taker_fees=E8 // 10, fills=34, taker_fills=4, turnover=2_040 * E8,
)  # fmt: skip


def text_of(look: Snapshot, width: int = 0, **facts) -> str:
    return render(summarise(look, FACTS | facts), width)


def test_net_profit_is_the_sum_of_its_parts_and_stands_first():
    summary = summarise(snapshot(EARNED), FACTS)
    parts = summary["pnl_parts"]
    assert parts == {
        "net": 0.25, "captured": 2.0, "inventory": -1.25, "fees": 0.5, "maker_fees": 0.4, "taker_fees": 0.1,
    }  # fmt: skip
    lines = [line for line in render(summary).splitlines() if line]
    assert lines[0].startswith("run ended: duration reached") and lines[1] == "net PnL +0.2500 USDT"
    assert "spread captured +2.0000  + inventory -1.2500  - fees 0.5 (maker 0.4, taker 0.1)" in lines[2]


def test_rejects_and_races_are_told_apart_by_reason_and_by_who_refused():
    refused = {stage: np.zeros(reasons.REASON_SLOTS, np.int64) for stage in reasons.RACES}
    refused["strategy"][reasons.UNKNOWN_ORDER] = 1
    refused["risk"][[reasons.UNKNOWN_ORDER, reasons.RATE_PER_S]] = 2, 3
    refused["gateway"][[reasons.UNKNOWN_ORDER, reasons.VENUE_UNKNOWN_ORDER, reasons.POST_ONLY_WOULD_TAKE]] = 4, 5, 6
    assert _by_reason(refused, are_races=False) == {"unknown_order": 1, "rate_per_s": 3}
    assert _by_reason(refused, are_races=True) == {
        "unknown_order": 6, "venue_unknown_order": 5, "post_only_would_take": 6,
    }  # fmt: skip


def test_orders_that_the_venue_ended_are_shown_with_their_reasons():
    look = snapshot(EARNED, ended={"venue_ended": 120, "disconnected": 1})
    assert summarise(look, FACTS)["ended_by_venue"] == {"venue_ended": 120, "disconnected": 1}
    (shown,) = [line.split(maxsplit=3)[3] for line in text_of(look).splitlines() if "ended by venue" in line]
    assert shown == "121 (venue ended 120, disconnected 1)"
    assert "ended by venue" not in text_of(snapshot(EARNED))


def test_every_race_is_a_known_reason_with_a_sentence():
    for table in reasons.RACES.values():
        assert all(code in reasons.NAMES and text for code, text in table.items())


def test_a_summary_for_a_file_has_no_control_characters_and_is_not_wrapped():
    long = {f"a_reason_with_a_long_name_{n}": n for n in range(1, 12)}
    text = text_of(snapshot(EARNED, rejects=long))
    assert all(char == "\n" or char.isprintable() for char in text)
    assert all(name.replace("_", " ") in text for name in long)
    (line,) = [line for line in text.splitlines() if line.startswith("  rejects")]
    assert all(name.replace("_", " ") in line for name in long)


def test_on_a_terminal_loss_halt_and_fault_are_red():
    lost = dataclasses.replace(EARNED, captured=0)
    text = text_of(snapshot(lost, halted="heartbeat_lost"), width=120)
    assert "\x1b[1;31m-1.7500" in text and "\x1b[1;31mheartbeat lost" in text


def test_rejects_beyond_one_in_a_hundred_stand_out():
    assert "\x1b[1;31mrate per s 16 (1.0 % of 1,550 requests)" in text_of(
        snapshot(EARNED, rejects={"rate_per_s": 16}), 120
    )
    assert "\x1b[33mrate per s 15" in text_of(snapshot(EARNED, rejects={"rate_per_s": 15}), 120)


def test_what_did_not_happen_takes_no_room():
    text = text_of(snapshot(instrument()))
    assert "HALTED" not in text and "source" not in text and "recording" not in text and "edge" not in text


def test_source_errors_and_recording_are_shown():
    facts = {"records": {"risk": 10}, "lost": {"risk": 0}, "untaken": {"risk": 0}, "complete": False, "session": "s1"}
    text = text_of(snapshot(EARNED), recording=facts, source_errors=["the file is cut off"])
    assert "s1: 10 records, 0 lost, 0 not stored; INCOMPLETE" in text and "the file is cut off" in text


def test_what_a_person_must_know_or_do_stands_at_the_top():
    one = {
        "id": "0x7",
        "instrument": "BTCUSDT",
        "side": "buy",
        "price": "60000",
        "filled": "0",
        "qty": "0.001",
        "state": "UNKNOWN",
    }
    ended = {"open_at_stop": 2, "cancels_sent": 2, "cancels_again": 1, "cancels_confirmed": 1, "fills_meanwhile": 0,
             "waited_s": 5.0, "still_open": [one], "venue_ended": False, "unknown_because": ["the gateway died"]}  # fmt: skip
    halt = {"cause": "stage_died", "what": "risk ended", "stored": True}
    text = text_of(snapshot(EARNED), stop=ended, latched_halt=halt, left_behind=["a segment"], lost_output={"log": 3},
                   stage_faults={"strategy.hung": "stage strategy did not stop"})  # fmt: skip
    top = text.partition("net PnL")[0]
    assert "1 still open after 5.000 s" in top and "0x7 BTCUSDT buy 60000, 0 of 0.001 filled, UNKNOWN" in top
    assert "fills and position: the gateway died" in top and "stage_died: risk ended; `hftpipe resume`" in top
    assert "a segment" in top and "3 writes" in top and "stage strategy did not stop" in top
    assert "strategy.hung 1" in text


def test_live_view_shows_the_same_figures():
    out = io.StringIO()
    Console(width=140, file=out).print(View("hftpipe t: market_making", "paper").render(snapshot(EARNED)))
    shown = out.getvalue()
    assert "net PnL +0.2500 USDT" in shown and "-0.003 BTC" in shown and "tick to order" in shown


@pytest.mark.parametrize(
    ("symbol", "parts"),
    [("BTCUSDT", ("BTC", "USDT")), ("ETH-USD", ("ETH", "USD")), ("ETHBTC", ("ETH", "BTC")), ("AAPL", ("", "")), ("USDT", ("", ""))],
)  # fmt: skip
def test_symbol_says_its_currencies_or_nothing(symbol, parts):
    assert split_symbol(symbol) == parts


def test_numbers_are_written_for_people():
    assert [plain(x) for x in (1_234_567.5, 0.001, -0.0, 100.0)] == ["1,234,567.5", "0.001", "0", "100"]
    assert [signed(x) for x in (1.5, -0.00001, -1_000.25)] == ["+1.5000", "0.0000", "-1,000.2500"]
    assert [price(x) for x in (60_000.123, 0.0, 0.00012)] == ["60,000.12", "-", "0.00012"]
    assert [microseconds(x) for x in (123.0, 12_340.0, 1_234_567.0)] == ["0.123", "12.34", "1,235"]
    assert counts({"rate_per_s": 3, "none_of_it": 0, "stale": 1_200}) == "stale 1,200, rate per s 3"


def test_rejects_are_a_share_of_what_was_asked_for_sent_or_not():
    """The strategy stage refuses before anything is sent: what it refused is part of what was asked for."""
    look = snapshot(EARNED, rejects={"too_many_actions": 186_832}, not_sent=186_832)
    assert summarise(look, FACTS)["asked"] == 1_550 + 186_832
    assert "99.2 % of 188,382 requests" in text_of(look)


def test_money_in_different_currencies_is_never_added_up() -> None:
    other = instrument(symbol="ETHBTC", qty=2 * E8, captured=E8 // 100, fees=E8 // 1000, turnover=E8, fills=2)
    summary = summarise(snapshot(EARNED, other), FACTS)
    assert summary["pnl"] is summary["pnl_parts"] is summary["volume"] is None
    assert summary["by_quote"]["BTC"]["pnl_parts"]["net"] == 0.009
    assert summary["by_quote"]["USDT"]["pnl_parts"] == summarise(snapshot(EARNED), FACTS)["pnl_parts"]
    text = render(summary)
    assert "net PnL +0.00900000 BTC" in text and "USDT" in text and summary["maker_fills"] == 32


def test_the_net_of_a_base_is_shown_where_several_instruments_have_it() -> None:
    there = instrument(symbol="beta:BTCUSDT", qty=E8)
    text = text_of(snapshot(EARNED, there))
    assert "0.997 BTC in all positions together" in text
    assert "in all positions" not in text_of(snapshot(EARNED))
