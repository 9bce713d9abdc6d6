"""Checker of halts: nothing that adds risk leaves, and the gateway asks for the end of every open order until it has come."""

from typing import Any

from hftpipe.core.schema.records import CANCEL, NEW, REPLACE
from hftpipe.simulation.world.checkers.rules import Checker

#: What a stopped gateway promises: the wait for the next cancel of an order, which doubles so often, and the longest one.
CANCEL_AGAIN_NS, CANCEL_AGAIN_MAX_NS = 50_000_000, 1_000_000_000
_MAX_DOUBLINGS = 5


class HaltChecker(Checker):
    """I7: of what is halted, all of it or a part, nothing that adds risk leaves, and what is open is cancelled until it has ended."""

    name = "halt"
    #: How late the next cancel of an order may be: the stage has to have its turn.
    SLACK_NS = 10_000_000

    def __init__(self, world: Any) -> None:
        super().__init__(world)
        #: When cancels of an order reached the venue.
        self._asked: dict[int, list[int]] = {}

    def check(self) -> None:
        for request in self.world.sent_now:
            if request.kind == CANCEL:
                self._asked.setdefault(request.id, []).append(self.world.now)
            elif request.kind in (NEW, REPLACE) and self._since(request):
                self.fail(f"kind {request.kind} of {request.id:#x} left after the halt")

    def _since(self, order: Any) -> int:
        """Since when what an order belongs to is halted; 0: it is not."""
        since: int = self.world.halts.since(order.strategy, order.instrument)
        return since

    def _is_overdue(self, order: Any) -> bool:
        """Whether nobody asks for the end of an open order: no cancel is under way, and none is to come soon."""
        if any(kind == CANCEL for kind, _ in order.changes):
            return False
        asked, halted_ns = self._asked.get(order.id, []), self._since(order)
        again = sum(at >= halted_ns for at in asked)
        wait = min(CANCEL_AGAIN_NS << min(max(again - 1, 0), _MAX_DOUBLINGS), CANCEL_AGAIN_MAX_NS)
        return not asked or self.world.now > max(asked[-1], halted_ns) + wait + self.SLACK_NS

    def end(self) -> None:
        for port in self.world.ports:
            if self.world.dead != port.gateway:
                self._judge(port)

    def _judge(self, port: Any) -> None:
        left = [order for order in port.truth.open_orders() if self._since(order)]
        unasked = [order for order in left if self._is_overdue(order)]
        if unasked:
            self.fail(f"{len(unasked)} open orders without a cancel after the halt, the first {unasked[0].id:#x}")
        if left and self.world.can_cancel(port):
            self.fail(f"{len(left)} orders still open after the halt, the first {left[0].id:#x}")
