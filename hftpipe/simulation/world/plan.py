"""What a seed stands for: sizes, strategy, limits, latencies and which faults it has (drawn per seed, "swarm")."""

import random
from dataclasses import dataclass, replace
from decimal import Decimal
from typing import Any

from hftpipe.config import Config
from hftpipe.config.fields import Table
from hftpipe.config.instruments import Instrument
from hftpipe.config.schema import Controls, Pipeline, Rings, Risk, Strategy, StrategyEntry, VenueEntry
from hftpipe.config.venue_sections import Market, Sim
from hftpipe.simulation.world.company import VENUES, Company, ScopeHalt, StrategyPlan, company_of, counts
from hftpipe.simulation.world.feed import FeedFaults
from hftpipe.simulation.world.venue import ReportFaults
from hftpipe.topology.graph import RING_KINDS as _RINGS
from hftpipe.topology.graph import STAGE_KINDS as STAGES
from hftpipe.topology.graph import VENUE_KINDS

US, MS = 1_000, 1_000_000
STEPS = 3000
FEED = "feed"


@dataclass(frozen=True)
class StageFaults:
    """Chances per scheduler step, and how long things last."""

    stall: float = 0.0
    stall_steps: int = 0
    busy: float = 0.0
    reject: float = 0.0
    garbage: float = 0.0
    refuse_cancels: float = 0.0
    shrink: float = 0.0


