"""Invariant checkers of the world: each knows one rule, and judges by the truth and by copies of its own.

A checker sees every step of every stage, before and after, and the end. What it finds is a :class:`Violation`, which
names the rule and the facts. They do not ask the stages whether all is well: they read memory.
"""

from collections.abc import Callable
from typing import Any

import numpy as np

from hftpipe.core.machine.jit import jit
from hftpipe.core.machine.mem import U64, view
from hftpipe.core.schema.position import POSITION
from hftpipe.core.schema.records import BUY, CANCEL, FILL, FOK, IOC, MARKET, NEW, REDUCE_ONLY, REPLACE, TIF_MASK, VALID
from hftpipe.core.trading.order_table import FILLED, ORDER, ORDER_BYTES, STATE_NAMES, TABLE, TABLE_HEADER_BYTES
from hftpipe.simulation.campaign import Violation
from hftpipe.simulation.world.truth import SCALE, Fields, TrueBalance
from hftpipe.simulation.world.words import WORD_BYTES, word_of, words_of
from hftpipe.topology.graph import kind_of

_POSITION_WORDS = POSITION.itemsize // WORD_BYTES
_NOTHING_NEEDED = (-(1 << 63), -(1 << 63))
#: An order as a checker last saw it.
_SEEN = np.dtype([("id", "u8"), ("state", "i8")], align=True)
_SEEN_BYTES, _ORDERS = np.uint64(_SEEN.itemsize), np.uint64(TABLE_HEADER_BYTES)
_QTY, _WORKING_BUY, _WORKING_SELL = (word_of(POSITION, field) for field in ("qty", "working_buy", "working_sell"))


class Checker:
    """One rule. ``world`` gives the pipeline's memory, the plan, the truth and the rings' mirrors.

    ``steps_of`` names the kinds of stage whose steps :meth:`before` and :meth:`after` are about; empty means all of them. In
    ``after`` one that ``hears_rings`` sees nothing but the records that the step has pushed or popped: where there are none
    it is not asked.
    """

    name = ""
    hears_rings = False
    steps_of: tuple[str, ...] = ()

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


def that_look(checkers: list[Checker], moment: str) -> list[Callable[..., None]]:
    """The methods of the name ``moment`` of those checkers that have one of their own: most look seldom, a world steps often."""
    return [getattr(each, moment) for each in checkers if getattr(type(each), moment) is not getattr(Checker, moment)]


def that_look_at(checkers: list[Checker], moment: str, stage: str) -> list[Callable[[str], None]]:
    """The same of those that look at the steps of a stage."""
    return that_look([each for each in checkers if not each.steps_of or kind_of(stage) in each.steps_of], moment)


class LimitChecker(Checker):
    """I2: position with everything that may still fill stays within the limit, by the venue's truth."""

    name = "limit"

    def __init__(self, world: Any) -> None:
        super().__init__(world)
        self._limits = world.plan.max_positions

    def check(self) -> None:
        for index, limit in enumerate(self._limits):
            balance = self.world.truth.balances[index]
            worst = balance.worst
            if worst > limit:
                self.fail(f"instrument {index}: worst {worst} > {limit}; position {balance.qty}, {balance.working}")


