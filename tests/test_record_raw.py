"""Raw captures: the bytes as received, torn tails cut, any change noticed; text feeds become captures."""

import os
import threading
import time
from collections.abc import Callable
from pathlib import Path

import orjson
import pytest
from data import DATA, needs_data
from hypothesis import given
from hypothesis import strategies as st

from hftpipe.capture import raw as raw_module
from hftpipe.capture.raw import RAW_BLOCK, RAW_HEADER, RawFrame, RawReader, RawWriter, to_capture
from hftpipe.capture.reader import CaptureReader
from hftpipe.core.schema.layout import offset_of
from hftpipe.record.tape.format import CORRUPT, HEADER_BYTES, TORN, RecordError

FRAMES = st.lists(
    st.builds(RawFrame, st.integers(-(2**63), 2**63 - 1), st.text(max_size=20), st.binary(max_size=300)), max_size=15
)


def write(path: Path, frames: list[RawFrame], block_bytes: int = 64) -> RawWriter:
    writer = RawWriter(path, block_bytes)
    for frame in frames:
        writer.append(*frame)
    writer.close()
    return writer


def some(count: int) -> list[RawFrame]:
    texts = [b'{"n":%d,"x":"%s"}' % (n, os.urandom(20).hex().encode()) for n in range(count)]
    return [RawFrame(1000 + n, f"feed{n % 2}", text) for n, text in enumerate(texts)]


