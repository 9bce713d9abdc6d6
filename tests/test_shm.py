"""Segments: one owner a name, and no attaching to anything that is not exactly ours and alive."""

import errno
import gc
import itertools
import mmap
import os
import signal
import time
import uuid
from collections.abc import Callable, Iterator
from pathlib import Path

import numpy as np
import pytest
from memory import fork, join

from hftpipe.core.schema.records import EPOCH_MAX, SCHEMA_VERSION
from hftpipe.core.shared import shm
from hftpipe.core.shared.shm import ALIGN, DIRECTORY_BYTES, HEADER, HEADER_BYTES, Segment, SegmentError, segment_path

SIZES = {"ring": 192 + 8 * 64, "cell": 64, "odd": 1000}
META = {"stages": ["market_data"], "capacity": 8}


@pytest.fixture
def name(clean_shm: None) -> Iterator[str]:
    """A pipeline name of this test alone; nothing may be left under it."""
    yield f"test-{os.getpid()}-{uuid.uuid4().hex[:8]}"


@pytest.fixture
def segment(name: str) -> Iterator[Segment]:
    made = Segment.create(name, SIZES, META)
    yield made
    made.unlink()


def edit_header(segment: Segment, **fields: object) -> None:
    header = segment._bytes[: HEADER.itemsize].view(HEADER)
    for field, value in fields.items():
        header[field] = value


def owner_in_child(name: str, ready: Callable[[], None] | None = None) -> int:
    """A child that creates and publishes the segment and then waits to be killed."""

    def own() -> None:
        made = Segment.create(name, SIZES, META, epoch=41)
        made.region("cell")[:] = 7
        made.publish()
        if ready:
            ready()
        time.sleep(60)

    pid = fork(own)
    deadline = time.monotonic() + 20
    while time.monotonic() < deadline:
        try:
            Segment.attach(name)
            return pid
        except SegmentError:
            time.sleep(0.005)
    raise AssertionError("the child did not publish its segment")


def test_what_the_owner_laid_out_is_what_a_reader_maps(segment: Segment) -> None:
    segment.region("odd")[:] = np.arange(1000) % 251
    segment.publish()
    reader = Segment.attach(segment.name)
    assert reader.regions() == list(SIZES) and reader.meta == META and reader.epoch == segment.epoch == 1
    for region, size in SIZES.items():
        assert reader.region(region).nbytes == size
        assert (reader.region(region) == segment.region(region)).all()
    segment.region("cell")[0] = 99
    assert reader.region("cell")[0] == 99
    assert not segment.replaced


def test_regions_start_on_their_own_pair_of_lines_and_never_overlap(segment: Segment) -> None:
    spans = sorted((segment.address(region), size) for region, size in SIZES.items())
    assert all(at % ALIGN == 0 for at, _ in spans)
    assert spans[0][0] >= segment.base + HEADER_BYTES + DIRECTORY_BYTES
    assert all(at + size <= following for (at, size), (following, _) in itertools.pairwise(spans))


def test_a_reader_cannot_write(segment: Segment) -> None:
    segment.publish()
    with pytest.raises(ValueError, match="read-only"):
        Segment.attach(segment.name).region("cell")[0] = 1


def test_a_region_that_was_not_laid_out_is_a_key_error(segment: Segment) -> None:
    with pytest.raises(KeyError, match="nothing"):
        segment.region("nothing")


def test_a_live_segment_is_refused_by_name_path_and_pid(segment: Segment) -> None:
    with pytest.raises(SegmentError) as refusal:
        Segment.create(segment.name, SIZES, META)
    assert str(segment_path(segment.name)) in str(refusal.value)
    assert f"pid {os.getpid()}" in str(refusal.value)
    assert "pipeline.name" in str(refusal.value)
    segment.publish()
    assert Segment.attach(segment.name).meta == META  # the refused one did no harm


def test_a_segment_whose_owner_was_killed_is_replaced_under_the_next_epoch(name: str) -> None:
    pid = owner_in_child(name)
    with pytest.raises(SegmentError, match=f"pid {pid}"):
        Segment.create(name, SIZES, META)
    os.kill(pid, signal.SIGKILL)
    assert join(pid) == -signal.SIGKILL
    with pytest.raises(SegmentError, match="no longer alive"):
        Segment.attach(name)
    replacement = Segment.create(name, SIZES, META, epoch=2)
    try:
        assert (replacement.epoch, replacement.replaced) == (42, {"epoch": 41})
        assert not replacement.region("cell").any()
    finally:
        replacement.unlink()


@pytest.mark.parametrize("epoch", [EPOCH_MAX, 2**32, 2**63 - 1, 2**63, 2**64 - 1])
def test_a_number_that_no_run_has_is_not_taken_over_from_a_damaged_segment(name: str, epoch: int) -> None:
    header = np.zeros(1, HEADER)
    header["magic"], header["epoch"] = shm.MAGIC, epoch
    segment_path(name).write_bytes(header.tobytes())
    made = Segment.create(name, SIZES, META, epoch=7)
    try:
        assert (made.epoch, made.replaced) == (7, {"damaged_epoch": epoch})
    finally:
        made.unlink()


