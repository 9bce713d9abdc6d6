"""Recorded feeds: text files of ``<local_ns> <json>`` lines, plain or gzip.

:class:`CaptureReader` hands out big chunks of whole lines for compiled code, :func:`next_line` splits one off there.
Damage is an error that names the file and the place; everything before the damage is delivered first.
"""

import zlib
from collections.abc import Iterator
from pathlib import Path
from typing import Any, BinaryIO

import numpy as np
from numba import types

from hftpipe.core.machine.jit import jit
from hftpipe.core.machine.mem import ONE, U64, ZERO, load_u8
from hftpipe.core.schema.refusal import Refusal

CHUNK_BYTES = 1 << 20
MAX_LINE_BYTES = 64 << 20
_READ_BYTES = 64 << 10
_GZIP_MAGIC = b"\x1f\x8b"
#: What a capture is, for a refusal.
FORMAT = "lines of '<local_ns> <json>', plain or gzip, are expected"

# What next_line says of a line.
LINE_OK, LINE_EMPTY, LINE_NO_TIMESTAMP, LINE_NO_JSON = 0, 1, 2, 3
LINE_STATUS_NAMES = {
    LINE_OK: "ok", LINE_EMPTY: "empty line", LINE_NO_TIMESTAMP: "no local time in ns before the first blank",
    LINE_NO_JSON: "no JSON object after the local time",
}  # fmt: skip
#: 19 digits always fit an unsigned word; the value is compared with the signed limit after.
_MAX_DIGITS, _INT64_MAX = np.uint64(19), np.uint64(2**63 - 1)

#: C library, by name.
_memchr = types.ExternalFunction("memchr", types.uint64(types.uint64, types.int32, types.uint64))


class CaptureError(Refusal, ValueError):
    """A capture that cannot be read (on): names the file, the line or byte, and what is allowed."""


@jit
def next_line(at, end):
    """Split the line at ``at`` off the text that stops at ``end`` (``at < end``).

    Returns:
        ``(status, local_ns, json_start, json_end, after)``: one of the LINE codes, the recorder's time, the bounds of
        the JSON text, and the address of the next line. Only ``after`` counts unless the status is LINE_OK.
    """
    stop = _memchr(at, np.int32(10), end - at)
    after = stop + ONE
    if stop == ZERO:
        stop, after = end, end
    if stop > at and load_u8(stop - ONE) == 13:
        stop -= ONE
    if stop == at:
        return np.int64(LINE_EMPTY), np.int64(0), at, at, after
    start, local_ns = at, ZERO
    while start < stop and U64(load_u8(start)) - U64(48) <= U64(9):
        local_ns = local_ns * U64(10) + U64(load_u8(start)) - U64(48)
        start += ONE
    digits = start - at
    is_time = digits > ZERO and digits <= _MAX_DIGITS and local_ns <= _INT64_MAX
    if not is_time or start >= stop or load_u8(start) != 32:
        return np.int64(LINE_NO_TIMESTAMP), np.int64(0), at, at, after
    start += ONE
    if start >= stop or load_u8(start) != 123 or load_u8(stop - ONE) != 125:
        return np.int64(LINE_NO_JSON), np.int64(0), at, at, after
    return np.int64(LINE_OK), np.int64(local_ns), start, stop, after


class _Damaged(Exception):
    """Why the rest of a file cannot be read, and the byte of the file at which that was found."""


def _plain_blocks(file: BinaryIO) -> Iterator[bytes]:
    while block := file.read(CHUNK_BYTES):
        yield block


def _salvage(before: Any, block: bytes) -> bytes:
    """What the decompressor state ``before`` still makes of a damaged block: fed byte by byte up to the damage."""
    parts = []
    try:
        for index in range(len(block)):
            parts.append(before.decompress(block[index : index + 1]))
    except zlib.error:
        pass
    return b"".join(parts)


def _gzip_member(file: BinaryIO, head: bytes) -> Iterator[bytes]:
    """Decompress one gzip member that starts with ``head``; leaves the file just after it."""
    engine = zlib.decompressobj(wbits=31)
    block = head
    while True:
        before = engine.copy()
        try:
            data = engine.decompress(block)
        except zlib.error as error:
            yield _salvage(before, block)
            raise _Damaged(f"damaged gzip data near byte {file.tell()}: {error}") from error
        yield data
        if engine.eof:
            file.seek(-len(engine.unused_data), 1)
            return
        block = file.read(_READ_BYTES)
        if not block:
            raise _Damaged(f"gzip data is cut off at byte {file.tell()}")


