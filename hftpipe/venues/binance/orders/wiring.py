"""Binance's orders as a venue's order half: what the gateway calls, and the threads beside it."""

import os
from collections.abc import Callable, Iterator, Mapping

import numpy as np

from hftpipe.config import Config, Secret
from hftpipe.core.schema.finding import Finding
from hftpipe.core.schema.instruments import INSTRUMENT
from hftpipe.core.schema.refusal import Refusal
from hftpipe.transport.signing.keys import ED25519, HMAC, Key, key_of
from hftpipe.venues.binance.discovery import client_of
from hftpipe.venues.binance.orders.exam import BinanceExam
from hftpipe.venues.binance.orders.looks import BinanceLook
from hftpipe.venues.binance.orders.market import SPOT, USDM, AccountMarket
from hftpipe.venues.binance.orders.reply import HEADERS, reply_entry
from hftpipe.venues.binance.orders.scan import SPOTS_BYTES, scan_entry
from hftpipe.venues.binance.orders.wire import RestWire, Wire
from hftpipe.venues.contract import Site, Wired
from hftpipe.venues.orders.check import Check, refuse_real
from hftpipe.venues.orders.client_text import prefix_of
from hftpipe.venues.orders.dead_man import DeadMan
from hftpipe.venues.orders.keeper import AccountMemory, Upkeep
from hftpipe.venues.orders.numbers import Instruments
from hftpipe.venues.orders.rest_facts import RECV_WINDOW_MS
from hftpipe.venues.orders.setup import Speech, Terms
from hftpipe.venues.orders.wiring import REST, wire_account

#: How often the dead man's switch is held off in the time that it waits; the share of the request weight that this may cost.
_TELLINGS, _SHARE_OF_WEIGHT = 4, 0.25
MARKETS = {one.market.name: one for one in (SPOT, USDM)}


def account_key(name: str, config: Config) -> Key:
    """The account's key; of a simulated venue beside the run its own.

    Raises:
        Refusal: there is none in the environment, or it is one that orders cannot be signed with as they are sent.
    """
    if config.live.simulated:
        from hftpipe.venues.binance.simulated import simulated_key

        name_of_key, secret = simulated_key()
        return Key(Secret(name_of_key), Secret(secret))
    key = key_of(name, os.environ)
    if key.kind != HMAC and config.live.order_entry == REST:
        raise Refusal(
            f"venue {name}: live.order_entry = rest signs each order, and the key is of kind {key.kind}; allowed: {HMAC}, or "
            f"live.order_entry = websocket"
        )
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


def _asks_over_socket(market: AccountMarket, config: Config) -> bool:
    """Whether a session has the interface for requests: orders go over it, or the events come over it."""
    return market.is_spot or config.live.order_entry != REST


def account_of(name: str, config: Config, instruments: np.ndarray, fee_numbers: Mapping[str, int]) -> BinanceLook:
    """The account of a market as configured. Raises Refusal without a key."""
    market = MARKETS[name]
    rest, api_url, events_url = _addresses(market, config)
    return BinanceLook(
        market, account_key(name, config), client_of(market.market, rest, config.live.ca_file),
        api_url if _asks_over_socket(market, config) else "", events_url,
        Instruments.of(instruments), prefix_of(config.live.instance), fee_numbers,
        config.live.ca_file,
    )  # fmt: skip


def check_account(name: str, config: Config, with_order: bool) -> Iterator[Finding]:
    """Look at a market and the account there (contract: ``check`` of :class:`hftpipe.venues.contract.Venue`).

    Raises:
        Refusal: there is no key, or an order is asked for where it would cost money.
    """
    refuse_real(config, with_order)
    rows = np.zeros(len(config.instruments), INSTRUMENT)
    rows["symbol"] = [one.symbol for one in config.instruments]
    exam = BinanceExam(MARKETS[name], account_of(name, config, rows, {}))
    return Check(exam, config.instruments).findings(with_order)


def _speech(market: AccountMarket, key: Key, rest_address: str) -> Speech:
    if rest_address:
        rest = RestWire(market.is_spot, key.name.reveal(), RECV_WINDOW_MS, rest_address)
        return Speech(
            rest.templates, rest.variants, market.errors, scan_entry.address, SPOTS_BYTES, reply_entry.address, HEADERS
        )
    wire = Wire(market.is_spot, "" if key.kind == ED25519 else key.name.reveal(), RECV_WINDOW_MS)
    return Speech(wire.templates, wire.variants, market.errors, scan_entry.address, SPOTS_BYTES)


def most_held(market: AccountMarket, countdown_s: float) -> int:
    """How many symbols the dead man's switch can be held off in, within its share of the request weight."""
    assert market.countdown is not None, "no dead man's switch"
    tellings_per_min = 60 * _TELLINGS / countdown_s
    return max(1, int(market.market.weight_limit * _SHARE_OF_WEIGHT / (market.countdown.weight * tellings_per_min)))


def wire_orders(name: str, site: Site, state: np.ndarray, report: Callable[[str], None]) -> Wired:
    """Wire the order half of a market (contract: :class:`hftpipe.venues.contract.Orders`)."""
    market, live = MARKETS[name], site.config.live
    key = account_key(name, site.config)
    account = account_of(name, site.config, site.instruments, {one: site.fee_number(one) for one in site.fee_assets})
    is_rest = live.order_entry == REST
    terms = Terms(
        links=int(_asks_over_socket(market, site.config)) + int(not market.is_spot),
        calls=live.rest_connections if is_rest else 0, is_revised=market.is_spot, answer_s=live.answer_timeout_s,
        login_s=live.login_timeout_s, silence_s=market.silence_s, windows=market.windows,
    )  # fmt: skip

    held: list[DeadMan] = []

    def upkeep(memory: AccountMemory) -> list[Upkeep]:
        if not (market.countdown and live.dead_man_s):
            return []
        symbols = [bytes(one).decode() for one in site.instruments["symbol"]]
        most = most_held(market, live.dead_man_s)
        dead_man = DeadMan(account.hold_off, memory.table, memory.account, symbols, live.dead_man_s, most, report)
        held.append(dead_man)
        return [Upkeep("dead man's switch", live.dead_man_s / _TELLINGS, dead_man.tell)]

    def release() -> None:
        for one in held:
            one.release()

    return wire_account(
        site,
        state,
        account,
        lambda: _speech(market, key, account.rest.address if is_rest else ""),
        terms,
        key,
        account.prefix,
        market.is_spot,
        report,
        upkeep,
        release,
    )