@pytest.mark.parametrize("way", ["create", "attach", "attach to halt"])
def test_a_folder_in_the_place_of_a_segment_is_refused_by_name(name: str, way: str) -> None:
    segment_path(name).mkdir()
    try:
        with pytest.raises(SegmentError, match=rf"{segment_path(name)}: .*[Dd]irectory"):
            if way == "create":
                Segment.create(name, SIZES, META)
            else:
                Segment.attach(name, is_writable=way == "attach to halt")
    finally:
        segment_path(name).rmdir()


def test_a_link_to_nowhere_in_the_place_of_a_segment_is_refused_by_name(name: str, tmp_path: Path) -> None:
    segment_path(name).symlink_to(tmp_path / "nowhere")
    try:
        with pytest.raises(SegmentError, match=str(segment_path(name))):
            Segment.create(name, SIZES, META)
        assert not (tmp_path / "nowhere").exists()
    finally:
        segment_path(name).unlink()


def test_memory_that_cannot_be_mapped_is_an_error_that_leaves_no_file(
    name: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    def none(*_: object) -> None:
        raise OSError(errno.ENOMEM, os.strerror(errno.ENOMEM))

    monkeypatch.setattr(shm.mmap, "mmap", none)
    with pytest.raises(SegmentError, match="Cannot allocate memory"):
        Segment.create(name, SIZES, META)
    assert not segment_path(name).exists()


def test_a_damaged_directory_is_refused_by_name(segment: Segment) -> None:
    segment.publish()
    segment._bytes[HEADER_BYTES : HEADER_BYTES + 20] = 0xFF
    with pytest.raises(SegmentError, match="damaged"):
        Segment.attach(segment.name)


def test_an_owner_that_is_dead_but_not_yet_reaped_counts_as_dead(name: str) -> None:
    pid = owner_in_child(name)
    os.kill(pid, signal.SIGKILL)
    os.waitid(os.P_PID, pid, os.WEXITED | os.WNOWAIT)
    try:
        with pytest.raises(SegmentError, match="no longer alive"):
            Segment.attach(name)
    finally:
        join(pid)
    Segment.create(name, SIZES, META).unlink()


def test_nothing_runs_under_an_unknown_name(name: str) -> None:
    with pytest.raises(SegmentError, match=f"no pipeline named '{name}' is running"):
        Segment.attach(name)


@pytest.mark.parametrize(
    ("fields", "message"),
    [
        ({"magic": b"GARBAGE!"}, "wrong magic"),
        ({"schema": 999}, f"schema 999, this build has {SCHEMA_VERSION}"),
        ({"build": b"0" * 64}, "made by build 000000000000, this is build"),
        ({"size": 4096}, "bytes, its header says 4096"),
        ({"pid": 2**22 + 1}, "no longer alive"),
        ({"pid_started": 1}, "no longer alive"),
        ({"ready": 0}, "still starting"),
    ],
    ids=["magic", "schema", "build", "size", "no such pid", "pid used again", "not ready"],
)
def test_each_wrong_header_is_refused_with_its_own_message(
    segment: Segment, fields: dict[str, object], message: str
) -> None:
    segment.publish()
    Segment.attach(segment.name)
    edit_header(segment, **fields)
    with pytest.raises(SegmentError, match=message) as refusal:
        Segment.attach(segment.name)
    assert str(segment_path(segment.name)) in str(refusal.value)


@pytest.mark.parametrize("size", [0, 50, HEADER.itemsize - 1])
def test_a_file_too_short_for_a_header_is_refused(name: str, size: int) -> None:
    path = segment_path(name)
    path.write_bytes(b"x" * size)
    with pytest.raises(SegmentError, match="too short"):
        Segment.attach(name)
    Segment.create(name, SIZES, META).unlink()


def test_a_truncated_segment_is_refused(segment: Segment) -> None:
    segment.publish()
    whole = segment_path(segment.name).read_bytes()
    copy = segment_path(segment.name + "-cut")
    copy.write_bytes(whole[: len(whole) - 4096])
    try:
        with pytest.raises(SegmentError, match=f"{len(whole) - 4096} bytes, its header says {len(whole)}"):
            Segment.attach(segment.name + "-cut")
    finally:
        copy.unlink()


def contend(name: str, who: str, folder: Path) -> bool:
    """Create when ``go`` appears, say how it went, hold on until ``done``; True for the one that owns the name."""
    while not (folder / "go").exists():
        pass
    try:
        made = Segment.create(name, SIZES, META)
    except SegmentError:
        (folder / f"{who}-refused").touch()
        return False
    made.region("cell")[:] = ord(who)
    made.publish()
    (folder / f"{who}-owns").touch()
    while not (folder / "done").exists():
        time.sleep(0.001)
    return os.fstat(made._fd).st_nlink == 1


@pytest.mark.parametrize("turn", range(25))
def test_one_of_two_concurrent_creators_wins(name: str, tmp_path: Path, turn: int) -> None:
    """Both start at the same moment over a stale file: exactly one owns the name, and readers find that one."""
    segment_path(name).write_bytes(b"left by a crash")
    children = [fork(lambda who=who: contend(name, who, tmp_path)) for who in "ab"]
    (tmp_path / "go").touch()
    deadline = time.monotonic() + 20
    while len(list(tmp_path.glob("?-*"))) < 2 and time.monotonic() < deadline:
        time.sleep(0.001)
    seen = chr(Segment.attach(name).region("cell")[0])
    (tmp_path / "done").touch()
    codes = [join(pid) for pid in children]
    segment_path(name).unlink()
    assert sorted(codes) == [0, 1]
    assert "ab"[codes.index(0)] == seen


@pytest.mark.parametrize("moment", ["name taken again", "name free again"])
def test_a_creator_whose_new_file_was_taken_for_stale_starts_again(
    name: str, monkeypatch: pytest.MonkeyPatch, moment: str
) -> None:
    """Another creator may open, lock and remove our file between our making and our locking it."""
    real_lock, stolen = shm._lock, []

    def lock(fd: int) -> bool:
        if not stolen:
            stolen.append(1)
            segment_path(name).unlink()
            if moment == "name taken again":
                segment_path(name).write_bytes(b"")
        return real_lock(fd)

    monkeypatch.setattr(shm, "_lock", lock)
    made = Segment.create(name, SIZES, META)
    try:
        assert os.fstat(made._fd).st_ino == os.stat(segment_path(name)).st_ino
    finally:
        made.unlink()


def test_a_full_dev_shm_is_an_error_that_says_how_much_was_asked_and_leaves_no_file(
    name: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    def full(fd: int, start: int, size: int) -> None:
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))

    monkeypatch.setattr(os, "posix_fallocate", full)
    with pytest.raises(SegmentError, match=r"cannot reserve \d+ bytes in /dev/shm: No space left on device"):
        Segment.create(name, SIZES, META)
    assert not segment_path(name).exists()


