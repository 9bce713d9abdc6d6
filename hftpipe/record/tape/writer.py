"""Writes one tape to its segment files: append-only, one write per block, a new file when one is full.

A segment file appears under its name with its header whole; when a segment is full the next one is made before the
footer is written, so that a segment that says "goes on" always has a successor.
"""

import contextlib
import ctypes
import errno
import os
import zlib
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from hftpipe.core.machine.system_clock import steady_ns, wall_ns
from hftpipe.core.schema.records import SCHEMA_VERSION
from hftpipe.record.tape.block import Block
from hftpipe.record.tape.format import (
    BLOCK,
    BLOCK_MAGIC,
    CLOSED_MAGIC,
    FAILED_MAGIC,
    FILE_HEADER,
    FILE_MAGIC,
    FORMAT_VERSION,
    HEADER_BYTES,
    ROLLED_MAGIC,
    seal,
    stage_tag,
)
from hftpipe.record.tape.session import segment_file

SEGMENT_BYTES = 256 << 20
#: The kernel is told to start writing after so many bytes, and to forget what lies further back than that.
WRITEBACK_BYTES, CACHED_BYTES = 1 << 20, 16 << 20
_SYNC_FILE_RANGE_WRITE = 2
_libc = ctypes.CDLL(None)
_libc.sync_file_range.argtypes = (ctypes.c_int, ctypes.c_int64, ctypes.c_int64, ctypes.c_uint)


def write_all(fd: int, data: memoryview) -> None:
    """Write all of ``data``; normally one call of ``os.write``. Raises OSError."""
    done = os.write(fd, data)
    while done < len(data):
        more = os.write(fd, data[done:])
        if more == 0:
            raise OSError(errno.EIO, "nothing was written")
        done += more


@dataclass
class _Segment:
    """A segment file being written.

    Attributes:
        fd: its descriptor.
        size: bytes in it.
        number: blocks in it.
        previous: CRC of its last header.
        started: bytes the kernel was told to write.
    """

    fd: int
    size: int
    number: int
    previous: int
    started: int = 0


def _write_back(file: _Segment) -> None:
    """Have the disk write all the time: dirty pages that pile up make a later write wait for all of them.

    What has been written is not kept in memory either: new pages cost more than those just given back. Both are
    advice; where the file system does not take it, nothing is lost.
    """
    _libc.sync_file_range(file.fd, file.started, file.size - file.started, _SYNC_FILE_RANGE_WRITE)
    start, end = (max(0, at - CACHED_BYTES) for at in (file.started, file.size))
    # An end of 0 would mean the whole file.
    if end:
        with contextlib.suppress(OSError):
            os.posix_fadvise(file.fd, start, end - start, os.POSIX_FADV_DONTNEED)
    file.started = file.size


