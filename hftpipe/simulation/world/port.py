"""One venue of a world: the connection over which it is heard of, its boundary, what really happened there, its place in the map.

Its feed and its gateway number its instruments from 0; ``first`` is the id of the first one where all venues are seen together.
"""

import random

import numpy as np

from hftpipe.core.schema.cells import TOP_CELL
from hftpipe.core.schema.records import VALID
from hftpipe.simulation.world.feed import Feed
from hftpipe.simulation.world.plan import Plan
from hftpipe.simulation.world.truth import Truth
from hftpipe.simulation.world.venue import Boundary, Venue, market_entry, poll_entry, submit_entry
from hftpipe.simulation.world.words import WORD_BYTES, word_of, words_of
from hftpipe.topology.pipeline import Pipeline
from hftpipe.topology.place import VenueMemory, VenuePlace
from hftpipe.venues.binance.sync import SYNC
from hftpipe.venues.binance.syncs import sync_offsets
from hftpipe.venues.codecs import codec_of
from hftpipe.venues.taped.cursor import CURSOR, NEED_CHUNK, NEED_DECODE
from hftpipe.venues.taped.text import Page, symbols_of

_LOADED = word_of(SYNC, "loaded")
_NEED = word_of(CURSOR, "need")
_TOP_STATE, _TOP_WORDS = word_of(TOP_CELL, "state"), TOP_CELL.itemsize // WORD_BYTES
#: Seeds of the flows of one venue and the next one.
_SEEDS_APART = 1 << 16


class Port:
    """One venue of a world.

    Args:
        pipeline, place: where it stands; plan: what the seed drew.
        rng: the seed's generator; used_ids: client ids of earlier runs; now: ns.

    Attributes:
        stages: the names of its feed and its gateway.
        ids: of its instruments.
    """

    def __init__(
        self, pipeline: Pipeline, place: VenuePlace, plan: Plan, rng: random.Random, used_ids: frozenset[int], now: int
    ) -> None:
        self.place, self.name, self.index, self.first = place, place.name, place.index, place.first
        self.ids = range(place.first, place.first + place.count)
        self.stages = self.market, self.gateway = pipeline.stages_of(place)
        self._pipeline, self._plan = pipeline, plan
        self._memory = VenueMemory(pipeline.segment, pipeline.graph, place)
        self.truth = Truth(place.count, used_ids, place.first, len(plan.strategies))
        #: Until which step it takes nothing.
        self.busy_until = 0
        self._top_words = words_of(self.region("tops").view(TOP_CELL))
        self._join(rng, now)

    def _join(self, rng: random.Random, now: int) -> None:
        """Make its boundary and its feed, and join them to the stages."""
        plan, place, pipeline = self._plan, self.place, self._pipeline
        exchange, submit = self.region("exchange"), int(pipeline.state(self.gateway)["venue_submit"][0])
        self.venue: Boundary = Venue(exchange, submit, self.truth, rng, plan.reports)
        self._take_over()
        items = place.config.instruments
        symbols = [(item.symbol, item.venue == "binance_usdm") for item in items]
        seed = plan.seed + _SEEDS_APART * place.index
        rows = pipeline.instruments[place.first : place.first + place.count]
        self.feed = Feed(rows, symbols, rng, seed, plan.rate_per_s, now, plan.batch, plan.tickers, plan.feed)
        if not plan.is_paper:
            self.feed.introduce(self._exchange(), now)
        cursor, codec = self.region("market.source")[: CURSOR.itemsize], codec_of(item.venue for item in items)
        self._page = Page(cursor.view(CURSOR), codec, symbols_of(rows), self.region("market.message"))
        self._source = words_of(cursor)
        self._look()

    def _take_over(self) -> None:
        """The gateway's venue is the boundary; in the wiring that is not paper its market is its own."""
        gateway = self._pipeline.state(self.gateway)
        gateway["venue"], gateway["venue_submit"] = self.venue.address, submit_entry.address
        gateway["venue_market"], gateway["venue_poll"] = market_entry.address, poll_entry.address
        # Who looks at the clock sees simulated time.
        gateway["clock"] = 0
        if not self._plan.is_paper:
            self._pipeline.state(self.market)["sim"] = 0
            gateway["sim"] = gateway["progress"] = 0

    def _look(self) -> None:
        """Find what is looked at again and again."""
        syncs, levels = self.region("market.syncs"), self._pipeline.instruments["levels"]
        own = levels[self.first : self.first + len(self.ids)]
        #: Of each book a word that says whether it has had a snapshot.
        self._loaded = [words_of(syncs[at:][: SYNC.itemsize])[_LOADED : _LOADED + 1] for at in sync_offsets(own)[:-1]]

    def _exchange(self) -> Venue:
        assert isinstance(self.venue, Venue)
        return self.venue

    def at(self, name: str) -> str:
        """What a ring or region of this venue is called."""
        return self._pipeline.graph.at(name, self.name)

    def region(self, name: str) -> np.ndarray:
        """Bytes of a region as this venue sees it."""
        return self._memory.region(name)

    def serve(self, now: int) -> None:
        """What the market-data process does in Python: bring text, decode what the scanner passes on."""
        need = self._source[_NEED]
        if need == NEED_CHUNK:
            text = self.feed.take(now)
            if text:
                self._page.give(np.frombuffer(text, np.uint8))
        elif need == NEED_DECODE:
            self._page.decode()

    def advance(self, now: int) -> None:
        """Time passes: the market moves, the connection delivers."""
        if self._plan.is_paper:
            self.feed.run_to(now, None)
        else:
            self.feed.run_to(now, self._exchange())
            self.venue.advance(now)
        self.feed.ask_for_snapshots(self._loaded, now)

    def tops_are_valid(self) -> bool:
        """Whether every best price that its feed shows is one to trade on."""
        return all(state == VALID for state in self._top_words[_TOP_STATE::_TOP_WORDS])

    def end_faults(self) -> None:
        """From now on all of it works."""
        self.feed.end_faults()
        self.venue.end_faults()
