"""The command line. Each command reads its flags and calls one function; compiled code is imported only when needed.

A file holds one group of commands; importing it here adds them to ``app``.
"""

# In the order in which the help lists them.
# isort: off
from hftpipe.cli.common import app
from hftpipe.cli import run, operate, exchange, captures  # noqa: F401
# isort: on


def main() -> None:
    """Entry point of the ``hftpipe`` command."""
    app()
