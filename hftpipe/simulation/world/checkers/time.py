"""Checkers of what is too old and of what comes too fast, by the world's clock."""

from collections import deque
from typing import Any

from hftpipe.core.schema.records import CANCEL
from hftpipe.simulation.world.checkers.rules import Checker
from hftpipe.simulation.world.truth import Fields
from hftpipe.topology.configured import limits_of


class AgeChecker(Checker):
    """I8, I12: nothing is approved on a market that has not been heard of for too long, and nothing old leaves."""

    name = "age"
    hears_rings = True
    steps_of = ("risk",)
    #: How far the pipeline's event clock may be behind the world's: the first line is read a little after it came.
    SLACK_NS = 1_000_000

    def __init__(self, world: Any) -> None:
        super().__init__(world)
        limits = limits_of(world.plan.config)
        self._book = [one.max_book_age_ms * 1_000_000 for one in limits]
        self._intent = [one.max_intent_age_ms * 1_000_000 for one in limits]

    def _judge(self, what: str, request: Fields, since: int, limit: int) -> None:
        age = self.world.now - since
        if age > limit + self.SLACK_NS:
            self.fail(f"kind {request.kind} of {request.id:#x} {what} of {age / 1e6:.1f} ms, allowed {limit / 1e6} ms")

    def after(self, stage: str) -> None:
        for port, ring in zip(self.world.ports, self.world.rings_of("orders"), strict=True):
            for order in ring.pushed:
                if order.kind != CANCEL:
                    self._judge("approved on a book", order, port.feed.taken_ts, self._book[order.instrument])
                    self._judge("approved after an event", order, order.local_ts, self._intent[order.instrument])

    def check(self) -> None:
        for request in self.world.sent_now:
            if request.kind != CANCEL:
                limit = min(self._intent[request.instrument], self._book[request.instrument])
                self._judge("left after an event", request, request.local_ts, limit)


class RateChecker(Checker):
    """What arrives at the venue in any second is what may be approved in one, and in the time an approval may wait."""

    name = "rate"
    SECOND_NS = 10**9

    def __init__(self, world: Any) -> None:
        super().__init__(world)
        limits = limits_of(world.plan.config)
        # An approval waits for less than a second, the longest age in any plan.
        self._most = [2 * one.orders_per_s for one in limits]
        self._arrived: list[deque[int]] = [deque() for _ in limits]

    def check(self) -> None:
        for request in self.world.sent_now:
            if request.kind == CANCEL:
                continue
            times = self._arrived[request.instrument]
            times.append(self.world.now)
            while times[0] <= self.world.now - self.SECOND_NS:
                times.popleft()
            if len(times) > self._most[request.instrument]:
                self.fail(f"instrument {request.instrument}: {len(times)} orders arrived within a second")
