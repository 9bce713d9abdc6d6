"""What a replay must reproduce, and how two sequences of records differ.

A replay is compared with what the *next* stage put on its tape: what it consumed of this stage. Masked fields:

============ ========================= ===============================================================================
field        of                        why it is no part of a decision
============ ========================= ===============================================================================
seq          every record              the index in whichever ring or tape holds the copy
origin_tsc   market data, NEW CANCEL   time-stamp counter of the causing packet: measures latency, decides nothing
             REPLACE
sent_tsc     NEW CANCEL REPLACE        time-stamp counter when the last stage sent it
============ ========================= ===============================================================================

What reports have in the same places is the venue's, and is compared.
"""

from collections.abc import Iterator
from typing import Any, NamedTuple

import numpy as np

from hftpipe.core.machine.fixed import format_fixed
from hftpipe.core.schema.records import ACK, CANCEL, KIND_NAMES, NEW, RECORD, RECORD_BYTES, REPLACE, TIMER, layout_of
from hftpipe.core.shared.tape import (
    CLOCK_RAN_ON,
    HALT_CANCEL,
    HALT_SEEN,
    INTENTS_FULL,
    LIMIT_SEEN,
    MID_SEEN,
    NO_ANSWER_SEEN,
    PARAMS,
    PARAMS_DATA,
    TAPE_GAP,
    TOO_OLD_SEEN,
    TOP_SEEN,
    UNJOURNALED_SEEN,
    VENUE_BUSY_SEEN,
)
from hftpipe.topology.pipeline import Pipeline

#: Field -> first and last kind in whose records it is not compared.
MASKS = {"seq": (0, 255), "origin_tsc": (0, REPLACE), "exchange_ts": (NEW, REPLACE)}
#: Kinds from this one on are on tapes only.
FIRST_TAPE_KIND = TAPE_GAP
NAMES = KIND_NAMES | {
    TAPE_GAP: "tape_gap", INTENTS_FULL: "intents_full", TOP_SEEN: "top_seen", HALT_SEEN: "halt_seen", PARAMS: "params", PARAMS_DATA: "params_data",
    VENUE_BUSY_SEEN: "venue_busy", HALT_CANCEL: "halt_cancel", NO_ANSWER_SEEN: "no_answer",
    TOO_OLD_SEEN: "too_old", UNJOURNALED_SEEN: "unjournaled", CLOCK_RAN_ON: "clock_ran_on", MID_SEEN: "mid_seen",
    LIMIT_SEEN: "limit_seen",
}  # fmt: skip
CONTEXT_RECORDS = 5


class Flow(NamedTuple):
    """Records of one ring, as its writer's replay makes them and its reader's tape holds them.

    Attributes:
        ring: name; ``kind`` of it; ``writer`` and ``reader`` are stages.
        kinds: first and last kind on the reader's tape that came through this ring.
        instruments: first instrument and the one after the last that came through it.
    """

    ring: str
    kind: str
    writer: str
    reader: str
    kinds: tuple[int, int]
    instruments: tuple[int, int]

    def places(self, tape: np.ndarray) -> np.ndarray:
        """Indices on the reader's tape of the records that came through this ring."""
        kind, instrument = tape["kind"], tape["instrument"]
        is_kind = (kind >= self.kinds[0]) & (kind <= self.kinds[1])
        return np.flatnonzero(is_kind & (instrument >= self.instruments[0]) & (instrument < self.instruments[1]))


#: The market as two stages read it, against what market data published.
MARKET_KINDS = (1, TIMER)
_FLOW_KINDS = {
    "market": MARKET_KINDS, "sim": MARKET_KINDS, "intents": (NEW, REPLACE), "orders": (NEW, REPLACE),
    "updates": (ACK, FIRST_TAPE_KIND - 1), "reports": (ACK, FIRST_TAPE_KIND - 1),
}  # fmt: skip
_ANY = (0, 1 << 32)


def flows_of(pipeline: Pipeline) -> list[Flow]:
    """Every ring of a pipeline as a flow; what comes of one venue is told by its instruments."""
    own = {stage: (one.first, one.first + one.count) for one in pipeline.venues for stage in pipeline.stages_of(one)}
    return [
        Flow(spec.name, spec.kind, spec.writer, spec.reader, _FLOW_KINDS[spec.kind], own.get(spec.writer, _ANY))
        for spec in pipeline.graph.rings
    ]


def of_kinds(tape: np.ndarray, kinds: tuple[int, int]) -> np.ndarray:
    """Tape indices of the records whose kind is in ``kinds`` (both ends included)."""
    return np.flatnonzero((tape["kind"] >= kinds[0]) & (tape["kind"] <= kinds[1]))


def masked(records: np.ndarray) -> np.ndarray:
    """A copy of RECORDs with the masked fields 0."""
    copy = records.copy()
    for name, (first, last) in MASKS.items():
        copy[name][(copy["kind"] >= first) & (copy["kind"] <= last)] = 0
    return copy


