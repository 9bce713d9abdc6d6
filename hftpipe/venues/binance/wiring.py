"""Binance's live markets: where they are, and what is asked of them."""

from collections.abc import Callable, Iterator
from typing import Any

import numpy as np

from hftpipe.config import Config
from hftpipe.core.schema.finding import Finding
from hftpipe.core.schema.instruments import SPOT as SPOT_CONTRACT
from hftpipe.core.schema.instruments import TOP_LEVELS
from hftpipe.transport.http.rest import RestClient
from hftpipe.venues.binance.codec import CODEC
from hftpipe.venues.binance.discovery import client_of, discover, discover_rules
from hftpipe.venues.binance.markets import BINANCE_SPOT, BINANCE_USDM, Market
from hftpipe.venues.binance.streams import (
    ALIVE,
    ALIVE_S,
    LIFETIME_S,
    MOST_STREAMS,
    Snapshots,
    aggregates,
    book_check,
    books_with,
    is_ending,
    stream_names,
)
from hftpipe.venues.binance.tickers import ticker_plan
from hftpipe.venues.contract import Beside, Site, Venue, Wired
from hftpipe.venues.live.plan import ListingPlan, LivePlan, Side
from hftpipe.venues.live.wiring import LiveAccount, LiveMarket, live_venue


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


def _has_side(market: Market, config: Config) -> bool:
    """Whether aggregate trades are followed and do not come where the books do."""
    return config.live.trades == "aggTrade" and market.side_route != market.route


def _side(market: Market, config: Config) -> Side | None:
    if not _has_side(market, config):
        return None
    return Side(f"{_side_streams(market, config)}/stream", aggregates, lambda: ALIVE, ALIVE_S)


def _side_streams(market: Market, config: Config) -> str:
    """Where aggregate trades, statistics and mark prices of a market are."""
    if server := config.live.server:
        return f"ws{server.removeprefix('http')}{market.side_route}"
    found: str = getattr(_net(market, config), market.side_streams)
    return found


def _trades(market: Market, config: Config) -> str:
    """Trades that come with the books."""
    return "" if _has_side(market, config) else config.live.trades


def _client(market: Market, config: Config) -> RestClient:
    return client_of(market, config.live.server or _net(market, config).rest, config.live.ca_file)


def _plan(market: Market, config: Config) -> LivePlan:
    client, live = _client(market, config), config.live
    snapshots = Snapshots(client, market)
    listing = (
        ListingPlan(lambda: discover_rules(client, market), live.listing_check_s) if live.listing_check_s else None
    )
    return LivePlan(
        f"{_streams(market, config)}/stream", books_with(_trades(market, config)), snapshots.fetch, snapshot_levels=snapshots.levels,
        check=book_check(snapshots, live.book_check_s), listing=listing, side=_side(market, config),
        tickers=ticker_plan(market, f"{_side_streams(market, config)}/stream", live.tickers), lifetime_s=LIFETIME_S, is_ending=is_ending,
        ca_file=config.live.ca_file,
    )  # fmt: skip


def _simulated(market: Market, config: Config, rows: np.ndarray) -> tuple[Beside, Config]:
    # A server is imported, and its market compiled, only where one is run.
    from hftpipe.venues.binance.simulated import simulated_venue

    return simulated_venue(market, config, rows)


def _fee_assets(market: Market, config: Config) -> tuple[str, ...]:
    """Fees are paid in BNB where that is chosen; on spot what is bought pays the fee of a purchase."""
    bases = [one.currencies[0] for one in config.instruments] if market.contract == SPOT_CONTRACT else []
    return tuple(dict.fromkeys(("BNB", *bases)))


def _wire_orders(market: Market, site: Site, state: np.ndarray, report: Callable[[str], None]) -> Wired:
    # What places orders is compiled only where orders are placed.
    from hftpipe.venues.binance.orders.wiring import wire_orders

    return wire_orders(market.name, site, state, report)


def _check(market: Market, config: Config, with_order: bool) -> Iterator[Finding]:
    from hftpipe.venues.binance.orders.wiring import check_account

    return check_account(market.name, config, with_order)


def _account(market: Market) -> LiveAccount:
    return LiveAccount(
        wire=lambda site, state, report: _wire_orders(market, site, state, report),
        fee_assets=lambda config: _fee_assets(market, config),
        check=lambda config, with_order: _check(market, config, with_order),
    )


def _venue(market: Market) -> Venue:
    return live_venue(
        LiveMarket(
            name=market.name,
            codec=CODEC,
            url=lambda config: _streams(market, config),
            plan=lambda config: _plan(market, config),
            weigh=lambda config, symbol, levels: len(
                stream_names(symbol, levels == TOP_LEVELS, _trades(market, config))
            ),
            has_side=lambda config: _has_side(market, config),
            most=MOST_STREAMS,
            weight_name="streams",
            simulated=lambda config, rows: _simulated(market, config, rows),
            listing=lambda config: discover(_client(market, config), market),
            account=_account(market),
        )
    )


USDM, SPOT = _venue(BINANCE_USDM), _venue(BINANCE_SPOT)
