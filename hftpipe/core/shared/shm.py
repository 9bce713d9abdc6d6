"""One shared-memory segment per pipeline: a checked header, a directory, and named regions.

The segment is ``/dev/shm/hftpipe-<name>``. Its owner (the supervisor) holds a file lock for as long as any of its
processes lives. A segment whose lock is free belongs to a crashed run and is replaced under the next epoch; one
whose lock is held is refused by name; one of another build or schema is never attached to.

``multiprocessing.shared_memory`` is not used: before Python 3.13 an attaching process unlinks the segment on exit.
"""

import contextlib
import ctypes
import errno
import fcntl
import mmap
import os
from collections.abc import Collection, Iterator
from pathlib import Path
from typing import Any

import numpy as np
import orjson

from hftpipe.core.machine.build import BUILD_HASH
from hftpipe.core.schema.layout import LINE_PAIR, whole
from hftpipe.core.schema.records import EPOCH_MAX, SCHEMA_VERSION
from hftpipe.core.schema.refusal import Refusal

SHM_DIR = Path("/dev/shm")
PREFIX = "hftpipe-"
MAGIC = b"HFTPIPE\x01"
HEADER = np.dtype(
    [
        ("magic", "S8"), ("schema", "u4"), ("ready", "u4"), ("build", "S64"), ("epoch", "u8"), ("pid", "i8"),
        ("pid_started", "i8"), ("size", "u8"), ("directory_bytes", "u8"),
    ]
)  # fmt: skip
HEADER_BYTES = 4096
#: The least that is kept for the directory; where there are many symbols it is as large as it has to be.
DIRECTORY_BYTES = 60 * 1024
#: More than the two numbers of a region take in the directory, with what is around them.
_PLACE_TEXT = 64
#: Regions start on a pair of cache lines: the adjacent-line prefetcher must not couple two writers.
ALIGN = LINE_PAIR
_ATTEMPTS = 5
#: Linux 5.14; absent before, where the first touch of a page costs its fault.
_MADV_POPULATE_WRITE = 23


class SegmentError(Refusal, RuntimeError):
    """A segment cannot be created or attached to; the message names it and the reason."""


class StillStarting(SegmentError):
    """A segment that its pipeline has not published yet: it looks for halts that were latched once it has."""


def segment_path(name: str) -> Path:
    """Path of the segment of pipeline ``name``."""
    return SHM_DIR / f"{PREFIX}{name}"


def process_started(pid: int) -> int:
    """Start time of a process in clock ticks since boot (a pid alone may be reused); 0 if it is gone or a zombie."""
    try:
        text = Path(f"/proc/{pid}/stat").read_text()
    except OSError:
        return 0
    fields = text.rpartition(")")[2].split()
    return 0 if fields[0] in "ZX" else int(fields[19])


def live_run(name: str) -> tuple[int, int]:
    """Process and number of the run of pipeline ``name``, of whatever build; (0, 0) if none is under way, or none that we may see."""
    try:
        with open(segment_path(name), "rb") as file:
            raw = file.read(HEADER.itemsize)
    except OSError:
        return 0, 0
    if len(raw) < HEADER.itemsize:
        return 0, 0
    header = np.frombuffer(raw, HEADER)[0]
    pid, is_ours = int(header["pid"]), bytes(header["magic"]) == MAGIC.rstrip(b"\0")
    is_live = is_ours and pid > 0 and process_started(pid) == int(header["pid_started"])
    return (pid, int(header["epoch"])) if is_live else (0, 0)


def live_pid(name: str) -> int:
    """The process of :func:`live_run`."""
    return live_run(name)[0]


def is_foreign(name: str) -> bool:
    """Whether there is a segment of that name which we may not look into: whether its run lives is not for us to know."""
    path = segment_path(name)
    return os.path.lexists(path) and not os.access(path, os.R_OK | os.W_OK)


def _pages(size: int) -> int:
    return whole(size, mmap.PAGESIZE)


def _directory_room(sizes: dict[str, int], meta: dict[str, Any]) -> int:
    """Bytes for the directory of these regions and facts, whole pages."""
    return max(DIRECTORY_BYTES, _pages(len(orjson.dumps(meta)) + sum(len(name) + _PLACE_TEXT for name in sizes)))