class TapeWriter:
    """Segment files of one tape.

    Args:
        folder: the session's folder.
        stage: name of the stage, first part of the file names.
        session_id: the number in session.json.
        epoch: the run's number.
        first_record: tape index of the first record.
        segment_bytes: size limit of a file (at least one block is always written).

    Attributes:
        stored: records in whole blocks in the files.
        untaken: records that could not be stored.
        bytes_written: bytes in the files; ``blocks``, ``segments``: how many of them.
        lost: records the tape's ring had dropped when last told.
        error: why writing has stopped, or None.
        slowest_write_ns: longest time one block took.
    """

    def __init__(
        self,
        folder: Path,
        stage: str,
        session_id: int,
        epoch: int,
        first_record: int = 0,
        segment_bytes: int = SEGMENT_BYTES,
    ) -> None:
        self.folder, self.stage, self.session_id, self.epoch = Path(folder), stage, session_id, epoch
        self._segment_bytes, self._first_record = segment_bytes, first_record
        self.stored = self.untaken = self.lost = self.bytes_written = self.blocks = self.segments = 0
        self.slowest_write_ns = 0
        self.error: OSError | None = None
        self._file: _Segment | None = None
        self._is_torn = False

    def open(self) -> None:
        """Make the first segment file. Raises OSError."""
        self._file = self._make_segment(previous=0)

    def _make_segment(self, previous: int) -> _Segment:
        """Make the next segment file; ``previous`` is the CRC of the last header of the one before."""
        header = np.zeros(1, FILE_HEADER)
        header["magic"], header["version"], header["schema"] = FILE_MAGIC, FORMAT_VERSION, SCHEMA_VERSION
        header["segment"], header["stage"] = self.segments + 1, stage_tag(self.stage)
        header["epoch"], header["session"] = self.epoch, self.session_id
        header["first_record"], header["previous"] = self._first_record + self.stored, previous
        crc = seal(header)
        path = self.folder / segment_file(self.stage, self.segments + 1)
        temporary = path.with_suffix(".tmp")
        fd = os.open(temporary, os.O_WRONLY | os.O_CREAT | os.O_TRUNC | os.O_CLOEXEC, 0o644)
        try:
            write_all(fd, header.view(np.uint8).data)
            os.rename(temporary, path)
        except OSError:
            os.close(fd)
            with contextlib.suppress(OSError):
                os.unlink(temporary)
            raise
        self.segments += 1
        self.bytes_written += HEADER_BYTES
        return _Segment(fd, HEADER_BYTES, 0, crc)

    def write(self, block: Block) -> None:
        """Write a block of at least one record. Never raises OSError: see ``error`` and ``untaken``."""
        started_ns, self.lost = steady_ns(), block.lost
        if self.error is None:
            try:
                self._store(block)
            except OSError as error:
                self.error = error
        if self.error is None:
            self.stored += block.count
            self.blocks += 1
        else:
            self.untaken += block.count
        self.slowest_write_ns = max(self.slowest_write_ns, steady_ns() - started_ns)

    def _store(self, block: Block) -> None:
        """Put a block at the end of the file, or of a new one if it would grow too large. Raises OSError."""
        data, file = block.bytes(), self._file
        assert file is not None, "blocks are written between open and close"
        if file.number and file.size + len(data) + HEADER_BYTES > self._segment_bytes:
            file = self._roll(file)
        self._append(file, block.header, data, BLOCK_MAGIC, block.count)
        if file.size - file.started >= WRITEBACK_BYTES:
            _write_back(file)

    def _append(self, file: _Segment, h: np.ndarray, data: memoryview, magic: bytes, count: int) -> None:
        """Write ``data``: header ``h`` and ``count`` records, or a footer alone. Raises OSError."""
        h["magic"], h["count"], h["number"], h["previous"] = magic, count, file.number, file.previous
        # After a failed write the footer says where the stored records end.
        h["first_record"] = self._first_record + self.stored
        h["wall_ns"], h["steady_ns"], h["lost"], h["untaken"] = wall_ns(), steady_ns(), self.lost, self.untaken
        h["payload_crc"] = zlib.crc32(data[HEADER_BYTES:])
        crc = seal(h)
        try:
            write_all(file.fd, data)
        except OSError:
            self._cut(file)
            raise
        file.size += len(data)
        file.number += 1
        file.previous = crc
        self.bytes_written += len(data)

    def _append_footer(self, file: _Segment, magic: bytes) -> None:
        footer = np.zeros(1, BLOCK)
        self._append(file, footer, footer.view(np.uint8).data, magic, 0)

    def _cut(self, file: _Segment) -> None:
        """Take back a partial block: it would look like a killed writer's tail, and the footer needs its room."""
        try:
            os.ftruncate(file.fd, file.size)
            os.lseek(file.fd, file.size, os.SEEK_SET)
        except OSError:
            self._is_torn = True

    def _roll(self, old: _Segment) -> _Segment:
        """Go on in a new segment file."""
        self._file = new = self._make_segment(old.previous)
        try:
            self._append_footer(old, ROLLED_MAGIC)
        finally:
            os.close(old.fd)
        return new

    def close(self, lost: int, left: int = 0) -> None:
        """Write the footer and close the file. Never raises OSError: see ``error``.

        Args:
            lost: records the tape's ring has dropped.
            left: records that were never read from the ring; they count as untaken.
        """
        self.lost = lost
        self.untaken += left
        if self._file is None:
            return
        try:
            if not self._is_torn:
                self._append_footer(self._file, CLOSED_MAGIC if self.error is None else FAILED_MAGIC)
        except OSError as error:
            self.error = self.error or error
        os.close(self._file.fd)
        self._file = None

    def totals(self) -> dict[str, int]:
        """What session.json says of this tape; ``next_record``: tape index after the last record."""
        return {
            "records": self.stored, "next_record": self._first_record + self.stored + self.untaken, "lost": self.lost,
            "untaken": self.untaken, "segments": self.segments, "blocks": self.blocks, "bytes": self.bytes_written,
        }  # fmt: skip
