"""The threads beside an account: no question is forgotten whatever is answered, a session ends when its key does, and what a venue
does for a client that is gone is asked for only while the client is there."""

import threading
import time
from collections.abc import Callable, Iterator, Sequence
from typing import Any

import numpy as np
import pytest
from memory import address
from orders_rig import Desk
from rest_venue import ID

from hftpipe.core.schema.clock import CLOCK
from hftpipe.core.schema.layout import aligned
from hftpipe.core.schema.records import LEFT
from hftpipe.transport.websocket.connect import ConnectError, Connection
from hftpipe.venues.binance.orders.market import USDM
from hftpipe.venues.binance.orders.wiring import most_held
from hftpipe.venues.orders import keeper
from hftpipe.venues.orders.dead_man import DeadMan
from hftpipe.venues.orders.facts import (
    ASK_CANCEL,
    ASK_STATE,
    FACT,
    FACT_BYTES,
    GONE,
    QUESTION,
    QUESTION_BYTES,
    RESYNC,
    STATE,
    queue_drop,
    queue_first,
    queue_put,
)
from hftpipe.venues.orders.keeper import AccountKeeper, AccountMemory, NotNow, Question, Upkeep
from hftpipe.venues.orders.rest_facts import fact_about
from hftpipe.venues.orders.setup import Terms, account_bytes, account_init

LIMIT_S = 10.0


class Plan:
    """A venue that answers a question as it is told; its session has no connection that could end."""

    upkeep: Sequence[Upkeep] = ()

    def __init__(self) -> None:
        self.connects, self.finds, self.measured = 0, list[Question](), 0
        self.answers: list[Callable[[Question], list[np.ndarray]]] = []

    def connect(self) -> list[Connection]:
        self.connects += 1
        return []

    def clock_offset_ns(self) -> int:
        self.measured += 1
        return 0

    def cancel_all(self, last_epoch: int) -> int:
        return 0

    def find(self, question: Question) -> list[np.ndarray]:
        self.finds.append(question)
        return self.answers.pop(0)(question)

    cancel = find


def raises(wrong: Exception) -> Callable[[Question], list[np.ndarray]]:
    def answer(question: Question) -> list[np.ndarray]:
        raise wrong

    return answer


class Kept:
    """A keeper at work, and what compiled code sees of it."""

    def __init__(self, *jobs: Upkeep) -> None:
        self.plan, self.said = Plan(), list[str]()
        self.clock, self._bytes = np.zeros(1, CLOCK), aligned(account_bytes(), 128)
        terms = Terms(1, False, 1.0, 10.0, 60.0, {})
        self.memory: AccountMemory = account_init(self._bytes, 2, int(address(self.clock)), terms)
        self.keeper = AccountKeeper(self.memory, self.plan, jobs, self.said.append)
        self.keeper.open()

    def ask(self, id_: int = ID, what: int = ASK_STATE) -> None:
        row = np.zeros(1, QUESTION)
        row["id"], row["what"], row["number"] = id_, what, 7
        assert queue_put(np.uint64(self.memory.questions), address(row), np.int64(QUESTION_BYTES))

    def facts(self, *kinds: int) -> list[np.void]:
        """The next facts of these kinds; others than that of a new session."""
        found, until = list[np.void](), time.monotonic() + LIMIT_S
        while len(found) < len(kinds):
            assert time.monotonic() < until, (found, self.said)
            if not (at := int(queue_first(np.uint64(self.memory.facts), np.int64(FACT_BYTES)))):
                time.sleep(0.005)
                continue
            start = at - self._bytes.ctypes.data
            fact = self._bytes[start : start + FACT_BYTES].view(FACT)[0].copy()
            queue_drop(np.uint64(self.memory.facts))
            if fact["kind"] != RESYNC:
                found.append(fact)
        assert [int(one["kind"]) for one in found] == list(kinds)
        return found


@pytest.fixture
def kept() -> Iterator[Kept]:
    made = Kept()
    yield made
    made.keeper.close()


def wait_for(is_so: Callable[[], bool]) -> None:
    until = time.monotonic() + LIMIT_S
    while not is_so():
        assert time.monotonic() < until
        time.sleep(0.005)


# --- questions ---------------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "wrong", [KeyError("orderId"), ZeroDivisionError("nobody foresaw it"), OSError("net"), AttributeError()]
)
def test_a_question_whose_answer_nobody_foresaw_is_asked_again_and_its_order_not_forgotten(
    kept: Kept, monkeypatch: pytest.MonkeyPatch, wrong: Exception
) -> None:
    monkeypatch.setattr(keeper, "ODD_AGAIN_S", 0.05)
    kept.plan.answers = [raises(wrong), raises(wrong), lambda question: [fact_about(question, GONE)]]
    kept.ask()
    (fact,) = kept.facts(GONE)
    assert (int(fact["id"]), int(fact["number"])) == (ID, 7) and len(kept.plan.finds) == 3
    assert len({one.since_ns for one in kept.plan.finds}) == 1, "it is the same question all the time"
    assert sum(type(wrong).__name__ in line for line in kept.said) == 2
    assert keeper.ODD_AGAIN_S == 0.05


def test_other_questions_are_answered_while_one_waits(kept: Kept) -> None:
    kept.plan.answers = [
        raises(NotNow(0.3, "not found yet")),
        lambda one: [fact_about(one, STATE)],
        lambda one: [fact_about(one, GONE)],
    ]
    kept.ask(ID)
    kept.ask(ID + 1)
    assert [int(one["id"]) for one in kept.facts(STATE, GONE)] == [ID + 1, ID]


