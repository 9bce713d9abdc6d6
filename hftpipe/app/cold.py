"""What is beside trading while a run goes on (the live view, reading parameters again) and must never end it."""

import logging
import traceback
from collections.abc import Callable

from hftpipe.log import event

LOG = logging.getLogger("hftpipe.app.cold")


class Cold:
    """Runs cold work; what it raises is counted by the work's name and logged, once for each place.

    Attributes:
        errors: how often each work has failed.
    """

    def __init__(self) -> None:
        self.errors: dict[str, int] = {}
        self._told: set[tuple[str, str]] = set()

    def run(self, work: str, action: Callable[[], object]) -> None:
        """Do ``action``. Whatever it raises is caught, for an order must not be left alone over a screen."""
        try:
            action()
        except Exception as error:
            self.errors[work] = self.errors.get(work, 0) + 1
            self._tell(work, error)

    def _tell(self, work: str, error: Exception) -> None:
        place = traceback.extract_tb(error.__traceback__)[-1]
        at = f"{place.filename}:{place.lineno}"
        if (work, at) in self._told:
            return
        self._told.add((work, at))
        event(LOG, logging.ERROR, f"{work} failed; the run goes on", reason=f"{type(error).__name__}: {error}", at=at)