def test_a_directory_is_as_large_as_it_has_to_be(name: str) -> None:
    sizes = {**SIZES, **{f"more.{at}": 1 for at in range(3_000)}}
    meta = {"symbols": [f"SYMBOL{at:05d}USDT" for at in range(8_192)]}
    made = Segment.create(name, sizes, meta)
    made.region("cell")[:] = 7
    made.publish()
    try:
        reader = Segment.attach(name)
        assert reader.meta == meta and reader.regions() == list(sizes)
        assert (reader.region("cell") == 7).all() and int(reader.header()["directory_bytes"]) > DIRECTORY_BYTES
    finally:
        made.unlink()


def blocks_of(name: str) -> int:
    """Bytes of memory that a segment takes."""
    return os.stat(segment_path(name)).st_blocks * 512


def test_a_sparse_region_takes_memory_only_where_it_is_used_and_a_prefault_leaves_the_rest_alone(name: str) -> None:
    large, page = 64 << 20, mmap.PAGESIZE
    made = Segment.create(name, {"before": 5000, "large": large, "after": 5000}, META, sparse={"large"})
    try:
        assert blocks_of(name) < 1 << 20
        region = made.region("large")
        region[large // 2 : large // 2 + 3 * page] = 9
        made.region("after")[:] = 5
        used = blocks_of(name)
        made.prefault()
        assert blocks_of(name) == used < 1 << 20
        assert int(region[large // 2]) == 9 and not region[:page].any() and (made.region("after") == 5).all()
    finally:
        made.unlink()


def test_every_page_of_a_segment_without_sparse_regions_is_there_from_the_start(name: str) -> None:
    made = Segment.create(name, {"large": 8 << 20}, META)
    try:
        assert blocks_of(name) >= 8 << 20
    finally:
        made.unlink()


def test_a_sparse_segment_that_could_not_be_filled_is_refused_at_once(name: str) -> None:
    room = os.statvfs("/dev/shm")
    too_much = room.f_bavail * room.f_frsize + (1 << 30)
    with pytest.raises(SegmentError, match="cannot reserve"):
        Segment.create(name, {"large": too_much}, META, sparse={"large"})
    assert not segment_path(name).exists()


def test_refusals_leak_no_descriptors(segment: Segment) -> None:
    # What earlier tests have left to the collector must not be collected in between.
    gc.collect()
    before = len(os.listdir("/proc/self/fd"))
    for _ in range(5):
        with pytest.raises(SegmentError):
            Segment.create(segment.name, SIZES, META)
        with pytest.raises(SegmentError):
            Segment.attach(segment.name)
    assert len(os.listdir("/proc/self/fd")) == before


def test_the_segment_outlives_its_name_until_the_last_process_unmaps_it(name: str) -> None:
    made = Segment.create(name, SIZES, META)
    made.publish()
    reader = Segment.attach(name)
    made.region("cell")[0] = 5
    made.unlink()
    assert not segment_path(name).exists()
    assert reader.region("cell")[0] == 5
    assert reader.record("cell", np.dtype("u1"))[0] == 5


def test_prefault_keeps_the_contents(segment: Segment) -> None:
    segment.region("odd")[:] = 3
    segment.prefault()
    assert (segment.region("odd") == 3).all()
