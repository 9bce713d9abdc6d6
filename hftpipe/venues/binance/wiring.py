"""Binance's live market data as a venue's feed; orders on it go to the paper exchange."""

import logging
from collections.abc import Callable

import numpy as np

from hftpipe.config import Config
from hftpipe.core.schema.counters import Place, places
from hftpipe.core.schema.event_time import REAL_TIME_MULT
from hftpipe.core.schema.layout import offset_of, whole
from hftpipe.transport.http.rest import RestClient
from hftpipe.transport.websocket.connect import server_of
from hftpipe.transport.websocket.link import COUNTERS, LINK, LINK_BYTES, OUT_BYTES
from hftpipe.venues.binance.codec import CODEC
from hftpipe.venues.binance.discovery import client_of, discover
from hftpipe.venues.binance.markets import BINANCE_SPOT, BINANCE_USDM, Market
from hftpipe.venues.binance.streams import Snapshots, subscribe
from hftpipe.venues.contract import About, Beside, Feed, Site, Venue, Wired
from hftpipe.venues.live.keeper import Keeper, LiveMemory
from hftpipe.venues.live.plan import LivePlan
from hftpipe.venues.live.source import KEPT, LIVE, SHARE, live_entry, wire_live
from hftpipe.venues.message import MAX_LEVELS, message_bytes
from hftpipe.venues.paper.catalogue import embedded_catalogue
from hftpipe.venues.taped.cursor import wire_cursor
from hftpipe.venues.taped.text import symbols_of

LOG = logging.getLogger("hftpipe.venues.binance")
#: Bytes that a connection can be behind with, and the longest message.
BUFFER_BYTES = 1 << 20
assert offset_of(LIVE, "cursor") == 0


def _connections(config: Config) -> int:
    return min(config.live.connections, len(config.instruments))


def _sizes(config: Config) -> dict[str, int]:
    count = _connections(config)
    return {
        "market.source": whole(LIVE.itemsize),
        "market.syncs": CODEC.syncs_bytes(np.array(config.levels())),
        "market.message": message_bytes(),
        "market.links": LINK_BYTES * count,
        "market.shares": whole(SHARE.itemsize * count),
        "market.received": (BUFFER_BYTES + OUT_BYTES) * count,
    }


def _counters(config: Config) -> list[Place]:
    return [
        place
        for index in range(_connections(config))
        for place in places(f"connection {index + 1}", "market.links", LINK, COUNTERS, LINK_BYTES * index)
    ]


def _share_out(shares: np.ndarray, count: int) -> None:
    """Instruments 0 to count over the connections, as equally as can be."""
    ends = [count * (index + 1) // len(shares) for index in range(len(shares))]
    shares["first"], shares["end"], shares["lost"] = [0, *ends[:-1]], ends, KEPT


def _memory(site: Site, state: np.ndarray) -> LiveMemory:
    """The feed's regions, with the connections' shares, as arrays."""
    memory, count = site.memory, _connections(site.config)
    live = memory.region("market.source")[: LIVE.itemsize].view(LIVE)
    links = memory.region("market.links").view(LINK)[:count]
    shares = memory.region("market.shares")[: SHARE.itemsize * count].view(SHARE)
    _share_out(shares, len(site.instruments))
    received, levels = memory.region("market.received"), site.instruments["levels"].astype(np.int64)
    syncs = memory.region("market.syncs")
    return LiveMemory(
        state=state, live=live, links=links, shares=shares,
        buffers=received[: BUFFER_BYTES * count].reshape(count, BUFFER_BYTES),
        outs=received[BUFFER_BYTES * count :][: OUT_BYTES * count].reshape(count, OUT_BYTES),
        message=memory.region("market.message"), syncs=lambda: CODEC.syncs(syncs, levels), levels=levels,
    )  # fmt: skip


def _streams(market: Market, config: Config) -> str:
    """Where books, best prices and trades of a market are."""
    nets, net = config.network, config.live.net
    if server := config.live.server:
        # http becomes ws, https wss.
        return "ws" + server.removeprefix("http") + ("/public" if market is BINANCE_USDM else "")
    if market is BINANCE_USDM:
        return nets.binance_usdm.of(net).public_streams
    return nets.binance_spot.of(net).market_streams


def _client(market: Market, config: Config) -> RestClient:
    nets = config.network.binance_usdm if market is BINANCE_USDM else config.network.binance_spot
    return client_of(market, config.live.server or nets.of(config.live.net).rest, config.live.ca_file)


def _plan(market: Market, config: Config) -> LivePlan:
    snapshots = Snapshots(_client(market, config), market)
    return LivePlan(f"{_streams(market, config)}/stream", subscribe, snapshots.fetch, config.live.ca_file)


def _wire(market: Market, site: Site, state: np.ndarray) -> Wired:
    region, address = site.memory.region, site.memory.address
    count = len(site.instruments)
    CODEC.syncs_init(region("market.syncs"), site.instruments["levels"], [market.name] * count)
    memory = _memory(site, state)
    symbols, message, syncs = (address(name) for name in ("symbols", "market.message", "market.syncs"))
    wire_cursor(memory.cursor, CODEC, count, symbols=symbols, message=message, syncs=syncs)
    wire_live(memory.live, memory.links, memory.shares, CODEC.lose, site.config.live.silence_s)
    state["source_step"], state["source"] = live_entry.address, address("market.source")
    state["hold_back"], state["inverse_speed"], state["speed_mult"] = 0, 1.0, REAL_TIME_MULT
    plan = _plan(market, site.config)
    keeper = Keeper(memory, plan, CODEC, symbols_of(site.instruments), site.report)
    facts = (f"{_connections(site.config)} connections to {server_of(plan.url)}",)
    return Wired(opened=keeper.open, closed=keeper.close, service=keeper.service, facts=facts)


def _is_embedded(config: Config) -> bool:
    return config.live.simulated and not config.live.server


def _beside(
    market: Market, config: Config, rows: np.ndarray, report: Callable[[str], None]
) -> tuple[Beside | None, Config]:
    if not _is_embedded(config):
        return None, config
    # A server is imported, and its market compiled, only where one is run.
    from hftpipe.venues.binance.simulated import simulated_venue

    return simulated_venue(market, config, rows)


def _catalogue(market: Market, config: Config) -> np.ndarray:
    """What the market lists; what it lists and cannot be traded here is said. A simulated one lists what it is told to."""
    if _is_embedded(config):
        return embedded_catalogue(config.market.listed)
    listing = discover(_client(market, config), market)
    for line in listing.lines():
        LOG.warning("%s: %s", market.name, line)
    return listing.rows


def _venue(market: Market) -> Venue:
    return Venue(
        about=lambda config: About(
            f"{market.name} " + ("simulated" if config.live.simulated else server_of(_streams(market, config)))
        ),
        feed=Feed(_sizes, lambda config: MAX_LEVELS, lambda site, state: _wire(market, site, state), _counters),
        catalogue=lambda config: _catalogue(market, config),
        beside=lambda config, rows, report: _beside(market, config, rows, report),
    )


USDM, SPOT = _venue(BINANCE_USDM), _venue(BINANCE_SPOT)
