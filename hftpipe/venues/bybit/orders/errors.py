"""What Bybit's return codes mean for an order: the table of section 9 of its protocol, as data. Spot's codes have six digits."""

from hftpipe.core.schema import reasons as why
from hftpipe.venues.orders.errors import ASK, PAUSE, REJECT, RETRY, STOP, Row


def _rows(action: int, reason: int, *codes: int) -> list[Row]:
    return [Row(code, action, reason) for code in codes]


#: Those by which the venue refuses a request for its time.
WRONG_TIME = (10002, -1)
ERRORS = (
    # Nothing is known: asked about.
    *_rows(ASK, why.VENUE_BUSY, 10000, 10016, 10019, 170001, 170032, 170234, 170007, 170146, 170147, 170310, 40004),
    # "Failed", "rejected": once in a while such an order is there all the same.
    *_rows(ASK, why.VENUE_REFUSED, 170149, 170150, 170311, 170210),
    *_rows(ASK, why.DUPLICATE_ID, 10014, 20006, 110072, 170141),
    # Not there (any more), or not yet: it may have filled.
    *_rows(ASK, why.VENUE_UNKNOWN_ORDER, 110001, 170143, 170213, 110008, 110010, 170139, 170142, 170190),
    # Nothing was done, and it may be tried again.
    *_rows(RETRY, why.VENUE_BUSY, *WRONG_TIME, 110020, 170810, 170005),
    *_rows(RETRY, why.CHANGE_IN_FLIGHT, 110079, 170035, 170191, 170212),
    *_rows(PAUSE, why.VENUE_BUSY, 10006, 429, 10429, 20003, 10403, 170222),
    # Key, signature, permission, region.
    *_rows(STOP, why.VENUE_REFUSED, 10003, 10004, 10005, 10007, 10008, 10009, 10010, 10024, 10027, 10028, 33004, -2015),
    *_rows(REJECT, why.VENUE_FILTER, 10001, 110003, 110120, 110121, 170132, 170133, 170192, 170193, 170194, 170371, 170372),
    *_rows(REJECT, why.VENUE_FILTER, 30208, 30209, 110094, 170136, 170140, 170124, 170381, 170382, 170197, 170198),
    *_rows(REJECT, why.VENUE_FILTER, 170134, 170137, 170148),
    *_rows(REJECT, why.UNKNOWN_INSTRUMENT, 10029, 170121, 110074, 170151, 170157),
    *_rows(
        REJECT, why.INSUFFICIENT_BALANCE, 110004, 110006, 110007, 110012, 110044, 110045, 110051, 110052, 110053, 170033, 170131
    ),
    *_rows(REJECT, why.REDUCE_ONLY_REJECT, 110017),
    *_rows(REJECT, why.AMEND_BELOW_FILLED, 110064, 170313),
    *_rows(REJECT, why.POST_ONLY_WOULD_TAKE, 170217, 170218, 110103),
    *_rows(REJECT, why.VENUE_REFUSED, 10017, 10404),
)  # fmt: skip
