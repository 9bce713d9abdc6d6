"""What every configuration key means, accepts and defaults to: the single page to read.

Each key is one `key(default, kind, doc)`. The default, the check, the comment in configs/default.toml and the
"allowed" part of an error all come from it, so they cannot disagree.
"""

# ruff: noqa: RUF009 - key() only wraps dataclasses.field(), so its result is not shared
import dataclasses
import hashlib
import json
import math
from collections.abc import Mapping
from dataclasses import dataclass, field
from decimal import Decimal
from typing import Any

from hftpipe.config.fields import Table, key, keys_of
from hftpipe.config.instruments import Instrument, Universe
from hftpipe.config.kinds import (
    BOOLEAN,
    CPUS,
    MODE,
    PATTERNS,
    POSITIVE,
    PROCESSES,
    PROFILE,
    RING,
    RULES,
    STRATEGY,
    VENUE_NAME,
    basis_points,
    between,
    choice,
    integer,
    parse_cpus,
    plain_text,
    real,
    text,
)
from hftpipe.config.network import Network
from hftpipe.config.operator_sections import Alerts, KillSwitch, Log, Store
from hftpipe.config.venue_sections import Live, Market, Sim, Udp
from hftpipe.core.schema.instruments import side_levels
from hftpipe.topology.graph import STAGE_KINDS

# --- the tree ------------------------------------------------------------------------------------


@dataclass(frozen=True)
class Pipeline:
    """How the processes run."""

    name: str = key(
        "default",
        text(r"[a-z0-9_-]{1,32}", "1 to 32 of a-z, 0-9, _ and -"),
        "Names this pipeline's shared memory.",
    )
    cpus: str = key("0-3", CPUS, "CPUs to pin processes to, in order, as for taskset.")
    processes: tuple[tuple[str, ...], ...] = key(
        [[kind] for kind in STAGE_KINDS],
        PROCESSES,
        "Which stages share a process; market_data and gateway stand for those of every venue not named itself.",
    )
    idle: str = key(
        "auto",
        choice("auto", "spin", "yield", "sleep"),
        "What a stage without work does; auto spins only on a CPU of its own.",
    )
    duration_s: float = key(
        0.0,
        real(0, math.inf, above=False, allowed="a number of seconds, 0 or more"),
        "Run time in seconds; 0 = until stopped.",
    )
    heartbeat_timeout_s: float = key(
        5.0,
        between(0.1, 600, "seconds"),
        "A stage that has not moved for this long halts trading and ends the run.",
    )
    on_latched_halt: str = key(
        "run_halted",
        choice("run_halted", "refuse"),
        "A start that finds a halt of an earlier run: runs without trading, or is refused.",
    )
    on_venue_fault: str = key(
        "halt_strategies",
        choice("halt_all", "halt_strategies", "halt_venue"),
        "When a venue's feed or gateway dies or stops itself: what is halted; the run ends when nothing is left to trade.",
    )
    stop_timeout_s: float = key(
        5.0,
        between(0, 600, "seconds"),
        "At the end every open order is cancelled; how long to wait until the venue has confirmed that.",
    )
    metrics: bool = key(True, BOOLEAN, "Serve counters and histograms.")
    venue: str = key(
        "sim",
        text(
            r"[a-z][a-z0-9_]{0,31}",
            "sim, udp, binance_usdm, binance_spot, bybit_linear, bybit_spot, or the name of an installed venue,",
        ),
        "With sim: market.source and the paper exchange; with udp: ITCH and OUCH; binance_usdm, binance_spot, bybit_linear, bybit_spot: their live "
        "markets, orders on paper; or a venue that a package brings. "
        "Without meaning where there are [[venues]].",
    )
    mode: str = key(
        "paper", MODE, "Where orders go: paper = the simulated exchange, live = the venue itself, with real money."
    )

    @property
    def cpu_ids(self) -> tuple[int, ...]:
        """CPU numbers in the order written."""
        return parse_cpus(self.cpus)


@dataclass(frozen=True)
class Rings:
    """Slots in each ring; one slot is a 64-byte record."""

    market: int = key(65536, RING, "Market data to strategy, in records.")
    intents: int = key(4096, RING, "Strategy to risk, in records.")
    orders: int = key(4096, RING, "Risk to gateway, in records.")
    reports: int = key(8192, RING, "Gateway to risk, in records.")
    updates: int = key(8192, RING, "Risk to strategy, in records.")
    sim: int = key(65536, RING, "Market data to the simulated exchange, in records.")
    tape: int = key(262144, RING, "Each stage to the recorder, in records; only laid out when recording.")