def _lay_out(sizes: dict[str, int], guard: bool, directory: int) -> tuple[dict[str, tuple[int, int]], int]:
    """Where each region lies, and the size of all; with ``guard`` each ends (but for its alignment) before a page."""
    at, places = HEADER_BYTES + directory, {}
    for region, size in sizes.items():
        if guard:
            places[region] = (at + _pages(size) - whole(size), size)
            at += _pages(size) + mmap.PAGESIZE
        else:
            places[region] = (at, size)
            at += whole(size, ALIGN)
    return places, _pages(at)


def _runs(places: dict[str, tuple[int, int]], sparse: Collection[str], total: int) -> list[tuple[int, int]]:
    """``(begin, end)`` of the pages that do not lie wholly in regions of ``sparse``, in order."""
    runs, at = [], 0
    for region, (begin, size) in places.items():
        inner = _pages(begin), (begin + size) // mmap.PAGESIZE * mmap.PAGESIZE
        if region in sparse and inner[0] < inner[1]:
            runs.append((at, inner[0]))
            at = inner[1]
    return [run for run in (*runs, (at, total)) if run[0] < run[1]]


def guard_pages(base: int, places: dict[str, tuple[int, int]]) -> None:
    """Make the page behind each region untouchable: whoever writes or reads past a region's end dies there.

    Raises:
        SegmentError: the system does not let us.
    """
    mprotect = ctypes.CDLL(None, use_errno=True).mprotect
    for region, (at, size) in places.items():
        page = ctypes.c_void_p(base + _pages(at + size))
        if mprotect(page, ctypes.c_size_t(mmap.PAGESIZE), 0) != 0:
            raise SegmentError(f"no guard page behind region {region}: {os.strerror(ctypes.get_errno())}")


def _reserve(fd: int, total: int, runs: list[tuple[int, int]]) -> None:
    """Have the memory of ``runs`` for certain, and look for room for the rest now rather than in the middle of a run.

    Raises:
        OSError: there is not so much.
    """
    room = os.fstatvfs(fd)
    if room.f_blocks and room.f_bavail * room.f_frsize < total:
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))
    os.ftruncate(fd, total)
    for begin, end in runs:
        os.posix_fallocate(fd, begin, end - begin)


