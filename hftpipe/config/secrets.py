"""Secrets: read from the environment only, kept out of the tree, and blotted out of every message."""

import json
import re
from collections.abc import Mapping
from typing import NoReturn
from urllib.parse import quote

SECRET_PREFIX = "HFTPIPE_SECRET_"
_SECRET_KEY = re.compile(r"api.?key|secret|passw|passphrase|token|private.?key|credential|[_-]key$", re.IGNORECASE)
_spellings: set[str] = set()


class Secret:
    """A text that shows itself only through `reveal()`: never in repr, str, format, a pickle or our logs."""

    __slots__ = ("_value",)

    def __init__(self, value: str) -> None:
        self._value = value
        # Logs hold texts in escaped and quoted forms too, and indent the lines of a longer one.
        lines = [line for line in value.splitlines() if len(line) >= 8]
        for one in (value, value.strip(), *lines):
            quoted = quote(one, safe="", errors="replace")
            _spellings.update({one, repr(one)[1:-1], json.dumps(one)[1:-1], quoted} - {""})

    def reveal(self) -> str:
        """The text itself."""
        return self._value

    def __repr__(self) -> str:
        return "Secret(***)"

    def __format__(self, spec: str) -> str:
        return format(repr(self), spec)

    def __eq__(self, other: object) -> bool:
        return isinstance(other, Secret) and self._value == other._value

    def __hash__(self) -> int:
        return hash(self._value)

    def __copy__(self) -> "Secret":
        return self

    def __deepcopy__(self, memo: object) -> "Secret":
        return self

    def _refuse(self, *_: object) -> NoReturn:
        raise TypeError("a Secret cannot be pickled: read it from the environment in the process that needs it")

    __reduce__ = __reduce_ex__ = __getstate__ = _refuse


def secrets_from_env(env: Mapping[str, str]) -> dict[str, Secret]:
    """The secrets of `env` by lower-case name (HFTPIPE_SECRET_API_KEY is "api_key"), empty ones left out."""
    found = {name.removeprefix(SECRET_PREFIX).lower(): value for name, value in env.items() if is_secret_env(name)}
    return {name: Secret(value) for name, value in found.items() if value}


def is_secret_env(name: str) -> bool:
    """Whether an environment variable of this name holds a secret."""
    return name.startswith(SECRET_PREFIX) and name != SECRET_PREFIX


def looks_secret(name: str) -> bool:
    """Whether a key of this name would hold a secret."""
    return bool(_SECRET_KEY.search(name))


def redact(message: str) -> str:
    """`message` with the value of every Secret made in this process replaced by ***."""
    for spelling in sorted(_spellings, key=len, reverse=True):
        message = message.replace(spelling, "***")
    return message
