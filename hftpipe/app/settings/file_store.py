"""The store that needs nothing else: ``NAME.params`` in the state folder, one JSON object."""

import os
import stat
from collections.abc import Hashable, Mapping

import orjson

from hftpipe.app.state import StateError, locked, refused, state_file
from hftpipe.core.machine.durable import write_whole


class FileStore:
    """Changed settings of pipeline ``name`` in a file."""

    def __init__(self, name: str) -> None:
        self._name = name

    def read(self) -> dict[str, str]:
        """See :class:`hftpipe.app.settings.contract.Store`."""
        path = state_file(self._name, "params")
        try:
            text = path.read_bytes()
        except FileNotFoundError:
            return {}
        except OSError as error:
            raise refused(path, error) from error
        try:
            found = orjson.loads(text)
            return {str(key): value for key, value in found.items() if _is_text(value)}
        except (ValueError, AttributeError, TypeError) as error:
            raise StateError(
                f"{path}: not what was written there ({error}); it holds the limits set while a run went on: mend it, or remove it"
            ) from error

    def write(self, changes: Mapping[str, str | None]) -> None:
        """See :class:`hftpipe.app.settings.contract.Store`."""
        with locked(self._name):
            self._replace({**self.read(), **changes})

    def keep(self, settings: Mapping[str, str]) -> None:
        """Let these, and no others, be what is kept. Raises StateError."""
        with locked(self._name):
            self._replace(settings)

    def _replace(self, settings: Mapping[str, str | None]) -> None:
        path, kept = (
            state_file(self._name, "params"),
            {key: value for key, value in settings.items() if value is not None},
        )
        try:
            write_whole(path, orjson.dumps(kept, option=orjson.OPT_INDENT_2 | orjson.OPT_SORT_KEYS) + b"\n")
        except OSError as error:
            raise refused(path, error) from error

    def look(self) -> Hashable:
        """See :class:`hftpipe.app.settings.contract.Store`."""
        try:
            found = os.stat(state_file(self._name, "params"))
        except OSError:
            return None
        return (found.st_mtime_ns, found.st_size, found.st_ino) if stat.S_ISREG(found.st_mode) else None

    def close(self) -> None:
        """See :class:`hftpipe.app.settings.contract.Store`."""


def _is_text(value: object) -> bool:
    """Raises TypeError unless it is one."""
    if not isinstance(value, str):
        raise TypeError(f"{value!r} is no text")
    return True
