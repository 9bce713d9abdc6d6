"""What every configuration key means, accepts and defaults to: the single page to read.

Each key is one `key(default, kind, doc)`. The default, the check, the comment in configs/default.toml and the
"allowed" part of an error all come from it, so they cannot disagree.
"""

# ruff: noqa: RUF009 - key() only wraps dataclasses.field(), so its result is not shared
import dataclasses
import hashlib
import json
import math
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from decimal import Decimal
from typing import Any

from hftpipe.config.kinds import (
    ADDRESS,
    BOOLEAN,
    CPUS,
    INT64_MAX,
    LATENCY,
    MODE,
    PORT,
    POSITIVE,
    PROCESSES,
    PROFILE,
    RING,
    SHARE,
    SPEED,
    STRATEGY,
    SYMBOL,
    Kind,
    amount,
    basis_points,
    choice,
    integer,
    parse_cpus,
    plain_text,
    real,
    text,
    to_e8,
)
from hftpipe.core.schema.refusal import Refusal
from hftpipe.topology.graph import STAGES


class ConfigError(Refusal, ValueError):
    """Refused settings; `problems` has one line for each, naming source, key, value and what is allowed."""

    def __init__(self, *problems: str) -> None:
        super().__init__("\n".join(problems))
        self.problems = problems


@dataclass(frozen=True)
class Table(Mapping[str, Any]):
    """A read-only mapping that can be hashed and pickled (a mappingproxy can do neither)."""

    pairs: tuple[tuple[str, Any], ...] = ()

    @classmethod
    def of(cls, source: Mapping[str, Any]) -> "Table":
        """A table of `source`, in key order, so that equal contents are equal tables."""
        return cls(tuple(sorted(source.items())))

    def __getitem__(self, name: str) -> Any:
        for key_name, value in self.pairs:
            if key_name == name:
                return value
        raise KeyError(name)

    def __iter__(self) -> Iterator[str]:
        return (name for name, _ in self.pairs)

    def __len__(self) -> int:
        return len(self.pairs)


def key(default: Any, kind: Kind, doc: str) -> Any:
    """A dataclass field for one configuration key; `default` is written as in TOML, None for "not set"."""
    parsed = None if default is None else kind.parse(default)
    return field(default=parsed, metadata={"kind": kind, "doc": doc, "raw": default})


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
    processes: tuple[tuple[str, ...], ...] = key([[s] for s in STAGES], PROCESSES, "Which stages share a process.")
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
        real(0.1, 600, above=False, allowed="a number of seconds in 0.1..600"),
        "A stage that has not moved for this long halts trading and ends the run.",
    )
    on_latched_halt: str = key(
        "run_halted",
        choice("run_halted", "refuse"),
        "A start that finds a halt of an earlier run: runs without trading, or is refused.",
    )
    stop_timeout_s: float = key(
        5.0,
        real(0, 600, above=False, allowed="a number of seconds in 0..600"),
        "At the end every open order is cancelled; how long to wait until the venue has confirmed that.",
    )
    metrics: bool = key(True, BOOLEAN, "Serve counters and histograms.")
    venue: str = key(
        "sim",
        text(r"[a-z][a-z0-9_]{0,31}", "sim, udp, or the name of an installed venue,"),
        "With sim: market.source and the paper exchange; with udp: ITCH and OUCH; or a venue that a package brings.",
    )
    mode: str = key("paper", MODE, "Where orders go: paper = the simulated exchange.")

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
class Market:
    """Where market data comes from and how fast."""

    source: str = key("synthetic", choice("synthetic", "replay"), "Generated flow or a recording.")
    replay: str = key(
        "",
        text(r"[\s\S]*", "a readable path"),
        "Path of the recording, needed when source is replay; in the environment or on the command line it implies that.",
    )
    speed: str = key("1", SPEED, "Playing speed as a multiple of recorded time.")
    window_records: int = key(
        1024,
        integer(16, 1_000_000, "records"),
        "How far a full-speed source may run ahead of its slowest reader.",
    )
    timer_ms: int = key(10, integer(1, 10_000, "milliseconds"), "Period of the strategy's timer.")
    book_levels: int = key(
        16384,
        integer(64, 1_000_000, "levels"),
        "Price levels kept per side of a book; about as many ticks around the touch are found without a search.",
    )
    seed: int = key(1, integer(0, INT64_MAX), "Seed of the synthetic flow.")
    event_rate_per_s: float = key(
        2000.0,
        real(0, 1e7, above=True, allowed="a number of events per second above 0 and up to 1e7"),
        "Rate of the synthetic flow at speed 1.",
    )
    spread_bps: float = key(
        12.0,
        real(0, 100, above=True, allowed="a number of basis points above 0 and up to 100"),
        "Typical spread of the synthetic market (docs/demo-market.md).",
    )
    uninformed_share: float = key(
        0.85,
        SHARE,
        "Share of the synthetic market's takers that know nothing of where the price goes; the others have news.",
    )

    @property
    def speed_e8(self) -> int:
        """Speed in units of 1e-8; 0 means as fast as possible."""
        return 0 if self.speed == "max" else to_e8(self.speed)


