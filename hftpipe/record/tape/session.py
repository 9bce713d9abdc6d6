"""The session folder: ``DIR/<name>-e<epoch>/`` with session.json and the tape segments.

session.json says what was recorded (build, configuration, instruments, strategy, clock) and, once the recorder has
ended, how much. It is written whole or not at all, before the first record and again at the end, into room that is set
aside at the start, so that a full disk does not keep it from saying how it ended. ``state`` is "recording" until then,
"complete" or "incomplete" as the recorder closed it, "failed" when the recorder died and its supervisor said so; the last
two have a ``cause``. One that stays "recording" after its run was not closed: all of its processes were killed.
"""

import errno
import hashlib
import os
import zlib
from collections.abc import Mapping, Sequence
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import numpy as np
import orjson

from hftpipe.core.machine.build import BUILD_HASH
from hftpipe.core.machine.durable import write_whole
from hftpipe.core.schema.clock import CLOCK
from hftpipe.core.schema.records import SCHEMA_VERSION
from hftpipe.log import clean
from hftpipe.record.tape.format import FORMAT_VERSION, RecordError

SESSION_FILE = "session.json"
#: Room for the final text.
SPARE_FILE = SESSION_FILE + ".spare"
SPARE_BYTES = 8192
RECORDING, COMPLETE, INCOMPLETE, FAILED = "recording", "complete", "incomplete", "failed"
_CHECKSUM = "crc32"


class OtherSchema(RecordError):
    """A session of another format or schema: nothing in it can be read as what it was."""


def source_hash(source: Path) -> str:
    """sha256 (hex) of the file a strategy came from."""
    return hashlib.sha256(source.read_bytes()).hexdigest()


def segment_file(stage: str, number: int) -> str:
    """File name of segment ``number`` (from 1) of a stage's tape."""
    return f"{stage}-{number:06d}.tape"


def clock_facts(clock: np.ndarray) -> dict[str, float | int]:
    """A CLOCK array (length 1) as JSON values."""
    return {name: clock[name][0].item() for name in CLOCK.names or () if not name.startswith("_")}


def instrument_facts(instruments: np.ndarray) -> list[dict[str, Any]]:
    """An INSTRUMENT array as JSON values, in id order (1e-8 units, as in the array)."""
    names = [name for name in instruments.dtype.names or () if not name.startswith("_")]
    columns = {name: instruments[name].tolist() for name in names}
    columns |= {
        name: [text.decode() for text in columns[name]] for name in names if instruments.dtype[name].kind == "S"
    }
    return [dict(zip(names, row, strict=True)) for row in zip(*columns.values(), strict=True)]


def build_header(
    *,
    pipeline: str,
    epoch: int,
    stages: Sequence[str],
    fingerprint: str,
    config: Mapping[str, Any],
    instruments: np.ndarray,
    strategies: Sequence[Mapping[str, Any]],
    clock: np.ndarray,
    start_wall_ns: int,
    paper: Sequence[str] = (),
    losses: Sequence[Mapping[str, Any]] = (),
) -> dict[str, Any]:
    """The facts of a session, as they go to session.json.

    Args:
        stages: names of the stages whose tapes are recorded.
        config: the full effective configuration as JSON values; secrets are taken out.
        instruments: INSTRUMENT array.
        strategies: of each name, strategy, source_hash (sha256 of the source file) and params.
        clock: CLOCK array of length 1, calibrated.
        paper: names of the venues whose orders go to the paper exchange.
        losses: what the losses of the day begin with, by quote currency (:mod:`hftpipe.risk.losses`).
    """
    return {
        "format": FORMAT_VERSION,
        "schema": SCHEMA_VERSION,
        "build": BUILD_HASH,
        "session_id": int.from_bytes(os.urandom(8), "little"),
        "state": RECORDING,
        "pipeline": pipeline,
        "epoch": epoch,
        "start_wall_ns": start_wall_ns,
        "stages": list(stages),
        "paper": list(paper),
        "losses": [dict(one) for one in losses],
        "fingerprint": fingerprint,
        "config": clean(dict(config)),
        "instruments": instrument_facts(instruments),
        "strategies": [clean(dict(one)) for one in strategies],
        "clock": clock_facts(clock),
    }


