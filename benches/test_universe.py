"""A universe of 5,000 symbols, 100 of them with whole books: memory, start, tables, and what an event costs beside one symbol's.

Bytes to hook: lines of a capture (bookTicker messages) are scanned, their symbol looked up, their book followed, its change goes
through the market ring, the strategy's book follows, its hook has returned. The same number of lines is about all symbols or about
one; both are played in one thread, in turns, by the CPU time they take. Beside it the embedded market, whose own flows are part of
what is measured there. Every run counts what arrived: an event that is lost would be a cheap one.
"""

import json
import os
import subprocess
import sys
import time
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from harness import cpus, pin

from hftpipe.config import Config, load
from hftpipe.core.machine.clock import calibrate_once
from hftpipe.core.machine.jit import jit
from hftpipe.core.machine.mem import ZERO, call_step
from hftpipe.core.schema.instruments import symbols_table
from hftpipe.core.shared.private import PrivateSegment
from hftpipe.core.shared.ring import ring_peek, ring_pop
from hftpipe.strategy.compile.loader import load as load_strategy
from hftpipe.topology.configured import instrument_rows
from hftpipe.topology.pipeline import Pipeline
from hftpipe.topology.universe import with_universe
from hftpipe.venues.taped.cursor import CURSOR

BENCH = "universe"
ROOT = Path(__file__).resolve().parents[1]
FILE = str(ROOT / "configs" / "universe.toml")
PSS_BAR_MB, COST_BAR, START_BAR_S, TABLES_BAR_MS = 600, 1.2, 5.0, 10.0
WARM_UP, STEPS, ROUNDS = 4_000, 2_000, 9
LINES = 120_000

WATCHER = '''
"""Looks at every event and asks for nothing."""
from hftpipe.strategy import Price, Strategy, state

class Watcher(Strategy):
    seen: int = state()
    last: Price = state()

    def on_book(self, ctx, book):
        self.seen += 1
        self.last = book.mid()

    def on_trade(self, ctx, trade):
        self.seen += 1
'''


@jit
def _empty(ring):
    while ring_peek(ring) != ZERO:
        ring_pop(ring)


@jit
def _turns(market, market_state, strategy, strategy_state, sim, count):
    """So many steps of the market, each followed by the strategy until it has read all: what the steps did."""
    done = np.int64(0)
    for _ in range(count):
        work = call_step(market, market_state, np.int64(1))
        while call_step(strategy, strategy_state, np.int64(1)) > 0:
            pass
        _empty(sim)
        if work < 0:
            return done
        done += work
    return done


class Side:
    """One pipeline of this bench: feed and strategy in one thread."""

    def __init__(self, config: Config, strategy: Path) -> None:
        self.loaded = load_strategy(f"{strategy}:Watcher")
        self.pipeline = Pipeline(config, [self.loaded], 1, 10**18, PrivateSegment, calibrate_once)
        market, strategy_stage = self.pipeline.stages["market_data"], self.pipeline.stages["strategy"]
        addresses = (
            market.step,
            market.state,
            strategy_stage.step,
            strategy_stage.state,
            self.pipeline.address("ring.sim"),
        )
        self._at = tuple(np.uint64(one) for one in addresses)
        self.market = self.pipeline.state("market_data")

    def run(self, count: int, is_warm: bool = True) -> float:
        """CPU time (ns) an event; once ``is_warm``, every one of them must have reached a hook."""
        before, counted = self.seen(), self._counted()
        began = time.thread_time_ns()
        events = int(_turns(*self._at, np.int64(count)))
        spent = time.thread_time_ns() - began
        assert not is_warm or self.seen() - before == self._counted() - counted > 0, "an event did not reach the hook"
        return spent / events

    def _counted(self) -> int:
        return int(sum(self.market[name][0] for name in ("top_updates", "book_updates", "trades")))

    def seen(self) -> int:
        memory = self.pipeline.segment.region("strategy.self")
        return int(memory[: self.loaded.dtype.itemsize].view(self.loaded.dtype)["seen"][0])


class Tape(Side):
    """One that plays lines of text that lie in memory, from the beginning each time."""

    def __init__(self, config: Config, strategy: Path, text: bytes) -> None:
        super().__init__(config, strategy)
        self.text = np.frombuffer(text, np.uint8)
        self._state = self.pipeline.segment.region("market.source")[: CURSOR.itemsize].view(CURSOR)

    def play(self, is_warm: bool = True) -> float:
        self._state["text_at"], self._state["text_end"] = self.text.ctypes.data, self.text.ctypes.data + len(self.text)
        return self.run(1 << 30, is_warm)


def _settings(**more: Any) -> Config:
    given = {"market.speed": "max", "market.timer_ms": 10_000, "rings.market": 65_536, "rings.sim": 65_536}
    return with_universe(load([FILE], {}, given | more))


def _lines(symbols: list[str], first_id: int) -> bytes:
    """bookTicker lines about symbols at random, as many for one as for many."""
    random = np.random.default_rng(1)
    lines = []
    for at, which in enumerate(random.integers(0, len(symbols), LINES).tolist()):
        symbol, price = symbols[which], 20_000 + int(random.integers(0, 1_000))
        data = (
            f'{{"e":"bookTicker","u":{first_id + at},"s":"{symbol}","b":"{price / 10:.2f}","B":"{price % 97 + 1}.000",'
            f'"a":"{(price + 1) / 10:.2f}","A":"{price % 89 + 1}.000","T":{at},"E":{at}}}'
        )
        lines.append(f'{10**18 + at * 1_000} {{"stream":"{symbol.lower()}@bookTicker","data":{data}}}')
    return ("\n".join(lines) + "\n").encode()


