"""Live markets as venues, for any that says how: market data, and orders that go to the paper exchange or to the venue itself."""

import ctypes
import logging
from collections.abc import Callable, Iterator
from dataclasses import dataclass

import numpy as np

from hftpipe.config import LIVE_MODE, Config
from hftpipe.core.machine.system_clock import steady_ns
from hftpipe.core.schema.counters import Place, places
from hftpipe.core.schema.event_time import REAL_TIME_MULT
from hftpipe.core.schema.finding import Finding
from hftpipe.core.schema.halts import place_of, scope_words, set_scope
from hftpipe.core.schema.layout import offset_of, whole
from hftpipe.core.schema.refusal import Refusal
from hftpipe.core.schema.tickers import TICKER, forget
from hftpipe.log import event
from hftpipe.transport.websocket.connect import server_of
from hftpipe.transport.websocket.link import COUNTERS, LINK, LINK_BYTES, OUT_BYTES
from hftpipe.venues.contract import About, Beside, Codec, Feed, Orders, Site, Venue, Wired
from hftpipe.venues.listing import Listing
from hftpipe.venues.live.held import HELD_BYTES
from hftpipe.venues.live.keeper import Keeper
from hftpipe.venues.live.listing_watch import configured
from hftpipe.venues.live.memory import LiveMemory
from hftpipe.venues.live.plan import LivePlan
from hftpipe.venues.live.source import COUNTERS as COUNTERS_OF_BOOKS
from hftpipe.venues.live.source import KEPT, LIVE, SHARE, live_entry, wire_live
from hftpipe.venues.message import MAX_LEVELS, message_bytes
from hftpipe.venues.orders.reconcile_counts import COUNTERS as RECONCILE_COUNTERS
from hftpipe.venues.orders.reconcile_counts import RECONCILE
from hftpipe.venues.orders.setup import account_bytes
from hftpipe.venues.orders.state import ACCOUNT, REGION, account_layout
from hftpipe.venues.orders.state import COUNTERS as ORDER_COUNTERS
from hftpipe.venues.paper.catalogue import embedded_catalogue
from hftpipe.venues.taped.cursor import wire_cursor
from hftpipe.venues.taped.text import symbols_of

LOG = logging.getLogger("hftpipe.venues.live")
#: Bytes that a connection can be behind with, and the longest message.
BUFFER_BYTES = 1 << 20
assert offset_of(LIVE, "cursor") == 0
_LOSE = ctypes.CFUNCTYPE(ctypes.c_int64, ctypes.c_uint64, ctypes.c_uint64)


@dataclass(frozen=True)
class LiveAccount:
    """How real orders are placed at a live venue, and who has an account there is looked at.

    Attributes:
        wire: wires the order half (contract: :class:`hftpipe.venues.contract.Orders`); takes where a line about it goes.
        fee_assets: what fees may be paid in besides the quote currency; check: as of :class:`hftpipe.venues.contract.Venue`.
    """

    wire: Callable[[Site, np.ndarray, Callable[[str], None]], Wired]
    fee_assets: Callable[[Config], tuple[str, ...]]
    check: Callable[[Config, bool], Iterator[Finding]]


@dataclass(frozen=True)
class LiveMarket:
    """A market of a live venue.

    Attributes:
        name: of its rules and of the venue; codec: of its text.
        url: where its streams are, as configured; plan: how they are kept.
        weigh: what a symbol's streams count on a connection, as configured, by levels a side of its book; most: what a connection may have of it;
            weight_name: what that is, in words.
        simulated: the simulated venue beside a run, and the configuration that reaches it.
        listing: asks what it lists.
        account: how real orders are placed; None: they are not.
        has_side: whether there are connections beside those of the books (:class:`hftpipe.venues.live.plan.Side`).
    """

    name: str
    codec: Codec
    url: Callable[[Config], str]
    plan: Callable[[Config], LivePlan]
    weigh: Callable[[Config, str, int], int]
    most: int
    weight_name: str
    simulated: Callable[[Config, np.ndarray], tuple[Beside, Config]]
    listing: Callable[[Config], Listing]
    account: LiveAccount | None = None
    has_side: Callable[[Config], bool] = lambda config: False


