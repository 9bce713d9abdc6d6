"""Live connections as a source: frames read, decoded, sequenced, booked and published, without a turn of the interpreter.

::

    connections, in turn ─▶ a whole text ─▶ codec ─▶ book ─▶ market ring
         │ ended, silent                      │ the scanner passes on
         ▼                                    ▼
    its books become INVALID            Python (service): slow decoder, snapshots that have come, ended connections

Python is asked for only when there is something for it: ``need``, or ``errands`` that another thread has counted up
(:mod:`hftpipe.venues.live.keeper`). Time is our monotonic clock's.
"""

import numpy as np

from hftpipe.core.feed.pacing import due, timer_first
from hftpipe.core.feed.publish import flush, put_state, seal, show_top
from hftpipe.core.feed.state import STATE
from hftpipe.core.machine.jit import entry, jit
from hftpipe.core.machine.mem import U64, call_words, load_acquire, rdtsc, view
from hftpipe.core.schema.counters import table
from hftpipe.core.schema.layout import offset_of
from hftpipe.core.shared.stage import SERVICE
from hftpipe.core.trading.book import BOOK
from hftpipe.core.trading.books import book_at
from hftpipe.transport.websocket.link import (
    ENDED,
    LINK,
    LINK_BYTES,
    OPEN,
    SILENT,
    TEXT,
    end_link,
    next_message,
    receive,
    say,
)
from hftpipe.venues.booking import set_levels
from hftpipe.venues.live.held import NOBODY, hold
from hftpipe.venues.message import MESSAGE
from hftpipe.venues.taped.cursor import CURSOR, NEED_NOTHING, sync_at
from hftpipe.venues.taped.publish import consume, publish_levels, show_counts

LIVE = np.dtype(
    [
        # First, for whoever knows this only as the cursor of a text.
        ("cursor", CURSOR),
        # Addresses of the LINKs and the SHAREs, one of each a connection; which is looked at next.
        ("links", "u8"), ("shares", "u8"), ("n_links", "i8"), ("next", "i8"),
        # Time-stamp counter at which the socket gave the ready text, or a text before it in the same breath.
        ("origin", "u8"),
        # C function ``int64 f(uint64 sync, uint64 book)``: the connection of an instrument was lost.
        ("lose", "u8"),
        # How often another thread has had something for Python, and how many of those have been seen to.
        ("errands", "u8"), ("seen", "u8"),
        # Books that were lost when Python last looked; longest silence of a connection (ns).
        ("invalidations", "i8"), ("silence_ns", "i8"),
        # When the last step was; the time that what lies in a socket after a standstill is taken to be of (ns).
        ("stepped_ns", "i8"), ("behind_ns", "i8"),
        # The instrument whose messages are held for a comparison of its book (NOBODY: none); address of HELD.
        ("checked", "i8"), ("held", "u8"),
        # Counters.
        ("book_checks", "i8"), ("checks_skipped", "i8"), ("book_mismatches", "i8"), ("levels_learned", "i8"), ("rule_changes", "i8"),
    ],
    align=True,
)  # fmt: skip
COUNTERS = table("""
  book_checks      books compared with the venue's own
  checks_skipped   comparisons left out: the two could not be had of one moment
  levels_learned   levels that a book did not know, taken from the venue's when the market came near
* book_mismatches  books that were not as the venue has them; they begin anew
* rule_changes     instruments whose rules have changed or that are not traded any more; they are halted
""")
#: The instruments of a connection, ``first`` to ``end``; the next one whose book is to be made INVALID, for the connection has
#: ended (``end``: all are; KEPT: it has not); whether what it brings has lain there while this stage stood still.
SHARE = np.dtype([("first", "i8"), ("end", "i8"), ("lost", "i8"), ("is_behind", "i8")])
#: A standstill: so long without a step (ns).
STANDSTILL_NS = np.int64(100_000_000)
KEPT = -1
EVENTS_PER_STEP = 32
_ERRANDS = np.uint64(offset_of(LIVE, "errands"))
_LINK, _SHARE = np.uint64(LINK_BYTES), np.uint64(SHARE.itemsize)


@jit
def _lose_book(state, instrument):
    """The connection of an instrument is gone: nothing of its book is believed any more."""
    s = view(state, STATE)
    v = view(s.source, LIVE)
    book = book_at(s.books, instrument)
    call_words(v.lose, (sync_at(view(s.source, CURSOR).syncs, instrument), book))
    s.invalidations += 1
    seal(state, put_state(state, book, np.int64(0)), s.event_ts, s.event_ts, rdtsc())
    flush(state)
    show_top(state, book)


@jit
def _lose_books(state, share):
    """Make the books of an ended connection INVALID, as long as there is room to say so; True once all are."""
    s, h = view(state, STATE), view(share, SHARE)
    if h.lost == KEPT:
        h.lost = h.first
    while h.lost < h.end and s.pending_n == 0:
        _lose_book(state, h.lost)
        h.lost += 1
    return h.lost == h.end


