"""Reads recorded sessions: everything is checked before the first record is handed out.

What a session's state (in session.json) allows:

============ ================================== ===============================================================
state        written                            a torn tail, a missing footer
============ ================================== ===============================================================
recording    at the start                       the recorder was killed: cut at the last whole block, reported
incomplete   at the end, after a failed write   the same, but the records it counted must be there
complete     at the end                         corruption; the totals must match
============ ================================== ===============================================================
"""

import re
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np

from hftpipe.core.schema.records import RECORD, SCHEMA_VERSION
from hftpipe.core.shared.tape import TAPE_GAP
from hftpipe.record.tape.format import (
    CORRUPT,
    FILE_HEADER,
    FILE_MAGIC,
    FORMAT_VERSION,
    HEADER_BYTES,
    MISSING,
    ROLLED_MAGIC,
    TAPE,
    TORN,
    Damage,
    MappedFile,
    Problem,
    RecordError,
    Walk,
    is_intact,
    stage_tag,
    walk,
)
from hftpipe.record.tape.session import COMPLETE, INCOMPLETE, SESSION_FILE, OtherSchema, read_session, segment_file

_SEGMENT_NAME = re.compile(r"(?P<stage>.+)-(?P<number>\d{6,})\.tape")


class Gap(NamedTuple):
    """Records that a stage could not put on its tape.

    Attributes:
        record: tape index of the TAPE_GAP mark; they are missing just there.
        lost: how many.
    """

    record: int
    lost: int


@dataclass
class Tape:
    """The valid records of one stage, in order.

    Attributes:
        stage: its name.
        first_record, next_record: tape index of the first record, and after the last.
        lost: records the stage could not put on its tape, as far as the files say.
        untaken: records the recorder could not store.
        segments: how many segment files were read.
        problems: what is wrong with the files of this stage, in order.
    """

    stage: str
    first_record: int = 0
    next_record: int = 0
    lost: int = 0
    untaken: int = 0
    segments: int = 0
    problems: list[Problem] = field(default_factory=list)
    _blocks: list[tuple[MappedFile, int, int]] = field(default_factory=list)

    def __len__(self) -> int:
        return self.next_record - self.first_record

    def __iter__(self) -> Iterator[np.ndarray]:
        """The records as RECORD arrays, one per block: read-only views of the mapped files."""
        for file, offset, count in self._blocks:
            yield file.array(offset, RECORD, count)

    def array(self) -> np.ndarray:
        """All records in one RECORD array (a copy)."""
        return np.concatenate([np.empty(0, RECORD), *self])

    def gaps(self) -> list[Gap]:
        """The gap marks on the tape. What was lost after the last record that fitted has no mark."""
        found, index = [], self.first_record
        for block in self:
            marks = np.flatnonzero(block["kind"] == TAPE_GAP)
            found += [Gap(index + int(at), int(block["id"][at])) for at in marks]
            index += len(block)
        return found