# What holds for one symbol only: an entry for another symbol than the built-in one must give these itself.
SYMBOL_KEYS = ("tick_size", "lot_size", "min_notional", "reference_price")


@dataclass(frozen=True)
class Instrument:
    """One traded instrument; prices and quantities in units of 1e-8, fees in basis points."""

    symbol: str = key("BTCUSDT", SYMBOL, "Name at the venue; unique.")
    venue: str = key("binance_usdm", choice("binance_spot", "binance_usdm"), "Venue whose rules apply.")
    tick_size: int = key("0.10", POSITIVE, "Price step, in quote currency.")
    lot_size: int = key("0.001", POSITIVE, "Quantity step, in base currency.")
    min_notional: int = key("5", amount(0, "a decimal number, 0 or more,"), "Smallest order value, in quote currency.")
    maker_fee_bps: Decimal = key("2.0", basis_points(-100, 1000), "Fee on resting fills; negative = rebate.")
    taker_fee_bps: Decimal = key("5.0", basis_points(-100, 1000), "Fee on taking fills; negative = rebate.")
    reference_price: int = key("60000", POSITIVE, "Start price of the synthetic flow, in quote currency.")

    @property
    def maker_fee_e8(self) -> int:
        """Maker fee as a share of notional, in units of 1e-8 (1 basis point = 10_000)."""
        return int(self.maker_fee_bps * 10_000)

    @property
    def taker_fee_e8(self) -> int:
        """Taker fee as a share of notional, in units of 1e-8 (1 basis point = 10_000)."""
        return int(self.taker_fee_bps * 10_000)