class ExposureChecker(Checker):
    """I2: what risk counts for an instrument is never less than what can still become of it, by the venues' truth.

    Of the account, and where there are several of each strategy.
    """

    name = "exposure"
    steps_of = ("risk",)

    def __init__(self, world: Any) -> None:
        super().__init__(world)
        #: What is counted, and the truth of each row.
        self._tables = [("", words_of(world.region("risk.positions")), world.truth.balances)]
        if len(world.plan.strategies) > 1:
            owned = [balance for balances in world.truth.owned for balance in balances]
            self._tables.append(("of a strategy's own, ", words_of(world.region("risk.owned")), owned))
        #: Bought and sold, a row: what the venue can make of it. News of the venue alone change that.
        self._needed: list[list[tuple[int, int]]] = []
        self._dead = ""
        self._count_needed()

    def _count_needed(self) -> None:
        """Of a venue whose reports do not arrive nothing can be asked."""
        heard = [self.world.reports_arrive(port) for port in self.world.port_at]
        self._dead = self.world.dead
        self._needed = [
            [
                (balance.qty + balance.working[0], balance.working[1] - balance.qty)
                if heard[number % len(heard)]
                else _NOTHING_NEEDED
                for number, balance in enumerate(balances)
            ]
            for _, _, balances in self._tables
        ]

    def after(self, stage: str) -> None:
        if self._dead != self.world.dead:
            self._count_needed()
        for (label, rows, _), needed in zip(self._tables, self._needed, strict=True):
            row = 0
            for buys, sells in needed:
                qty = rows[row + _QTY]
                if qty + rows[row + _WORKING_BUY] < buys or rows[row + _WORKING_SELL] - qty < sells:
                    self._fail_at(label, rows, row, (buys, sells))
                row += _POSITION_WORDS

    def check(self) -> None:
        self._count_needed()
        self.after("")

    def _fail_at(self, label: str, rows: memoryview, row: int, needed: tuple[int, int]) -> None:
        number, qty = row // _POSITION_WORDS, rows[row + _QTY]
        strategy, index = divmod(number, len(self.world.plan.instruments))
        held = qty + rows[row + _WORKING_BUY], rows[row + _WORKING_SELL] - qty
        where = f"{label}strategy {strategy}, " if label else ""
        self.fail(f"{where}instrument {index}: risk counts {held} (buying, selling), the venue can make {needed}")


class IdChecker(Checker):
    """I1, I3: a client id is sent once, ever; nothing is sent that risk did not approve, as it approved it."""

    name = "id"
    hears_rings = True
    #: They push what it counts; that nobody else does is the rings' rule.
    steps_of = ("strategy", "risk")

    def __init__(self, world: Any) -> None:
        super().__init__(world)
        self._intended: dict[tuple[int, int, int, int], int] = {}
        self._approved: dict[tuple[int, int, int, int], int] = {}

    def after(self, stage: str) -> None:
        for fields in self.world.rings["intents"].pushed:
            self._count(self._intended, fields, 1)
        for ring in self.world.rings_of("orders"):
            for fields in ring.pushed:
                if fields.kind != CANCEL and self._count(self._intended, fields, -1) < 0:
                    self.fail(f"risk sent on kind {fields.kind} of {fields.id:#x}, which nobody asked for like that")
                self._count(self._approved, fields, 1)

    @staticmethod
    def _count(table: dict[tuple[int, int, int, int], int], fields: Fields, by: int) -> int:
        key = (fields.kind, fields.id, fields.price, fields.qty)
        table[key] = table.get(key, 0) + by
        return table[key]

    def check(self) -> None:
        for truth in self.world.truth.truths:
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
    hears_rings = True
    steps_of = ("risk",)

    def after(self, stage: str) -> None:
        for ring in self.world.rings_of("orders"):
            for fields in ring.pushed:
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
            ("while halted", not self.world.halts.since(order.strategy, index)),
            ("for what is restricted", index not in plan.restricted),
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


@jit
def _left_its_end(table, seen, capacity):
    """The first slot of an order that was in a terminal state when last seen and is in another one, or -1; sees all before it."""
    for index in range(capacity):
        order = view(table + _ORDERS + U64(index) * U64(ORDER_BYTES), ORDER)
        old = view(seen + U64(index) * _SEEN_BYTES, _SEEN)
        if old.id == order.id and old.state >= FILLED and old.state != order.state:
            return np.int64(index)
        old.id, old.state = order.id, order.state
    return np.int64(-1)


