"""Planted bugs: each is what a checker must catch. A checker that has never been seen failing proves nothing.

A mutant sits between the stages and their memory: it wipes a term, moves a pointer or changes a record just before or
after a stage steps, so that the pipeline behaves as if that stage had the bug. ``--mutant NAME`` plants one.
"""

from typing import Any

import numpy as np

from hftpipe.core.machine.mem import I64
from hftpipe.core.schema.event_time import EVENT_TIME
from hftpipe.core.schema.position import POSITION
from hftpipe.core.schema.records import BID, BUY, INVALID, REPLACED, UNASKED, VALID
from hftpipe.core.trading.book import BOOK, book_level, book_set
from hftpipe.core.trading.order_table import CANCELED, ORDER, TABLE, TABLE_HEADER_BYTES, WORKING
from hftpipe.risk.limits import LIMITS
from hftpipe.simulation.world.truth import fields_of
from hftpipe.venues.paper.state import EXCHANGE, MARKET, MARKET_BYTES


def orders_of(table: np.ndarray) -> np.ndarray:
    """All slots of an order table as an ORDER array."""
    capacity = int(table[:TABLE_HEADER_BYTES].view(TABLE)["capacity"][0])
    return table[TABLE_HEADER_BYTES:][: capacity * ORDER.itemsize].view(ORDER)


class Mutant:
    """A planted bug; ``caught_by`` names the checkers that may see it first."""

    caught_by: tuple[str, ...] = ()
    #: Run number after a restart.
    next_epoch = 2

    def start(self, world: Any) -> None:
        """Called when the world is wired."""

    def before(self, world: Any, stage: str) -> None:
        """Called before a stage of a kind steps."""

    def after(self, world: Any, stage: str) -> None:
        """Called after a stage of a kind has stepped, before anything is checked."""


class RiskIgnoresWorkingOrders(Mutant):
    """The position limit without its working-order term."""

    caught_by = ("limit", "exposure")

    def before(self, world: Any, stage: str) -> None:
        if stage == "risk":
            rows = world.region("risk.positions").view(POSITION)
            rows["working_buy"] = rows["working_sell"] = 0


class RiskIgnoresPosition(Mutant):
    """The position limit without the position."""

    caught_by = ("limit", "exposure")

    def before(self, world: Any, stage: str) -> None:
        if stage == "risk":
            rows = world.region("risk.positions").view(POSITION)
            self._held = rows["qty"].copy()
            rows["qty"] = 0

    def after(self, world: Any, stage: str) -> None:
        if stage == "risk":
            world.region("risk.positions").view(POSITION)["qty"] += self._held


class RiskInventsLimits(Mutant):
    """An instrument without limits gets those of another."""

    caught_by = ("closed", "limit")

    def start(self, world: Any) -> None:
        rows = world.region("risk.limits").view(LIMITS)
        without = rows["max_position"] == 0
        for field in ("max_order_qty", "max_market_qty", "max_position"):
            rows[field][without] = 10**9
        rows["max_order_notional"][without] = 10**12


class RiskForgetsTheMid(Mutant):
    """Fills are measured against their own price: nothing was ever captured."""

    caught_by = ("money",)

    def after(self, world: Any, stage: str) -> None:
        if stage == "risk":
            rows = world.region("risk.positions").view(POSITION)
            rows["at_mid"] = rows["cost"] - rows["realised"]


class RiskTrustsAnyBook(Mutant):
    """A book that is not VALID counts as one."""

    caught_by = ("closed",)

    def before(self, world: Any, stage: str) -> None:
        if stage == "risk":
            self._states = world.tops["state"].copy()
            world.tops["state"] = VALID

    def after(self, world: Any, stage: str) -> None:
        if stage == "risk":
            world.tops["state"] = self._states


class LooksAtNoClock(Mutant):
    """A stage that takes the time of the newest event for now."""

    caught_by = ("age",)
    stage = "risk"

    def before(self, world: Any, stage: str) -> None:
        if stage == self.stage:
            time = world.region("time").view(EVENT_TIME)
            self._mult = time["mult"].copy()
            time["mult"] = 0

    def after(self, world: Any, stage: str) -> None:
        if stage == self.stage:
            world.region("time").view(EVENT_TIME)["mult"] = self._mult


class GatewayLooksAtNoClock(LooksAtNoClock):
    """The same in the gateway."""

    stage = "gateway"


