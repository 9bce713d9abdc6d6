"""The store that needs nothing else: ``NAME.params`` in the state folder, one JSON object.

What was taken back stays in it as null. A file that is gone, and was there, takes nothing back: that is said, and what is known holds.
"""

from collections.abc import Hashable, Mapping

import orjson

from hftpipe.app.settings.file_look import look_at
from hftpipe.app.state import StateError, locked, refused, state_file
from hftpipe.core.machine.durable import write_whole


class FileStore:
    """Changed settings of pipeline ``name`` in a file."""

    def __init__(self, name: str) -> None:
        self._name, self._was_there = name, False

    def read(self) -> dict[str, str]:
        """See :class:`hftpipe.app.settings.contract.Store`."""
        return {key: value for key, value in self._all().items() if value is not None}

    def _all(self) -> dict[str, str | None]:
        path = state_file(self._name, "params")
        try:
            text = path.read_bytes()
        except FileNotFoundError as error:
            if self._was_there:
                raise StateError(
                    f"{path}: it was there, and is gone; what it held stays in force until the run ends"
                ) from error
            return {}
        except OSError as error:
            raise refused(path, error) from error
        self._was_there = True
        try:
            return {str(key): _text(value) for key, value in orjson.loads(text).items()}
        except (ValueError, AttributeError, TypeError) as error:
            raise StateError(
                f"{path}: not what was written there ({error}); it holds the limits set while a run went on: mend it, or remove it"
            ) from error

    def write(self, changes: Mapping[str, str | None]) -> None:
        """See :class:`hftpipe.app.settings.contract.Store`."""
        with locked(self._name):
            self._replace({**self._all(), **changes})

    def keep(self, settings: Mapping[str, str]) -> None:
        """Let these, and no others, be what is kept. Raises StateError."""
        with locked(self._name):
            self._replace(settings)

    def _replace(self, settings: Mapping[str, str | None]) -> None:
        path = state_file(self._name, "params")
        try:
            write_whole(path, orjson.dumps(dict(settings), option=orjson.OPT_INDENT_2 | orjson.OPT_SORT_KEYS) + b"\n")
        except OSError as error:
            raise refused(path, error) from error

    def look(self) -> Hashable:
        """See :class:`hftpipe.app.settings.contract.Store`."""
        return look_at(state_file(self._name, "params"))

    def close(self) -> None:
        """See :class:`hftpipe.app.settings.contract.Store`."""


def _text(value: object) -> str | None:
    """Raises TypeError unless it is a text, or null."""
    if value is not None and not isinstance(value, str):
        raise TypeError(f"{value!r} is no text")
    return value
