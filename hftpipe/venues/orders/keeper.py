"""The Python half of an account's orders: connections, questions over REST, and what must be done every so often.

::

    thread "orders-session"    connect, log in, subscribe ──▶ the connections are compiled code's ──▶ one has ended: all again
    thread "orders-questions"  ◀── questions ── compiled code, handed out to the next two
    thread "orders-finds"      what has become of orders:  REST ──▶ facts ──▶ compiled code
    thread "orders-cancels"    cancels over REST, in the same way: they do not wait for what is found out
    thread "orders-upkeep"     the venue's clock, keys that expire, the dead man's switch

    thread "orders-rest"       where orders go over REST: its connections (:mod:`hftpipe.transport.http.pool`)

The session is one whole: when any of its connections ends, all are made anew, and every open order is asked about. Connections over
REST come and go one by one; only when there has been none for a while is the session over as well.
"""

import ctypes
import threading
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from functools import partial
from typing import Protocol

import numpy as np

from hftpipe.core.machine.system_clock import steady_ns, wall_ns
from hftpipe.transport.errands import Errands
from hftpipe.transport.http.pool import Pool
from hftpipe.transport.pauses import ALARM_AFTER, pause_s
from hftpipe.transport.tls.openssl import TlsError
from hftpipe.transport.websocket.connect import ConnectError, Connection
from hftpipe.transport.websocket.link import CLOSED, ENDED, OPEN, OUT_BYTES, link_close, link_init, link_open, why_ended
from hftpipe.venues.orders.client_text import client_text
from hftpipe.venues.orders.facts import (
    ASK_CANCEL,
    FACT,
    FACT_BYTES,
    QUESTION,
    QUESTION_BYTES,
    RESYNC,
    queue_drop,
    queue_first,
    queue_put,
)

#: How often the threads look at what compiled code wants of them, s.
LOOK_S = 0.002
#: Pauses between attempts to connect: doubling from the first to the longest.
FIRST_PAUSE_S, LONGEST_PAUSE_S = 0.1, 30.0
BUFFER_BYTES = 1 << 20
CLOCK_EVERY_S, CLOCK_AGAIN_NS = 60.0, 1_000_000_000
#: All epochs there are.
ANY_EPOCH = 1 << 32
#: How long a start cancels what an earlier run has left before it says that some is still there; how often it looks.
LEFTOVERS_NS, LEFTOVERS_LOOK_S = 60_000_000_000, 0.1
#: After an answer that nobody had foreseen.
ODD_AGAIN_S = 5.0
#: A question that has had no answer for so long is said.
LONG_NS = 60_000_000_000


class NotNow(Exception):
    """A question cannot be answered yet: it is asked again in ``after_s``."""

    def __init__(self, after_s: float, why: str) -> None:
        super().__init__(why)
        self.after_s = after_s


@dataclass(frozen=True)
class Question:
    """What compiled code wants to know: of an order, its client id, the venue's number, its instrument and revision here, the number
    of the last request about it, whether a change of it was ever asked for, and may still be carried out, and since when it has been
    asked (steady ns)."""

    id: int
    what: int
    venue_id: int
    instrument: int
    revision: int
    number: int
    was_changed: bool
    is_changing: bool
    since_ns: int


@dataclass(frozen=True)
class Upkeep:
    """Something to be done every ``every_s``; what it raises is reported, and it is done again all the same."""

    name: str
    every_s: float
    do: Callable[[], None]


class AccountPlan(Protocol):
    """What a venue's account does over Python; each call may take long, and raise ConnectError or OSError."""

    @property
    def upkeep(self) -> Sequence[Upkeep]:
        """What must be done every so often."""

    def connect(self) -> list[Connection]:
        """All connections of a session, logged in and subscribed, that for requests first."""

    def clock_offset_ns(self) -> int:
        """The venue's wall clock less ours."""

    def cancel_all(self, last_epoch: int) -> int:
        """Cancel every open order under our ids up to an epoch of them; how many there were."""

    def find(self, question: Question) -> list[np.ndarray]:
        """What has become of an order, as FACT arrays of length 1. Raises NotNow if that cannot be told yet."""

    def cancel(self, question: Question) -> list[np.ndarray]:
        """Cancel an order over REST; what came of it. Raises NotNow."""


@dataclass
class AccountMemory:
    """What the threads share with compiled code.

    Attributes:
        account: ACCOUNT array (length 1); links: LINK array, one a connection; call_links, calls: LINK and CALL arrays, one of each a
            connection over REST; questions, facts: addresses of the queues; table: the order table (uint8); extras: EXTRA, one a row
            of it; executed: EXECUTED, a ring; reconcile: RECONCILE array (length 1).
    """

    account: np.ndarray
    links: np.ndarray
    call_links: np.ndarray
    calls: np.ndarray
    questions: int
    facts: int
    table: np.ndarray
    extras: np.ndarray
    executed: np.ndarray
    reconcile: np.ndarray
    buffers: list[np.ndarray] = field(default_factory=list)
    outs: list[np.ndarray] = field(default_factory=list)


