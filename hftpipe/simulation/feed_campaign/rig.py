"""One run of the feed campaign: exchange, lines, the product's receive loop, and the checker, on simulated time."""

import random
from typing import Any

import numpy as np

from hftpipe.core.schema.layout import aligned
from hftpipe.core.schema.records import RECORD
from hftpipe.core.trading.book import BOOK
from hftpipe.simulation.exchange_server.impair import Impairment
from hftpipe.simulation.feed_campaign.checks import FeedChecker
from hftpipe.simulation.feed_campaign.lines import ANSWERS, LINE_A, LINE_B, SOCKETS, Lines, heard
from hftpipe.simulation.feed_campaign.plan import ONE_LINE, US, FeedPlan
from hftpipe.simulation.feed_campaign.venue import Venue, instruments
from hftpipe.venues.nasdaq.itch.arbiter_state import ARBITER, arbiter_bytes, arbiter_init
from hftpipe.venues.nasdaq.itch.feed import FEED, feed_book, feed_bytes, feed_init
from hftpipe.venues.nasdaq.itch.receive import RECEIVER, receive_step, receiver_bytes, receiver_init

_ORDERS, _LEVELS = 1 << 13, 1024
#: Events of one instrument in one step; what is due beyond that comes in the next.
_MAX_EVENTS = 16
#: Looks at what did not fit into the records in one go.
_LOOKS_MAX = 100
_CALM_STEPS, _REST_STEPS = 20, 10
_CALM_STEP_NS = (50 * US, 200 * US)


