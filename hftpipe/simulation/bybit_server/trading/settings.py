"""What each category takes from who trades there, and allows him (venue documentation of 2026, accounts without privileges)."""

from collections.abc import Mapping
from dataclasses import dataclass, field


@dataclass(frozen=True)
class TradingRules:
    """Of one category.

    Attributes:
        maker_fee, taker_fee: share of what an execution is worth, 1e-8.
        orders_most: open orders an account may have: of a symbol (linear), of all (spot).
        batch_most: orders in one batch.
        per_s: requests of an account within a second, by what is asked; what is not named: ``QUERIES_PER_S``.
    """

    maker_fee: int
    taker_fee: int
    orders_most: int
    batch_most: int
    per_s: Mapping[str, int] = field(default_factory=dict)


CREATE, AMEND, CANCEL, CANCEL_ALL = "create", "amend", "cancel", "cancel-all"
CREATE_BATCH, AMEND_BATCH, CANCEL_BATCH = "create-batch", "amend-batch", "cancel-batch"
_SPOT_PER_S = dict.fromkeys((CREATE, CANCEL, CANCEL_ALL, CREATE_BATCH, AMEND_BATCH, CANCEL_BATCH), 20) | {AMEND: 10}
_LINEAR_PER_S = dict.fromkeys((CREATE, AMEND, CANCEL, CANCEL_ALL, CREATE_BATCH, AMEND_BATCH, CANCEL_BATCH), 10)
_RARE_PER_S = {"fee-rate": 5, "dcp": 5, "leverage": 10}
QUERIES_PER_S = 50
TRADING = {
    "spot": TradingRules(100_000, 100_000, 500, 10, _SPOT_PER_S | _RARE_PER_S),
    "linear": TradingRules(20_000, 55_000, 500, 20, _LINEAR_PER_S | _RARE_PER_S),
}
#: Leverage of a new account, and the largest one; maintenance margin, share of what a position is worth (1e-8).
LEVERAGE, LEVERAGE_MOST, MAINTENANCE = 10, 100, 500_000
#: A price may be so far from the mark price, 1e-8: buys above, sells below.
PRICE_BAND = 5_000_000
#: A request counts if it is at most so old, ms, unless it says another window; and is less than AHEAD_MS ahead.
WINDOW_MS, AHEAD_MS = 5000, 1000
