"""Binance's live markets as venues: market data, and orders that go to the paper exchange or to Binance itself."""

import ctypes
import logging
from collections.abc import Callable, Iterator
from typing import Any

import numpy as np

from hftpipe.config import LIVE_MODE, Config
from hftpipe.core.schema.counters import Place, places
from hftpipe.core.schema.event_time import REAL_TIME_MULT
from hftpipe.core.schema.finding import Finding
from hftpipe.core.schema.instruments import SPOT as SPOT_CONTRACT
from hftpipe.core.schema.instruments import TOP_ONLY
from hftpipe.core.schema.layout import offset_of, whole
from hftpipe.core.schema.refusal import Refusal
from hftpipe.log import event
from hftpipe.transport.http.rest import RestClient
from hftpipe.transport.websocket.connect import server_of
from hftpipe.transport.websocket.link import COUNTERS, LINK, LINK_BYTES, OUT_BYTES
from hftpipe.venues.binance.codec import CODEC
from hftpipe.venues.binance.discovery import client_of, discover
from hftpipe.venues.binance.markets import BINANCE_SPOT, BINANCE_USDM, Market
from hftpipe.venues.binance.streams import MOST_STREAMS, Snapshots, stream_names, subscribe
from hftpipe.venues.binance.syncs import sync_views
from hftpipe.venues.contract import About, Beside, Feed, Orders, Site, Venue, Wired
from hftpipe.venues.live.keeper import Keeper, LiveMemory
from hftpipe.venues.live.plan import LivePlan
from hftpipe.venues.live.source import KEPT, LIVE, SHARE, live_entry, wire_live
from hftpipe.venues.message import MAX_LEVELS, message_bytes
from hftpipe.venues.orders.setup import account_bytes
from hftpipe.venues.orders.state import ACCOUNT, REGION
from hftpipe.venues.orders.state import COUNTERS as ORDER_COUNTERS
from hftpipe.venues.paper.catalogue import embedded_catalogue
from hftpipe.venues.taped.cursor import wire_cursor
from hftpipe.venues.taped.text import symbols_of

LOG = logging.getLogger("hftpipe.venues.binance")
#: Bytes that a connection can be behind with, and the longest message.
BUFFER_BYTES = 1 << 20
assert offset_of(LIVE, "cursor") == 0
_LOSE = ctypes.CFUNCTYPE(ctypes.c_int64, ctypes.c_uint64, ctypes.c_uint64)


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


