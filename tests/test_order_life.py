"""An order's life is one: the same in every table, and never less pessimistic than the venue's truth.

Any sequence of requests and reports leads to what a slow reference says. And where requests and answers travel between strategy, risk,
gateway and venue at any pace, with refusals at every station, the three tables say the same once all is answered; what risk
counts never falls below what the venue may execute, and a strategy never believes that nothing is under way when something is.
"""

from collections import deque
from dataclasses import dataclass, field

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from order_life_reference import APPLIED, NOT_ALLOWED, NOT_AS_ASKED, Life
from test_order_table import Table

from hftpipe.core.machine.jit import jit
from hftpipe.core.machine.mem import view
from hftpipe.core.schema.records import (
    ACK,
    CANCEL,
    CANCEL_REJECT,
    CANCELED,
    EXPIRED,
    FILL,
    MARKET,
    NEW,
    OWN_CANCEL,
    RECORD,
    REJECT,
    REPLACE,
    REPLACED,
    REPORT,
    UNASKED,
)
from hftpipe.core.trading import order_reports
from hftpipe.core.trading import order_table as ot
from hftpipe.core.trading.order_reports import move_beside, move_filled, move_reported, replace_dropped, replace_sent
from hftpipe.gateway.orders import _own_refused as refuse_own

PRICE, QTY = 10, 4
OUTCOMES = {
    order_reports.APPLIED: APPLIED, order_reports.NOT_ALLOWED: NOT_ALLOWED, order_reports.NOT_AS_ASKED: NOT_AS_ASKED
}  # fmt: skip


@jit
def tell(table, slot, record):
    """Apply any report to the order at ``slot``."""
    r = view(record, RECORD)
    if r.kind == FILL:
        return np.int64(move_filled(table, slot, r.qty))
    return np.int64(move_reported(table, slot, r))


class Held:
    """One order in a table of its own."""

    def __init__(self, price: int = PRICE, qty: int = QTY, flags: int = 0) -> None:
        self.table = Table(16)
        self.slot = self.table.insert(1)
        self.row = self.table.row(self.slot)
        self.row["price"], self.row["qty"], self.row["flags"] = price, qty, flags
        self.at = np.uint64(self.table.address), np.uint64(self.slot)

    @property
    def is_open(self) -> bool:
        return bool(ot.is_open(self.row["state"]))

    def move(self, event: int) -> bool:
        return self.table.move(self.slot, event)

    def may_replace(self) -> bool:
        return bool(ot.TRANSITIONS[self.row["state"], ot.ON_REPLACE_SENT] != ot.ILLEGAL)

    def replace(self, price: int, qty: int) -> bool:
        return bool(replace_sent(*self.at, np.int64(price), np.int64(qty)))

    def report(self, kind: int, price: int = 0, qty: int = 0, flags: int = 0) -> str:
        record = np.zeros(1, RECORD)
        record["kind"], record["price"], record["qty"], record["flags"] = kind, price, qty, flags
        was_open = self.is_open
        done = int(tell(*self.at, np.uint64(record.ctypes.data)))
        if kind == FILL:
            assert (done == 1) == was_open
            return APPLIED if was_open else "late"
        return OUTCOMES[done]

    def beside(self) -> None:
        """A refusal that may be that of a cancel of the gateway's own."""
        move_beside(*self.at)

    def own_cancel(self) -> None:
        """A gateway cancels by itself."""
        self.move(ot.ON_CANCEL_SENT)
        self.row["own_cancels"] += 1

    def own_refused(self) -> bool:
        """A refusal reaches the gateway: whether it is taken for that of a cancel of its own."""
        if not self.row["own_cancels"]:
            return False
        record = np.zeros(1, REPORT)
        record["kind"] = CANCEL_REJECT
        refuse_own(*self.at, np.uint64(record.ctypes.data))
        return bool(record["venue_id"] == OWN_CANCEL)

    def told(self) -> tuple:
        """All that there is to say of it."""
        row = self.row
        return (
            ot.STATE_NAMES[row["state"]], int(row["price"]), int(row["qty"]), int(row["filled"]),
            int(row["new_price"]), int(row["new_qty"]), bool(ot.is_cancelling(row)), bool(ot.may_be_replaced(row)),
            int(ot.unfilled(row)), int(ot.remaining(row)),
        )  # fmt: skip