class FeedWorld:
    """Everything of one seed.

    Attributes:
        arbiter, feed: their states; was_held_back: whether the last look stopped for lack of room.
    """

    def __init__(self, plan: FeedPlan, mutant: Any = None) -> None:
        self.plan, self.mutant, self.rng = plan, mutant, random.Random(plan.seed)
        self.now_ns, self.step_count, self.was_held_back = 1_000, 0, False
        self.lines = Lines(plan)
        a, b = (int(self.lines.addresses[line]) for line in (LINE_A, LINE_B))
        self.venue = Venue(plan.seed, plan.rate_per_s, plan.heartbeat_ns, (a, b))
        self._receiver_init()
        self.checker = FeedChecker(self)
        self.venue.open("S1", self.now_ns)
        if mutant:
            mutant.start(self)

    def _receiver_init(self) -> None:
        settings, rows = self.plan.arbiter, instruments()
        self._arbiter = aligned(arbiter_bytes(settings["slots"], settings["packet_bytes"]))
        arbiter_init(self._arbiter, **settings)
        self.feed_memory = aligned(feed_bytes(len(rows), _ORDERS, _LEVELS))
        feed_init(self.feed_memory, rows, _ORDERS, _LEVELS)
        self.out = np.zeros(self.plan.out_records, RECORD)
        self._receiver = aligned(receiver_bytes())
        line_a, line_b, answers = (each.fileno() for each in self.lines.ours)
        receiver_init(
            self._receiver, self._arbiter.ctypes.data, self.feed_memory.ctypes.data, self.out,
            line_a=line_a, line_b=line_b, retransmit=answers,
        )  # fmt: skip
        self.arbiter = self._arbiter[: ARBITER.itemsize].view(ARBITER)[0]
        self.feed = self.feed_memory[: FEED.itemsize].view(FEED)[0]
        self.receiver = self._receiver[: RECEIVER.itemsize].view(RECEIVER)[0]
        self._books: list[np.uint64] = [
            feed_book(np.uint64(self.feed_memory.ctypes.data), np.int64(i)) for i in range(len(rows))
        ]
        starts = [int(book) - self.feed_memory.ctypes.data for book in self._books]
        self._headers = [self.feed_memory[at : at + BOOK.itemsize].view(BOOK) for at in starts]

    def close(self) -> None:
        """Close the sockets."""
        self.lines.close()

    def book(self, instrument: int) -> np.uint64:
        """Address of the feed's book."""
        return self._books[instrument]

    def book_header(self, instrument: int) -> np.ndarray:
        """The BOOK of the feed as an array of length 1."""
        return self._headers[instrument]

    def book_state(self, instrument: int) -> int:
        """State of the feed's book."""
        return int(self._headers[instrument]["state"][0])

    def disturb(self) -> None:
        """The steps with faults."""
        for index in range(self.plan.steps):
            self.step_count = index
            if index in self.plan.rolls:
                self._roll()
            if index in self.plan.backs:
                self.venue.back()
            is_halted = any(roll <= index < back for roll, back in zip(self.plan.rolls, self.plan.backs, strict=False))
            self._step(self.plan.step_ns, 0 if is_halted else _MAX_EVENTS, self.rng.random() < self.plan.flush)

    def settle(self) -> None:
        """Faults stop, later the market too: all must come to rest, and stay there."""
        plan = self.plan
        if plan.steps in plan.backs:
            self.venue.back()
        if plan.kind != ONE_LINE:
            self.lines.impair((Impairment(),) * len(plan.lines))
        self.lines.plan = self.plan = plan.__class__(**(plan.__dict__ | {"dead": (), "damages": {}, "join": 0}))
        until_ns, rest = self.now_ns + plan.settle_ns, 0
        for index in range(_CALM_STEPS):
            self._step(_CALM_STEP_NS, _MAX_EVENTS if index < _CALM_STEPS // 2 else 0, True)
        while rest < _REST_STEPS and (rest or self.now_ns < until_ns):
            self._step(_CALM_STEP_NS, 0, True)
            if rest and not self.checker.is_at_rest():
                break
            rest = rest + 1 if self.checker.is_at_rest() else 0
        self.checker.end()

    def _roll(self) -> None:
        self.venue.play(self.now_ns, 0, True)
        if self.plan.marks:
            mark = self.venue.end_mark()
            for line in (LINE_A, LINE_B):
                self.lines.put(line, mark, self.now_ns)
        self.venue.open(f"S{len(self.venue.sessions) + 1}", self.now_ns)

    def _step(self, step_ns: tuple[int, int], max_events: int, flush: bool) -> None:
        self.now_ns += self.rng.randint(*step_ns)
        self.venue.play(self.now_ns, max_events, flush)
        is_joined = self.step_count >= self.plan.join
        while self._carry(is_joined):
            self._look()
        if is_joined:
            self._look()

    def _is_dead(self, line: int) -> bool:
        return any(line == each and first <= self.step_count <= last for each, first, last in self.plan.dead)

    def _carry(self, is_joined: bool) -> bool:
        """Bring a batch from each line to the feed's sockets; whether there may be more."""
        more = False
        lines = [(index, line) for index, line in enumerate(SOCKETS)]
        self.rng.shuffle(lines)
        for index, line in lines:
            for _ in range(self.plan.batch):
                data = self.lines.arrived(line, self.now_ns)
                if data is None:
                    break
                more = is_joined
                if is_joined and not self._is_dead(line):
                    self._hand_over(
                        index, data if line == ANSWERS or not self.mutant else self.mutant.datagram(self, data)
                    )
        return more

    def _hand_over(self, socket_index: int, data: bytes) -> None:
        for text, is_whole in self.lines.damaged(socket_index, data):
            self.lines.deliver(socket_index, text)
            if is_whole:
                self.checker.heard(heard(text))
                if self.mutant:
                    self.mutant.before(self, heard(text))
                    self._look()

    def _look(self) -> None:
        """The feed reads its sockets, until it has read all."""
        for _ in range(_LOOKS_MAX):
            held_back = int(self.receiver["held_back"])
            receive_step(np.uint64(self._receiver.ctypes.data), np.int64(self.now_ns))
            self.was_held_back = int(self.receiver["held_back"]) != held_back
            count = int(self.receiver["count"])
            self.receiver["count"] = 0
            if self.mutant:
                count = self.mutant.after(self, count)
            self.checker.records(self.out, count)
            self.lines.serve(self.venue.store, self.now_ns)
            self.checker.check()
            self.lines.strays_left = self._strays_left()
            if not self.was_held_back:
                return

    def _strays_left(self) -> int:
        """Strays that may still come in a row: one fewer than would make a session, or a place in the present one."""
        election, opened = self.arbiter["election"], self.venue.sessions
        present = int(self.arbiter["session_low"]), int(self.arbiter["session_high"])
        places = [
            int(votes)
            for low, high, votes in zip(election["low"], election["high"], election["votes"], strict=True)
            if (int(low), int(high)) == present or (int(low), int(high)) not in opened
        ]
        if self.arbiter["sessions"] and election["support"] < self.plan.arbiter["session_votes"]:
            # The few first packets: one may be a stray, not most.
            return 0
        return max(self.plan.arbiter["session_votes"] - 1 - max(places), 0)