def create_session(base: str | Path, header: dict[str, Any], name: str | None = None) -> Path:
    """Make the session's folder and its session.json.

    Args:
        base: folder of all sessions; made if absent.
        header: from :func:`build_header`.
        name: default: the start as UTC time.

    Raises:
        RecordError: the folder exists or cannot be written.
    """
    start = datetime.fromtimestamp(header["start_wall_ns"] // 1_000_000_000, tz=UTC)
    folder = Path(base) / f"{name or start.strftime('%Y%m%dT%H%M%SZ')}-e{header['epoch']}"
    try:
        folder.parent.mkdir(parents=True, exist_ok=True)
        folder.mkdir()
        write_session(folder, header)
        (folder / SPARE_FILE).write_bytes(bytes(len(_encode(header)) + SPARE_BYTES))
    except FileExistsError as error:
        raise RecordError(f"{folder}: a recording of this name exists; it is never overwritten") from error
    except OSError as error:
        raise RecordError(f"{folder}: cannot be written: {error.strerror}") from error
    return folder


def _checksum(header: Mapping[str, Any]) -> int:
    facts = {key: value for key, value in header.items() if key != _CHECKSUM}
    return zlib.crc32(orjson.dumps(facts, option=orjson.OPT_SORT_KEYS))


def _encode(header: Mapping[str, Any]) -> bytes:
    return orjson.dumps({**header, _CHECKSUM: _checksum(header)}, option=orjson.OPT_INDENT_2) + b"\n"


def write_session(folder: Path, header: Mapping[str, Any]) -> None:
    """Replace session.json as a whole, into the room set aside for it if that is there still. Raises OSError."""
    write_whole(folder / SESSION_FILE, _encode(header), folder / SPARE_FILE)


def _header_of(folder: Path) -> dict[str, Any]:
    """session.json, to be changed. Raises OSError: it cannot be read."""
    try:
        return read_session(folder)
    except RecordError as error:
        raise OSError(errno.EIO, str(error)) from error


def mark_failed(folder: Path, cause: str) -> None:
    """Have a session that nobody closed say so, and why.

    Raises:
        OSError: session.json cannot be read or written.
    """
    header = _header_of(folder)
    if header["state"] == RECORDING:
        write_session(folder, {**header, "state": FAILED, "cause": cause})


def note_unended(folder: Path, hooks: Mapping[str, str]) -> None:
    """Have a session say which hook of a strategy never returned, by the strategy's name.

    Raises:
        OSError: session.json cannot be read or written.
    """
    write_session(folder, {**_header_of(folder), "unended_hooks": dict(hooks)})


def how_it_ended(header: Mapping[str, Any]) -> str:
    """The state of a session for people."""
    if header["state"] == RECORDING:
        return "it was not closed: its run was killed, or goes on"
    cause = header.get("cause")
    return f"it is {header['state']}" + (f": {cause}" if cause else "")


def read_session(folder: str | Path) -> dict[str, Any]:
    """The facts in session.json.

    Raises:
        OtherSchema: its records mean something else to this build.
        RecordError: absent, or not as it was written.
    """
    path = Path(folder) / SESSION_FILE
    try:
        raw = path.read_bytes()
        header = orjson.loads(raw)
    except OSError as error:
        raise RecordError(f"{path}: cannot be read: {error.strerror}; is this a session folder?") from error
    except orjson.JSONDecodeError as error:
        raise RecordError(f"{path}: corrupt at byte {error.pos}: {error.msg}") from error
    # Compared as bytes: blanks and spellings count too, so that no byte can change unnoticed.
    if not isinstance(header, dict) or header.get(_CHECKSUM) != _checksum(header) or raw != _encode(header):
        raise RecordError(f"{path}: corrupt: its checksum does not match")
    for key, ours in (("format", FORMAT_VERSION), ("schema", SCHEMA_VERSION)):
        if (recorded := header.get(key)) != ours:
            raise OtherSchema(
                f"{folder}: a session of {key} {recorded}, recorded by build {str(header.get('build'))[:12]}; "
                f"this is build {BUILD_HASH[:12]}, which reads {key} {ours}: it has to be recorded again"
            )
    return header
