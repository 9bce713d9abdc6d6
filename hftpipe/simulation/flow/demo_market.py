"""The market that a paper run trades in when nothing else is asked for: one where a sensible quote earns and a tight one loses.

The flow of :mod:`hftpipe.simulation.flow.flow` as it is by itself is tight and knows no information. Here its scale is a spread in
basis points, and its takers are of two kinds, as in Glosten and Milgrom (1985):

* **uninformed**: buys or sells whatever the price, and pays the spread. What it pushed the book, comes back.
* **informed**: has news worth the whole way to the touch and more (an exponential share of the spread beyond it). The fair
  value moves there at once, and all that is quoted short of it is taken: what it pushed the book stays.

Several such markets can have one fair value in common (:mod:`hftpipe.simulation.flow.fair_value`): then news comes with it, and
the informed take what it has left behind.

The share of the uninformed is the setting that decides what making this market is worth; docs/demo-market.md has the sums.
"""

import math
from dataclasses import dataclass

from hftpipe.simulation.flow.state import WINDOW_TICKS

#: Other makers quote this share of the spread from the fair value, and on average so much of it behind that.
_NEAREST, _BEHIND = 0.48, 0.15
#: What news is worth beyond the touch, on average, as a share of the spread.
_NEWS = 0.1
#: Between the news the fair value diffuses: basis points per square root of a second; and reverts, 1/s: a bound, no more.
_VOLATILITY_BPS, _REVERSION_PER_S = 1.0, 1 / 900
#: No farther in one event, in spreads, than the quotes can follow.
_SPREADS_PER_EVENT = 0.02
#: Takers among the events.
_TAKER_SHARE = 0.002
#: Fair value stays within this share of the reference price.
_LARGEST_DEVIATION = 0.05

_FAIR_RANGES = (
    ("fair_seed", 0, 2**63 - 1), ("fair_lag_ms", 0, 10_000), ("fair_basis_bps", -100, 100),
    ("fair_news_bps", 0, 100), ("fair_news_per_s", 0, 100), ("fair_news_ms", 1, 10_000),
)  # fmt: skip


@dataclass(frozen=True)
class DemoMarket:
    """Settings of the market.

    Attributes:
        spread_bps: typical distance of the best bid from the best ask, in basis points of the price; at least two ticks,
            and no more of them than a fifth of the book's window holds (13,107).
        uninformed_share: share of the takers that know nothing of the fair value, 0 to 1.
        fair_seed: seed of a fair value that this market has in common with others; 0: it has one of its own.
        fair_lag_ms: how much later than the others it follows that one; 0 to 10,000.
        fair_basis_bps: how far above the reference price it stands, in basis points; -100 to 100.
        fair_news_bps, fair_news_per_s, fair_news_ms: mean worth of the news that moves a fair value in common, how often there is
            any, and how long until two thirds of it are in the price; 1 to 10,000.

    Raises:
        ValueError: a setting outside its range.
    """

    spread_bps: float = 12.0
    uninformed_share: float = 0.85
    fair_seed: int = 0
    fair_lag_ms: int = 0
    fair_basis_bps: float = 0.0
    fair_news_bps: float = 10.0
    fair_news_per_s: float = 1.0
    fair_news_ms: int = 100

    def __post_init__(self) -> None:
        if not 0 < self.spread_bps <= 100:
            raise ValueError(f"spread_bps {self.spread_bps} is not in (0, 100]")
        if not 0 <= self.uninformed_share <= 1:
            raise ValueError(f"uninformed_share {self.uninformed_share} is not in 0..1")
        for name, low, high in _FAIR_RANGES:
            if not low <= getattr(self, name) <= high:
                raise ValueError(f"{name} {getattr(self, name)} is not in {low}..{high}")

    def tunables(self, reference_ticks: float, rate_per_s: float) -> dict[str, float]:
        """The fields of a FLOW that make it this market, for a price of so many ticks."""
        spread = min(max(self.spread_bps * 1e-4 * reference_ticks, 2.0), WINDOW_TICKS / 5)
        volatility = min(_VOLATILITY_BPS * 1e-4 * reference_ticks, _SPREADS_PER_EVENT * spread * math.sqrt(rate_per_s))
        return {
            "half_floor": max(_NEAREST * spread, 0.5), "half_spread": _BEHIND * spread,
            "add_scale": 0.3 * spread, "cancel_scale": 0.2 * spread, "max_distance": int(min(4 * spread, reference_ticks / 4, WINDOW_TICKS / 8)),
            "market_band": int(max(spread, 1)), "wide_spread": int(2 * spread),
            "volatility": volatility, "reversion": _REVERSION_PER_S, "max_deviation": _LARGEST_DEVIATION * reference_ticks,
            "jump_share": 0.0, "market_share": _TAKER_SHARE,
            "has_news": 1, "uninformed_share": self.uninformed_share, "news_ticks": _NEWS * spread,
        }  # fmt: skip
