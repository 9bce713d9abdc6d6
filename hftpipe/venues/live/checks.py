"""Books are compared with the venue's own now and then, one after the other; one that is not the same begins anew.

::

    stage's thread    our book copied, its messages held ──┐                                 ┌─▶ the same: counted; levels learned
    a thread beside                 fetch the venue's book ┴▶ wait for its ─▶ compare ───────┴─▶ another one: it begins anew
                                                             update to come

What is compared, and when that cannot be done, says :mod:`hftpipe.venues.live.compare`. A book that begins with a snapshot is known as
far as that went; when the market has left half of it behind, the levels beyond are learned from the venue's book.
"""

import ctypes
import random
from collections import deque
from dataclasses import dataclass, replace
from decimal import Decimal

import numpy as np

from hftpipe.core.schema.instruments import TOP_LEVELS
from hftpipe.core.schema.records import ASK, BID, VALID
from hftpipe.core.trading.book_sides import read_side
from hftpipe.venues.contract import Codec
from hftpipe.venues.live.books import Books, Desk
from hftpipe.venues.live.compare import ALL, Compared, Difference, Known, Levels, NotMade, Whole, compare, edges, reach
from hftpipe.venues.live.held import NOBODY, clear, held_bytes, is_full, levels_of, messages, put_levels
from hftpipe.venues.live.plan import BookCheck
from hftpipe.venues.live.source import learn_entry, lose_entry
from hftpipe.venues.message import DEPTH, MESSAGE, Symbols, message_bytes

#: How long an update that reaches the venue's book is waited for: in a quiet market there may be none.
LOOK_S, LOOKS = 0.1, 30
#: Pause before a comparison that could not be made is tried again, at most: at random, so that it falls into another moment.
AGAIN_S = 0.2
_ROOM_S = 0.01
_MOST_SHOWN = 3
#: Books in a row that cannot be compared now, after which the rest waits for the next time: the stage's own thread looks at them.
_MOST_LOOKED_AT = 64
#: What changes when a book has been lost or begun anew.
_BEGINNINGS = ("gaps", "snapshots", "resyncs", "crossed")
_LOSE = ctypes.CFUNCTYPE(ctypes.c_int64, ctypes.c_uint64, ctypes.c_int64)
_LEARN = ctypes.CFUNCTYPE(ctypes.c_int64, ctypes.c_uint64, ctypes.c_uint64)


@dataclass(frozen=True)
class _Check:
    """A comparison under way: of which instrument, the number of the attempt, our book as it was before, the venue's."""

    instrument: int
    attempt: int
    beginnings: tuple[int, ...]
    bids: np.ndarray
    asks: np.ndarray
    known: Known
    moment: int
    number: int
    theirs: Whole | None = None

    def ours(self) -> Whole:
        """Our book before."""
        return Whole(self.moment, self.number, _levels(self.bids), _levels(self.asks), self.known)


def _levels(pairs: np.ndarray) -> Levels:
    return dict(zip(pairs[:, 0].tolist(), pairs[:, 1].tolist(), strict=True))


def _update(message: tuple[np.void, np.ndarray, np.ndarray], known: Known = ALL) -> Whole:
    head, bids, asks = message
    moment = int(head["sequence"]) or int(head["last_id"])
    return Whole(moment, int(head["last_id"]), _levels(bids), _levels(asks), known)


