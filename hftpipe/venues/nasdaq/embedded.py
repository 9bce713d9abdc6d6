"""The simulated exchange beside a run: a multicast venue on this machine, for whoever has no other."""

from collections.abc import Callable
from dataclasses import replace

import numpy as np

from hftpipe.config import Config
from hftpipe.simulation.exchange_server.impair import Impairment
from hftpipe.simulation.exchange_server.process import ExchangeProcess, exchange_of_its_own
from hftpipe.simulation.exchange_server.settings import Account, ExchangeConfig
from hftpipe.simulation.flow.demo_market import DemoMarket
from hftpipe.venues.nasdaq.account import ouch_password

#: Messages the embedded exchange keeps (64 MiB): its one client is there from the start.
STORE_MESSAGES = 1 << 20


def embedded_exchange(
    config: Config, rows: np.ndarray, report: Callable[[str], None]
) -> tuple[ExchangeProcess, Config]:
    """The exchange, its ports open, and the configuration with those ports: one of its own for every run.

    Raises:
        ValueError, CaptureError, OSError: as :class:`ExchangeProcess`.
    """
    udp, market = config.udp, config.market
    wanted = ExchangeConfig(
        instruments=rows, accounts=(Account(udp.user, ouch_password()),),
        group_a=udp.group_a, port_a=udp.port_a, group_b=udp.group_b, port_b=udp.port_b, interface=udp.interface,
        rate_per_s=market.event_rate_per_s, seed=market.seed, store_messages=STORE_MESSAGES,
        market=DemoMarket(market.spread_bps, market.uninformed_share),
        replay=market.replay if market.source == "replay" else "", speed=market.speed_e8 / 1e8,
        line_a=Impairment(loss=udp.loss_a), line_b=Impairment(loss=udp.loss_b),
    )  # fmt: skip
    exchange = exchange_of_its_own(wanted, udp.truth_file)
    exchange.damaged = report
    served = exchange.exchange
    port = served.order_port if udp.transport == "udp" else served.tcp_port
    reached = replace(
        udp, port_a=served.port_a, port_b=served.port_b, request_port=served.request_port, order_port=port
    )  # fmt: skip
    return exchange, replace(config, udp=reached)
