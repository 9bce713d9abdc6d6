"""Whether the venue is there: what the gateway is told of the order session itself.

A session may be gone for a moment: a connection breaks, the venue ends one session and begins the next. That is seen to by
:mod:`hftpipe.venues.nasdaq.ouch.link`, and counted. What is open meanwhile is not known any more once the venue has ended the
session it was in; and a session that stays away is a fault, since nobody can be cancelled then.
"""

import numpy as np

from hftpipe.core.machine.jit import jit
from hftpipe.core.machine.mem import U64, ZERO, view
from hftpipe.core.schema.cells import LOGIN_REFUSED, SESSION_LOST, UNREADABLE_REPORT
from hftpipe.core.trading.order_table import open_count
from hftpipe.venues.nasdaq.ouch.link import LINK, link_is_stuck, link_is_up
from hftpipe.venues.nasdaq.ouch.reports import doubt_orders
from hftpipe.venues.nasdaq.ouch.state import VENUE, fault_record


@jit
def _is_in_session(venue):
    """Whether the venue hears us, and has said where it goes on."""
    v = view(venue, VENUE)
    return v.ready != 0 and view(v.link, LINK).renewed == 0 and link_is_up(v.link)


@jit
def _is_away_too_long(venue, now_ns):
    """Whether there has been no session for too long, as far as we have looked: a standstill of our own is none of its."""
    v = view(venue, VENUE)
    if v.down_ns == 0 or now_ns - v.looked_ns > v.login_ns >> 1:
        v.down_ns = now_ns
    v.looked_ns = now_ns
    if v.told_login != 0 or now_ns - v.down_ns < v.login_ns:
        return False
    return v.day_ended == 0 or open_count(v.table) > 0


@jit
def tell_absence(venue, record, now_ns):
    """That there is no session is told once each time: whether ``record`` now holds that fault."""
    v, k = view(venue, VENUE), view(view(venue, VENUE).link, LINK)
    if _is_in_session(venue):
        if v.down_ns != 0:
            v.down_ns, v.told_login, v.refusals = 0, 0, k.refused_logins
        return False
    if not _is_away_too_long(venue, now_ns):
        return False
    v.told_login = 1
    doubt_orders(venue)
    refused = k.refused_logins - v.refusals
    if v.has_logged_in == 0 or refused > 0:
        fault_record(record, np.int64(LOGIN_REFUSED), U64(refused), np.int64(0), np.int64(0))
    else:
        away_ms = (now_ns - v.down_ns) // 1_000_000
        fault_record(record, np.int64(SESSION_LOST), U64(away_ms), np.int64(0), open_count(v.table))
    return True


@jit
def tell_stuck(venue, record):
    """A message that does not come through may be a fill, and hides all behind it: told once each time."""
    v = view(venue, VENUE)
    if not link_is_stuck(v.link):
        v.told_stuck = 0
        return False
    if v.told_stuck != 0:
        return False
    v.told_stuck = 1
    fault_record(record, np.int64(UNREADABLE_REPORT), ZERO, np.int64(0), np.int64(0))
    return True


@jit
def note_end(venue):
    """After the end of a session nothing is known of its orders, until the next one tells."""
    v, k = view(venue, VENUE), view(view(venue, VENUE).link, LINK)
    if k.ends != v.ends:
        v.ends, v.ready = k.ends, 0
        doubt_orders(venue)
