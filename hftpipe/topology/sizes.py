"""How much memory each region of the segment has; the largest writer of each stands in docs/regions.md."""

from collections.abc import Sequence

import numpy as np

from hftpipe.config import Config
from hftpipe.core.feed import state as feed_state
from hftpipe.core.schema.cells import CELL_BYTES
from hftpipe.core.schema.clock import CLOCK
from hftpipe.core.schema.event_time import EVENT_TIME
from hftpipe.core.schema.halts import halts_bytes
from hftpipe.core.schema.histogram import HIST_BYTES
from hftpipe.core.schema.instruments import INSTRUMENT_BYTES, symbols_bytes
from hftpipe.core.schema.layout import whole
from hftpipe.core.schema.position import POSITION
from hftpipe.core.schema.ring import ring_bytes
from hftpipe.core.schema.settings import SETTINGS
from hftpipe.core.schema.spreads import spreads_bytes
from hftpipe.core.schema.status import STATUS
from hftpipe.core.schema.tickers import TICKER_BYTES
from hftpipe.core.trading.order_table import table_bytes
from hftpipe.core.trading.seen_fills import seen_bytes
from hftpipe.gateway import state as gateway_state
from hftpipe.journal.layout import JOURNAL_BYTES
from hftpipe.market import wiring as market_wiring
from hftpipe.record.tape.recorder import recorder_bytes
from hftpipe.risk import desks as risk_desks
from hftpipe.risk import groups as risk_groups
from hftpipe.risk import limits as risk_limits
from hftpipe.risk import rate as risk_rate
from hftpipe.risk import state as risk_state
from hftpipe.risk.fees import fees_bytes
from hftpipe.strategy import stage_state as strategy_state
from hftpipe.strategy import wiring as strategy_wiring
from hftpipe.strategy.wiring import Seat
from hftpipe.topology.configured import fee_assets_of, instrument_rows
from hftpipe.topology.controls import controls_sizes, quotes_of
from hftpipe.topology.graph import SEEN_FILLS, Graph, kind_of, order_slots
from hftpipe.topology.limit_words import changes_bytes
from hftpipe.topology.place import VenuePlace, is_journaled

#: Record of a stage by its kind.
STATE_OF = {
    "market_data": feed_state.STATE,
    "strategy": strategy_state.STATE,
    "risk": risk_state.STATE,
    "gateway": gateway_state.STATE,
}

#: Regions that grow with the instruments; up to so many bytes they are all there from the start.
_BY_INSTRUMENT = frozenset({
    "strategy.books", "strategy.quotes", "strategy.positions", "strategy.paces", "strategy.self", "strategy.table",
    "strategy.spreads", "risk.rates", "risk.positions", "risk.owned", "risk.table", "risk.worths", "risk.own_worths", "risk.standings", "risk.touches", "risk.changes", "gateway.table",
    "market.books", "market.scratch", "market.syncs", "market.flows", "exchange", "itch", "ouch",
})  # fmt: skip
DENSE_BYTES = 192 << 20


def region_sizes(config: Config, graph: Graph, seats: Sequence[Seat], places: list[VenuePlace]) -> dict[str, int]:
    """Bytes of every region of the segment, in order."""
    levels = np.concatenate([place.levels for place in places])
    sizes = (
        _shared(config, graph)
        | _strategies(config, graph, seats, levels)
        | _risk(graph, len(seats), len(levels), len(config.limit_groups))
        | {"risk.fees": fees_bytes(len(seats), len(fee_assets_of(config)))}
        | controls_sizes(len(levels), len(graph.venues), len(seats), len(quotes_of(config)))
        | {"risk.changes": changes_bytes(len(levels), len(graph.venues), len(seats), len(quotes_of(config)))}
    )
    for place in places:
        own = _of_venue(place) | {"gateway.halts": halts_bytes(len(config.instruments))}
        sizes |= {graph.at(name, place.name): size for name, size in own.items()}
    if config.record.folder:
        sizes |= {region: ring_bytes(config.rings.tape) for region in graph.tapes.values()}
        sizes |= {"recorder": recorder_bytes(len(graph.tapes)), "recorder.stop": 64}
    return sizes


