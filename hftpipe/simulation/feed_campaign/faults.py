"""Bugs planted in the feed: each is what the checker must catch, or its silence proves nothing.

A mutant changes what the feed reads or what it remembers just before or after it looks, as if it had the bug.
"""

from typing import Any

import numpy as np

from hftpipe.core.schema.records import BID, SYNCING, VALID
from hftpipe.core.trading.book import book_level, book_set
from hftpipe.simulation.feed_campaign.lines import Heard
from hftpipe.simulation.feed_campaign.truth import INSTRUMENTS
from hftpipe.venues.nasdaq.itch.mold import HEADER_BYTES


class FeedMutant:
    """A planted bug; ``caught_by`` names the rules that may see it first."""

    caught_by: tuple[str, ...] = ()

    def start(self, world: Any) -> None:
        """Called when the world is wired."""

    def datagram(self, world: Any, data: bytes) -> bytes:
        """What the feed reads in place of a line's datagram."""
        return data

    def before(self, world: Any, packet: Heard) -> None:
        """Called when a whole datagram lies on a socket, before the feed looks."""

    def after(self, world: Any, count: int) -> int:
        """Called after a look that brought ``count`` records; returns how many are handed on."""
        return count


def _is_ours(world: Any, packet: Heard) -> bool:
    return packet.session == (int(world.arbiter["session_low"]), int(world.arbiter["session_high"]))


class DuplicateTakenTwice(FeedMutant):
    """The slower line's copy is applied again."""

    caught_by = ("damage", "book")

    def before(self, world: Any, packet: Heard) -> None:
        if _is_ours(world, packet) and packet.first < packet.end <= world.arbiter["expected"]:
            world.arbiter["expected"] = packet.first


class HoleIgnored(FeedMutant):
    """Whatever comes next is next."""

    caught_by = ("damage", "book", "rest")

    def before(self, world: Any, packet: Heard) -> None:
        if _is_ours(world, packet) and packet.first > world.arbiter["expected"]:
            world.arbiter["expected"] = packet.first


class AppliedOutOfOrder(FeedMutant):
    """What comes too early is applied at once, and the hole is filled afterwards."""

    caught_by = ("damage", "book")
    _hole = 0

    def before(self, world: Any, packet: Heard) -> None:
        if _is_ours(world, packet) and packet.first > world.arbiter["expected"]:
            self._hole = int(world.arbiter["expected"])
            world.arbiter["expected"] = packet.first

    def after(self, world: Any, count: int) -> int:
        if self._hole:
            world.arbiter["expected"], self._hole = self._hole, 0
        return count


class ValidBeforeFilled(FeedMutant):
    """SYNCING is not shown."""

    caught_by = ("late", "silent", "session")

    def after(self, world: Any, count: int) -> int:
        if world.feed["line_state"] == SYNCING:
            for index in range(INSTRUMENTS):
                world.book_header(index)["state"] = VALID
        return count


class ExecutionKeepsLevel(FeedMutant):
    """An execution does not reduce the level."""

    caught_by = ("book", "damage")

    def datagram(self, world: Any, data: bytes) -> bytes:
        text, at = bytearray(data), HEADER_BYTES
        while at + 2 < len(text):
            if text[at + 2] == ord("E"):
                text[at + 2] = ord("z")
            at += 2 + int.from_bytes(text[at : at + 2], "big")
        return bytes(text)


class RollUnseen(FeedMutant):
    """The session field is not read."""

    caught_by = ("damage", "book", "session", "rest")

    def datagram(self, world: Any, data: bytes) -> bytes:
        return b"S1".rjust(10) + data[10:]


class NoWayBack(FeedMutant):
    """A session that was left is never followed again."""

    caught_by = ("rest",)

    def start(self, world: Any) -> None:
        world.arbiter["election"]["takeover_ns"] = 1 << 62


class SilenceIgnored(FeedMutant):
    """A dead feed stays VALID."""

    caught_by = ("silent",)

    def start(self, world: Any) -> None:
        world.arbiter["silence_ns"] = 0


class NeverAsks(FeedMutant):
    """Requests go nowhere."""

    caught_by = ("rest", "gap")

    def start(self, world: Any) -> None:
        world.receiver["sockets"][2] = -1


class LevelLost(FeedMutant):
    """The fourth best bid goes missing now and then."""

    caught_by = ("book",)

    def after(self, world: Any, count: int) -> int:
        if world.rng.random() < 0.01:
            price, qty = book_level(world.book(0), np.int64(BID), np.int64(3))
            if qty:
                book_set(world.book(0), np.int64(BID), np.int64(price), np.int64(0))
        return count


class RecordLost(FeedMutant):
    """The last record of a look is not handed on now and then."""

    caught_by = ("book",)

    def after(self, world: Any, count: int) -> int:
        return count - 1 if count and world.rng.random() < 0.05 else count


FEED_MUTANTS: dict[str, type[FeedMutant]] = {
    "duplicate_taken_twice": DuplicateTakenTwice,
    "hole_ignored": HoleIgnored,
    "applied_out_of_order": AppliedOutOfOrder,
    "valid_before_filled": ValidBeforeFilled,
    "execution_keeps_level": ExecutionKeepsLevel,
    "roll_unseen": RollUnseen,
    "no_way_back": NoWayBack,
    "silence_ignored": SilenceIgnored,
    "never_asks": NeverAsks,
    "level_lost": LevelLost,
    "record_lost": RecordLost,
}
