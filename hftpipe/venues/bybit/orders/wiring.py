"""Bybit's orders as a venue's order half: what the gateway calls, and the threads beside it."""

import os
from collections.abc import Callable, Iterator, Mapping

import numpy as np

from hftpipe.config import Config, Secret
from hftpipe.core.schema.finding import Finding
from hftpipe.core.schema.instruments import INSTRUMENT
from hftpipe.core.schema.refusal import Refusal
from hftpipe.transport.signing.keys import ED25519, HMAC, RSA, Key, key_of
from hftpipe.venues.bybit.discovery import client_of
from hftpipe.venues.bybit.orders.disconnects import DisconnectCancel
from hftpipe.venues.bybit.orders.errors import ERRORS
from hftpipe.venues.bybit.orders.exam import BybitExam
from hftpipe.venues.bybit.orders.looks import BybitLook
from hftpipe.venues.bybit.orders.market import ALIVE, ALIVE_S, LINEAR, SILENCE_S, SPOT, AccountMarket
from hftpipe.venues.bybit.orders.reply import HEADERS, reply_entry
from hftpipe.venues.bybit.orders.scan import SCAN_BYTES, scan_entry
from hftpipe.venues.bybit.orders.wire import RestWire, Wire
from hftpipe.venues.contract import Site, Wired
from hftpipe.venues.orders.check import Check, refuse_real
from hftpipe.venues.orders.client_text import prefix_of
from hftpipe.venues.orders.numbers import Instruments
from hftpipe.venues.orders.rest_facts import RECV_WINDOW_MS
from hftpipe.venues.orders.setup import Speech, Terms
from hftpipe.venues.orders.wiring import REST, wire_account

MARKETS = {one.market.name: one for one in (SPOT, LINEAR)}


def account_key(name: str, config: Config) -> Key:
    """The account's key; of a simulated venue beside the run its own.

    Raises:
        Refusal: there is none in the environment, or it is one that the venue does not have.
    """
    if config.live.simulated:
        from hftpipe.venues.bybit.simulated import simulated_key

        name_of_key, secret = simulated_key()
        return Key(Secret(name_of_key), Secret(secret))
    key = key_of(name, os.environ)
    if key.kind == ED25519:
        raise Refusal(f"venue {name}: a key of kind {ED25519}; Bybit has {HMAC} and {RSA}")
    if key.kind != HMAC and config.live.order_entry == REST:
        raise Refusal(
            f"venue {name}: live.order_entry = rest signs each order, which takes an {key.kind} key a millisecond; allowed: a key of "
            f"kind {HMAC}, or live.order_entry = websocket"
        )
    return key


def _addresses(config: Config) -> tuple[str, str, str]:
    """REST, the interface for orders, the account's own topics."""
    if server := config.live.server:
        sockets = f"ws{server.removeprefix('http')}"
        return server, f"{sockets}/v5/trade", f"{sockets}/v5/private"
    net = config.network.bybit.of(config.live.net)
    return net.rest, net.websocket_api, net.private_streams


def account_of(
    name: str,
    config: Config,
    instruments: np.ndarray,
    fee_numbers: Mapping[str, int],
    switch: DisconnectCancel | None = None,
) -> BybitLook:
    """The account of a category as configured. Raises Refusal without a key."""
    rest, trade_url, private_url = _addresses(config)
    if config.live.order_entry == REST:
        trade_url = ""
    return BybitLook(
        MARKETS[name], account_key(name, config), client_of(rest, config.live.ca_file), trade_url, private_url,
        Instruments.of(instruments), prefix_of(config.live.instance), fee_numbers, config.live.ca_file, switch,
    )  # fmt: skip


def check_account(name: str, config: Config, with_order: bool) -> Iterator[Finding]:
    """Look at a category and the account there (contract: ``check`` of :class:`hftpipe.venues.contract.Venue`).

    Raises:
        Refusal: there is no key, or an order is asked for where it would cost money.
    """
    refuse_real(config, with_order)
    rows = np.zeros(len(config.instruments), INSTRUMENT)
    rows["symbol"] = [one.symbol for one in config.instruments]
    exam = BybitExam(MARKETS[name], account_of(name, config, rows, {}))
    return Check(exam, config.instruments).findings(with_order)


def _speech(market: AccountMarket, key: Key, rest_address: str) -> Speech:
    category = market.market.category
    if rest_address:
        wire: Wire = RestWire(category, RECV_WINDOW_MS, rest_address, key.name.reveal())
    else:
        wire = Wire(category, RECV_WINDOW_MS)
    return Speech(
        wire.templates,
        wire.variants,
        ERRORS,
        scan_entry.address,
        SCAN_BYTES,
        reply_entry.address,
        HEADERS,
        ALIVE,
        ALIVE_S,
        fees_in_received=category == SPOT.market.category,
    )


def wire_orders(name: str, site: Site, state: np.ndarray, report: Callable[[str], None]) -> Wired:
    """Wire the order half of a category (contract: :class:`hftpipe.venues.contract.Orders`)."""
    market, live = MARKETS[name], site.config.live
    key = account_key(name, site.config)
    switch = DisconnectCancel(market.market.category, live.dead_man_s, report)
    account = account_of(
        name, site.config, site.instruments, {one: site.fee_number(one) for one in site.fee_assets}, switch
    )
    is_rest = live.order_entry == REST
    terms = Terms(
        links=1 if is_rest else 2, calls=live.rest_connections if is_rest else 0, is_revised=False, answer_s=live.answer_timeout_s, login_s=live.login_timeout_s, silence_s=SILENCE_S,
        windows=market.windows,
    )  # fmt: skip

    def speech() -> Speech:
        return _speech(market, key, account.rest.address if is_rest else "")

    is_spot = market is SPOT
    return wire_account(site, state, account, speech, terms, key, account.prefix, is_spot, report)
