"""Invariant checkers of the world: each knows one rule, and judges by the truth and by copies of its own.

A checker sees every step of every stage, before and after, and the end. What it finds is a :class:`Violation`, which
names the rule and the facts. They do not ask the stages whether all is well: they read memory.
"""

import zlib
from collections.abc import Callable
from typing import Any

import numpy as np

from hftpipe.core.schema import reasons
from hftpipe.core.schema.position import POSITION
from hftpipe.core.schema.records import BUY, CANCEL, FILL, FOK, IOC, MARKET, NEW, REDUCE_ONLY, REPLACE, TIF_MASK, VALID
from hftpipe.core.schema.ring import RING, RING_HEADER_BYTES
from hftpipe.core.trading.order_table import FILLED, ORDER, STATE_NAMES, TABLE, TABLE_HEADER_BYTES
from hftpipe.simulation.campaign import Violation
from hftpipe.simulation.world.truth import SCALE, Fields, fields_of


class Checker:
    """One rule. ``world`` gives the pipeline's memory, the plan, the truth and the rings' mirrors."""

    name = ""

    def __init__(self, world: Any) -> None:
        self.world = world

    def before(self, stage: str) -> None:
        """Called before a stage steps."""

    def after(self, stage: str) -> None:
        """Called after a stage has stepped."""

    def check(self) -> None:
        """Called after every step, when the truth has been told what happened in it."""

    def end(self) -> None:
        """Called once everything has come to rest."""

    def fail(self, facts: str) -> None:
        """Report a broken rule."""
        raise Violation(self.name, facts)


def that_look(checkers: list[Checker], moment: str) -> list[Callable[[str], None]]:
    """The methods of the name ``moment`` of those checkers that have one of their own: most look seldom, a world steps often."""
    return [getattr(each, moment) for each in checkers if getattr(type(each), moment) is not getattr(Checker, moment)]


class RingMirror:
    """A ring as Python saw it: the slots as they must look, and what was pushed and popped in the last step."""

    def __init__(self, name: str, writer: str, reader: str, memory: np.ndarray) -> None:
        self.name, self.writer, self.reader = name, writer, reader
        self.header = memory[:RING_HEADER_BYTES].view(RING)
        self.capacity = int(self.header["capacity"][0])
        self.slots = memory[RING_HEADER_BYTES:][: self.capacity * 64].reshape(self.capacity, 64)
        self.image = self.slots.tobytes()
        self.pushed_count = self.popped_count = 0
        self.unread: list[bytes] = []
        self.pushed: list[Fields] = []
        self.popped: list[Fields] = []
        self.digest = 0


class RingChecker(Checker):
    """I9: records are read once, in order, as written; the writer never overwrites what is unread."""

    name = "ring"

    def before(self, stage: str) -> None:
        for ring in self.world.rings.values():
            if ring.reader == stage and ring.slots.tobytes() != ring.image:
                self.fail(f"{ring.name}: a record changed between its writer and its reader")

    def after(self, stage: str) -> None:
        for ring in self.world.rings.values():
            ring.pushed, ring.popped = [], []
            if ring.writer == stage:
                self._pushed(ring)
            elif ring.header["next_in"][0] != ring.pushed_count:
                self.fail(f"{ring.name}: {stage} is not its writer and has written to it")
            if ring.reader == stage:
                self._popped(ring)
            elif ring.header["next_out"][0] != ring.popped_count:
                self.fail(f"{ring.name}: {stage} is not its reader and has read from it")
        self._same_market()

    def _pushed(self, ring: RingMirror) -> None:
        written = int(ring.header["next_in"][0])
        if written == ring.pushed_count:
            return
        if written - ring.popped_count > ring.capacity:
            self.fail(f"{ring.name}: {written - ring.popped_count} unread records in {ring.capacity} slots")
        for index in range(ring.pushed_count, written):
            raw = ring.slots[index % ring.capacity].tobytes()
            fields = fields_of(raw)
            if fields.seq != index + 1:
                self.fail(f"{ring.name}: record {index} has sequence {fields.seq}")
            ring.unread.append(raw)
            ring.pushed.append(fields)
            # The stamps of the time-stamp counter differ from run to run.
            ring.digest = zlib.crc32(raw[24:], ring.digest)
        ring.pushed_count = written
        self._same_slots(ring, written)
        ring.image = ring.slots.tobytes()

    def _same_slots(self, ring: RingMirror, written: int) -> None:
        for back, raw in enumerate(reversed(ring.unread)):
            if ring.slots[(written - 1 - back) % ring.capacity].tobytes() != raw:
                self.fail(f"{ring.name}: unread record {written - 1 - back} was overwritten")

    def _popped(self, ring: RingMirror) -> None:
        read = int(ring.header["next_out"][0])
        if read > ring.pushed_count:
            self.fail(f"{ring.name}: {read} records read, {ring.pushed_count} written")
        count = read - ring.popped_count
        ring.popped = [fields_of(raw) for raw in ring.unread[:count]]
        del ring.unread[:count]
        ring.popped_count = read

    def _same_market(self) -> None:
        """In the paper wiring the simulated venue gets what the strategy gets."""
        market, sim = self.world.rings["market"], self.world.rings["sim"]
        if self.world.plan.is_paper and (market.pushed_count, market.digest) != (sim.pushed_count, sim.digest):
            self.fail("market and sim: not the same records")