class _StageReader:
    """Follows one stage's segments as far as they are valid."""

    def __init__(self, folder: Path, stage: str, header: dict[str, Any]) -> None:
        self._folder, self._stage, self._header = folder, stage, header
        self.tape = Tape(stage)
        self._previous = 0
        self._unclosed: tuple[Path, int, int] | None = None
        names = (_name_of(path) for path in folder.iterdir())
        self._numbers = sorted(int(name["number"]) for name in names if name and name["stage"] == stage)
        self._last_magic = b""

    def read(self) -> Tape:
        """The tape, with ``problems`` filled."""
        for expected, number in enumerate(self._numbers, start=1):
            path = self._folder / segment_file(self._stage, number)
            if number != expected:
                missing = self._folder / segment_file(self._stage, expected)
                self._report(MISSING, missing, -1, 0, -1, "there are later segments, but not this one")
                break
            if not self._segment(path, number, number == self._numbers[-1]):
                break
        self._check_end()
        return self.tape

    def _report(self, kind: str, path: Path, block: int, offset: int, last: int, what: str) -> None:
        self.tape.problems.append(Problem(kind, path, block, offset, self.tape.next_record, last, what))

    def _segment(self, path: Path, number: int, is_last: bool) -> bool:
        """Read one segment; False when what follows it must not be read."""
        file = MappedFile(path)
        what = self._check_header(file, number)
        if what:
            self._report(TORN if is_last and self._may_be_torn(file) else CORRUPT, path, -1, 0, -1, what)
            return False
        header = file.header(0, FILE_HEADER)
        if number == 1:
            self.tape.first_record = self.tape.next_record = int(header["first_record"])
        result = walk(file, TAPE, int(header["first_record"]), int(header["crc"]))
        if self._unclosed and (result.blocks or not is_last):
            self._report(CORRUPT, *self._unclosed, -1, "the footer is missing, and a segment with records follows")
            return False
        self._take(file, result)
        if result.damage:
            self._report_damage(path, result.damage, len(result.blocks), is_last)
            return False
        return self._note_footer(path, result, is_last)

    def _check_header(self, file: MappedFile, number: int) -> str:
        raw = bytes(file.part(0, HEADER_BYTES))
        if len(raw) < HEADER_BYTES:
            return f"file header cut off after {len(raw)} bytes"
        if raw[:8] != FILE_MAGIC or not is_intact(raw):
            return "damaged file header (checksum)"
        header = file.header(0, FILE_HEADER)
        expected = {
            "version": FORMAT_VERSION, "schema": SCHEMA_VERSION, "segment": number, "stage": stage_tag(self._stage),
            "session": self._header.get("session_id", int(header["session"])),
            "epoch": self._header.get("epoch", int(header["epoch"])), "previous": self._previous,
        }  # fmt: skip
        if number > 1:
            expected["first_record"] = self.tape.next_record
        wrong = [f"{name} {header[name].item()!r}, expected {value!r}" for name, value in expected.items()
                 if header[name].item() != value]  # fmt: skip
        return "not the segment that belongs here: " + "; ".join(wrong) if wrong else ""

    def _may_be_torn(self, file: MappedFile) -> bool:
        """Whether a bad file header can be what a crash of the machine left: nothing but zeros, or too short."""
        head = bytes(file.part(0, HEADER_BYTES))
        return self._header.get("state") != COMPLETE and not head.strip(b"\0") and file.size <= HEADER_BYTES

    def _take(self, file: MappedFile, result: Walk) -> None:
        tape = self.tape
        for offset, header in result.blocks:
            tape._blocks.append((file, offset + HEADER_BYTES, int(header["count"])))
        tape.next_record, self._previous = result.next_record, result.previous
        tape.segments += 1
        newest = result.footer if result.footer is not None else result.blocks[-1][1] if result.blocks else None
        if newest is not None:
            tape.lost, tape.untaken = int(newest["lost"]), int(newest["untaken"])

    def _report_damage(self, path: Path, damage: Damage, block: int, is_last: bool) -> None:
        is_tail = is_last and not damage.is_inner and self._header.get("state") != COMPLETE
        last = damage.next_record - 1 if damage.next_record > self.tape.next_record else -1
        self._report(TORN if is_tail else CORRUPT, path, block, damage.offset, last, damage.what)

    def _note_footer(self, path: Path, result: Walk, is_last: bool) -> bool:
        if result.footer is None:
            self._unclosed = (path, len(result.blocks), result.end)
            return True
        self._unclosed, self._last_magic = None, bytes(result.footer["magic"])
        if self._last_magic != ROLLED_MAGIC and not is_last:
            what = "closes the tape, but a later segment exists"
            self._report(CORRUPT, path, len(result.blocks), result.end - HEADER_BYTES, -1, what)
            return False
        return True

    def _check_end(self) -> None:
        if self.tape.problems:
            return
        following = self._folder / segment_file(self._stage, len(self._numbers) + 1)
        is_complete = self._header.get("state") == COMPLETE
        if not self._numbers:
            self._report(MISSING if is_complete else TORN, following, -1, 0, -1, "the stage has no segment")
        elif self._unclosed:
            what = "no footer: the recorder did not end this file; what it had not written yet is lost"
            self._report(CORRUPT if is_complete else TORN, *self._unclosed, -1, what)
        elif self._last_magic == ROLLED_MAGIC:
            self._report(MISSING, following, -1, 0, -1, "the segment before says that the tape goes on here")
        self._check_totals()

    def _check_totals(self) -> None:
        tape, state = self.tape, self._header.get("state")
        totals = self._header.get("totals", {}).get(self._stage)
        if totals is None:
            return
        have = {"records": len(tape), "lost": tape.lost, "untaken": tape.untaken, "segments": tape.segments}
        if state == INCOMPLETE:
            have = {"records": min(len(tape), totals["records"])}
            tape.lost, tape.untaken = totals["lost"], totals["untaken"]
        wrong = [f"{value} {name}, {SESSION_FILE} says {totals[name]}" for name, value in have.items()
                 if value != totals[name]]  # fmt: skip
        if wrong:
            self._report(CORRUPT, self._folder / SESSION_FILE, -1, 0, -1, f"{self._stage}: " + "; ".join(wrong))


