"""The map made real: regions laid out, stages wired, and what the supervisor reads and writes.

What there is to lay out and to join stands in :mod:`hftpipe.topology.graph`.
"""

from collections.abc import Callable
from contextlib import ExitStack
from typing import Any

import numpy as np

from hftpipe.config import Config
from hftpipe.core.machine import clock as clock_module
from hftpipe.core.schema.cells import HALT_CELL
from hftpipe.core.schema.clock import CLOCK
from hftpipe.core.schema.instruments import symbols_table
from hftpipe.core.schema.ring import RING
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
from hftpipe.strategy import stage as strategy_stage
from hftpipe.strategy import wiring as strategy_wiring
from hftpipe.strategy.compile.loader import LoadedStrategy
from hftpipe.topology.configured import instrument_rows, market_venue, orders_to, source_of
from hftpipe.topology.counters import counter_places, refusal_places
from hftpipe.topology.graph import DRAIN_NS, ORDER_SLOTS, RINGS, SEEN_FILLS, STAGES, TAPES
from hftpipe.topology.sizes import STATE_OF, region_sizes
from hftpipe.venues.contract import Feed, Orders, Site, Wired
from hftpipe.venues.registry import VenueError, find


def halves(config: Config) -> tuple[Feed, Orders]:
    """The feed and the orders that are configured; a venue without orders is traded on paper.

    Raises:
        VenueError: there is no such venue, or it has no feed.
    """
    name = market_venue(config)
    venue, paper = find(name), find("paper")
    if venue.feed is None:
        raise VenueError(f"venue {name!r} has no market data")
    return venue.feed, venue.orders or paper.orders