class RiskForgetsRates(Mutant):
    """What was approved before is forgotten at every step."""

    caught_by = ("rate",)

    def before(self, world: Any, stage: str) -> None:
        if stage == "risk":
            world.region("risk.rates")[:] = 0


class GatewayCountsRepeatedFills(Mutant):
    """No test of execution numbers."""

    caught_by = ("money", "state", "exposure")

    def start(self, world: Any) -> None:
        for port in world.ports:
            port.venue.hide_numbers = True


class GatewayIgnoresHalt(Mutant):
    """The gateway looks at another cell than the one that is set."""

    caught_by = ("halt",)

    def start(self, world: Any) -> None:
        self._cell = np.zeros(16, np.uint64)
        for state in world.states("gateway").values():
            state["halt"] = self._cell.ctypes.data


class GatewayCancelsOnce(Mutant):
    """A cancel of a stop that was refused is not sent again."""

    caught_by = ("halt",)

    def after(self, world: Any, stage: str) -> None:
        if stage == "gateway":
            for table in world.tables("gateway").values():
                orders = orders_of(table)
                orders["cancel_due_ns"][orders["cancels"] > 0] = 2**62


class GatewayStandsStill(Mutant):
    """The paper venue's time does not go on without its market."""

    caught_by = ("halt",)

    def before(self, world: Any, stage: str) -> None:
        if stage == "gateway":
            for state in world.states("gateway").values():
                state["quiet_ns"] = world.now


class RiskForgetsReplace(Mutant):
    """Any REPLACED counts as the answer to the replace under way."""

    caught_by = ("exposure", "limit", "desk")

    def before(self, world: Any, stage: str) -> None:
        if stage == "risk":
            orders = orders_of(world.region("risk.table"))
            self._wanted = {int(one["id"]): int(one["new_qty"]) for one in orders[orders["new_qty"] > 0]}

    def after(self, world: Any, stage: str) -> None:
        if stage != "risk":
            return
        orders, positions = orders_of(world.region("risk.table")), world.region("risk.positions").view(POSITION)
        read = [
            raw
            for ring in world.rings_of("reports")
            for raw in ring.unread[: int(ring.header["next_out"][0]) - ring.popped_count]
        ]
        for raw in read:
            report = fields_of(raw)
            wanted = self._wanted.get(report.id, 0)
            if report.kind == REPLACED and report.flags & UNASKED and wanted:
                for order in orders[(orders["id"] == report.id) & (orders["new_qty"] == wanted)]:
                    at = np.flatnonzero(orders["id"] == order["id"])[0]
                    self._forget(orders[at : at + 1], positions)

    @staticmethod
    def _forget(order: np.ndarray, positions: np.ndarray) -> None:
        field = "working_buy" if order["side"][0] == BUY else "working_sell"
        left = max(int(order["qty"][0] - order["filled"][0]), 0)
        positions[field][int(order["instrument"][0])] += left - int(order["user"][0])
        order["user"], order["new_qty"], order["new_price"] = left, 0, 0


class GatewaySendsTwice(Mutant):
    """One approval, two sends."""

    caught_by = ("id", "exposure")

    def start(self, world: Any) -> None:
        for port in world.ports:
            port.venue.state["twice"] = 1


class GatewayLosesFill(Mutant):
    """One fill in the run never arrives."""

    caught_by = ("money", "liveness", "exposure")

    def start(self, world: Any) -> None:
        for port in world.ports:
            port.venue.lose_next = True


class MarketHidesGaps(Mutant):
    """A lost depth update goes unnoticed."""

    caught_by = ("book",)

    def start(self, world: Any) -> None:
        for port in world.ports:
            port.feed.hide_gaps = True


class StrategySkipsLevel(Mutant):
    """A level of the strategy's book goes missing now and then."""

    caught_by = ("book",)

    def after(self, world: Any, stage: str) -> None:
        if stage == "strategy" and world.rng.random() < 0.05:
            book = world.strategy_book_address(0)
            price, qty = book_level(book, I64(BID), I64(3))
            if qty:
                book_set(book, I64(BID), I64(price), I64(0))


class StrategyTrustsInvalidBook(Mutant):
    """INVALID is not taken to heart."""

    caught_by = ("book",)

    def after(self, world: Any, stage: str) -> None:
        if stage == "strategy":
            for index in range(len(world.plan.instruments)):
                at = int(world.strategy_book_address(index)) - world.pipeline.address("strategy.books")
                header = world.region("strategy.books")[at : at + BOOK.itemsize].view(BOOK)
                if header["state"] == INVALID and header["update_id"] != 0:
                    header["state"] = VALID