def _name_of(path: Path) -> re.Match[str] | None:
    return _SEGMENT_NAME.fullmatch(path.name)


class Session:
    """A recorded session.

    Attributes:
        path: its folder.
        header: the facts of session.json (see :func:`hftpipe.record.tape.session.build_header`).
        stages: names of the recorded stages.
        problems: what was wrong and has been cut (empty after a clean end).
    """

    def __init__(self, path: Path, header: dict[str, Any], tapes: dict[str, Tape], problems: list[Problem]) -> None:
        self.path, self.header, self.problems = path, header, problems
        self._tapes = tapes
        self.stages = tuple(tapes)

    @property
    def is_complete(self) -> bool:
        """Closed by its recorder, and everything that was on the tapes is stored."""
        return self.header.get("state") == COMPLETE and not self.problems

    @property
    def lost(self) -> dict[str, int]:
        """Records each stage could not put on its tape, as far as the files say."""
        return {stage: tape.lost for stage, tape in self._tapes.items()}

    @property
    def untaken(self) -> dict[str, int]:
        """Records of each tape that the recorder read but could not store."""
        return {stage: tape.untaken for stage, tape in self._tapes.items()}

    def records(self, stage: str) -> Tape:
        """The records of a stage: iterate for RECORD arrays without a copy, ``array()`` for one array.

        Raises:
            RecordError: the stage was not recorded.
        """
        if stage not in self._tapes:
            raise RecordError(f"{self.path}: no tape of {stage!r}; recorded: {', '.join(self._tapes) or 'none'}")
        return self._tapes[stage]

    def gaps(self, stage: str) -> list[Gap]:
        """Gap marks on a stage's tape."""
        return self.records(stage).gaps()


def _read_header(folder: Path) -> tuple[dict[str, Any], list[Problem]]:
    try:
        return read_session(folder), []
    except OtherSchema:
        raise
    except RecordError as error:
        what = str(error).removeprefix(f"{folder / SESSION_FILE}: ")
        return {}, [Problem(CORRUPT, folder / SESSION_FILE, -1, 0, -1, -1, what)]


def _read(path: str | Path) -> Session:
    folder = Path(path)
    if not folder.is_dir():
        raise RecordError(f"{folder}: is not a session folder")
    header, problems = _read_header(folder)
    found = {match["stage"] for match in map(_name_of, folder.iterdir()) if match}
    stages = header.get("stages", sorted(found))
    tapes = {stage: _StageReader(folder, stage, header).read() for stage in stages}
    for stage in sorted(found - set(stages)):
        what = f"a tape that {SESSION_FILE} does not list"
        problems.append(Problem(CORRUPT, folder / segment_file(stage, 1), -1, 0, -1, -1, what))
    problems += [problem for tape in tapes.values() for problem in tape.problems]
    return Session(folder, header, tapes, problems)


def open_session(path: str | Path, valid_prefix: bool = False) -> Session:
    """Read and check a session.

    Args:
        path: the session's folder.
        valid_prefix: take what comes before the first corruption of each tape instead of raising.

    Raises:
        RecordError: not a session folder, of another schema, or (without ``valid_prefix``) anything but a torn tail is wrong
            with it.
    """
    session = _read(path)
    bad = [problem for problem in session.problems if problem.kind != TORN]
    if bad and not valid_prefix:
        more = f" (and {len(bad) - 1} more)" if len(bad) > 1 else ""
        raise RecordError(f"{bad[0]}{more}")
    return session


def verify_files(path: str | Path) -> list[Problem]:
    """Everything that is wrong with a session, torn tails included; empty for one that was closed and is whole.

    Raises:
        RecordError: not a session folder, or of another schema.
    """
    return _read(path).problems