def as_told(life: Life) -> tuple:
    return (
        life.state, life.price, life.qty, life.filled, life.new_price, life.new_qty,
        life.is_cancelling, life.is_replacing, life.unfilled, life.remaining,
    )  # fmt: skip


# --- any sequence, in one table --------------------------------------------------------------------

PRICES, QTYS = st.integers(PRICE - 1, PRICE + 1), st.integers(0, 7)
STEPS = st.one_of(
    st.tuples(st.just("cancel")),
    st.tuples(st.just("replace"), PRICES, QTYS),
    st.tuples(st.just("carried out")),
    st.tuples(st.just("no answer")),
    st.tuples(st.just(FILL), st.just(PRICE), st.integers(1, 4)),
    st.tuples(st.just(ACK), PRICES, QTYS),
    st.tuples(st.just(REPLACED), PRICES, QTYS, st.sampled_from([0, 0, UNASKED])),
    st.tuples(st.sampled_from([CANCEL_REJECT, CANCEL_REJECT, CANCEL_REJECT, CANCELED, EXPIRED, REJECT])),
)


def take_step(held: Held, life: Life, what: object, *fields: int) -> None:
    """The same to a table and to the reference."""
    if what == "cancel":
        assert held.move(ot.ON_CANCEL_SENT) == (not life.end)
        if not life.end:
            life.cancel()
    elif what == "replace":
        assert held.replace(*fields) == life.may_replace()
        if life.may_replace():
            life.replace(*fields)
    elif what == "no answer":
        assert held.move(ot.ON_NO_ANSWER) == (not life.end)
        if not life.end:
            life.no_answer()
    else:
        if what == "carried out":
            # As a venue does that says what is left, which is nothing where more has filled than was asked for.
            asked_price, asked_qty = life.asked or (life.price, life.qty)
            what, fields = REPLACED, (asked_price, max(asked_qty, life.filled))
        price, qty, flags = (*fields, 0, 0, 0)[:3]
        assert held.report(what, price, qty, flags) == life.report(what, price, qty, flags)


@settings(max_examples=1500, deadline=None)
@given(st.sampled_from([0, 0, MARKET]), st.lists(STEPS, min_size=4, max_size=14))
def test_any_sequence_of_requests_and_reports_leads_where_the_tables_say(flags, steps):
    held, life = Held(flags=flags), Life(PRICE, QTY, flags)
    for step in steps:
        take_step(held, life, *step)
        assert held.told() == as_told(life), step


# --- rule by rule ----------------------------------------------------------------------------------


def resting(*steps: tuple) -> Held:
    """An order that was acknowledged, and what happened since: requests by name, reports by kind."""
    held = Held()
    held.report(ACK, PRICE, QTY)
    for what, *fields in steps:
        if what == "cancel":
            held.move(ot.ON_CANCEL_SENT)
        elif what == "replace":
            assert held.replace(*fields)
        else:
            held.report(what, *fields)
    return held


