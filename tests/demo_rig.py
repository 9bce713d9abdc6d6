"""``python tests/demo_rig.py [KEY=VALUE ...]``: a minute of ten seeds each. A paper run in one thread on simulated time: the pipeline's own memory and compiled stages, a minute in a second.

Each turn of the loop is TURN_NS of market time; in it every stage steps once. The market is paced by that time, as a run
at speed 1 is by the clock, so latencies are those of the configuration and of a turn. The same seed gives the same run.
"""

import sys
import tomllib
from typing import Any

import numpy as np

from hftpipe.config import load
from hftpipe.config.presets import demo_overrides
from hftpipe.core.machine.jit import jit
from hftpipe.core.machine.mem import call_step
from hftpipe.core.shared.private import PrivateSegment
from hftpipe.monitor.metrics import snapshot
from hftpipe.monitor.summary import summarise
from hftpipe.topology.pipeline import Pipeline
from hftpipe.topology.strategies import load_strategies

TURN_NS = 50_000
START_NS = 1_700_000_000 * 10**9


@jit
def turns(steps, states, now_ns, count):
    """So many turns from ``now_ns`` on."""
    for turn in range(count):
        for stage in range(len(steps)):
            call_step(steps[stage], states[stage], now_ns + np.int64(turn) * np.int64(TURN_NS))


def paper_run(seed: int, seconds: float, strategy: str | None = None, **settings: Any) -> dict[str, Any]:
    """The summary of a paper run at the demonstration settings.

    Args:
        strategy: as on the command line; settings: configuration keys, with ``__`` for the dot.
    """
    given = demo_overrides(strategy) | {"market.seed": seed} | ({"strategy.name": strategy} if strategy else {})
    config = load([], {}, given | {name.replace("__", "."): value for name, value in settings.items()})
    pipeline = Pipeline(config, load_strategies(config), 1, START_NS, PrivateSegment)
    runners = [pipeline.stages[stage] for stage in pipeline.graph.stages]
    steps = np.array([runner.step for runner in runners], np.uint64)
    states = np.array([runner.state for runner in runners], np.uint64)
    turns(steps, states, np.int64(START_NS), np.int64(seconds * 1e9) // TURN_NS)
    return summarise(snapshot(pipeline.segment), {})


def line(seed: int, summary: dict[str, Any]) -> str:
    """One run on one line."""
    parts = " ".join(f"{name} {value:+.4f}" for name, value in summary["pnl_parts"].items())
    counts = (
        f"fills {summary['fills']} intents {summary['intents']} rejects {summary['rejects']} races {summary['races']}"
    )
    return f"seed {seed}: {parts}; {counts} position {summary['position']}"


if __name__ == "__main__":
    for seed in range(1, 11):
        chosen = {
            key: tomllib.loads(f"value = {value}")["value"]
            for key, _, value in (a.partition("=") for a in sys.argv[1:])
        }
        sys.stdout.write(line(seed, paper_run(seed, 60, **chosen)) + "\n")