def sparse_regions(sizes: dict[str, int]) -> set[str]:
    """Regions with a part for each instrument of which most is never used; none where all of them are not worth it.

    A small pipeline has every page from the start: no stage ever waits for one.
    """
    by_instrument = {name for name in sizes if name.partition("@")[0] in _BY_INSTRUMENT}
    return by_instrument if sum(sizes[name] for name in by_instrument) > DENSE_BYTES else set()


def _shared(config: Config, graph: Graph) -> dict[str, int]:
    """What several stages and the supervisor share."""
    n = len(config.instruments)
    sizes = {
        "stop": 64, "halt": CELL_BYTES, "progress": 64 * len(graph.venues), "clock": CLOCK.itemsize,
        "time": EVENT_TIME.itemsize * len(graph.venues), "usage": 64 * len(graph.stages), "source_errors": 4096,
    }  # fmt: skip
    sizes |= {f"status.{name}": STATUS.itemsize for name in graph.stages}
    sizes |= {f"state.{name}": STATE_OF[kind_of(name)].itemsize for name in graph.stages}
    sizes |= {
        "instruments": INSTRUMENT_BYTES * n,
        "tops": CELL_BYTES * n,
        "halts": halts_bytes(n),
        "tickers": TICKER_BYTES * n,
        "settings": SETTINGS.itemsize,
    }
    sizes |= {f"hist.{name}": HIST_BYTES for names in graph.hops.values() for name in names}
    return sizes | {f"ring.{spec.name}": ring_bytes(getattr(config.rings, spec.kind)) for spec in graph.rings}


def _strategies(config: Config, graph: Graph, seats: Sequence[Seat], levels: np.ndarray) -> dict[str, int]:
    """What the strategy stage and each strategy have for themselves; ``levels`` a side of all books, int64[n]."""
    n, rows = len(levels), instrument_rows(config)
    shared = strategy_wiring.stage_sizes(n, levels, len(seats))
    sizes = {f"strategy.{name}": size for name, size in shared.items() if name != "state"}
    for name, seat in zip(graph.strategies, seats, strict=True):
        own = strategy_wiring.seat_sizes(seat, n) | {"spreads": spreads_bytes(rows, seat.own)}
        sizes |= {graph.own(f"strategy.{region}", name): size for region, size in own.items()}
    return sizes


def _risk(graph: Graph, n_strategies: int, n: int, n_groups: int) -> dict[str, int]:
    """What risk has for itself, and the gateways' table that it shares its limits by."""
    owned = n_strategies if n_strategies > 1 else 0
    return {
        "risk.lanes": len(graph.venues) * risk_state.LANE.itemsize,
        "risk.limits": n * risk_limits.LIMITS_BYTES,
        "risk.rates": n * risk_rate.RATE.itemsize,
        "risk.positions": n * POSITION.itemsize,
        "risk.desks": n_strategies * risk_desks.DESK.itemsize,
        "risk.groups": max(n_groups * risk_groups.GROUP.itemsize, 64),
        "risk.members": n * risk_groups.MEMBER.itemsize if n_groups else 64,
        "risk.owned": max(owned * n * POSITION.itemsize, 64),
        "risk.table": table_bytes(order_slots("risk", n)),
        "gateway.max_ages": whole(8 * n),
    }


def _of_venue(place: VenuePlace) -> dict[str, int]:
    """What a venue's feed and gateway have for themselves, by the names that the venue knows."""
    config = place.config
    own = market_wiring.region_sizes(place.levels, place.feed.largest_update(config))
    sizes = {f"market.{name}": size for name, size in own.items() if name != "state"}
    sizes |= {"symbols": symbols_bytes(place.count)} | place.feed.sizes(config) | place.orders.sizes(config)
    orders = table_bytes(order_slots("gateway", place.count))
    journal = {"gateway.journal": JOURNAL_BYTES} if is_journaled(place) else {}
    return sizes | {"gateway.table": orders, "gateway.seen": seen_bytes(SEEN_FILLS)} | journal
