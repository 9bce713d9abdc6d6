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
from hftpipe.venues.binance.discovery import client_of, discover
from hftpipe.venues.binance.markets import BINANCE_SPOT, BINANCE_USDM, Market
from hftpipe.venues.binance.streams import LIFETIME_S, MOST_STREAMS, Snapshots, is_ending, stream_names, subscribe
from hftpipe.venues.contract import Beside, Site, Venue, Wired
from hftpipe.venues.live.plan import LivePlan
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


def _client(market: Market, config: Config) -> RestClient:
    return client_of(market, config.live.server or _net(market, config).rest, config.live.ca_file)


def _plan(market: Market, config: Config) -> LivePlan:
    snapshots = Snapshots(_client(market, config), market)
    return LivePlan(
        f"{_streams(market, config)}/stream", subscribe, snapshots.fetch, lifetime_s=LIFETIME_S, is_ending=is_ending,
        ca_file=config.live.ca_file,
    )  # fmt: skip


def _simulated(market: Market, config: Config, rows: np.ndarray) -> tuple[Beside, Config]:
    # A server is imported, and its market compiled, only where one is run.
    from hftpipe.venues.binance.simulated import simulated_venue

    return simulated_venue(market, config, rows)


def _listed(market: Market, config: Config, report: Callable[[str], None]) -> np.ndarray:
    listing = discover(_client(market, config), market)
    for line in listing.lines():
        report(line)
    return listing.rows


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
            weigh=lambda symbol, levels: len(stream_names(symbol, levels == TOP_LEVELS)),
            most=MOST_STREAMS,
            weight_name="streams",
            simulated=lambda config, rows: _simulated(market, config, rows),
            listed=lambda config, report: _listed(market, config, report),
            account=_account(market),
        )
    )


USDM, SPOT = _venue(BINANCE_USDM), _venue(BINANCE_SPOT)
