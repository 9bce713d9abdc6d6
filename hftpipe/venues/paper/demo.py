"""The embedded market as it is configured."""

from hftpipe.config import Market
from hftpipe.simulation.flow.demo_market import DemoMarket


def demo_market(market: Market) -> DemoMarket:
    """The synthetic market that is configured."""
    return DemoMarket(
        market.spread_bps, market.uninformed_share, market.fair_seed, market.fair_lag_ms, market.fair_basis_bps,
        market.fair_news_bps, market.fair_news_per_s, market.fair_news_ms,
    )  # fmt: skip
