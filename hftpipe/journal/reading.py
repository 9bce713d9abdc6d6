"""Reading a journal file, and what is made of what it holds.

What the walk finds, and what a start does with it (a start makes new files only; it writes to none of these but to cut one):

======================================================= ============================ ====================================
found                                                   the journal's last file      a file that another one follows
======================================================= ============================ ====================================
FILE_END, and nothing behind it                         kept                         kept
no FILE_END, the file ends with an entry                kept                         kept, if the next one continues it
no FILE_END, zeros behind the last entry (a crash)      cut: only zeros go           cut, if the next one continues it
damaged or incomplete bytes, no entry behind them       cut there (dropped where no  refused
                                                        entry is before them), said
damaged bytes with an entry behind them                 refused                      refused
an entry out of sequence (swapped, doubled, missing)    refused                      refused
anything behind FILE_END                                refused                      refused
no entry at all                                         dropped, it was never begun  refused
a damaged header, or another version's                  refused                      refused
======================================================= ============================ ====================================

An entry of another file or another run is damage: its checksum begins with another number.
"""

from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
import orjson
import zstandard

from hftpipe.core.machine.jit import jit
from hftpipe.core.machine.mem import U64, load_i64
from hftpipe.core.schema.layout import aligned
from hftpipe.journal.append import entry_crc
from hftpipe.journal.checksum import crc32c
from hftpipe.journal.files import PACKED, JournalError
from hftpipe.journal.layout import (
    ENTRY,
    ENTRY_BYTES,
    FILE_BEGIN,
    FILE_END,
    HEADER,
    HEADER_BYTES,
    MAGIC,
    SCHEMA,
    VERSION,
)

#: What is found behind the last valid entry.
ENDED, BARE, ZEROS, TORN, INNER, DISORDER, BEHIND_END, EMPTY = range(8)
FOUND = {
    ENDED: "ended in order", BARE: "ends with an entry", ZEROS: "not ended", TORN: "damaged or incomplete bytes, and no entry behind them",
    INNER: "damaged bytes with an entry behind them", DISORDER: "an entry out of sequence (swapped, doubled or missing)",
    BEHIND_END: "bytes behind its end", EMPTY: "never begun",
}  # fmt: skip
KEEP, CUT, DROP, REFUSE = "kept", "cut", "dropped", "refused"
#: The table above: (for the last file, for one that another follows).
DECISIONS = {
    ENDED: (KEEP, KEEP), BARE: (KEEP, KEEP), ZEROS: (CUT, CUT), TORN: (CUT, REFUSE), INNER: (REFUSE, REFUSE),
    DISORDER: (REFUSE, REFUSE), BEHIND_END: (REFUSE, REFUSE), EMPTY: (DROP, REFUSE),
}  # fmt: skip
#: As many as a journal may ever have.
_MOST_ENTRIES = 1 << 36
_SHIFT, _LOW, _HIGH = np.uint64(6), np.uint64(0xFFFFFFFF), np.uint64(0xFFFFFFFF << 32)


@jit
def _stored_seq(at, near):
    """The full sequence number of the entry at ``at``, which is nearest to ``near``."""
    low = U64(load_i64(at)) >> U64(32)
    seq = (near & _HIGH) | low
    if seq + U64(1 << 31) < near:
        return seq + U64(1 << 32)
    return seq - U64(1 << 32) if seq > near + U64(1 << 31) else seq


@jit
def _is_intact(at, seed, seq):
    return (U64(load_i64(at)) & _LOW) == entry_crc(seed, seq, at)


@jit
def walk(entries, count, seed, first_seq):
    """How many of the entries from address ``entries`` on are valid and in sequence."""
    for index in range(count):
        at, seq = entries + (U64(index) << _SHIFT), first_seq + U64(index)
        if ((U64(load_i64(at)) >> U64(32)) != (seq & _LOW)) or not _is_intact(at, seed, seq):
            return np.int64(index)
    return np.int64(count)


@jit
def next_intact(entries, first, count, seed, near):
    """The first entry from number ``first`` on that is intact, whatever its place; -1: none."""
    for index in range(first, count):
        at = entries + (U64(index) << _SHIFT)
        if load_i64(at) != 0 and _is_intact(at, seed, _stored_seq(at, near)):
            return np.int64(index)
    return np.int64(-1)


