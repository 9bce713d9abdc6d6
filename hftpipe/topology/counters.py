"""Everything that a pipeline counts, and where: the list that its segment carries for whoever watches it."""

from collections.abc import Sequence

from hftpipe.core.feed import state as feed_state
from hftpipe.core.schema.counters import Place, places
from hftpipe.core.schema.layout import offset_of
from hftpipe.core.schema.reasons import REASON_SLOTS
from hftpipe.gateway import state as gateway_state
from hftpipe.journal.layout import COUNTERS as JOURNAL_COUNTERS
from hftpipe.journal.layout import JOURNAL
from hftpipe.risk import state as risk_state
from hftpipe.risk.groups import GROUP
from hftpipe.strategy import stage_state as strategy_state
from hftpipe.topology.graph import Graph, kind_of
from hftpipe.topology.place import VenuePlace, is_journaled
from hftpipe.topology.sizes import STATE_OF

_TABLES = {
    "market_data": feed_state.COUNTERS,
    "strategy": strategy_state.COUNTERS,
    "risk": risk_state.COUNTERS,
    "gateway": gateway_state.COUNTERS,
}


#: Counters that each strategy has for itself.
_OF_SEAT = ("callbacks", "intents_sent", "fills")


#: What is shown of a limit group.
_OF_GROUP = ("qty", "working_buy", "working_sell", "max_net")


def counter_places(graph: Graph, venues: list[VenuePlace]) -> list[Place]:
    """Where every declared counter lies, stages first, then those of the venues."""
    found: list[Place] = []
    for stage in graph.stages:
        found += places(stage, f"state.{stage}", STATE_OF[kind_of(stage)], _TABLES[kind_of(stage)])
    for venue in venues:
        if is_journaled(venue):
            scope = graph.at("journal", venue.name)
            found += places(scope, graph.at("gateway.journal", venue.name), JOURNAL, JOURNAL_COUNTERS)
        for one in venue.feed.counters(venue.config) + venue.orders.counters(venue.config):
            found.append(one._replace(scope=graph.at(one.scope, venue.name), region=graph.at(one.region, venue.name)))
    return found


def refusal_places(graph: Graph) -> dict[str, tuple[str, int, int]]:
    """By stage (of the strategies each), where it counts refusals by reason: region, byte offset, number of reasons."""
    seat = strategy_state.SEAT
    refused = offset_of(seat, "ctx") + offset_of(seat["ctx"], "refused")
    found = {
        graph.own("strategy", name): ("strategy.seats", index * seat.itemsize + refused, REASON_SLOTS)
        for index, name in enumerate(graph.strategies)
    }
    offsets = {kind: offset_of(STATE_OF[kind], "rejects") for kind in ("risk", "gateway")}
    return found | {
        stage: (f"state.{stage}", offset, REASON_SLOTS)
        for kind, offset in offsets.items()
        for stage in graph.each(kind)
    }


def seat_places(names: Sequence[str]) -> dict[str, dict[str, tuple[str, int]]]:
    """By strategy, where its own counters lie: region and byte offset of each."""
    seat = strategy_state.SEAT
    return {
        name: {one: ("strategy.seats", index * seat.itemsize + offset_of(seat, one)) for one in _OF_SEAT}
        for index, name in enumerate(names)
    }


def group_places(names: Sequence[str]) -> dict[str, dict[str, tuple[str, int]]]:
    """By limit group, where what it holds and may hold lies: region and byte offset of each (int64, 1e-8)."""
    return {
        name: {one: ("risk.groups", index * GROUP.itemsize + offset_of(GROUP, one)) for one in _OF_GROUP}
        for index, name in enumerate(names)
    }


def end_places(graph: Graph) -> dict[str, tuple[str, int, int]]:
    """By gateway, where it counts by reason the orders that have expired; as :func:`refusal_places`."""
    offset = offset_of(STATE_OF["gateway"], "ended")
    return {stage: (f"state.{stage}", offset, REASON_SLOTS) for stage in graph.each("gateway")}