@jit
def _read(link, share, now_ns):
    """The next text of a connection: (TEXT or NOTHING, its address, its end)."""
    found, at, end = next_message(link)
    if found != TEXT:
        if receive(link, now_ns) > 0:
            found, at, end = next_message(link)
        else:
            view(share, SHARE).is_behind = 0
    return found, at, end


@jit
def _mind_standstill(v, now_ns):
    """After a standstill nobody knows when what lies in the sockets came: it is taken to be as old as it can be, until they are
    empty. Books of it are too old to trade on, instead of looking new."""
    if v.stepped_ns != 0 and now_ns - v.stepped_ns > STANDSTILL_NS:
        v.behind_ns = v.stepped_ns
        for index in range(v.n_links):
            view(v.shares + _SHARE * U64(index), SHARE).is_behind = 1
    v.stepped_ns = now_ns


@jit
def _next_text(source, now_ns):
    """Make the next text of any connection the ready one; False if none has any."""
    v, c = view(source, LIVE), view(source, CURSOR)
    for _ in range(v.n_links):
        link = v.links + _LINK * U64(v.next)
        k = view(link, LINK)
        if k.state == OPEN:
            share = v.shares + _SHARE * U64(v.next)
            found, at, end = _read(link, share, now_ns)
            if found == TEXT:
                c.line_ts = v.behind_ns if view(share, SHARE).is_behind != 0 else now_ns
                c.json_at, c.json_end, c.line_ready = at, end, 1
                c.lines += 1
                v.origin = k.stamp
                return True
            if now_ns - k.last_ns > v.silence_ns:
                end_link(link, SILENT, np.int64(0))
        v.next = v.next + 1 if v.next + 1 < v.n_links else 0
    return False


@jit
def _look_at_ended(state):
    """Whether a connection has ended whose books are all INVALID by now: Python has to see to it."""
    v, found = view(view(state, STATE).source, LIVE), False
    for index in range(v.n_links):
        if view(v.links + _LINK * U64(index), LINK).state == ENDED:
            found |= _lose_books(state, v.shares + _SHARE * U64(index))
    return found


@jit
def live_step(state, now_ns, limit):
    """Up to ``limit`` texts; how many."""
    s, done = view(state, STATE), np.int64(0)
    c, v = view(s.source, CURSOR), view(s.source, LIVE)
    c.need = NEED_NOTHING
    while done < limit and s.pending_n == 0:
        if c.line_ready == 0 and not _next_text(s.source, now_ns):
            break
        if not consume(state, v.origin):
            break
        if view(c.message, MESSAGE).instrument == v.checked:
            hold(v.held, c.message)
        done += 1
    show_counts(state)
    return done


@entry("int64(uint64, int64)")
def live_entry(state, now_ns):
    """A step of the feed: what has come; SERVICE when Python must help."""
    s = view(state, STATE)
    _mind_standstill(view(s.source, LIVE), now_ns)
    due(state, now_ns, now_ns)
    done = np.int64(timer_first(state, now_ns, now_ns, rdtsc()))
    done += live_step(state, now_ns, np.int64(EVENTS_PER_STEP))
    v, c = view(s.source, LIVE), view(s.source, CURSOR)
    has_ended = _look_at_ended(state)
    is_called = load_acquire(s.source + _ERRANDS) != v.seen or v.invalidations != s.invalidations
    if c.need != NEED_NOTHING or has_ended or (is_called and c.line_ready == 0):
        return np.int64(SERVICE)
    return done


@entry("int64(uint64, uint64, int64)")
def say_entry(link, frame, length):
    """Send a whole frame on a connection; 0, and it has ended, where the socket does not take all of it."""
    return np.int64(say(link, frame, length))


@entry("int64(uint64, int64)")
def lose_entry(state, instrument):
    """Make a book INVALID and tell its readers; 0, and nothing is done, where there is no room to say so."""
    if view(state, STATE).pending_n != 0:
        return np.int64(0)
    _lose_book(state, instrument)
    return np.int64(1)


@entry("int64(uint64, uint64)")
def learn_entry(state, message):
    """Set levels of the moment of a book that it does not know (a MESSAGE), and tell its readers; 0, and nothing is done, where there is
    no room to say so."""
    s = view(state, STATE)
    if s.pending_n != 0:
        return np.int64(0)
    book = book_at(s.books, view(message, MESSAGE).instrument)
    set_levels(book, message, view(book, BOOK).update_id)
    publish_levels(state, message, book, rdtsc())
    return np.int64(1)


def wire_live(
    live: np.ndarray, links: np.ndarray, shares: np.ndarray, held: np.ndarray, lose: int, silence_s: float
) -> None:
    """Put what is its own into a LIVE array (length 1) whose cursor is wired: LINK and SHARE arrays, one of each a connection."""
    live["checked"], live["held"] = NOBODY, held.ctypes.data
    live["links"], live["shares"], live["n_links"] = links.ctypes.data, shares.ctypes.data, len(links)
    live["lose"], live["silence_ns"] = lose, int(silence_s * 1e9)