@dataclass(frozen=True)
class Plan:
    """Everything about a run but its chance events, which come from ``random.Random(seed)`` too.

    Attributes:
        venue: one that brings its own feed and orders, by its name; empty: those of the world's own making.
        venues: their names; empty: one without a name. strategies: what trades.
        is_paper: the venue lives in the market that market data publishes (``sim`` ring); else in the true one.
        mean_step_ns: simulated time from one stage step to the next.
        limits: per instrument, fields of :class:`hftpipe.config.schema.Limits`; None means not configured.
        naps: (step, who, ns): from that step on a stage, ("") all of them, or the FEED is still for so long.
        scope_halts: an operator's halts of a part.
        halt_at: step of an operator's halt of everything; dies, dies_at: the stage that dies and when (-1: never).
    """

    seed: int
    venues: tuple[str, ...]
    strategies: tuple[StrategyPlan, ...]
    is_paper: bool
    config: Config
    instruments: tuple[Instrument, ...]
    limits: tuple[dict[str, Any], ...]
    steps: int
    mean_step_ns: int
    rate_per_s: float
    batch: int
    tickers: bool
    weights: tuple[float, ...]
    feed: FeedFaults
    reports: ReportFaults
    stages: StageFaults
    naps: tuple[tuple[int, str, int], ...]
    scope_halts: tuple[ScopeHalt, ...]
    halt_at: int
    dies: str
    dies_at: int
    venue: str = ""

    @property
    def max_positions(self) -> tuple[int, ...]:
        """Position limit per instrument; 0 where none is configured."""
        return tuple(row["max_position"] or 0 for row in self.limits)

    @property
    def restricted(self) -> tuple[int, ...]:
        """Ids of the instruments that no strategy may trade."""
        return tuple(
            index for index, one in enumerate(self.instruments) if one.symbol in self.config.controls.restricted
        )

    def again(self) -> "Plan":
        """The shorter, calm run after a restart."""
        calm = replace(self, steps=self.steps // 4, stages=StageFaults(), naps=(), scope_halts=())
        return replace(calm, halt_at=-1, dies="", dies_at=-1)

    @property
    def is_resumed(self) -> bool:
        """Whether a person clears the halt of a run that died before the next one: with every other seed."""
        return self.seed % 2 == 0


def _instrument(symbol: str, market: str, tick: int, lot: int, price: int) -> Instrument:
    return Instrument(
        symbol, market, tick, lot, reference_price=price,
        min_notional=5 * 10**8, maker_fee_bps=Decimal("-0.5"), taker_fee_bps=Decimal("5.0"),
    )  # fmt: skip


def _instruments() -> tuple[Instrument, ...]:
    return (
        _instrument("BTCUSDT", "binance_usdm", 10**7, 10**5, 60_000 * 10**8),
        _instrument("ETHUSDT", "binance_spot", 10**6, 10**4, 3_000 * 10**8),
    )


def _limits(rng: random.Random, lot: int, price: int) -> dict[str, Any]:
    """Limits of some orders' size, tight enough to be met."""
    size = max(lot, 10**17 // price // lot * lot)  # worth about ten units of quote currency
    most = size + lot * rng.randint(5, 40)
    return {
        "max_order_qty": most,
        "max_market_order_qty": most,
        "max_order_notional": most * price // 10**8 * rng.choice((1, 2)),
        "max_position": size * 2 + lot * rng.randint(5, 150),
        "collar_bps": Decimal(rng.choice((20, 100, 500))),
        "post_only_collar_bps": Decimal(rng.choice((20, 50))),
        "max_book_age_ms": rng.choice((20, 200, 2000)),
        "orders_per_s": rng.choice((50, 300, 5000)),
        "orders_per_min": rng.choice((500, 100_000)),
    }


def _feed(rng: random.Random, swarm: random.Random) -> FeedFaults:
    def on(value: Any) -> Any:
        return value if swarm.random() < 0.4 else 0

    return FeedFaults(
        lose=on(rng.choice((0.002, 0.02))), repeat=on(0.02), swap=on(0.01), delay=on(0.1),
        max_delay_ns=rng.choice((1, 5, 30)) * MS, snapshot_delay_ns=rng.choice((1, 5, 20)) * MS,
        lose_snapshot=on(0.3), disconnect=on(0.0005), disconnect_ns=rng.choice((5, 50)) * MS,
    )  # fmt: skip


def _reports(rng: random.Random, swarm: random.Random) -> ReportFaults:
    def on(value: Any) -> Any:
        return value if swarm.random() < 0.4 else 0

    return ReportFaults(
        delay=on(rng.choice((0.05, 0.5))), max_delay_ns=rng.choice((1, 10, 100)) * MS,
        repeat_fill=on(0.2), repeat_ack=on(0.05), swap=on(0.2),
    )  # fmt: skip


def _stages(rng: random.Random, swarm: random.Random) -> StageFaults:
    def on(value: Any) -> Any:
        return value if swarm.random() < 0.4 else 0

    return StageFaults(
        stall=on(0.005), stall_steps=rng.choice((50, 300)), busy=on(0.002), reject=on(0.003), garbage=on(0.2),
        refuse_cancels=on(0.01), shrink=on(0.05),
    )  # fmt: skip


def _naps(rng: random.Random, steps: int) -> tuple[tuple[int, str, int], ...]:
    """A stopped process, the whole group stopped, a paused machine, a line that says nothing: in three seeds of eight."""
    count = rng.choice((0, 0, 0, 0, 0, 1, 1, 2))
    return tuple(
        (rng.randrange(steps), rng.choice((*STAGES, "", FEED, FEED)), rng.choice((50, 300, 1500, 4000)) * MS)
        for _ in range(count)
    )


def _params(rng: random.Random, strategy: str, seed: int) -> dict[str, Any]:
    if strategy == "market_making":
        return {
            "spread_bps": rng.choice((0.2, 1.0, 4.0)), "order_size": "0.001", "num_levels": rng.randint(1, 4),
            "max_inventory": rng.choice(("0.002", "0.01")), "reprice_threshold": rng.choice((0.0, 0.1)),
        }  # fmt: skip
    return {
        "seed": seed,
        "eagerness": rng.choice((50, 200, 600)),
        "lots": rng.choice((5, 20)),
        "reach": rng.choice((3, 30)),
    }


def risk_of(instruments: tuple[Instrument, ...], limits: tuple[dict[str, Any], ...], venues: tuple[str, ...]) -> Risk:
    """The limits as they are configured, an instrument at a time."""
    keys = [f"{item.venue}:{item.symbol}" if venues else item.symbol for item in instruments]
    return Risk(Table.of({key: Table.of(row) for key, row in zip(keys, limits, strict=True)}))


#: No control of the whole run at work.
NO_CONTROLS = Controls(
    max_gross_notional=10**17,
    max_daily_loss=10**17,
    max_drawdown=10**17,
    executions_per_min=60_000_000,
    self_match="venue",
)


def _controls(seed: int, kinds: set[str]) -> Controls:
    """Controls tight enough to be met, in half the seeds that quote nothing; drawn apart from all else."""
    rng = random.Random(f"controls {seed}")
    if kinds != {"hostile"} or rng.random() > 0.5:
        return NO_CONTROLS
    return Controls(
        max_gross_notional=rng.choice((10**17, rng.randint(300, 2000) * 10**8, rng.randint(300, 2000) * 10**8)),
        max_drawdown=rng.choice((10**17, 10**17, rng.randint(1, 5) * 10**7)),
        max_daily_loss=rng.choice((10**17, 10**17, 10**17, rng.randint(1, 5) * 10**7)),
        executions_per_min=rng.choice((60_000_000, 60_000_000, rng.randint(5, 30) // 5)),
        duplicate_window_ms=rng.choice((0, 20, 500)),
        self_match=rng.choice(("refuse", "refuse", "venue")),
        restricted=rng.choice(((), (), ("ETHUSDT",))),
    )


def _latency(rng: random.Random) -> dict[str, Any]:
    return {f"latency_{name}_us": rng.choice((0, 50, 500, 3000)) for name in ("new", "cancel", "report")}


def _config(rng: random.Random) -> Config:
    """All but instruments, limits, venues and strategies."""
    latency = _latency(rng)
    return Config(
        pipeline=Pipeline(name="world"),
        rings=Rings(**{name: rng.choice((8, 16, 32, 64)) for name in _RINGS}),
        market=Market(source="replay", timer_ms=rng.choice((1, 5)), book_levels=1024),
        strategy=Strategy(),
        sim=Sim(queue_model=rng.choice(("risk_averse", "power")), **latency),
    )


def _in_company(
    config: Config, company: Company, instruments: tuple[Instrument, ...], limits: tuple[dict[str, Any], ...],
    rng: random.Random,
) -> Config:  # fmt: skip
    """The configuration of all venues and strategies."""
    names = [f"{item.venue}:{item.symbol}" if company.venues else item.symbol for item in instruments]
    strategies = tuple(
        StrategyEntry(
            one.name, one.kind, tuple(names[index] for index in one.own), "continue",
            one.max_position, one.orders_per_s, one.orders_per_min, params=Table.of(one.params),
        )
        for one in company.strategies
    )  # fmt: skip
    venues = tuple(
        VenueEntry(name, "taped", rules=rules, market=config.market, sim=replace(config.sim, **_latency(rng)))
        for name, rules in VENUES[: len(company.venues)]
    )
    if venues:
        config = replace(config, pipeline=replace(config.pipeline, on_venue_fault="halt_venue"), venues=venues)
    if len(strategies) > 1:
        config = replace(config, strategies=strategies)
    return replace(config, instruments=instruments, risk=risk_of(instruments, limits, company.venues))


def _spread_out(
    rng: random.Random, n_venues: int, instruments: tuple[Instrument, ...], limits: tuple[dict[str, Any], ...]
) -> tuple[tuple[Instrument, ...], tuple[dict[str, Any], ...]]:
    """The same symbols at each of several venues, with limits of their own at those behind the first."""
    if n_venues == 1:
        return instruments, limits
    more = []
    for item in instruments * (n_venues - 1):
        row = _limits(rng, item.lot_size, item.reference_price)
        row["max_intent_age_ms"] = rng.choice((20, 200, 1000))
        row["orders_per_s"] = rng.choice((3, 10, *4 * (row["orders_per_s"],)))
        more.append(row)
    placed = tuple(replace(item, venue=name) for name, _ in VENUES[:n_venues] for item in instruments)
    return placed, (*limits, *more)


def _at_own_venue(plan: Plan, venue: str) -> Plan:
    """One strategy in one instrument, at a venue that brings its own feed and orders."""
    instruments, limits = plan.instruments[:1], plan.limits[:1]
    config = replace(
        plan.config, pipeline=replace(plan.config.pipeline, venue=venue), market=replace(plan.config.market, source="synthetic"),
        instruments=instruments, risk=risk_of(instruments, limits, ()),
    )  # fmt: skip
    alone = replace(plan.strategies[0], own=(0,))
    return replace(
        plan, venue=venue, is_paper=False, config=config, instruments=instruments, limits=limits, strategies=(alone,)
    )


def plan_of(seed: int, steps: int = STEPS, full: bool = False, venue: str = "") -> Plan:
    """Draw a seed's plan; equal seeds give equal plans.

    Args:
        full: two venues and three strategies whatever the seed says, and one of the venues dies.
        venue: a venue that brings its own feed and orders, by its name; then it is the only one, with one strategy.
    """
    rng, swarm = random.Random(f"plan {seed}"), random.Random(f"swarm {seed}")
    instruments = _instruments()
    limits = tuple(_limits(rng, item.lot_size, item.reference_price) for item in instruments)
    late, others = random.Random(f"late {seed}"), random.Random(f"company {seed}")
    n_venues, n_strategies = (1, 1) if venue else (2, 3) if full else counts(others)
    for row in limits:
        row["max_intent_age_ms"] = late.choice((20, 200, 1000))
        # So few that even a short run reaches them.
        row["orders_per_s"] = late.choice((3, 10, *4 * (row["orders_per_s"],)))
    if rng.random() < 0.3:
        limits[1]["max_position" if rng.random() < 0.5 else "max_order_qty"] = None
        if limits[1]["max_order_qty"] is None:
            limits[1]["max_position"] = None
    kind = "market_making" if rng.random() < 0.3 else "hostile"
    ending = rng.random()
    alone = StrategyPlan("", kind, _params(rng, kind, seed), tuple(range(len(instruments))))
    company = company_of(others, n_venues, n_strategies, alone, steps, full)
    instruments, limits = _spread_out(others, n_venues, instruments, limits)
    plan = Plan(
        seed=seed,
        venues=company.venues,
        strategies=company.strategies,
        is_paper=rng.random() < 0.5,
        config=_in_company(_config(rng), company, instruments, limits, others),
        instruments=instruments,
        limits=limits,
        steps=steps,
        mean_step_ns=rng.choice((20, 60, 150)) * US,
        rate_per_s=rng.choice((1000.0, 3000.0)),
        batch=rng.choice((1, 1, 3)),
        tickers=rng.random() < 0.5,
        weights=tuple(rng.choice((1.0, 1.0, 4.0)) for _ in STAGES),
        feed=_feed(rng, swarm),
        reports=_reports(rng, swarm),
        stages=_stages(rng, swarm),
        naps=_naps(late, steps),
        scope_halts=company.halts,
        halt_at=rng.randrange(steps) if ending < 0.15 else -1,
        dies=rng.choice(STAGES) if ending > 0.8 else "",
        dies_at=rng.randrange(steps // 4, steps) if ending > 0.8 else -1,
    )
    controls = NO_CONTROLS if venue else _controls(seed, {one.kind for one in company.strategies})
    plan = replace(plan, config=replace(plan.config, controls=controls))
    if venue:
        return _at_own_venue(plan, venue)
    if company.dies:
        return replace(plan, dies=company.dies, dies_at=company.dies_at)
    if company.venues and plan.dies in VENUE_KINDS:
        return replace(plan, dies=f"{plan.dies}@{company.venues[seed % 2]}")
    return plan
