"""A Bybit category without a network: the simulated venue beside a run, and the configuration that reaches it."""

import os
from dataclasses import replace
from importlib.util import find_spec

import numpy as np

from hftpipe.config import Config
from hftpipe.core.schema.refusal import Refusal

if find_spec("aiohttp") is None:
    raise Refusal("live.simulated = true needs aiohttp: pip install 'hftpipe[sim]'")

from hftpipe.simulation.bybit_server.server import BybitServer
from hftpipe.simulation.bybit_server.settings import RULES, BybitConfig
from hftpipe.simulation.market_server.listing import Listing
from hftpipe.simulation.market_server.process import ServerProcess
from hftpipe.simulation.market_server.trading.accounts import account_from
from hftpipe.venues.bybit.markets import Market
from hftpipe.venues.paper.demo import demo_market
from hftpipe.venues.paper.flows import flow_rates


def simulated_venue(market: Market, config: Config, rows: np.ndarray) -> tuple[ServerProcess, Config]:
    """The venue, its port taken, and the configuration with its address: one of its own for every run.

    Raises:
        Refusal: aiohttp is not installed (at the import); ValueError, OSError: as :class:`ServerProcess`.
    """
    rules = next(one for name, one in RULES.items() if name == market.category)
    listing, given = Listing(rules, rows, flow_rates(config)), config.market
    speed, account = given.speed_e8 / 1e8, account_from(os.environ)
    made = BybitConfig((listing,), seed=given.seed, speed=speed, market=demo_market(given), accounts=(account,))
    process = ServerProcess(lambda: BybitServer(made))
    return process, replace(config, live=replace(config.live, server=f"http://{process.address}"))


def simulated_key() -> tuple[str, str]:
    """The key and the secret that the account at the simulated venue has."""
    account = account_from(os.environ)
    return account.key, account.secret