def block_ends(path: Path) -> list[int]:
    """Offsets where the header area and each block end."""
    reader = RawReader(path)
    return [HEADER_BYTES] + [at + HEADER_BYTES + (int(h["stored_bytes"]) + 63) // 64 * 64 for at, h in reader._blocks]


def test_headers_are_64_bytes() -> None:
    assert RAW_HEADER.itemsize == RAW_BLOCK.itemsize == HEADER_BYTES
    assert offset_of(RAW_HEADER, "crc") == offset_of(RAW_BLOCK, "crc") == 60


@given(frames=FRAMES, block_bytes=st.sampled_from([1, 500, 1 << 20]))
def test_frames_are_read_back_as_received(tmp_path_factory, frames: list[RawFrame], block_bytes: int) -> None:
    path = tmp_path_factory.mktemp("raw") / "f.raw"
    writer = write(path, frames, block_bytes)
    reader = RawReader(path)
    assert writer.frames + writer.dropped == len(frames)
    assert writer.dropped == reader.dropped == 0
    assert list(reader) == frames
    assert reader.frames == writer.frames and reader.is_closed and reader.problems == []
    assert path.stat().st_size == writer.bytes_written and writer.bytes_written % 64 == 0


def test_flipping_any_byte_is_detected(tmp_path: Path) -> None:
    path = tmp_path / "f.raw"
    write(path, some(6), block_bytes=100)
    good = path.read_bytes()
    blocks = len(block_ends(path)) - 1
    assert blocks >= 3
    for offset in range(len(good)):
        path.write_bytes(good[:offset] + bytes([good[offset] ^ 0x10]) + good[offset + 1 :])
        if offset < len(good) - HEADER_BYTES:
            with pytest.raises(RecordError, match=r"f\.raw: (corrupt at block \d|damaged file header)"):
                RawReader(path)
        else:
            (problem,) = RawReader(path).problems
            assert problem[:4] == (TORN, path, blocks, len(good) - HEADER_BYTES)


def test_torn_tail_is_cut_at_the_last_whole_block(tmp_path: Path) -> None:
    path, frames = tmp_path / "f.raw", some(6)
    write(path, frames, block_bytes=100)
    good, ends = path.read_bytes(), block_ends(path)
    counts = [int(header["first_record"]) for _, header in RawReader(path)._blocks] + [len(frames)]
    for size in range(HEADER_BYTES, len(good)):
        path.write_bytes(good[:size])
        whole = max(index for index, end in enumerate(ends) if end <= size)
        reader = RawReader(path)
        assert list(reader) == frames[: counts[whole]]
        (problem,) = reader.problems
        assert problem[:4] == (TORN, path, whole, ends[whole]) and not reader.is_closed


def test_valid_prefix_comes_before_the_corruption(tmp_path: Path) -> None:
    path, frames = tmp_path / "f.raw", some(6)
    write(path, frames, block_bytes=100)
    ends = block_ends(path)
    second = int(RawReader(path)._blocks[1][1]["first_record"])
    data = bytearray(path.read_bytes())
    data[ends[1] + HEADER_BYTES + 3] ^= 1
    path.write_bytes(data)
    reader = RawReader(path, valid_prefix=True)
    assert list(reader) == frames[:second]
    assert reader.problems[0].kind == CORRUPT


def test_waiting_frames_reach_the_file_without_a_full_block(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(raw_module, "FLUSH_S", 0.01)
    path, frames = tmp_path / "f.raw", some(2)
    with RawWriter(path) as writer:
        for frame in frames:
            writer.append(*frame)
        wait_for(lambda: writer.frames == 2)
        reader = RawReader(path)
        assert list(reader) == frames and not reader.is_closed


def wait_for(condition: Callable[[], bool], tries: int = 3000) -> None:
    for _ in range(tries):
        if condition():
            return
        time.sleep(0.01)
    raise AssertionError("did not happen")


def test_a_disk_that_cannot_keep_up_drops_and_counts(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    go, real = threading.Event(), os.write
    path, frames = tmp_path / "f.raw", some(200)
    writer = RawWriter(path, block_bytes=1)

    def slow(fd: int, data: memoryview) -> int:
        go.wait(30)
        return real(fd, data)

    monkeypatch.setattr(os, "write", slow)
    for frame in frames:
        writer.append(*frame)
    go.set()
    writer.close()
    reader = RawReader(path)
    assert writer.frames + writer.dropped == 200 and writer.dropped >= 200 - raw_module.QUEUED_BLOCKS - 2
    assert reader.dropped == writer.dropped and list(reader) == frames[: reader.frames]


def test_full_disk_drops_and_counts_and_keeps_what_is_written(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path, frames, real = tmp_path / "f.raw", some(30), os.write
    writer = RawWriter(path, block_bytes=600)

    def full(fd: int, data: memoryview) -> int:
        room = 900 - os.fstat(fd).st_size
        if room <= 0:
            raise OSError(28, "No space left on device")
        return real(fd, data[:room])

    monkeypatch.setattr(os, "write", full)
    for frame in frames:
        writer.append(*frame)
    writer.close()
    assert writer.error is not None and writer.error.errno == 28
    assert 0 < writer.frames < 30 and writer.frames + writer.dropped == 30
    assert list(RawReader(path)) == frames[: writer.frames]


def test_an_existing_file_is_never_overwritten(tmp_path: Path) -> None:
    path = tmp_path / "f.raw"
    write(path, some(1))
    with pytest.raises(RecordError, match=r"f\.raw: cannot be written: File exists"):
        RawWriter(path)


def test_what_is_not_a_raw_capture_is_refused(tmp_path: Path) -> None:
    path = tmp_path / "f.raw"
    for content in (b"", b"short", b"x" * 500):
        path.write_bytes(content)
        with pytest.raises(RecordError, match=r"f\.raw: damaged file header, or not a raw capture"):
            RawReader(path)
    with pytest.raises(RecordError, match="absent: cannot be read: No such file"):
        RawReader(tmp_path / "absent")


def test_limits_of_a_frame_are_checked(tmp_path: Path) -> None:
    writer = RawWriter(tmp_path / "f.raw")
    with pytest.raises(RecordError, match="tag of 256"):
        writer.append(0, "x" * 256, b"")
    writer.close()
    writer.close()
    with pytest.raises(RecordError, match="is closed"):
        writer.append(0, "x", b"")


def test_to_capture_writes_what_the_capture_reader_reads(tmp_path: Path) -> None:
    path, out, frames = tmp_path / "f.raw", tmp_path / "f.txt", some(50)
    write(path, frames, block_bytes=500)
    assert to_capture(path, out) == 50
    text = b"".join(chunk.tobytes() for chunk in CaptureReader(out))
    assert text == b"".join(b"%d %s\n" % (frame.receive_ns, frame.data) for frame in frames)
    assert to_capture(path, out, source="feed1") == 25
    assert [orjson.loads(line.split(b" ", 1)[1])["n"] for line in out.read_bytes().splitlines()] == list(
        range(1, 50, 2)
    )


def test_to_capture_refuses_what_is_not_a_json_object(tmp_path: Path) -> None:
    path, out = tmp_path / "f.raw", tmp_path / "f.txt"
    out.write_text("before")
    write(path, [RawFrame(1, "a", b"{}"), RawFrame(2, "udp", b"\x00\x01")])
    with pytest.raises(RecordError, match=r"frame 1 from 'udp' is not a JSON object"):
        to_capture(path, out)
    assert out.read_text() == "before" and not list(tmp_path.glob("*.tmp"))


@needs_data
def test_a_captured_feed_survives_the_round_trip(tmp_path: Path) -> None:
    source = next(path for path in sorted(DATA.rglob("*")) if path.is_file() and is_capture(path))
    lines = next(iter(CaptureReader(source, chunk_bytes=200_000))).tobytes().splitlines()[:500]
    parts = [line.split(b" ", 1) for line in lines]
    writer = write(tmp_path / "f.raw", [RawFrame(int(ns), "ws", text) for ns, text in parts], block_bytes=50_000)
    assert writer.dropped == 0 and to_capture(tmp_path / "f.raw", tmp_path / "f.txt") == len(lines)
    assert (tmp_path / "f.txt").read_bytes().splitlines() == lines


def is_capture(path: Path) -> bool:
    try:
        next(iter(CaptureReader(path, chunk_bytes=1000)))
    except ValueError:
        return False
    return True