@dataclass
class JournalFile:
    """A file as it was found.

    Attributes:
        path: its place; header: HEADER (a record); meta: the JSON of names.
        entries: the valid ones (ENTRY array), from FILE_BEGIN on, in sequence.
        found: what lies behind them (a key of FOUND), at byte ``offset``, ``loose`` bytes that are not zero.
        size: of the whole file.
    """

    path: Path
    header: np.void
    meta: dict[str, Any]
    entries: np.ndarray
    found: int
    offset: int
    size: int
    loose: int = 0
    intact_at: int = -1
    memory: np.ndarray = field(default_factory=lambda: np.zeros(0, np.uint8), repr=False)

    @property
    def first_seq(self) -> int:
        """Sequence number of the first entry; 0 if there is none."""
        return int(self.entries["id"][0]) if len(self.entries) else 0

    @property
    def last_seq(self) -> int:
        """Sequence number of the last entry."""
        return self.first_seq + len(self.entries) - 1 if len(self.entries) else 0

    @property
    def last_crc(self) -> int:
        """Checksum of the last entry."""
        return int(self.entries["crc"][-1]) if len(self.entries) else 0

    @property
    def number(self) -> int:
        """Its number in the journal."""
        return int(self.header["number"])

    @property
    def epoch(self) -> int:
        """The run that wrote it."""
        return int(self.header["epoch"])

    @property
    def is_damaged(self) -> bool:
        """Whether a start would refuse it, or cut more of it than zeros."""
        return self.found == TORN or DECISIONS[self.found][0] == REFUSE

    def said(self) -> str:
        """What was found, for people."""
        where = f"{self.path}: byte {self.offset}: {FOUND[self.found]}"
        return where if self.intact_at < 0 else f"{where} (the next one at byte {self.intact_at})"


def _bytes_of(path: Path) -> np.ndarray:
    """A file's content (unpacked) on a cache line.

    Raises:
        JournalError: it cannot be read.
    """
    try:
        raw = path.read_bytes()
        if path.name.endswith(PACKED):
            with zstandard.ZstdDecompressor().stream_reader(raw) as stream:
                raw = stream.read()
    except (OSError, zstandard.ZstdError) as error:
        raise JournalError(f"{path}: cannot be read: {error}") from error
    memory = aligned(max(len(raw), 1))[: len(raw)]
    memory[:] = np.frombuffer(raw, np.uint8)
    return memory


def _head_of(path: Path, memory: np.ndarray) -> tuple[np.void, dict[str, Any]]:
    if len(memory) < HEADER_BYTES:
        raise JournalError(f"{path}: byte 0: the header is cut off after {len(memory)} bytes")
    raw = memory[:HEADER_BYTES].tobytes()
    header = np.frombuffer(raw, HEADER)[0]
    if bytes(header["magic"]) != MAGIC or crc32c(raw[:-4]) != int(header["crc"]):
        raise JournalError(f"{path}: byte 0: damaged header; is it a journal?")
    if (int(header["version"]), int(header["schema"])) != (VERSION, SCHEMA):
        made = f"version {int(header['version'])}, records of schema {int(header['schema'])}"
        raise JournalError(f"{path}: {made}; this build reads version {VERSION}, schema {SCHEMA}")
    text = memory[HEADER_BYTES : HEADER_BYTES + int(header["meta_bytes"])].tobytes()
    if len(text) < int(header["meta_bytes"]) or crc32c(text) != int(header["meta_crc"]):
        raise JournalError(f"{path}: byte {HEADER_BYTES}: damaged names (checksum)")
    return header, orjson.loads(text)


def read_file(path: Path) -> JournalFile:
    """Read a file and walk it as far as it is valid.

    Raises:
        JournalError: it cannot be read, or its header is damaged or another version's.
    """
    memory = _bytes_of(path)
    header, meta = _head_of(path, memory)
    start = int(header["head_bytes"])
    body = memory[start:]
    count = len(body) // ENTRY_BYTES
    entries = body[: count * ENTRY_BYTES].view(ENTRY)
    address, seed = np.uint64(body.ctypes.data), np.uint64(header["crc"])
    first = int(entries["id"][0]) if count and entries["kind"][0] == FILE_BEGIN else 0
    valid = int(walk(address, np.int64(count), seed, np.uint64(first))) if first else 0
    ends = np.flatnonzero(entries["kind"][:valid] == FILE_END)
    valid = int(ends[0]) + 1 if len(ends) else valid
    rest = body[valid * ENTRY_BYTES :]
    found, intact_at = _found(entries, valid, rest, bool(len(ends)), address, seed, first)
    return JournalFile(
        path, header, meta, entries[:valid], found, start + valid * ENTRY_BYTES, len(memory),
        loose=int(np.count_nonzero(rest)), intact_at=start + intact_at * ENTRY_BYTES if intact_at >= 0 else -1, memory=memory,
    )  # fmt: skip


def read_whole(path: Path) -> JournalFile:
    """:func:`read_file` of a file that may have been packed since its name was read."""
    try:
        return read_file(path)
    except JournalError:
        packed = path.with_name(path.name + ".zst")
        if packed.exists():
            return read_file(packed)
        raise


def _found(
    entries: np.ndarray, valid: int, rest: np.ndarray, is_ended: bool, address: np.uint64, seed: np.uint64, first: int
) -> tuple[int, int]:
    """A key of FOUND, and the number of the intact entry behind the damage (-1: none)."""
    if is_ended:
        return (BEHIND_END if rest.any() else ENDED), -1
    if not len(rest):
        return (BARE if valid else EMPTY), -1
    if not rest.any():
        return (ZEROS if valid else EMPTY), -1
    # Without its first entry a file does not say where in the sequence it is.
    for near in (first + valid,) if valid else range(0, _MOST_ENTRIES, 1 << 32):
        found = int(next_intact(address, np.int64(valid), np.int64(len(entries)), seed, np.uint64(near)))
        if found == valid:
            return DISORDER, -1
        if found >= 0:
            return INNER, found
    return TORN, -1