class AccountKeeper:
    """Keeps an account's session up, and answers what compiled code asks.

    Args:
        memory: the account's; plan: the venue's; upkeep: what must be done every so often.
        report: takes one line about what goes wrong; pool: the connections over REST that orders go over, if they do.
        before_orders: done before the first session, once nothing of an earlier run is left (given: whether anything was); raises OSError:
            there is none yet.
    """

    def __init__(
        self,
        memory: AccountMemory,
        plan: AccountPlan,
        upkeep: Sequence[Upkeep],
        report: Callable[[str], None],
        pool: Pool | None = None,
        before_orders: Callable[[bool], None] = lambda had_left: None,
    ) -> None:
        self._memory, self._plan, self._jobs, self._report, self._pool = memory, plan, upkeep, report, pool
        self._before_orders = before_orders
        self._connections: list[Connection] = []
        self._failures, self._is_over = 0, False
        # Requests refused for their time when the clock was last measured for that, and when it may be again.
        self._wrong_times, self._clock_ns = 0, 0
        self._putting = threading.Lock()
        self._since: dict[tuple[int, int], int] = {}
        self._said: set[tuple[int, int]] = set()
        self._threads = [
            Errands(f"orders-{name}", report) for name in ("session", "questions", "finds", "cancels", "upkeep")
        ]
        self._session, self._questions, self._finds, self._cancels, self._upkeep = self._threads

    def open(self) -> None:
        """Begin, in the process that runs the gateway: threads do not survive a fork."""
        for index in range(len(self._memory.links)):
            self._memory.buffers.append(np.zeros(BUFFER_BYTES, np.uint8))
            self._memory.outs.append(np.zeros(OUT_BYTES, np.uint8))
            link_init(self._memory.links[index : index + 1], self._memory.buffers[-1], self._memory.outs[-1])
        self._memory.account["wall_offset_ns"] = wall_ns() - steady_ns()
        for errands in self._threads:
            errands.start()
        if self._pool:
            self._pool.open()
        self._session.ask(self._begin)
        self._questions.ask(self._hand_out_questions)

    def close(self) -> None:
        """End the threads and close every connection; compiled code does not run any more."""
        self._is_over = True
        for errands in self._threads:
            errands.end()
        if self._pool:
            self._pool.close()
        for index, connection in enumerate(self._connections):
            link_close(self._memory.links[index : index + 1])
            connection.close()

    # The session.

    def _begin(self) -> None:
        try:
            if self._connections:
                # What REST answers (or does not) is no reason to be without a session; the offset of before will do.
                self._upkeep.ask(self._try_clock)
            else:
                self._set_clock()
                self._before_orders(self._cancel_leftovers())
            if self._pool:
                self._pool.wait()
            connections = self._plan.connect()
            handed = [one.hand_over() for one in connections]
        except (ConnectError, TlsError, OSError) as wrong:
            self._failures += 1
            self._memory.account["refused_logins"] += 1
            if self._failures == 1 or self._failures >= ALARM_AFTER:
                self._report(f"orders: attempt {self._failures} failed: {wrong}")
            self._session.ask(self._begin, pause_s(self._failures, FIRST_PAUSE_S, LONGEST_PAUSE_S))
            return
        is_first, self._failures = not self._connections, 0
        self._connections = connections
        # Compiled code ends connections without a session, so that comes first.
        self._memory.account["session"] = 1
        for index, (fd, tls) in enumerate(handed):
            link_open(self._memory.links[index : index + 1], fd, steady_ns(), tls)
        self.tell(_fact(RESYNC))
        if is_first:
            for one in self._jobs:
                self._keep_up(one)
            self._upkeep.ask(self._measure_clock, CLOCK_EVERY_S)
        self._session.ask(self._watch, LOOK_S)

    def _cancel_leftovers(self) -> bool:
        """Cancel what an earlier run has left, until the venue has none of it: of this run's orders none has left yet. Whether there was any.

        Raises OSError: some of it may still be open.
        """
        left, until = 0, steady_ns() + LEFTOVERS_NS
        while found := self._plan.cancel_all(ANY_EPOCH):
            left = max(left, found)
            if self._is_over or steady_ns() > until:
                raise OSError(f"{found} open orders of an earlier run under our ids are not gone yet")
            threading.Event().wait(LEFTOVERS_LOOK_S)
        if left:
            self._report(f"orders: {left} open orders of an earlier run under our ids: cancelled")
        return left > 0

    def _watch(self) -> None:
        """Look whether the session is still there; if not, begin another one."""
        self._mind_clock()
        states = self._memory.links["state"][: len(self._connections)]
        why_gone = self._pool.why_gone if self._pool else ""
        if self._memory.account["session"][0] and not (states == ENDED).any() and not why_gone:
            self._session.ask(self._watch, LOOK_S)
            return
        self._memory.account["session"] = 0
        if (states == OPEN).any():
            # Compiled code has not let go of it yet.
            self._session.ask(self._watch, LOOK_S)
            return
        whys = [why_gone] if why_gone else []
        whys += [why_ended(self._memory.links[at : at + 1]) for at in np.flatnonzero(states == ENDED).tolist()]
        self._report(f"orders: session lost ({', '.join(whys) or 'ended by the venue'}); connecting again")
        for index, connection in enumerate(self._connections):
            link_close(self._memory.links[index : index + 1])
            connection.close()
        assert (self._memory.links["state"][: len(self._connections)] == CLOSED).all()
        self._session.ask(self._begin, pause_s(1, FIRST_PAUSE_S, LONGEST_PAUSE_S))

    # The clock and other upkeep.

    def _set_clock(self) -> None:
        self._memory.account["wall_offset_ns"] = wall_ns() - steady_ns() + self._plan.clock_offset_ns()

    def _measure_clock(self) -> None:
        self._try_clock()
        self._upkeep.ask(self._measure_clock, CLOCK_EVERY_S)

    def _try_clock(self) -> None:
        try:
            self._set_clock()
        except OSError as wrong:
            self._report(f"orders: clock: {wrong}")

    def _mind_clock(self) -> None:
        """What the venue has refused for its time says that the clock has moved: until it is measured nothing is taken, cancels neither."""
        wrong, now_ns = int(self._memory.account["wrong_times"][0]), steady_ns()
        if wrong == self._wrong_times or now_ns < self._clock_ns:
            return
        self._wrong_times, self._clock_ns = wrong, now_ns + CLOCK_AGAIN_NS
        self._upkeep.ask(self._try_clock)

    def _keep_up(self, one: Upkeep) -> None:
        try:
            one.do()
        except ConnectError as wrong:
            # It says that the session is of no use any more.
            self._report(f"orders: {one.name}: {wrong}")
            self._memory.account["session"] = 0
        except OSError as wrong:
            self._report(f"orders: {one.name}: {wrong}")
        self._upkeep.ask(lambda: self._keep_up(one), one.every_s)

    # Questions.

    def tell(self, fact: np.ndarray) -> None:
        """Give compiled code a FACT (array of length 1); waits while it has too many."""
        while not self._is_over:
            with self._putting:
                if queue_put(np.uint64(self._memory.facts), np.uint64(fact.ctypes.data), np.int64(FACT_BYTES)):
                    return
            threading.Event().wait(LOOK_S)

    def ask(self, question: Question) -> None:
        """Find out what has become of an order; what is found compiled code is told."""
        self._thread_of(question).ask(partial(self._answer, question))

    def _hand_out_questions(self) -> None:
        while question := self._next_question():
            self.ask(question)
        self._questions.ask(self._hand_out_questions, LOOK_S)

    def _thread_of(self, question: Question) -> Errands:
        return self._cancels if question.what == ASK_CANCEL else self._finds

    def _next_question(self) -> Question | None:
        address = int(queue_first(np.uint64(self._memory.questions), np.int64(QUESTION_BYTES)))
        if not address:
            return None
        row = np.frombuffer(ctypes.string_at(address, QUESTION_BYTES), QUESTION)[0]
        since_ns = self._since.setdefault((int(row["id"]), int(row["what"])), steady_ns())
        made = Question(
            int(row["id"]),
            int(row["what"]),
            int(row["venue_id"]),
            int(row["instrument"]),
            int(row["revision"]),
            int(row["number"]),
            bool(row["was_changed"]),
            bool(row["is_changing"]),
            since_ns,
        )
        queue_drop(np.uint64(self._memory.questions))
        return made

    def _answer(self, question: Question) -> None:
        try:
            facts = (self._plan.cancel if question.what == ASK_CANCEL else self._plan.find)(question)
        except NotNow as later:
            self._say_if_long(question, str(later))
            self._thread_of(question).ask(partial(self._answer, question), later.after_s)
            return
        except Exception as wrong:
            # Whatever the venue has answered: a question that is forgotten would leave its order unknown for ever.
            self._report(f"orders: a question: {type(wrong).__name__}: {wrong}; again in {ODD_AGAIN_S:.0f} s")
            self._thread_of(question).ask(partial(self._answer, question), ODD_AGAIN_S)
            return
        self._since.pop((question.id, question.what), None)
        self._said.discard((question.id, question.what))
        for fact in facts:
            fact["number"] = question.number
            self.tell(fact)

    def _say_if_long(self, question: Question, why: str) -> None:
        """Once: an order of which nothing is known for so long a person should look at."""
        key, waited_ns = (question.id, question.what), steady_ns() - question.since_ns
        if waited_ns > LONG_NS and key not in self._said:
            self._said.add(key)
            text = client_text(b"", question.id)
            self._report(f"orders: nothing is known of order {text} for {waited_ns / 1e9:.0f} s: {why}")


def _fact(kind: int) -> np.ndarray:
    made = np.zeros(1, FACT)
    made["kind"], made["cum"] = kind, -1
    return made
