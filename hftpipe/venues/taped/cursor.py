"""One reader of captures: line, decoded message, book. Whatever plays one goes through this cursor, and knows no venue.

::

    read_line       the next line of the text, its recorder's time as event time; Python brings text when there is none left
    read_message    what it says, by the codec's scanner; Python's slow decoder has what that passes on
    is_ours         is it about one of our instruments?
    follow          sequence it, and follow it with the book of its instrument: what changed
    next_instrument whose line comes next, at a glance

What is needed from Python stands in ``need``; :class:`hftpipe.venues.taped.text.Page` brings it. The codec is reached through
C addresses: one compiled reader serves every venue.
"""

import numpy as np

from hftpipe.capture.reader import LINE_OK, next_line
from hftpipe.core.machine.jit import jit
from hftpipe.core.machine.mem import U64, ZERO, call_words, load_i64, view
from hftpipe.core.schema.layout import offset_of
from hftpipe.core.shared.stamps import STAMPS, event_time
from hftpipe.venues.contract import Codec
from hftpipe.venues.message import IGNORED, MESSAGE, OK

#: What Python is asked for.
NEED_NOTHING, NEED_CHUNK, NEED_DECODE = 0, 1, 2
#: How far the ready line is: not decoded yet, decoded, refused by both decoders.
WAITING, DECODED, REFUSED = 0, 1, -1

CURSOR = np.dtype(
    [
        # Wiring (addresses): the SYMBOLS and a MESSAGE; what is sequenced by; the codec's C functions.
        ("symbols", "u8"), ("message", "u8"), ("syncs", "u8"), ("scan", "u8"), ("follow", "u8"), ("peek", "u8"),
        ("n_instruments", "i8"),
        # Unread bytes of the text, the line under way (``message_ready``: how far it is), and what is needed from Python.
        ("text_at", "u8"), ("text_end", "u8"), ("line_ts", "i8"), ("json_at", "u8"), ("json_end", "u8"),
        ("line_ready", "i8"), ("message_ready", "i8"), ("need", "i8"), ("ended", "i8"),
        ("stamps", STAMPS),
        # Counters: lines; those that are none; messages that the scanner passed on, that nobody could decode, that are of no
        # kind that is traded on, of symbols that are not ours.
        ("lines", "i8"), ("bad_lines", "i8"), ("slow_decodes", "i8"), ("bad_messages", "i8"), ("ignored_messages", "i8"),
        ("unknown_symbols", "i8"),
    ],
    align=True,
)  # fmt: skip
_STAMPS = np.uint64(offset_of(CURSOR, "stamps"))
_WORD_SHIFT = np.uint64(3)
#: A time in ns and the blank behind it, until the year 2286.
_TIME_BYTES = np.uint64(20)


def wire_cursor(
    cursor: np.ndarray, codec: Codec, n_instruments: int, *, symbols: int, message: int, syncs: int
) -> None:
    """Put every address into a CURSOR array of length 1: of the SYMBOLS, a MESSAGE, and what the codec sequences by."""
    cursor["symbols"], cursor["message"], cursor["syncs"] = symbols, message, syncs
    cursor["scan"], cursor["follow"], cursor["peek"] = codec.scan, codec.follow, codec.peek
    cursor["n_instruments"] = n_instruments


@jit
def sync_at(syncs, instrument):
    """Address of what an instrument is sequenced by; ``syncs`` is that of the memory."""
    return U64(load_i64(syncs + (U64(instrument) << _WORD_SHIFT)))


@jit
def read_line(cursor):
    """Make the next line ready; False when Python must bring more text, or there is none."""
    c = view(cursor, CURSOR)
    while c.line_ready == 0:
        if c.text_at >= c.text_end:
            c.need = NEED_NOTHING if c.ended != 0 else NEED_CHUNK
            return False
        status, ts, start, end, after = next_line(c.text_at, c.text_end)
        c.text_at = after
        c.lines += 1
        if status != LINE_OK:
            c.bad_lines += 1
            continue
        c.line_ts, c.json_at, c.json_end, c.line_ready = event_time(cursor + _STAMPS, ts), start, end, 1
    return True


@jit
def read_message(cursor):
    """Decode the ready line and be done with it: DECODED or REFUSED; or WAITING for the slow decoder in Python."""
    c = view(cursor, CURSOR)
    if c.message_ready == WAITING:
        if call_words(c.scan, (c.json_at, c.json_end, c.symbols, c.message)) != OK:
            c.need = NEED_DECODE
            return np.int64(WAITING)
        c.message_ready = DECODED
    found = c.message_ready
    c.line_ready, c.message_ready = 0, WAITING
    c.bad_messages += found == REFUSED
    return found


@jit
def next_instrument(cursor):
    """The instrument that the line after the ready one is about, as far as that is told at a glance; else -1."""
    c = view(cursor, CURSOR)
    if c.peek == ZERO or c.text_at + _TIME_BYTES >= c.text_end:
        return np.int64(-1)
    found = call_words(c.peek, (c.text_at + _TIME_BYTES, c.text_end, c.symbols))
    return found if found < c.n_instruments else np.int64(-1)


@jit
def is_ours(cursor):
    """Whether the decoded message is about one of our instruments; what is not is counted."""
    c = view(cursor, CURSOR)
    m = view(c.message, MESSAGE)
    if m.kind == IGNORED:
        c.ignored_messages += 1
        return False
    if m.instrument < 0 or m.instrument >= c.n_instruments:
        c.unknown_symbols += 1
        return False
    return True


@jit
def follow(cursor, book):
    """Sequence the decoded message and follow it with the book of its instrument: what changed (venues/message.py)."""
    c = view(cursor, CURSOR)
    return call_words(c.follow, (sync_at(c.syncs, view(c.message, MESSAGE).instrument), book, c.message))
