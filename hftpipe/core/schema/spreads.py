"""Spreads between instruments that are the same thing, mostly at two venues: how they lie in memory, and whom they join.

::

    SPREADS | a LEG an instrument | a SPREAD for each (buy here, sell there)

Instruments of one common name (:mod:`hftpipe.core.schema.names`) are *counterparts*. Where their packs differ (1000PEPE,
PEPE), prices and quantities are compared in the largest, the *common unit*: ``units`` of an instrument make one of it. The rows
with an instrument as the buyer lie together, in the order of the ids of those it sells at.

A *net spread* is what buying at one's ask and selling at the other's bid leaves after both taker fees, as a share of the
price paid: int64 in 1e-8, rounded down (one basis point = 10,000). Times are event times, ns.
"""

import math
from collections import defaultdict

import numpy as np

from hftpipe.core.schema.instruments import CONTRACTS, INVERSE, MAX_VENUES
from hftpipe.core.schema.layout import Layout, lay_out
from hftpipe.core.schema.names import common_name

_ONE = 10**8
#: Rows crossed by one change that are kept: to and from one counterpart at each venue.
MOST_CROSSED = 2 * MAX_VENUES
#: A net spread beyond a tenth of the price is a wrong pairing or a broken book, no opportunity.
LARGEST_NET = _ONE // 10
#: No net spread is known: a leg is not VALID, or too old.
NO_NET = -(2**63)
#: Time of a leg that does not count, whatever the largest age.
DEAD = -(2**62)
DEFAULT_MAX_AGE_NS = 500_000_000
#: Thresholds and ages are held within plus and minus this: sums of them with times fit an int64.
LARGEST_SETTING = 2**60

SPREADS = np.dtype(
    [
        # An opportunity begins at ``threshold``, and ends below ``threshold - hysteresis`` (1e-8) or when a leg is older than
        # ``max_age`` (ns).
        ("threshold", "i8"), ("hysteresis", "i8"), ("max_age", "i8"),
        # Event time of the last change; addresses; how many.
        ("now", "i8"), ("legs", "u8"), ("rows", "u8"), ("n_legs", "i8"), ("n_rows", "i8"),
        # Changes of a leg that has counterparts; opportunities begun; net spreads beyond LARGEST_NET.
        ("updates", "i8"), ("crossings", "i8"), ("implausible", "i8"),
        # Rows that the last change made cross, and how many of them have been taken.
        ("n_crossed", "i8"), ("taken", "i8"), ("_pad", "i8", 3), ("crossed", "i8", MOST_CROSSED),
    ],
    align=True,
)  # fmt: skip
#: The top of book of an instrument, in its own prices and quantities. ``ts``: of its last change; DEAD: not VALID. Its rows are
#: ``first`` to ``first + count - 1``.
LEG = np.dtype(
    [
        ("bid", "i8"), ("bid_qty", "i8"), ("ask", "i8"), ("ask_qty", "i8"),
        ("ts", "i8"), ("units", "i8"), ("first", "i8"), ("count", "i8"),
    ],
    align=True,
)  # fmt: skip
SPREAD = np.dtype(
    [
        # Instruments; the row of the way back; the least quantity that both venues' lots allow, in the common unit.
        ("buy", "i8"), ("sell", "i8"), ("back", "i8"), ("step", "i8"),
        # What of 1e8 is left of a sale, and what has to be paid for 1e8: 1e8 less and plus the taker fees.
        ("keeps", "i8"), ("pays", "i8"),
        # The net spread, or NO_NET; since when it is an opportunity (0: it is none); until when both legs are young enough.
        ("net", "i8"), ("since", "i8"), ("until", "i8"),
        # Opportunities so far, the best net spread of the present one, of all, and when that was.
        ("fired", "i8"), ("peak", "i8"), ("best", "i8"), ("best_ts", "i8"),
        # How long the last of those that are over stood, the longest, and all together, ns.
        ("lasted", "i8"), ("longest", "i8"), ("total", "i8"),
    ],
    align=True,
)  # fmt: skip
SPREADS_BYTES, LEG_BYTES, SPREAD_BYTES = SPREADS.itemsize, LEG.itemsize, SPREAD.itemsize
assert (SPREADS_BYTES, LEG_BYTES, SPREAD_BYTES) == (384, 64, 128)