class BookChecks:
    """Compares books, one every ``check.period_s``.

    Args:
        desk: the keeper; books: begins them; codec: of the venue's text; symbols: the instruments; check: of the venue.
    """

    def __init__(self, desk: Desk, books: Books, codec: Codec, symbols: Symbols, check: BookCheck) -> None:
        self._desk, self._books, self._codec, self._symbols, self._check = desk, books, codec, symbols, check
        self._message = np.zeros(message_bytes(), np.uint8)
        #: Books that hear levels, the next one first.
        self._candidates = deque(np.flatnonzero(desk.memory.levels != TOP_LEVELS).tolist())
        self._pairs = np.zeros((int(desk.memory.levels.max()), 2), np.int64)
        self._learned = np.zeros(message_bytes(), np.uint8)
        self._lose = _LOSE(lose_entry.address)
        self._tell = _LEARN(learn_entry.address)

    def begin(self) -> None:
        """Have the next comparison made when the time has come."""
        if self._candidates:
            self._desk.later(self._next, self._check.period_s)

    # In the stage's thread.

    def _is_due(self, instrument: int) -> bool:
        is_there = self._desk.memory.book_state(instrument) == VALID and self._desk.is_read(instrument)
        return is_there and self._books.known(instrument) is not None

    def _next(self) -> bool:
        """Begin with the next book that can be compared."""
        for _ in range(min(len(self._candidates), _MOST_LOOKED_AT)):
            instrument = self._candidates[0]
            self._candidates.rotate(-1)
            if self._is_due(instrument):
                return self._start(instrument, 1)
        self.begin()
        return False

    def _beginnings(self, instrument: int) -> tuple[int, ...]:
        """What tells whether a book is still the one that it was, and nothing of it has been lost on the way."""
        memory = self._desk.memory
        sync, bad = memory.syncs[instrument], int(memory.cursor["bad_messages"][0])
        return (*(int(sync[name][0]) for name in _BEGINNINGS), bad)

    def _side(self, book: int, side: int) -> np.ndarray:
        count = read_side(book, side, self._pairs.ctypes.data, len(self._pairs))
        return self._pairs[:count].copy()

    def _start(self, instrument: int, attempt: int) -> bool:
        memory = self._desk.memory
        known = self._books.known(instrument) if self._is_due(instrument) else None
        if known is None:
            return self._is_skipped()
        clear(memory.held)
        memory.live["checked"] = instrument
        book, sync = memory.book_at(instrument), memory.syncs[instrument]
        check = _Check(
            instrument, attempt, self._beginnings(instrument), self._side(book, BID), self._side(book, ASK), known,
            int(memory.book(instrument)["update_id"][0]), int(sync["last_id"][0]),
        )  # fmt: skip
        self._desk.look(lambda: self._fetch(check))
        return False

    def _wait(self, check: _Check, looks: int) -> bool:
        """Until what has come reaches the venue's book, or that is not to be expected any more."""
        memory, theirs = self._desk.memory, check.theirs
        assert theirs is not None
        if self._beginnings(check.instrument) != check.beginnings or is_full(memory.held):
            return self._is_skipped()
        moment = int(memory.book(check.instrument)["update_id"][0])
        if moment < theirs.moment and looks:
            self._desk.later(lambda: self._wait(check, looks - 1), LOOK_S)
            return False
        taken = held_bytes(memory.held)
        self._desk.look(lambda: self._compare(check, taken))
        return False

    def _is_skipped(self) -> bool:
        live = self._desk.memory.live
        live["checked"] = NOBODY
        live["checks_skipped"] += 1
        self.begin()
        return False

    def _not_made(self, check: _Check) -> bool:
        """Once more, at another moment; after some attempts it is left out."""
        self._desk.memory.live["checked"] = NOBODY
        if check.attempt >= self._check.tries:
            return self._is_skipped()
        self._desk.later(lambda: self._start(check.instrument, check.attempt + 1), random.uniform(0, AGAIN_S))
        return False

    def _judge(self, check: _Check, made: Compared) -> bool:
        """What a comparison has found, unless the book has begun anew by itself meanwhile."""
        memory = self._desk.memory
        if self._beginnings(check.instrument) != check.beginnings:
            return self._is_skipped()
        if made.wrong:
            return self._differs(check, made.wrong)
        if made.is_far and not is_full(memory.held) and not self._learn(check, made.unknown):
            self._desk.later(lambda: self._judge(check, made), _ROOM_S)
            return False
        return self._is_made() if made.levels else self._is_skipped()

    def _learn(self, check: _Check, unknown: list[Difference]) -> bool:
        """Have the book learn levels, but those that updates have named since; False where there is no room to say so yet."""
        memory, theirs = self._desk.memory, check.theirs
        assert theirs is not None
        later = [one for one in map(_update, messages(held_bytes(memory.held))) if one.moment > theirs.moment]
        named = {(BID, price) for one in later for price in one.bids} | {
            (ASK, price) for one in later for price in one.asks
        }
        levels = [one for one in unknown if (one.side, one.price) not in named]
        put_levels(self._learned, [(one.price, one.theirs) for one in levels if one.side == BID],
                   [(one.price, one.theirs) for one in levels if one.side == ASK])  # fmt: skip
        head = self._learned[: MESSAGE.itemsize].view(MESSAGE)
        head["kind"], head["instrument"] = DEPTH, check.instrument
        head["transaction_ts"] = memory.book(check.instrument)["exchange_ts"]
        if not self._tell(memory.state.ctypes.data, self._learned.ctypes.data):
            return False
        self._books.learned(check.instrument, reach(check.known, theirs.known))
        memory.live["levels_learned"] += len(levels)
        return True

    def _is_made(self) -> bool:
        live = self._desk.memory.live
        live["checked"] = NOBODY
        live["book_checks"] += 1
        self.begin()
        return False

    def _differs(self, check: _Check, found: list[Difference]) -> bool:
        """The book is not believed any more, and begins anew."""
        memory = self._desk.memory
        if not self._lose(memory.state.ctypes.data, check.instrument):
            # There is no room to say so yet.
            self._desk.later(lambda: self._judge(check, Compared(found, [], len(found), False)), _ROOM_S)
            return False
        memory.live["book_mismatches"] += 1
        assert check.theirs is not None
        name, power = self._desk.names[check.instrument], self._symbols.powers[check.instrument]
        shown = ", ".join(_said(one, power) for one in found[:_MOST_SHOWN])
        more = f" and {len(found) - _MOST_SHOWN} more" if len(found) > _MOST_SHOWN else ""
        self._desk.report(
            f"{name}: the book is not the venue's at update {check.theirs.moment}: {shown}{more}; it begins anew"
        )
        return self._is_made()

    # In a thread beside.

    def _fetch(self, check: _Check) -> None:
        levels = int(self._desk.memory.levels[check.instrument])
        try:
            text = self._check.fetch(self._desk.names[check.instrument], levels)
            refused = self._codec.decode(text, self._symbols, self._message)
        except (OSError, ValueError) as wrong:
            refused = str(wrong)
        if refused:
            self._desk.tell(self._is_skipped)
            return
        message = levels_of(self._message)
        made = replace(check, theirs=_update(message, edges(*message[1:], self._check.asked(levels))))
        self._desk.tell(lambda: self._wait(made, LOOKS))

    def _compare(self, check: _Check, taken: np.ndarray) -> None:
        assert check.theirs is not None
        try:
            made = compare(check.ours(), map(_update, messages(taken)), check.theirs, self._check.is_named)
        except NotMade:
            self._desk.tell(lambda: self._not_made(check))
            return
        self._desk.tell(lambda: self._judge(check, made))


def _said(one: Difference, power: int) -> str:
    """A level in the venue's units."""
    price = f"{Decimal(one.price).scaleb(-8 - power).normalize():f}"
    ours, theirs = (f"{Decimal(qty).scaleb(power - 8).normalize():f}" for qty in (one.ours, one.theirs))
    return f"{'bid' if one.side == BID else 'ask'} {price}: {ours} here, {theirs} there"
