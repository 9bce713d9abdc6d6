"""Raw captures: frames, datagrams or lines exactly as received, with their receive time and source, compressed.

The same chain of checked headers as a tape (:mod:`hftpipe.record.tape.format`); the payload of a block is one zstd frame,
padded with zeros to a multiple of 64. Inside, the frames stand one after the other: receive time (i64 ns), length of
the source tag (u8), length of the data (u32), then both. A block can be read without any other.

The receiver only appends to memory; a thread compresses and writes. When the disk cannot keep up, whole blocks are
dropped and counted, and the receiver goes on.
"""

import logging
import os
import queue
import struct
import threading
import zlib
from collections.abc import Iterator
from pathlib import Path
from typing import NamedTuple

import numpy as np
import zstandard

from hftpipe.core.machine.system_clock import steady_ns, wall_ns
from hftpipe.core.schema.layout import whole
from hftpipe.log import event
from hftpipe.record.tape.format import (
    CORRUPT,
    FORMAT_VERSION,
    HEADER_BYTES,
    TORN,
    Chain,
    MappedFile,
    Problem,
    RecordError,
    is_intact,
    seal,
    walk,
)
from hftpipe.record.tape.writer import write_all

LOG = logging.getLogger("hftpipe.raw")
BLOCK_BYTES = 1 << 20
FLUSH_S = 0.2
QUEUED_BLOCKS = 16
MAX_FRAME_BYTES = 64 << 20
LEVEL = 3

RAW_MAGIC = b"HFTRAWC\x01"
RAW_BLOCK_MAGIC, RAW_CLOSED_MAGIC, RAW_FAILED_MAGIC = b"\xf5HWk", b"\xf5HWc", b"\xf5HWf"
RAW_HEADER = np.dtype(
    [
        ("magic", "V8"), ("version", "u4"), ("_pad", "u4", 7), ("start_wall_ns", "i8"), ("session", "u8"),
        ("_reserved", "u4"), ("crc", "u4"),
    ]
)  # fmt: skip
#: ``count`` frames of ``raw_bytes`` as a zstd frame of ``stored_bytes``; ``first_record`` numbers frames from 0, and
#: ``dropped`` counts the frames dropped so far.
RAW_BLOCK = np.dtype(
    [
        ("magic", "V4"), ("count", "u4"), ("stored_bytes", "u4"), ("raw_bytes", "u4"), ("first_record", "u8"),
        ("first_ns", "i8"), ("last_ns", "i8"), ("dropped", "u8"), ("payload_crc", "u4"), ("previous", "u4"),
        ("number", "u4"), ("crc", "u4"),
    ]
)  # fmt: skip
_FRAME = struct.Struct("<qBI")


RAW = Chain(
    RAW_BLOCK,
    RAW_BLOCK_MAGIC,
    (RAW_CLOSED_MAGIC, RAW_FAILED_MAGIC),
    lambda h: whole(int(h["stored_bytes"]), HEADER_BYTES),
    lambda h: int(h["count"]),
)


class RawFrame(NamedTuple):
    """One frame: receive time (ns), source tag, the bytes as received."""

    receive_ns: int
    source: str
    data: bytes


class _Batch:
    """Frames of one block under way."""

    def __init__(self) -> None:
        self.data, self.count, self.first_ns, self.last_ns = bytearray(), 0, 0, 0

    def add(self, receive_ns: int, source: bytes, data: bytes | bytearray | memoryview) -> None:
        if not self.count:
            self.first_ns = receive_ns
        self.data += _FRAME.pack(receive_ns, len(source), len(data))
        self.data += source
        self.data += data
        self.count, self.last_ns = self.count + 1, receive_ns