class Pipeline:
    """A laid-out, wired pipeline: the segment, the stages, and readers for the supervisor.

    Attributes:
        config: the configuration it was built from.
        segment: its shared memory.
        stages: the four stages by name.
        processes: names of the stages of each process.
        strategy: the loaded strategy.
    """

    def __init__(
        self, config: Config, strategy: LoadedStrategy, epoch: int, start_ts: int,
        create: Any = Segment.create, calibrate: Any = clock_module.calibrate,
    ) -> None:  # fmt: skip
        self.config, self.strategy = config, strategy
        self.processes = [list(group) for group in config.pipeline.processes]
        self.instruments = instrument_rows(config)
        meta = {
            "symbols": [item.symbol for item in config.instruments],
            "strategy": strategy.name,
            "processes": self.processes,
            "fingerprint": config.fingerprint(),
            "source": source_of(config),
            "orders": orders_to(config),
        }
        feed, orders = halves(config)
        meta["counters"] = [list(place) for place in counter_places(config, feed, orders)]
        meta["refusals"] = refusal_places()
        sizes = region_sizes(config, strategy, feed, orders)
        self.segment: Segment = create(config.pipeline.name, sizes, meta, epoch)
        with ExitStack() as undo:
            undo.callback(self.segment.unlink)
            calibrate(self.segment.record("clock", CLOCK))
            self._wire(feed, orders, start_ts)
            undo.pop_all()

    def _wire(self, feed: Feed, orders: Orders, start_ts: int) -> None:
        self.segment.region("instruments")[:] = self.instruments.view(np.uint8)
        self.segment.region("symbols")[:] = symbols_table(self.instruments)
        for spec in RINGS:
            ring_init(self.segment.region(f"ring.{spec.name}"), getattr(self.config.rings, spec.name))
        site = Site(self.config, self.instruments, self.segment, start_ts, self.report_source_error)
        #: The venue's halves, as they are joined.
        self.feed = self._wire_market(feed, site, orders.hears_market)
        self.orders = self._wire_gateway(orders, site)
        self.stages: dict[str, Stage] = {
            "market_data": self._stage("market_data", market_stage.step_entry, **self._hooks(self.feed)),
            "strategy": self._wire_strategy(),
            "risk": self._wire_risk(),
            "gateway": self._stage("gateway", gateway_stage.step_entry, **self._hooks(self.orders)),
        }
        if self.config.record.folder:
            for stage, region in TAPES.items():
                ring_init(self.segment.region(region), self.config.rings.tape)
                self.state(stage)["tape"] = self.address(region)

    def address(self, region: str) -> int:
        """Address of a region."""
        return self.segment.address(region)

    def state(self, stage: str) -> np.ndarray:
        """The STATE array (length 1) of a stage."""
        return self.segment.record(f"state.{stage}", STATE_OF[stage])

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

    def _wire_market(self, feed: Feed, site: Site, is_heard: bool) -> Wired:
        config, sim = self.config, self.config.sim
        latency_us = sim.latency_new_us + sim.latency_cancel_us + sim.latency_report_us
        pace = Pace(
            speed=config.market.speed_e8 / 1e8,
            window=min(config.market.window_records, config.rings.market // 2, config.rings.sim // 2),
            timer_ns=config.market.timer_ms * 1_000_000,
            drain_ns=DRAIN_NS + 4_000 * latency_us,
        )
        own = ("books", "scratch", "top_scratch", "conflating")
        addresses = {name: self.address(f"market.{name}") for name in own}
        addresses |= {"market": self.address("ring.market"), "sim": self.address("ring.sim") if is_heard else 0}
        addresses |= {
            "tops": self.address("tops"),
            "time": self.address("time"),
            "h_decode": self.address("hist.decode"),
        }
        state, books = self.state("market_data"), self.segment.region("market.books")
        market_wiring.wire(state, addresses, books, self.instruments["tick"], config.market.book_levels, pace)
        return feed.wire(site, state)

    def _wire_strategy(self) -> Stage:
        n, levels = len(self.instruments), self.config.market.book_levels
        sizes = strategy_wiring.region_sizes(self.strategy, n, levels, ORDER_SLOTS["strategy"])
        places = {name: "state.strategy" if name == "state" else f"strategy.{name}" for name in sizes}
        regions = {name: self.segment.region(place) for name, place in places.items()}
        rates = [self.config.risk.for_symbol(item.symbol).rates for item in self.config.instruments]
        ticks = self.instruments["tick"]
        strategy_wiring.init_regions(regions, self.strategy, n, levels, ORDER_SLOTS["strategy"], rates, ticks)
        addresses = {name: self.address(place) for name, place in places.items()}
        addresses |= {ring: self.address(f"ring.{ring}") for ring in ("market", "updates", "intents")}
        addresses |= {f"h_{hop}": self.address(f"hist.{hop}") for hop in ("market_to_strategy", "strategy")}
        addresses |= {name: self.address(name) for name in ("instruments", "halt")}
        state, epoch = self.state("strategy"), self.segment.epoch
        strategy_wiring.wire(state, self.strategy, addresses, n_instruments=n, levels=levels, epoch=epoch)
        told = strategy_wiring.fault_service(state, self.strategy, regions["fault"])
        return self._stage("strategy", strategy_stage.step_entry, service=told)

    def _wire_risk(self) -> Stage:
        limits = self.segment.region("risk.limits").view(risk_limits.LIMITS)
        for index, item in enumerate(self.config.instruments):
            limits[index] = risk_limits.limits_row(self.config.risk.for_symbol(item.symbol))[0]
            self.segment.region("gateway.max_ages").view(np.int64)[index] = risk_limits.oldest_to_send(limits[index])
        table_init(self.segment.region("risk.table"), ORDER_SLOTS["risk"])
        self._set(
            "risk",
            {
                "intents": "ring.intents", "orders": "ring.orders", "reports": "ring.reports",
                "updates": "ring.updates", "market": "ring.market", "progress": "progress", "halt": "halt",
                "time": "time", "clock": "clock", "tops": "tops", "instruments": "instruments", "limits": "risk.limits",
                "positions": "risk.positions", "table": "risk.table", "rates": "risk.rates",
                "h_strategy_to_risk": "hist.strategy_to_risk", "h_risk": "hist.risk",
                "h_tick_to_risk": "hist.tick_to_risk",
            },
            {"n_instruments": len(self.instruments)},
        )  # fmt: skip
        return self._stage("risk", risk_stage.step_entry)

    def _wire_gateway(self, orders: Orders, site: Site) -> Wired:
        table_init(self.segment.region("gateway.table"), ORDER_SLOTS["gateway"])
        seen_init(self.segment.region("gateway.seen"), SEEN_FILLS)
        state = self._set(
            "gateway",
            {
                "orders": "ring.orders", "reports": "ring.reports", "progress": "progress",
                "halt": "halt", "time": "time", "clock": "clock", "max_ages": "gateway.max_ages",
                "table": "gateway.table", "seen": "gateway.seen",
                "h_risk_to_gateway": "hist.risk_to_gateway", "h_tick_to_order": "hist.tick_to_order",
            },
            {"sim": self.address("ring.sim") if orders.hears_market else 0},
        )  # fmt: skip
        return orders.wire(site, state)

    # What the supervisor reads and writes.

    def stop_word(self) -> np.ndarray:
        """The word that ends every duty cycle."""
        return self.segment.region("stop")[:8].view(np.uint64)

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
        return {name: int(self.status(name)["heartbeat_tsc"][0]) for name in STAGES}

    def depths(self) -> dict[str, int]:
        """Unread records of each ring."""
        rings = {spec.name: self.segment.record(f"ring.{spec.name}", RING) for spec in RINGS}
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

    def tripped(self) -> str | None:
        """Which stage has stopped itself because something happened that must not, if any; the one that hears it first."""
        return next((name for name in ("gateway", "risk") if self.state(name)["tripped"][0]), None)

    def is_quiet(self) -> bool:
        """The source has ended and nothing is left in any ring."""
        return bool(self.status("market_data")["finished"][0]) and not any(self.depths().values())
