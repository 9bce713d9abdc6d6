"""Binance's orders as a venue's order half: what the gateway calls, and the threads beside it."""

import os
from collections.abc import Callable
from typing import Any

import numpy as np

from hftpipe.config import Config, Secret
from hftpipe.core.machine.system_clock import steady_ns
from hftpipe.core.schema.halts import CLOSED_SCOPE, set_scope
from hftpipe.core.schema.refusal import Refusal
from hftpipe.core.trading.order_table import TABLE
from hftpipe.transport.signing.keys import ED25519, HMAC, RSA, Key, key_of
from hftpipe.venues.binance.discovery import client_of
from hftpipe.venues.binance.orders.account import RECV_WINDOW_MS, BinanceAccount, Instruments
from hftpipe.venues.binance.orders.market import SPOT, USDM, AccountMarket
from hftpipe.venues.binance.orders.scan import SPOTS_BYTES, scan_entry
from hftpipe.venues.binance.orders.wire import Wire
from hftpipe.venues.contract import Site, Wired
from hftpipe.venues.orders import venue
from hftpipe.venues.orders.client_text import prefix_of
from hftpipe.venues.orders.dead_man import DeadMan
from hftpipe.venues.orders.keeper import AccountKeeper, Upkeep
from hftpipe.venues.orders.setup import Terms, account_init, open_private
from hftpipe.venues.orders.state import REGION
from hftpipe.venues.orders.watchdog import Watchdog

#: How often the dead man's switch is held off in the time that it waits; the share of the request weight that this may cost.
_TELLINGS, _SHARE_OF_WEIGHT = 4, 0.25
MARKETS = {one.market.name: one for one in (SPOT, USDM)}


def account_key(name: str, config: Config) -> Key:
    """The account's key; of a simulated venue beside the run its own.

    Raises:
        Refusal: there is none in the environment, or it is one that orders cannot be signed with.
    """
    if config.live.simulated:
        from hftpipe.simulation.binance_server.trading.settings import account_from

        account = account_from(os.environ)
        return Key(Secret(account.key), Secret(account.secret))
    key = key_of(name, os.environ)
    if key.kind == RSA:
        raise Refusal(f"venue {name}: an RSA key takes a millisecond an order; allowed: {HMAC}, {ED25519}")
    return key


def _addresses(market: AccountMarket, config: Config) -> tuple[str, str, str]:
    """REST, the interface for requests, events (USD-M)."""
    # Rate limits in every answer would be most of it; they are counted here, and REST tells them.
    plain = "?returnRateLimits=false"
    if server := config.live.server:
        sockets = f"ws{server.removeprefix('http')}"
        return server, f"{sockets}{market.api_path}{plain}", f"{sockets}/private"
    net = getattr(config.network, market.market.name).of(config.live.net)
    return net.rest, f"{net.websocket_api}{plain}", "" if market.is_spot else net.private_streams


def wire_orders(name: str, site: Site, state: np.ndarray, report: Callable[[str], None]) -> Wired:
    """Wire the order half of a market (contract: :class:`hftpipe.venues.contract.Orders`)."""
    market, config, live = MARKETS[name], site.config, site.config.live
    key, prefix = account_key(name, config), prefix_of(live.instance)
    terms = Terms(
        links=1 if market.is_spot else 2, is_revised=market.is_spot, answer_s=live.answer_timeout_s,
        login_s=live.login_timeout_s, silence_s=market.silence_s, windows=market.windows,
    )  # fmt: skip
    index = int(state["venue_index"][0])
    # Until the log-in is through nobody quotes.
    set_scope(site.memory.region("halts"), CLOSED_SCOPE + index, 1, steady_ns())
    memory = account_init(
        site.memory.region(REGION), len(site.instruments), site.memory.address("clock"), scan_entry.address, terms,
        halts=site.memory.address("halts"), venue_index=index,
    )  # fmt: skip
    state["venue"], state["venue_submit"] = site.memory.address(REGION), venue.submit_entry.address
    state["venue_poll"], state["venue_unanswered"] = venue.poll_entry.address, venue.unanswered_entry.address
    rest, api_url, events_url = _addresses(market, config)
    symbols, quotes = (tuple(bytes(one).decode() for one in site.instruments[name]) for name in ("symbol", "quote"))
    account = BinanceAccount(
        market, key, client_of(market.market, rest, live.ca_file), api_url, events_url,
        Instruments(symbols, quotes, tuple(site.instruments["power"].tolist())), prefix,
        {asset: site.fee_number(asset) for asset in site.fee_assets}, live.ca_file,
    )  # fmt: skip
    if market.countdown and live.dead_man_s:
        dead_man = DeadMan(
            account.hold_off,
            memory.table,
            memory.account,
            symbols,
            live.dead_man_s,
            _most_held(market, live.dead_man_s),
            report,
        )
        account.keep_up(Upkeep("dead man's switch", live.dead_man_s / _TELLINGS, dead_man.tell))
    keeper = AccountKeeper(memory, account, report)
    n_open = memory.table[: TABLE.itemsize].view(TABLE)["n_open"]
    watchdog = Watchdog(memory.account, n_open, account, report)
    kept: list[Any] = [keeper, watchdog]

    def opened() -> None:
        # Before there are threads, which no fork takes along.
        watchdog.start()
        wire = Wire(market.is_spot, "" if key.kind == ED25519 else key.name.reveal(), RECV_WINDOW_MS)
        kept.append(
            open_private(
                memory.account, site.instruments, key, prefix, (wire.templates, wire.variants), market.errors,
                site.fee_assets, SPOTS_BYTES,
            )
        )  # fmt: skip
        keeper.open()

    def closed() -> None:
        watchdog.stop()
        keeper.close()

    return Wired(opened=opened, closed=closed, keep=(kept,))


def _most_held(market: AccountMarket, countdown_s: float) -> int:
    """How many symbols the dead man's switch can be held off in, within its share of the request weight."""
    assert market.countdown is not None, "no dead man's switch"
    tellings_per_min = 60 * _TELLINGS / countdown_s
    return max(1, int(market.market.weight_limit * _SHARE_OF_WEIGHT / (market.countdown.weight * tellings_per_min)))