def test_a_cancel_does_not_wait_for_what_is_found_out_meanwhile(kept: Kept) -> None:
    """While the connection for orders is away every order is asked about, and each answer takes its time."""
    may_answer = threading.Event()

    def find(one: Question) -> list[np.ndarray]:
        assert may_answer.wait(LIMIT_S)
        return [fact_about(one, GONE)]

    def cancel(one: Question) -> list[np.ndarray]:
        return [fact_about(one, STATE)]

    kept.plan.find, kept.plan.cancel = find, cancel  # type: ignore[method-assign]
    kept.ask(ID)
    kept.ask(ID + 1, ASK_CANCEL)
    assert [int(one["id"]) for one in kept.facts(STATE)] == [ID + 1]
    may_answer.set()
    assert [int(one["id"]) for one in kept.facts(GONE)] == [ID]


def test_a_question_that_stays_unanswered_for_long_is_said_once(kept: Kept, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(keeper, "LONG_NS", 50_000_000)
    kept.plan.answers = [raises(NotNow(0.03, "more than 100 pages"))] * 8 + [lambda one: [fact_about(one, GONE)]]
    kept.ask()
    kept.facts(GONE)
    (line,) = [one for one in kept.said if "more than 100 pages" in one]
    assert "000065a1_01020007" in line


# --- the session -------------------------------------------------------------------------------------------------------------


def test_a_key_for_events_that_is_gone_ends_the_session_and_it_is_made_anew() -> None:
    is_gone = threading.Event()

    def keep_key() -> None:
        if is_gone.is_set():
            is_gone.clear()
            raise ConnectError("the key for events is gone (code -1125)")

    kept = Kept(Upkeep("key for events", 0.02, keep_key))
    try:
        wait_for(lambda: kept.plan.connects == 1 and bool(kept.memory.account["session"][0]))
        is_gone.set()
        wait_for(lambda: kept.plan.connects == 2 and bool(kept.memory.account["session"][0]))
        assert any("-1125" in line for line in kept.said) and any("connecting again" in line for line in kept.said)
    finally:
        kept.keeper.close()


def test_upkeep_that_fails_otherwise_is_said_and_leaves_the_session() -> None:
    def fail() -> None:
        raise OSError("busy")

    kept = Kept(Upkeep("key for events", 0.02, fail))
    try:
        wait_for(lambda: sum("busy" in line for line in kept.said) > 3)
        assert kept.plan.connects == 1 and kept.memory.account["session"][0] == 1
    finally:
        kept.keeper.close()


def test_a_request_that_is_refused_for_its_time_has_the_clock_measured_at_once(kept: Kept) -> None:
    wait_for(lambda: bool(kept.memory.account["session"][0]))
    assert kept.plan.measured == 1
    kept.memory.account["wrong_times"] += 5
    wait_for(lambda: kept.plan.measured == 2)
    kept.memory.account["wrong_times"] += 1
    wait_for(lambda: kept.plan.measured == 3)


# --- the dead man's switch and request weight --------------------------------------------------------------------------------


class Switch:
    """A switch of an account with two instruments, and what the venue was told."""

    def __init__(self, desk: Desk, most: int = 9) -> None:
        self.desk, self.told, self.said = desk, list[tuple[list[str], int]](), list[str]()
        self.made = DeadMan(
            self._hold_off, desk.table, desk.account, ["BTCUSDT", "ETHUSDT"], 10.0, most, self.said.append
        )

    def _hold_off(self, symbols: Any, countdown_ms: int) -> None:
        if names := list(symbols):
            self.told.append((names, countdown_ms))

    def tell(self, moves: bool = True) -> list[tuple[list[str], int]]:
        """What the venue is told next."""
        if moves:
            self.desk.account["presence_ns"] += 1
        self.told.clear()
        self.made.tell()
        return list(self.told)


@pytest.fixture
def desk() -> Iterator[Desk]:
    made = Desk("usdm")
    yield made
    made.close()


def rest(desk: Desk, id_: int, instrument: int = 0) -> None:
    """An order that rests."""
    assert desk.new(id_, instrument=instrument) == LEFT
    desk.accept(desk.requests()[0])
    assert [one[0] for one in desk.poll()] == ["ack"]


def test_the_switch_is_held_off_where_orders_are_open_and_while_the_loop_moves_alone(desk: Desk) -> None:
    switch = Switch(desk)
    assert switch.tell() == []
    rest(desk, ID)
    assert switch.tell() == [(["BTCUSDT"], 10_000)]
    assert switch.tell(moves=False) == [], "a loop that hangs would hold it off for ever"
    assert switch.tell() == [(["BTCUSDT"], 10_000)]
    desk.event(ID, "CANCELED", "CANCELED")
    desk.poll()
    assert switch.tell() == [(["BTCUSDT"], 0)], "what others have there is not cancelled"
    assert switch.tell() == []


def test_more_symbols_than_the_weight_allows_are_said_once(desk: Desk) -> None:
    switch = Switch(desk, most=1)
    rest(desk, ID)
    rest(desk, ID + 1, instrument=1)
    for _ in range(3):
        assert switch.tell() == [(["BTCUSDT"], 10_000)]
    (line,) = switch.said
    assert "2 symbols have open orders, it covers 1" in line
    switch.told.clear()
    switch.made.release()
    assert switch.told == [(["BTCUSDT"], 0)]


@pytest.mark.parametrize(("countdown_s", "most"), [(10.0, 2), (60.0, 15), (1.0, 1)])
def test_holding_it_off_costs_a_quarter_of_the_request_weight_at_most(countdown_s: float, most: int) -> None:
    assert USDM.countdown is not None and most_held(USDM, countdown_s) == most
    # It is told four times in the time that it waits.
    spent = most * USDM.countdown.weight * 60 * 4 / countdown_s
    assert most == 1 or spent <= USDM.market.weight_limit / 4
