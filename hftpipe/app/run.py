"""``hftpipe run``: configuration to summary. Loads, compiles, lays out, supervises, reports."""

import logging
import os
import sys
import time
from collections.abc import Callable, Sequence
from typing import Any

import numpy as np
import orjson
from rich.console import Console
from rich.live import Live

from hftpipe.app import outputs
from hftpipe.app.cold import Cold
from hftpipe.app.epoch import next_epoch, raise_epoch
from hftpipe.app.journaling import Journals
from hftpipe.app.limit_changes import LimitChanges
from hftpipe.app.loss_state import resume_losses
from hftpipe.app.outcome import Outcome
from hftpipe.app.params_watch import ParamsWatch
from hftpipe.app.placement import place
from hftpipe.app.recording import Recording
from hftpipe.app.run_marker import end_run
from hftpipe.app.settings.sources import Sources
from hftpipe.app.signals import noted_signals
from hftpipe.app.start import Start, begin, refuse_if_halted
from hftpipe.app.state import StateError
from hftpipe.app.summary_file import write_summary
from hftpipe.app.supervisor import END_OF_RECORDING, Companion, Supervisor
from hftpipe.app.webhook import Webhook
from hftpipe.capture.detect import CaptureInfo, detect
from hftpipe.config import Config, limit_warnings
from hftpipe.core.machine.clock import measure_skew, tsc_now
from hftpipe.core.machine.fixed import format_fixed
from hftpipe.core.machine.system_clock import steady_ns, wall_ns
from hftpipe.core.schema.clock import CLOCK
from hftpipe.core.schema.refusal import refused_network
from hftpipe.core.shared import stage as stage_module
from hftpipe.core.shared.shm import process_started
from hftpipe.journal.files import JournalError
from hftpipe.log import event, lost_records
from hftpipe.monitor.metrics import Snapshot, doubts, first_work, snapshot, totals
from hftpipe.monitor.summary import render, summarise
from hftpipe.monitor.view import View
from hftpipe.strategy.compile.loader import LoadedStrategy
from hftpipe.topology.configured import at_venue, found, instrument_rows, processes_of, venues_of, with_venue
from hftpipe.topology.pipeline import Pipeline
from hftpipe.topology.strategies import load_strategies
from hftpipe.topology.universe import with_universe
from hftpipe.venues.contract import Beside

LOG = logging.getLogger("hftpipe.app.run")
VIEW_NS = 250_000_000
PROGRESS_NS = 5_000_000_000


def match_capture(config: Config, load: Callable[..., Config]) -> Config:
    """Make the instruments those of the capture, when the configured ones are not.

    ``load`` makes the configuration anew: what limits may be given for, and what else is laid over it (:meth:`Sources.load`).

    Tick and lot come from the configuration where the symbol is configured for the same market; otherwise they are
    the smallest steps seen in the capture, and that is said.

    Raises:
        CaptureError: the file cannot be read or is not a capture.
        ConfigError: limits are given for a symbol that neither has.
    """
    if config.market.source != "replay":
        return config
    info = detect(config.market.replay)
    known = {(item.symbol, item.venue) for item in config.instruments}
    traded = sorted({*(symbol for symbol, _ in known), *info.symbols})
    if info.symbols and all((symbol, info.market) in known for symbol in info.symbols):
        return load(traded)
    tables = [instrument_table(info, index) for index in range(len(info.symbols))]
    for table in tables:
        event(LOG, logging.WARNING, "instrument taken from the capture", **table)
    return load(traded, instruments=tables)


