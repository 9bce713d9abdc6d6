"""Comparisons of an account beside its gateway: what is done about each kind of difference, once; what gives way, and what says nothing."""

import time
from collections.abc import Callable, Iterable, Iterator, Mapping
from typing import Any

import numpy as np
import pytest
from memory import address
from rest_venue import ID, PREFIX

from hftpipe.core.machine.system_clock import steady_ns
from hftpipe.core.schema.cells import POSITION_DIFFERS
from hftpipe.core.schema.clock import CLOCK
from hftpipe.core.schema.layout import aligned
from hftpipe.core.schema.records import BUY
from hftpipe.core.trading.order_table import ON_ACK, ON_CANCELED, ON_NO_ANSWER, ORDER_BYTES, order_insert, order_move
from hftpipe.transport.http.answer import Answer, Outcome
from hftpipe.transport.http.weights import Weights
from hftpipe.venues.orders import reconcile
from hftpipe.venues.orders.account_look import ListedExecution, ListedOrder, PutOff, give_way, readable
from hftpipe.venues.orders.booked import Booked, position_lines
from hftpipe.venues.orders.compare import Execution
from hftpipe.venues.orders.executed import EXECUTED_SLOTS
from hftpipe.venues.orders.facts import LIVE, STATE
from hftpipe.venues.orders.keeper import Question
from hftpipe.venues.orders.looks import order_rows
from hftpipe.venues.orders.numbers import Instruments
from hftpipe.venues.orders.reconcile import Policy, Reconciler
from hftpipe.venues.orders.rest_error import RestError
from hftpipe.venues.orders.setup import Terms, account_bytes, account_init
from hftpipe.venues.orders.state import ACKED, ASKED

E8, LIMIT_S = 10**8, 10.0
BOTH = Instruments(("BTCUSDT", "ETHUSDT"), ("USDT", "USDT"), (0, 0), ("BTC", "ETH"))
TOLERANCE = E8 // 1000


class Look:
    """A venue that says what a test has it say."""

    def __init__(self) -> None:
        self.gives_way, self.most_at_once = False, 1
        self.orders, self.held = list[ListedOrder](), dict[str, int | None]()
        self.executed, self.owners = list[ListedExecution](), dict[int, int]()
        self.wrong: Exception | None = None
        self.cancelled, self.asked_from = list[ListedOrder](), list[int]()
        self.refusal: Answer | None = None
        self.looks, self.put_off = 0, set[int]()

    def open_orders(self) -> list[ListedOrder]:
        self.looks += 1
        if self.wrong:
            raise self.wrong
        return list(self.orders)

    def executions(self, instruments: Iterable[int], since_ns: int) -> list[ListedExecution]:
        if self.put_off & set(instruments):
            raise PutOff("later")
        self.asked_from.append(since_ns)
        return [one for one in self.executed if one.ts_ns >= since_ns]

    def owner(self, execution: ListedExecution) -> int:
        return self.owners.get(execution.venue_id, 0)

    def holdings(self) -> Mapping[str, int | None]:
        return dict(self.held)

    def cancel_listed(self, order: ListedOrder) -> Answer:
        self.cancelled.append(order)
        if self.refusal is None:
            self.orders.remove(order)
        return self.refusal or Answer(Outcome.OK)

    def has_ended(self, refused: Answer) -> bool:
        return refused.code == -2011


