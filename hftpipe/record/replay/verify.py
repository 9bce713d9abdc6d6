"""``hftpipe replay``: run a recorded session again.

``--verify``: each stage is fed its own tape and must put out, byte for byte, what the next stage consumed
(:mod:`hftpipe.record.replay.compare` lists the fields that are left out). ``--strategy`` and ``--set``: the recorded market is
played through another strategy in virtual time, beside the recorded one, and the orders are compared.
"""

import sys
from collections import Counter
from collections.abc import Collection, Sequence
from dataclasses import dataclass
from typing import Any, NamedTuple

import numpy as np

from hftpipe.config import Config
from hftpipe.core.machine.build import BUILD_HASH
from hftpipe.monitor.metrics import snapshot
from hftpipe.monitor.summary import summarise
from hftpipe.record.replay.chain import Chain
from hftpipe.record.replay.compare import (
    MARKET_KINDS,
    Flow,
    context_lines,
    describe,
    describe_change,
    first_difference,
    flows_of,
    of_kinds,
    order_changes,
    unequal_fields,
)
from hftpipe.record.replay.rebuild import build, config_from
from hftpipe.record.replay.rig import StageReplay
from hftpipe.record.tape.format import RecordError
from hftpipe.record.tape.reader import Session, open_session
from hftpipe.record.tape.session import COMPLETE, how_it_ended, instrument_facts, source_hash
from hftpipe.risk.losses import LOSS, begin_with
from hftpipe.strategy.compile.loader import LoadedStrategy, load
from hftpipe.topology.configured import instrument_rows
from hftpipe.topology.graph import kind_of
from hftpipe.topology.pipeline import Pipeline
from hftpipe.topology.strategies import load_strategies

EXIT_SAME, EXIT_DIFFERENT = 0, 1
#: Differences of orders that are printed; the counts are always of all.
SHOWN_CHANGES = 40
_PARAMS_PREFIX = "strategy.params."


@dataclass(frozen=True)
class Difference:
    """The first record in which a replay is not its recording.

    Attributes:
        flow: where.
        index: of the record in the flow.
        lines: both records, and the input before it, for people.
    """

    flow: Flow
    index: int
    lines: list[str]


class Verdict(NamedTuple):
    """Result of a verification: records compared by flow, and the first difference of each flow that has one."""

    counts: dict[str, int]
    differences: list[Difference]


# --- opening ---------------------------------------------------------------------------------------


def _refusals(session: Session) -> list[str]:
    """Why a session cannot be replayed exactly."""
    header, found = session.header, []
    if header["build"] != BUILD_HASH:
        builds = f"by build {header['build'][:12]}, this is build {BUILD_HASH[:12]}"
        found.append(f"it was recorded {builds} (both of schema {header['schema']})")
    if header["state"] != COMPLETE or session.problems:
        found.append(how_it_ended(header) + "".join(f"; {problem}" for problem in session.problems))
    for name, hook in header.get("unended_hooks", {}).items():
        found.append(f"{hook} of {name} never returned, and would not in a replay")
    for stage in header["stages"]:
        if stage not in session.stages:
            found.append(f"there is no tape of {stage}")
            continue
        tape = session.records(stage)
        if tape.lost or tape.gaps():
            where = ", ".join(f"{gap.lost} before record {gap.record + 1}" for gap in tape.gaps()) or "at its end"
            found.append(f"the tape of {stage} has lost {tape.lost} records ({where})")
        if tape.untaken:
            found.append(f"{tape.untaken} records of the tape of {stage} were not stored")
    return found


def _open(folder: str, force: bool) -> tuple[Session, Config]:
    """The session and its configuration.

    Raises:
        RecordError: corrupt, or not to be replayed exactly (``force`` allows what can be tried at all).
    """
    session = open_session(folder)
    refusals = _refusals(session)
    missing = [stage for stage in session.header["stages"] if stage not in session.stages]
    if refusals and (missing or not force):
        hint = "" if missing else "; --force replays it all the same"
        raise RecordError(f"{session.path}: cannot be replayed: {'; '.join(refusals)}{hint}")
    config = config_from(session.header["config"])
    if config.fingerprint() != session.header["fingerprint"]:
        raise RecordError(f"{session.path}: the configuration does not have the recorded fingerprint")
    if instrument_facts(instrument_rows(config)) != session.header["instruments"]:
        raise RecordError(f"{session.path}: the instruments are not those of the configuration")
    return session, config


def _recorded_strategies(session: Session, config: Config, force: bool) -> list[LoadedStrategy]:
    """The strategies that were recorded, if their sources still are what they were.

    Raises:
        RecordError: one has changed.
        StrategyError: one cannot be loaded.
    """
    strategies = load_strategies(config)
    for loaded, facts in zip(strategies, session.header["strategies"], strict=True):
        if source_hash(loaded.source) != facts["source_hash"] and not force:
            raise RecordError(f"{session.path}: {loaded.source} has changed since; --force replays it all the same")
    return strategies