def instrument_table(info: CaptureInfo, index: int) -> dict[str, Any]:
    """The ``[[instruments]]`` entry of a symbol that is only known from a capture."""
    tick = info.ticks[index]
    return {
        "symbol": info.symbols[index], "venue": info.market, "tick_size": format_fixed(tick),
        "lot_size": format_fixed(info.lots[index]), "min_notional": "5",
        "reference_price": format_fixed(max(info.prices[index] // tick, 1000) * tick),
        "pack": 10 ** info.powers[index],
    }  # fmt: skip


def process_age_s() -> float:
    """Seconds since this process was started (resolution 10 ms)."""
    ticks = process_started(os.getpid()) / os.sysconf("SC_CLK_TCK")
    return time.clock_gettime(time.CLOCK_BOOTTIME) - ticks


class Screen:
    """The live view on a terminal, or a progress line now and then where there is none."""

    def __init__(self, pipeline: Pipeline, console: Console) -> None:
        self._pipeline, self._next_ns = pipeline, 0
        self._view = View(
            f"hftpipe {pipeline.segment.name}: {pipeline.segment.meta['strategy']}", pipeline.segment.meta["orders"]
        )
        self._diverted: list[tuple[logging.StreamHandler[Any], Any]] = []
        self._live = Live(console=console, auto_refresh=False, transient=True) if console.is_terminal else None

    def __enter__(self) -> "Screen":
        if self._live:
            is_shared = sys.stderr.isatty()
            self._live.start()
            if is_shared:
                self._divert_log()
        self._next_ns = steady_ns() + (VIEW_NS if self._live else PROGRESS_NS)
        return self

    def _divert_log(self) -> None:
        """Let log lines scroll by above the view, which is drawn over what goes to the terminal past it."""
        for handler in logging.getLogger().handlers:
            if isinstance(handler, logging.StreamHandler) and (before := handler.setStream(sys.stderr)):
                self._diverted.append((handler, before))

    def __exit__(self, *_: object) -> None:
        for handler, before in self._diverted:
            handler.setStream(before)
        if self._live:
            self._live.stop()

    def poll(self) -> None:
        """Redraw when it is time."""
        if steady_ns() < self._next_ns:
            return
        look = snapshot(self._pipeline.segment, tsc_now())
        if self._live:
            self._next_ns = steady_ns() + VIEW_NS
            self._live.update(self._view.render(look), refresh=True)
        else:
            self._next_ns = steady_ns() + PROGRESS_NS
            _log_progress(look)


def _log_progress(look: Snapshot) -> None:
    counts, p99 = totals(look), look.latency["tick_to_order"].p99
    event(
        LOG, logging.INFO, "running", events=counts["events"], orders=counts["orders"],
        fills=counts["fills"], tick_to_order_p99_us=round(p99 / 1000, 2), halted=look.halted,
    )  # fmt: skip


def _exit_code(look: Snapshot, facts: dict[str, Any], is_latched: bool) -> int:
    """What failed beside the stages: a recording not read or written to its end, a hook, a halt that a restart would not know; or what
    the account holds may not be what was booked."""
    is_recorded = facts.get("recording", {"complete": True})["complete"]
    faulted = any(one.fault for one in look.strategies.values())
    failed = facts["source_errors"] or faulted or not is_recorded or not is_latched or doubts(look)
    return facts["exit_code"] or int(bool(failed))


def _facts(pipeline: Pipeline, look: Snapshot, outcome: Outcome, began_tsc: int, age_s: float) -> dict[str, Any]:
    first = look.status["strategy"]["first_work_tsc"] or first_work(look, "market_data")
    run_s = (outcome.ended_tsc - first) * look.ns_per_tick / 1e9 if first else 0.0
    startup_s = age_s + (first - began_tsc) * look.ns_per_tick / 1e9 if first else age_s
    return {
        "reason": outcome.reason,
        "exit_code": outcome.exit_code,
        "startup_s": round(startup_s, 3),
        "run_s": round(run_s, 3),
        "events_per_s": round(totals(look)["events"] / run_s, 1) if run_s else 0.0,
        "pss_mb": round(outcome.pss_mb, 1),
        "context_switches": outcome.context_switches,
        "late_polls": outcome.late_polls,
        "left_behind": outcome.left_behind,
        "stage_faults": outcome.stage_faults,
        "stop": outcome.stop,
        "venue_faults": outcome.venue_faults,
        "epoch": pipeline.segment.epoch,
        "fingerprint": pipeline.config.fingerprint(),
        "strategy": pipeline.segment.meta["strategy"],
        "source": pipeline.segment.meta["source"],
        "orders_to": pipeline.segment.meta["orders"],
        "source_errors": pipeline.source_errors(),
    }


def beside(config: Config, report: Callable[[str], None]) -> tuple[list[Beside], Config]:
    """What runs beside the stages for the venues, its sockets open, and the configuration that reaches it."""
    companions: list[Beside] = []
    for entry in venues_of(config):
        own = at_venue(config, entry)
        companion, own = found(entry).beside(own, instrument_rows(own), report)
        if companion:
            companions.append(companion)
            config = with_venue(config, entry, own)
    return companions, config


def _build(config: Config, strategies: Sequence[LoadedStrategy]) -> Pipeline:
    stage_module.warm()
    now_ns = wall_ns()
    epoch = next_epoch(config.pipeline.name, now_ns // 1_000_000_000)
    with refused_network():
        pipeline = Pipeline(config, strategies, epoch, now_ns)
    if pipeline.segment.replaced:
        raise_epoch(config.pipeline.name, pipeline.segment.epoch)
        event(
            LOG, logging.WARNING, "replaced the segment of a crashed run", segment=pipeline.segment.name,
            **pipeline.segment.replaced,
        )  # fmt: skip
    for stage, joined in pipeline.joined.items():
        if joined.facts:
            event(LOG, logging.INFO, "market data lines", facts=list(joined.facts), stage=stage)
    return pipeline


def _warn(text: str) -> None:
    event(LOG, logging.WARNING, text)


def run(config: Config, sources: Sources, json_file: str | None, companions: Sequence[Companion] = ()) -> int:
    """Run a pipeline to its end.

    Args:
        config: as loaded from ``sources``, which are read again when they change.
        json_file: where the summary goes as JSON; None for nowhere.
        companions: more processes beside the stages, stopped last of all.

    Returns:
        The exit code: 0 for an end that was asked for, 1 when a stage, the recording, or the summary's file failed, or an
        order has no known end.

    Raises:
        Refusal: ConfigError, CaptureError, StrategyError, SegmentError, RecordError, StateError, or the network's; nothing was
            started, and no trace is left of a run that would have been under way.
    """
    asked, config = config, with_universe(match_capture(config, sources.load), _warn)
    refuse_if_halted(config)
    webhook = Webhook(config, sources.env)
    for text in limit_warnings(config):
        _warn(text)
    strategies = load_strategies(config)
    groups = processes_of(config)
    cpus, note = place(config.pipeline.cpu_ids, len(groups), os.sched_getaffinity(0))
    if note:
        event(LOG, logging.WARNING, note)
    built: list[Pipeline] = []
    with refused_network():
        exchanges, config = beside(config, lambda line: built[0].report_source_error(line))
    with noted_signals() as signals:
        pipeline = _build(config, strategies)
        built.append(pipeline)
        try:
            measure_skew(pipeline.segment.record("clock", CLOCK), sorted(set(cpus)))
            watch = ParamsWatch(pipeline, LimitChanges(pipeline), asked, sources)
            profit_before = resume_losses(pipeline)
            journals = Journals(pipeline)
            recording = Recording(pipeline) if config.record.folder else None
            start = _begin(pipeline, recording, journals, profit_before)
            beside_it: list[Companion] = [*([recording] if recording else []), *exchanges, *companions]
            start.latch.tell = webhook.tell
            summary = _supervise(pipeline, cpus, watch, recording, exchanges, beside_it, start, journals, signals)
        finally:
            pipeline.segment.unlink()
        sources.close()
        summary["alerts"] = webhook.close()
        code = _hand_over(summary, json_file)
        if start.latch.is_stored:
            end_run(pipeline.segment.name)
    return code


def _begin(pipeline: Pipeline, recording: Recording | None, journals: Journals, profit_before: dict[str, str]) -> Start:
    """The last that may refuse: from here on the run is under way, and whoever comes next will hear of it."""
    try:
        journals.begin()
        return begin(pipeline, profit_before)
    except (StateError, JournalError) as error:
        journals.discard()
        if recording:
            recording.refused(str(error))
        raise


def _hand_over(summary: dict[str, Any], json_file: str | None) -> int:
    """Write the summary, the file first: the exit code. A file that cannot be written has its text on standard output."""
    outputs.be_patient()
    summary["lost_output"] = {"log": lost_records(), **outputs.lost()}
    data = orjson.dumps(summary, option=orjson.OPT_INDENT_2 | orjson.OPT_SERIALIZE_NUMPY)
    problem = write_summary(json_file, data) if json_file else ""
    console, unwritten = Console(), outputs.lost()
    sys.stdout.write(render(summary, console.width if console.is_terminal else 0) + "\n")
    if problem:
        event(LOG, logging.ERROR, "the summary could not be written", reason=problem)
        sys.stdout.write(f"  summary            {problem}; here it is:\n{data.decode()}\n")
    if not problem and not json_file and outputs.lost() != unwritten:
        problem = "standard output takes no more"
        event(LOG, logging.ERROR, "the summary could not be written", reason=problem)
    return int(summary["exit_code"]) or int(bool(problem))


def _supervise(
    pipeline: Pipeline,
    cpus: list[int],
    watch: ParamsWatch,
    recording: Recording | None,
    exchanges: list[Beside],
    companions: list[Companion],
    start: Start,
    journals: Journals,
    signals: list[str],
) -> dict[str, Any]:
    began_tsc, age_s = np.uint64(tsc_now()), process_age_s()
    screen, cold = Screen(pipeline, Console()), Cold()

    def refresh() -> str | None:
        cold.run("reading the parameters again", watch.poll)
        cold.run("the live view", screen.poll)
        if signals:
            return signals[-1]
        return END_OF_RECORDING if exchanges and all(one.has_ended() for one in exchanges) else None

    supervisor = Supervisor(pipeline, refresh, companions, start.latch)
    with screen:
        outcome = supervisor.run(cpus, pipeline.config.pipeline.duration_s)
    look = snapshot(pipeline.segment, tsc_now())
    facts = _facts(pipeline, look, outcome, int(began_tsc), age_s) | start.facts()
    facts["failed_beside"] = cold.errors
    facts["journals"] = journals.facts()
    if recording:
        facts["recording"] = recording.facts()
    facts["exit_code"] = _exit_code(look, facts, start.latch.is_stored)
    return summarise(look, facts)
