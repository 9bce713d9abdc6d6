"""What a simulated exchange is told before it opens: who may trade, what, on which lines and how bad they are."""

from collections.abc import Callable
from dataclasses import dataclass, field

import numpy as np

from hftpipe.simulation.exchange_server.impair import Impairment
from hftpipe.simulation.flow.demo_market import DemoMarket

#: 1 GiB once it is full: 20 minutes of 10,000 events a second.
STORE_MESSAGES = 1 << 24


@dataclass(frozen=True)
class Account:
    """Who may trade: user (at most 6 ASCII characters) and password (at most 10)."""

    user: str
    password: str = ""


@dataclass(frozen=True)
class ExchangeConfig:
    """What the exchange is.

    Attributes:
        instruments: INSTRUMENT array; symbol, tick, lot (one share) and reference_price must be set.
        accounts: who may trade.
        group_a, port_a, group_b, port_b: the multicast lines (port 0: a free one); interface: address of the interface they go
            out on.
        address: where orders and re-requests are served; order_port, tcp_port, request_port: 0 takes a free one
            (see ``ItchExchange.order_port`` and so on).
        rate_per_s, speed, seed: of the order flow; speed 0 lets no event of it happen.
        market: what market the flow is; None: the tight one without news.
        replay: a capture that is the market in place of the flow, at ``speed`` times its pace; empty: none.
        line_a, line_b, orders_in, orders_out: how bad each line is.
        stp: ``none``, ``cancel_resting`` or ``cancel_incoming``.
        store_messages, log_messages: kept for re-requests (64 bytes each) and for accounts, powers of two.
        cancel_on_loss, cancel_on_new_session: whether an account's orders go when it is lost, or starts anew, even if it
            did not ask for that when it logged in.
        idle: ``spin``, ``yield`` or ``sleep`` while nothing happens.
        mold_session: name of the session, at most 10 characters; empty: one of its own for every start, so that nobody
            takes a restarted exchange for one that goes on.
    """

    instruments: np.ndarray
    accounts: tuple[Account, ...] = (Account("HFTPIP"),)
    group_a: str = "239.192.0.1"
    port_a: int = 26477
    group_b: str = "239.192.0.2"
    port_b: int = 26478
    interface: str = "127.0.0.1"
    address: str = "127.0.0.1"
    order_port: int = 0
    tcp_port: int = 0
    request_port: int = 0
    rate_per_s: float = 1000.0
    speed: float = 1.0
    seed: int = 1
    market: DemoMarket | None = None
    replay: str = ""
    line_a: Impairment = field(default_factory=Impairment)
    line_b: Impairment = field(default_factory=Impairment)
    orders_in: Impairment = field(default_factory=Impairment)
    orders_out: Impairment = field(default_factory=Impairment)
    stp: str = "cancel_resting"
    store_messages: int = STORE_MESSAGES
    log_messages: int = 1 << 12
    cancel_on_loss: bool = False
    cancel_on_new_session: bool = True
    heartbeat_ms: int = 100
    idle: str = "sleep"
    mold_session: str = ""


@dataclass(frozen=True)
class SimExchangeOptions:
    """Options of the command line; ``config`` with the ports that were asked for.

    Attributes:
        config: the exchange; cpu: pin to this CPU (-1: no); ports_file: where to write the ports as lines
            ``name=number`` once they are open (empty: nowhere); truth: where to keep what it knows of its accounts.
    """

    config: ExchangeConfig
    cpu: int = -1
    ports_file: str = ""
    truth: str = ""


@dataclass(frozen=True)
class Told:
    """Whom a running exchange tells what.

    Attributes:
        say: gets a line of text that a person should know of.
        damaged: gets a line of text about a capture that cannot be read, or not to its end.
        ended: called once, when the whole capture has been played and receivers have had time to ask for the last of it.
    """

    say: Callable[[str], None]
    damaged: Callable[[str], None]
    ended: Callable[[], None]
