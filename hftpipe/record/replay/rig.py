"""Stages in one process and in private memory, fed record by record: what a replay runs on.

The wiring is the pipeline's own (:class:`hftpipe.topology.pipeline.Pipeline`), laid out in memory of this process; the stages
are the same compiled step functions. Only the feeding differs: each record on a stage's tape is put into its ring and
the stage is stepped once, so that it consumes in the recorded order whatever the scheduling was. What a stage saw
beside its rings (top of book, halt, parameters) is put into the cells before the record it was seen with.
"""

import numpy as np

from hftpipe.core.machine.jit import jit
from hftpipe.core.machine.mem import U64, ZERO, call_step, load_relaxed, store_relaxed, view
from hftpipe.core.schema.cells import CELL_BYTES, TOP_CELL
from hftpipe.core.schema.event_time import EVENT_TIME
from hftpipe.core.schema.halts import HALTS, INSTRUMENT_SCOPE, REDUCE_PLACE, STRATEGY_SCOPE, scope_words
from hftpipe.core.schema.layout import offset_of
from hftpipe.core.schema.records import ACK, ASK, CANCEL, FILL, NEW, RECORD, RECORD_BYTES, REPLACE, TIMER
from hftpipe.core.schema.ring import RING
from hftpipe.core.shared.event_time import wind_event_time
from hftpipe.core.shared.ring import ring_init, ring_push
from hftpipe.core.shared.tape import (
    CLOCK_RAN_ON,
    HALT_CANCEL,
    HALT_SEEN,
    INTENTS_FULL,
    LIMIT_SEEN,
    MID_SEEN,
    NO_ANSWER_SEEN,
    PARAMS,
    PARAMS_BYTES_PER_RECORD,
    PARAMS_DATA,
    REDUCING,
    RING_FULL,
    TAPE_GAP,
    TOO_OLD_SEEN,
    TOP_SEEN,
    UNJOURNALED_SEEN,
    VENUE_BUSY_SEEN,
    WITH_RECORD,
)
from hftpipe.record.replay.compare import flows_of
from hftpipe.record.replay.taped_venue import TAPED_VENUE, put_behind, tell_report
from hftpipe.record.tape.format import RecordError
from hftpipe.record.tape.recorder import drain
from hftpipe.risk.changes import change_word
from hftpipe.risk.state import STATE
from hftpipe.risk.worth import remark
from hftpipe.strategy.params import PARAMS_CELL, PARAMS_HEADER_BYTES
from hftpipe.strategy.room import RUNS
from hftpipe.topology.graph import MOST_OUTPUTS, kind_of
from hftpipe.topology.pipeline import Pipeline

#: Outputs beyond the recorded ones that are kept: what was on its way at the stop, or a replay gone astray.
MORE_OUTPUTS = 65_536
_SHIFT = np.uint64(6)
_FREE = np.uint64(2**63)

#: One stage being fed: its input rings by kind of record, its output rings and where their records are gathered.
#: ``tripped`` and ``stopped`` are addresses of the gateway's flags (0 for other stages), ``venue`` that of its taped venue.
FEED = np.dtype(
    [
        ("step", "u8"), ("state", "u8"), ("market", "u8"), ("requests", "u8"), ("answers", "u8"),
        ("tripped", "u8"), ("stopped", "u8"), ("venue", "u8"), ("n_outs", "i8"),
        ("ring", "u8", MOST_OUTPUTS), ("out", "u8", MOST_OUTPUTS), ("cause", "u8", MOST_OUTPUTS),
        ("count", "i8", MOST_OUTPUTS), ("capacity", "i8", MOST_OUTPUTS),
    ],
    align=True,
)  # fmt: skip


@jit
def _collect(feed, index):
    """Move what the stage has put out to where it is gathered; ``index`` is the input that led to it."""
    f = view(feed, FEED)
    for out in range(f.n_outs):
        room = f.capacity[out] - f.count[out]
        while room > 0:
            got = drain(f.ring[out], f.out[out] + (U64(f.count[out]) << _SHIFT), room)
            if got == 0:
                break
            for at in range(f.count[out], f.count[out] + got):
                store_relaxed(f.cause[out] + (U64(at) << U64(3)), U64(index))
            f.count[out] += got
            room -= got
        if room == 0:
            # Far more than was recorded: the replay has gone astray, and what it says from here on is not looked at.
            ring = view(f.ring[out], RING)
            ring.next_out = ring.next_in


