"""Layout of recorded files: checked 64-byte headers in a chain, and the walk that finds the valid prefix.

A tape segment file, everything on multiples of 64 bytes::

    | FILE_HEADER | BLOCK | n RECORDs | BLOCK | n RECORDs | ... | BLOCK as footer |

Every header carries the CRC of itself and the CRC of the header before it, every BLOCK also that of its payload: the
headers are a chain from the file header on, which a block of another file, a swapped, repeated or missing block
breaks. There is no byte outside of a header or a payload, so none can change unnoticed. A raw capture
(:mod:`hftpipe.capture.raw`) is the same chain with other headers.

What the walk makes of what it finds, for a file that was not closed:

===================================================== ========================================================
found                                                 meaning
===================================================== ========================================================
damaged or incomplete block, no intact header after   torn tail of a killed writer: cut there
damaged or incomplete block, an intact header after   corruption inside the file
intact header that does not continue the chain        corruption (spliced, swapped, repeated, missing block)
bytes after a footer                                  corruption
===================================================== ========================================================
"""

import hashlib
import mmap
import os
import zlib
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path
from typing import NamedTuple

import numpy as np

from hftpipe.core.schema.records import RECORD_BYTES
from hftpipe.core.schema.refusal import Refusal

FORMAT_VERSION = 1
HEADER_BYTES = 64
_CRC_AT = 60

FILE_MAGIC = b"HFTTAPE\x01"
#: Magic of a block, and of the three footers: the tape goes on in the next segment; closed; closed after a failed write.
BLOCK_MAGIC, ROLLED_MAGIC, CLOSED_MAGIC, FAILED_MAGIC = b"\xf5HBk", b"\xf5HRl", b"\xf5HCl", b"\xf5HFl"
FOOTERS = (ROLLED_MAGIC, CLOSED_MAGIC, FAILED_MAGIC)

#: ``session`` is the number in session.json; ``first_record`` the tape index of the first record; ``previous`` the CRC
#: of the last block header of the segment before (0 in segment 1).
FILE_HEADER = np.dtype(
    [
        ("magic", "V8"), ("version", "u2"), ("schema", "u2"), ("segment", "u4"), ("stage", "S16"),
        ("epoch", "u8"), ("first_record", "u8"), ("session", "u8"), ("previous", "u4"), ("crc", "u4"),
    ]
)  # fmt: skip


