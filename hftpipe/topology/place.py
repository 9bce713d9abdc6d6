"""Where a venue stands in a pipeline: which of the instruments are its own, and how it sees the shared memory.

A venue knows nothing of others: its instruments are numbered from 0, and its regions have plain names. Its feed and its
gateway add ``first`` to those numbers on the way in, and take it off on the way out.
"""

from dataclasses import dataclass

import numpy as np

from hftpipe.config import LIVE_MODE, Config
from hftpipe.core.schema.cells import CELL_BYTES
from hftpipe.core.schema.event_time import EVENT_TIME
from hftpipe.core.schema.instruments import INSTRUMENT_BYTES
from hftpipe.core.schema.tickers import TICKER_BYTES
from hftpipe.topology.configured import at_venue, found, venues_of
from hftpipe.topology.graph import Graph
from hftpipe.venues.contract import About, Feed, Memory, Orders

#: Regions with a row for each instrument, and those with one for each venue: bytes of a row.
_BY_INSTRUMENT = {"instruments": INSTRUMENT_BYTES, "tops": CELL_BYTES, "tickers": TICKER_BYTES}
_BY_VENUE = {"progress": 64, "time": EVENT_TIME.itemsize}
#: Regions that all venues use.
_WHOLE = ("clock", "halt", "halts", "gateway.max_ages")


@dataclass(frozen=True)
class VenuePlace:
    """One venue of a pipeline.

    Attributes:
        index: which of the venues it is; name: as configured.
        config: the configuration as the venue sees it.
        about: what is said of it; feed, orders: what does its work.
        first, count: its instruments are ``first`` to ``first + count - 1``.
        levels: levels a side of their books, int64[count].
    """

    index: int
    name: str
    config: Config
    about: About
    feed: Feed
    orders: Orders
    first: int
    count: int
    levels: np.ndarray


def places_of(config: Config) -> list[VenuePlace]:
    """Every venue of a configuration, in order.

    Raises:
        VenueError: there is no such venue, or it has no market data.
    """
    places: list[VenuePlace] = []
    first = 0
    for index, entry in enumerate(venues_of(config)):
        made, own = found(entry), at_venue(config, entry)
        assert made.feed is not None and made.orders is not None
        about, levels = made.about(own), np.array(own.levels())
        places.append(VenuePlace(index, entry.name, own, about, made.feed, made.orders, first, len(levels), levels))
        first += len(own.instruments)
    return places


def is_journaled(place: VenuePlace) -> bool:
    """Whether what goes to a venue is written to a journal first."""
    asked = place.config.journal.orders
    return asked == "all" or (
        asked == "live" and (place.config.pipeline.mode == LIVE_MODE or not place.about.ends_with_run)
    )


class VenueMemory:
    """The segment as one venue sees it.

    Args:
        segment: the whole of it.
        graph: the map; place: the venue.
    """

    def __init__(self, segment: Memory, graph: Graph, place: VenuePlace) -> None:
        self._segment, self._graph, self._place = segment, graph, place

    def _part(self, name: str) -> tuple[str, int, int | None]:
        """The region's name in the segment, and the bytes that are the venue's (None: to its end)."""
        place = self._place
        if name in _BY_INSTRUMENT:
            return name, place.first * _BY_INSTRUMENT[name], (place.first + place.count) * _BY_INSTRUMENT[name]
        if name in _BY_VENUE:
            return name, place.index * _BY_VENUE[name], (place.index + 1) * _BY_VENUE[name]
        return name if name in _WHOLE else self._graph.at(name, place.name), 0, None

    def region(self, name: str) -> np.ndarray:
        """The region as a uint8 array."""
        whole, begin, end = self._part(name)
        return self._segment.region(whole)[begin:end]

    def address(self, name: str) -> int:
        """The region's address."""
        whole, begin, _ = self._part(name)
        return int(self._segment.address(whole)) + begin