@jit
def step_once(feed, index):
    """One step of the stage, and what it puts out."""
    f = view(feed, FEED)
    call_step(f.step, f.state, np.int64(0))
    _collect(feed, index)


@jit
def _ring_of(f, kind):
    if kind < NEW:
        return f.market
    return f.requests if kind < ACK else f.answers


@jit
def feed_one(feed, record, index):
    """Give the stage one record and step it: False if it did not take the record.

    The step that finds the gateway stopped anew says so on the tape; a replay's step must not find it earlier, between
    two records of one recorded step.
    """
    f = view(feed, FEED)
    kind = view(record, RECORD).kind
    if f.tripped != ZERO and load_relaxed(f.tripped) != ZERO:
        store_relaxed(f.stopped, U64(1))
    if f.venue != ZERO and kind >= ACK:
        tell_report(f.venue, record)
        step_once(feed, index)
        return view(f.venue, TAPED_VENUE).has_report == 0
    ring = _ring_of(f, kind)
    if ring == ZERO or not ring_push(ring, record):
        return False
    call_step(f.step, f.state, np.int64(0))
    r = view(ring, RING)
    _collect(feed, index)
    return r.next_out == r.next_in


@jit
def _is_judged(kind, after):
    """Whether the record of kind ``after`` says what the stage saw beside the record of ``kind`` before it."""
    return (kind >= NEW and kind <= REPLACE and after >= TAPE_GAP) or (kind == FILL and after == TOP_SEEN)


@jit
def feed_many(feed, records, first, count):
    """Feed records from index ``first`` on, up to one that needs more than a push: its index; ``count`` at the end.

    That is a record of a tape kind, a request or a fill that one follows, and one for which the intents ring was full.
    ``-1 - index`` when the stage did not take one.
    """
    for index in range(first, count):
        record = records + (U64(index) << _SHIFT)
        kind = view(record, RECORD).kind
        if kind >= TAPE_GAP or (index + 1 < count and view(record + U64(64), RECORD).kind == INTENTS_FULL):
            return index
        if index + 1 < count and _is_judged(kind, view(record + U64(64), RECORD).kind):
            return index
        if not feed_one(feed, record, index):
            return -1 - index
    return count


