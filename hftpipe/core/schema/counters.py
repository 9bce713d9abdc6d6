"""What a part counts, said once: name, kind and help. Only what is declared is shown, exported or kept in a summary.

A table is text, one counter a line, a mark in front of its name saying what it is::

    "  name   help"     counter: how often something usual happened
    "~ name   help"     notice:  trouble from outside that was dealt with (a hole that was filled)
    "* name   help"     alert:   a notice of which a person is told at once, in the log
    "! name   help"     fault:   what must not happen
    "? name   help"     doubt:   a fault after which the account may hold something else than the run says: told at once as an
                                 alert is, and the run ends with 1
    "= name   help"     gauge:   a value that goes up and down
"""

from typing import NamedTuple

import numpy as np

from hftpipe.core.schema.layout import offset_of

COUNTER, NOTICE, ALERT, FAULT, DOUBT, GAUGE = "counter", "notice", "alert", "fault", "doubt", "gauge"
_MARKS = {" ": COUNTER, "~": NOTICE, "*": ALERT, "!": FAULT, "?": DOUBT, "=": GAUGE}
#: Of these a person is told at once.
TOLD_AT_ONCE = (ALERT, DOUBT)


class Counter(NamedTuple):
    """One declared counter: an int64 field of its part's record, or an array of them that is summed."""

    name: str
    kind: str
    help: str


class Place(NamedTuple):
    """Where a counter stands in a segment: ``lanes`` int64 words at ``offset`` of ``region``; ``scope`` is its part."""

    scope: str
    name: str
    kind: str
    help: str
    region: str
    offset: int
    lanes: int


def table(text: str) -> tuple[Counter, ...]:
    """The counters of a table as described above.

    Raises:
        ValueError: a line without a help, or with an unknown mark.
    """
    found = []
    for line in text.strip("\n").splitlines():
        name, _, help_ = line[2:].strip().partition(" ")
        if line[0] not in _MARKS or not help_.strip():
            raise ValueError(f"counter {line!r}: write it as a mark ({', '.join(_MARKS)}), a name and a help")
        found.append(Counter(name, _MARKS[line[0]], help_.strip()))
    return tuple(found)


def places(scope: str, region: str, record: np.dtype, counters: tuple[Counter, ...], at: int = 0) -> list[Place]:
    """Where the counters of a record lie that starts at byte ``at`` of a region.

    Raises:
        KeyError: the record has no such field. ValueError: it is not of int64.
    """
    found = []
    for one in counters:
        field = record[one.name]
        if field.base != np.dtype("i8"):
            raise ValueError(f"{scope}.{one.name} is {field}, not int64")
        found.append(
            Place(scope, one.name, one.kind, one.help, region, at + offset_of(record, one.name), field.itemsize // 8)
        )
    return found
