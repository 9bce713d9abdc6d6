"""The map made real: regions laid out, stages wired, and what the supervisor reads and writes.

What there is to lay out and to join stands in :mod:`hftpipe.topology.graph`.
"""

from collections.abc import Callable, Sequence
from contextlib import ExitStack
from typing import Any

import numpy as np

from hftpipe.config import Config
from hftpipe.core.machine import clock as clock_module
from hftpipe.core.schema.cells import HALT_CELL
from hftpipe.core.schema.clock import CLOCK
from hftpipe.core.schema.halts import halt_words, set_scope
from hftpipe.core.schema.instruments import INSTRUMENT, symbols_table
from hftpipe.core.schema.position import POSITION
from hftpipe.core.schema.ring import RING
from hftpipe.core.schema.spreads import spreads_init
from hftpipe.core.schema.status import STATUS
from hftpipe.core.shared.ring import ring_init
from hftpipe.core.shared.shm import Segment
from hftpipe.core.shared.stage import Stage
from hftpipe.core.trading.order_table import table_init
from hftpipe.core.trading.seen_fills import seen_init
from hftpipe.gateway import stage as gateway_stage
from hftpipe.market import stage as market_stage
from hftpipe.market import wiring as market_wiring
from hftpipe.market.wiring import Pace
from hftpipe.risk import limits as risk_limits
from hftpipe.risk import stage as risk_stage
from hftpipe.risk.desks import DESK, desk_row
from hftpipe.risk.groups import GROUP, MEMBER, fill_groups
from hftpipe.risk.state import LANE
from hftpipe.strategy import stage as strategy_stage
from hftpipe.strategy import wiring as strategy_wiring
from hftpipe.strategy.compile.loader import LoadedStrategy
from hftpipe.strategy.stage_state import SEAT
from hftpipe.topology.configured import fee_assets_of, graph_of, instrument_rows, labels, limits_of, strategies_of
from hftpipe.topology.controls import controls_sizes, fill_controls, quotes_of
from hftpipe.topology.counters import counter_places, end_places, group_places, refusal_places, seat_places
from hftpipe.topology.graph import DRAIN_NS, SEEN_FILLS, VENUE_KINDS, kind_of, order_slots
from hftpipe.topology.limit_groups import groups_of, units_of
from hftpipe.topology.place import VenueMemory, VenuePlace, places_of
from hftpipe.topology.sizes import STATE_OF, region_sizes, sparse_regions
from hftpipe.topology.strategies import names_of, seats_of
from hftpipe.venues.contract import Site, Wired


