"""What a start makes of the journal that it finds: judged by the table of :mod:`hftpipe.journal.reading`, cut where that says so.

Only the files of the last run are read: a day's journal must not hold a start up. ``hftpipe journal verify`` reads them all.
"""

import itertools
import os
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

from hftpipe.core.machine.durable import UNFINISHED, sync_folder
from hftpipe.journal.files import PACKED, JournalError, numbered
from hftpipe.journal.fold import Standing, standing_of
from hftpipe.journal.layout import FILE_END, RUN_ENDED
from hftpipe.journal.reading import CUT, DECISIONS, DROP, EMPTY, FOUND, KEEP, REFUSE, TORN, JournalFile, read_whole

WHAT_TO_DO = (
    "nothing is changed. Look at it with `hftpipe journal verify`; moved aside as a whole, the folder begins anew at the next start, "
    "without positions"
)


@dataclass
class Recovered:
    """What was found of earlier runs.

    Attributes:
        files: those of the last run, in order, as far as they are valid.
        next_number, last_seq, last_crc: what the next file goes on from.
        notes: what was cut or dropped, for people.
        ended: whether the last run has ended in order.
    """

    files: list[JournalFile]
    next_number: int = 1
    last_seq: int = 0
    last_crc: int = 0
    notes: list[str] = field(default_factory=list)
    ended: bool = True

    @property
    def standing(self) -> Standing | None:
        """How things stood at its end; None where there has been no run."""
        return standing_of(self.files) if self.files else None


def standing_now(files: list[JournalFile]) -> Standing | None:
    """How things stand after these files, those without entries left out; None where there is none.

    Raises:
        JournalError: a start would refuse one of them.
    """
    begun = [one for one in files if len(one.entries)]
    for index, one in enumerate(begun):
        judge(one, index == len(begun) - 1)
    check_begin(begun)
    check_links(begun)
    return standing_of(begun) if begun else None


def carried_of(standing: Standing | None) -> dict[str, Any]:
    """What the next run begins with, as JSON types."""
    if standing is None:
        return {}
    return {"holdings": {symbol: asdict(one) for symbol, one in standing.holdings.items()}, "fees": standing.fees}


def check_begin(files: list[JournalFile]) -> None:
    """Whether the first of a run's files is the one that the run began with: positions are counted from there.

    Raises:
        JournalError: it is not.
    """
    if files and int(files[0].entries["b"][0]) != 1:
        raise JournalError(
            f"{files[0].path}: byte {int(files[0].header['head_bytes'])}: its run began in an earlier file, which is missing; {WHAT_TO_DO}"
        )


def check_links(files: list[JournalFile]) -> None:
    """Whether each file goes on where the one before it ended.

    Raises:
        JournalError: one does not; names both.
    """
    for before, after in itertools.pairwise(files):
        begin = after.entries[0]
        if after.number != before.number + 1:
            raise JournalError(
                f"{after.path}: byte 0: file {before.number + 1} of the journal is missing; {WHAT_TO_DO}"
            )
        if (int(begin["id"]), int(begin["a"])) != (before.last_seq + 1, before.last_crc):
            raise JournalError(
                f"{after.path}: byte {int(after.header['head_bytes'])}: it goes on from entry {int(begin['id']) - 1}, and {before.path} "
                f"ends at byte {before.offset} with entry {before.last_seq}; {WHAT_TO_DO}"
            )


def judge(one: JournalFile, is_last: bool) -> str:
    """What the table says of a file: KEEP, CUT or DROP.

    Raises:
        JournalError: REFUSE; names file and offset.
    """
    decision = DECISIONS[one.found][0 if is_last else 1]
    if int(one.header["number"]) != int(one.path.name[:8]):
        raise JournalError(f"{one.path}: byte 0: it says that it is file {one.number}; {WHAT_TO_DO}")
    if decision == REFUSE:
        raise JournalError(f"{one.said()}; {WHAT_TO_DO}")
    if decision == CUT and not len(one.entries):
        return DROP
    if decision == CUT and one.path.name.endswith(PACKED):
        return KEEP
    return decision


def _cut(one: JournalFile) -> None:
    with one.path.open("r+b") as file:
        file.truncate(one.offset)
        os.fsync(file.fileno())


def last_run(folder: Path) -> list[JournalFile]:
    """The files of the last run that wrote anything, and those after it, in order."""
    found: list[JournalFile] = []
    for path in reversed(numbered(folder).values()):
        one = read_whole(path)
        epochs = [other.epoch for other in found if len(other.entries)]
        if epochs and len(one.entries) and one.epoch != epochs[-1]:
            break
        found.insert(0, one)
    return found


def recover(folder: Path) -> Recovered:
    """Read the last run's files, and cut what the table says is to be cut.

    Raises:
        JournalError: the table refuses a file, or one does not continue the one before.
    """
    for left in folder.glob(f"*{UNFINISHED}") if folder.is_dir() else ():
        left.unlink(missing_ok=True)
    files = last_run(folder)
    result = Recovered([])
    last = max((index for index, one in enumerate(files) if one.found != EMPTY), default=len(files) - 1)
    decided = [(one, judge(one, index >= last)) for index, one in enumerate(files)]
    result.files = [one for one, decision in decided if decision != DROP]
    check_begin(result.files)
    check_links(result.files)
    # Nothing is refused any more: only now is anything changed.
    for one, decision in decided:
        if decision == DROP:
            one.path.unlink()
        elif decision == CUT:
            _cut(one)
        if one.found == TORN:
            result.notes.append(
                f"{one.path}: {FOUND[TORN]}: cut at byte {one.offset} of {one.size} ({one.loose} bytes not zero)"
            )
    if missed := max(
        (int(one.entries["a"][-1]) for one in result.files if one.entries["kind"][-1] == FILE_END), default=0
    ):
        result.notes.append(
            f"{folder}: {missed} cancels or reports of the last run were not written, for the disk was full: its positions are not sure"
        )
    if result.files:
        sync_folder(folder)
        end = result.files[-1]
        tail = end.entries[-1]
        result.ended = bool(tail["kind"] == FILE_END and tail["flags"] == RUN_ENDED)
        result.next_number, result.last_seq, result.last_crc = end.number + 1, end.last_seq, end.last_crc
    return result
