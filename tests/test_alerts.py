"""What a person must hear of while the run goes on is in the log at once, as a warning, and once for each time."""

import logging

import numpy as np

from hftpipe.app.alerts import Alerts
from hftpipe.core.schema.counters import ALERT, NOTICE, places, table
from hftpipe.venues.nasdaq.itch.arbiter_state import COUNTERS as FEED
from hftpipe.venues.nasdaq.ouch.state import LINK_COUNTERS

PART = np.dtype([("rolls", "i8"), ("strays", "i8", 3)])


class Segment:
    """One region with the counters of a part."""

    def __init__(self) -> None:
        self.memory = np.zeros(1, PART)
        counters = table("""
* rolls   sessions that followed another
~ strays  packets from elsewhere
""")
        self.meta = {"counters": [list(one) for one in places("feed", "itch", PART, counters)]}

    def region(self, name: str) -> np.ndarray:
        assert name == "itch"
        return self.memory.view(np.uint8)


def test_an_alert_that_has_risen_is_a_warning_once_and_a_notice_is_none(caplog):
    segment = Segment()
    alerts = Alerts(segment)
    caplog.set_level(logging.INFO, "hftpipe")
    alerts.look()
    segment.memory["strays"] = 5
    alerts.look()
    assert caplog.records == []
    segment.memory["rolls"] = 2
    alerts.look()
    alerts.look()
    (record,) = caplog.records
    assert (record.levelno, record.getMessage()) == (logging.WARNING, "sessions that followed another")


def test_another_session_of_the_feed_and_a_lost_order_session_are_alerts():
    kinds = {one.name: one.kind for one in (*FEED, *LINK_COUNTERS)}
    assert [kinds[name] for name in ("session_changes", "restarts", "outages", "ends")] == [ALERT, ALERT, ALERT, NOTICE]