class Pipeline:
    """A laid-out, wired pipeline: the segment, the stages, and readers for the supervisor.

    Attributes:
        config: the configuration it was built from.
        segment: its shared memory.
        graph: its map; venues: where each venue stands in it.
        stages: the stages by name.
        processes: names of the stages of each process.
        strategies: the loaded strategies, in the order of the configuration; names: what they are called;
            seats: what each trades.
    """

    def __init__(
        self, config: Config, strategies: Sequence[LoadedStrategy], epoch: int, start_ts: int,
        create: Any = Segment.create, calibrate: Any = clock_module.calibrate,
    ) -> None:  # fmt: skip
        self.config, self.strategies, self.graph = config, list(strategies), graph_of(config)
        self.names, self.seats = names_of(config, strategies), seats_of(config, strategies)
        self._limits = limits_of(config)
        self._groups = groups_of(config, self._limits)
        self.processes = self.graph.processes(config.pipeline.processes)
        self.instruments, self.venues = instrument_rows(config), places_of(config)
        about, self._fee_assets = [place.about for place in self.venues], fee_assets_of(config)
        meta = {
            "symbols": labels(config),
            "strategy": ", ".join(self.names),
            "processes": self.processes,
            "fingerprint": config.fingerprint(),
            "venues": list(self.graph.venues),
            "strategies": self.names,
            "fee_assets": list(self._fee_assets),
            "source": "; ".join(one.source for one in about),
            "orders": "; ".join(dict.fromkeys(one.orders_to for one in about)),
            "counters": [list(place) for place in counter_places(self.graph, self.venues)],
            "refusals": refusal_places(self.graph),
            "seats": seat_places(self.names),
            "groups": group_places([one.name for one in config.limit_groups]),
            "ends": end_places(self.graph),
        }
        sizes = region_sizes(config, self.graph, self.seats, self.venues)
        sparse = sparse_regions(sizes)
        self.segment: Segment = create(
            config.pipeline.name, sizes, meta, epoch, **({"sparse": sparse} if sparse else {})
        )
        with ExitStack() as undo:
            undo.callback(self.segment.unlink)
            calibrate(self.segment.record("clock", CLOCK))
            self._wire(start_ts)
            undo.pop_all()

    def _wire(self, start_ts: int) -> None:
        self.segment.region("instruments")[:] = self.instruments.view(np.uint8)
        for spec in self.graph.rings:
            ring_init(self.segment.region(f"ring.{spec.name}"), getattr(self.config.rings, spec.kind))
        #: How the venues' halves are joined, by stage.
        self.joined: dict[str, Wired] = {}
        self.stages: dict[str, Stage] = {}
        for place in self.venues:
            self._wire_venue(place, start_ts)
        self.stages |= {"strategy": self._wire_strategy(), "risk": self._wire_risk()}
        self.stages = {name: self.stages[name] for name in self.graph.stages}
        if self.config.record.folder:
            for stage, region in self.graph.tapes.items():
                ring_init(self.segment.region(region), self.config.rings.tape)
                self.state(stage)["tape"] = self.address(region)

    def _wire_venue(self, place: VenuePlace, start_ts: int) -> None:
        """A venue's feed and gateway."""
        memory = VenueMemory(self.segment, self.graph, place)
        rows = memory.region("instruments").view(INSTRUMENT)
        memory.region("symbols")[:] = symbols_table(rows)
        market, gateway = (self.graph.at(kind, place.name) for kind in ("market_data", "gateway"))
        site = Site(
            place.config, rows, memory, start_ts, self.report_source_error, [market] in self.processes, self._fee_assets
        )
        self.joined[market] = self._wire_market(place, site)
        self.joined[gateway] = self._wire_gateway(place, site)
        self.stages[market] = self._stage(market, market_stage.step_entry, **self._hooks(self.joined[market]))
        self.stages[gateway] = self._stage(gateway, gateway_stage.step_entry, **self._hooks(self.joined[gateway]))

    def address(self, region: str) -> int:
        """Address of a region."""
        return self.segment.address(region)

    def state(self, stage: str) -> np.ndarray:
        """The STATE array (length 1) of a stage."""
        return self.segment.record(f"state.{stage}", STATE_OF[kind_of(stage)])

    def _set(self, stage: str, addresses: dict[str, str], values: dict[str, Any]) -> np.ndarray:
        state = self.state(stage)
        for field, region in addresses.items():
            state[field] = self.address(region)
        for field, value in values.items():
            state[field] = value
        return state

    def _stage(self, name: str, step: Any, **hooks: Callable[..., Any]) -> Stage:
        return Stage(name, step.address, self.address(f"state.{name}"), **hooks)

    @staticmethod
    def _hooks(wired: Wired) -> dict[str, Any]:
        hooks = {"opened": wired.opened, "closed": wired.closed}
        return hooks | ({"service": wired.service} if wired.service else {})

    def _wire_market(self, place: VenuePlace, site: Site) -> Wired:
        config, memory, sim = place.config, site.memory, place.config.sim
        latency_us = sim.latency_new_us + sim.latency_cancel_us + sim.latency_report_us
        pace = Pace(
            speed=config.market.speed_e8 / 1e8,
            window=min(config.market.window_records, config.rings.market // 2, config.rings.sim // 2),
            timer_ns=config.market.timer_ms * 1_000_000,
            drain_ns=DRAIN_NS + 4_000 * latency_us,
        )
        own = ("scratch", "top_scratch", "conflating", "conflated")
        addresses = {name: memory.address(f"market.{name}") for name in own}
        addresses |= {
            "market": memory.address("ring.market"),
            "sim": memory.address("ring.sim") if place.orders.hears_market else 0,
            "tops": memory.address("tops"),
            "time": memory.address("time"),
            "h_decode": memory.address("hist.decode"),
        }
        state, books = self.state(self.graph.at("market_data", place.name)), memory.region("market.books")
        market_wiring.wire(state, addresses, books, site.instruments["tick"], place.levels, pace, place.first)
        return place.feed.wire(site, state)

    def of_strategy(self, name: str, index: int = 0) -> str:
        """The region that a strategy has for itself under ``strategy.NAME``."""
        return self.graph.own(f"strategy.{name}", self.graph.strategies[index])

    def seat_rows(self) -> np.ndarray:
        """The SEAT array, one a strategy."""
        return self.segment.region("strategy.seats").view(SEAT)

    def _wire_strategy(self) -> Stage:
        n, levels = len(self.instruments), np.asarray(self.instruments["levels"], np.int64)
        places = {name: f"strategy.{name}" for name in strategy_wiring.stage_sizes(n, levels)} | {
            "state": "state.strategy"
        }
        shared = {name: self.segment.region(place) for name, place in places.items()}
        strategy_wiring.init_stage(shared, self.seats, n, levels, self.instruments["tick"])
        addresses = {name: self.address(place) for name, place in places.items()}
        addresses |= {ring: self.address(f"ring.{ring}") for ring in ("updates", "intents")}
        addresses |= {f"h_{hop}": self.address(f"hist.{hop}") for hop in ("market_to_strategy", "strategy")}
        addresses |= {name: self.address(name) for name in ("instruments", "halt", "halts")}
        at = self.graph.at
        feeds = [
            (self.address(f"ring.{at('market', one)}"), self.address(f"status.{at('market_data', one)}"))
            for one in self.graph.venues
        ]
        strategy_wiring.wire_stage(
            self.state("strategy"), addresses, n_instruments=n, levels=levels, n_seats=len(self.seats), feeds=feeds,
            in_time=len(feeds) > 1 and not self.config.market.speed_e8, timer_ns=self.config.market.timer_ms * 1_000_000,
        )  # fmt: skip
        for index in range(len(self.seats)):
            self._wire_seat(index, addresses)
        faults = [self.segment.region(self.of_strategy("fault", index)) for index in range(len(self.seats))]
        told = strategy_wiring.fault_service(self.seat_rows(), self.seats, faults)
        return self._stage("strategy", strategy_stage.step_entry, service=told)

    def _wire_seat(self, index: int, shared: dict[str, int]) -> None:
        """One strategy's own memory."""
        seat = self.seats[index]
        places = {
            name: self.of_strategy(name, index)
            for name in (*strategy_wiring.seat_sizes(seat, len(self.instruments)), "spreads")
        }
        regions = {name: self.segment.region(place) for name, place in places.items()}
        strategy_wiring.init_seat(regions, seat, [one.rates for one in self._limits])
        spreads_init(regions["spreads"], self.instruments, seat.own)
        addresses = shared | {name: self.address(place) for name, place in places.items()}
        row = self.seat_rows()[index : index + 1]
        # In a ring too small for all, half of it is everybody's.
        behind = min(len(self.seats) - 1 - index, self.config.rings.intents // 2)
        strategy_wiring.wire_seat(
            row, seat, self.state("strategy"), addresses, index=index, behind=behind, epoch=self.segment.epoch
        )

    def _wire_risk(self) -> Stage:
        limits, ages = (self.segment.region(name) for name in ("risk.limits", "gateway.max_ages"))
        risk_limits.limits_rows(limits.view(risk_limits.LIMITS), ages.view(np.int64), self._limits)
        table_init(self.segment.region("risk.table"), order_slots("risk", len(self.instruments)))
        lanes = self.segment.region("risk.lanes").view(LANE)
        for lane, place in zip(lanes, self.venues, strict=True):
            memory = VenueMemory(self.segment, self.graph, place)
            for ring in ("orders", "reports", "market"):
                lane[ring] = memory.address(f"ring.{ring}")
            lane["progress"], lane["time"] = memory.address("progress"), memory.address("time")
            lane["venue"] = place.index
        self._set(
            "risk",
            {
                "intents": "ring.intents", "updates": "ring.updates", "lanes": "risk.lanes", "halt": "halt",
                "halts": "halts", "desks": "risk.desks", "fees": "risk.fees",
                "clock": "clock", "tops": "tops", "instruments": "instruments", "limits": "risk.limits",
                "positions": "risk.positions", "table": "risk.table", "rates": "risk.rates", "changes": "risk.changes",
                "h_strategy_to_risk": "hist.strategy_to_risk", "h_risk": "hist.risk",
                "h_tick_to_risk": "hist.tick_to_risk",
            },
            {
                "n_instruments": len(self.instruments), "n_lanes": len(self.venues), "n_desks": len(self.seats),
                "n_fee_assets": len(self._fee_assets),
            },
        )  # fmt: skip
        self._wire_desks()
        self._wire_groups()
        self._wire_controls()
        return self._stage("risk", risk_stage.step_entry)

    def _wire_desks(self) -> None:
        """What risk knows of each strategy: its limits, and the positions that are its own where there are several."""
        desks = self.segment.region("risk.desks").view(DESK)
        each = len(self.instruments) * POSITION.itemsize if len(desks) > 1 else 0
        for index, entry in enumerate(strategies_of(self.config)):
            own = self.address("risk.owned") + index * each if each else 0
            desks[index] = desk_row(entry, own)

    def _wire_groups(self) -> None:
        """The limits of several instruments together, if there are any."""
        if not self._groups:
            return
        groups, members = (self.segment.region(f"risk.{name}") for name in ("groups", "members"))
        fill_groups(groups.view(GROUP), members.view(MEMBER), self._groups, units_of(self.config))
        self._set("risk", {"groups": "risk.groups", "members": "risk.members"}, {})

    def _wire_controls(self) -> None:
        """The controls of the whole run."""
        n, quotes = len(self.instruments), quotes_of(self.config)
        sizes = controls_sizes(n, len(self.venues), len(self.seats), len(quotes))
        fill_controls(
            self.config, self.seats, {name.removeprefix("risk."): self.segment.region(name) for name in sizes}
        )
        places = {name.removeprefix("risk."): name for name in sizes}
        if len(self.seats) == 1:
            del places["own_worths"]
        if self.config.controls.self_match == "venue":
            del places["touches"]
        self._set("risk", places, {"n_quotes": len(quotes)})

    def play_freely(self) -> None:
        """Cold: let no paper venue wait for risk's word on how far its market may be played."""
        self.segment.region("risk.lanes").view(LANE)["market"] = 0

    def _wire_gateway(self, place: VenuePlace, site: Site) -> Wired:
        memory, state = site.memory, self.state(self.graph.at("gateway", place.name))
        table_init(memory.region("gateway.table"), order_slots("gateway", place.count))
        seen_init(memory.region("gateway.seen"), SEEN_FILLS)
        for field, region in {
            "orders": "ring.orders", "reports": "ring.reports", "progress": "progress",
            "halt": "halt", "halts": "halts", "scopes": "gateway.halts", "time": "time", "clock": "clock", "max_ages": "gateway.max_ages",
            "table": "gateway.table", "seen": "gateway.seen",
            "h_risk_to_gateway": "hist.risk_to_gateway", "h_tick_to_order": "hist.tick_to_order",
        }.items():  # fmt: skip
            state[field] = memory.address(region)
        state["n_scopes"], state["venue_index"] = halt_words(len(self.instruments)), place.index
        state["sim"], state["first"] = memory.address("ring.sim") if place.orders.hears_market else 0, place.first
        return place.orders.wire(site, state)

    # What the supervisor reads and writes.

    def stop_word(self) -> np.ndarray:
        """The word that ends every duty cycle."""
        return self.segment.region("stop")[:8].view(np.uint64)

    def set_scope(self, place: int, cause: int, now_ns: int) -> None:
        """Halt a venue, strategy or instrument (:data:`hftpipe.core.schema.halts.SCOPES`), or clear it (0)."""
        set_scope(self.segment.region("halts"), place, cause, now_ns)

    def set_dead(self, is_dead: bool, venue: int | None = None) -> None:
        """Tell risk whether a venue's gateway (None: every one) is dead, so that it waits for nothing there."""
        lanes = self.segment.region("risk.lanes").view(LANE)
        (lanes if venue is None else lanes[venue : venue + 1])["dead"] = int(is_dead)

    def local(self, name: str, stage: str) -> str:
        """What a region of the venue that a stage belongs to is called."""
        place = self.venue_of(stage)
        assert place is not None
        return self.graph.at(name, place.name)

    def halt_cell(self) -> np.ndarray:
        """The halt cell."""
        return self.segment.record("halt", HALT_CELL)

    def status(self, stage: str) -> np.ndarray:
        """A stage's STATUS array (length 1)."""
        return self.segment.record(f"status.{stage}", STATUS)

    def usage(self, process: int, dtype: np.dtype) -> np.ndarray:
        """Where process ``process`` leaves its resource usage."""
        return self.segment.region("usage")[64 * process :][: dtype.itemsize].view(dtype)

    def heartbeats(self) -> dict[str, int]:
        """The heartbeat of each stage: another number after every round of its loop, 0 before its first has ended."""
        return {name: int(self.status(name)["heartbeat_tsc"][0]) for name in self.graph.stages}

    def depths(self) -> dict[str, int]:
        """Unread records of each ring."""
        rings = {spec.name: self.segment.record(f"ring.{spec.name}", RING) for spec in self.graph.rings}
        return {name: int(ring["next_in"][0]) - int(ring["next_out"][0]) for name, ring in rings.items()}

    def source_errors(self) -> list[str]:
        """What was wrong with the recording (reported by the process that read it)."""
        text = bytes(self.segment.region("source_errors")).rstrip(b"\0").decode(errors="replace")
        return text.splitlines()

    def report_source_error(self, message: str) -> None:
        """Add a line to :meth:`source_errors`."""
        region = self.segment.region("source_errors")
        text = (bytes(region).rstrip(b"\0") + message.encode() + b"\n")[: len(region)]
        region[: len(text)] = np.frombuffer(text, np.uint8)

    def tripped(self) -> list[str]:
        """The stages that have stopped themselves because something happened that must not, those that hear it first first."""
        return [name for name in (*self.graph.each("gateway"), "risk") if self.state(name)["tripped"][0]]

    def venue_of(self, stage: str) -> VenuePlace | None:
        """The venue that a stage belongs to; None for one that serves all."""
        return next((one for one in self.venues if stage in self.stages_of(one)), None)

    def stages_of(self, venue: VenuePlace) -> tuple[str, ...]:
        """The stages of a venue: its feed and its gateway."""
        return tuple(self.graph.at(kind, venue.name) for kind in VENUE_KINDS)

    def is_quiet(self) -> bool:
        """Every source has ended and nothing is left in any ring."""
        is_over = all(self.status(name)["finished"][0] for name in self.graph.each("market_data"))
        return is_over and not any(self.depths().values())