#: What happened, and what the order is then: its state, total, filled, and what may still fill.
LIVES = {
    "a replace is carried out": ([("replace", 11, 6), (REPLACED, 11, 6)], ("WORKING", 6, 0, 6)),
    "a replace is refused": ([("replace", 11, 6), (CANCEL_REJECT,)], ("WORKING", 4, 0, 4)),
    "a fill during a replace": ([("replace", 10, 6), (FILL, 10, 1)], ("PENDING_REPLACE", 4, 1, 5)),
    "the old total fills during a replace to more": ([("replace", 10, 6), (FILL, 10, 4)], ("FILLED", 4, 4, 0)),
    "a replace fills before it is told": ([("replace", 10, 6), (FILL, 10, 5)], ("PENDING_REPLACE", 4, 5, 1)),
    "a replace to what has filled": ([("replace", 10, 2), (FILL, 10, 2), (REPLACED, 10, 2)], ("FILLED", 2, 2, 0)),
    "a replace to less than has filled": ([("replace", 10, 2), (FILL, 10, 3), (REPLACED, 10, 2)], ("FILLED", 3, 3, 0)),
    "a replace that leaves nothing": ([("replace", 11, 2), (FILL, 10, 3), (REPLACED, 11, 3)], ("FILLED", 3, 3, 0)),
    "the venue takes what is left": ([(FILL, 10, 2), (REPLACED, 10, 2, UNASKED)], ("FILLED", 2, 2, 0)),
    "the venue shrinks it during a replace": (
        [("replace", 10, 6), (REPLACED, 10, 3, UNASKED)], ("PENDING_REPLACE", 3, 0, 6)
    ),
    "the venue shrinks it during a cancel": ([("cancel",), (REPLACED, 10, 3, UNASKED)], ("PENDING_CANCEL", 3, 0, 3)),
    "a replace, a cancel, and one refusal": (
        [("replace", 10, 6), ("cancel",), (CANCEL_REJECT,)], ("PENDING_CANCEL", 4, 0, 6)
    ),
    "a replace and a cancel both refused": (
        [("replace", 10, 6), ("cancel",), (CANCEL_REJECT,), (CANCEL_REJECT,)], ("WORKING", 4, 0, 4)
    ),
    "a cancel refused before its replace is carried out": (
        [("replace", 10, 6), ("cancel",), (CANCEL_REJECT,), (REPLACED, 10, 6)], ("WORKING", 6, 0, 6)
    ),
    "a replace carried out before its cancel": (
        [("replace", 10, 6), ("cancel",), (REPLACED, 10, 6)], ("PENDING_CANCEL", 6, 0, 6)
    ),
    "the same, the cancel refused": (
        [("replace", 10, 6), ("cancel",), (REPLACED, 10, 6), (CANCEL_REJECT,)], ("WORKING", 6, 0, 6)
    ),
    "a cancel sent again after a refusal, and the replace carried out": (
        [("replace", 10, 6), ("cancel",), (CANCEL_REJECT,), ("cancel",), (REPLACED, 10, 6)],
        ("PENDING_CANCEL", 6, 0, 6),
    ),
    "a replace told twice during a cancel": (
        [("replace", 10, 6), (REPLACED, 10, 6), ("cancel",), (REPLACED, 10, 6)], ("PENDING_CANCEL", 6, 0, 6)
    ),
    "a refusal after the end": ([("cancel",), (FILL, 10, 4), (CANCEL_REJECT,)], ("FILLED", 4, 4, 0)),
    "a replace told after the end": ([("replace", 10, 6), (CANCELED,), (REPLACED, 10, 6)], ("CANCELED", 4, 0, 0)),
    "a late fill": ([(CANCELED,), (FILL, 10, 1)], ("UNKNOWN", 4, 1, 3)),
    "too much": ([(FILL, 10, 5)], ("UNKNOWN", 4, 5, 0)),
    "too much, and its cancel is refused": ([(FILL, 10, 5), ("cancel",), (CANCEL_REJECT,)], ("UNKNOWN", 4, 5, 0)),
    "too much, and its end is told": ([(FILL, 10, 5), (CANCELED,)], ("CANCELED", 4, 5, 0)),
    "a total that was not asked for": ([(REPLACED, 10, 5)], ("UNKNOWN", 4, 0, 4)),
    "no total at all": ([(REPLACED, 10, 0)], ("UNKNOWN", 4, 0, 4)),
}  # fmt: skip


@pytest.mark.parametrize(("steps", "told"), LIVES.values(), ids=LIVES)
def test_of_each_race_there_is_one_outcome(steps, told):
    row = resting(*steps).row
    assert (ot.STATE_NAMES[row["state"]], row["qty"], row["filled"], ot.remaining(row)) == told


def test_an_order_refused_while_its_cancel_is_under_way_has_ended():
    held = Held()
    held.move(ot.ON_CANCEL_SENT)
    assert held.report(REJECT) == APPLIED and ot.STATE_NAMES[held.row["state"]] == "REJECTED"
    assert held.report(CANCEL_REJECT) == APPLIED and held.told()[0] == "REJECTED"