def first_difference(recorded: np.ndarray, replayed: np.ndarray) -> int:
    """Index of the first record that differs or that only the recording has; -1 when all recorded ones are equal.

    Records that only the replay has are no difference: at the stop they were still on their way.
    """
    count = min(len(recorded), len(replayed))
    words = [masked(rows[:count]).view(np.uint64).reshape(count, RECORD_BYTES // 8) for rows in (recorded, replayed)]
    unequal = np.flatnonzero((words[0] != words[1]).any(axis=1))
    if len(unequal):
        return int(unequal[0])
    return count if len(recorded) > count else -1


def describe(record: np.void) -> str:
    """A record for people: the kind by name, prices and quantities as decimals, 0 fields left out."""
    kind = int(record["kind"])
    parts, named = [NAMES.get(kind, f"kind_{kind}")], record.view(layout_of(kind))
    for name in named.dtype.names or ():
        value = named[name].item()
        if name not in ("kind", "seq") and value:
            parts.append(f"{name}={format_fixed(value) if name in ('price', 'qty') else value}")
    return " ".join(parts)


def unequal_fields(a: np.void, b: np.void) -> list[str]:
    """Names of the compared fields in which two records differ."""
    layout = layout_of(int(a["kind"]))
    left, right = (masked(np.array([row], RECORD)).view(layout)[0] for row in (a, b))
    return [name for name in layout.names or () if left[name] != right[name]]


def context_lines(tape: np.ndarray, stage: str, index: int) -> list[str]:
    """The record at ``index`` of a stage's tape, and those just before it."""
    first = max(0, index - CONTEXT_RECORDS)
    rows = range(first, min(index + 1, len(tape)))
    return [f"    {stage}[{at}] {describe(tape[at])}" for at in rows]


# --- orders of two strategies ----------------------------------------------------------------------


class Change(NamedTuple):
    """One difference between two sequences of orders: ``what`` is added, missing or changed."""

    what: str
    old: np.void | None
    new: np.void | None
    fields: tuple[str, ...] = ()


_ALIKE = ("instrument", "kind", "side")
_SHOWN = ("price", "qty", "local_ts")


def _groups(orders: np.ndarray) -> dict[tuple[int, ...], list[int]]:
    groups: dict[tuple[int, ...], list[int]] = {}
    for index, row in enumerate(orders):
        groups.setdefault(tuple(int(row[name]) for name in _ALIKE), []).append(index)
    return groups


def _pairs(old: np.ndarray, new: np.ndarray) -> Iterator[tuple[int, int]]:
    """(old, new) positions of orders of one group at the same moment; in between, of those that follow one another."""
    i = j = 0
    waiting_old: list[int] = []
    waiting_new: list[int] = []
    while i < len(old) or j < len(new):
        if i < len(old) and j < len(new) and old["local_ts"][i] == new["local_ts"][j]:
            yield from _leftovers(waiting_old, waiting_new)
            waiting_old, waiting_new = [], []
            yield i, j
            i, j = i + 1, j + 1
        elif j >= len(new) or (i < len(old) and old["local_ts"][i] < new["local_ts"][j]):
            waiting_old.append(i)
            i += 1
        else:
            waiting_new.append(j)
            j += 1
    yield from _leftovers(waiting_old, waiting_new)


def _leftovers(old: list[int], new: list[int]) -> Iterator[tuple[int, int]]:
    for at in range(max(len(old), len(new))):
        yield (old[at] if at < len(old) else -1), (new[at] if at < len(new) else -1)


def order_changes(old: np.ndarray, new: np.ndarray) -> list[Change]:
    """What ``new`` sends otherwise than ``old`` (RECORD arrays of orders), in time order.

    Orders of the same instrument, kind and side are matched by their event time; what is left between two matches is
    paired in order, as the same order at another time. Client ids are not compared: one order more shifts them all.
    """
    changes = []
    old_groups, new_groups = _groups(old), _groups(new)
    for group in {**old_groups, **new_groups}:
        before, after = old[old_groups.get(group, [])], new[new_groups.get(group, [])]
        for i, j in _pairs(before, after):
            changes += _change(before[i] if i >= 0 else None, after[j] if j >= 0 else None)
    return sorted(changes, key=_when)


def _change(old: np.void | None, new: np.void | None) -> list[Change]:
    if old is None or new is None:
        return [Change("added" if old is None else "missing", old, new)]
    fields = tuple(name for name in _SHOWN if old[name] != new[name])
    return [Change("changed", old, new, fields)] if fields else []


def _when(change: Change) -> int:
    row: Any = change.new if change.old is None else change.old
    return int(row["local_ts"])


def describe_change(change: Change) -> str:
    """One line for people."""
    if change.what != "changed":
        row: Any = change.new if change.old is None else change.old
        return f"{change.what:<8} {describe(row)}"
    old: Any = change.old
    new: Any = change.new
    parts = []
    for name in change.fields:
        a, b = (row[name].item() if name == "local_ts" else format_fixed(row[name].item()) for row in (old, new))
        parts.append(f"{name} {a} -> {b}")
    kind = NAMES[int(old["kind"])]
    label = "" if int(old["kind"]) == CANCEL else f" at {format_fixed(old['price'].item())}"
    return f"changed  {kind} side={int(old['side'])}{label} local_ts={int(old['local_ts'])}: {', '.join(parts)}"
