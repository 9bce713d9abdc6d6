"""The embedded market and the paper exchange as a venue."""

import numpy as np

from hftpipe.config import Config
from hftpipe.simulation.flow import entries, flow
from hftpipe.simulation.flow.state import flow_bytes
from hftpipe.topology.graph import ORDER_SLOTS
from hftpipe.venues.contract import Feed, Orders, Site, Venue, Wired
from hftpipe.venues.paper import exchange
from hftpipe.venues.paper.demo import demo_market
from hftpipe.venues.paper.source import FLOWS, source_entry


def _feed_sizes(config: Config) -> dict[str, int]:
    return {"market.source": FLOWS.itemsize, "market.flows": len(config.instruments) * flow_bytes()}


def _wire_feed(site: Site, state: np.ndarray) -> Wired:
    market, stride = site.config.market, flow_bytes()
    memory, demo = site.memory.region("market.flows"), demo_market(market)
    for index, row in enumerate(site.instruments):
        place = memory[index * stride : (index + 1) * stride]
        flow.flow_init(place, row, index, market.seed + index, market.event_rate_per_s, site.start_ts, demo)
    source = site.memory.region("market.source")[: FLOWS.itemsize].view(FLOWS)
    source["flows"], source["stride"] = site.memory.address("market.flows"), stride
    source["next_ts"], source["step"] = entries.next_ts_entry.address, entries.step_entry.address
    source["snapshot"] = entries.snapshot_entry.address
    state["source_step"], state["source"] = source_entry.address, site.memory.address("market.source")
    return Wired()


def _order_sizes(config: Config) -> dict[str, int]:
    levels = config.market.book_levels
    return {"exchange": exchange.exchange_bytes(len(config.instruments), ORDER_SLOTS["exchange"], levels)}


def _wire_orders(site: Site, state: np.ndarray) -> Wired:
    sim = site.config.sim
    model = exchange.SimModel(
        queue_model=sim.queue_model, power_n=sim.power_n, latency_new_ns=sim.latency_new_us * 1000,
        latency_cancel_ns=sim.latency_cancel_us * 1000, latency_report_ns=sim.latency_report_us * 1000,
    )  # fmt: skip
    memory, levels = site.memory.region("exchange"), site.config.market.book_levels
    exchange.exchange_init(memory, site.instruments, model, ORDER_SLOTS["exchange"], levels)
    state["venue"], state["venue_submit"] = site.memory.address("exchange"), exchange.submit_entry.address
    state["venue_market"], state["venue_poll"] = exchange.market_entry.address, exchange.poll_entry.address
    return Wired()


VENUE = Venue(
    feed=Feed(_feed_sizes, lambda config: entries.MAX_RECORDS + 1, _wire_feed),
    orders=Orders(_order_sizes, _wire_orders, hears_market=True),
)
