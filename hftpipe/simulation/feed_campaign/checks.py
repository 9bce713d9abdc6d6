"""What must hold of a feed at every look, and at the end; each rule by the name it is broken under.

========= =========================================================================================================
rule      it holds when
========= =========================================================================================================
book      a book that says VALID has the engine's levels, all of them and no other, at the feed's sequence number;
          so have the records that the feed handed on (I8)
late      no book is VALID while messages it has heard of are missing for ``wait_ns``
silent    no book is VALID ``silence_ns`` after the last whole datagram
session   the feed is in a session that the exchange has opened, at a message that it has sent; before, none is VALID
damage    no message in the right place was refused
gap       one line whole: no gap, no request, and VALID for good; both lossy: every gap recovered, none given up
rest      when faults have stopped, every book is VALID and whole within bounded time, and stays so (I15, I25)
engine    the checker's own truth is the engine's
========= =========================================================================================================
"""

from typing import Any

import numpy as np

from hftpipe.core.schema.records import VALID
from hftpipe.simulation.campaign import Violation
from hftpipe.simulation.feed_campaign.lines import Heard
from hftpipe.simulation.feed_campaign.plan import BOTH_LINES, ONE_LINE
from hftpipe.simulation.feed_campaign.truth import (
    INSTRUMENTS,
    SIDES,
    TICKS,
    Truth,
    follow,
    tell,
    wrong_engine_level,
    wrong_level,
)

#: Counters of the feed that say a message could not be applied.
_REFUSALS = ("wrong_length", "relisted", "unknown_order", "wrong_instrument", "duplicate_order", "zero_shares",
             "too_many_shares", "table_full", "book_full", "level_overflow", "damages")  # fmt: skip


