"""What a seed stands for: sizes, strategy, limits, latencies and which faults it has (drawn per seed, "swarm")."""

import random
from dataclasses import dataclass, replace
from decimal import Decimal
from typing import Any

from hftpipe.config import Config
from hftpipe.config.schema import Instrument, Market, Pipeline, Rings, Risk, Sim, Strategy, Table
from hftpipe.simulation.world.feed import FeedFaults
from hftpipe.simulation.world.venue import ReportFaults
from hftpipe.topology.graph import RINGS, STAGES

US, MS = 1_000, 1_000_000
STEPS = 3000
FEED = "feed"
_RINGS = tuple(spec.name for spec in RINGS)


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
        is_paper: the venue lives in the market that market data publishes (``sim`` ring); else in the true one.
        mean_step_ns: simulated time from one stage step to the next.
        limits: per instrument, fields of :class:`hftpipe.config.schema.Limits`; None means not configured.
        naps: (step, who, ns): from that step on a stage, ("") all of them, or the FEED is still for so long.
        halt_at: step of an operator's halt; dies, dies_at: the stage that dies and when (-1: never).
    """

    seed: int
    strategy: str
    params: dict[str, Any]
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
    halt_at: int
    dies: str
    dies_at: int

    @property
    def max_positions(self) -> tuple[int, ...]:
        """Position limit per instrument; 0 where none is configured."""
        return tuple(row["max_position"] or 0 for row in self.limits)

    def again(self) -> "Plan":
        """The shorter, calm run after a restart."""
        return replace(self, steps=self.steps // 4, halt_at=-1, dies="", dies_at=-1, stages=StageFaults(), naps=())

    @property
    def is_resumed(self) -> bool:
        """Whether a person clears the halt of a run that died before the next one: with every other seed."""
        return self.seed % 2 == 0


def _instruments() -> tuple[Instrument, ...]:
    rest = {"min_notional": 5 * 10**8, "maker_fee_bps": Decimal("-0.5"), "taker_fee_bps": Decimal("5.0")}
    return (
        Instrument("BTCUSDT", "binance_usdm", 10**7, 10**5, reference_price=60_000 * 10**8, **rest),
        Instrument("ETHUSDT", "binance_spot", 10**6, 10**4, reference_price=3_000 * 10**8, **rest),
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


def _config(rng: random.Random, limits: tuple[dict[str, Any], ...], instruments: tuple[Instrument, ...]) -> Config:
    tables = {item.symbol: Table.of(row) for item, row in zip(instruments, limits, strict=True)}
    latency = {f"latency_{name}_us": rng.choice((0, 50, 500, 3000)) for name in ("new", "cancel", "report")}
    return Config(
        pipeline=Pipeline(name="world"),
        rings=Rings(**{name: rng.choice((8, 16, 32, 64)) for name in _RINGS}),
        market=Market(source="replay", timer_ms=rng.choice((1, 5)), book_levels=1024),
        instruments=instruments,
        strategy=Strategy(),
        risk=Risk(Table.of(tables)),
        sim=Sim(queue_model=rng.choice(("risk_averse", "power")), **latency),
    )


def plan_of(seed: int, steps: int = STEPS) -> Plan:
    """Draw a seed's plan; equal seeds give equal plans."""
    rng, swarm = random.Random(f"plan {seed}"), random.Random(f"swarm {seed}")
    instruments = _instruments()
    limits = tuple(_limits(rng, item.lot_size, item.reference_price) for item in instruments)
    late = random.Random(f"late {seed}")
    for row in limits:
        row["max_intent_age_ms"] = late.choice((20, 200, 1000))
        # So few that even a short run reaches them.
        row["orders_per_s"] = late.choice((3, 10, *4 * (row["orders_per_s"],)))
    if rng.random() < 0.3:
        limits[1]["max_position" if rng.random() < 0.5 else "max_order_qty"] = None
        if limits[1]["max_order_qty"] is None:
            limits[1]["max_position"] = None
    strategy = "market_making" if rng.random() < 0.3 else "hostile"
    ending = rng.random()
    return Plan(
        seed=seed,
        strategy=strategy,
        params=_params(rng, strategy, seed),
        is_paper=rng.random() < 0.5,
        config=_config(rng, limits, instruments),
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
        halt_at=rng.randrange(steps) if ending < 0.15 else -1,
        dies=rng.choice(STAGES) if ending > 0.8 else "",
        dies_at=rng.randrange(steps // 4, steps) if ending > 0.8 else -1,
    )
