"""Checker of halts: nothing that adds risk leaves, and the gateway asks for the end of every open order until it has come."""

from typing import Any

from hftpipe.core.schema.records import CANCEL, NEW, REPLACE
from hftpipe.simulation.world.checkers.rules import Checker

#: What a stopped gateway promises: the wait for the next cancel of an order, which doubles so often, and the longest one.
CANCEL_AGAIN_NS, CANCEL_AGAIN_MAX_NS = 50_000_000, 1_000_000_000
_MAX_DOUBLINGS = 5


class HaltChecker(Checker):
    """I7: once the halt cell is set nothing that adds risk leaves, and what is open is cancelled until it has ended."""

    name = "halt"
    #: How late the next cancel of an order may be: the stage has to have its turn.
    SLACK_NS = 10_000_000

    def __init__(self, world: Any) -> None:
        super().__init__(world)
        self._halted_ns = 0
        #: When cancels of an order reached the venue.
        self._asked: dict[int, list[int]] = {}

    def check(self) -> None:
        for request in self.world.sent_now:
            if request.kind == CANCEL:
                self._asked.setdefault(request.id, []).append(self.world.now)
            elif self.world.is_halted and request.kind in (NEW, REPLACE):
                self.fail(f"kind {request.kind} of {request.id:#x} left after the halt")
        if self.world.is_halted:
            self._halted_ns = self._halted_ns or self.world.now

    def _is_overdue(self, order: Any) -> bool:
        """Whether nobody asks for the end of an open order: no cancel is under way, and none is to come soon."""
        if any(kind == CANCEL for kind, _ in order.changes):
            return False
        asked = self._asked.get(order.id, [])
        again = sum(at >= self._halted_ns for at in asked)
        wait = min(CANCEL_AGAIN_NS << min(max(again - 1, 0), _MAX_DOUBLINGS), CANCEL_AGAIN_MAX_NS)
        return not asked or self.world.now > max(asked[-1], self._halted_ns) + wait + self.SLACK_NS

    def end(self) -> None:
        if not self.world.is_halted or self.world.dead == "gateway":
            return
        left = self.world.truth.open_orders()
        unasked = [order for order in left if self._is_overdue(order)]
        if unasked:
            self.fail(f"{len(unasked)} open orders without a cancel after the halt, the first {unasked[0].id:#x}")
        if left and self.world.can_cancel:
            self.fail(f"{len(left)} orders still open after the halt, the first {left[0].id:#x}")