class FeedChecker:
    """Follows one feed; ``world`` gives its memory, the exchange, the plan and the time."""

    def __init__(self, world: Any) -> None:
        self.world, self.truth, self.told = world, Truth(), Truth()
        self._session, self._end, self._heard_ns = (0, 0), 0, 0
        # By session: one past the last message of any datagram, and of any since the feed is in that session.
        self._sent: dict[tuple[int, int], int] = {}
        self._ends: dict[tuple[int, int], int] = {}
        self._position, self._behind_ns, self._restarts = 0, -1, 0
        self._was_valid, self.compared, self.levels = False, 0, 0

    def fail(self, rule: str, facts: str) -> None:
        """Report a broken rule."""
        raise Violation(rule, facts)

    def heard(self, packet: Heard) -> None:
        """A whole datagram lies on a socket of the feed."""
        for ends in (self._sent, self._ends):
            ends[packet.session] = max(packet.end, ends.get(packet.session, 1))
        if packet.session == self._session or self._session == (0, 0):
            self._heard_ns = self.world.now_ns

    def records(self, records: np.ndarray, count: int) -> None:
        """What the feed handed on."""
        self.levels += int(tell(self.told.address, np.uint64(records.ctypes.data), np.int64(count)))

    def check(self) -> None:
        """After every look of the feed at its sockets."""
        arbiter, sessions = self.world.arbiter, self.world.venue.sessions
        session = int(arbiter["session_low"]), int(arbiter["session_high"])
        # The first packet of all may be a stray.
        if arbiter["sessions"] == 0 or (arbiter["sessions"] == 1 and session not in sessions):
            self._no_book()
            return
        if session != self._session or arbiter["restarts"] != self._restarts:
            if session not in sessions:
                self.fail("session", f"the feed follows {session}, which the exchange never opened")
            self._session, self._position, self._heard_ns = session, 0, self.world.now_ns
            self._restarts = int(arbiter["restarts"])
            # What came before the switch was refused: the feed has not heard of it. Strays may say more than there is.
            self._ends[session] = min(int(arbiter["high"]), self._sent.get(session, 1))
            self.truth.clear()
        self._move(int(arbiter["expected"]))
        follow(self.truth.address, sessions[session].address, np.uint64(self._position))
        self._books(self._position)
        self._refusals()

    def _move(self, position: int) -> None:
        """The feed is at ``position``: since when has it been behind, and no further?"""
        # A session may be known from a stray alone.
        sent = self._sent.get(self._session, 1)
        if position > sent:
            self.fail("session", f"at message {position}, heard of {sent}")
        if position >= self._ends[self._session]:
            self._behind_ns = -1
        elif position != self._position or self._behind_ns < 0:
            self._behind_ns = self.world.now_ns
        self._position = position

    def _no_book(self) -> None:
        for index in range(INSTRUMENTS):
            if self.is_valid(index):
                self.fail("session", f"instrument {index}: VALID without a session")

    def is_valid(self, instrument: int) -> bool:
        """Whether the feed says so."""
        return bool(self.world.book_state(instrument) == VALID)

    def _books(self, position: int) -> None:
        valid = [index for index in range(INSTRUMENTS) if self.is_valid(index)]
        for index in valid:
            self.compared += 1
            at = int(wrong_level(self.truth.address, self.told.address, self.world.book(index), np.int64(index)))
            if at >= 0:
                self._wrong(index, at, position)
        if valid and not self.world.was_held_back:
            self._in_time(position)
        if self._was_valid and not valid and self.world.plan.kind == ONE_LINE:
            self.fail("gap", "a book was lost with one line whole")
        self._was_valid = bool(valid)

    def _wrong(self, index: int, at: int, position: int) -> None:
        side, tick = divmod(at, TICKS)
        true, told = int(self.truth.cells[index, side, tick]), int(self.told.cells[index, side, tick])
        counts = [int(each.state["levels"][0][index * SIDES + side]) for each in (self.truth, self.told)]
        self.fail(
            "book",
            f"instrument {index} side {side} tick {tick} at message {position}: {true} in truth, {told} told, "
            f"{counts} levels, VALID",
        )

    def _in_time(self, position: int) -> None:
        now_ns, settings = self.world.now_ns, self.world.plan.arbiter
        if self._behind_ns >= 0 and now_ns - self._behind_ns >= settings["wait_ns"]:
            end = self._ends[self._session]
            self.fail("late", f"VALID at message {position} of {end} for {now_ns - self._behind_ns} ns")
        if settings["silence_ns"] and now_ns - self._heard_ns > settings["silence_ns"]:
            self.fail("silent", f"VALID {now_ns - self._heard_ns} ns after the last datagram")

    def _refusals(self) -> None:
        feed = self.world.feed
        found = {name: int(feed[name]) for name in _REFUSALS if feed[name]}
        if found:
            self.fail("damage", f"not applied: {found}")

    def is_at_rest(self) -> bool:
        """Whether every book is VALID at the exchange's last message."""
        venue = self.world.venue
        is_there = self._session == venue.session and self._position == venue.next_sequence
        return is_there and all(self.is_valid(index) for index in range(INSTRUMENTS))

    def end(self) -> None:
        """When all must have come to rest."""
        venue, arbiter = self.world.venue, self.world.arbiter
        history = venue.history.state
        if history["wrong"][0] or history["dropped"][0] or venue.state["unencodable"][0]:
            self.fail("engine", f"the truth lost its way: {history}")
        if not self.is_at_rest():
            states = [int(self.world.book_state(index)) for index in range(INSTRUMENTS)]
            self.fail("rest", f"states {states} at message {self._position} of {venue.next_sequence}")
        for index in range(INSTRUMENTS):
            if wrong_engine_level(self.truth.address, venue.book(index), np.int64(index)) >= 0:
                self.fail("engine", f"instrument {index}: the truth at the end is not the engine's book")
        gaps, recovered, given_up = (int(arbiter[name]) for name in ("gaps", "recovered", "give_ups"))
        if self.world.plan.kind == ONE_LINE and (gaps or arbiter["requests"]):
            self.fail("gap", f"{gaps} gaps and {arbiter['requests']} requests with one line whole")
        if self.world.plan.kind == BOTH_LINES and (gaps != recovered or given_up):
            self.fail("gap", f"{gaps} gaps, {recovered} recovered, {given_up} given up")