def stage_tag(stage: str) -> bytes:
    """What a file header says of its stage: the name, or the digest of one that is too long for it."""
    name = stage.encode()
    size = FILE_HEADER["stage"].itemsize
    return name if len(name) <= size else hashlib.blake2b(name, digest_size=size // 2).hexdigest().encode()


#: ``count`` records follow, from tape index ``first_record`` on. ``lost``: what the tape's ring had dropped when this
#: was written; ``untaken``: what the recorder had read but could not store. In a footer ``count`` is 0 and
#: ``first_record`` the index after the last record. ``number`` counts the blocks of the file from 0.
BLOCK = np.dtype(
    [
        ("magic", "V4"), ("count", "u4"), ("first_record", "u8"), ("wall_ns", "i8"), ("steady_ns", "i8"),
        ("lost", "u8"), ("untaken", "u8"), ("payload_crc", "u4"), ("previous", "u4"), ("number", "u4"), ("crc", "u4"),
    ]
)  # fmt: skip

# What is wrong with a place in a file.
TORN, CORRUPT, MISSING = "torn tail", "corrupt", "missing"


class RecordError(Refusal, ValueError):
    """A recording cannot be made or read (on); names the file, the place and the reason."""


class Problem(NamedTuple):
    """One thing wrong with a recording.

    Attributes:
        kind: TORN (cut at the last whole block), CORRUPT or MISSING.
        file: path of the file.
        block: number of the block in the file; -1 for the file header or the file as a whole.
        offset: byte offset of that block's (or header's) start.
        first: index of the first record that is not readable because of it; -1 if unknown.
        last: index of the last such record; -1 if unknown (everything to the end).
        what: the reason, for people.
    """

    kind: str
    file: Path
    block: int
    offset: int
    first: int
    last: int
    what: str

    def __str__(self) -> str:
        place = f"block {self.block}, byte {self.offset}" if self.block >= 0 else f"byte {self.offset}"
        upto = str(self.last) if self.last >= 0 else "the end"
        records = f", records {self.first} to {upto}" if self.first >= 0 else ""
        return f"{self.file}: {self.kind} at {place}{records}: {self.what}"


def seal(header: np.ndarray) -> int:
    """Write the CRC of a header (array of length 1) into it, and return it."""
    crc = zlib.crc32(header.view(np.uint8)[:_CRC_AT].data)
    header["crc"] = crc
    return crc


def is_intact(raw: bytes) -> bool:
    """Whether 64 bytes are a header that has not changed since :func:`seal`."""
    return len(raw) == HEADER_BYTES and zlib.crc32(raw[:_CRC_AT]) == int.from_bytes(raw[_CRC_AT:], "little")


class Chain(NamedTuple):
    """How a kind of file is chained.

    Attributes:
        block: dtype of its block headers (with magic, first_record, payload_crc, previous, number).
        block_magic: magic of blocks.
        footers: magics of footers.
        payload_bytes: length of the payload that follows a block header.
        records: how many records a block holds.
    """

    block: np.dtype
    block_magic: bytes
    footers: tuple[bytes, ...]
    payload_bytes: Callable[[np.void], int]
    records: Callable[[np.void], int]


TAPE = Chain(BLOCK, BLOCK_MAGIC, FOOTERS, lambda h: int(h["count"]) * RECORD_BYTES, lambda h: int(h["count"]))


class Damage(NamedTuple):
    """Where a walk stopped before the end of the file.

    Attributes:
        offset: of the damaged block.
        is_inner: an intact header comes later, or the place cannot be the tail of a killed writer.
        next_record: index in the first intact header that comes later; -1 if there is none.
        what: the reason.
    """

    offset: int
    is_inner: bool
    next_record: int
    what: str


@dataclass
class Walk:
    """The valid prefix of one file.

    Attributes:
        blocks: (offset of the header, header) of each whole block.
        end: where the prefix ends, bytes.
        next_record: index after the last record.
        previous: CRC of the last block's header (of the file header when there is none).
        footer: the footer, if the file has one.
        damage: what ended the prefix, or None at the end of the file.
    """

    end: int
    next_record: int
    previous: int
    blocks: list[tuple[int, np.void]] = field(default_factory=list)
    footer: np.void | None = None
    damage: Damage | None = None


class MappedFile:
    """A file read through its mapping: ``size``, slices as memoryview, numpy views, search.

    Raises:
        RecordError: the file cannot be opened.
    """

    def __init__(self, path: Path) -> None:
        self.path = path
        try:
            fd = os.open(path, os.O_RDONLY | os.O_CLOEXEC)
            try:
                self.size = os.fstat(fd).st_size
                self._map = mmap.mmap(fd, self.size, access=mmap.ACCESS_READ) if self.size else b""
            finally:
                os.close(fd)
        except OSError as error:
            raise RecordError(f"{path}: cannot be read: {error.strerror}") from error
        self._bytes = memoryview(self._map)

    def part(self, start: int, count: int) -> memoryview:
        """Up to ``count`` bytes from ``start`` on."""
        return self._bytes[start : start + count]

    def header(self, offset: int, dtype: np.dtype) -> np.void:
        """A copy of the header at ``offset`` (which must lie inside the file)."""
        header: np.void = np.frombuffer(bytes(self.part(offset, HEADER_BYTES)), dtype)[0]
        return header

    def array(self, offset: int, dtype: np.dtype, count: int) -> np.ndarray:
        """Read-only view of ``count`` items of ``dtype`` at ``offset``."""
        return np.frombuffer(self._map, dtype, count, offset)

    def find(self, pattern: bytes, start: int) -> int:
        """Offset of ``pattern`` at or after ``start``; -1 if there is none."""
        return self._map.find(pattern, start)


def _check_header(file: MappedFile, chain: Chain, offset: int) -> str:
    raw = bytes(file.part(offset, HEADER_BYTES))
    if len(raw) < HEADER_BYTES:
        return f"header cut off after {len(raw)} bytes"
    if raw[:4] not in (chain.block_magic, *chain.footers) or not is_intact(raw):
        return "damaged header (checksum)"
    return ""


def _check_order(header: np.void, chain: Chain, walk: Walk) -> str:
    """Whether an intact header continues the chain; otherwise why not."""
    if int(header["previous"]) != walk.previous:
        return "does not continue the chain (spliced, swapped, repeated or missing block)"
    if int(header["number"]) != len(walk.blocks):
        return f"is block {int(header['number'])}, expected {len(walk.blocks)}"
    if int(header["first_record"]) != walk.next_record:
        return f"starts at record {int(header['first_record'])}, expected {walk.next_record}"
    return ""


def _check_payload(file: MappedFile, header: np.void, offset: int, length: int) -> str:
    payload = file.part(offset + HEADER_BYTES, length)
    if len(payload) < length:
        return f"payload cut off after {len(payload)} of {length} bytes"
    if zlib.crc32(payload) != int(header["payload_crc"]):
        return "damaged payload (checksum)"
    return ""


def _intact_after(file: MappedFile, chain: Chain, offset: int) -> int:
    """Record index in the first intact header after ``offset``; -1 if there is none."""
    found = []
    for magic in (chain.block_magic, *chain.footers):
        at = file.find(magic, offset + 1)
        while at >= 0 and not is_intact(bytes(file.part(at, HEADER_BYTES))):
            at = file.find(magic, at + 1)
        found += [at] if at >= 0 else []
    return int(file.header(min(found), chain.block)["first_record"]) if found else -1


def walk(file: MappedFile, chain: Chain, first_record: int, previous: int) -> Walk:
    """Follow the chain from behind the file header to the end of the file or the first damage.

    Args:
        first_record: index of the first record of the file.
        previous: CRC of the file header.
    """
    result = Walk(HEADER_BYTES, first_record, previous)
    while result.end < file.size and result.damage is None:
        at = result.end
        what = _check_header(file, chain, at)
        if what:
            result.damage = _tail_or_inner(file, chain, at, what)
            continue
        header = file.header(at, chain.block)
        length = chain.payload_bytes(header)
        what = _check_order(header, chain, result)
        if what:
            result.damage = Damage(at, True, int(header["first_record"]), what)
        elif bytes(header["magic"]) in chain.footers:
            _end(result, file, header, at)
            break
        elif what := _check_payload(file, header, at, length):
            result.damage = _tail_or_inner(file, chain, at, what)
        else:
            result.blocks.append((at, header))
            result.end, result.previous = at + HEADER_BYTES + length, int(header["crc"])
            result.next_record += chain.records(header)
    return result


def _tail_or_inner(file: MappedFile, chain: Chain, offset: int, what: str) -> Damage:
    after = _intact_after(file, chain, offset)
    return Damage(offset, after >= 0, after, what)


def _end(result: Walk, file: MappedFile, footer: np.void, offset: int) -> None:
    result.footer, result.end = footer, offset + HEADER_BYTES
    if file.size > result.end:
        result.damage = Damage(result.end, True, -1, f"{file.size - result.end} bytes after the footer")