def _share_ends(instruments: int, connections: int) -> list[int]:
    """Where each connection's instruments end: shared out as equally as can be."""
    return [instruments * (index + 1) // connections for index in range(connections)]


def _lose(state: np.ndarray, sync: np.ndarray, instrument: int) -> None:
    """Make the feed's book of an instrument INVALID; its readers are told with the next whole book, for they never had this one."""
    book = ctypes.c_uint64.from_address(int(state["books"][0]) + 8 * instrument).value
    _LOSE(CODEC.lose)(sync.ctypes.data, book)


def _memory(site: Site, state: np.ndarray) -> LiveMemory:
    """The feed's regions, with the connections' shares, as arrays."""
    memory, count = site.memory, _connections(site.config)
    live = memory.region("market.source")[: LIVE.itemsize].view(LIVE)
    links = memory.region("market.links").view(LINK)[:count]
    shares = memory.region("market.shares")[: SHARE.itemsize * count].view(SHARE)
    ends = _share_ends(len(site.instruments), count)
    shares["first"], shares["end"], shares["lost"] = [0, *ends[:-1]], ends, KEPT
    received, levels = memory.region("market.received"), site.instruments["levels"].astype(np.int64)
    syncs = sync_views(memory.region("market.syncs"), levels)
    return LiveMemory(
        state=state, live=live, links=links, shares=shares,
        buffers=received[: BUFFER_BYTES * count].reshape(count, BUFFER_BYTES),
        outs=received[BUFFER_BYTES * count :][: OUT_BYTES * count].reshape(count, OUT_BYTES),
        message=memory.region("market.message"), syncs=syncs,
        lose=lambda instrument: _lose(state, syncs[instrument], instrument), levels=levels,
    )  # fmt: skip


def _net(market: Market, config: Config) -> Any:
    """The addresses of a market on the net that is configured."""
    return getattr(config.network, market.name).of(config.live.net)


def _streams(market: Market, config: Config) -> str:
    """Where books, best prices and trades of a market are."""
    if server := config.live.server:
        # http becomes ws, https wss.
        return f"ws{server.removeprefix('http')}{market.route}"
    found: str = getattr(_net(market, config), market.streams)
    return found


def _client(market: Market, config: Config) -> RestClient:
    return client_of(market, config.live.server or _net(market, config).rest, config.live.ca_file)


def _plan(market: Market, config: Config) -> LivePlan:
    snapshots = Snapshots(_client(market, config), market)
    return LivePlan(f"{_streams(market, config)}/stream", subscribe, snapshots.fetch, config.live.ca_file)


def _say(market: Market, line: str) -> None:
    """What happens to connections is said as it happens: a run that lives through it has not failed."""
    event(LOG, logging.WARNING, f"{market.name}: {line}")


def _check_streams(config: Config) -> None:
    """Refuse more streams on a connection than the venue takes."""
    counts = [len(stream_names(item.symbol, item.depth == TOP_ONLY)) for item in config.instruments]
    connections = _connections(config)
    ends = _share_ends(len(counts), connections)
    most = max(sum(counts[first:end]) for first, end in zip([0, *ends[:-1]], ends, strict=True))
    if most > MOST_STREAMS:
        raise Refusal(
            f"live.connections = {connections}: {most} streams on one; allowed: at most {MOST_STREAMS}, so at least "
            f"{-(-sum(counts) // (MOST_STREAMS - max(counts)))} connections"
        )


def _wire(market: Market, site: Site, state: np.ndarray) -> Wired:
    _check_streams(site.config)
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
    keeper = Keeper(memory, plan, CODEC, symbols_of(site.instruments), lambda line: _say(market, line))
    facts = (f"{_connections(site.config)} connections to {server_of(plan.url)}",)
    return Wired(opened=keeper.open, closed=keeper.close, service=keeper.service, facts=facts)


def _beside(
    market: Market, config: Config, rows: np.ndarray, report: Callable[[str], None]
) -> tuple[Beside | None, Config]:
    if config.live.simulated and config.live.server:
        raise Refusal(f"live.simulated = true and live.server = {config.live.server}: allowed: one of them")
    if not config.live.simulated:
        return None, config
    # A server is imported, and its market compiled, only where one is run.
    from hftpipe.venues.binance.simulated import simulated_venue

    return simulated_venue(market, config, rows)


def _catalogue(market: Market, config: Config) -> np.ndarray:
    """What the market lists; what it lists and cannot be traded here is said. A simulated one lists what it is told to."""
    if config.live.simulated:
        return embedded_catalogue(config.market.listed)
    listing = discover(_client(market, config), market)
    for line in listing.lines():
        LOG.warning("%s: %s", market.name, line)
    return listing.rows


def _about(market: Market, config: Config) -> About:
    server = "simulated" if config.live.simulated else server_of(_streams(market, config))
    source = f"{market.name} {server}"
    if config.pipeline.mode != LIVE_MODE:
        return About(source)
    where = f"LIVE orders to {market.name} ({server}, {config.live.net} net)"
    return About(source, where, ends_with_run=config.live.simulated, server=server, user=config.live.instance)


def _wire_orders(market: Market, site: Site, state: np.ndarray) -> Wired:
    # What places orders is compiled only where orders are placed.
    from hftpipe.venues.binance.orders.wiring import wire_orders

    return wire_orders(market.name, site, state, lambda line: _say(market, line))


def _check(market: Market, config: Config, with_order: bool) -> Iterator[Finding]:
    from hftpipe.venues.binance.orders.wiring import check_account

    return check_account(market.name, config, with_order)


def _fee_assets(market: Market, config: Config) -> tuple[str, ...]:
    """Fees are paid in BNB where that is chosen; on spot what is bought pays the fee of a purchase."""
    bases = [one.currencies[0] for one in config.instruments] if market.contract == SPOT_CONTRACT else []
    return tuple(dict.fromkeys(("BNB", *bases)))


def _live_orders(market: Market) -> Orders:
    return Orders(
        sizes=lambda config: {REGION: account_bytes()},
        wire=lambda site, state: _wire_orders(market, site, state),
        counters=lambda config: places("orders", REGION, ACCOUNT, ORDER_COUNTERS),
        fee_assets=lambda config: _fee_assets(market, config),
    )


def _venue(market: Market) -> Venue:
    return Venue(
        about=lambda config: _about(market, config),
        live_orders=_live_orders(market),
        check=lambda config, with_order: _check(market, config, with_order),
        feed=Feed(_sizes, lambda config: MAX_LEVELS, lambda site, state: _wire(market, site, state), _counters),
        catalogue=lambda config: _catalogue(market, config),
        beside=lambda config, rows, report: _beside(market, config, rows, report),
    )


USDM, SPOT = _venue(BINANCE_USDM), _venue(BINANCE_SPOT)
