"""From book changes to the market ring (and, in paper mode, its twin to the simulated venue).

Both rings get the same records at the same index, so that an index names the same moment in both. An update is
prepared in ``scratch`` and pushed; when a ring fills up half-way, the rest follows later: readers act on an update
only at its LAST record, so a book is never wrong, only late.

A live source cannot wait. When there is no room for an update, the instrument goes *conflating*: its deltas are no
longer sent (each counted), and once there is room again it gets a BOOK_RESET with the whole current book. Conflating
instruments stand in a queue, each once, the one that has waited longest in front: what a step looks at does not grow with the
number of instruments, and a large book is not passed over for small ones.
"""

import numpy as np

from hftpipe.core.feed.state import STATE
from hftpipe.core.machine.hist import hist_since, stamp
from hftpipe.core.machine.jit import jit
from hftpipe.core.machine.mem import ONE, U64, ZERO, load_u8, load_u32, store_u8, store_u32, view
from hftpipe.core.schema.records import ASK, BID, BOOK_RESET, BOOK_STATE, LAST, LEVEL, RECORD, TIMER, TOP, TRADE
from hftpipe.core.schema.ring import RING
from hftpipe.core.shared.cell import write_top
from hftpipe.core.shared.ring import ring_has_space, ring_push
from hftpipe.core.shared.tape import tape_record
from hftpipe.core.trading.book import BOOK, book_walk, book_walk_level, book_walk_next
from hftpipe.core.trading.books import book_at

_RECORD_SHIFT = np.uint64(6)
#: An update larger than this share of a ring is streamed instead of waiting for room for all of it.
_STREAM_SHARE = 2
#: Records of a reset besides the levels: BOOK_RESET, a TOP pair, BOOK_STATE.
RESET_RECORDS = 4
#: What the byte of an instrument in ``conflating`` says: its whole book is due; it stands in the queue.
_DUE, _QUEUED = np.uint8(1), np.uint8(2)
_WORD_SHIFT = np.uint64(2)


def queue_slots(n_instruments: int) -> int:
    """Entries of the queue of conflating instruments: a power of two that holds all of them."""
    return 1 << max(n_instruments - 1, 1).bit_length()


@jit
def scratch_record(state, index):
    """The scratch RECORD number ``index``."""
    return view(view(state, STATE).scratch + (U64(index) << _RECORD_SHIFT), RECORD)


@jit
def fill(record, kind, side, flags, instrument, price, qty, id_):
    """Set what differs between the records of one update."""
    record.kind, record.side, record.flags, record.strategy = kind, side, flags, 0
    record.instrument = instrument
    record.price, record.qty, record.id = price, qty, id_


@jit
def seal(state, count, exchange_ts, local_ts, origin_tsc):
    """Stamp records [0, count) of scratch and make them the pending update."""
    s = view(state, STATE)
    for index in range(count):
        record = scratch_record(state, index)
        record.exchange_ts, record.local_ts, record.origin_tsc = exchange_ts, local_ts, origin_tsc
    s.pending_at, s.pending_n, s.pending_origin = 0, count, origin_tsc


@jit
def flush(state):
    """Push what is pending; True when nothing is left. Both rings or neither, record by record."""
    s = view(state, STATE)
    while s.pending_at < s.pending_n:
        if not ring_has_space(s.market, np.int64(1)) or (s.sim != ZERO and not ring_has_space(s.sim, np.int64(1))):
            s.held_back += 1
            return False
        record = s.scratch + (U64(s.pending_at) << _RECORD_SHIFT)
        view(record, RECORD).instrument += s.first
        tape_record(s.tape, record)
        ring_push(s.market, record)
        if s.sim != ZERO:
            ring_push(s.sim, record)
        s.pending_at += 1
        s.records += 1
    if s.pending_n > 0:
        s.pending_n, s.pending_at = 0, 0
        hist_since(s.h_decode, s.pending_origin, stamp())
    return True