class RawWriter:
    """Writes a raw capture.

    Args:
        path: the file; made new.
        block_bytes: uncompressed size at which a block is handed to the writing thread.

    Attributes:
        frames: frames in the file; ``bytes_written``: its size.
        dropped: frames dropped because the disk could not keep up or failed.
        error: the write that failed, after which everything is dropped, or None.

    Raises:
        RecordError: the file exists or cannot be made.
    """

    def __init__(self, path: str | Path, block_bytes: int = BLOCK_BYTES) -> None:
        self.path, self._block_bytes = Path(path), block_bytes
        try:
            self._fd = os.open(self.path, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC, 0o644)
            self._previous = self._write_header()
        except OSError as error:
            raise RecordError(f"{self.path}: cannot be written: {error.strerror}") from error
        self.frames = self.dropped = self._number = 0
        self.error: OSError | None = None
        self._batch, self._lock = _Batch(), threading.Lock()
        self._queue: queue.Queue[_Batch | None] = queue.Queue(QUEUED_BLOCKS)
        self._is_closed = False
        self._thread = threading.Thread(target=self._work, name="raw capture", daemon=True)
        self._thread.start()

    def _write_header(self) -> int:
        header = np.zeros(1, RAW_HEADER)
        header["magic"], header["version"], header["start_wall_ns"] = RAW_MAGIC, FORMAT_VERSION, wall_ns()
        header["session"] = int.from_bytes(os.urandom(8), "little")
        crc = seal(header)
        write_all(self._fd, header.view(np.uint8).data)
        self.bytes_written = HEADER_BYTES
        return crc

    def append(self, receive_ns: int, source: str, data: bytes | bytearray | memoryview) -> None:
        """Keep one frame; never waits for the disk.

        Raises:
            RecordError: the tag is longer than 255 bytes, the frame than 64 MiB, or the capture is closed.
        """
        tag = source.encode()
        if len(tag) > 255 or len(data) > MAX_FRAME_BYTES:
            raise RecordError(f"{self.path}: tag of {len(tag)} or frame of {len(data)} bytes is too long")
        with self._lock:
            if self._is_closed:
                raise RecordError(f"{self.path}: is closed")
            self._batch.add(receive_ns, tag, data)
            if len(self._batch.data) >= self._block_bytes:
                self._hand_over()

    def _hand_over(self) -> None:
        """Give the block under way to the thread, or drop it (the lock is held)."""
        batch, self._batch = self._batch, _Batch()
        try:
            self._queue.put_nowait(batch)
        except queue.Full:
            self.dropped += batch.count

    def _work(self) -> None:
        compressor = zstandard.ZstdCompressor(level=LEVEL)
        flushed_ns = steady_ns()
        while True:
            try:
                batch = self._queue.get(timeout=FLUSH_S)
            except queue.Empty:
                batch = _Batch()
            if batch is None:
                return
            if batch.count:
                self._write(compressor, batch)
            if steady_ns() - flushed_ns >= FLUSH_S * 1e9:
                flushed_ns = steady_ns()
                with self._lock:
                    if self._batch.count and not self._is_closed:
                        self._hand_over()

    def _write(self, compressor: zstandard.ZstdCompressor, batch: _Batch) -> None:
        if self.error is None:
            try:
                self._write_block(RAW_BLOCK_MAGIC, batch, compressor.compress(batch.data))
            except OSError as error:
                self.error = error
                event(LOG, "error", "raw capture has failed", file=str(self.path), reason=str(error))
        with self._lock:
            if self.error is None:
                self.frames += batch.count
            else:
                self.dropped += batch.count

    def _write_block(self, magic: bytes, batch: _Batch, stored: bytes) -> None:
        header = np.zeros(1, RAW_BLOCK)
        payload = stored.ljust(whole(len(stored), HEADER_BYTES), b"\0")
        header["magic"], header["count"], header["number"] = magic, batch.count, self._number
        header["stored_bytes"], header["raw_bytes"] = len(stored), len(batch.data)
        header["first_record"], header["dropped"] = self.frames, self.dropped
        header["first_ns"], header["last_ns"] = batch.first_ns, batch.last_ns
        header["payload_crc"], header["previous"] = zlib.crc32(payload), self._previous
        crc = seal(header)
        try:
            write_all(self._fd, memoryview(header.tobytes() + payload))
        except OSError:
            os.ftruncate(self._fd, self.bytes_written)
            os.lseek(self._fd, self.bytes_written, os.SEEK_SET)
            raise
        self.bytes_written += HEADER_BYTES + len(payload)
        self._previous, self._number = crc, self._number + 1

    def close(self) -> None:
        """Write what is left and the footer; a second call does nothing. Failures are in ``error``."""
        with self._lock:
            if self._is_closed:
                return
            self._is_closed = True
            batch = self._batch
        if batch.count:
            self._queue.put(batch)
        self._queue.put(None)
        self._thread.join()
        try:
            self._write_block(RAW_CLOSED_MAGIC if self.error is None else RAW_FAILED_MAGIC, _Batch(), b"")
        except OSError as error:
            self.error = self.error or error
        os.close(self._fd)

    def __enter__(self) -> "RawWriter":
        return self

    def __exit__(self, *_: object) -> None:
        self.close()