def _fresh(session: Session, config: Config, strategies: Sequence[LoadedStrategy]) -> Pipeline:
    pipeline = build(config, strategies, session.header["epoch"], session.header["start_wall_ns"])
    begin_with(pipeline.segment.region("risk.losses").view(LOSS), session.header["losses"])
    return pipeline


def open_recorded(folder: str, force: bool) -> tuple[Session, Config, Pipeline]:
    """A session, its configuration, and a fresh pipeline of it.

    Raises:
        RecordError, StrategyError: it cannot be replayed.
    """
    session, config = _open(folder, force)
    return session, config, _fresh(session, config, _recorded_strategies(session, config, force))


# --- verifying -------------------------------------------------------------------------------------


def _difference(
    flow: Flow, at: int, tapes: dict[str, np.ndarray], places: np.ndarray, stage: StageReplay
) -> Difference:
    recorded, replayed, causes = tapes[flow.reader], stage.records[flow.ring], stage.causes[flow.ring]
    want = recorded[places[at]]
    lines = [
        f"{flow.ring}[{at}] ({flow.writer} to {flow.reader}) differs",
        f"  recorded: {describe(want)}",
    ]
    if at < len(replayed):
        lines.append(f"  replayed: {describe(replayed[at])}")
        lines.append(f"  fields: {', '.join(unequal_fields(want, replayed[at]))}")
        lines.append(f"  replayed after this input, record {int(causes[at])} of the tape of {flow.writer}:")
        lines += context_lines(tapes[flow.writer], flow.writer, int(causes[at]))
    else:
        lines.append("  replayed: nothing, the tape is at its end")
    lines.append(f"  consumed by {flow.reader} as record {int(places[at])} of its tape:")
    return Difference(flow, at, lines + context_lines(recorded, flow.reader, int(places[at])))


def _market_difference(flow: Flow, tapes: dict[str, np.ndarray]) -> tuple[int, list[Difference]]:
    """A reader of the market must have read what market data published, in order."""
    published, tape = tapes[flow.writer], tapes[flow.reader]
    places = flow.places(tape)
    read = tape[places]
    at = first_difference(read, published)
    if at < 0:
        return len(read), []
    lines = [f"{flow.ring}[{at}] ({flow.writer} to {flow.reader}) differs", f"  read: {describe(read[at])}"]
    lines += context_lines(published, flow.writer, at)
    lines.append(f"  consumed by {flow.reader} as record {int(places[at])} of its tape:")
    lines += context_lines(tape, flow.reader, int(places[at]))
    return len(read), [Difference(flow, at, lines)]


def verify(tapes: dict[str, np.ndarray], pipeline: Pipeline, paper: Collection[str] | None = None) -> Verdict:
    """Replay strategy, risk and the gateways, and compare every output with the recording.

    Args:
        tapes: RECORDs by stage, of all stages.
        pipeline: fresh, from :func:`hftpipe.record.replay.rig.build`.
        paper: names of the venues whose orders went to the paper exchange, which plays along (None: all); the answers of any
            other come from the tape.

    Raises:
        RecordError: a tape holds what its stage cannot have consumed.
    """
    played = {name for one in pipeline.venues if paper is None or one.name in paper for name in pipeline.stages_of(one)}
    flows, counts, differences = flows_of(pipeline), Counter[str](), []
    for flow in flows:
        if flow.kind == "market" or (flow.kind == "sim" and flow.reader in played):
            count, found = _market_difference(flow, tapes)
            counts["market"] += count if flow.kind == "market" else 0
            differences += found
    for name in (stage for stage in pipeline.graph.stages if kind_of(stage) != "market_data"):
        own = [flow for flow in flows if flow.writer == name]
        places = {flow.ring: flow.places(tapes[flow.reader]) for flow in own}
        expected = {ring: len(rows) for ring, rows in places.items()}
        stage = StageReplay(pipeline, name, tapes[name], expected, name in played)
        stage.run()
        for flow in own:
            recorded = tapes[flow.reader][places[flow.ring]]
            counts[flow.kind] += len(recorded)
            at = first_difference(recorded, stage.records[flow.ring])
            if at >= 0:
                differences.append(_difference(flow, at, tapes, places[flow.ring], stage))
    return Verdict(counts, differences)


def render_verdict(verdict: Verdict) -> str:
    """For people: one line when all is identical, else the first difference with its context."""
    counts = verdict.counts
    parts = ", ".join(f"{counts[ring]} {ring}" for ring in ("intents", "orders", "reports", "updates"))
    if not verdict.differences:
        return f"identical: {parts} ({counts['market']} market records)"
    first = verdict.differences[0]
    others = [f"{one.flow.ring}[{one.index}]" for one in verdict.differences[1:]]
    tail = [f"  first differences of the others: {', '.join(others)}"] if others else []
    return "\n".join(["DIFFERENT: the first difference:", *first.lines, *tail, f"  compared: {parts}"])


