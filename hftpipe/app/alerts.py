"""Alerts: what a person must hear of while the run goes on. A counter declared as one, or as a doubt, that has risen is a warning in
the log."""

import logging

import numpy as np

from hftpipe.core.schema.counters import TOLD_AT_ONCE
from hftpipe.core.shared.shm import Segment
from hftpipe.log import event

LOG = logging.getLogger("hftpipe.app.alerts")


class Alerts:
    """The counters of a pipeline that are alerts.

    Args:
        segment: the pipeline's; every process has its counters there.
    """

    def __init__(self, segment: Segment) -> None:
        self._segment = segment
        self._places = [one for one in segment.meta["counters"] if one[2] in TOLD_AT_ONCE]
        self._told = dict.fromkeys((scope, name) for scope, name, *_ in self._places)

    def look(self) -> None:
        """Say what has risen since the last look."""
        for scope, name, _, help_, region, offset, lanes in self._places:
            count = int(self._segment.region(region)[offset : offset + 8 * lanes].view(np.int64).sum())
            if count > (self._told[scope, name] or 0):
                event(LOG, logging.WARNING, help_, part=scope, counter=name, count=count)
            self._told[scope, name] = count
