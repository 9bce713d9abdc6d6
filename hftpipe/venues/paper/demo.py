"""The embedded market as it is configured."""

from hftpipe.config import Market
from hftpipe.simulation.flow.demo_market import DemoMarket


def demo_market(market: Market) -> DemoMarket:
    """The synthetic market that is configured."""
    return DemoMarket(market.spread_bps, market.uninformed_share)