@pytest.mark.parametrize("steps", [(), (("cancel",),)])
def test_a_replace_that_was_not_sent_leaves_the_order_as_it_stood_but_for_its_cancel(steps):
    held, plain = resting(("replace", 11, 6), *steps), resting(*steps)
    replace_dropped(*held.at)
    assert held.told() == plain.told()
    assert held.report(REPLACED, 11, 6) == NOT_AS_ASKED


# --- three tables and a venue ----------------------------------------------------------------------


@dataclass
class Venue:
    """The truth: an order at a venue that tells what happens in the order in which it happens."""

    state: str = "none"
    price: int = PRICE
    qty: int = QTY
    filled: int = 0

    def take(self, kind: int, price: int, qty: int, is_refused: bool) -> tuple:
        """Carry a request out, or refuse it: the report."""
        if kind == NEW:
            self.state = "dead" if is_refused else "alive"
            return (REJECT,) if is_refused else (ACK, self.price, self.qty)
        if self.state == "dead" or is_refused:
            return (CANCEL_REJECT,)
        if kind == CANCEL or qty <= self.filled:
            self.state = "dead"
            return (CANCELED,)
        self.price, self.qty = price, qty
        return (REPLACED, price, qty)

    def fill(self, most: int) -> tuple:
        """Execute up to ``most``: the report."""
        qty = min(most, self.qty - self.filled)
        self.filled += qty
        if self.filled == self.qty:
            self.state = "dead"
        return (FILL, self.price, qty)

    def shrink(self) -> tuple | None:
        """Take one away of its own accord: the report, if more than that is left."""
        if self.qty - self.filled < 2:
            return None
        self.qty -= 1
        return (REPLACED, self.price, self.qty, UNASKED)


#: What the gateway makes of a refusal that may be that of its own cancel.
BESIDE = ("beside",)


