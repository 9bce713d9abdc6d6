"""Writing entries: compiled, called by the gateway before it sends and before it passes on.

Nothing here waits but :func:`journal_sync`, which is asked for by ``journal.fsync = "every_order"`` alone. A file that is full,
or of yesterday, is left for the next one, which the keeper (:mod:`hftpipe.journal.keeper`) has laid out beside. Where there
is none, the entry is not written, and counted.
"""

import ctypes

import numpy as np

from hftpipe.core.machine.crc32c import crc32c_word
from hftpipe.core.machine.errno import last_errno
from hftpipe.core.machine.jit import jit
from hftpipe.core.machine.mem import (
    ONE,
    U64,
    ZERO,
    load_acquire,
    load_i64,
    load_relaxed,
    msync,
    store_i64,
    store_release,
    view,
)
from hftpipe.core.schema.layout import offset_of
from hftpipe.journal.layout import ENTRY_BYTES, FILE_BEGIN, FILE_END, JOURNAL, RUN_ENDED

_SLOT, _SLOT_SHIFT, _LOW = np.uint64(ENTRY_BYTES), np.uint64(6), np.uint64(0xFFFFFFFF)
_NEXT_AT, _ROLL = np.uint64(offset_of(JOURNAL, "next_at")), np.uint64(offset_of(JOURNAL, "roll"))
_PAGE_MASK = np.uint64(~4095 & (1 << 64) - 1)
_MS_SYNC = np.int32(4)
_KIND, _FLAGS, _SIDE, _STRATEGY = (np.uint64(shift) for shift in (32, 56, 40, 48))

assert hasattr(ctypes.CDLL(None), "msync"), "this system has no msync"


@jit
def entry_crc(seed, seq, at):
    """Checksum of the entry at address ``at`` with full sequence number ``seq``, in a file whose header's is ``seed``."""
    crc = crc32c_word(seed, seq)
    for word in range(1, 8):
        crc = crc32c_word(crc, U64(load_i64(at + (U64(word) << U64(3)))))
    return crc


@jit
def entry_tail(instrument, kind, side, strategy, flags):
    """The last word of an entry."""
    low = U64(instrument) | (U64(kind) << _KIND) | (U64(side) << _SIDE)
    return np.int64(low | (U64(strategy) << _STRATEGY) | (U64(flags) << _FLAGS))


@jit
def _put(j, id_, price, qty, a, b, tail):
    """Write the next entry where there is room for it, its checksum last."""
    at, seq = j.at, j.seq + ONE
    crc = crc32c_word(j.seed, seq)
    crc = crc32c_word(crc, U64(j.now_ns))
    crc = crc32c_word(crc, U64(id_))
    crc = crc32c_word(crc, U64(price))
    crc = crc32c_word(crc, U64(qty))
    crc = crc32c_word(crc, U64(a))
    crc = crc32c_word(crc, U64(b))
    crc = crc32c_word(crc, U64(tail))
    store_i64(at + U64(8), j.now_ns)
    store_i64(at + U64(16), np.int64(id_))
    store_i64(at + U64(24), price)
    store_i64(at + U64(32), qty)
    store_i64(at + U64(40), np.int64(a))
    store_i64(at + U64(48), b)
    store_i64(at + U64(56), tail)
    store_release(at, crc | ((seq & _LOW) << U64(32)))
    j.at, j.seq, j.last_crc = at + _SLOT, seq, crc
    j.entries += 1


@jit
def _sync_to_here(j):
    """Have what was written of this file on the disk: False if the disk failed, once and for all."""
    begin = j.synced & _PAGE_MASK
    if msync(begin, j.at - begin, _MS_SYNC) != 0:
        j.failed = last_errno()
        return False
    j.synced = j.at
    return True


@jit
def journal_end(journal, flags):
    """Write FILE_END, in the slot that is kept for it; it says how many entries of the run could not be written."""
    j = view(journal, JOURNAL)
    tail = entry_tail(ZERO, FILE_END, ZERO, ZERO, flags)
    _put(j, ZERO, np.int64(j.seq), np.int64(0), U64(j.missed), np.int64(0), tail)


@jit
def journal_begin(journal, first_of_run):
    """Write FILE_BEGIN into the file that was laid out next, which becomes the one written to."""
    j = view(journal, JOURNAL)
    j.at, j.end, j.seed, j.synced = j.next_at, j.next_end, j.next_seed, j.next_at
    tail = entry_tail(ZERO, FILE_BEGIN, ZERO, ZERO, ZERO)
    number, epoch = np.int64(j.next_number), np.int64(j.epoch)
    _put(j, j.seq + ONE, number, epoch, j.last_crc, first_of_run, tail)
    j.rolls += 1
    store_release(journal + _NEXT_AT, ZERO)


@jit
def _turn(journal):
    """Go on in the next file: False if there is none yet."""
    if load_acquire(journal + _NEXT_AT) == ZERO:
        return False
    j = view(journal, JOURNAL)
    journal_end(journal, ZERO)
    if j.sync_each != 0:
        _sync_to_here(j)
    j.ended_at, j.roll = j.at, ZERO
    journal_begin(journal, np.int64(0))
    return True


@jit
def journal_append(journal, id_, price, qty, a, b, tail):
    """Write an entry (JOURNAL at address ``journal``): False, and counted, if there is no room.

    Args:
        id_, a: uint64; price, qty, b, tail: int64; tail: as :func:`entry_tail`.
    """
    j = view(journal, JOURNAL)
    if (j.at >= j.end or load_relaxed(journal + _ROLL) != ZERO) and not _turn(journal) and j.at >= j.end:
        j.missed += 1
        return False
    _put(j, id_, price, qty, a, b, tail)
    return True


@jit
def journal_withdraw(journal):
    """Take the last entry back: what it announced was not done. Nothing may have been written since."""
    j = view(journal, JOURNAL)
    j.at -= _SLOT
    j.seq -= ONE
    for word in range(8):
        store_i64(j.at + (U64(word) << U64(3)), np.int64(0))
    j.last_crc = U64(load_i64(j.at - _SLOT)) & _LOW
    j.synced = min(j.synced, j.at)
    j.entries -= 1
    j.withdrawn += 1


@jit
def journal_takes_orders(journal):
    """Whether a new order may be sent: its disk has not failed, and cancels and reports have room behind it."""
    j = view(journal, JOURNAL)
    room = np.int64(j.end - j.at) >> np.int64(6)
    if room <= j.reserve and load_acquire(journal + _NEXT_AT) != ZERO:
        room += np.int64((j.next_end - j.next_at) >> _SLOT_SHIFT) - np.int64(1)
    return j.failed == 0 and room > j.reserve


@jit
def journal_sync(journal):
    """Have every entry so far on the disk: False if the disk failed."""
    j = view(journal, JOURNAL)
    return j.failed == 0 and _sync_to_here(j)


@jit
def journal_close(journal):
    """The run has ended in order: no entry follows."""
    journal_end(journal, U64(RUN_ENDED))