class RingOverwrites(Mutant):
    """A writer that thinks its reader is always done."""

    caught_by = ("ring",)
    ring, writer = "intents", "strategy"

    def before(self, world: Any, stage: str) -> None:
        if stage == self.writer:
            for ring in world.rings_of(self.ring):
                ring.header["known_out"] = ring.header["next_in"]


class ReportsOverwrite(RingOverwrites):
    """The same on the way back."""

    ring, writer = "reports", "gateway"


class RingTears(Mutant):
    """A record changes between its writer and its reader."""

    caught_by = ("ring",)

    def after(self, world: Any, stage: str) -> None:
        for ring in world.rings_of("orders"):
            if ring.unread and stage == "market_data":
                ring.slots[ring.popped_count % ring.capacity][40] ^= 1


class RiskForgetsTerminal(Mutant):
    """An ended order comes back to life."""

    caught_by = ("state",)

    def after(self, world: Any, stage: str) -> None:
        if stage == "risk" and world.step_count % 64 == 0:
            orders = orders_of(world.region("risk.table"))
            ended = np.flatnonzero(orders["state"] == CANCELED)
            if len(ended):
                orders["state"][ended[0]] = WORKING


class RestartKeepsEpoch(Mutant):
    """A restart counts client ids from the start again."""

    caught_by = ("id",)
    next_epoch = 1


class RestartForgetsHalt(Mutant):
    """A restart trades although nobody has cleared the halt of the run before."""

    caught_by = ("closed", "halt")

    def start(self, world: Any) -> None:
        world.pipeline.halt_cell()["halted"] = 0


class SnapshotsNeverCome(Mutant):
    """Whoever runs the connection forgets to ask for a book again."""

    caught_by = ("liveness",)

    def after(self, world: Any, stage: str) -> None:
        for port in world.ports:
            port.feed.is_answering = world.step_count < 300


class VenueInventsLiquidity(Mutant):
    """The best prices of the venue lie where nothing was ever offered, by the smallest unit there is."""

    caught_by = ("taken",)

    def before(self, world: Any, stage: str) -> None:
        for port in world.ports:
            self._invent(port.region("exchange"), len(port.ids))

    @staticmethod
    def _invent(exchange: np.ndarray, count: int) -> None:
        at = int(exchange[: EXCHANGE.itemsize].view(EXCHANGE)["markets"][0]) - exchange.ctypes.data
        for market in exchange[at : at + count * MARKET_BYTES].view(MARKET):
            book = exchange[int(market["book"]) - exchange.ctypes.data :][: BOOK.itemsize].view(BOOK)
            book["ask"] += book["ask"] % 10 == 0
            book["bid"] -= book["bid"] % 10 == 0


MUTANTS: dict[str, type[Mutant]] = {
    "risk_ignores_working_orders": RiskIgnoresWorkingOrders,
    "risk_ignores_position": RiskIgnoresPosition,
    "risk_invents_limits": RiskInventsLimits,
    "risk_forgets_the_mid": RiskForgetsTheMid,
    "risk_trusts_any_book": RiskTrustsAnyBook,
    "risk_forgets_terminal": RiskForgetsTerminal,
    "risk_looks_at_no_clock": LooksAtNoClock,
    "risk_forgets_rates": RiskForgetsRates,
    "gateway_looks_at_no_clock": GatewayLooksAtNoClock,
    "gateway_counts_repeated_fills": GatewayCountsRepeatedFills,
    "gateway_ignores_halt": GatewayIgnoresHalt,
    "gateway_cancels_once": GatewayCancelsOnce,
    "gateway_stands_still": GatewayStandsStill,
    "risk_forgets_replace": RiskForgetsReplace,
    "gateway_sends_twice": GatewaySendsTwice,
    "gateway_loses_fill": GatewayLosesFill,
    "market_hides_gaps": MarketHidesGaps,
    "strategy_skips_level": StrategySkipsLevel,
    "strategy_trusts_invalid_book": StrategyTrustsInvalidBook,
    "intents_overwrite": RingOverwrites,
    "reports_overwrite": ReportsOverwrite,
    "ring_tears": RingTears,
    "restart_keeps_epoch": RestartKeepsEpoch,
    "restart_forgets_halt": RestartForgetsHalt,
    "snapshots_never_come": SnapshotsNeverCome,
    "venue_invents_liquidity": VenueInventsLiquidity,
}
