"""State of the synthetic order flow: the FLOW record, and its tunables for an instrument."""

import math

import numpy as np

from hftpipe.simulation.matching.memory import matching_bytes

MAX_ORDERS = 8192
WINDOW_TICKS = 65536
#: Makers that one market order of the flow may execute.
MAX_MAKERS = 32
#: What :func:`flow_step` asks for: a trade and a level for each maker is the most that one event can write.
FLOW_MAX_RECORDS = 2 * MAX_MAKERS + 2
#: What always holds a snapshot: the reset and, at worst, a level for every order.
SNAPSHOT_MAX_RECORDS = MAX_ORDERS + 1
FLOW_OWNER = 0
MIN_REFERENCE_TICKS = 100

# Actions: a resting order, an immediate one, and changes of a resting one.
ACT_ADD, ACT_TAKE, ACT_CANCEL, ACT_REDUCE, ACT_REPLACE = 1, 2, 3, 4, 5

FLOW = np.dtype(
    [
        ("random", "u8", 4),
        ("instrument", "i8"), ("tick", "i8"), ("lot", "i8"),
        # Times in ns; ids of the last update and of the last order made.
        ("now_ts", "i8"), ("next_ts", "i8"), ("update_id", "u8"), ("order_id", "u8"),
        # Arrivals, events a second: the floor, what an event adds, what is left of that now; and its decay, 1/s.
        ("base_rate", "f8"), ("excitation", "f8"), ("excess", "f8"), ("decay", "f8"),
        # Fair value = reference + deviation, in ticks; reversion 1/s, volatility ticks/sqrt(s), jumps per event.
        ("reference", "f8"), ("deviation", "f8"), ("max_deviation", "f8"),
        ("reversion", "f8"), ("volatility", "f8"), ("jump_share", "f8"), ("jump_ticks", "f8"),
        # Ticks: quotes' least distance from the fair value and mean excess over it, placement, a market order's reach, a
        # spread that gets refilled. Orders held a side.
        ("half_floor", "f8"), ("half_spread", "f8"), ("add_scale", "f8"), ("cancel_scale", "f8"), ("max_distance", "i8"),
        ("side_target", "i8"), ("market_band", "i8"), ("wide_spread", "i8"),
        # Shares of events in 0..1; sizes in lots: least, median and most, and the sigma of their logarithm.
        ("market_share", "f8"), ("sweep_share", "f8"), ("touch_share", "f8"), ("refill_share", "f8"),
        ("reduce_share", "f8"), ("replace_share", "f8"),
        ("min_lots", "f8"), ("limit_lots", "f8"), ("market_lots", "f8"), ("max_lots", "f8"),
        ("limit_sigma", "f8"), ("market_sigma", "f8"),
        # What the event is: one of the actions, and its order.
        ("action", "i8"), ("side", "i8"), ("price", "i8"), ("qty", "i8"), ("target_id", "u8"),
        ("events", "i8"), ("trades", "i8"), ("traded_qty", "i8"),
        # Takers (market orders): 0, all lean towards the fair value; 1, a share knows nothing and the others have news, worth
        # on average so many ticks beyond the touch.
        ("has_news", "i8"), ("uninformed_share", "f8"), ("news_ticks", "f8"),
        ("takers", "i8"), ("informed", "i8"),
        # A fair value in common: its generator, time of its next step in ns (0: this one has its own), where it stands and the
        # news that is still to come in, as shares of the reference price; share of the steps that bring news, its mean worth, and
        # what of it comes in with each step.
        ("fair_random", "u8", 4), ("fair_ts", "i8"), ("fair_share", "f8"), ("fair_pending", "f8"),
        ("fair_news_share", "f8"), ("fair_news", "f8"), ("fair_comes_in", "f8"), ("_pad", "i8", 7),
    ],
    align=True,
)  # fmt: skip
FLOW_HEADER_BYTES = 576
assert FLOW.itemsize == FLOW_HEADER_BYTES
BOOK_AT = np.uint64(FLOW_HEADER_BYTES)

# Defaults that do not depend on the instrument. 0.6 of the events are answers to earlier ones, within 5 ms.
_BRANCHING, _DECAY_PER_S = 0.6, 200.0
_REVERSION_PER_S = 1 / 120
#: 0.9 bp per sqrt(s) is 50 % a year; no more ticks per event than the quotes can follow.
_VOLATILITY_PER_SQRT_S, _TICKS_PER_EVENT = 0.9e-4, 0.25
_LIMIT_NOTIONAL, _MARKET_NOTIONAL, _MAX_TO_MEDIAN = 2_000, 3_000, 50


def flow_bytes() -> int:
    """Memory of one flow with its book."""
    return FLOW_HEADER_BYTES + matching_bytes(MAX_ORDERS, WINDOW_TICKS)


def _sizes(row: np.void) -> dict[str, float]:
    """Order sizes in lots for an INSTRUMENT row; no sum of MAX_ORDERS sizes can leave int64."""
    price, lot = float(row["reference_price"]), float(row["lot"])
    lots_of_one = 1e16 / price / lot
    most = 2**62 / MAX_ORDERS / lot
    if most < 1:
        raise ValueError(f"lot {row['lot']} is too large: {MAX_ORDERS} orders of one lot overflow int64")
    smallest = max(1.0, math.ceil(float(row["min_notional"]) * 1.1 / 1e8 * lots_of_one))
    limit = min(max(_LIMIT_NOTIONAL * lots_of_one, smallest), most / _MAX_TO_MEDIAN)
    market = min(max(_MARKET_NOTIONAL * lots_of_one, smallest), most / _MAX_TO_MEDIAN)
    largest = max(_MAX_TO_MEDIAN * limit, smallest)
    if largest > most:
        raise ValueError(f"min_notional {row['min_notional']} is too large at price {row['reference_price']}")
    return {"min_lots": smallest, "limit_lots": limit, "market_lots": market, "max_lots": largest}


def defaults(row: np.void, rate_per_s: float) -> dict[str, float]:
    """Every tunable of a FLOW for an INSTRUMENT row."""
    ticks = float(row["reference_price"] // row["tick"])
    volatility = min(_VOLATILITY_PER_SQRT_S * ticks, _TICKS_PER_EVENT * math.sqrt(rate_per_s))
    return _sizes(row) | {
        "base_rate": rate_per_s * (1 - _BRANCHING), "excitation": _BRANCHING * _DECAY_PER_S, "decay": _DECAY_PER_S,
        # Starts at its mean, not at zero.
        "excess": rate_per_s * _BRANCHING,
        "reference": ticks, "max_deviation": min(0.05 * ticks, WINDOW_TICKS / 8),
        "reversion": _REVERSION_PER_S, "volatility": volatility,
        "jump_share": 0.0005, "jump_ticks": min(6.0, 1 + ticks / 1000),
        "half_floor": 0.5, "half_spread": 0.4, "add_scale": 8.0, "cancel_scale": 3.0,
        "max_distance": int(min(250, ticks / 4)), "side_target": 500,
        "market_band": int(min(25, max(1, ticks / 100))), "wide_spread": 3,
        "market_share": 0.05, "sweep_share": 0.4, "touch_share": 0.25, "refill_share": 0.8,
        "reduce_share": 0.1, "replace_share": 0.1,
        "limit_sigma": 1.0, "market_sigma": 1.2,
    }  # fmt: skip
