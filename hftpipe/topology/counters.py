"""Everything that a pipeline counts, and where: the list that its segment carries for whoever watches it."""

from hftpipe.config import Config
from hftpipe.core.feed import state as feed_state
from hftpipe.core.schema.counters import Place, places
from hftpipe.core.schema.reasons import REASON_SLOTS
from hftpipe.gateway import state as gateway_state
from hftpipe.risk import stage as risk_stage
from hftpipe.strategy import stage as strategy_stage
from hftpipe.topology.sizes import STATE_OF
from hftpipe.venues.contract import Feed, Orders

_TABLES = {
    "market_data": feed_state.COUNTERS,
    "strategy": strategy_stage.COUNTERS,
    "risk": risk_stage.COUNTERS,
    "gateway": gateway_state.COUNTERS,
}


def counter_places(config: Config, feed: Feed, orders: Orders) -> list[Place]:
    """Where every declared counter lies, stages first, then the venue's."""
    found: list[Place] = []
    for stage, table in _TABLES.items():
        found += places(stage, f"state.{stage}", STATE_OF[stage], table)
    return found + feed.counters(config) + orders.counters(config)


def refusal_places() -> dict[str, tuple[str, int, int]]:
    """By stage, where it counts refusals by reason: region, byte offset, number of reasons."""
    ctx, at = STATE_OF["strategy"].fields["ctx"][:2]
    offsets = {"strategy": at + ctx.fields["refused"][1]}
    offsets |= {stage: STATE_OF[stage].fields["rejects"][1] for stage in ("risk", "gateway")}
    return {stage: (f"state.{stage}", offset, REASON_SLOTS) for stage, offset in offsets.items()}