def _row(report: Any, what: str, costs: dict[str, list[float]], bar: bool) -> None:
    ratio = float(np.median(np.array(costs["many"]) / np.array(costs["one"])))
    report.row(
        BENCH, what, ratio=ratio, **({"bar": f"<= {COST_BAR}"} if bar else {}), p50=float(np.median(costs["many"])),
        note=f"one symbol alone {np.median(costs['one']):.0f} ns an event",
    )  # fmt: skip


def test_bytes_of_a_universe_reach_the_hook_at_little_more_than_those_of_one_symbol(
    report: Any, tmp_path: Path
) -> None:
    pin(cpus(1)[0])
    strategy, capture = tmp_path / "watcher.py", tmp_path / "empty.txt"
    strategy.write_text(WATCHER)
    capture.write_text("")
    config = _settings(**{"universe": [{"symbols": ["*"], "depth": "top"}]})
    config = replace(config, market=replace(config.market, source="replay", replay=str(capture)))
    one = replace(config, instruments=config.instruments[:1])
    sides = {}
    for name, which in (("many", config), ("one", one)):
        # Ids go on rising from one playing to the next: each has its own text.
        texts = [
            _lines([item.symbol for item in which.instruments], 1 + LINES * number) for number in range(ROUNDS + 1)
        ]
        sides[name] = (Tape(which, strategy, texts[0]), texts)
    costs: dict[str, list[float]] = {"many": [], "one": []}
    for number in range(ROUNDS + 1):
        for name, (side, texts) in sides.items():
            side.text = np.frombuffer(texts[number], np.uint8)
            spent = side.play(is_warm=number > 0)
            if number:
                costs[name].append(spent)
    assert all(int(side.market["events"][0]) == LINES * (ROUNDS + 1) for side, _ in sides.values())
    assert all(
        int(side.market["bad_messages"][0] + side.market["unknown_symbols"][0]) == 0 for side, _ in sides.values()
    )
    _row(report, "bytes to hook, 5,000 symbols of best prices", costs, bar=True)


@pytest.mark.parametrize(
    ("depth", "what"), [("top", "4,900 symbols of best prices"), ("full", "100 symbols with whole books")]
)
def test_an_event_of_the_embedded_universe(report: Any, tmp_path: Path, depth: str, what: str) -> None:
    pin(cpus(1)[0])
    strategy = tmp_path / "watcher.py"
    strategy.write_text(WATCHER)
    mixed = _settings()
    many = replace(mixed, instruments=tuple(item for item in mixed.instruments if item.depth == depth))
    sides = {"many": Side(many, strategy), "one": Side(replace(many, instruments=many.instruments[:1]), strategy)}
    costs: dict[str, list[float]] = {"many": [], "one": []}
    for side in sides.values():
        side.run(WARM_UP, is_warm=False)
    for _ in range(ROUNDS):
        for name, side in sides.items():
            costs[name].append(side.run(STEPS))
    _row(report, f"embedded market to hook, {what}", costs, bar=False)


def test_tables_are_made_within_milliseconds(report: Any) -> None:
    asked = load([FILE], {})
    config = with_universe(asked)
    tables, choosing = [], []
    for _ in range(ROUNDS):
        began = time.process_time()
        chosen = with_universe(asked)
        middle = time.process_time()
        rows = instrument_rows(chosen)
        index = symbols_table(rows)
        tables.append((time.process_time() - middle) * 1e3)
        choosing.append((middle - began) * 1e3)
        assert len(rows) == 5_000 and len(index) > 0 and chosen == config
    report.row(
        BENCH, "tables of 5,000 instruments", ok=float(np.median(tables)) <= TABLES_BAR_MS, p50=float(np.median(tables)) * 1e6,
        note=f"at most {TABLES_BAR_MS:.0f} ms; listing and choosing them {np.median(choosing):.0f} ms",
    )  # fmt: skip


@pytest.mark.parametrize("rate", [20_000, 200_000])
def test_memory_start_and_rate_of_a_real_run(report: Any, tmp_path: Path, rate: int) -> None:
    summaries = []
    for number in range(2):
        out = tmp_path / f"summary-{number}.json"
        done = subprocess.run(
            [sys.executable, "-c", "from hftpipe.cli import main; main()", "run", "--config", FILE, "--name",
             f"uni-bench-{os.getpid()}", "--duration", "8", "--json", str(out), "--set", f"market.total_rate_per_s={rate}"],
            capture_output=True, text=True, timeout=900, cwd=ROOT, env=os.environ | {"HFTPIPE_STATE_DIR": str(tmp_path)},
        )  # fmt: skip
        assert done.returncode == 0, done.stderr[-3000:]
        summaries.append(json.loads(out.read_text()))
    last = summaries[-1]
    assert last["books_not_valid"] == 0 and last["faults"] == {} and last["fills"] > 0
    market = last["counters"]["market_data"]
    report.row(
        BENCH, f"run at {rate:,} events a second", ok=last["pss_mb"] <= PSS_BAR_MB and last["startup_s"] <= START_BAR_S,
        note=f"PSS {last['pss_mb']:.0f} MB (at most {PSS_BAR_MB}), start {last['startup_s']:.2f} s (at most {START_BAR_S}), "
        f"reached {last['events_per_s']:,.0f} events/s, conflated {last['conflations']:,}, lost trades {market['dropped_trades']:,}",
    )  # fmt: skip
