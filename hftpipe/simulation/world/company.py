"""Who else is in a seed's run: more strategies, a second venue, halts of a part, a venue that dies.

Drawn by a generator of its own, so that a seed with one venue and one strategy is the run that it would be without all this.
"""

import random
from dataclasses import dataclass
from typing import Any

from hftpipe.core.schema.halts import SCOPES
from hftpipe.topology.graph import VENUE_KINDS

#: The venues where there are two, and whose rules they follow.
VENUES = (("alpha", "binance_usdm"), ("beta", "binance_spot"))
#: Smallest sensible limit of a strategy's own position: some orders of the smallest size in either instrument, 1e-8.
_SMALL, _LARGE = 500_000, 5_000_000


@dataclass(frozen=True)
class StrategyPlan:
    """One strategy: what it is called, of which kind it is, the ids of its instruments, and the limits of its own (None: no such one)."""

    name: str
    kind: str
    params: dict[str, Any]
    own: tuple[int, ...]
    max_position: int | None = None
    orders_per_s: int | None = None
    orders_per_min: int | None = None


@dataclass(frozen=True)
class ScopeHalt:
    """An operator halts a venue, strategy or instrument at a step, and lets it trade again at another one (-1: never)."""

    step: int
    kind: str
    index: int
    until: int


@dataclass(frozen=True)
class Company:
    """What was drawn: names of the venues (none: one without a name), strategies, halts, and the venue stage that dies at a step."""

    venues: tuple[str, ...] = ()
    strategies: tuple[StrategyPlan, ...] = ()
    halts: tuple[ScopeHalt, ...] = ()
    dies: str = ""
    dies_at: int = -1


def counts(rng: random.Random) -> tuple[int, int]:
    """How many venues and strategies: in two seeds of five one of each, in one of five two and three."""
    n_venues = 2 if rng.random() < 0.4 else 1
    (n_strategies,) = rng.choices((1, 2, 3), (1, 1, 2) if n_venues == 2 else (4, 1, 1))
    return n_venues, n_strategies


def _others_params(rng: random.Random, kind: str) -> dict[str, Any]:
    if kind == "market_making":
        return {
            "spread_bps": rng.choice((0.2, 1.0, 4.0)), "order_size": "0.002", "num_levels": rng.randint(1, 2),
            "max_inventory": "0.006", "reprice_threshold": rng.choice((0.0, 0.1)),
        }  # fmt: skip
    return {
        "seed": rng.randrange(1 << 20),
        "eagerness": rng.choice((50, 200, 600)),
        "lots": rng.choice((5, 20)),
        "reach": rng.choice((3, 30)),
    }


def _own_limits(rng: random.Random) -> dict[str, int | None]:
    return {
        "max_position": rng.choice((None, rng.randint(_SMALL, 2 * _SMALL), rng.randint(_SMALL, _LARGE))),
        "orders_per_s": rng.choice((None, 3, 20, 200)),
        "orders_per_min": rng.choice((None, None, 50, 1000)),
    }


def _strategies(
    rng: random.Random, count: int, kind: str, params: dict[str, Any], n_instruments: int, each: int
) -> tuple[StrategyPlan, ...]:
    """The first one trades at every venue, at least its first instrument: it shows in the end that trading is possible."""
    ids = range(n_instruments)
    found = []
    for index in range(count):
        if index:
            kind = "market_making" if rng.random() < 0.2 else "hostile"
            params = _others_params(rng, kind)
            own = tuple(sorted(rng.sample(ids, rng.randint(1, n_instruments))))
        else:
            own = tuple(ids if rng.random() < 0.6 else ids[::each])
        limits = _own_limits(rng)
        if kind == "market_making":
            # It would spend its orders of a second at one venue, and never show that it can trade at the other one.
            limits["orders_per_s"] = limits["orders_per_min"] = None
        found.append(StrategyPlan(f"s{index}", kind, params, own, **limits))
    return tuple(found)


def _halts(rng: random.Random, steps: int, sizes: dict[str, int]) -> tuple[ScopeHalt, ...]:
    """Halts of parts that there are several of; two of three are lifted again."""
    found = []
    for _ in range(rng.choice((0, 0, 1, 1, 2))):
        kind = rng.choice([kind for kind in SCOPES if sizes[kind] > 1])
        step = rng.randrange(steps)
        until = rng.randrange(step, steps) if rng.random() < 0.67 else -1
        found.append(ScopeHalt(step, kind, rng.randrange(sizes[kind]), until))
    return tuple(found)


def company_of(
    rng: random.Random,
    n_venues: int,
    n_strategies: int,
    first: StrategyPlan,
    steps: int,
    dies: bool = False,
) -> Company:
    """Draw a seed's company.

    Args:
        rng: the generator of its own.
        n_venues, n_strategies: as :func:`counts` has drawn them.
        first: the strategy that the seed would have alone at one venue.
        steps: of the run; dies: one of two venues does, whatever is drawn.
    """
    each = len(first.own)
    n_instruments = each * n_venues
    if n_strategies == 1:
        strategies: tuple[StrategyPlan, ...] = (
            StrategyPlan("", first.kind, first.params, tuple(range(n_instruments))),
        )
    else:
        strategies = _strategies(rng, n_strategies, first.kind, first.params, n_instruments, each)
    if n_venues == n_strategies == 1:
        return Company(strategies=strategies)
    sizes = {"venue": n_venues, "strategy": n_strategies, "instrument": n_instruments}
    venues = tuple(name for name, _ in VENUES) if n_venues == 2 else ()
    if not venues or (rng.random() < 0.5 and not dies):
        return Company(venues, strategies, _halts(rng, steps, sizes))
    # A venue that has died is halted by whoever finds it, and stays so.
    halts = _halts(rng, steps, sizes | {"venue": 1})
    stage = f"{rng.choice(VENUE_KINDS)}@{rng.choice(venues)}"
    return Company(venues, strategies, halts, stage, rng.randrange(steps // 8, steps))
