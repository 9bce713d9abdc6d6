"""The map made real: regions laid out, stages wired, and what the supervisor reads and writes.

What there is to lay out and to join stands in :mod:`hftpipe.topology.graph`.
"""

import os
from collections.abc import Callable
from dataclasses import fields
from typing import TYPE_CHECKING, Any

import numpy as np

from hftpipe.config import Config, secrets_from_env
from hftpipe.core.machine import clock as clock_module
from hftpipe.core.machine.clock import CLOCK
from hftpipe.core.machine.hist import HIST_BYTES
from hftpipe.core.schema.instruments import INSTRUMENT, INSTRUMENT_BYTES, SYMBOLS, symbols_table
from hftpipe.core.schema.records import RECORD_BYTES
from hftpipe.core.shared.cell import CELL_BYTES, HALT_CELL
from hftpipe.core.shared.event_time import EVENT_TIME, REAL_TIME_MULT, speed_mult
from hftpipe.core.shared.ring import RING, ring_bytes, ring_init
from hftpipe.core.shared.shm import Segment
from hftpipe.core.shared.stage import STATUS, Stage
from hftpipe.core.trading import book as book_module
from hftpipe.core.trading.order_table import table_bytes, table_init
from hftpipe.core.trading.position import POSITION
from hftpipe.gateway import stage as gateway_stage
from hftpipe.market import stage as market_stage
from hftpipe.market import state as market_state
from hftpipe.market.publish import RESET_RECORDS
from hftpipe.market.sources.text import ReplaySource, symbol_ids
from hftpipe.record.tape.recorder import recorder_bytes
from hftpipe.risk import limits as risk_limits
from hftpipe.risk import rate as risk_rate
from hftpipe.risk import stage as risk_stage
from hftpipe.simulation.flow import entries as sim_feed
from hftpipe.simulation.flow import flow as sim_flow
from hftpipe.simulation.flow.state import flow_bytes
from hftpipe.strategy import stage as strategy_stage
from hftpipe.strategy import wiring as strategy_wiring
from hftpipe.strategy.compile.loader import LoadedStrategy
from hftpipe.topology.configured import demo_market, instrument_rows
from hftpipe.topology.graph import DRAIN_NS, HOPS, ORDER_SLOTS, RINGS, STAGES, TAPES
from hftpipe.venues.binance import sync as binance_sync
from hftpipe.venues.message import MAX_LEVELS, message_bytes
from hftpipe.venues.paper import exchange as sim_exchange

if TYPE_CHECKING:
    from hftpipe.venues.nasdaq.itch.wiring import Joined

STATE_OF = {
    "market_data": market_state.STATE,
    "strategy": strategy_stage.STATE,
    "risk": risk_stage.STATE,
    "gateway": gateway_stage.STATE,
}


def market_source(config: Config) -> str:
    """What the market stage reads: ``synthetic``, ``replay``, or ``udp``, whatever the venue there plays."""
    return "udp" if config.pipeline.venue == "udp" else config.market.source