class LimitChecker(Checker):
    """I2: position with everything that may still fill stays within the limit, by the venue's truth."""

    name = "limit"

    def check(self) -> None:
        for index, limit in enumerate(self.world.plan.max_positions):
            worst = self.world.truth.worst(index)
            if worst > limit:
                balance = self.world.truth.balances[index]
                self.fail(f"instrument {index}: worst {worst} > {limit}; position {balance.qty}, {balance.working}")


class ExposureChecker(Checker):
    """I2: what risk counts for an instrument is never less than what can still become of it, by the venue's truth."""

    name = "exposure"

    def __init__(self, world: Any) -> None:
        super().__init__(world)
        self._rows = world.region("risk.positions").view(POSITION)

    def after(self, stage: str) -> None:
        if stage == "risk":
            self.check()

    def check(self) -> None:
        if not self.world.reports_arrive:
            return
        for index, balance in enumerate(self.world.truth.balances):
            row = self._rows[index]
            held = int(row["qty"]) + int(row["working_buy"]), int(row["working_sell"]) - int(row["qty"])
            needed = balance.qty + balance.working[0], balance.working[1] - balance.qty
            if held[0] < needed[0] or held[1] < needed[1]:
                self.fail(f"instrument {index}: risk counts {held} (buying, selling), the venue can make {needed}")


class IdChecker(Checker):
    """I1, I3: a client id is sent once, ever; nothing is sent that risk did not approve, as it approved it."""

    name = "id"

    def __init__(self, world: Any) -> None:
        super().__init__(world)
        self._intended: dict[tuple[int, int, int, int], int] = {}
        self._approved: dict[tuple[int, int, int, int], int] = {}

    def after(self, stage: str) -> None:
        for fields in self.world.rings["intents"].pushed:
            self._count(self._intended, fields, 1)
        for fields in self.world.rings["orders"].pushed:
            if fields.kind != CANCEL and self._count(self._intended, fields, -1) < 0:
                self.fail(f"risk sent on kind {fields.kind} of {fields.id:#x}, which nobody asked for like that")
            self._count(self._approved, fields, 1)

    @staticmethod
    def _count(table: dict[tuple[int, int, int, int], int], fields: Fields, by: int) -> int:
        key = (fields.kind, fields.id, fields.price, fields.qty)
        table[key] = table.get(key, 0) + by
        return table[key]

    def check(self) -> None:
        truth = self.world.truth
        if truth.repeated_ids:
            self.fail(f"client id {truth.repeated_ids[0]:#x} sent twice")
        if truth.problems:
            self.fail(truth.problems[0])
        for request in self.world.sent_now:
            if request.kind != CANCEL and self._count(self._approved, request, -1) < 0:
                self.fail(f"kind {request.kind} of {request.id:#x} left without (or more often than) an approval")


