"""``hftpipe run``, ``hftpipe replay`` and ``hftpipe verdicts``."""

import logging
import os
import sys
from typing import Annotated, Any

import typer

from hftpipe import config as config_module
from hftpipe import log
from hftpipe.app import outputs
from hftpipe.app.summary_file import why_not_writable
from hftpipe.cli.common import Files, app, fail, guarded, load_settings, overrides_of

LOG = logging.getLogger("hftpipe.run")


def _processes(count: int | None) -> int | None:
    if count not in (None, 1, 2, 4):
        raise fail(f"--processes {count}: allowed are 4 (one stage each), 2 (two stages each) and 1 (all in one)")
    return count


@app.command()
def run(
    config: Files = None,
    cpus: Annotated[str | None, typer.Option(help="CPUs to pin to, in stage order, e.g. 0-3 or 0,2.")] = None,
    duration: Annotated[float | None, typer.Option(help="Stop after this many seconds (default: Ctrl-C).")] = None,
    replay: Annotated[str | None, typer.Option(help="Play a recorded capture (.gz or plain).")] = None,
    speed: Annotated[str | None, typer.Option(help="Multiple of recorded time, or max.")] = None,
    venue: Annotated[
        str | None,
        typer.Option(
            help="sim (embedded, or --replay), udp (ITCH multicast in, OUCH out), binance_usdm, binance_spot, bybit_linear or bybit_spot (live, on paper)."
        ),
    ] = None,
    strategy: Annotated[str | None, typer.Option(help="Registered name, or path.py:ClassName.")] = None,
    json: Annotated[str | None, typer.Option(help="Write the summary to this file as JSON.")] = None,
    processes: Annotated[int | None, typer.Option(help="4, 2 (two stages per process) or 1.")] = None,
    name: Annotated[str | None, typer.Option(help="Pipeline name: names the shared-memory segment.")] = None,
    seed: Annotated[int | None, typer.Option(help="Seed of the synthetic market.")] = None,
    record: Annotated[str | None, typer.Option(help="Record the run to a session in this folder.")] = None,
    assign: Annotated[
        list[str] | None, typer.Option("--set", help="Any configuration key: KEY=VALUE; repeatable.")
    ] = None,
) -> None:
    """Run the whole pipeline in paper mode until Ctrl-C, --duration, or the end of a recording."""
    outputs.guard()
    pairs = {
        "pipeline.cpus": cpus, "pipeline.duration_s": duration, "pipeline.name": name,
        "pipeline.processes": _processes(processes), "market.replay": replay, "market.speed": speed,
        "market.source": "replay" if replay else None, "pipeline.venue": venue, "market.seed": seed, "strategy.name": strategy,
        "record.folder": record,
    }  # fmt: skip
    files = config or []
    overrides = overrides_of(pairs, assign or [])
    if not files:
        overrides = {**config_module.demo_overrides(strategy), **overrides}
    settings = load_settings(files, overrides)
    _check_target(json)
    log.setup(settings.log.format, settings.log.level, sys.stderr)
    if not files:
        demo = "no --config given: using the demonstration limits of configs/paper.toml and configs/risk_limits.toml"
        log.event(LOG, logging.WARNING, demo)
    os.environ["HFTPIPE_PIPELINE__METRICS"] = "true" if settings.pipeline.metrics else "false"
    raise typer.Exit(guarded(lambda: _run(settings, files, overrides, json)))


def _check_target(json: str | None) -> None:
    if json and (problem := why_not_writable(json)):
        raise fail(f"--json {json}: {problem}")


def _run(given: config_module.Config, files: list[str], overrides: dict[str, Any], json: str | None) -> int:
    from hftpipe.app.settings.sources import sources_of
    from hftpipe.kill_switch.process import beside_run

    settings, sources = sources_of(given, files, dict(os.environ), overrides)
    # First of all: it is to answer while the rest still starts.
    with beside_run(settings, sources) as kill_switch:
        return _run_beside(settings, sources, json, kill_switch)


def _run_beside(settings: config_module.Config, sources: Any, json: str | None, kill_switch: Any) -> int:
    from hftpipe.app.precompile import is_warm, precompile
    from hftpipe.topology.configured import strategies_of, venues_of

    kinds = sorted({one.kind for one in venues_of(settings)})
    if not is_warm(kinds):
        log.event(LOG, logging.INFO, f"first start of this build on {', '.join(kinds)}: compiling, once")
        precompile(list(dict.fromkeys(one.strategy for one in strategies_of(settings))), kinds)
    from hftpipe.app.run import run as run_pipeline

    return run_pipeline(settings, sources, json, [kill_switch] if kill_switch else [])


@app.command()
def replay(
    session: Annotated[str, typer.Argument(help="Folder of a recorded session.")],
    verify: Annotated[bool, typer.Option("--verify", help="Compare every output with the recording.")] = False,
    strategy: Annotated[str | None, typer.Option(help="Replay the market through this strategy instead.")] = None,
    assign: Annotated[
        list[str] | None, typer.Option("--set", help="strategy.params.KEY=VALUE to replay with; repeatable.")
    ] = None,
    force: Annotated[bool, typer.Option("--force", help="Replay although build or recording do not allow it.")] = False,
) -> None:
    """Run a recorded session again: --verify proves it the same, --strategy or --set show what would have changed."""
    assignments = overrides_of({}, assign or [])
    log.setup("auto", "info", sys.stderr)

    def action() -> int:
        from hftpipe.record.replay.verify import replay_main

        return replay_main(session, verify, strategy, assignments, force)

    raise typer.Exit(guarded(action))


@app.command()
def verdicts(
    session: Annotated[str, typer.Argument(help="Folder of a recorded session.")],
    refused: Annotated[bool, typer.Option("--refused", help="Only those that were refused.")] = False,
    order: Annotated[str | None, typer.Option(help="Only those of this client id, decimal or with 0x.")] = None,
    as_json: Annotated[bool, typer.Option("--json", help="A JSON object a line.")] = False,
    force: Annotated[bool, typer.Option("--force", help="Although build or recording do not allow a replay.")] = False,
) -> None:
    """Every verdict of risk in a recorded session: passed or why not, and the figures that it was reached by."""
    try:
        number = None if order is None else int(order, 0)
    except ValueError:
        raise fail(f"--order {order}: not a number; allowed: decimal, or hexadecimal with 0x") from None
    log.setup("auto", "info", sys.stderr)

    def action() -> int:
        from hftpipe.record.replay.verdicts import verdicts_main

        return verdicts_main(session, refused, number, as_json, force)

    raise typer.Exit(guarded(action))
