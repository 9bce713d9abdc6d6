"""Planted bugs of the journal: what leaves before it is written, what is passed on and never written."""

from typing import Any

import numpy as np

from hftpipe.core.machine.jit import jit
from hftpipe.core.machine.mem import U64
from hftpipe.journal.append import entry_tail, journal_append
from hftpipe.simulation.world.mutants import Mutant
from hftpipe.simulation.world.truth import Fields, fields_of


@jit
def _write(journal, id_, price, qty, event_ts, instrument, kind, side, strategy, flags):
    tail = entry_tail(U64(instrument), U64(kind), U64(side), U64(strategy), U64(flags))
    return journal_append(U64(journal), U64(id_), price, qty, U64(event_ts), np.int64(0), tail)


class GatewaySendsBeforeItJournals(Mutant):
    """What a step has sent is written when the step is over: a crash in between leaves orders that nobody knows of."""

    caught_by = ("journal",)

    def before(self, world: Any, stage: str) -> None:
        if stage == "gateway":
            states = world.states("gateway").values()
            self._journals = [int(state["journal"][0]) for state in states]
            self._logged = [port.venue.n_logged for port in world.ports]
            for state in states:
                state["journal"] = 0

    def after(self, world: Any, stage: str) -> None:
        if stage != "gateway":
            return
        rows = zip(world.states("gateway").values(), world.ports, self._journals, self._logged, strict=True)
        for state, port, journal, logged in rows:
            state["journal"] = journal
            for raw in port.venue.logged_since(logged):
                self._note(journal, port.first, fields_of(raw))

    @staticmethod
    def _note(journal: int, first: int, request: Fields) -> None:
        number = np.uint32(request.instrument + first & 0xFFFFFFFF)
        _write(
            journal, request.id, request.price, request.qty, request.local_ts, number, request.kind, request.side,
            request.strategy, request.flags,
        )  # fmt: skip


class JournalLosesReports(Mutant):
    """Reports are passed on and not written."""

    caught_by = ("journal",)

    def before(self, world: Any, stage: str) -> None:
        """Only a step with nothing to send: what it writes are reports."""
        self._journals = {}
        if stage == "gateway" and world.step_count > 200:
            for name, state in world.states("gateway").items():
                if not world.rings[world.port_of[name].at("orders")].unread and not state["stopped"][0]:
                    self._journals[name] = int(state["journal"][0])
                    state["journal"] = 0

    def after(self, world: Any, stage: str) -> None:
        for name, journal in self._journals.items():
            world.state(name)["journal"] = journal


OF_JOURNAL: dict[str, type[Mutant]] = {
    "gateway_sends_before_it_journals": GatewaySendsBeforeItJournals,
    "journal_loses_reports": JournalLosesReports,
}