class ClosedChecker(Checker):
    """I12: without limits, a mark, legal values and a known instrument nothing is approved and nothing leaves."""

    name = "closed"

    def after(self, stage: str) -> None:
        if stage == "risk":
            for fields in self.world.rings["orders"].pushed:
                if fields.kind != CANCEL:
                    self._judge(fields)

    def _judge(self, order: Fields) -> None:
        for text, is_fine in self._tests(order):
            if not is_fine:
                what = f"price {order.price}, quantity {order.qty}, flags {order.flags}, instrument {order.instrument}"
                self.fail(f"approved kind {order.kind} of {order.id:#x} {text}: {what}")

    def _tests(self, order: Fields) -> list[tuple[str, bool]]:
        plan, index = self.world.plan, order.instrument
        if index >= len(plan.instruments):
            return [("for an unknown instrument", False)]
        row, limits = plan.instruments[index], plan.limits[index]
        tif, top = order.flags & TIF_MASK, self.world.tops[index]
        price = order.price or int(top["ask"] if order.side == 0 else top["bid"])
        value = price * order.qty // SCALE
        return [
            ("while halted", not self.world.is_halted),
            ("without a limit", limits["max_position"] is not None),
            ("with illegal flags", order.flags & ~(TIF_MASK | REDUCE_ONLY) == 0 and tif <= MARKET and order.side <= 1),
            ("with an illegal quantity", order.qty > 0 and order.qty % row.lot_size == 0),
            ("at an illegal price", order.price % row.tick_size == 0 and (order.price > 0) == (tif != MARKET)),
            ("above the largest order", order.qty <= (limits["max_order_qty"] or 0)),
            ("above the largest value", value <= (limits["max_order_notional"] or 0)),
            ("without a valid book", top["state"] == VALID and 0 < top["bid"] < top["ask"]),
        ]

    def check(self) -> None:
        for request in self.world.sent_now:
            if request.kind == NEW and self.world.plan.max_positions[request.instrument] == 0:
                self.fail(f"an order left for instrument {request.instrument}, which has no limits")
            if request.kind == NEW and (request.flags & TIF_MASK) in (IOC, FOK) and request.price <= 0:
                self.fail(f"order {request.id:#x} left without a price")


class StateChecker(Checker):
    """I5: nothing leaves a terminal state, and no move was refused that the faults do not explain."""

    name = "state"
    EVERY = 32

    def __init__(self, world: Any) -> None:
        super().__init__(world)
        self._tables = {name: world.region(f"{name}.table") for name in ("strategy", "risk", "gateway")}
        self._seen: dict[str, tuple[np.ndarray, np.ndarray]] = {}

    def after(self, stage: str) -> None:
        if self.world.step_count % self.EVERY == 0:
            self._compare()

    def _orders(self, name: str) -> np.ndarray:
        memory = self._tables[name]
        capacity = int(memory[:TABLE_HEADER_BYTES].view(TABLE)["capacity"][0])
        return memory[TABLE_HEADER_BYTES:][: capacity * ORDER.itemsize].view(ORDER)

    def _compare(self) -> None:
        for name in self._tables:
            orders = self._orders(name)
            ids, states = orders["id"].copy(), orders["state"].copy()
            if name in self._seen:
                old_ids, old_states = self._seen[name]
                moved = (old_ids == ids) & (old_states >= FILLED) & (old_states != states)
                if moved.any():
                    at = int(np.argmax(moved))
                    was, now = STATE_NAMES[old_states[at]], STATE_NAMES[states[at]]
                    self.fail(f"{name}: order {int(ids[at]):#x} went from {was} to {now}")
            self._seen[name] = ids, states

    def end(self) -> None:
        self._compare()
        explained = self.world.venue.repeated_acks
        for name in self._tables:
            illegal = int(self._tables[name][:TABLE_HEADER_BYTES].view(TABLE)["illegal"][0])
            if illegal > explained:
                self.fail(f"{name}: {illegal} illegal moves, {explained} can be explained")
        for name, counters in (("gateway", ("illegal", "late_fills", "invariant_breaches", "unknown_reports",
                                            "overfills", "wrong_terms", "tripped")),
                               ("risk", ("illegal", "late_fills", "overfills", "not_booked", "beyond_limit"))):  # fmt: skip
            for counter in counters:
                value = int(self.world.state(name)[counter][0])
                if value > (explained if counter == "illegal" else 0):
                    self.fail(f"{name}: {counter} is {value}")


