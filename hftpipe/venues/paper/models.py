"""The assumptions of the simulated venue: queue position, latency, fees. Paper trading and backtest share them.

Quantities and prices are int64 in 1e-8, fees int64 in 1e-8 quote units. The formulas and the reasons for each
decision are in docs/fill-model.md.
"""

from dataclasses import dataclass

import numpy as np

from hftpipe.core.machine.fixed import OVERFLOW, SCALE, muldiv_rem, notional
from hftpipe.core.machine.jit import jit
from hftpipe.core.machine.mem import ZERO

RISK_AVERSE, POWER = 0, 1
QUEUE_MODELS = {"risk_averse": RISK_AVERSE, "power": POWER}
#: ``(9.2e18) ** 16`` still fits a double: the probability can never become infinity over infinity.
MAX_POWER_N = 16.0


@dataclass(frozen=True)
class SimModel:
    """What is assumed about the venue.

    Attributes:
        queue_model: ``risk_averse`` (only trades and the level's size move us forward) or ``power`` (a shrinking
            level is split between the orders ahead of us and behind us).
        power_n: exponent of ``power``: P(it left behind us) = B^n / (B^n + F^n); 1 is the proportional model.
        latency_new_ns: from sending a new or replace request to its arrival at the matching side.
        latency_cancel_ns: the same for a cancel; requests of one connection never overtake each other.
        latency_report_ns: from execution to the report's arrival.
        fee_asset: number of the asset that fees are paid in (FEE_ASSET of core/schema/records.py; 0: the quote currency);
            fee_price: its price, 1e-8 quote units.

    Raises:
        ValueError: unknown queue model, exponent outside (0, 16], or a negative latency.
    """

    queue_model: str = "risk_averse"
    power_n: float = 2.0
    latency_new_ns: int = 500_000
    latency_cancel_ns: int = 500_000
    latency_report_ns: int = 500_000
    fee_asset: int = 0
    fee_price: int = 0

    def __post_init__(self) -> None:
        if self.queue_model not in QUEUE_MODELS:
            raise ValueError(f"queue_model {self.queue_model!r} is not one of {', '.join(QUEUE_MODELS)}")
        if not 0.0 < self.power_n <= MAX_POWER_N:
            raise ValueError(f"power_n {self.power_n} is outside (0, {MAX_POWER_N}]")
        for name in ("latency_new_ns", "latency_cancel_ns", "latency_report_ns"):
            if getattr(self, name) < 0:
                raise ValueError(f"{name} {getattr(self, name)} is negative")


@jit
def _left_ahead(ahead, behind, gone, power_n, lot):
    """How much of ``gone`` (shrinkage that no trade explains) left from ahead of us, in whole lots.

    The only floating point of the venue: the probability. Its result is rounded to the nearest lot (half up).
    """
    if gone <= 0 or ahead <= 0:
        return np.int64(0)
    behind = max(behind, np.int64(0))
    stays = 1.0 / (1.0 + (behind / ahead) ** power_n)
    share = stays * gone - min(behind - (1.0 - stays) * gone, 0.0)
    return min(np.int64(share / lot + 0.5) * lot, ahead)


@jit
def front_after_depth(model, power_n, lot, ahead, before, after, traded):
    """Quantity ahead of an order once its level's displayed size went from ``before`` to ``after``.

    Args:
        model: RISK_AVERSE or POWER; ``power_n`` its exponent (f8); ``lot`` in 1e-8.
        ahead: quantity ahead of the order, trades already taken out.
        traded: traded at this price since the level was last seen: explains that much of the shrinkage.
    """
    if model == POWER:
        ahead -= _left_ahead(ahead, before - ahead, before - after - traded, power_n, lot)
    return min(ahead, after)


@jit
def fee_of(price, qty, rate):
    """Fee of one fill: ``rate`` is 1e-8 of the notional; a cost is rounded up, a rebate toward zero.

    OVERFLOW when the notional does not fit an int64.
    """
    value = notional(price, qty)
    if value == np.int64(OVERFLOW):
        return value
    amount, rest = muldiv_rem(value, rate, np.int64(SCALE))
    if rate > 0 and rest != ZERO:
        amount += 1
    return amount


@jit
def in_asset(fee, price):
    """A fee (1e-8 quote units) in another asset at its price (1e-8 quote units, above 0): 1e-8 of it; a cost is rounded up."""
    amount, rest = muldiv_rem(fee, np.int64(SCALE), price)
    if fee > 0 and rest != ZERO:
        amount += 1
    return amount