def common_sets(instruments: np.ndarray, own: np.ndarray | None = None) -> list[list[tuple[int, int]]]:
    """``(instrument id, units)`` of those that have counterparts, by common name, ids in order; ``own``: only among these (bool).

    Quote currency and multiplier have to be the same: prices and quantities are compared as they are. Inverse contracts have
    none: what they are worth in the base currency changes with the price, so that one never evens out another.
    """
    named: dict[tuple[str, bytes, int], list[tuple[int, int]]] = defaultdict(list)
    for index, row in enumerate(instruments):
        if row["contract"] != CONTRACTS.index(INVERSE) and (own is None or own[index]):
            name, pack = common_name(row["symbol"].decode())
            named[name, bytes(row["quote"]), int(row["multiplier"])].append((index, pack * 10 ** int(row["power"])))
    found = [one for one in named.values() if len(one) > 1]
    return [[(index, max(pack for _, pack in one) // own) for index, own in one] for one in found]


def _pairs(instruments: np.ndarray, own: np.ndarray | None) -> list[tuple[int, int, int]]:
    """``(buy, sell, step)`` of every spread, by the ids of buyer and seller."""
    pairs = []
    for members in common_sets(instruments, own):
        for buy, buy_units in members:
            for sell, sell_units in members:
                if buy != sell:
                    lots = (_lot_in_common(instruments, *one) for one in ((buy, buy_units), (sell, sell_units)))
                    pairs.append((buy, sell, math.lcm(*lots)))
    return sorted(pairs)


def _lot_in_common(instruments: np.ndarray, index: int, units: int) -> int:
    """The least quantity in the common unit that is whole lots of an instrument."""
    lot = max(int(instruments["lot"][index]), 1)
    return lot // math.gcd(lot, units)


def spreads_bytes(instruments: np.ndarray, own: np.ndarray | None = None) -> int:
    """Memory of the spreads of an INSTRUMENT array; ``own``: only those among these (bool by instrument)."""
    return _layout(len(instruments), len(_pairs(instruments, own))).size


def _layout(n_legs: int, n_rows: int) -> Layout:
    return lay_out({"header": (SPREADS, 1), "legs": (LEG, n_legs), "rows": (SPREAD, n_rows)})


def spreads_init(memory: np.ndarray, instruments: np.ndarray, own: np.ndarray | None = None) -> None:
    """Lay the spreads of an INSTRUMENT array out in ``memory`` (uint8, as of :func:`spreads_bytes`); none is known yet."""
    pairs, n = _pairs(instruments, own), len(instruments)
    memory[: _layout(n, len(pairs)).size] = 0
    header, legs, rows = spreads_views(memory, n, len(pairs))
    header["max_age"], header["n_legs"], header["n_rows"] = DEFAULT_MAX_AGE_NS, n, len(pairs)
    header["legs"], header["rows"] = legs.ctypes.data, rows.ctypes.data
    legs["units"], legs["ts"] = 1, DEAD
    for index, units in (one for members in common_sets(instruments, own) for one in members):
        legs["units"][index] = units
    fees, places = instruments["taker_fee"], {pair[:2]: at for at, pair in enumerate(pairs)}
    for at, (buy, sell, step) in enumerate(pairs):
        row = rows[at]
        row["buy"], row["sell"], row["back"], row["step"] = buy, sell, places[sell, buy], step
        row["keeps"], row["pays"], row["net"], row["best"] = _ONE - fees[sell], _ONE + fees[buy], NO_NET, NO_NET
        if legs["count"][buy] == 0:
            legs["first"][buy] = at
        legs["count"][buy] += 1


def spreads_views(memory: np.ndarray, n_legs: int, n_rows: int) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """SPREADS (length 1), LEG and SPREAD arrays over ``memory``."""
    header, legs, rows = (_layout(n_legs, n_rows).view(memory, name) for name in ("header", "legs", "rows"))
    return header, legs, rows
