"""The journal of each gateway in a world: in memory, in small files, with a keeper that is sometimes late; and its rule.

I1, I10: what leaves stands in the journal by then, as its last entry; and what the journal holds after any step (all that a crash
there would leave) gives the gateway's open orders again, field by field, and the executions that it has passed on.
"""

import random
from typing import Any

import numpy as np

from hftpipe.core.machine.jit import jit
from hftpipe.core.machine.mem import U64
from hftpipe.core.schema.layout import aligned
from hftpipe.core.schema.records import CANCEL
from hftpipe.core.trading.order_table import EMPTY, FILLED
from hftpipe.journal.append import journal_begin
from hftpipe.journal.fold import Fold
from hftpipe.journal.layout import ENTRY, ENTRY_BYTES, JOURNAL
from hftpipe.journal.reading import walk
from hftpipe.simulation.world.checkers.rules import Checker
from hftpipe.simulation.world.mutants import orders_of
from hftpipe.simulation.world.truth import Fields

SLOTS, RESERVE = 256, 64
#: How probable it is that the next file is ready after a step in which it was not.
_READY = 0.1
_COMPARED = [
    "id", "price", "qty", "filled", "new_price", "new_qty", "created_ts", "venue_id", "instrument", "state", "side",
    "strategy", "flags", "under_way", "own_cancels", "asked_price", "asked_qty",
]  # fmt: skip


@jit
def _begin(journal):
    journal_begin(U64(journal), np.int64(1))


class JournalRig:
    """The journal of one gateway, without a disk.

    Attributes:
        memory: its JOURNAL (array of length 1).
        entries: all that a reader finds valid.
    """

    def __init__(self, rng: random.Random, now_ns: int) -> None:
        self._rng, self.memory = rng, aligned(JOURNAL.itemsize).view(JOURNAL)
        self._files: list[np.ndarray] = []
        self._seeds: list[int] = []
        self._seen = self._first = 0
        self.entries = np.zeros(0, ENTRY)
        self.memory["reserve"], self.memory["now_ns"] = RESERVE, now_ns
        self._offer()
        _begin(self.memory.ctypes.data)

    def _offer(self) -> None:
        made, seed = aligned(SLOTS * ENTRY_BYTES), self._rng.randrange(1 << 32)
        self._files.append(made)
        self._seeds.append(seed)
        self.memory["next_end"], self.memory["next_seed"] = made.ctypes.data + (SLOTS - 1) * ENTRY_BYTES, seed
        self.memory["next_number"] = len(self._files)
        self.memory["next_at"] = made.ctypes.data

    def tend(self) -> None:
        """What the keeper does, when it gets to it."""
        if not self.memory["next_at"][0] and self._rng.random() < _READY:
            self._offer()

    def read(self) -> np.ndarray:
        """What a reader finds that it had not found before."""
        fresh = []
        while True:
            at = int(self.memory["rolls"][0]) - 1
            index = self._first
            file, seed = self._files[index].view(ENTRY), self._seeds[index]
            first = int(file["id"][0])
            rest = file[self._seen :]
            count = int(
                walk(
                    np.uint64(rest.ctypes.data), np.int64(len(rest)), np.uint64(seed), np.uint64(first + self._seen)
                )
            )  # fmt: skip
            fresh.append(rest[:count])
            self._seen += count
            if index == at:
                break
            self._first, self._seen = index + 1, 0
        found = np.concatenate(fresh)
        self.entries = np.concatenate((self.entries, found))
        return found


class JournalChecker(Checker):
    """The rule above."""

    name = "journal"
    steps_of = ("gateway",)

    def __init__(self, world: Any) -> None:
        super().__init__(world)
        rng = random.Random(f"journal {world.plan.seed}")
        self._rigs: dict[str, JournalRig] = {}
        self._folds: dict[str, Fold] = {}
        for port in world.ports:
            rig = self._rigs[port.gateway] = JournalRig(rng, world.now)
            table = world.region(port.at("gateway.table"))
            self._folds[port.gateway] = Fold(len(world.plan.instruments), len(orders_of(table)))
            world.state(port.gateway)["journal"] = rig.memory.ctypes.data
            port.venue.note_journal(rig.memory.ctypes.data)

    def after(self, stage: str) -> None:
        rig, fold = self._rigs[stage], self._folds[stage]
        fresh = rig.read()
        written = int(rig.memory["seq"][0])
        if len(rig.entries) != written:
            self.fail(f"{stage}: {written} entries were written, a reader finds {len(rig.entries)}")
        if len(fresh):
            fold.add(fresh)
            self._compare(stage)
        rig.tend()

    def _compare(self, stage: str) -> None:
        if self._rigs[stage].memory["missed"][0]:
            return
        port = self.world.port_of[stage]
        orders = orders_of(self.world.region(port.at("gateway.table")))
        had = orders[(orders["state"] > EMPTY) & (orders["state"] < FILLED)]
        had, found = np.sort(had, order="id"), np.sort(self._folds[stage].open_orders(), order="id")
        if list(had["id"]) != list(found["id"]):
            ids = sorted(set(had["id"].tolist()) ^ set(found["id"].tolist()))
            self.fail(f"{stage}: order {ids[0]:#x} is open in only one of the gateway and its journal")
        for field in _COMPARED:
            if (wrong := np.flatnonzero(had[field] != found[field])).size:
                at = wrong[0]
                self.fail(
                    f"{stage}: {field} of order {int(had['id'][at]):#x} is {had[field][at]}, by the journal {found[field][at]}"
                )

    def check(self) -> None:
        for request in self.world.sent_now:
            self._stands(request)

    def _stands(self, request: Fields) -> None:
        """The boundary has noted the number of the last entry as the request was handed over."""
        stage = self.world.port_at[request.instrument].gateway
        rig, seq = self._rigs[stage], request.exchange_ts
        if request.kind == CANCEL and rig.memory["missed"][0]:
            return
        entry = rig.entries[seq - 1] if 0 < seq <= len(rig.entries) else None
        if entry is None or (int(entry["id"]), int(entry["kind"])) != (request.id, request.kind):
            self.fail(f"{stage}: kind {request.kind} of {request.id:#x} left before it was in the journal")

    def end(self) -> None:
        for port in self.world.ports:
            if self._rigs[port.gateway].memory["missed"][0] or not self.world.reports_arrive(port):
                continue
            for index in port.ids:
                held = int(self._folds[port.gateway].positions["qty"][index])
                if held != self.world.truth.balances[index].qty:
                    self.fail(
                        f"instrument {index}: {held} by the journal, {self.world.truth.balances[index].qty} at the venue"
                    )
