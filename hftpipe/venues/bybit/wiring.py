"""Bybit's live categories: where they are, and what is asked of them."""

from collections.abc import Callable, Iterator
from typing import Any

import numpy as np

from hftpipe.config import Config
from hftpipe.core.schema.finding import Finding
from hftpipe.core.schema.instruments import SPOT as SPOT_CONTRACT
from hftpipe.core.schema.refusal import Refusal
from hftpipe.transport.http.rest import RestClient
from hftpipe.venues.bybit.codec import CODEC
from hftpipe.venues.bybit.discovery import client_of, discover, discover_rules
from hftpipe.venues.bybit.markets import BYBIT_LINEAR, BYBIT_SPOT, Market
from hftpipe.venues.bybit.streams import ALIVE_S, MOST_CHARS, PING, Topics, chars, complaint
from hftpipe.venues.bybit.tickers import ticker_plan
from hftpipe.venues.bybit.whole_book import book_check
from hftpipe.venues.contract import Beside, Site, Venue, Wired
from hftpipe.venues.live.plan import ListingPlan, LivePlan
from hftpipe.venues.live.wiring import LiveAccount, LiveMarket, live_venue


def _net(config: Config) -> Any:
    """The addresses of the net that is configured."""
    return config.network.bybit.of(config.live.net)


def _streams(market: Market, config: Config) -> str:
    """Where the public topics of a category are."""
    if server := config.live.server:
        # http becomes ws, https wss.
        return f"ws{server.removeprefix('http')}/v5/public/{market.category}"
    found: str = getattr(_net(config), f"{market.category}_streams")
    return found


def _client(config: Config) -> RestClient:
    return client_of(config.live.server or _net(config).rest, config.live.ca_file)


def _plan(market: Market, config: Config) -> LivePlan:
    asked, client, live = Topics(market), _client(config), config.live
    if live.trades != "trade":
        raise Refusal(f"live.trades = {live.trades}: {market.name} has single trades alone; allowed: trade")
    listing = (
        ListingPlan(lambda: discover_rules(client, market), live.listing_check_s) if live.listing_check_s else None
    )
    return LivePlan(
        _streams(market, config), asked.subscribe, snapshot=None, again=asked.again, alive=lambda: PING, alive_s=ALIVE_S,
        complaint=complaint, check=book_check(client, market, live.book_check_s), listing=listing,
        tickers=ticker_plan(asked, _streams(market, config), live.tickers), ca_file=config.live.ca_file,
    )  # fmt: skip


def _simulated(market: Market, config: Config, rows: np.ndarray) -> tuple[Beside, Config]:
    # A server is imported, and its market compiled, only where one is run.
    from hftpipe.venues.bybit.simulated import simulated_venue

    return simulated_venue(market, config, rows)


def _fee_assets(market: Market, config: Config) -> tuple[str, ...]:
    """On spot what is bought pays the fee of a purchase."""
    bases = [one.currencies[0] for one in config.instruments] if market.contract == SPOT_CONTRACT else []
    return tuple(dict.fromkeys(bases))


def _wire_orders(market: Market, site: Site, state: np.ndarray, report: Callable[[str], None]) -> Wired:
    # What places orders is compiled only where orders are placed.
    from hftpipe.venues.bybit.orders.wiring import wire_orders

    return wire_orders(market.name, site, state, report)


def _check(market: Market, config: Config, with_order: bool) -> Iterator[Finding]:
    from hftpipe.venues.bybit.orders.wiring import check_account

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
            weigh=lambda config, symbol, levels: chars(symbol, levels),
            most=MOST_CHARS,
            weight_name="characters of topics",
            simulated=lambda config, rows: _simulated(market, config, rows),
            listing=lambda config: discover(_client(config), market),
            account=_account(market),
        )
    )


LINEAR, SPOT = _venue(BYBIT_LINEAR), _venue(BYBIT_SPOT)
