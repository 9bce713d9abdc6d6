"""Writes one tape to its segment files: append-only, one write per block, a new file when one is full.

The block under way stands in memory with its header in front, so that a block goes to the file in one ``os.write``.
A segment file appears under its name with its header whole; when a segment is full the next one is made before the
footer is written, so that a segment that says "goes on" always has a successor.
"""

import contextlib
import errno
import mmap
import os
import zlib
from pathlib import Path

import numpy as np

from hftpipe.core.clock import steady_ns, wall_ns
from hftpipe.core.records import RECORD, RECORD_BYTES, SCHEMA_VERSION
from hftpipe.record.format import (
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
)
from hftpipe.record.session import segment_file

BLOCK_RECORDS = 4096
SEGMENT_BYTES = 256 << 20


def write_all(fd: int, data: memoryview) -> None:
    """Write all of ``data``; normally one call of ``os.write``. Raises OSError."""
    done = os.write(fd, data)
    while done < len(data):
        more = os.write(fd, data[done:])
        if more == 0:
            raise OSError(errno.EIO, "nothing was written")
        done += more


class TapeWriter:
    """Segment files of one tape.

    Args:
        folder: the session's folder.
        stage: name of the stage, first part of the file names.
        session_id: the number in session.json.
        epoch: the run's number.
        first_record: tape index of the first record.
        segment_bytes: size limit of a file (at least one block is always written).
        block_records: largest number of records in a block.

    Attributes:
        pending: records in the block under way.
        next_record: tape index after the last record added.
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
        block_records: int = BLOCK_RECORDS,
    ) -> None:
        self.folder, self.stage, self.session_id, self.epoch = Path(folder), stage, session_id, epoch
        self._segment_bytes, self._block_records = segment_bytes, block_records
        size = HEADER_BYTES + block_records * RECORD_BYTES
        # Anonymous pages, touched now: aligned, and no page fault while recording.
        self._buffer = np.frombuffer(mmap.mmap(-1, size), np.uint8)
        self._buffer[:] = 0
        self._view = memoryview(self._buffer)
        self._header = self._buffer[:HEADER_BYTES].view(BLOCK)
        self._payload = self._buffer.ctypes.data + HEADER_BYTES
        self._first_record = first_record
        self.pending, self.next_record, self._block_first = 0, first_record, first_record
        self.stored = self.untaken = self.lost = self.bytes_written = self.blocks = self.segments = 0
        self.slowest_write_ns = 0
        self.error: OSError | None = None
        self._fd, self._size, self._number, self._previous, self._pending_since_ns = -1, 0, 0, 0, 0
        self._is_torn = False

    def open(self) -> None:
        """Make the first segment file. Raises OSError."""
        self._open_segment()

    def _open_segment(self) -> None:
        """Make the next segment file and write to it from now on; the one before stays open in ``_fd`` on failure."""
        header = np.zeros(1, FILE_HEADER)
        header["magic"], header["version"], header["schema"] = FILE_MAGIC, FORMAT_VERSION, SCHEMA_VERSION
        header["segment"], header["stage"] = self.segments + 1, self.stage.encode()
        header["epoch"], header["session"] = self.epoch, self.session_id
        header["first_record"], header["previous"] = self._block_first, self._previous
        crc = seal(header)
        path = self.folder / segment_file(self.stage, self.segments + 1)
        temporary = path.with_suffix(".tmp")
        fd = os.open(temporary, os.O_WRONLY | os.O_CREAT | os.O_TRUNC | os.O_CLOEXEC, 0o644)
        try:
            write_all(fd, memoryview(header.view(np.uint8)))
            os.rename(temporary, path)
        except OSError:
            os.close(fd)
            with contextlib.suppress(OSError):
                os.unlink(temporary)
            raise
        self.segments += 1
        self.bytes_written += HEADER_BYTES
        self._fd, self._size, self._number, self._previous = fd, HEADER_BYTES, 0, crc

    @property
    def target(self) -> np.uint64:
        """Address where the next record of the block under way goes."""
        return np.uint64(self._payload + self.pending * RECORD_BYTES)

    @property
    def room(self) -> int:
        """Records that still fit into the block under way."""
        return self._block_records - self.pending

    def added(self, count: int, now_ns: int) -> None:
        """``count`` records (at most ``room``) have been put at ``target``; ``now_ns`` is monotonic time."""
        if count and not self.pending:
            self._pending_since_ns = now_ns
        self.pending += count
        self.next_record += count

    def age_ns(self, now_ns: int) -> int:
        """Age of the oldest record that is not in the file yet; 0 when there is none."""
        return now_ns - self._pending_since_ns if self.pending else 0

    def append(self, records: np.ndarray) -> None:
        """Add an array of RECORDs, writing blocks as they fill."""
        at = 0
        while at < len(records):
            part = records[at : at + self.room]
            start = HEADER_BYTES + self.pending * RECORD_BYTES
            self._buffer[start : start + len(part) * RECORD_BYTES].view(RECORD)[:] = part
            self.added(len(part), steady_ns())
            at += len(part)
            if not self.room:
                self.flush(0)

    def flush(self, lost: int) -> None:
        """Write the block under way, if it holds anything. Never raises OSError: see ``error`` and ``untaken``.

        Args:
            lost: records the tape's ring has dropped so far.
        """
        self.lost = lost
        if not self.pending:
            return
        length = HEADER_BYTES + self.pending * RECORD_BYTES
        if self.error is None:
            try:
                if self._size + length + HEADER_BYTES > self._segment_bytes and self._number:
                    self._roll()
                self._write_block(BLOCK_MAGIC, self.pending)
            except OSError as error:
                self.error = error
        if self.error is None:
            self.stored += self.pending
            self.blocks += 1
        else:
            self.untaken += self.pending
        self._block_first, self.pending = self.next_record, 0

    def _write_block(self, magic: bytes, count: int) -> None:
        """Write a block of ``count`` records, or a footer. Raises OSError."""
        h = self._header
        length = HEADER_BYTES + count * RECORD_BYTES
        started_ns = steady_ns()
        h["magic"], h["count"], h["first_record"], h["number"] = magic, count, self._block_first, self._number
        h["wall_ns"], h["steady_ns"], h["lost"], h["untaken"] = wall_ns(), started_ns, self.lost, self.untaken
        h["payload_crc"], h["previous"] = zlib.crc32(self._view[HEADER_BYTES:length]), self._previous
        crc = seal(h)
        try:
            write_all(self._fd, self._view[:length])
        except OSError:
            self._cut()
            raise
        self._size += length
        self._number += 1
        self._previous = crc
        self.bytes_written += length
        self.slowest_write_ns = max(self.slowest_write_ns, steady_ns() - started_ns)

    def _cut(self) -> None:
        """Take back a partial block: it would look like a killed writer's tail, and the footer needs its room."""
        try:
            os.ftruncate(self._fd, self._size)
            os.lseek(self._fd, self._size, os.SEEK_SET)
        except OSError:
            self._is_torn = True

    def _roll(self) -> None:
        """Go on in a new segment file."""
        old, size, number, previous = self._fd, self._size, self._number, self._previous
        self._open_segment()
        new, fresh = self._fd, (self._size, self._number, self._previous)
        self._fd, self._size, self._number, self._previous = old, size, number, previous
        try:
            self._write_block(ROLLED_MAGIC, 0)
        finally:
            os.close(old)
            self._fd, (self._size, self._number, self._previous) = new, fresh

    def close(self, lost: int, left: int = 0) -> None:
        """Write what is pending and the footer, and close the file. Never raises OSError: see ``error``.

        Args:
            lost: records the tape's ring has dropped.
            left: records that were never read from the ring; they count as untaken.
        """
        self.flush(lost)
        self.untaken += left
        if self._fd < 0:
            return
        # After a failed write the footer says where the stored records end.
        self._block_first = self._first_record + self.stored
        magic = CLOSED_MAGIC if self.error is None else FAILED_MAGIC
        try:
            if not self._is_torn:
                self._write_block(magic, 0)
        except OSError as error:
            self.error = self.error or error
        os.close(self._fd)
        self._fd = -1

    def totals(self) -> dict[str, int]:
        """What session.json says of this tape."""
        return {
            "records": self.stored, "next_record": self.next_record, "lost": self.lost, "untaken": self.untaken,
            "segments": self.segments, "blocks": self.blocks, "bytes": self.bytes_written,
        }  # fmt: skip
