"""Every region is as large as what can be written into it: page-guarded segments die where a writer goes past an end."""

import faulthandler
import os
import re
from functools import partial
from pathlib import Path

import numpy as np
import pytest
from memory import fork, join
from usdm_tape import Tape

from hftpipe.config import demo_overrides, load
from hftpipe.core.machine.jit import jit
from hftpipe.core.machine.mem import call_step
from hftpipe.core.schema.records import VALID
from hftpipe.core.schema.ring import RING
from hftpipe.core.shared.shm import Segment
from hftpipe.core.shared.stage import FINISHED, SERVICE
from hftpipe.core.trading.book import BOOK
from hftpipe.strategy.compile.loader import load as load_strategy
from hftpipe.topology.configured import graph_of
from hftpipe.topology.graph import RING_KINDS, STAGE_KINDS
from hftpipe.topology.pipeline import Pipeline
from hftpipe.topology.place import places_of
from hftpipe.topology.sizes import region_sizes
from hftpipe.topology.strategies import load_strategies, seats_of
from hftpipe.venues.message import MAX_LEVELS

DOC = Path(__file__).resolve().parents[1] / "docs" / "regions.md"
MOST_STEPS = 20_000


@jit
def turn(step, state):
    return call_step(step, state, np.int64(1))


def settings_of(**more):
    return load([], {}, {**demo_overrides(), "market.speed": "max", **more})


def name_of(what: str) -> str:
    return f"regions-{what}-{os.getpid()}"


def guarded(config) -> Pipeline:
    """A pipeline in a guarded segment that is gone with this process."""
    strategy = load_strategy(config.strategy.name, {})
    pipeline = Pipeline(config, [strategy], 1, 1_700_000_000_000_000_000, partial(Segment.create, guard=True))
    pipeline.segment.unlink()
    return pipeline


def empty_rings(pipeline: Pipeline, names: tuple[str, ...]) -> None:
    for name in names:
        ring = pipeline.segment.record(f"ring.{name}", RING)
        ring["next_out"] = ring["next_in"]


def play_capture(pipeline: Pipeline) -> None:
    """The market stage alone, to the end of its capture, with readers that keep up."""
    stage = pipeline.stages["market_data"]
    stage.opened()
    for _ in range(MOST_STEPS):
        need = int(turn(np.uint64(stage.step), np.uint64(stage.state)))
        empty_rings(pipeline, ("market", "sim"))
        if need == SERVICE:
            stage.service()
        elif need == FINISHED:
            break
    stage.closed()


def capture(folder: Path, levels: int) -> str:
    """A snapshot, then one update of ``levels`` levels."""
    tape = Tape("BTCUSDT").snapshot([["60000.0", "1"]], [["60001.0", "1"]]).depth([], [])
    bids = [[f"{50_000 + at / 10:.1f}", "1"] for at in range(levels // 2)]
    asks = [[f"{70_000 + at / 10:.1f}", "1"] for at in range(levels - levels // 2)]
    return tape.depth(bids, asks).write(folder)


@pytest.mark.parametrize("levels", [100, 8_200, MAX_LEVELS])
@pytest.mark.parametrize("book_levels", [64, 8_192])
def test_the_largest_depth_message_stays_in_its_region(tmp_path, levels, book_levels):
    path = capture(tmp_path, levels)

    def play() -> bool:
        config = settings_of(**{
            "pipeline.name": name_of("depth"), "market.source": "replay", "market.replay": path,
            "market.book_levels": book_levels,
        })  # fmt: skip
        pipeline = guarded(config)
        play_capture(pipeline)
        state = pipeline.state("market_data")
        return int(state["book_updates"][0]) >= 2 and int(state["records"][0]) > levels

    assert join(fork(play)) == 0, "-11: something was written past the end of a region"


def test_a_message_with_more_levels_than_can_be_decoded_leaves_the_book_not_valid(tmp_path):
    tape = Tape("BTCUSDT").snapshot([["60000.0", "1"]], [["60001.0", "1"]]).depth([], [])
    tape.depth([[f"{50_000 + at / 10:.1f}", "1"] for at in range(MAX_LEVELS + 1)], [])
    path = tape.depth([["60000.0", "2"]], []).write(tmp_path)

    def play() -> bool:
        config = settings_of(**{
            "pipeline.name": name_of("over"), "market.source": "replay", "market.replay": path,
            "market.book_levels": 64,
        })  # fmt: skip
        pipeline = guarded(config)
        play_capture(pipeline)
        book = pipeline.segment.record("market.books", BOOK)
        return int(pipeline.state("market_data")["bad_messages"][0]) == 1 and int(book["state"][0]) != VALID

    assert join(fork(play)) == 0


def test_the_whole_pipeline_runs_between_guard_pages():
    def play() -> bool:
        pipeline = guarded(settings_of(**{"pipeline.name": name_of("whole"), "market.book_levels": 512}))
        for _ in range(2_000):
            for stage in STAGE_KINDS:
                one = pipeline.stages[stage]
                turn(np.uint64(one.step), np.uint64(one.state))
        return int(pipeline.state("gateway")["sent"][0]) > 0

    assert join(fork(play)) == 0, "-11: something was written past the end of a region"


def test_a_guard_page_ends_who_writes_past_a_region():
    def write() -> bool:
        faulthandler.disable()
        segment = Segment.create(name_of("past"), {"one": 192, "two": 64}, {}, guard=True)
        segment.unlink()
        segment._bytes[segment.address("one") - segment.base + 192] = 1
        return True

    assert join(fork(write)) == -11


def test_every_region_is_described():
    names = set()
    recorded = {"record.folder": "somewhere", "market.speed": "1"}
    for more in (
        {},
        {"market.source": "replay", "market.replay": str(DOC)},
        {"pipeline.venue": "udp"},
        {"pipeline.venue": "binance_usdm", "pipeline.mode": "live"},
    ):
        config = settings_of(**{**recorded, **more})
        names |= set(
            region_sizes(config, graph_of(config), seats_of(config, load_strategies(config)), places_of(config))
        )
    described = re.findall(r"`([a-z_.*]+)`", "\n".join(re.findall(r"^\| (.*?) \|", DOC.read_text(), re.M)))
    missing = [
        name for name in names
        if name not in described and f"{name.partition('.')[0]}.*" not in described
    ]  # fmt: skip
    gone = [
        one for one in described
        if not (one in names or (one.endswith(".*") and any(name.startswith(one[:-1]) for name in names)))
    ]  # fmt: skip
    assert (missing, gone) == ([], [])
    assert set(RING_KINDS) <= {name.removeprefix("ring.") for name in names}
