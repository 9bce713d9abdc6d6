"""What Binance's error codes mean for an order, of each market: the table of section 4 of its protocol, as data.

The same number can mean another thing on another market (-2021, -2022).
"""

from hftpipe.core.schema import reasons as why
from hftpipe.venues.orders.errors import ASK, PAUSE, REJECT, RETRY, STOP, Row

#: Those by which the venue refuses a request for its time (the second one on USD-M).
WRONG_TIME = (-1021, -5028)
_BOTH = (
    # Nothing is known: asked about.
    *(Row(code, ASK, why.VENUE_BUSY) for code in (-1000, -1001, -1006, -1007)),
    # Nothing was done, and it may be tried again.
    *(Row(code, RETRY, why.VENUE_BUSY) for code in (-1008, -1016, -1021, -1034)),
    # The venue counts too much: nothing new before its window ends.
    *(Row(code, PAUSE, why.VENUE_BUSY) for code in (-1003, -1015)),
    # Key, permission, signature.
    *(Row(code, STOP, why.VENUE_REFUSED) for code in (-1002, -1022, -2014, -2015)),
    # Filters and parameters.
    Row(-1013, REJECT, why.VENUE_FILTER),
    Row(-1111, REJECT, why.VENUE_FILTER),
    *(Row(code, REJECT, why.VENUE_FILTER) for code in range(-1136, -1099) if code not in (-1111, -1121, -1122, -1125)),
    Row(-1121, REJECT, why.UNKNOWN_INSTRUMENT),
    Row(-1122, REJECT, why.UNKNOWN_INSTRUMENT),
    # Cancelling or changing what is not open (any more): it may have filled.
    Row(-2011, ASK, why.VENUE_UNKNOWN_ORDER),
    Row(-2013, ASK, why.VENUE_UNKNOWN_ORDER),
    Row(-2010, REJECT, why.VENUE_REFUSED),
)
SPOT = (
    *_BOTH,
    Row(-2021, ASK, why.VENUE_UNKNOWN_ORDER),
    Row(-2022, REJECT, why.VENUE_UNKNOWN_ORDER),
    Row(-2026, ASK, why.VENUE_UNKNOWN_ORDER),
    Row(-2038, REJECT, why.VENUE_FILTER),
    Row(-2039, ASK, why.VENUE_UNKNOWN_ORDER),
)
USDM = (
    *_BOTH,
    *(Row(code, REJECT, why.INSUFFICIENT_BALANCE) for code in (-2018, -2019, -2024, -2027, -2028)),
    Row(-2020, REJECT, why.FOK_UNFILLABLE),
    Row(-2022, REJECT, why.REDUCE_ONLY_REJECT),
    Row(-2025, REJECT, why.VENUE_BUSY),
    *(
        Row(code, REJECT, why.VENUE_FILTER)
        for code in (*range(-4005, -4000), -4013, -4014, -4016, -4023, -4024, -4029, -4030, -4131, -4164)
    ),
    *(Row(code, STOP, why.VENUE_REFUSED) for code in (-4061, -4062)),
    # The id is known there: the first one of two has arrived.
    Row(-4116, ASK, why.DUPLICATE_ID),
    Row(-4118, REJECT, why.REDUCE_ONLY_REJECT),
    *(
        Row(code, REJECT, why.VENUE_REFUSED)
        for code in (-4087, -4088, -4105, -4106, -4107, -4120, -4189, -4192, -4400, -4401)
    ),
    Row(-4531, RETRY, why.VENUE_BUSY),
    Row(-5021, REJECT, why.FOK_UNFILLABLE),
    Row(-5022, REJECT, why.POST_ONLY_WOULD_TAKE),
    *(Row(code, REJECT, why.VENUE_FILTER) for code in (-5024, -5025, -5026, -5027, -5029, -5041, -5047)),
    Row(-5028, RETRY, why.VENUE_BUSY),
    Row(-5043, RETRY, why.CHANGE_IN_FLIGHT),
)
#: Where the code leaves open what is meant (-2010; HTTP 503 on USD-M), the message tells; another one that only begins as one of these is none.
MESSAGES = (
    ("Duplicate order sent.", ASK, why.DUPLICATE_ID),
    ("Order would immediately match and take.", REJECT, why.POST_ONLY_WOULD_TAKE),
    ("Account has insufficient balance for requested action.", REJECT, why.INSUFFICIENT_BALANCE),
    ("Service Unavailable.", RETRY, why.VENUE_BUSY),
    ("Internal error; unable to process your request. Please try again.", RETRY, why.VENUE_BUSY),
)