@dataclass
class Chain:
    """Strategy, risk, gateway and venue, each with its table, and what travels between them."""

    strategy: Held = field(default_factory=Held)
    risk: Held = field(default_factory=Held)
    gateway: Held = field(default_factory=Held)
    venue: Venue = field(default_factory=Venue)
    links: dict[str, deque] = field(
        default_factory=lambda: {
            "to risk": deque(), "to gateway": deque(), "to venue": deque(),
            "from venue": deque(), "from gateway": deque(), "from risk": deque(),
        }
    )  # fmt: skip
    unanswered: int = 0
    is_stopped: bool = False

    def __post_init__(self) -> None:
        self.links["to venue"].append((NEW, PRICE, QTY))

    def ask(self, kind: int, price: int = 0, qty: int = 0) -> None:
        """The strategy asks for a change, if it believes that it may."""
        if kind == CANCEL and self.strategy.is_open and not ot.is_cancelling(self.strategy.row):
            self.strategy.move(ot.ON_CANCEL_SENT)
        elif kind == REPLACE and self.strategy.may_replace():
            self.strategy.replace(price, qty)
        else:
            return
        self.unanswered += 1
        self.links["to risk"].append((kind, price, qty))

    def stop(self) -> None:
        """The gateway is stopped for good: it sends no replace any more, and cancels by itself."""
        self.is_stopped = True
        if self.gateway.is_open:
            self.gateway.own_cancel()
            self.links["to venue"].append((CANCEL, 0, 0))

    def _pass(self, held: Held, request: tuple, onward: str, back: str, is_refused: bool) -> None:
        kind, price, qty = request
        is_refused |= not held.is_open or (kind == REPLACE and (not held.may_replace() or qty <= held.row["filled"]))
        if is_refused:
            self.links[back].append((CANCEL_REJECT,))
            return
        if kind == CANCEL:
            held.move(ot.ON_CANCEL_SENT)
        else:
            held.replace(price, qty)
        self.links[onward].append(request)

    def travel(self, link: str, is_refused: bool = False) -> None:
        """The next thing on a link arrives; a request may be refused there."""
        if not self.links[link]:
            return
        one = self.links[link].popleft()
        if link == "to risk":
            self._pass(self.risk, one, "to gateway", "from risk", is_refused)
        elif link == "to gateway":
            is_refused |= self.is_stopped and one[0] == REPLACE
            self._pass(self.gateway, one, "to venue", "from gateway", is_refused)
        elif link == "to venue":
            self.links["from venue"].append(self.venue.take(*one, is_refused))
        elif link == "from venue":
            if one[0] == CANCEL_REJECT and self.gateway.own_refused():
                one = BESIDE
            else:
                assert self.gateway.report(*one) == APPLIED
            self.links["from gateway"].append(one)
        elif one is BESIDE:
            (self.risk if link == "from gateway" else self.strategy).beside()
            if link == "from gateway":
                self.links["from risk"].append(one)
        elif link == "from gateway":
            assert self.risk.report(*one) == APPLIED
            self.links["from risk"].append(one)
        else:
            assert self.strategy.report(*one) == APPLIED
            is_answer = one[0] == CANCEL_REJECT or (one[0] == REPLACED and one[3:] != (UNASKED,))
            self.unanswered -= int(is_answer)

    def turn_away(self) -> None:
        """A cancel is refused at the venue's door, before what was sent earlier is carried out."""
        waiting = self.links["to venue"]
        if waiting and waiting[-1][0] == CANCEL:
            waiting.pop()
            self.links["from venue"].append((CANCEL_REJECT,))

    def act(self, what: str, *values: int) -> None:
        """One thing happens."""
        if what == "cancel":
            self.ask(CANCEL)
        elif what == "replace":
            self.ask(REPLACE, *values)
        elif what == "stop":
            self.stop()
        elif what == "settle":
            self.settle()
        elif what == "door":
            self.turn_away()
        elif what in self.links:
            self.travel(what, bool(values[0]))
        elif what in WAYS:
            for link in WAYS[what]:
                while self.links[link]:
                    self.travel(link)
        elif self.venue.state == "alive":
            report = self.venue.fill(*values) if what == "fill" else self.venue.shrink()
            if report is not None:
                self.links["from venue"].append(report)

    def worst(self) -> int:
        """The most that the venue may have executed in the end."""
        if self.venue.state == "dead":
            return self.venue.filled
        replaces = [qty for link in ("to gateway", "to venue") for kind, _, qty in self.links[link] if kind == REPLACE]
        return max(self.venue.qty, *replaces, 0)

    def check(self) -> None:
        """What holds at every moment."""
        assert int(self.risk.row["filled"]) + int(ot.remaining(self.risk.row)) >= self.worst()
        if self.strategy.is_open and self.strategy.row["under_way"] == ot.NOTHING and not self.is_stopped:
            assert self.unanswered == 0, "the strategy believes that nothing is under way"

    def settle(self) -> None:
        """All that travels arrives; then all say the same, and it is the truth."""
        while any(self.links.values()):
            for link in self.links:
                self.travel(link)
                self.check()
        for held in (self.strategy, self.risk, self.gateway):
            row = held.row
            assert (row["price"], row["qty"], row["filled"]) == (self.venue.price, self.venue.qty, self.venue.filled)
            assert held.is_open == (self.venue.state == "alive")
            assert not held.is_open or row["under_way"] == ot.NOTHING, "an answer is still waited for"
            assert ot.remaining(row) == (self.venue.qty - self.venue.filled if held.is_open else 0)
            assert held.table.header["illegal"] == 0


WAYS = {"forward": ("to risk", "to gateway"), "back": ("from venue", "from gateway", "from risk")}
LINKS = ("to risk", "to gateway", "to venue", "from venue", "from gateway", "from risk")
EVENTS = st.one_of(
    st.tuples(st.just("cancel")),
    st.tuples(st.just("replace"), PRICES, st.integers(1, 7)),
    st.tuples(st.sampled_from(LINKS), st.sampled_from([0, 0, 0, 1])),
    st.tuples(st.sampled_from(LINKS), st.just(0)),
    st.tuples(st.sampled_from(["forward", "back"])),
    st.tuples(st.just("fill"), st.integers(1, 2)),
    st.tuples(st.sampled_from(["door", "shrink"])),
    st.tuples(st.sampled_from(["settle"] * 9 + ["stop"])),
)


@settings(max_examples=1000, deadline=None)
@given(st.lists(EVENTS, min_size=15, max_size=60))
def test_all_tables_agree_once_all_is_answered_and_risk_counts_all_that_may_fill_before(events):
    chain = Chain()
    for event in events:
        chain.act(*event)
        chain.check()
    chain.settle()