def _lock(fd: int) -> bool:
    try:
        fcntl.flock(fd, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except OSError as error:
        if error.errno in (errno.EWOULDBLOCK, errno.EACCES):
            return False
        raise
    return True


def _describe_owner(fd: int) -> str:
    raw = os.pread(fd, HEADER.itemsize, 0)
    if len(raw) < HEADER.itemsize:
        return "an unknown process"
    header = np.frombuffer(raw, HEADER)[0]
    return f"pid {int(header['pid'])}" if header["pid"] else "still starting"


def _old_epoch(fd: int) -> int:
    """The run number in what a crashed run has left; 0 if that is none of ours. It may be damaged and hold any number."""
    raw = os.pread(fd, HEADER.itemsize, 0)
    if len(raw) < HEADER.itemsize:
        return 0
    header = np.frombuffer(raw, HEADER)[0]
    return int(header["epoch"]) if bytes(header["magic"]) == MAGIC.rstrip(b"\0") else 0


@contextlib.contextmanager
def _named(path: Path) -> Iterator[None]:
    """What the system says against a segment's file is a refusal that names it: a folder of that name, another user's file."""
    try:
        yield
    except OSError as error:
        raise SegmentError(f"{path}: {error.strerror}; remove it, or choose another pipeline.name") from error


class Segment:
    """A mapped segment: numpy views and addresses of its regions.

    Attributes:
        name: the pipeline's name.
        epoch: the run number stored in the header.
        replaced: what :meth:`create` found of a crashed run and replaced: its number under ``epoch`` if that can be one, else
            under ``damaged_epoch``; empty if it found nothing.
        meta: what the creator stored beside the directory (JSON values).
    """

    def __init__(self, name: str, fd: int, mapping: mmap.mmap, directory: dict[str, tuple[int, int]]) -> None:
        self.name, self._fd, self._map, self._directory = name, fd, mapping, directory
        self._bytes = np.frombuffer(mapping, np.uint8)
        self.base = self._bytes.ctypes.data
        self.epoch = int(self.header()["epoch"])
        self.meta: dict[str, Any] = {}
        self.replaced: dict[str, int] = {}
        self._is_sparse = False

    def header(self) -> np.void:
        """The segment's header record."""
        header: np.void = self._bytes[: HEADER.itemsize].view(HEADER)[0]
        return header

    @classmethod
    def create(
        cls, name: str, sizes: dict[str, int], meta: dict[str, Any], epoch: int = 1, guard: bool = False,
        sparse: Collection[str] = (),
    ) -> "Segment":  # fmt: skip
        """Make the segment, replacing one left by a crashed run; every page is touched, but for those of ``sparse`` regions.

        Args:
            sizes: bytes per region, in order.
            meta: JSON-able facts for :meth:`attach`.
            epoch: this run's number; raised above a crashed run's if that was higher.
            guard: end each region at a page that nobody may touch, to find who writes past one (for tests).
            sparse: regions of which most is never used: a page of theirs takes memory from its first use on.

        Raises:
            SegmentError: a live run holds the name, or /dev/shm is full.
        """
        path = segment_path(name)
        with _named(path):
            fd, replaced = cls._take_name(path)
        segment = cls._fill(name, fd, path, sizes, meta, max(epoch, replaced.get("epoch", 0) + 1), guard, sparse)
        segment.replaced = replaced
        return segment

    @classmethod
    def _take_name(cls, path: Path) -> tuple[int, dict[str, int]]:
        """A new, locked file under the name, and what a crashed run had left there (:attr:`replaced`)."""
        replaced: dict[str, int] = {}
        for _ in range(_ATTEMPTS):
            if os.path.lexists(path):
                found = cls._remove_stale(path)
                # A number that can be none is damage: taken over it would be the first of a row of wrong ones.
                replaced = {"epoch" if 0 <= found < EPOCH_MAX else "damaged_epoch": found} | replaced
            try:
                fd = os.open(path, os.O_RDWR | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC, 0o600)
            except FileExistsError:
                continue
            # Between the two lines above another creator may have taken our file for a dead run's and removed it.
            if _lock(fd) and os.fstat(fd).st_nlink > 0:
                return fd, replaced
            os.close(fd)
        raise SegmentError(f"{path}: another run is starting under this name; choose another pipeline.name")

    @staticmethod
    def _remove_stale(path: Path) -> int:
        with contextlib.suppress(FileNotFoundError):
            fd = os.open(path, os.O_RDWR | os.O_CLOEXEC)
            try:
                if not _lock(fd):
                    raise SegmentError(
                        f"{path}: refused, a live run ({_describe_owner(fd)}) holds it; "
                        "stop that run or choose another pipeline.name"
                    )
                epoch = _old_epoch(fd)
                if os.fstat(fd).st_ino == os.stat(path).st_ino:
                    os.unlink(path)
                return epoch
            finally:
                os.close(fd)
        return 0

    @classmethod
    def _fill(
        cls, name: str, fd: int, path: Path, sizes: dict[str, int], meta: dict[str, Any], epoch: int, guard: bool,
        sparse: Collection[str],
    ) -> "Segment":  # fmt: skip
        directory, total = _lay_out(sizes, guard, _directory_room(sizes, meta))
        listing = orjson.dumps({"regions": directory, "meta": meta})
        runs = _runs(directory, sparse, total)
        try:
            _reserve(fd, total, runs)
            populate = 0 if sparse else mmap.MAP_POPULATE
            mapping = mmap.mmap(fd, total, mmap.MAP_SHARED | populate, mmap.PROT_READ | mmap.PROT_WRITE)
        except OSError as error:
            os.unlink(path)
            os.close(fd)
            raise SegmentError(f"{path}: cannot reserve {total} bytes in {SHM_DIR}: {error.strerror}") from error
        for begin, end in runs if sparse else ():
            with contextlib.suppress(OSError):
                mapping.madvise(_MADV_POPULATE_WRITE, begin, end - begin)
        mapping[HEADER_BYTES : HEADER_BYTES + len(listing)] = listing
        header = np.frombuffer(mapping, np.uint8)[: HEADER.itemsize].view(HEADER)
        header["magic"], header["schema"], header["build"] = MAGIC, SCHEMA_VERSION, BUILD_HASH.encode()
        header["epoch"], header["pid"], header["pid_started"] = epoch, os.getpid(), process_started(os.getpid())
        header["size"], header["directory_bytes"] = total, len(listing)
        segment = cls(name, fd, mapping, directory)
        segment.meta, segment._is_sparse = meta, bool(sparse)
        if guard:
            guard_pages(segment.base, directory)
        return segment

    def publish(self) -> None:
        """Mark the segment as complete: from now on it can be attached to."""
        self.header()["ready"] = 1

    @classmethod
    def attach(cls, name: str, is_writable: bool = False) -> "Segment":
        """Map a running pipeline's segment, read-only unless it is to be halted.

        Raises:
            SegmentError: no such segment, not one of ours, not complete, other schema or build, or its run is dead.
        """
        path = segment_path(name)
        try:
            fd = os.open(path, (os.O_RDWR if is_writable else os.O_RDONLY) | os.O_CLOEXEC)
        except PermissionError as error:
            raise SegmentError(f"{path}: no permission, it is another user's") from error
        except FileNotFoundError as error:
            raise SegmentError(f"{path}: no pipeline named {name!r} is running") from error
        except OSError as error:
            raise SegmentError(f"{path}: {error.strerror}") from error
        try:
            cls._check(path, fd)
            mapping = mmap.mmap(fd, 0, mmap.MAP_SHARED, mmap.PROT_READ | (mmap.PROT_WRITE if is_writable else 0))
            size = int(np.frombuffer(mapping, np.uint8)[: HEADER.itemsize].view(HEADER)[0]["directory_bytes"])
            listing = orjson.loads(mapping[HEADER_BYTES : HEADER_BYTES + min(size, len(mapping) - HEADER_BYTES)])
        except SegmentError:
            os.close(fd)
            raise
        except (OSError, ValueError) as error:
            os.close(fd)
            raise SegmentError(f"{path}: damaged, or no pipeline segment: {error}") from error
        segment = cls(name, fd, mapping, {k: tuple(v) for k, v in listing["regions"].items()})
        segment.meta = listing["meta"]
        return segment

    @staticmethod
    def _check(path: Path, fd: int) -> None:
        raw = os.pread(fd, HEADER.itemsize, 0)
        if len(raw) < HEADER.itemsize:
            raise SegmentError(f"{path}: too short to be a pipeline segment")
        header = np.frombuffer(raw, HEADER)[0]
        if bytes(header["magic"]) != MAGIC.rstrip(b"\0"):
            raise SegmentError(f"{path}: not a pipeline segment (wrong magic)")
        if int(header["schema"]) != SCHEMA_VERSION:
            raise SegmentError(f"{path}: schema {int(header['schema'])}, this build has {SCHEMA_VERSION}")
        if bytes(header["build"]) != BUILD_HASH.encode():
            raise SegmentError(
                f"{path}: made by build {bytes(header['build'])[:12].decode(errors='replace')}, "
                f"this is build {BUILD_HASH[:12]}"
            )
        if process_started(int(header["pid"])) != int(header["pid_started"]):
            raise SegmentError(f"{path}: left by a run that is no longer alive (pid {int(header['pid'])})")
        if not header["ready"]:
            raise StillStarting(f"{path}: still starting")
        if int(header["size"]) != os.fstat(fd).st_size:
            raise SegmentError(f"{path}: {os.fstat(fd).st_size} bytes, its header says {int(header['size'])}")

    def region(self, name: str) -> np.ndarray:
        """The region as a uint8 array. Raises KeyError for a name that was not laid out."""
        at, size = self._directory[name]
        return self._bytes[at : at + size]

    def record(self, name: str, dtype: np.dtype) -> np.ndarray:
        """The region's start as an array of length 1 of ``dtype``."""
        return self.region(name)[: dtype.itemsize].view(dtype)

    def address(self, name: str) -> int:
        """The region's address in this process (the same in forked children)."""
        return self.base + self._directory[name][0]

    def regions(self) -> list[str]:
        """Names of all regions, in order."""
        return list(self._directory)

    def prefault(self) -> None:
        """Map every page in use in this process too: a forked child faults on each page it touches first (1.7 us each).

        Pages of sparse regions that nobody has touched stay so.
        """
        with contextlib.suppress(OSError):
            for begin, end in self._in_use():
                self._map.madvise(_MADV_POPULATE_WRITE, begin, end - begin)

    def _in_use(self) -> Iterator[tuple[int, int]]:
        """``(begin, end)`` of the pages that the file has."""
        begin, size = 0, len(self._map)
        if not self._is_sparse:
            yield 0, size
            return
        with contextlib.suppress(OSError):
            while begin < size:
                begin = os.lseek(self._fd, begin, os.SEEK_DATA)
                end = os.lseek(self._fd, begin, os.SEEK_HOLE)
                yield begin, end
                begin = end

    def let_go(self) -> None:
        """After :meth:`attach`: keep the memory, but no descriptor; the memory goes with the last view of it."""
        os.close(self._fd)

    def unlink(self) -> None:
        """Remove the name (the owner's last act); the memory goes when the last process unmaps it."""
        with contextlib.suppress(FileNotFoundError):
            os.unlink(segment_path(self.name))
        os.close(self._fd)