def _connections(config: Config) -> int:
    return min(config.live.connections, len(config.instruments))


def _links(market: LiveMarket, config: Config) -> int:
    """All connections: those of the books, and as many beside them."""
    return _connections(config) * (1 + market.has_side(config))


def _sizes(market: LiveMarket, config: Config) -> dict[str, int]:
    count, codec = _links(market, config), market.codec
    return {
        "market.source": whole(LIVE.itemsize),
        "market.syncs": codec.syncs_bytes(np.array(config.levels())),
        "market.message": message_bytes(),
        "market.links": LINK_BYTES * count,
        "market.shares": whole(SHARE.itemsize * count),
        "market.received": (BUFFER_BYTES + OUT_BYTES) * count,
        "market.held": HELD_BYTES,
    }


def _counters(market: LiveMarket, config: Config) -> list[Place]:
    return places("live", "market.source", LIVE, COUNTERS_OF_BOOKS) + [
        place
        for index in range(_links(market, config))
        for place in places(f"connection {index + 1}", "market.links", LINK, COUNTERS, LINK_BYTES * index)
    ]


def _share_ends(instruments: int, connections: int) -> list[int]:
    """Where each connection's instruments end: shared out as equally as can be."""
    return [instruments * (index + 1) // connections for index in range(connections)]


def _memory(market: LiveMarket, site: Site, state: np.ndarray) -> LiveMemory:
    """The feed's regions, with the connections' shares, as arrays."""
    memory, codec = site.memory, market.codec
    count, n_books = _links(market, site.config), _connections(site.config)
    live = memory.region("market.source")[: LIVE.itemsize].view(LIVE)
    links = memory.region("market.links").view(LINK)[:count]
    shares = memory.region("market.shares")[: SHARE.itemsize * count].view(SHARE)
    ends = _share_ends(len(site.instruments), n_books)
    shares["first"], shares["end"], shares["lost"] = 0, 0, KEPT
    shares["first"][:n_books], shares["end"][:n_books] = [0, *ends[:-1]], ends
    received, levels = memory.region("market.received"), site.instruments["levels"].astype(np.int64)
    syncs = codec.syncs(memory.region("market.syncs"), levels)

    def lose(instrument: int) -> None:
        """Make a book INVALID; its readers are told with the next whole book, for they never had this one."""
        _LOSE(codec.lose)(syncs[instrument].ctypes.data, made.book_at(instrument))

    made = LiveMemory(
        state=state, live=live, links=links, shares=shares, n_books=n_books,
        buffers=received[: BUFFER_BYTES * count].reshape(count, BUFFER_BYTES),
        outs=received[BUFFER_BYTES * count :][: OUT_BYTES * count].reshape(count, OUT_BYTES),
        message=memory.region("market.message"), held=memory.region("market.held"), syncs=syncs, lose=lose, levels=levels,
    )  # fmt: skip
    return made


def _say(market: LiveMarket, line: str) -> None:
    """What happens to connections is said as it happens: a run that lives through it has not failed."""
    event(LOG, logging.WARNING, f"{market.name}: {line}")


def _check_streams(market: LiveMarket, config: Config) -> None:
    """Refuse more on a connection than the venue takes."""
    levels = config.levels()
    counts = [market.weigh(config, item.symbol, one) for item, one in zip(config.instruments, levels, strict=True)]
    connections = _connections(config)
    ends = _share_ends(len(counts), connections)
    most = max(sum(counts[first:end]) for first, end in zip([0, *ends[:-1]], ends, strict=True))
    if most > market.most:
        raise Refusal(
            f"live.connections = {connections}: {most} {market.weight_name} on one; allowed: at most {market.most}, so at least "
            f"{-(-sum(counts) // (market.most - max(counts)))} connections"
        )


def _wire(market: LiveMarket, site: Site, state: np.ndarray) -> Wired:
    _check_streams(market, site.config)
    codec, region, address = market.codec, site.memory.region, site.memory.address
    count = len(site.instruments)
    codec.syncs_init(region("market.syncs"), site.instruments["levels"], [market.name] * count)
    memory = _memory(market, site, state)
    symbols, message, syncs = (address(name) for name in ("symbols", "market.message", "market.syncs"))
    wire_cursor(memory.cursor, codec, count, symbols=symbols, message=message, syncs=syncs)
    wire_live(memory.live, memory.links, memory.shares, memory.held, codec.lose, site.config.live.silence_s)
    state["source_step"], state["source"] = live_entry.address, address("market.source")
    state["hold_back"], state["inverse_speed"], state["speed_mult"] = 0, 1.0, REAL_TIME_MULT
    plan = market.plan(site.config)
    halts, first, tickers = region("halts"), int(state["first"][0]), region("tickers").view(TICKER)
    forget(tickers)

    def halt(instrument: int, cause: int) -> None:
        place = place_of("instrument", first + instrument)
        if not scope_words(halts)[place]:
            set_scope(halts, place, cause, steady_ns())

    keeper = Keeper(
        memory,
        plan,
        codec,
        symbols_of(site.instruments),
        lambda line: _say(market, line),
        configured(site.instruments),
        halt,
        tickers,
    )
    facts = (f"{_links(market, site.config)} connections to {server_of(plan.url)}",)
    return Wired(opened=keeper.open, closed=keeper.close, service=keeper.service, facts=facts)


def _beside(
    market: LiveMarket, config: Config, rows: np.ndarray, report: Callable[[str], None]
) -> tuple[Beside | None, Config]:
    if config.live.simulated and config.live.server:
        raise Refusal(f"live.simulated = true and live.server = {config.live.server}: allowed: one of them")
    return market.simulated(config, rows) if config.live.simulated else (None, config)


def _catalogue(market: LiveMarket, config: Config) -> np.ndarray:
    """What the market lists; a simulated one lists what it is told to."""
    if config.live.simulated:
        return embedded_catalogue(config.market.listed)
    listing = market.listing(config)
    for line in listing.lines():
        LOG.warning("%s: %s", market.name, line)
    return listing.rows


def _about(market: LiveMarket, config: Config) -> About:
    server = "simulated" if config.live.simulated else server_of(market.url(config))
    source = f"{market.name} {server}"
    if config.pipeline.mode != LIVE_MODE:
        return About(source)
    where = f"LIVE orders to {market.name} ({server}, {config.live.net} net)"
    return About(source, where, ends_with_run=config.live.simulated, server=server, user=config.live.instance)


def _order_counters() -> list[Place]:
    at = account_layout().at("reconcile")
    return places("orders", REGION, ACCOUNT, ORDER_COUNTERS) + places(
        "reconcile", REGION, RECONCILE, RECONCILE_COUNTERS, at
    )


def _live_orders(market: LiveMarket, account: LiveAccount) -> Orders:
    return Orders(
        sizes=lambda config: {REGION: account_bytes()},
        wire=lambda site, state: account.wire(site, state, lambda line: _say(market, line)),
        counters=lambda config: _order_counters(),
        fee_assets=account.fee_assets,
    )


def live_venue(market: LiveMarket) -> Venue:
    """The market as a venue."""
    account = market.account
    return Venue(
        about=lambda config: _about(market, config),
        live_orders=_live_orders(market, account) if account else None,
        check=account.check if account else None,
        feed=Feed(
            lambda config: _sizes(market, config),
            lambda config: MAX_LEVELS,
            lambda site, state: _wire(market, site, state),
            lambda config: _counters(market, config),
        ),
        catalogue=lambda config: _catalogue(market, config),
        beside=lambda config, rows, report: _beside(market, config, rows, report),
    )