@dataclass(frozen=True)
class Strategy:
    """Which strategy runs, and its parameters (checked by the strategy itself)."""

    name: str = key("market_making", STRATEGY, "Strategy to run.")
    profile: str = key("", PROFILE, "Profile laid over params.")
    reload_s: float = key(
        1.0,
        real(0, 3600, above=False, allowed="a number of seconds in 0..3600"),
        "How often the configuration files are checked for changed strategy parameters; 0 = never.",
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

    def for_symbol(self, symbol: str) -> Limits:
        """The limits in force for `symbol`: built-in < default < symbol."""
        return Limits(**{**self.limits.get("default", {}), **self.limits.get(symbol, {})})


@dataclass(frozen=True)
class Sim:
    """The simulated exchange."""

    queue_model: str = key("risk_averse", choice("risk_averse", "power"), "How cancels ahead move a resting order up.")
    power_n: float = key(
        2.0,
        real(0, 10, above=True, allowed="a number above 0 and up to 10"),
        "Exponent of the power queue model.",
    )
    latency_new_us: int = key(500, LATENCY, "New order to the exchange, in microseconds.")
    latency_cancel_us: int = key(500, LATENCY, "Cancel to the exchange, in microseconds.")
    latency_report_us: int = key(500, LATENCY, "Report from the exchange, in microseconds.")


@dataclass(frozen=True)
class Udp:
    """The multicast venue: ITCH 5.0 over MoldUDP64 in, OUCH 5.0 out (pipeline.venue = "udp")."""

    embedded: bool = key(True, BOOLEAN, "Run the simulated exchange beside the pipeline, on free ports.")
    group_a: str = key("239.192.0.1", ADDRESS, "Multicast group of line A.")
    port_a: int = key(26477, PORT, "UDP port of line A.")
    group_b: str = key("239.192.0.2", ADDRESS, "Multicast group of line B.")
    port_b: int = key(26478, PORT, "UDP port of line B.")
    interface: str = key("127.0.0.1", ADDRESS, "Address of the interface to join the lines on.")
    request_address: str = key("127.0.0.1", ADDRESS, "Server for re-requests.")
    request_port: int = key(0, PORT, "Port for re-requests; 0 = none (embedded: a free one).")
    order_address: str = key("127.0.0.1", ADDRESS, "Server for orders.")
    order_port: int = key(0, PORT, "Port for orders; needed unless embedded.")
    transport: str = key("udp", choice("udp", "tcp"), "Orders in datagrams, or over SoupBinTCP.")
    user: str = key("HFTPIP", text(r"[A-Za-z0-9]{1,6}", "1 to 6 ASCII letters and digits"), "Account at the venue.")
    cancel_after_ms: int = key(
        700,
        integer(0, 60_000, "milliseconds"),
        "Ask at log-in that all orders are cancelled after this silence or a lost connection; 0 = do not ask.",
    )
    login_timeout_s: float = key(
        5.0,
        real(0.1, 600, above=False, allowed="a number of seconds in 0.1..600"),
        "A log-in that does not complete, or is refused, for this long halts trading and ends the run.",
    )
    receive: str = key(
        "auto",
        choice("auto", "packet_ring", "socket"),
        "How the lines are read; auto = packet ring with CAP_NET_RAW and no LD_PRELOAD (datagrams up to 1.9 kB), else socket.",
    )
    kernel_stamps: bool = key(False, BOOLEAN, "Measure how long datagrams lie in the kernel (SO_TIMESTAMPNS).")
    busy_poll_us: int = key(0, integer(0, 1_000_000, "microseconds"), "SO_BUSY_POLL of the lines; 0 = left alone.")
    loss_a: float = key(0.0, SHARE, "Embedded exchange: share of line A's datagrams that are lost.")
    loss_b: float = key(0.0, SHARE, "Embedded exchange: share of line B's datagrams that are lost.")
    truth_file: str = key(
        "",
        text(r"[\s\S]*", "a path"),
        'Embedded exchange: file it keeps with every account\'s resting orders and executions; "" = none.',
    )


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
class Log:
    """Logging of the cold paths."""

    format: str = key("auto", choice("auto", "json", "pretty"), "With auto: pretty on a terminal, else JSON lines.")
    level: str = key("info", choice("debug", "info", "warning", "error"), "Least severe level written.")


@dataclass(frozen=True)
class Config:
    """The whole configuration. Built by `load`; `Config()` is the built-in default."""

    pipeline: Pipeline = field(default_factory=Pipeline)
    rings: Rings = field(default_factory=Rings)
    market: Market = field(default_factory=Market)
    instruments: tuple[Instrument, ...] = (Instrument(),)
    strategy: Strategy = field(default_factory=Strategy)
    risk: Risk = field(default_factory=Risk)
    sim: Sim = field(default_factory=Sim)
    udp: Udp = field(default_factory=Udp)
    record: Record = field(default_factory=Record)
    log: Log = field(default_factory=Log)

    def as_dict(self) -> dict[str, Any]:
        """The tree as JSON types, amounts in units of 1e-8. Secrets are never in the tree."""
        return dict(_plain(self))

    def fingerprint(self) -> str:
        """sha256 (hex) of the canonical tree, the same for equal settings. Secrets are never in the tree."""
        canonical = json.dumps(_plain(self), sort_keys=True, separators=(",", ":"))
        return hashlib.sha256(canonical.encode()).hexdigest()


SECTIONS: dict[str, type] = {
    "pipeline": Pipeline, "rings": Rings, "market": Market, "strategy": Strategy, "sim": Sim, "udp": Udp,
    "record": Record,
    "log": Log,
}  # fmt: skip


def keys_of(section: type) -> dict[str, dataclasses.Field[Any]]:
    """The keys of a section that hold a checked value (its free tables are left out)."""
    return {one.name: one for one in dataclasses.fields(section) if "kind" in one.metadata}


def _plain(node: Any) -> Any:
    """`node` as JSON types, one spelling per value."""
    if dataclasses.is_dataclass(node) and not isinstance(node, Table):
        return {one.name: _plain(getattr(node, one.name)) for one in dataclasses.fields(node)}
    if isinstance(node, Mapping):
        return {name: _plain(value) for name, value in node.items()}
    if isinstance(node, tuple):
        return [_plain(value) for value in node]
    return plain_text(node) if isinstance(node, Decimal) else node
