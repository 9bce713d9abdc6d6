"""THE MAP: which stages there are, which rings and cells join them, and what is measured between them. Pure data.

::

              CPU 0                CPU 1               CPU 2              CPU 3
   venue ─▶ MARKET DATA ─market─▶ STRATEGY ─intents─▶ RISK ─orders─▶ GATEWAY ─▶ venue
              │ top-of-book cells ──────────────────▶ │                │
              │                     ◀────updates───── │ ◀───reports─── │ ◀─ acks, fills
              └──────────── sim (paper mode: the market records, for the simulated exchange) ──▶│

Each venue has a feed (a stage of kind ``market_data``) and a gateway of its own, and with them its own rings ``market``,
``sim``, ``orders`` and ``reports``; there is one strategy stage, in which all strategies run, and one risk stage. Where there are several venues, what belongs
to one bears its name: ``gateway@alpha``, ``market@alpha``.

The rings carry 64-byte records, each with one writer and one reader. ``sim`` has the same records at the same index as
``market``. ``progress`` (written by risk, one word a venue) says up to which index of its market ring all orders have reached
the gateways, so that a simulated exchange never sees a market event before an order that was decided on an earlier one.
"""

from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from functools import cached_property

from hftpipe.core.schema.instruments import MAX_VENUES

#: Kinds of stage, in the order of the data; the default is a process for each kind.
STAGE_KINDS = ("market_data", "strategy", "risk", "gateway")
#: Kinds of which each venue has one.
VENUE_KINDS = ("market_data", "gateway")


@dataclass(frozen=True)
class RingSpec:
    """One ring: who writes, who reads, what it carries; ``kind`` names its size in the configuration."""

    name: str
    writer: str
    reader: str
    carries: str
    kind: str = ""


_RINGS = (
    RingSpec("market", "market_data", "strategy", "LEVEL TOP TRADE BOOK_RESET BOOK_STATE TIMER"),
    RingSpec("intents", "strategy", "risk", "NEW CANCEL REPLACE"),
    RingSpec("orders", "risk", "gateway", "NEW CANCEL REPLACE, approved"),
    RingSpec("reports", "gateway", "risk", "ACK REPLACED FILL CANCELED EXPIRED REJECT CANCEL_REJECT"),
    RingSpec("updates", "risk", "strategy", "reports, and risk's own rejects"),
    RingSpec("sim", "market_data", "gateway", "the market records, for the simulated exchange"),
)
RING_KINDS = tuple(spec.name for spec in _RINGS)

#: Latency histograms: name, kind of the stage that writes it, from, to.
_HOPS = (
    ("kernel_to_market", "market_data", "received by the kernel", "bytes received (venue udp, with kernel stamps)"),
    ("decode", "market_data", "bytes received", "update published"),
    ("market_to_strategy", "strategy", "bytes received", "record read by the strategy stage"),
    ("strategy", "strategy", "hook called", "hook returned"),
    ("strategy_to_risk", "risk", "intent sent", "intent read by risk"),
    ("risk", "risk", "checks begun", "verdict"),
    ("tick_to_risk", "risk", "bytes received", "order approved and sent on"),
    ("risk_to_gateway", "gateway", "order sent on", "order read by the gateway"),
    ("tick_to_order", "gateway", "bytes received", "order handed to the venue"),
)

#: Orders that each part can hold at least; with many instruments some for each of them (:func:`order_slots`).
ORDER_SLOTS = {"strategy": 1024, "risk": 4096, "gateway": 4096, "exchange": 1024}
_SLOTS_EACH, _MOST_SLOTS = 3, 32768
#: Executions that a gateway tells a repetition of.
SEEN_FILLS = 8192
#: After the last recorded event time runs on this much beyond the slowest round trip, to settle orders in flight.
DRAIN_NS = 100_000_000
#: Rings that one stage writes at most: risk, the updates and each venue's orders.
MOST_OUTPUTS = 1 + MAX_VENUES