@dataclass(frozen=True)
class Strategy:
    """Which strategy runs, and its parameters (checked by the strategy itself)."""

    name: str = key("market_making", STRATEGY, "Strategy to run.")
    profile: str = key("", PROFILE, "Profile laid over params.")
    reload_s: float = key(
        1.0,
        between(0, 3600, "seconds"),
        "How often what settings come from is looked at for changed parameters and limits, read when two looks agree; 0 = never.",
    )
    on_fault: str = key(
        "stop",
        choice("stop", "continue"),
        "After a hook has raised trading is halted and the exit code is 1; with stop the run ends, with continue it goes on.",
    )
    params: Table = field(default_factory=Table)
    profiles: Table = field(default_factory=Table)

    def effective_params(self) -> dict[str, bool | int | float | str]:
        """`params` with the chosen profile laid over."""
        return {**self.params, **(self.profiles[self.profile] if self.profile else {})}


@dataclass(frozen=True)
class StrategyEntry:
    """One of several strategies: its own instruments, parameters, orders, positions and limits."""

    name: str = key("strategy", VENUE_NAME, "What it is called here; unique.")
    strategy: str = key("market_making", STRATEGY, "Strategy to run.")
    instruments: tuple[str, ...] = key(
        ["*"], PATTERNS, "Which instruments it trades: patterns of symbols, those of one venue as venue:pattern."
    )
    on_fault: str = key(
        "continue",
        choice("stop", "continue"),
        "After a hook has raised it is halted and the exit code is 1; with stop the run ends, with continue the others go on.",
    )
    max_position: int | None = key(
        None, POSITIVE, "Largest position of its own in any instrument, in base currency; besides risk.limits."
    )
    orders_per_s: int | None = key(
        None, integer(1, 1_000_000), "Its orders in any second, all instruments together; besides risk.limits."
    )
    orders_per_min: int | None = key(
        None, integer(1, 60_000_000), "Its orders in any minute, all instruments together; besides risk.limits."
    )
    max_gross_notional: int | None = key(
        None,
        POSITIVE,
        "Largest value of all its positions with all its working orders, in quote currency; besides controls.max_gross_notional.",
    )
    restricted: tuple[str, ...] = key(
        [], PATTERNS, "What it may not trade of its instruments; besides controls.restricted."
    )
    params: Table = field(default_factory=Table)


@dataclass(frozen=True)
class Controls:
    """Controls of the whole run, besides the limits of each instrument; sums are those of each quote currency."""

    max_gross_notional: int = key(
        "1000000",
        POSITIVE,
        "Largest value of all positions, long or short, with all working orders, in quote currency; orders beyond it are refused.",
    )
    max_daily_loss: int = key(
        "500",
        POSITIVE,
        "Largest loss since midnight UTC, realised and unrealised, in quote currency; beyond it trading is halted.",
    )
    max_drawdown: int = key(
        "100",
        POSITIVE,
        "Largest loss since the best moment within drawdown_window_s, in quote currency; beyond it trading is halted.",
    )
    drawdown_window_s: int = key(3600, integer(1, 86_400, "seconds"), "How far back the best moment may be.")
    executions_per_min: int = key(
        10_000,
        integer(1, 60_000_000),
        "Executions of one strategy in one instrument in any minute; beyond it the strategy is halted until a person resumes.",
    )
    duplicate_window_ms: int = key(
        0,
        integer(0, 60_000, "milliseconds"),
        "An order that a strategy has sent alike (side, type, price, quantity) within this time is refused; 0 = it is not.",
    )
    self_match: str = key(
        "refuse",
        choice("refuse", "venue"),
        "An order that could trade with an open one of our own: is refused, or is left to the venue.",
    )
    restricted: tuple[str, ...] = key(
        [], PATTERNS, "What no strategy may trade: patterns of symbols, those of one venue as venue:pattern."
    )


