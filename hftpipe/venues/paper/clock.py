"""Venue time as far as the records tell it: some best prices (Binance spot) carry none.

What arrives when the exchange's clock shows ``now`` happened at ``now - lead`` at the latest, where the lead is what the
fastest record with a venue time needed, its clock's error included. Only the last minute or two count, so that a clock
that is set right is forgotten.
"""

from hftpipe.core.machine.jit import jit
from hftpipe.venues.paper.state import NO_LEAD_NS

WINDOW_NS = 60_000_000_000


@jit
def compare_clocks(ex, m, venue_ts):
    """Take note of a record of venue time ``venue_ts`` (0: it has none) that arrives now."""
    if venue_ts == 0:
        return
    if ex.now >= m.lead_until:
        m.last_lead_ns, m.lead_ns, m.lead_until = m.lead_ns, NO_LEAD_NS, ex.now + WINDOW_NS
    m.lead_ns = min(m.lead_ns, ex.now - venue_ts)


@jit
def known_time(m):
    """Venue time of the newest news of the book."""
    return max(m.top_ts, m.update_ts)


@jit
def latest_time(ex, m):
    """Venue time of news without one: the latest possible, and not before what is known already."""
    lead = min(m.lead_ns, m.last_lead_ns)
    if lead == NO_LEAD_NS:
        return known_time(m)
    return max(known_time(m), ex.now - lead)
