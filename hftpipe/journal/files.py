"""Journal files on the disk: made under another name and whole before they get their own, mapped, ended, packed.

A journal is a folder of files ``00000001.journal``, numbered without a gap, and packed ones ``00000001.journal.zst``. Every
file has room for a fixed number of entries, which is taken from the disk when the file is made: what is written later needs
none, so a full disk cannot break a write.
"""

import ctypes
import mmap
import os
import re
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import orjson
import zstandard

from hftpipe.core.machine.durable import UNFINISHED, sync_folder
from hftpipe.core.machine.system_clock import wall_ns
from hftpipe.core.schema.layout import whole
from hftpipe.core.schema.refusal import Refusal
from hftpipe.journal.checksum import crc32c
from hftpipe.journal.layout import ENTRY_BYTES, HEADER, HEADER_BYTES, MAGIC, MIN_SLOTS, SCHEMA, VERSION

ENDING, PACKED = ".journal", ".journal.zst"
_NAME = re.compile(r"(\d{8})\.journal(\.zst)?")
_PIECE = 1 << 20
_MADV_POPULATE_WRITE = 23
_LIBC = ctypes.CDLL(None, use_errno=True)
_LIBC.madvise.argtypes = (ctypes.c_void_p, ctypes.c_size_t, ctypes.c_int)
_LIBC.msync.argtypes = (ctypes.c_void_p, ctypes.c_size_t, ctypes.c_int)
_MS_SYNC, PAGE = 4, 4096


class JournalError(Refusal, ValueError):
    """The journal cannot be written, or what is there cannot be trusted; names the file, the place and what to do."""


def numbered(folder: Path) -> dict[int, Path]:
    """The files of a journal by number, in order; of one that is there packed and plain, the packed one is whole."""
    found: dict[int, Path] = {}
    for path in sorted(folder.iterdir()) if folder.is_dir() else ():
        if match := _NAME.fullmatch(path.name):
            found[int(match[1])] = path
    return dict(sorted(found.items()))


def head_of(number: int, epoch: int, slots: int, meta: dict[str, Any]) -> bytes:
    """What stands before the first entry of a file with room for so many."""
    text = orjson.dumps(meta)
    header = np.zeros(1, HEADER)
    header["magic"], header["version"], header["schema"] = np.void(MAGIC), VERSION, SCHEMA
    header["head_bytes"] = HEADER_BYTES + whole(len(text))
    header["number"], header["epoch"], header["created_ns"] = number, epoch, wall_ns()
    header["meta_bytes"], header["meta_crc"] = len(text), crc32c(text)
    header["salt"], header["slots"] = int.from_bytes(os.urandom(8), "little"), slots
    header["crc"] = crc32c(header.tobytes()[:-4])
    return header.tobytes() + text.ljust(whole(len(text)), b"\0")


@dataclass
class OpenFile:
    """A file that is written to, mapped.

    Attributes:
        path, number: which; seed: the checksum that its entries' begin with.
        at, end: addresses of the first slot and of the last one.
        base: address of the mapping; size: its bytes.
    """

    path: Path
    number: int
    seed: int
    base: int
    at: int
    end: int
    size: int
    fd: int
    memory: mmap.mmap | None
    view: np.ndarray | None

    def populate(self, begin: int, end: int) -> None:
        """Have the pages of these addresses here and writable, as far as the system can do that beforehand."""
        begin, end = max(begin // PAGE * PAGE, self.base), min(whole(end, PAGE), self.base + whole(self.size, PAGE))
        if begin < end:
            _LIBC.madvise(begin, end - begin, _MADV_POPULATE_WRITE)

    def sync(self, begin: int, end: int) -> None:
        """Have what lies between two addresses on the disk. Raises OSError."""
        begin = max(begin // PAGE * PAGE, self.base)
        if begin < end and _LIBC.msync(begin, end - begin, _MS_SYNC):
            code = ctypes.get_errno()
            raise OSError(code, os.strerror(code))

    def finish(self, ended_at: int) -> None:
        """The last entry ends at this address: the file has this size, and is on the disk. Raises OSError."""
        used = ended_at - self.base
        self.view = None
        if self.memory is not None:
            self.memory.close()
        self.memory = None
        try:
            os.ftruncate(self.fd, used)
            os.fsync(self.fd)
        finally:
            os.close(self.fd)

    def discard(self) -> None:
        """Nothing was written: the file goes."""
        self.path.unlink(missing_ok=True)
        self.view = None
        if self.memory is not None:
            self.memory.close()
            os.close(self.fd)
        self.memory = None


def make_file(folder: Path, number: int, epoch: int, size: int, meta: dict[str, Any]) -> OpenFile:
    """A new file of ``size`` bytes, whole under its name on the disk, and mapped.

    Raises:
        OSError: nothing of it is left.
    """
    slots = (size - HEADER_BYTES - whole(len(orjson.dumps(meta)))) // ENTRY_BYTES
    if slots < MIN_SLOTS:
        raise JournalError(f"{folder}: a journal file of {size} bytes has no room for names and {MIN_SLOTS} entries")
    head = head_of(number, epoch, slots, meta)
    path = folder / f"{number:08d}{ENDING}"
    unfinished = path.with_name(path.name + UNFINISHED)
    fd = os.open(unfinished, os.O_RDWR | os.O_CREAT | os.O_TRUNC | os.O_CLOEXEC, 0o600)
    try:
        os.posix_fallocate(fd, 0, size)
        os.pwrite(fd, head, 0)
        os.fsync(fd)
        os.rename(unfinished, path)
        sync_folder(folder)
        memory = mmap.mmap(fd, size)
    except OSError:
        os.close(fd)
        unfinished.unlink(missing_ok=True)
        raise
    view = np.frombuffer(memory, np.uint8)
    base = view.ctypes.data
    seed = int.from_bytes(head[HEADER_BYTES - 4 : HEADER_BYTES], "little")
    at = base + len(head)
    return OpenFile(path, number, seed, base, at, at + (slots - 1) * ENTRY_BYTES, size, fd, memory, view)


def pack(path: Path) -> Path:
    """Compress a file that has ended; the plain one goes when the packed one is on the disk. Raises OSError or ZstdError."""
    packed = path.with_name(path.name.removesuffix(ENDING) + PACKED)
    unfinished = packed.with_name(packed.name + UNFINISHED)
    try:
        with path.open("rb") as source, unfinished.open("wb") as target:
            zstandard.ZstdCompressor(level=3, write_checksum=True).copy_stream(
                source, target, read_size=_PIECE, write_size=_PIECE
            )
            target.flush()
            os.fsync(target.fileno())
        os.rename(unfinished, packed)
    except (OSError, zstandard.ZstdError):
        # On a full disk its half would be in the way of the next file.
        unfinished.unlink(missing_ok=True)
        raise
    sync_folder(path.parent)
    path.unlink()
    return packed
