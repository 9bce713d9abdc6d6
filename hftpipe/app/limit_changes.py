"""Risk limits that change during a run: checked as a whole, handed to risk at once, and said with what they were.

A limit that is no longer given changes nothing: whoever wants an instrument to be traded no more restricts it, or halts it.
"""

import logging
from collections.abc import Collection, Mapping
from typing import Any

import numpy as np

from hftpipe.app.settings.leaves import leaves, shown
from hftpipe.config import Config, ConfigError, limit_warnings
from hftpipe.log import event
from hftpipe.risk.changes import AREAS, CHANGES
from hftpipe.topology.configured import limits_of
from hftpipe.topology.limit_groups import groups_of
from hftpipe.topology.limit_words import WORDS, changed_words, limit_rows, may_change, with_limits_of
from hftpipe.topology.pipeline import Pipeline

LOG = logging.getLogger("hftpipe.app.run")


def _limits_of(config: Config) -> dict[str, Any]:
    """Every limit that may change, by dotted key, as it is written."""
    return {key: shown(key, value) for key, value in leaves(config.as_dict()).items() if may_change(key)}


class LimitChanges:
    """Hands changed limits to the risk stage of a running pipeline; one batch after the other."""

    def __init__(self, pipeline: Pipeline) -> None:
        self._pipeline, self._wanted = pipeline, pipeline.config
        self._given = _limits_of(pipeline.config)
        self._is_due = False
        self._area = pipeline.segment.region("risk.changes")

    def want(self, found: Config, taken_back: Collection[str] = ()) -> None:
        """Let the limits of a configuration be in force as soon as risk can take them.

        Args:
            taken_back: keys that somebody had set, and takes back: they may be given no longer.

        Raises:
            ConfigError: one that was given is so no longer, or what is restricted does not exist; nothing changes.
        """
        wanted = with_limits_of(self._pipeline.config, found)
        given = _limits_of(wanted)
        if gone := sorted(
            key
            for key, value in self._given.items()
            if value is not None and given.get(key) is None and key not in taken_back
        ):
            raise ConfigError(
                f"no longer given: {', '.join(gone)}; restricted, or `hftpipe halt`, ends the trading of an instrument"
            )
        if given == self._given:
            return
        groups_of(wanted, limits_of(wanted))
        rows = [limit_rows(one, self._pipeline.seats) for one in (self._wanted, wanted)]
        self._tell(given, wanted, len(changed_words(*rows)) > 0)
        self._wanted, self._given, self._is_due = wanted, given, True
        self.flush()

    def _tell(self, given: Mapping[str, Any], wanted: Config, has_effect: bool) -> None:
        changes = {
            key: {"old": self._given.get(key), "new": given.get(key)}
            for key in sorted(given.keys() | self._given.keys())
            if self._given.get(key) != given.get(key)
        }
        text = (
            "risk limits changed"
            if has_effect
            else "risk limits without effect: nothing that is traded is judged by them"
        )
        event(LOG, logging.WARNING, text, changes=changes)
        for warning in limit_warnings(wanted):
            event(LOG, logging.WARNING, warning)

    def flush(self) -> None:
        """Write down what is due, unless risk has still to take what was written before."""
        head = self._area[: CHANGES.itemsize].view(CHANGES)
        if not self._is_due or head["published"][0] != head["taken"][0]:
            return
        words = changed_words(self._rows(), limit_rows(self._wanted, self._pipeline.seats))
        self._area[CHANGES.itemsize :][: words.nbytes] = words.view(np.uint8)
        head["count"] = len(words)
        # Last: from here on the batch is risk's.
        head["published"] += 1
        self._is_due = False

    def _rows(self) -> dict[str, np.ndarray]:
        """Risk's rows, as they are."""
        found = {}
        for area in AREAS:
            dtype, region = WORDS[area][0], self._pipeline.segment.region(f"risk.{area}")
            found[area] = region[: dtype.itemsize].view(dtype) if area == "repeats" else region.view(dtype)
        return found