class Desk:
    """A reconciler at work on an account without a session of its own."""

    def __init__(self, policy: Policy) -> None:
        self.look, self.said = Look(), list[str]()
        self.questions, self.facts = list[Question](), list[np.ndarray]()
        self._clock, self._bytes = np.zeros(1, CLOCK), aligned(account_bytes(), 128)
        self.memory = account_init(self._bytes, 2, int(address(self._clock)), Terms(1, False, 1.0, 10.0, 60.0, {}))
        self.account = self.memory.account
        self.account["session"], self.account["has_been_up"] = 1, 1
        booked = Booked(position_lines(BOTH, (TOLERANCE, TOLERANCE)), BOTH, False, ())
        self.reconciler = Reconciler(
            self.memory, self.look, booked, policy, PREFIX, self.questions.append, self.facts.append, self.said.append
        )

    def begin(self) -> None:
        self.reconciler.begin(False)
        self.reconciler.open()

    def count(self, name: str) -> int:
        return int(self.memory.reconcile[name][0])

    def rounds(self, more: int = 3) -> None:
        """Until so many comparisons have come to their end."""
        before = self.count("compared")
        self.wait(lambda: self.count("compared") >= before + more)

    def wait(self, is_so: Callable[[], bool]) -> None:
        until = time.monotonic() + LIMIT_S
        while not is_so():
            assert time.monotonic() < until, (self.said, self.memory.reconcile)
            time.sleep(0.005)

    def order(self, id_: int, *events: int, instrument: int = 0) -> np.void:
        """Enter an order, acknowledged, and have more happen to it; its row."""
        table, slot = self.account["table"][0], None
        slot = order_insert(np.uint64(table), np.uint64(id_))
        row = order_rows(self.memory.table)[(int(slot) - int(self.account["orders"][0])) // ORDER_BYTES]
        row["instrument"], row["user"], row["qty"], row["venue_id"] = instrument, int(ACKED), E8, 77
        for event in (ON_ACK, *events):
            order_move(np.uint64(table), slot, np.int64(event))
        return row

    def fill(self, trade_id: int, qty: int, instrument: int = 0, ts: int = 0) -> None:
        """The run is told of a purchase."""
        at = int(self.account["n_executed"][0])
        row = self.memory.executed[at % EXECUTED_SLOTS]
        row["id"], row["trade_id"], row["qty"], row["side"], row["instrument"] = ID, trade_id, qty, BUY, instrument
        row["ts"] = ts or steady_ns()
        self.account["n_executed"] = at + 1


@pytest.fixture(autouse=True)
def at_once(monkeypatch: pytest.MonkeyPatch) -> None:
    for name, value in {
        "PAUSE_S": 0.01,
        "PUT_OFF_S": 0.01,
        "AGAIN_S": 0.01,
        "BOOKED_S": 0.05,
        "LAG_NS": 10_000_000,
        "LATE_NS": 10_000_000,
    }.items():
        monkeypatch.setattr(reconcile, name, value)


@pytest.fixture
def desk() -> Iterator[Desk]:
    made = Desk(Policy(0.02, 0.01, False))
    yield made
    made.reconciler.close()


def listed(id_: int = ID, instrument: int = 0, venue_id: int = 77) -> ListedOrder:
    return ListedOrder(id_, 0, venue_id, instrument, f"BTCUSDT {venue_id}", {})


def differences(desk: Desk) -> dict[str, int]:
    names = ("missed", "unshown", "unlisted", "unknown", "external_orders", "positions_off", "balances_off", "blind")
    return {name: desk.count(name) for name in names if desk.count(name)}


def test_what_agrees_says_nothing_and_what_was_there_before_is_where_it_starts_from(desk: Desk) -> None:
    desk.look.held, desk.look.orders = {"BTCUSDT": 5 * E8}, [listed()]
    desk.order(ID)
    desk.begin()
    desk.rounds()
    desk.fill(1, E8)
    desk.look.held["BTCUSDT"] = 6 * E8
    desk.look.executed = [ListedExecution(Execution(0, 1, True), ID, 77, steady_ns())]
    desk.rounds()
    assert not differences(desk) and not desk.questions and not desk.account["fault"][0]
    assert [line for line in desk.said if "at the start" in line] == desk.said and "5 BTCUSDT" in desk.said[0]


def test_an_order_that_the_venue_does_not_list_is_asked_about_and_said_once(desk: Desk) -> None:
    desk.order(ID, instrument=1)
    desk.begin()
    desk.rounds(4)
    assert differences(desk) == {"unlisted": 1} and len(desk.questions) >= 4
    assert {(one.id, one.instrument, one.venue_id) for one in desk.questions} == {(ID, 1, 77)}


def test_an_order_of_which_nothing_is_known_is_no_difference(desk: Desk) -> None:
    desk.order(ID, ON_NO_ANSWER)
    desk.begin()
    desk.rounds()
    assert not differences(desk)


def test_an_order_of_ours_that_nobody_here_has_is_told_to_rest_so_that_it_is_cancelled(desk: Desk) -> None:
    desk.look.orders = [listed(instrument=1)]
    desk.begin()
    desk.rounds()
    assert differences(desk) == {"unknown": 1}
    fact = desk.facts[0][0]
    assert (fact["id"], fact["kind"], fact["state"], fact["instrument"], fact["venue_id"]) == (ID, STATE, LIVE, 2, 77)


def test_an_order_that_rests_after_its_end_is_asked_about_and_cancelled(desk: Desk) -> None:
    desk.order(ID, ON_CANCELED)
    desk.look.orders = [listed()]
    desk.begin()
    desk.wait(lambda: bool(desk.look.cancelled))
    assert differences(desk) == {"unknown": 1} and desk.questions[0].id == ID


@pytest.mark.parametrize("cancels", [False, True])
def test_orders_of_others_are_counted_once_and_cancelled_by_policy_in_instruments_of_the_run_alone(
    cancels: bool,
) -> None:
    desk = Desk(Policy(0.02, 0.01, cancels))
    ours, elsewhere = listed(0, 0, 5), listed(0, -1, 6)
    desk.look.orders = [ours, elsewhere]
    try:
        desk.begin()
        assert desk.look.cancelled == ([ours] if cancels else []), "at the start, too"
        desk.rounds()
        assert (desk.count("external_orders"), desk.count("external_cancels")) == (1, int(cancels))
        assert elsewhere in desk.look.orders
    finally:
        desk.reconciler.close()


@pytest.mark.parametrize(("code", "is_said"), [(-2011, False), (-2015, True)])
def test_an_order_of_somebody_else_that_cannot_be_cancelled_is_said_unless_it_has_ended(
    code: int, is_said: bool
) -> None:
    desk = Desk(Policy(0.02, 0.01, True))
    desk.look.orders, desk.look.refusal = [listed(0)], Answer(Outcome.REFUSED, code=code, message="no")
    try:
        desk.begin()
        desk.rounds(1)
        assert any("is not cancelled: no" in line for line in desk.said) == is_said and not desk.count(
            "external_cancels"
        )
    finally:
        desk.reconciler.close()


def test_an_execution_that_was_missed_has_its_order_asked_about_and_one_of_others_has_not(desk: Desk) -> None:
    desk.order(ID)
    desk.look.orders, desk.look.owners = [listed()], {77: ID}
    desk.begin()
    now = steady_ns()
    desk.look.executed = [
        ListedExecution(Execution(0, 9, True), 0, 77, now), ListedExecution(Execution(0, 10, True), 0, 78, now),
    ]  # fmt: skip
    desk.wait(lambda: bool(desk.questions))
    desk.fill(9, E8, ts=now)
    desk.look.held = {"BTCUSDT": E8}
    desk.rounds()
    assert differences(desk) == {"missed": 1} and {one.id for one in desk.questions} == {ID}
    assert "execution 9 (buy, BTCUSDT)" in " ".join(desk.said)


def test_an_execution_that_is_found_and_not_booked_for_long_is_no_difference(desk: Desk) -> None:
    desk.order(ID)
    desk.look.orders, desk.look.owners, desk.look.held = [listed()], {77: ID}, {"BTCUSDT": 0}
    desk.begin()
    now = steady_ns()
    desk.look.executed, desk.look.held = [ListedExecution(Execution(0, 9, True), 0, 77, now)], {"BTCUSDT": E8}
    desk.rounds()
    assert differences(desk) == {"missed": 1} and not desk.account["fault"][0]
    desk.fill(9, E8, ts=now)
    desk.rounds()
    assert differences(desk) == {"missed": 1} and not desk.account["fault"][0]


def test_an_order_that_waits_for_its_answer_behind_many_others_settles_nothing(desk: Desk) -> None:
    row = desk.order(ID)
    desk.look.orders, desk.look.held = [listed()], {"BTCUSDT": 0}
    row["user"] |= int(ASKED)
    desk.begin()
    desk.look.held = {"BTCUSDT": E8}
    desk.rounds()
    assert not differences(desk) and not desk.account["fault"][0]
    row["user"] &= ~int(ASKED)
    desk.wait(lambda: desk.account["fault"][0] == POSITION_DIFFERS)


def test_executions_of_the_run_are_known_for_its_own_however_far_another_strategy_has_counted(desk: Desk) -> None:
    desk.order(ID)
    desk.look.orders, desk.look.owners = [listed()], {77: ID}
    desk.begin()
    desk.rounds(1)
    desk.order(ID + (1 << 16), ON_NO_ANSWER)
    desk.look.executed = [ListedExecution(Execution(0, 9, True), 0, 77, steady_ns())]
    desk.wait(lambda: bool(desk.questions))
    assert desk.questions[0].id == ID


def test_what_is_put_off_goes_on_where_it_was_and_a_position_is_judged_all_the_same(desk: Desk) -> None:
    desk.order(ID)
    desk.order(ID + 1, instrument=1)
    desk.look.orders, desk.look.put_off = [listed()], {1}
    desk.look.held = {"BTCUSDT": 0}
    desk.begin()
    desk.look.held = {"BTCUSDT": E8}
    desk.wait(lambda: desk.account["fault"][0] == POSITION_DIFFERS and desk.count("put_off") > 2)
    assert not desk.count("compared") and desk.reconciler._due.keys() == {1}
    since, desk.look.put_off = desk.reconciler._due[1], set()
    desk.rounds(1)
    assert since in desk.look.asked_from


@pytest.mark.parametrize("had_left", [False, True])
def test_where_orders_were_open_a_moment_ago_what_the_account_holds_is_read_when_that_has_settled(
    desk: Desk, monkeypatch: pytest.MonkeyPatch, had_left: bool
) -> None:
    steps: list[str] = []
    monkeypatch.setattr(desk.reconciler, "_wait", lambda seconds: steps.append("waits"))
    monkeypatch.setattr(desk.look, "holdings", lambda: steps.append("holdings") or {})
    desk.reconciler.begin(had_left)
    assert steps == (["waits", "holdings"] if had_left else ["holdings"])


def test_executions_of_an_earlier_run_are_not_asked_about(desk: Desk) -> None:
    desk.order(ID)
    desk.look.orders, desk.look.owners = [listed()], {70: ID - (1 << 16)}
    desk.begin()
    desk.look.executed = [ListedExecution(Execution(0, 9, True), 0, 70, steady_ns())]
    desk.rounds()
    assert not differences(desk) and not desk.questions


def test_an_execution_that_the_venue_does_not_show_is_said_once(desk: Desk) -> None:
    desk.order(ID)
    desk.look.orders = [listed()]
    desk.begin()
    desk.fill(3, E8 // 10_000)
    desk.look.held = {"BTCUSDT": E8 // 10_000}
    desk.wait(lambda: desk.count("unshown") == 1)
    desk.rounds()
    assert differences(desk) == {"unshown": 1}


@pytest.mark.parametrize(("off", "ends"), [(TOLERANCE, False), (TOLERANCE + 1, True), (-TOLERANCE - 1, True)])
def test_a_position_that_differs_is_said_once_and_ends_trading_beyond_its_tolerance(
    desk: Desk, off: int, ends: bool
) -> None:
    desk.begin()
    desk.rounds(1)
    desk.look.held = {"ETHUSDT": off}
    desk.rounds(4)
    assert differences(desk) == {"positions_off": 1}
    fault = tuple(int(desk.account[name][0]) for name in ("fault", "fault_id", "fault_qty"))
    assert fault == ((POSITION_DIFFERS, 1, off) if ends else (0, 0, 0))
    desk.look.held = {}
    desk.wait(lambda: any("ETHUSDT agrees again" in line for line in desk.said))


def test_a_difference_that_does_not_last_is_none(desk: Desk) -> None:
    desk.begin()
    desk.rounds(1)
    flips = iter([{"BTCUSDT": E8}, {}] * 1000)
    desk.look.holdings = lambda: next(flips)  # type: ignore[method-assign]
    desk.rounds(4)
    assert not differences(desk)


def test_holdings_with_an_order_of_which_nothing_is_known_are_left_out(desk: Desk) -> None:
    desk.order(ID, ON_NO_ANSWER)
    desk.begin()
    desk.look.held = {"BTCUSDT": E8}
    desk.rounds()
    assert not differences(desk) and desk.count("unsettled") > 0


@pytest.mark.parametrize("wrong", [RestError("timed out"), OSError("503")])
def test_a_venue_that_does_not_answer_differs_in_nothing_and_is_said_once_and_when_it_is_long(
    desk: Desk, wrong: OSError
) -> None:
    desk.begin()
    desk.rounds(1)
    desk.order(ID)
    desk.look.held, desk.look.wrong = {"BTCUSDT": E8}, wrong
    desk.wait(lambda: desk.count("overdue") == 1)
    assert not differences(desk) and desk.count("unanswered") > 3
    assert sum("had no answer" in line for line in desk.said) == 1
    desk.look.wrong = None
    desk.rounds(1)
    assert desk.count("positions_off") == 1, "found as soon as there is an answer"


def test_a_start_without_an_answer_is_no_start(desk: Desk) -> None:
    desk.look.wrong = RestError("503")
    with pytest.raises(RestError, match="503"):
        desk.reconciler.begin(False)


def test_without_a_session_or_after_another_one_nothing_is_compared(desk: Desk) -> None:
    desk.begin()
    desk.rounds(1)
    desk.account["session"] = 0
    desk.look.held = {"BTCUSDT": E8}
    time.sleep(0.1)
    before = desk.look.looks
    time.sleep(0.1)
    assert desk.look.looks == before and not differences(desk)
    desk.account["session"] = 1

    def interrupted() -> Mapping[str, int | None]:
        desk.account["outages"] += 1
        return {"BTCUSDT": E8}

    desk.look.holdings = interrupted  # type: ignore[method-assign]
    desk.wait(lambda: desk.account["outages"][0] > 10)
    assert not differences(desk)


def test_executions_written_over_are_a_doubt_and_end_all_comparing(desk: Desk) -> None:
    desk.begin()
    desk.account["n_executed"] = 2 * EXECUTED_SLOTS
    desk.wait(lambda: desk.count("blind") == 1)
    time.sleep(0.1)
    assert differences(desk) == {"blind": 1}


# --- giving way --------------------------------------------------------------------------------------------------------------


def test_a_comparison_gives_way_while_half_of_what_may_be_asked_is_used_or_the_venue_wants_rest(desk: Desk) -> None:
    weights = Weights(1000)
    weights.take(390, 0)
    give_way(weights, 10, "x")
    with pytest.raises(PutOff, match="x: a comparison is put off"):
        give_way(weights, 11, "x")
    resting = Weights(1000)
    resting.rest(5)
    with pytest.raises(PutOff):
        give_way(resting, 1, "x")
    desk.begin()
    assert desk.look.gives_way, "only the start does not"
    desk.look.wrong = PutOff("later")
    desk.wait(lambda: desk.count("put_off") > 2)
    assert not desk.count("unanswered")


@pytest.mark.parametrize("read", [lambda: {}["a"], lambda: int("x"), lambda: None.a, lambda: [][1], lambda: 1 + "1"])  # type: ignore
def test_an_answer_that_cannot_be_read_is_none(read: Callable[[], Any]) -> None:
    with pytest.raises(RestError, match="here: holdings"), readable("here", "holdings"):
        read()