class StateChecker(Checker):
    """I5: nothing leaves a terminal state, and no move was refused that the faults do not explain."""

    name = "state"
    EVERY = 32

    def __init__(self, world: Any) -> None:
        super().__init__(world)
        self._tables = {
            name: table for kind in ("strategy", "risk", "gateway") for name, table in world.tables(kind).items()
        }
        self._seen = {name: np.zeros(self._capacity(name), _SEEN) for name in self._tables}
        self._places = {
            name: (np.uint64(self._tables[name].ctypes.data), np.uint64(seen.ctypes.data), len(seen))
            for name, seen in self._seen.items()
        }

    def _capacity(self, name: str) -> int:
        return int(self._tables[name][:TABLE_HEADER_BYTES].view(TABLE)["capacity"][0])

    def after(self, stage: str) -> None:
        if self.world.step_count % self.EVERY == 0:
            self._compare()

    def _compare(self) -> None:
        for name, (table, seen, capacity) in self._places.items():
            at = _left_its_end(table, seen, capacity)
            if at >= 0:
                old, orders = self._seen[name][at], self._tables[name][TABLE_HEADER_BYTES:]
                state = orders[at * ORDER_BYTES :][:ORDER_BYTES].view(ORDER)["state"][0]
                was, now = STATE_NAMES[old["state"]], STATE_NAMES[state]
                self.fail(f"{name}: order {int(old['id']):#x} went from {was} to {now}")

    def end(self) -> None:
        self._compare()
        explained = sum(port.venue.repeated_acks for port in self.world.ports)
        for name in self._tables:
            illegal = int(self._tables[name][:TABLE_HEADER_BYTES].view(TABLE)["illegal"][0])
            if illegal > explained:
                self.fail(f"{name}: {illegal} illegal moves, {explained} can be explained")
        for kind, counters in (("gateway", ("illegal", "late_fills", "unbookable_fills", "unknown_reports",
                                            "overfills", "wrong_terms", "wrong_prices", "tripped")),
                               ("risk", ("illegal", "late_fills", "overfills", "not_booked", "beyond_limit"))):  # fmt: skip
            for name, state in self.world.states(kind).items():
                for counter in counters:
                    value = int(state[counter][0])
                    if value > (explained if counter == "illegal" else 0):
                        self.fail(f"{name}: {counter} is {value}")


class MoneyChecker(Checker):
    """I4: the positions of risk and strategy are the venue's fills, each once, to the last unit.

    Those of each of several strategies are the fills of its own orders, in its books as in risk's. And what risk earned is explained: it values each fill at the mid it saw then, which this checker works out again.
    """

    name = "money"
    hears_rings = True
    steps_of = ("risk",)

    def __init__(self, world: Any) -> None:
        super().__init__(world)
        count = len(world.truth.balances)
        self._mids, self._at_mid = [0] * count, [0] * count

    def after(self, stage: str) -> None:
        for ring in self.world.rings_of("reports"):
            for fields in ring.popped:
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
        world = self.world
        for number, (name, rows) in enumerate(world.positions().items()):
            self._compare(name, rows, world.truth.owned[number])
        self._compare("risk", world.region("risk.positions").view(POSITION), world.truth.balances)
        if len(world.plan.strategies) > 1:
            count = len(world.truth.balances)
            for number, balances in enumerate(world.truth.owned):
                rows = world.region("risk.owned").view(POSITION)[number * count : (number + 1) * count]
                self._compare(f"risk, strategy {number}", rows, balances)
        self._explained()

    def _heard(self) -> list[int]:
        """Instruments of venues whose reports arrive."""
        return [index for index, port in enumerate(self.world.port_at) if self.world.reports_arrive(port)]

    def _compare(self, owner: str, rows: np.ndarray, balances: list[TrueBalance]) -> None:
        for index in self._heard():
            row, truth = rows[index], balances[index]
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

    def _explained(self) -> None:
        """Captured and inventory, from the truth's cash and this checker's mids, are the profit risk shows."""
        rows = self.world.region("risk.positions").view(POSITION)
        for index in self._heard():
            row, mark, truth = rows[index], self._mids[index], self.world.truth.balances[index]
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


ALL: tuple[Callable[[Any], Checker], ...] = (
    IdChecker, LimitChecker, ExposureChecker, ClosedChecker, StateChecker, MoneyChecker,
)  # fmt: skip
