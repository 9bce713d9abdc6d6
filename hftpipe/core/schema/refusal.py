"""The kind of error that is somebody's to mend: a file, a value, a name. Its message says which, and what is allowed."""

import contextlib
from collections.abc import Iterator


class Refusal(Exception):
    """Nothing was started. The command line shows the message alone and ends with 2."""


class NetworkRefusal(Refusal, OSError):
    """A socket cannot be opened: a port that is taken, an address that no interface has."""


@contextlib.contextmanager
def refused_network() -> Iterator[None]:
    """While sockets are opened: what the system, or who opens them, says against it is a refusal.

    Raises:
        NetworkRefusal: in the place of an OSError or ValueError.
    """
    try:
        yield
    except Refusal:
        raise
    except OSError as error:
        said = f"{error.filename or ''}: {error.strerror}".removeprefix(": ") if error.strerror else str(error)
        raise NetworkRefusal(said) from error
    except ValueError as error:
        raise NetworkRefusal(str(error)) from error