def order_slots(part: str, n_instruments: int) -> int:
    """Orders that a part (a key of ORDER_SLOTS) can hold, a power of two: enough for a quote on each side of each instrument."""
    wanted = 1 << (_SLOTS_EACH * n_instruments - 1).bit_length()
    return max(ORDER_SLOTS[part], min(wanted, _MOST_SLOTS))


def kind_of(stage: str) -> str:
    """The kind of a stage, from its name."""
    return stage.partition("@")[0]


@dataclass(frozen=True)
class Graph:
    """The map of a pipeline with these venues and strategies (their names, in order)."""

    venues: tuple[str, ...]
    strategies: tuple[str, ...] = ("",)

    def at(self, name: str, venue: str) -> str:
        """What ``name`` (a stage, ring, hop or region) is called at a venue."""
        return name if len(self.venues) == 1 else f"{name}@{venue}"

    def own(self, name: str, strategy: str) -> str:
        """What a region that each strategy has for itself is called."""
        return name if len(self.strategies) == 1 else f"{name}@{strategy}"

    def each(self, kind: str) -> tuple[str, ...]:
        """The stages of a kind, those of venues in the order of the venues."""
        return tuple(self.at(kind, venue) for venue in self.venues) if kind in VENUE_KINDS else (kind,)

    def _is_local(self, spec: RingSpec) -> bool:
        return spec.writer in VENUE_KINDS or spec.reader in VENUE_KINDS

    def _end(self, kind: str, venue: str) -> str:
        return self.at(kind, venue) if kind in VENUE_KINDS else kind

    def _spread(self) -> Iterator[RingSpec]:
        for spec in _RINGS:
            for venue in self.venues if self._is_local(spec) else self.venues[:1]:
                name = self.at(spec.name, venue) if self._is_local(spec) else spec.name
                yield RingSpec(
                    name, self._end(spec.writer, venue), self._end(spec.reader, venue), spec.carries, spec.name
                )

    @cached_property
    def stages(self) -> tuple[str, ...]:
        """Every stage: feeds, strategy, risk, gateways."""
        return tuple(stage for kind in STAGE_KINDS for stage in self.each(kind))

    @cached_property
    def rings(self) -> tuple[RingSpec, ...]:
        """Every ring."""
        return tuple(self._spread())

    @cached_property
    def tapes(self) -> dict[str, str]:
        """Regions of the tapes by stage; laid out only when the run is recorded."""
        return {stage: f"tape.{stage}" for stage in self.stages}

    @cached_property
    def hops(self) -> dict[str, tuple[str, ...]]:
        """The histograms of each hop: one for each stage that measures it."""
        return {hop: tuple(self.hist(hop, stage) for stage in self.each(kind)) for hop, kind, *_ in _HOPS}

    def hist(self, hop: str, stage: str) -> str:
        """The histogram of a hop that a stage writes."""
        _, at, venue = stage.partition("@")
        return hop + at + venue

    def processes(self, asked: Iterable[Sequence[str]]) -> list[list[str]]:
        """The stages of each process; a kind stands for all stages of that kind that are not named themselves.

        Raises:
            ValueError: a stage that there is not, that stands twice, or in no process; names it.
        """
        groups = [list(group) for group in asked]
        named = [stage for group in groups for stage in group if stage not in STAGE_KINDS or stage in self.stages]
        if wrong := [stage for stage in named if stage not in self.stages]:
            raise ValueError(f"there is no stage {wrong[0]}; the stages are {', '.join(self.stages)}")
        found = [
            [one for stage in group for one in ([stage] if stage in named else
                                                [s for s in self.each(stage) if s not in named])]
            for group in groups
        ]  # fmt: skip
        placed = [stage for group in found for stage in group]
        for stage in self.stages:
            if placed.count(stage) != 1:
                raise ValueError(f"stage {stage} stands in {placed.count(stage)} processes instead of one")
        return [group for group in found if group]
