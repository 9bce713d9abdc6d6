"""Small recorded sessions for tests, written through the product's own writer."""

from pathlib import Path
from typing import Any

import numpy as np

from hftpipe.core.schema.clock import CLOCK
from hftpipe.core.schema.instruments import INSTRUMENT
from hftpipe.core.schema.records import LEVEL, RECORD
from hftpipe.record.tape.block import BLOCK_RECORDS, Block
from hftpipe.record.tape.format import HEADER_BYTES
from hftpipe.record.tape.session import COMPLETE, build_header, create_session, read_session, write_session
from hftpipe.record.tape.writer import TapeWriter

START_WALL_NS = 1_700_000_000_000_000_000


def header(stages: tuple[str, ...], epoch: int = 7, **over: Any) -> dict[str, Any]:
    instruments = np.zeros(1, INSTRUMENT)
    instruments["symbol"], instruments["tick"] = b"BTCUSDT", 10_000_000
    facts = {
        "pipeline": "test", "epoch": epoch, "stages": stages, "fingerprint": "f" * 64,
        "config": {"pipeline": {"name": "test"}}, "instruments": instruments,
        "strategies": [{"name": "none", "source_hash": "0" * 64, "params": {"spread_bps": "5.0"}}],
        "clock": np.zeros(1, CLOCK), "start_wall_ns": START_WALL_NS,
    }  # fmt: skip
    return build_header(**{**facts, **over})


def records(count: int, first: int = 0) -> np.ndarray:
    """``count`` RECORDs as they lie on a tape from index ``first`` on, every field different."""
    made = np.zeros(count, RECORD)
    index = np.arange(first, first + count)
    made["seq"], made["price"], made["qty"], made["id"] = index + 1, index * 7919, index ^ 0x5555, index * 31
    made["local_ts"], made["kind"], made["instrument"] = START_WALL_NS + index, LEVEL, index % 3
    made["flags"] = 0xA5
    return made


def writer_of(folder: Path, stage: str, **sizes: int) -> TapeWriter:
    facts = read_session(folder)
    writer = TapeWriter(folder, stage, facts["session_id"], facts["epoch"], **sizes)
    writer.open()
    return writer


def append(writer: TapeWriter, rows: np.ndarray, block_records: int = BLOCK_RECORDS) -> None:
    """Write an array of RECORDs in blocks."""
    for at in range(0, len(rows), block_records):
        part = rows[at : at + block_records].view(np.uint8)
        memory = np.concatenate([np.zeros(HEADER_BYTES, np.uint8), part])
        block = Block(memory)
        block.added(block.room, 0)
        writer.write(block)


def make_session(
    base: Path,
    content: dict[str, np.ndarray],
    name: str = "s",
    closed: bool = True,
    epoch: int = 7,
    block_records: int = BLOCK_RECORDS,
    **sizes: int,
) -> Path:
    """A session with the given records per stage; not ``closed``: as a killed recorder leaves it (all blocks whole)."""
    folder = create_session(base, header(tuple(content), epoch), name)
    totals = {}
    for stage, rows in content.items():
        writer = writer_of(folder, stage, **sizes)
        append(writer, rows, block_records)
        if closed:
            writer.close(0)
            totals[stage] = writer.totals()
    if closed:
        write_session(folder, {**read_session(folder), "state": COMPLETE, "totals": totals})
    return folder