def _gzip_blocks(file: BinaryIO) -> Iterator[bytes]:
    """Decompressed blocks of all members; zero bytes after the last one are padding."""
    while head := file.read(_READ_BYTES):
        padding = len(head) - len(head.lstrip(b"\0"))
        if padding:
            file.seek(padding - len(head), 1)
        elif not head.startswith(_GZIP_MAGIC):
            raise _Damaged(f"what follows the gzip data at byte {file.tell() - len(head)} is not gzip")
        else:
            yield from _gzip_member(file, head)


class CaptureReader:
    """Iterate over a capture in chunks of whole lines.

    Args:
        path: the file; gzip is told by its first bytes, not by its name.
        chunk_bytes: about how much to hand out at a time; a longer line makes a longer chunk.

    Yields:
        uint8 arrays, each ending at the end of a line.

    Raises:
        CaptureError: file missing, unreadable or empty; first line not ``<local_ns> <json>``; damaged or cut-off
            gzip data; zero bytes in the text; a line longer than 64 MiB. What comes before is delivered first.
    """

    def __init__(self, path: str | Path, chunk_bytes: int = CHUNK_BYTES) -> None:
        self.path = Path(path)
        self._chunk_bytes = chunk_bytes
        self._lines, self._bytes = 0, 0

    def __iter__(self) -> Iterator[np.ndarray]:
        self._lines, self._bytes = 0, 0
        try:
            with self.path.open("rb") as file:
                is_gzip = file.read(2) == _GZIP_MAGIC
                file.seek(0)
                yield from self._chunks(_gzip_blocks(file) if is_gzip else _plain_blocks(file))
        except OSError as error:
            raise CaptureError(f"{self.path}: cannot be read: {error.strerror or error}") from error

    def _fail(self, what: str) -> CaptureError:
        return CaptureError(f"{self.path}: line {self._lines + 1} (byte {self._bytes} of the text): {what}")

    def _deliver(self, text: bytes) -> np.ndarray:
        if self._bytes == 0:
            self._check_first_line(text)
        self._lines += text.count(b"\n")
        self._bytes += len(text)
        return np.frombuffer(text, np.uint8)

    def _check_first_line(self, text: bytes) -> None:
        array = np.frombuffer(text, np.uint8)
        start = np.uint64(array.ctypes.data)
        status = int(next_line(start, start + np.uint64(len(text)))[0])
        if status != LINE_OK:
            shown = text.split(b"\n", 1)[0][:60]
            raise self._fail(f"{LINE_STATUS_NAMES[status]} in {shown!r}; {FORMAT}")

    def _chunks(self, blocks: Iterator[bytes]) -> Iterator[np.ndarray]:
        pending: list[bytes] = []
        size, damage = 0, ""
        try:
            for block in blocks:
                zero = block.find(b"\0")
                clean = block if zero < 0 else block[:zero]
                pending.append(clean)
                size += len(clean)
                if zero >= 0:
                    raise _Damaged("binary data (a zero byte) in the text")
                if size >= self._chunk_bytes and (b"\n" in clean or size > MAX_LINE_BYTES):
                    whole, rest = self._split(b"".join(pending))
                    pending, size = [rest], len(rest)
                    yield self._deliver(whole)
        except _Damaged as found:
            damage = str(found)
        yield from self._last(b"".join(pending), damage)

    def _split(self, text: bytes) -> tuple[bytes, bytes]:
        cut = text.rfind(b"\n") + 1
        if len(text) - cut > MAX_LINE_BYTES or cut == 0:
            raise self._fail(f"longer than {MAX_LINE_BYTES} bytes; {FORMAT}")
        return text[:cut], text[cut:]

    def _last(self, text: bytes, damage: str) -> Iterator[np.ndarray]:
        if damage:
            # The line under way at the damage is lost; the ones before it are not.
            text = text[: text.rfind(b"\n") + 1]
        if text:
            yield self._deliver(text)
        if damage:
            raise self._fail(f"{damage}; {FORMAT}")
        if self._bytes == 0:
            raise CaptureError(f"{self.path}: is empty; {FORMAT}")
