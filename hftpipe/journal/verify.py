"""A whole journal looked at, file by file: what a start would make of it, and of the files that a start does not read."""

from collections.abc import Callable
from pathlib import Path
from typing import NamedTuple

from hftpipe.journal.files import JournalError, numbered
from hftpipe.journal.reading import BARE, CUT, DROP, ENDED, FOUND, TORN, ZEROS, JournalFile, read_whole
from hftpipe.journal.recovery import check_links, judge


class Verdict(NamedTuple):
    """What was found: entries, and everything that a start would refuse or cut."""

    entries: int
    problems: list[str]


def verify(folder: Path, say: Callable[[str], None]) -> Verdict:
    """Look at every file of a journal; one line each."""
    files: list[JournalFile] = []
    problems: list[str] = []
    paths = list(numbered(folder).values())
    for path in paths:
        try:
            files.append(read_whole(path))
        except JournalError as wrong:
            problems.append(str(wrong))
    last = max((index for index, one in enumerate(files) if len(one.entries)), default=len(files) - 1)
    for index, one in enumerate(files):
        try:
            decision = judge(one, index >= last)
        except JournalError as wrong:
            problems.append(str(wrong))
            continue
        if decision == CUT and one.found == TORN:
            problems.append(f"{one.said()}; the next start cuts it there")
        if decision != DROP:
            end = FOUND[one.found] if one.found in (ENDED, BARE, ZEROS, TORN) else ""
            say(f"{one.path.name}: run {one.epoch}, entries {one.first_seq} to {one.last_seq}: {end}")
    if not problems:
        try:
            check_links([one for one in files if len(one.entries)])
        except JournalError as wrong:
            problems.append(str(wrong))
    return Verdict(sum(len(one.entries) for one in files), problems)
