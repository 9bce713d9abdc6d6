"""Memory of the market-data stage: how much, how it starts, and its addresses put into STATE."""

from dataclasses import dataclass

import numpy as np

from hftpipe.core.feed.publish import RESET_RECORDS, queue_slots
from hftpipe.core.feed.state import STATE
from hftpipe.core.schema.cells import CELL_BYTES
from hftpipe.core.schema.layout import whole
from hftpipe.core.schema.records import RECORD_BYTES
from hftpipe.core.shared.event_time import speed_mult
from hftpipe.core.trading.books import books_bytes, books_init


@dataclass(frozen=True)
class Pace:
    """How event time runs.

    Attributes:
        speed: multiple of the source's own time; 0: as fast as the readers allow.
        window: records that a source at full speed may be ahead of its slowest reader.
        timer_ns: period of the timers; drain_ns: how long event time runs on after the last event.
    """

    speed: float
    window: int
    timer_ns: int
    drain_ns: int


def region_sizes(levels: np.ndarray, largest_update: int) -> dict[str, int]:
    """Bytes of every region the stage owns besides its venue's.

    Args:
        levels: price levels kept per side of each instrument's book, int64[n].
        largest_update: most records that the venue publishes at once, besides a whole book.
    """
    return {
        "state": STATE.itemsize,
        "books": books_bytes(levels),
        "scratch": RECORD_BYTES * max(2 * int(levels.max()) + RESET_RECORDS, largest_update),
        "top_scratch": CELL_BYTES,
        "conflating": whole(len(levels)),
        "conflated": 4 * queue_slots(len(levels)),
    }


def wire(
    state: np.ndarray,
    addresses: dict[str, int],
    books: np.ndarray,
    ticks: np.ndarray,
    levels: np.ndarray,
    pace: Pace,
    first: int = 0,
) -> None:
    """Lay out the books and put every address and constant into a STATE array of length 1.

    Args:
        addresses: of ``market sim`` (rings; ``sim`` 0: nobody else hears the market), ``tops time h_decode`` and the stage's own
            ``scratch top_scratch conflating conflated``.
        books: the region of that name, uint8, zeroed; ticks: price step of each instrument, 1e-8; levels: as given to
            :func:`region_sizes`.
        first: number that the first of them has in the rings.
    """
    state["books"] = books_init(books, levels, ticks)
    for name, address in addresses.items():
        state[name] = address
    state["n_instruments"], state["first"], state["conflated_mask"] = len(ticks), first, queue_slots(len(ticks)) - 1
    state["inverse_speed"], state["hold_back"] = 1.0 / pace.speed if pace.speed else 0.0, int(pace.speed == 0)
    state["speed_mult"], state["window"] = speed_mult(pace.speed), pace.window
    state["timer_ns"], state["drain_ns"] = pace.timer_ns, pace.drain_ns
