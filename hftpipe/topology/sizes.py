"""How much memory each region of the segment has; the largest writer of each stands in docs/regions.md."""

from hftpipe.config import Config
from hftpipe.core.feed import state as feed_state
from hftpipe.core.schema.cells import CELL_BYTES
from hftpipe.core.schema.clock import CLOCK
from hftpipe.core.schema.histogram import HIST_BYTES
from hftpipe.core.schema.instruments import INSTRUMENT_BYTES, symbols_bytes
from hftpipe.core.schema.position import POSITION
from hftpipe.core.schema.ring import ring_bytes
from hftpipe.core.schema.status import STATUS
from hftpipe.core.shared.event_time import EVENT_TIME
from hftpipe.core.trading.order_table import table_bytes
from hftpipe.core.trading.seen_fills import seen_bytes
from hftpipe.gateway import stage as gateway_stage
from hftpipe.market import wiring as market_wiring
from hftpipe.record.tape.recorder import recorder_bytes
from hftpipe.risk import limits as risk_limits
from hftpipe.risk import rate as risk_rate
from hftpipe.risk import stage as risk_stage
from hftpipe.strategy import stage as strategy_stage
from hftpipe.strategy import wiring as strategy_wiring
from hftpipe.strategy.compile.loader import LoadedStrategy
from hftpipe.topology.graph import HOPS, ORDER_SLOTS, RINGS, SEEN_FILLS, STAGES, TAPES
from hftpipe.venues.contract import Feed, Orders

STATE_OF = {
    "market_data": feed_state.STATE,
    "strategy": strategy_stage.STATE,
    "risk": risk_stage.STATE,
    "gateway": gateway_stage.STATE,
}


def region_sizes(config: Config, strategy: LoadedStrategy, feed: Feed, orders: Orders) -> dict[str, int]:
    """Bytes of every region of the segment, in order."""
    sizes = _shared(config) | _stages(config, strategy, feed) | feed.sizes(config) | orders.sizes(config)
    if config.record.folder:
        sizes |= {region: ring_bytes(config.rings.tape) for region in TAPES.values()}
        sizes |= {"recorder": recorder_bytes(len(TAPES)), "recorder.stop": 64}
    return sizes


def _shared(config: Config) -> dict[str, int]:
    """What several stages and the supervisor share."""
    n = len(config.instruments)
    sizes = {
        "stop": 64, "halt": CELL_BYTES, "progress": 64, "clock": CLOCK.itemsize, "time": EVENT_TIME.itemsize,
        "usage": 64 * len(STAGES), "source_errors": 4096,
    }  # fmt: skip
    sizes |= {f"status.{name}": STATUS.itemsize for name in STAGES}
    sizes |= {f"state.{name}": STATE_OF[name].itemsize for name in STAGES}
    sizes |= {"instruments": INSTRUMENT_BYTES * n, "symbols": symbols_bytes(n), "tops": CELL_BYTES * n}
    sizes |= {f"hist.{hop}": HIST_BYTES for hop, _, _ in HOPS}
    return sizes | {f"ring.{spec.name}": ring_bytes(getattr(config.rings, spec.name)) for spec in RINGS}


def _stages(config: Config, strategy: LoadedStrategy, feed: Feed) -> dict[str, int]:
    """What each stage has for itself."""
    n, levels = len(config.instruments), config.market.book_levels
    of_strategy = strategy_wiring.region_sizes(strategy, n, levels, ORDER_SLOTS["strategy"])
    of_market = market_wiring.region_sizes(n, levels, feed.largest_update(config))
    sizes = {f"strategy.{name}": size for name, size in of_strategy.items() if name != "state"}
    sizes |= {f"market.{name}": size for name, size in of_market.items() if name != "state"}
    return sizes | {
        "risk.limits": n * risk_limits.LIMITS_BYTES,
        "risk.rates": n * risk_rate.RATE.itemsize,
        "risk.positions": n * POSITION.itemsize,
        "risk.table": table_bytes(ORDER_SLOTS["risk"]),
        "gateway.max_ages": 64 * ((n + 7) // 8),
        "gateway.table": table_bytes(ORDER_SLOTS["gateway"]),
        "gateway.seen": seen_bytes(SEEN_FILLS),
    }
