"""``hftpipe top`` without the option parser, which takes longer to import than the rest of it.

It is started beside a running pipeline, at times in a hurry, on CPUs that have better things to do. Whatever is not one of its two
plain flags is left to the parser.
"""

import sys
from collections.abc import Callable

from hftpipe.core.schema.refusal import Refusal

EXIT_USAGE = 2


def top_of(arguments: list[str]) -> tuple[str, bool] | None:
    """The pipeline's name, and whether once, of a plain ``top`` command line; None if it is anything else."""
    if arguments[:1] != ["top"]:
        return None
    name, once, rest = "default", False, arguments[1:]
    while rest:
        match rest:
            case ["--once", *rest]:
                once = True
            case ["--name", value, *rest] if not value.startswith("-"):
                name = value
            case _:
                return None
    return name, once


def quick(arguments: list[str]) -> Callable[[], int] | None:
    """What to call for these arguments, with all that it needs imported; its result is the exit code. None: ask the parser."""
    asked = top_of(arguments)
    if asked is None:
        return None
    from hftpipe.monitor.top import watch

    def action() -> int:
        try:
            watch(*asked)
        except Refusal as error:
            sys.stderr.write(f"error: {error}\n")
            return EXIT_USAGE
        return 0

    return action
