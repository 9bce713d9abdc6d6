"""The part of a pipeline's trading that a person halts: all of it, one venue, one strategy or one instrument."""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from hftpipe.app.state import StateError
from hftpipe.core.schema.halts import SCOPE_LISTS, place_of


@dataclass(frozen=True)
class Scope:
    """A venue, a strategy or an instrument, by its name; ``kind`` empty: everything."""

    kind: str = ""
    label: str = ""

    @classmethod
    def of(cls, **asked: str | None) -> "Scope":
        """The one that is asked for by ``venue=``, ``strategy=`` or ``instrument=``; everything if none is.

        Raises:
            StateError: more than one is, or its name cannot be one.
        """
        given = {kind: label for kind, label in asked.items() if label}
        if len(given) > 1:
            raise StateError(f"{', '.join(f'--{kind}' for kind in given)}: allowed is one of them at a time")
        for kind, label in given.items():
            plain = label.replace(":", "").replace("_", "").replace("-", "")
            if not (plain.isalnum() and plain.isascii()):
                raise StateError(f"--{kind} {label}: allowed are letters, digits, :, _ and -")
            return cls(kind, label)
        return cls()

    @property
    def text(self) -> str:
        """As in the name of its latch: ``venue.alpha``; empty for everything."""
        return f"{self.kind}.{self.label}" if self.kind else ""

    def is_in(self, meta: Mapping[str, Any]) -> bool:
        """Whether a pipeline with these facts has it."""
        return self.label in meta[SCOPE_LISTS[self.kind]]

    def place(self, meta: Mapping[str, Any]) -> int:
        """Place of its word in a pipeline with these facts.

        Raises:
            StateError: the pipeline has no such venue, strategy or instrument.
        """
        names = meta[SCOPE_LISTS[self.kind]]
        if self.label not in names:
            known = ", ".join(names[:20]) + (", ..." if len(names) > 20 else "")
            raise StateError(f"--{self.kind} {self.label}: the pipeline has none of that name; allowed: {known}")
        return place_of(self.kind, names.index(self.label))


def scope_of(text: str) -> Scope:
    """The scope of a latch's name."""
    kind, _, label = text.partition(".")
    return Scope(kind, label)
