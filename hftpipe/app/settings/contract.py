"""What a store of changed settings does, and which settings it may hold."""

import hashlib
from collections.abc import Hashable, Mapping
from typing import Protocol

from hftpipe.core.schema.refusal import Refusal
from hftpipe.topology.limit_words import may_change

#: Dotted keys of strategy parameters.
_PARAMETERS = "strategy.params."
_PROFILE = "strategy.profile"
ALLOWED = "risk.limits.SYMBOL.*, controls.*, strategy.params.*, strategy.profile"


class SettingError(Refusal, ValueError):
    """A setting that may not be changed while a pipeline runs; the message says which may."""


class Store(Protocol):
    """Where changed settings are kept: by dotted key, as text."""

    def read(self) -> dict[str, str]:
        """All of them.

        Raises:
            StateError: they cannot be read.
        """

    def write(self, changes: Mapping[str, str | None]) -> None:
        """Set some, and take back those that are None.

        Raises:
            StateError: nothing has changed.
        """

    def look(self) -> Hashable:
        """Something that is another when what :meth:`read` gives may be. Never waits for a network."""

    def close(self) -> None:
        """It is used no more."""


def number_of(kept: Mapping[str, str]) -> int:
    """A number that stands for these settings; never 0."""
    text = "\n".join(f"{key}={value}" for key, value in sorted(kept.items()))
    return int.from_bytes(hashlib.blake2b(text.encode(), digest_size=8).digest(), "little") | 1


def may_be_set(key: str) -> bool:
    """Whether a dotted key may be changed while a pipeline runs."""
    return may_change(key) or key.startswith(_PARAMETERS) or key == _PROFILE


def checked_changes(fields: Mapping[str, object]) -> dict[str, str | None]:
    """Settings as they came from outside (JSON), as text; None takes one back.

    Raises:
        SettingError: one may not be changed, or is neither text nor number.
    """
    found: dict[str, str | None] = {}
    for key, value in fields.items():
        if not may_be_set(key):
            raise SettingError(f"{key}: cannot be changed while a pipeline runs; allowed: {ALLOWED}")
        if value is not None and not isinstance(value, str | int | float):
            raise SettingError(f"{key} = {value!r}; allowed: a text or a number, or null to take it back")
        found[key] = str(value).lower() if isinstance(value, bool) else None if value is None else str(value)
    return found