@dataclass(frozen=True)
class LimitGroup:
    """Limits of several instruments together, besides those of each: of a venue, an account, a base currency."""

    name: str = key("group", VENUE_NAME, "What it is called; unique.")
    instruments: tuple[str, ...] = key(
        ["*"], PATTERNS, "Which instruments count: patterns of symbols, those of one venue as venue:pattern."
    )
    max_net: int | None = key(
        None,
        POSITIVE,
        "Largest net position, long or short, with all working orders, in the base currency that they have in common.",
    )
    orders_per_s: int | None = key(None, integer(1, 1_000_000), "Orders in any second, all instruments together.")
    orders_per_min: int | None = key(None, integer(1, 60_000_000), "Orders in any minute, all instruments together.")


@dataclass(frozen=True)
class Limits:
    """Risk limits of one instrument; amounts in units of 1e-8. None = not configured = no order passes."""

    max_order_qty: int | None = key(None, POSITIVE, "Largest order, in base currency.")
    max_market_order_qty: int | None = key(
        None, POSITIVE, "Largest market order, in base currency; not above max_order_qty."
    )
    max_order_notional: int | None = key(None, POSITIVE, "Largest order value, in quote currency.")
    max_position: int | None = key(None, POSITIVE, "Largest position, long or short, in base currency.")
    collar_bps: Decimal = key(100, basis_points(0, 10_000, above=True), "Farthest a price may be from the mid.")
    post_only_collar_bps: Decimal = key(50, basis_points(0, 10_000, above=True), "The same for post-only orders.")
    max_book_age_ms: int = key(2000, integer(1, 86_400_000, "milliseconds"), "Oldest book that may be traded on.")
    max_intent_age_ms: int = key(
        1000, integer(1, 86_400_000, "milliseconds"), "Oldest market event that an order may still be sent on."
    )
    orders_per_s: int = key(10, integer(1, 1_000_000), "Orders in any second; cancels are never counted.")
    orders_per_min: int = key(200, integer(1, 60_000_000), "Orders in any minute; cancels are never counted.")

    @property
    def rates(self) -> tuple[int, int]:
        """Orders a second and a minute."""
        return self.orders_per_s, self.orders_per_min

    @property
    def collar_e8(self) -> int:
        """Collar as a share of price, in units of 1e-8 (1 basis point = 10_000)."""
        return int(self.collar_bps * 10_000)

    @property
    def post_only_collar_e8(self) -> int:
        """Post-only collar as a share of price, in units of 1e-8 (1 basis point = 10_000)."""
        return int(self.post_only_collar_bps * 10_000)


def _built_in_limits() -> Table:
    return Table.of({name: one.default for name, one in keys_of(Limits).items() if one.default is not None})


@dataclass(frozen=True)
class Risk:
    """Limits as configured: table "default", and one table per symbol laid over it key by key."""

    limits: Table = field(default_factory=lambda: Table.of({"default": _built_in_limits()}))

    def for_symbol(self, symbol: str, venue: str = "") -> Limits:
        """The limits in force for `symbol` (at `venue`): built-in < default < SYMBOL < venue:SYMBOL."""
        own = self.limits.get(f"{venue}:{symbol}", {}) if venue else {}
        return Limits(**{**self.limits.get("default", {}), **self.limits.get(symbol, {}), **own})


@dataclass(frozen=True)
class VenueEntry:
    """One of several venues: a feed and a gateway of its own. Prices, latencies, lines: its own tables over the common ones."""

    name: str = key("venue", VENUE_NAME, "What it is called here; unique.")
    kind: str = key("paper", VENUE_NAME, "paper, taped, nasdaq, or the name of an installed venue.")
    mode: str = key("paper", MODE, "Where its orders go: paper = the simulated exchange, live = the venue itself.")
    rules: str = key("binance_usdm", RULES, "Whose rules its market follows.")
    max_gross_notional: int | None = key(
        None,
        POSITIVE,
        "Largest value of all positions there with all working orders, in quote currency; besides controls.max_gross_notional.",
    )
    market: Market = field(default_factory=Market)
    sim: Sim = field(default_factory=Sim)
    udp: Udp = field(default_factory=Udp)
    live: Live = field(default_factory=Live)


@dataclass(frozen=True)
class Record:
    """What is recorded of a run, for replay."""

    folder: str = key(
        "",
        text(r"[\s\S]*", "a path"),
        'Folder for recorded sessions, made if absent; "" = nothing is recorded.',
    )
    segment_mb: int = key(256, integer(1, 65_536, "megabytes"), "Largest file of a recording.")
    buffer_mb: int = key(128, integer(1, 65_536, "megabytes"), "Memory for records that wait for a slow disk.")


