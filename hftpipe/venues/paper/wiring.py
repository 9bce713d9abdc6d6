"""The embedded market and the paper exchange as a venue."""

import numpy as np

from hftpipe.config import Config, ConfigError
from hftpipe.simulation.flow import entries
from hftpipe.topology.graph import order_slots
from hftpipe.venues.contract import About, Feed, Orders, Site, Venue, Wired
from hftpipe.venues.paper import exchange
from hftpipe.venues.paper.catalogue import embedded_catalogue
from hftpipe.venues.paper.flows import flow_sizes, wire_flows
from hftpipe.venues.paper.source import FLOWS, source_entry


def _wire_feed(site: Site, state: np.ndarray) -> Wired:
    wire_flows(site)
    source = site.memory.region("market.source")[: FLOWS.itemsize].view(FLOWS)
    source["places"], source["agenda"] = site.memory.address("market.flow_places"), site.memory.address("market.agenda")
    state["source_step"], state["source"] = source_entry.address, site.memory.address("market.source")
    return Wired()


def _order_sizes(config: Config) -> dict[str, int]:
    n = len(config.instruments)
    return {"exchange": exchange.exchange_bytes(n, order_slots("exchange", n), np.array(config.levels()))}


def _wire_orders(site: Site, state: np.ndarray) -> Wired:
    sim = site.config.sim
    model = exchange.SimModel(
        queue_model=sim.queue_model, power_n=sim.power_n, latency_new_ns=sim.latency_new_us * 1000,
        latency_cancel_ns=sim.latency_cancel_us * 1000, latency_report_ns=sim.latency_report_us * 1000,
        fee_asset=site.fee_number(sim.fee_asset), fee_price=sim.fee_asset_price,
    )  # fmt: skip
    memory, orders = site.memory.region("exchange"), order_slots("exchange", len(site.instruments))
    exchange.exchange_init(memory, site.instruments, model, orders, site.instruments["levels"])
    state["venue"], state["venue_submit"] = site.memory.address("exchange"), exchange.submit_entry.address
    state["venue_market"], state["venue_poll"] = exchange.market_entry.address, exchange.poll_entry.address
    return Wired()


def _fee_assets(config: Config) -> tuple[str, ...]:
    """The asset of the settings, if any; its one price is against one quote currency.

    Raises:
        ConfigError: the instruments, chosen ones too, are in several, or in that asset.
    """
    asset = config.sim.fee_asset
    if not asset:
        return ()
    quotes = {one.currencies[1] for one in config.instruments}
    if len(quotes) > 1 or asset in quotes:
        shown, allowed = (
            ", ".join(sorted(quotes)),
            "another asset than the one quote currency of all instruments of the venue",
        )
        raise ConfigError(f"sim.fee_asset = {asset}: the instruments are in {shown}; allowed: {allowed}")
    return (asset,)


VENUE = Venue(
    catalogue=lambda config: embedded_catalogue(config.market.listed),
    about=lambda config: About(config.market.source),
    feed=Feed(flow_sizes, lambda config: entries.MAX_RECORDS + 1, _wire_feed),
    orders=Orders(_order_sizes, _wire_orders, hears_market=True, fee_assets=_fee_assets),
)