class RawReader:
    """Reads a raw capture; iterate for :class:`RawFrame`.

    Args:
        path: the file.
        valid_prefix: take what comes before a corruption instead of raising.

    Attributes:
        frames: how many frames can be read.
        dropped: frames the writer dropped, as far as the file says.
        is_closed: whether the writer ended the file.
        problems: torn tail or corruption found.

    Raises:
        RecordError: unreadable, not a raw capture, or corrupt inside (without ``valid_prefix``).
    """

    def __init__(self, path: str | Path, valid_prefix: bool = False) -> None:
        self.path = Path(path)
        self._file = MappedFile(self.path)
        header = self._header()
        found = walk(self._file, RAW, 0, int(header["crc"]))
        self._blocks, self.frames = found.blocks, found.next_record
        self.is_closed = found.footer is not None
        newest = found.footer if found.footer is not None else found.blocks[-1][1] if found.blocks else None
        self.dropped = 0 if newest is None else int(newest["dropped"])
        self.problems: list[Problem] = []
        if found.damage:
            kind, last = CORRUPT if found.damage.is_inner else TORN, max(found.damage.next_record - 1, -1)
            place = (len(found.blocks), found.damage.offset, self.frames, last)
            self.problems.append(Problem(kind, self.path, *place, found.damage.what))
            if found.damage.is_inner and not valid_prefix:
                raise RecordError(str(self.problems[0]))
        elif not self.is_closed:
            place = (len(found.blocks), found.end, self.frames, -1)
            self.problems.append(Problem(TORN, self.path, *place, "no footer: the capture was not closed"))

    def _header(self) -> np.void:
        raw = bytes(self._file.part(0, HEADER_BYTES))
        if len(raw) < HEADER_BYTES or raw[:8] != RAW_MAGIC or not is_intact(raw):
            raise RecordError(f"{self.path}: damaged file header, or not a raw capture")
        header = self._file.header(0, RAW_HEADER)
        if int(header["version"]) != FORMAT_VERSION:
            raise RecordError(f"{self.path}: version {int(header['version'])}, this build reads {FORMAT_VERSION}")
        return header

    def __iter__(self) -> Iterator[RawFrame]:
        engine = zstandard.ZstdDecompressor()
        for offset, header in self._blocks:
            stored = self._file.part(offset + HEADER_BYTES, int(header["stored_bytes"]))
            yield from _frames(engine.decompress(stored, max_output_size=int(header["raw_bytes"])))


def _frames(data: bytes) -> Iterator[RawFrame]:
    at = 0
    while at < len(data):
        receive_ns, tag, length = _FRAME.unpack_from(data, at)
        start = at + _FRAME.size + tag
        yield RawFrame(receive_ns, data[at + _FRAME.size : start].decode(), data[start : start + length])
        at = start + length


def to_capture(path: str | Path, out: str | Path, source: str | None = None, valid_prefix: bool = False) -> int:
    """Write a raw capture of a JSON text feed as lines of ``<local_ns> <json>``; how many there were.

    Args:
        path: the raw capture.
        out: the text file, replaced as a whole when it is complete.
        source: only frames with this tag; None for all.
        valid_prefix: as for :class:`RawReader`.

    Raises:
        RecordError: as :class:`RawReader`; a frame is not one JSON object on one line; ``out`` cannot be written.
    """
    target = Path(out)
    temporary, count = target.with_name(target.name + ".tmp"), 0
    reader = RawReader(path, valid_prefix)
    try:
        with open(temporary, "wb") as file:
            for number, frame in enumerate(reader):
                if source is not None and frame.source != source:
                    continue
                file.write(_line(reader.path, number, frame))
                count += 1
        os.replace(temporary, target)
    except OSError as error:
        raise RecordError(f"{target}: cannot be written: {error.strerror}") from error
    finally:
        temporary.unlink(missing_ok=True)
    return count


def _line(path: Path, number: int, frame: RawFrame) -> bytes:
    text = frame.data.strip()
    if not (text.startswith(b"{") and text.endswith(b"}")) or b"\n" in text or b"\0" in text or frame.receive_ns < 0:
        raise RecordError(f"{path}: frame {number} from {frame.source!r} is not a JSON object on one line")
    return b"%d %s\n" % (frame.receive_ns, text)