@dataclass(frozen=True)
class Journal:
    """The write-ahead journal: every request before it is sent, every report before it is passed on."""

    orders: str = key(
        "live",
        choice("live", "all", "none"),
        "Whose orders are in it: live = those that can outlive the run, at a venue outside; all = those on paper, too; none.",
    )
    folder: str = key(
        "", text(r"[\s\S]*", "a path"), 'Folder of the journals, made if absent; "" = in the state folder.'
    )
    fsync: str = key(
        "interval",
        choice("none", "interval", "every_order"),
        "When it is on the disk, for a machine that loses its power: when the system likes, every fsync_ms, or before each request is sent.",
    )
    fsync_ms: int = key(
        200, integer(50, 60_000, "milliseconds"), "With fsync = interval, and for reports with every_order."
    )
    file_mb: int = key(
        64, integer(1, 4096, "megabytes"), "Size of a file; two of them are taken from the disk at the start."
    )


@dataclass(frozen=True)
class Config:
    """The whole configuration. Built by `load`; `Config()` is the built-in default."""

    pipeline: Pipeline = field(default_factory=Pipeline)
    rings: Rings = field(default_factory=Rings)
    market: Market = field(default_factory=Market)
    venues: tuple[VenueEntry, ...] = ()
    instruments: tuple[Instrument, ...] = (Instrument(),)
    universe: tuple[Universe, ...] = ()
    strategy: Strategy = field(default_factory=Strategy)
    strategies: tuple[StrategyEntry, ...] = ()
    limit_groups: tuple[LimitGroup, ...] = ()
    risk: Risk = field(default_factory=Risk)
    controls: Controls = field(default_factory=Controls)
    sim: Sim = field(default_factory=Sim)
    udp: Udp = field(default_factory=Udp)
    live: Live = field(default_factory=Live)
    network: Network = field(default_factory=Network)
    record: Record = field(default_factory=Record)
    journal: Journal = field(default_factory=Journal)
    kill_switch: KillSwitch = field(default_factory=KillSwitch)
    store: Store = field(default_factory=Store)
    alerts: Alerts = field(default_factory=Alerts)
    log: Log = field(default_factory=Log)

    def levels(self) -> list[int]:
        """Levels a side of each instrument's books, by its depth and its venue's ``market.book_levels``."""
        full = {one.name: one.market.book_levels for one in self.venues}
        kinds = [(one.depth, one.venue) for one in self.instruments]
        levels = {kind: side_levels(kind[0], full.get(kind[1], self.market.book_levels)) for kind in set(kinds)}
        return list(map(levels.__getitem__, kinds))

    def as_dict(self) -> dict[str, Any]:
        """The tree as JSON types, amounts in units of 1e-8. Secrets are never in the tree."""
        return dict(_plain(self))

    def fingerprint(self) -> str:
        """sha256 (hex) of the canonical tree, the same for equal settings. Secrets are never in the tree."""
        canonical = json.dumps(_plain(self), sort_keys=True, separators=(",", ":"))
        return hashlib.sha256(canonical.encode()).hexdigest()


def amount_keys() -> frozenset[str]:
    """Names of the keys that are kept in units of 1e-8."""
    sections = (Limits, Controls, LimitGroup, StrategyEntry, VenueEntry, Instrument, Universe, Sim)
    return frozenset(
        name for section in sections for name, one in keys_of(section).items() if one.metadata["kind"].is_amount
    )


#: Sections that a venue can have its own settings of.
VENUE_SECTIONS = ("market", "sim", "udp", "live")
SECTIONS: dict[str, type] = {
    "pipeline": Pipeline, "rings": Rings, "market": Market, "strategy": Strategy, "sim": Sim, "udp": Udp, "live": Live,
    "controls": Controls, "record": Record, "journal": Journal, "kill_switch": KillSwitch, "store": Store, "alerts": Alerts, "log": Log,
}  # fmt: skip


def _plain(node: Any) -> Any:
    """`node` as JSON types, one spelling per value."""
    if dataclasses.is_dataclass(node) and not isinstance(node, Table):
        return {one.name: _plain(getattr(node, one.name)) for one in dataclasses.fields(node)}
    if isinstance(node, Mapping):
        return {name: _plain(value) for name, value in node.items()}
    if isinstance(node, tuple):
        return [_plain(value) for value in node]
    return plain_text(node) if isinstance(node, Decimal) else node
