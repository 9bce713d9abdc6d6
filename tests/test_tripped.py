"""What a person reads when a stage has stopped itself: which order, how much, at what price, never bare units."""

import pytest

from hftpipe.app.tripped import why_tripped
from hftpipe.core.schema import cells
from hftpipe.venues.contract import About

ABOUT = About("lines", server="127.0.0.1:9", user="alice")


@pytest.mark.parametrize(
    ("cause", "words"),
    [
        (cells.ORPHAN_FILL, ["order number 32", "not of this run", "59897.6", "earlier run"]),
        (cells.BROKEN_TRADE, ["execution 32"]),
        (cells.VENUE_FORGOT, ["no longer knows"]),
        (cells.LOGIN_REFUSED, ["user alice", "refused 32 times", ":"]),
        (cells.WRONG_TERMS, ["order 0x20", "0.001 at 59897.6"]),
        (cells.OVERFILL, ["order 0x20", "beyond its quantity"]),
        (cells.LATE_FILL, ["order 0x20", "after its end"]),
        (cells.UNREADABLE_REPORT, ["cannot be read", "first byte 32, 100000 bytes"]),
        (cells.POSITION_LIMIT, ["0.001 at 59897.6", "max_position"]),
        (cells.SESSION_LOST, ["user alice", "32 ms", "100000 orders"]),
        (cells.WRONG_PRICE, ["order 0x20", "worse", "0.001 at 59897.6"]),
        (cells.UNBOOKABLE_FILL, ["order 0x20", "0.001 at 59897.6", "cannot be booked"]),
        (cells.SENT_UNAPPROVED, ["stage gateway", "order 0x20", "approved"]),
        (cells.POSITION_DIFFERS, ["0.001 of BTCUSDT more", "position_tolerance"]),
        (4, ["stage gateway"]),
    ],
)
def test_every_cause_is_told_in_words_and_in_the_units_of_the_market(cause: int, words: list[str]) -> None:
    text = why_tripped("gateway", cause, 32, 5_989_760_000_000, 100_000, ABOUT, "BTCUSDT")
    assert all(word in text for word in words) and "{" not in text and "5989760000000" not in text, text