@jit
def _room(ring, count):
    capacity = np.int64(view(ring, RING).capacity)
    return ring_has_space(ring, min(count, capacity // _STREAM_SHARE))


@jit
def has_room(state, count):
    """Whether an update of ``count`` records may start now."""
    s = view(state, STATE)
    return _room(s.market, count) and (s.sim == ZERO or _room(s.sim, count))


@jit
def may_run_ahead(state):
    """Full speed: whether the slowest reader is less than ``window`` records behind, and the recorder half a tape.

    The other stages' tapes grow no faster than this one: a source that can wait loses no record of any tape.
    """
    s = view(state, STATE)
    if s.tape != ZERO and not ring_has_space(s.tape, np.int64(view(s.tape, RING).capacity >> ONE)):
        return False
    ring = s.sim if s.sim != ZERO else s.market
    r = view(ring, RING)
    if np.int64(r.next_in - r.known_out) < s.window:
        return True
    # The known position is old: claiming nothing, refresh it by asking for more room than there can be.
    ring_has_space(ring, np.int64(r.capacity))
    return np.int64(r.next_in - r.known_out) < s.window


@jit
def is_conflating(state, instrument):
    """Whether deltas of this instrument are held until there is room for a reset."""
    return load_u8(view(state, STATE).conflating + U64(instrument)) & _DUE != 0


@jit
def _queued(s, index):
    return s.conflated + ((index & s.conflated_mask) << _WORD_SHIFT)


@jit
def set_conflating(state, instrument, value):
    """Mark or clear conflation of one instrument."""
    s = view(state, STATE)
    at = s.conflating + U64(instrument)
    before = load_u8(at)
    s.n_conflating += np.int64(value) - np.int64(before & _DUE)
    if value != 0 and before & _QUEUED == 0:
        store_u32(_queued(s, s.conflated_in), np.uint32(instrument))
        s.conflated_in += ONE
        before |= _QUEUED
    store_u8(at, np.uint8((before & _QUEUED) | np.uint8(value)))


@jit
def admit(state, instrument, count):
    """Whether an update of ``count`` records of ``instrument`` may be sent; otherwise it is conflated and counted.

    Never refuses when the source can be held back: that one asks :func:`has_room` before it reads on.
    """
    s = view(state, STATE)
    if s.hold_back != 0 or (not is_conflating(state, instrument) and has_room(state, count)):
        return True
    set_conflating(state, instrument, 1)
    s.conflations += 1
    return False


@jit
def show_top(state, book):
    """Publish a book's top and state in its cell (read by risk and the monitor)."""
    s = view(state, STATE)
    b = view(book, BOOK)
    cell = s.tops + U64(64) * U64(b.instrument)
    write_top(cell, s.top_scratch, b.bid, b.bid_qty, b.ask, b.ask_qty, b.local_ts, b.state, b.top_id)


@jit
def _put_side(state, book, side, at):
    b = view(book, BOOK)
    cursor = book_walk(book, side, np.int64(0))
    while cursor >= 0:
        price, qty = book_walk_level(book, side, cursor)
        fill(scratch_record(state, at), LEVEL, side, 0, b.instrument, price, qty, b.update_id)
        at += 1
        cursor = book_walk_next(book, side, cursor)
    return at


@jit
def put_reset(state, book):
    """Prepare BOOK_RESET, every level, a newer top if there is one, and the state; returns the record count."""
    b = view(book, BOOK)
    fill(scratch_record(state, 0), BOOK_RESET, 0, 0, b.instrument, np.int64(0), np.int64(0), b.update_id)
    at = _put_side(state, book, ASK, _put_side(state, book, BID, np.int64(1)))
    if at > 1:
        scratch_record(state, at - 1).flags = LAST
    if b.top_id > b.update_id:
        at = put_top(state, book, at)
    return put_state(state, book, at)


@jit
def put_top(state, book, at):
    """Prepare the TOP pair of a book's published top at scratch index ``at``; returns the next index."""
    b = view(book, BOOK)
    fill(scratch_record(state, at), TOP, BID, 0, b.instrument, b.bid, b.bid_qty, b.top_id)
    fill(scratch_record(state, at + 1), TOP, ASK, LAST, b.instrument, b.ask, b.ask_qty, b.top_id)
    return at + 2


@jit
def put_state(state, book, at):
    """Prepare BOOK_STATE at scratch index ``at``; returns the next index."""
    b = view(book, BOOK)
    fill(scratch_record(state, at), BOOK_STATE, 0, np.uint8(b.state), b.instrument, np.int64(0), np.int64(0), ZERO)
    return at + 1


@jit
def put_trade(state, at, instrument, side, price, qty, id_):
    """Prepare a TRADE at scratch index ``at``; returns the next index."""
    fill(scratch_record(state, at), TRADE, side, 0, instrument, price, qty, id_)
    return at + 1


@jit
def put_timer(state, at, tick):
    """Prepare a TIMER at scratch index ``at``; returns the next index."""
    fill(scratch_record(state, at), TIMER, 0, 0, 0, np.int64(0), np.int64(0), tick)
    return at + 1


@jit
def send_reset(state, book, origin_tsc):
    """Send the whole book now if there is room (True), ending conflation; otherwise (False) it stays due."""
    s = view(state, STATE)
    b = view(book, BOOK)
    if not has_room(state, b.n_bids + b.n_asks + RESET_RECORDS):
        return False
    set_conflating(state, b.instrument, 0)
    s.resets += 1
    seal(state, put_reset(state, book), b.exchange_ts, b.local_ts, origin_tsc)
    return flush(state)


@jit
def resume_conflated(state):
    """Send the resets that are due and now have room, the longest due first; True if any was sent."""
    s = view(state, STATE)
    sent = False
    while s.conflated_out != s.conflated_in and s.pending_n == 0:
        instrument = np.int64(load_u32(_queued(s, s.conflated_out)))
        # One that a snapshot has made whole meanwhile only leaves the queue.
        if is_conflating(state, instrument):
            send_reset(state, book_at(s.books, instrument), ZERO)
            if is_conflating(state, instrument):
                break
            sent = True
        at = s.conflating + U64(instrument)
        store_u8(at, np.uint8(load_u8(at) & _DUE))
        s.conflated_out += ONE
    return sent