class StageReplay:
    """One stage fed from its tape.

    Args:
        pipeline: from :func:`build`.
        stage: strategy, risk or gateway.
        tape: its RECORDs.
        expected: how many records the recording has of each output ring.
        is_paper: whether the venue was the paper one, which plays along; any other's answers are on the gateway's tape.
    """

    def __init__(
        self, pipeline: Pipeline, stage: str, tape: np.ndarray, expected: dict[str, int], is_paper: bool = True
    ) -> None:
        self._pipeline, self._name, self._stage, self.tape = pipeline, stage, kind_of(stage), np.ascontiguousarray(tape)
        segment = pipeline.segment
        for spec in pipeline.graph.rings:
            ring_init(segment.region(f"ring.{spec.name}"), getattr(pipeline.config.rings, spec.kind))
        # Of several rings of a kind the first: the tape has the order in which all were read.
        rings = {spec.kind: spec.name for spec in reversed(pipeline.graph.rings) if spec.reader == stage}
        kinds = {"strategy": ("market", None, "updates"), "risk": (None, "intents", "reports"),
                 "gateway": ("sim", "orders", None)}[self._stage]  # fmt: skip
        inputs = [rings[kind] if kind else None for kind in kinds]
        self._outs = [flow.ring for flow in flows_of(pipeline) if flow.writer == stage]
        self.records = {ring: np.zeros(expected[ring] + MORE_OUTPUTS, RECORD) for ring in self._outs}
        self.causes = {ring: np.zeros(expected[ring] + MORE_OUTPUTS, np.int64) for ring in self._outs}
        self._feed = np.zeros(1, FEED)
        f = self._feed[0]
        f["step"], f["state"] = pipeline.stages[stage].step, pipeline.stages[stage].state
        for name, ring in zip(("market", "requests", "answers"), inputs, strict=True):
            f[name] = segment.address(f"ring.{ring}") if ring else 0
        f["n_outs"] = len(self._outs)
        for at, ring in enumerate(self._outs):
            f["ring"][at], f["capacity"][at] = segment.address(f"ring.{ring}"), len(self.records[ring])
            f["out"][at], f["cause"][at] = self.records[ring].ctypes.data, self.causes[ring].ctypes.data
        self._prepare_cells()
        if self._stage == "gateway" and not is_paper:
            f["market"] = 0
            self._venue = put_behind(pipeline.state(stage))
            f["venue"] = self._venue.ctypes.data

    def _prepare_cells(self) -> None:
        """The order on the tape says when what was consumed: nothing is held back for another stage."""
        self._pipeline.halt_cell()["halted"] = 0
        # The stage before may have ended with a part halted; this one's tape says when it saw that.
        self._pipeline.segment.region("halts")[:] = 0
        # What time it was is on the tape too, where it mattered.
        self._time = self._pipeline.segment.region("time").view(EVENT_TIME)
        wind_event_time(self._time, None)
        state = self._pipeline.state(self._name)
        if self._stage in ("risk", "gateway"):
            state["clock"] = 0
        if self._stage == "strategy":
            state["n_markets"], state["in_time"] = 1, 0
        if self._stage == "risk":
            self._pipeline.play_freely()
        if self._stage == "gateway":
            state["by_tape"] = 1
            self._pipeline.segment.region("progress").view(np.uint64)[:] = _FREE
            base = self._pipeline.address(f"state.{self._name}")
            for name in ("tripped", "stopped"):
                self._feed[name] = base + offset_of(state.dtype, name)

    def run(self) -> None:
        """Feed the whole tape.

        Raises:
            RecordError: the tape holds something its stage cannot have consumed.
        """
        feed, records = np.uint64(self._feed.ctypes.data), np.uint64(self.tape.ctypes.data)
        at, count = 0, len(self.tape)
        while at < count:
            at = int(feed_many(feed, records, np.int64(at), np.int64(count)))
            if at < 0:
                self._stuck(-1 - at)
            if at < count:
                at = self._special(at)
        for index, ring in enumerate(self._outs):
            self.records[ring] = self.records[ring][: int(self._feed["count"][0][index])]

    def _stuck(self, index: int) -> None:
        raise RecordError(f"{self._name} tape, record {index}: the stage did not take it: {self.tape[index]}")

    def _one(self, index: int) -> None:
        feed, size = np.uint64(self._feed.ctypes.data), RECORD_BYTES
        if not feed_one(feed, np.uint64(self.tape.ctypes.data + index * size), np.int64(index)):
            self._stuck(index)

    def _special(self, at: int) -> int:
        """A tape kind, or a request and what it was judged by; the index after them."""
        kind = int(self.tape["kind"][at])
        if kind == HALT_SEEN and self._stage != "risk":
            self._halt_seen(at)
            return at + 1
        if self._stage == "strategy":
            return self._with_room(at, kind)
        if self._stage == "gateway" and kind in (HALT_CANCEL, CLOCK_RAN_ON):
            (self._cancel if kind == HALT_CANCEL else self._run_on)(at)
            return at + 1
        if kind == NO_ANSWER_SEEN and self._feed["venue"][0]:
            self._say_unanswered(at)
            return at + 1
        if kind == MID_SEEN and self._stage == "risk":
            row = self.tape[at]
            value_anew(self._feed["state"][0], np.uint64(row["instrument"]), row["price"], row["local_ts"])
            return at + 1
        if kind == LIMIT_SEEN and self._stage == "risk":
            row = self.tape[at]
            limit_anew(self._feed["state"][0], np.int64(row["instrument"]), np.int64(row["id"]), row["qty"])
            return at + 1
        if kind >= TAPE_GAP:
            self._stuck(at)
        end = at + 1
        while end < len(self.tape) and self._belongs(end):
            end += 1
        (self._judged if self._stage == "risk" else self._sent)(at, self.tape[at + 1 : end])
        return end

    def _belongs(self, at: int) -> bool:
        kind, flags = int(self.tape["kind"][at]), int(self.tape["flags"][at])
        is_mark = kind in (TOP_SEEN, VENUE_BUSY_SEEN, TOO_OLD_SEEN, UNJOURNALED_SEEN)
        return is_mark or (kind == HALT_SEEN and bool(flags & WITH_RECORD))

    def _with_room(self, at: int, kind: int) -> int:
        """A record, or parameters, for the strategy, with the room in the intents ring that it found then."""
        size = -(-int(self.tape["qty"][at]) // PARAMS_BYTES_PER_RECORD) if kind == PARAMS else 0
        first = end = at + 1 + size
        while end < len(self.tape) and self.tape["kind"][end] == INTENTS_FULL:
            end += 1
        runs, room = self.tape[first:end], self._pipeline.state("strategy")["room"]
        if len(runs) > RUNS:
            self._stuck(at)
        room["source"], room["runs"] = int(len(runs) > 0), len(runs)
        room["first"][0, : len(runs)], room["count"][0, : len(runs)] = runs["id"], runs["qty"]
        if kind == PARAMS:
            self._params(at)
        elif kind >= TAPE_GAP:
            self._stuck(at)
        else:
            self._one(at)
        room["source"] = room["runs"] = 0
        return end

    def _params(self, at: int) -> None:
        """A new version of the parameters is there when the next step begins."""
        size = int(self.tape["qty"][at])
        pieces = -(-size // PARAMS_BYTES_PER_RECORD)
        rows = self.tape[at + 1 : at + 1 + pieces]
        if len(rows) < pieces or (rows["kind"] != PARAMS_DATA).any():
            self._stuck(at)
        data = rows.view(np.uint8).reshape(pieces, RECORD_BYTES)[:, 8 : 8 + PARAMS_BYTES_PER_RECORD].reshape(-1)
        area = self._pipeline.segment.region(self._pipeline.of_strategy("params", int(self.tape["instrument"][at])))
        area[PARAMS_HEADER_BYTES : PARAMS_HEADER_BYTES + size] = data[:size]
        area[:PARAMS_HEADER_BYTES].view(PARAMS_CELL)["version"] = self.tape["id"][at]
        step_once(np.uint64(self._feed.ctypes.data), np.int64(at))

    def _halt_seen(self, at: int) -> None:
        """A step of the strategy found trading halted, one of the gateway found itself stopped; or no longer."""
        is_stopped, place = int(self.tape["flags"][at]) & 1, int(self.tape["id"][at]) - 1
        is_part = place >= 0 or bool(int(self.tape["flags"][at]) & REDUCING)
        if is_part:
            self._pipeline.set_scope(place if place >= 0 else REDUCE_PLACE, is_stopped, at + 1)
            step_once(np.uint64(self._feed.ctypes.data), np.int64(at))
            return
        if self._stage == "gateway":
            self._pipeline.state(self._name)["stopped"] = 1 - is_stopped
        self._pipeline.halt_cell()["halted"] = is_stopped
        step_once(np.uint64(self._feed.ctypes.data), np.int64(at))

    def _say_unanswered(self, at: int) -> None:
        """The venue gave an order up that it had not answered."""
        self._venue["unanswered"] = self.tape["id"][at]
        step_once(np.uint64(self._feed.ctypes.data), np.int64(at))
        if self._venue["unanswered"][0]:
            self._stuck(at)

    def _cancel(self, at: int) -> None:
        """The stopped gateway cancelled an order, by its clock."""
        state = self._pipeline.state(self._name)
        state["told_cancel"] = self.tape["id"][at]
        step_once(np.uint64(self._feed.ctypes.data), np.int64(at))
        if state["told_cancel"][0]:
            self._stuck(at)

    def _run_on(self, at: int) -> None:
        """The stopped gateway let the paper venue's time go on."""
        timer, first = np.zeros(1, RECORD), self._pipeline.state(self._name)["first"]
        timer["kind"], timer["local_ts"], timer["instrument"] = TIMER, self.tape["local_ts"][at], first
        if not feed_one(np.uint64(self._feed.ctypes.data), np.uint64(timer.ctypes.data), np.int64(at)):
            self._stuck(at)

    def _sent(self, at: int, seen: np.ndarray) -> None:
        """A request that the last look found too old, for which it saw another halt state than the step had, that could not
        be in the journal, or that the venue did not take."""
        if TOO_OLD_SEEN in seen["kind"]:
            self._too_old(at)
            return
        cell, state = self._pipeline.halt_cell(), self._pipeline.state(self._name)
        before, halts = (int(cell["halted"][0]), int(state["stopped"][0])), seen["flags"][seen["kind"] == HALT_SEEN]
        if len(halts):
            cell["halted"] = state["stopped"] = int(halts[-1]) & 1
        if len(halts) and not int(halts[-1]) & 1:
            self._clear_scopes(at)
        if self._feed["venue"][0]:
            self._venue["takes"] = int(VENUE_BUSY_SEEN not in seen["kind"])
        state["told_unjournaled"] = int(UNJOURNALED_SEEN in seen["kind"])
        self._one(at)
        state["told_unjournaled"] = 0
        if self._feed["venue"][0]:
            self._venue["takes"] = 1
        if len(halts):
            cell["halted"], state["stopped"] = before

    def _clear_scopes(self, at: int) -> None:
        """Whatever halted this request's strategy or instrument was cleared in between; the step's begin had not seen it."""
        row = self.tape[at]
        for place in (STRATEGY_SCOPE + int(row["strategy"]), INSTRUMENT_SCOPE + int(row["instrument"])):
            for region in ("halts", self._pipeline.local("gateway.halts", self._name)):
                scope_words(self._pipeline.segment.region(region))[place] = 0
        for region in ("halts", self._pipeline.local("gateway.halts", self._name)):
            self._pipeline.segment.record(region, HALTS)["reducing"] = 0

    def _too_old(self, at: int) -> None:
        """For this one step no age is allowed."""
        ages = self._pipeline.segment.region("gateway.max_ages").view(np.int64)
        before = ages.copy()
        ages[:] = -1
        self._one(at)
        ages[:] = before

    def _judged(self, at: int, seen: np.ndarray) -> None:
        """A NEW or REPLACE with the halt state, top of book and room risk judged it by, or a FILL with the top it saw."""
        halts = seen["flags"][seen["kind"] == HALT_SEEN]
        self._show_top(seen[seen["kind"] == TOP_SEEN])
        is_halted = any(int(flags) & 1 for flags in halts)
        # A cancel is refused for nothing less than a dead gateway.
        self._pipeline.set_dead(is_halted and int(self.tape["kind"][at]) == CANCEL)
        self._pipeline.halt_cell()["halted"] = int(is_halted)
        reducing = self._pipeline.segment.record("halts", HALTS)["reducing"]
        reducing[0] = any(int(flags) & REDUCING for flags in halts)
        if any(int(flags) & RING_FULL for flags in halts):
            self._refused_for_room(at)
        else:
            self._one(at)
        self._pipeline.set_dead(False)
        self._pipeline.halt_cell()["halted"] = reducing[0] = 0

    def _refused_for_room(self, at: int) -> None:
        """The orders ring looks full for this one step."""
        place = self._pipeline.venues[int(self._pipeline.instruments["at"][self.tape["instrument"][at]])]
        orders = self._pipeline.segment.record(f"ring.{self._pipeline.graph.at('orders', place.name)}", RING)
        record = np.uint64(self.tape.ctypes.data + at * RECORD_BYTES)
        ring_push(np.uint64(self._pipeline.address("ring.intents")), record)
        orders["next_out"] = orders["known_out"] = orders["next_in"] - orders["capacity"]
        call_stage(self._feed["step"][0], self._feed["state"][0])
        orders["next_out"] = orders["known_out"] = orders["next_in"]
        _collect(np.uint64(self._feed.ctypes.data), np.int64(at))

    def _show_top(self, seen: np.ndarray) -> None:
        for bid, ask in zip(seen[0::2], seen[1::2], strict=True):
            wind_event_time(self._time, int(bid["exchange_ts"]))
            if int(ask["side"]) != ASK:
                raise RecordError(f"{self._name} tape: half a top of book: {bid}")
            tops = self._pipeline.segment.region("tops")
            cell = tops[CELL_BYTES * int(bid["instrument"]) :][:CELL_BYTES].view(TOP_CELL)[0]
            cell["bid"], cell["bid_qty"], cell["ask"], cell["ask_qty"] = (
                bid["price"],
                bid["qty"],
                ask["price"],
                ask["qty"],
            )
            cell["local_ts"], cell["state"], cell["update_id"] = bid["local_ts"], bid["flags"], bid["id"]


@jit
def value_anew(state, instrument, mid, now):
    """Risk (its STATE at address ``state``) looked at what is held of an instrument."""
    remark(view(state, STATE), instrument, mid, now)


@jit
def limit_anew(state, area, offset, value):
    """Risk (its STATE at address ``state``) took over a limit that was changed."""
    change_word(view(state, STATE), area, offset, value)


@jit
def call_stage(step, state):
    """One step of the stage whose step function and STATE are at these addresses."""
    return call_step(step, state, np.int64(0))