# --- another strategy ------------------------------------------------------------------------------


def _given(assignments: dict[str, Any]) -> dict[str, Any]:
    """Parameters by name of ``strategy.params.KEY`` assignments.

    Raises:
        RecordError: another key; the market and the venue are those of the recording.
    """
    wrong = [key for key in assignments if not key.startswith(_PARAMS_PREFIX)]
    if wrong:
        raise RecordError(f"--set {wrong[0]}: a replay can change {_PARAMS_PREFIX}KEY only")
    return {key.removeprefix(_PARAMS_PREFIX): value for key, value in assignments.items()}


def _account(pipeline: Pipeline) -> str:
    summary = summarise(snapshot(pipeline.segment), {})
    position = ", ".join(f"{symbol} {qty:.8g}" for symbol, qty in summary["positions"].items())
    counts = f"{summary['orders']} new, {summary['replaces']} replaces, {summary['cancels']} cancels, {summary['fills']} fills"
    earned = "; ".join(
        f"pnl{f' in {quote}' if len(summary['by_quote']) > 1 else ''} realised {one['pnl']['realised']:.4f}, "
        f"unrealised {one['pnl']['unrealised']:.4f}, fees {one['pnl']['fees']:.4f}"
        for quote, one in summary["by_quote"].items()
    )
    return f"{counts}; position {position}; {earned}"


def compare_strategies(
    session: Session, config: Config, old: LoadedStrategy, new: LoadedStrategy, shown: int = SHOWN_CHANGES
) -> str:
    """Play the recorded market through both strategies in virtual time: the orders that differ, and both accounts."""
    tape = session.records("strategy").array()
    market = tape[of_kinds(tape, MARKET_KINDS)]
    del tape
    orders, accounts = [], []
    for strategy in (old, new):
        pipeline = _fresh(session, config, [strategy])
        orders.append(Chain(pipeline).run(market))
        accounts.append(_account(pipeline))
    changes = order_changes(orders[0], orders[1])
    counts = {what: sum(change.what == what for change in changes) for what in ("added", "missing", "changed")}
    lines = [f"{len(market)} market records in virtual time"]
    lines += [f"  {describe_change(change)}" for change in changes[:shown]]
    if len(changes) > shown:
        lines.append(f"  ... and {len(changes) - shown} more")
    lines.append("orders: " + ", ".join(f"{count} {what}" for what, count in counts.items()))
    lines += [f"recorded {old.name}: {accounts[0]}", f"changed  {new.name}: {accounts[1]}"]
    return "\n".join(lines)


def _changed_strategy(config: Config, name: str | None, given: dict[str, Any]) -> LoadedStrategy:
    """The strategy to try: recorded parameters count only for the recorded strategy.

    Raises:
        RecordError: there are several, and it is not said which of them is meant.
    """
    if config.strategies:
        names = ", ".join(one.name for one in config.strategies)
        raise RecordError(
            f"the session has several strategies ({names}): --strategy and --set need one that has a single one"
        )
    is_same = name is None or name == config.strategy.name
    base = dict(config.strategy.effective_params()) if is_same else {}
    return load(name or config.strategy.name, {**base, **given})


# --- the command -----------------------------------------------------------------------------------


def replay_main(session: str, verify_it: bool, strategy: str | None, assignments: dict[str, Any], force: bool) -> int:
    """``hftpipe replay``.

    Args:
        session: the session's folder.
        verify_it: compare every output with the recording; also what is done when nothing else is asked for.
        strategy: name or ``path.py:ClassName`` of a strategy to play the recorded market through.
        assignments: ``strategy.params.KEY`` to value.
        force: replay although the build, the strategy's source or lost records forbid it.

    Returns:
        0, or 1 when the replay is not identical.

    Raises:
        RecordError, StrategyError: nothing was replayed, or a tape cannot have been consumed.
    """
    given = _given(assignments)
    opened, config = _open(session, force)
    recorded = _recorded_strategies(opened, config, force)
    code = EXIT_SAME
    if verify_it or (strategy is None and not given):
        tapes = {stage: opened.records(stage).array() for stage in opened.header["stages"]}
        # One venue alone has another name in the replay.
        paper = opened.header["paper"] if config.venues or not opened.header["paper"] else None
        verdict = verify(tapes, _fresh(opened, config, recorded), paper)
        sys.stdout.write(render_verdict(verdict) + "\n")
        code = EXIT_DIFFERENT if verdict.differences else EXIT_SAME
    if strategy is not None or given:
        changed = _changed_strategy(config, strategy, given)
        sys.stdout.write(compare_strategies(opened, config, recorded[0], changed) + "\n")
    return code
