"""The part of a pipeline's trading that a person halts: all of it, one venue, one strategy or one instrument, or all that could make a
position larger."""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from hftpipe.app.state import StateError
from hftpipe.core.schema.halts import REDUCE, SCOPE_LISTS, place_of


@dataclass(frozen=True)
class Scope:
    """A venue, a strategy or an instrument, by its name; ``kind`` empty: everything; REDUCE, with no name: what could make a
    position larger."""

    kind: str = ""
    label: str = ""

    @classmethod
    def of(cls, is_reducing: bool = False, **asked: str | None) -> "Scope":
        """The one that is asked for by ``venue=``, ``strategy=`` or ``instrument=``; everything if none is.

        Args:
            is_reducing: what could make a position larger is asked for.

        Raises:
            StateError: more than one is, or its name cannot be one.
        """
        given = {kind: label for kind, label in asked.items() if label} | ({REDUCE: ""} if is_reducing else {})
        if len(given) > 1:
            raise StateError(f"{', '.join(f'--{kind}' for kind in given)}: allowed is one of them at a time")
        for kind, label in given.items():
            if kind == REDUCE:
                return cls(REDUCE)
            plain = label.replace(":", "").replace("_", "").replace("-", "")
            if not (plain.isalnum() and plain.isascii()):
                raise StateError(f"--{kind} {label}: allowed are letters, digits, :, _ and -")
            return cls(kind, label)
        return cls()

    @property
    def text(self) -> str:
        """As in the name of its latch: ``venue.alpha``; empty for everything."""
        return f"{self.kind}.{self.label}" if self.label else self.kind

    @property
    def shown(self) -> str:
        """What does not trade while it is halted, for people."""
        if self.kind == REDUCE:
            return "whatever could make a position larger"
        return f"trading of {self.kind} {self.label}" if self.kind else "trading"

    def is_in(self, meta: Mapping[str, Any]) -> bool:
        """Whether a pipeline with these facts has it."""
        return self.kind == REDUCE or self.label in meta[SCOPE_LISTS[self.kind]]

    def place(self, meta: Mapping[str, Any]) -> int:
        """Place of its word in a pipeline with these facts.

        Raises:
            StateError: the pipeline has no such venue, strategy or instrument.
        """
        if self.kind == REDUCE:
            return place_of(REDUCE, 0)
        names = meta[SCOPE_LISTS[self.kind]]
        if self.label not in names:
            known = ", ".join(names[:20]) + (", ..." if len(names) > 20 else "")
            raise StateError(f"--{self.kind} {self.label}: the pipeline has none of that name; allowed: {known}")
        return place_of(self.kind, names.index(self.label))


def scope_of(text: str) -> Scope:
    """The scope of a latch's name."""
    kind, _, label = text.partition(".")
    return Scope(kind, label)