class MoneyChecker(Checker):
    """I4: the positions of risk and strategy are the venue's fills, each once, to the last unit.

    And what risk earned is explained: it values each fill at the mid it saw then, which this checker works out again.
    """

    name = "money"

    def __init__(self, world: Any) -> None:
        super().__init__(world)
        count = len(world.truth.balances)
        self._mids, self._at_mid = [0] * count, [0] * count

    def after(self, stage: str) -> None:
        if stage != "risk":
            return
        for fields in self.world.rings["reports"].popped:
            if fields.kind == FILL and fields.instrument < len(self._mids):
                self._book(fields)
        for fields in self.world.rings["intents"].popped:
            if fields.kind in (NEW, REPLACE) and fields.instrument < len(self._mids):
                self._see(fields.instrument)

    def _see(self, index: int) -> None:
        """The market stood still while risk stepped: what it saw is what stands there."""
        top = self.world.tops[index]
        if top["state"] == VALID and top["bid"] > 0 and top["ask"] > 0:
            self._mids[index] = (int(top["bid"]) + int(top["ask"])) // 2

    def _book(self, fill: Fields) -> None:
        self._see(fill.instrument)
        value = (self._mids[fill.instrument] or fill.price) * fill.qty // SCALE
        self._at_mid[fill.instrument] += value if fill.side == BUY else -value

    def end(self) -> None:
        if not self.world.reports_arrive:
            return
        for owner in ("risk", "strategy"):
            rows = self.world.region(f"{owner}.positions").view(POSITION)
            for index, truth in enumerate(self.world.truth.balances):
                row = rows[index]
                found = {
                    "bought": int(row["bought_qty"]), "sold": int(row["sold_qty"]), "qty": int(row["qty"]),
                    "fees": int(row["fees"]), "fills": int(row["fills"]),
                    # Average cost keeps this sum exact, however fills are matched.
                    "cash": int(row["realised"]) - int(row["cost"]),
                }  # fmt: skip
                wanted = {
                    "bought": truth.bought, "sold": truth.sold, "qty": truth.qty, "fees": truth.fees,
                    "fills": truth.fills, "cash": truth.sells_value - truth.buys_value,
                }  # fmt: skip
                if found != wanted:
                    self.fail(f"{owner}, instrument {index}: {found}, the venue says {wanted}")
        self._explained()

    def _explained(self) -> None:
        """Captured and inventory, from the truth's cash and this checker's mids, are the profit risk shows."""
        rows = self.world.region("risk.positions").view(POSITION)
        for index, truth in enumerate(self.world.truth.balances):
            row, mark = rows[index], self._mids[index]
            marked = abs(mark * truth.qty) // SCALE * (1 if truth.qty > 0 else -1)
            cash = truth.sells_value - truth.buys_value
            captured, inventory = self._at_mid[index] + cash, marked - self._at_mid[index]
            shown = (int(row["at_mid"]) + int(row["realised"]) - int(row["cost"]), int(row["mark"]))
            profit = int(row["realised"]) + marked - int(row["cost"])
            if shown != (captured, mark) or captured + inventory != profit:
                self.fail(
                    f"instrument {index}: captured {shown[0]} at mark {shown[1]}, wanted {captured} at {mark}; "
                    f"with inventory {inventory} it should be {profit}"
                )


class LivenessChecker(Checker):
    """I15: once faults end everything settles: books VALID, nothing pending, exposure as the venue has it, trading possible."""

    name = "liveness"

    def __init__(self, world: Any) -> None:
        super().__init__(world)
        self._approved = [0] * len(world.plan.instruments)

    def after(self, stage: str) -> None:
        if stage == "risk":
            for order in self.world.rings["orders"].pushed:
                self._approved[order.instrument] += order.kind != CANCEL

    def _has_spent_its_minute(self) -> bool:
        """No run lasts a minute: an instrument that has had its orders of one gets no more. Probes go to the first."""
        plan = self.world.plan
        tried = range(1 if plan.strategy == "hostile" else len(plan.instruments))
        limits = [plan.config.risk.for_symbol(plan.instruments[index].symbol) for index in tried]
        return all(
            limit.max_position is None or self._approved[index] >= limit.orders_per_min
            for index, limit in zip(tried, limits, strict=True)
        )

    def end(self) -> None:
        world = self.world
        if world.unsettled:
            self.fail(f"not settled after the faults ended: {world.unsettled}")
        if world.is_halted:
            return
        for index, line in enumerate(world.feed.lines):
            state = world.book_state(index)
            if state != VALID:
                self.fail(f"book of {line.symbol} is {state} after the faults ended")
        if world.accepted_since_faults == 0 and not self._has_spent_its_minute():
            refusals = world.state("risk")["rejects"][0]
            most = {reasons.NAMES.get(i, str(i)): int(n) for i, n in enumerate(refusals) if n}
            self.fail(f"no order was accepted after the faults ended; risk refused {most}")


ALL: tuple[Callable[[Any], Checker], ...] = (
    RingChecker, IdChecker, LimitChecker, ExposureChecker, ClosedChecker, StateChecker, MoneyChecker,
)  # fmt: skip