def region_sizes(config: Config, strategy: LoadedStrategy) -> dict[str, int]:
    """Bytes of every region of the segment, in order."""
    n, levels = len(config.instruments), config.market.book_levels
    sizes = {
        "stop": 64, "halt": CELL_BYTES, "progress": 64, "clock": CLOCK.itemsize, "time": EVENT_TIME.itemsize,
        "usage": 64 * len(STAGES), "source_errors": 4096,
    }  # fmt: skip
    sizes |= {f"status.{name}": STATUS.itemsize for name in STAGES}
    sizes |= {f"state.{name}": STATE_OF[name].itemsize for name in STAGES}
    sizes |= {"instruments": INSTRUMENT_BYTES * n, "symbols": SYMBOLS.itemsize, "tops": CELL_BYTES * n}
    sizes |= {f"hist.{hop}": HIST_BYTES for hop, _, _ in HOPS}
    sizes |= {f"ring.{spec.name}": ring_bytes(getattr(config.rings, spec.name)) for spec in RINGS}
    of_strategy = strategy_wiring.region_sizes(strategy, n, levels, ORDER_SLOTS["strategy"])
    sizes |= {f"strategy.{name}": size for name, size in of_strategy.items() if name != "state"}
    sizes |= {
        "market.books": n * _book_stride(levels),
        "market.syncs": n * binance_sync.sync_bytes(),
        "market.message": message_bytes(),
        # The most that one update can be: a whole book, a decoded message, an event of the flow.
        "market.scratch": RECORD_BYTES * max(2 * levels + RESET_RECORDS, MAX_LEVELS, sim_feed.MAX_RECORDS + 1),
        "market.top_scratch": CELL_BYTES,
        "market.conflating": 64 * ((n + 63) // 64),
        "market.flows": n * flow_bytes() if market_source(config) == "synthetic" else 64,
        "risk.limits": n * risk_limits.LIMITS_BYTES,
        "risk.rates": n * risk_rate.RATE.itemsize,
        "risk.positions": n * POSITION.itemsize,
        "risk.table": table_bytes(ORDER_SLOTS["risk"]),
        "gateway.max_ages": 64 * ((n + 7) // 8),
        "gateway.table": table_bytes(ORDER_SLOTS["gateway"]),
        "exchange": sim_exchange.exchange_bytes(n, ORDER_SLOTS["exchange"], levels),
    }
    if config.pipeline.venue == "udp":
        sizes |= udp_sizes(n, levels)
    if config.record.folder:
        sizes |= {region: ring_bytes(config.rings.tape) for region in TAPES.values()}
        sizes |= {"recorder": recorder_bytes(len(TAPES)), "recorder.stop": 64}
    return sizes


def udp_sizes(n_instruments: int, levels: int) -> dict[str, int]:
    """Bytes of the regions that the UDP venue needs. Its code is imported (and compiled) only where it is used."""
    from hftpipe.venues.nasdaq.itch.wiring import itch_bytes
    from hftpipe.venues.nasdaq.ouch.state import venue_bytes

    return {"itch": itch_bytes(n_instruments, levels), "ouch": venue_bytes(n_instruments)}


def ouch_password() -> str:
    """The password of the order account, from HFTPIPE_SECRET_OUCH_PASSWORD; empty if there is none."""
    secret = secrets_from_env(os.environ).get("ouch_password")
    return secret.reveal() if secret else ""


def _book_stride(levels: int) -> int:
    return (book_module.book_bytes(levels) + 127) // 128 * 128


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
            "source": config.market.replay or config.market.source,
        }
        #: The joined multicast lines (venue udp only).
        self.feed: Joined | None = None
        self.segment: Segment = create(config.pipeline.name, region_sizes(config, strategy), meta, epoch)
        calibrate(self.segment.record("clock", CLOCK))
        self._wire(start_ts)

    def _wire(self, start_ts: int) -> None:
        self.segment.region("instruments")[:] = self.instruments.view(np.uint8)
        self.segment.region("symbols")[:] = symbols_table(self.instruments).view(np.uint8)
        for spec in RINGS:
            ring_init(self.segment.region(f"ring.{spec.name}"), getattr(self.config.rings, spec.name))
        self.stages: dict[str, Stage] = {
            "market_data": self._wire_market(start_ts),
            "strategy": self._wire_strategy(),
            "risk": self._wire_risk(),
            "gateway": self._wire_gateway(),
        }
        if self.config.pipeline.venue == "udp":
            self._wire_udp_market(start_ts)
            self.stages["gateway"] = self._wire_udp_gateway(start_ts)
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

    def _wire_market(self, start_ts: int) -> Stage:
        config, stride = self.config, _book_stride(self.config.market.book_levels)
        latency_us = config.sim.latency_new_us + config.sim.latency_cancel_us + config.sim.latency_report_us
        speed = config.market.speed_e8 / 1e8
        source_name = market_source(config)
        state = self._set(
            "market_data",
            {
                "market": "ring.market", "sim": "ring.sim", "tops": "tops", "time": "time", "books": "market.books",
                "syncs": "market.syncs", "message": "market.message", "symbols": "symbols",
                "scratch": "market.scratch", "top_scratch": "market.top_scratch",
                "conflating": "market.conflating", "h_decode": "hist.decode", "flows": "market.flows",
            },
            {
                "book_stride": stride, "sync_stride": binance_sync.sync_bytes(),
                "flow_stride": flow_bytes(), "n_instruments": len(self.instruments),
                "flow_next_ts": sim_feed.next_ts_entry.address, "flow_step": sim_feed.step_entry.address, "flow_snapshot": sim_feed.snapshot_entry.address,
                "source": market_state.REPLAY if source_name == "replay" else market_state.SYNTHETIC,
                "inverse_speed": 1.0 / speed if speed else 0.0, "hold_back": int(speed == 0), "speed_mult": speed_mult(speed),
                "window": min(config.market.window_records, config.rings.market // 2, config.rings.sim // 2),
                "timer_ns": config.market.timer_ms * 1_000_000, "drain_ns": DRAIN_NS + 4_000 * latency_us,
            },
        )  # fmt: skip
        for index, row in enumerate(self.instruments):
            self._init_book("market.books", index)
            sync = self._slice("market.syncs", index, binance_sync.sync_bytes())
            binance_sync.sync_init(sync, binance_sync.MARKETS[config.instruments[index].venue])
            if source_name == "synthetic":
                flow = self._slice("market.flows", index, flow_bytes())
                seed = config.market.seed + index
                rate_per_s = config.market.event_rate_per_s
                sim_flow.flow_init(flow, row, index, seed, rate_per_s, start_ts, demo_market(config.market))
        if source_name != "replay":
            return self._stage("market_data", market_stage.step_entry)
        message = self.segment.region("market.message")
        source = ReplaySource(config.market.replay, state, symbol_ids(self.instruments), message)
        return self._stage(
            "market_data", market_stage.step_entry, service=source.service,
            opened=lambda: source.open(self.report_source_error), closed=source.close,
        )  # fmt: skip

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

    def _wire_gateway(self) -> Stage:
        sim = self.config.sim
        model = sim_exchange.SimModel(
            queue_model=sim.queue_model, power_n=sim.power_n, latency_new_ns=sim.latency_new_us * 1000,
            latency_cancel_ns=sim.latency_cancel_us * 1000, latency_report_ns=sim.latency_report_us * 1000,
        )  # fmt: skip
        memory, levels = self.segment.region("exchange"), self.config.market.book_levels
        sim_exchange.exchange_init(memory, self.instruments, model, ORDER_SLOTS["exchange"], levels)
        table_init(self.segment.region("gateway.table"), ORDER_SLOTS["gateway"])
        self._set(
            "gateway",
            {
                "orders": "ring.orders", "reports": "ring.reports", "sim": "ring.sim", "progress": "progress",
                "halt": "halt", "time": "time", "clock": "clock", "max_ages": "gateway.max_ages",
                "table": "gateway.table", "venue": "exchange",
                "h_risk_to_gateway": "hist.risk_to_gateway", "h_tick_to_order": "hist.tick_to_order",
            },
            {
                "venue_submit": sim_exchange.submit_entry.address, "venue_market": sim_exchange.market_entry.address,
                "venue_poll": sim_exchange.poll_entry.address,
            },
        )  # fmt: skip
        return self._stage("gateway", gateway_stage.step_entry)

    def _wire_udp_market(self, start_ts: int) -> None:
        """Put the multicast feed in the place of the embedded source; its lines are joined here, before the fork."""
        from hftpipe.market.sources.udp import udp_sink_entry
        from hftpipe.venues.nasdaq.itch.wiring import Lines, join, receive_entry

        udp, state = self.config.udp, self.state("market_data")
        # Stages in the same process wait for the end of the step: it ends with the first datagram.
        max_datagrams = 64 if ["market_data"] in self.processes else 1
        settings = {one.name: getattr(udp, one.name) for one in fields(Lines) if hasattr(udp, one.name)}
        if udp.embedded and settings["receive"] == "auto" and not udp.interface.startswith("127."):
            # A packet ring does not see a sender on this machine but on the loopback interface.
            settings["receive"] = "socket"
        self.feed = join(
            self.segment.region("itch"), self.instruments, self.config.market.book_levels,
            Lines(**settings, max_datagrams=max_datagrams), clock_module.midnight_ns(start_ts), udp_sink_entry.address,
            self.address("state.market_data"), self.address("hist.kernel_to_market"), self.address("clock"), self.address("time"),
        )  # fmt: skip
        state["source"], state["sim"], state["hold_back"], state["inverse_speed"] = market_state.UDP, 0, 0, 1.0
        state["speed_mult"] = REAL_TIME_MULT
        state["receive"], state["receiver"], state["out"] = receive_entry.address, self.feed.receiver, self.feed.out
        state["books"], state["book_stride"] = self.feed.books, self.feed.book_stride

    def _wire_udp_gateway(self, start_ts: int) -> Stage:
        """Put the OUCH venue in the place of the paper exchange."""
        from hftpipe.venues.nasdaq.ouch import venue
        from hftpipe.venues.nasdaq.ouch.link import TCP, UDP
        from hftpipe.venues.nasdaq.ouch.state import draw_session

        udp, memory = self.config.udp, self.segment.region("ouch")
        venue.warm()
        venue.venue_init(
            memory, self.segment.region("instruments").view(INSTRUMENT), self.address("clock"),
            server=udp.order_address, port=udp.order_port, transport=TCP if udp.transport == "tcp" else UDP,
            user=udp.user, password=ouch_password(), session=draw_session(), midnight_ns=clock_module.midnight_ns(start_ts),
            login_ns=int(udp.login_timeout_s * 1e9), cancel_after_ms=udp.cancel_after_ms,
        )  # fmt: skip
        state = self.state("gateway")
        state["sim"], state["venue_market"], state["venue"] = 0, 0, self.address("ouch")
        state["venue_submit"], state["venue_poll"] = venue.submit_entry.address, venue.poll_entry.address
        state["venue_unanswered"] = venue.unanswered_entry.address
        opened: list[Any] = []

        def close() -> None:
            venue.close(memory, opened.pop(), clock_module.steady_ns())

        return self._stage(
            "gateway", gateway_stage.step_entry, opened=lambda: opened.append(venue.open_venue(memory)), closed=close
        )

    def _slice(self, region: str, index: int, stride: int) -> np.ndarray:
        return self.segment.region(region)[index * stride : (index + 1) * stride]

    def _init_book(self, region: str, index: int) -> None:
        levels = self.config.market.book_levels
        tick = int(self.instruments["tick"][index])
        book_module.book_init(self._slice(region, index, _book_stride(levels)), index, levels, tick)

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
        """Which stage has stopped itself because something happened that must not, if any."""
        return next((name for name in ("risk", "gateway") if self.state(name)["tripped"][0]), None)

    def is_quiet(self) -> bool:
        """The source has ended and nothing is left in any ring."""
        return bool(self.status("market_data")["finished"][0]) and not any(self.depths().values())
