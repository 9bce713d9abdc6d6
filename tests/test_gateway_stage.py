"""The gateway: at most once, never after a halt, every report through the table, and cancels whatever else is dead."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from memory import address, aligned, record
from risk_rig import BID, E8, NOW, TICK, fill_instrument, make, new_ring, pop_all, push

from hftpipe.core.machine.jit import entry, jit
from hftpipe.core.machine.mem import ZERO, copy_bytes, view
from hftpipe.core.schema import reasons
from hftpipe.core.schema.cells import (
    BROKEN_TRADE,
    HALT_CELL,
    LATE_FILL,
    ORPHAN_FILL,
    OVERFILL,
    POSITION_DIFFERS,
    SENT_UNAPPROVED,
    SESSION_LOST,
    UNBOOKABLE_FILL,
    UNREADABLE_REPORT,
    VENUE_FORGOT,
    WRONG_TERMS,
)
from hftpipe.core.schema.halts import HALTS, REDUCE_PLACE, halt_words, halts_bytes, set_scope
from hftpipe.core.schema.histogram import HIST_BYTES, summarize
from hftpipe.core.schema.instruments import INSTRUMENT
from hftpipe.core.schema.records import (
    ACK,
    ANSWERED_HERE,
    BOOK_RESET,
    BOOK_STATE,
    BUY,
    CANCEL,
    CANCEL_REJECT,
    CANCELED,
    EXPIRED,
    FILL,
    LAST,
    LEVEL,
    MARKET,
    NEW,
    OWN_CANCEL,
    POST_ONLY,
    RECORD,
    REDUCES,
    REJECT,
    REPLACE,
    REPLACED,
    REPORT,
    SELL,
    TRADE,
    UNASKED,
    VALID,
    VENUE_FAULT,
)
from hftpipe.core.schema.ring import RING
from hftpipe.core.shared.cell import set_halt
from hftpipe.core.shared.event_time import EVENT_TIME, REAL_TIME_MULT
from hftpipe.core.shared.ring import ring_peek, ring_pop, ring_push
from hftpipe.core.trading import order_table
from hftpipe.core.trading.order_table import ORDER, table_bytes, table_init
from hftpipe.core.trading.seen_fills import seen_bytes, seen_init
from hftpipe.gateway.stage import MAX_MARKET_PER_STEP, MAX_ORDERS_PER_STEP, STATE, step

MS = 1_000_000
#: A venue that keeps what it is sent and reports what the test tells it to.
FAKE = np.dtype(
    [
        ("requests", "u8"),
        ("reports", "u8"),
        ("played", "u8"),
        ("busy", "i8"),
        ("room", "i8"),
        ("silent_id", "u8"),
        ("taken", "i8"),
    ]
)


@jit
def fake_submit(venue, request):
    fake = view(venue, FAKE)
    if fake.busy != 0:
        return np.int64(0)
    if fake.taken != 0:
        return fake.taken
    return np.int64(1) if ring_push(fake.requests, request) else np.int64(0)


@jit
def fake_market(venue, item):
    return np.int64(1) if ring_push(view(venue, FAKE).played, item) else np.int64(0)


@jit
def fake_poll(venue, out):
    fake = view(venue, FAKE)
    slot = ring_peek(fake.reports)
    if slot == ZERO:
        return np.int64(0)
    copy_bytes(out, slot, np.int64(64))
    ring_pop(fake.reports)
    fake.room += 1
    return np.int64(1)


@entry("int64(uint64, int64)")
def fake_submit_entry(venue, request):
    return fake_submit(venue, np.uint64(request))


@entry("int64(uint64, int64)")
def fake_market_entry(venue, item):
    return fake_market(venue, np.uint64(item))


@entry("int64(uint64, int64)")
def fake_poll_entry(venue, out):
    return fake_poll(venue, np.uint64(out))


@entry("int64(uint64, int64)")
def fake_room_entry(venue, _unused):
    return view(venue, FAKE).room


@entry("int64(uint64, int64)")
def fake_unanswered_entry(venue, out):
    fake = view(venue, FAKE)
    if fake.silent_id == np.uint64(0):
        return np.int64(0)
    view(np.uint64(out), RECORD).id, fake.silent_id = fake.silent_id, np.uint64(0)
    return np.int64(1)


class GatewayRig:
    """The stage, its rings, and the fake venue."""

    def __init__(self, reports: int = 1024, slots: int = 1024) -> None:
        self.state, self.halt, self.fake = record(STATE), record(HALT_CELL), record(FAKE)
        self.time, self.max_ages = record(EVENT_TIME), aligned(64).view(np.int64)
        self.max_ages[:] = 10**9
        self.halts, self.scopes = aligned(halts_bytes(2)), aligned(halts_bytes(2))
        self.orders, self.reports, self.sim = new_ring(1024), new_ring(reports), new_ring(1024)
        self.venue = {name: new_ring(4096) for name in ("requests", "reports", "played")}
        self.progress, self.table = aligned(64).view(np.uint64), aligned(table_bytes(slots))
        self.hists = [aligned(HIST_BYTES) for _ in range(2)]
        table_init(self.table, slots)
        self.seen = aligned(seen_bytes(64))
        seen_init(self.seen, 64)
        self.fake["room"] = 1000
        for name, memory in self.venue.items():
            self.fake[name] = address(memory)
        for name in (
            "orders",
            "reports",
            "sim",
            "progress",
            "halt",
            "halts",
            "scopes",
            "time",
            "max_ages",
            "table",
            "seen",
        ):
            self.state[name] = address(getattr(self, name))
        self.state["h_risk_to_gateway"], self.state["h_tick_to_order"] = (address(h) for h in self.hists)
        self.state["n_scopes"], self.state["venue"] = halt_words(2), address(self.fake)
        for name, function in (
            ("submit", fake_submit_entry), ("market", fake_market_entry), ("poll", fake_poll_entry),
            ("room", fake_room_entry),
        ):  # fmt: skip
            self.state[f"venue_{name}"] = function.address

    def run_clock(self) -> None:
        """From now on event time is the monotonic time that each step is given; it is NOW."""
        self.time["mult"], self.time["mono_ns"], self.time["event_ts"] = REAL_TIME_MULT, NOW, NOW

    def step(self, now_ns: int = 0) -> int:
        return int(step(address(self.state), np.int64(now_ns)))

    def order(self, **fields: int) -> None:
        assert push(self.orders, make(**fields))

    def answer(self, **fields: int) -> None:
        """The venue reports."""
        assert push(self.venue["reports"], make(**fields))

    def requests(self) -> list[tuple[int, int]]:
        """What the venue was sent since last asked: (kind, id)."""
        return [(int(r["kind"]), int(r["id"])) for r in pop_all(self.venue["requests"])]

    def reported(self) -> list[tuple[int, int, int]]:
        """Reports since last asked: (kind, id, flags)."""
        return [(int(r["kind"]), int(r["id"]), int(r["flags"])) for r in pop_all(self.reports)]

    def count(self, name: str) -> int:
        return int(self.state[name][0])

    def state_of(self, id_: int) -> str:
        slot = int(order_table.order_find(address(self.table), np.uint64(id_)))
        if not slot:
            return "unknown"
        at = slot - self.table.ctypes.data
        return order_table.STATE_NAMES[self.table[at : at + ORDER.itemsize].view(ORDER)[0]["state"]]

    def working(self, *ids: int, **fields: int) -> None:
        """Acknowledged orders; rings empty afterwards."""
        for id_ in ids:
            self.order(id=id_, **fields)
            self.answer(kind=ACK, id=id_, **fields)
        self.step()
        self.requests(), self.reported()


@pytest.fixture
def rig() -> GatewayRig:
    return GatewayRig()


# Requests.


def test_a_stop_cancels_each_unknown_order_in_turn_however_often_the_venue_is_busy(rig):
    for id_ in (1, 2, 3, 4, 5):
        rig.order(id=id_)
    rig.step()
    rig.requests()
    rig.state["venue_unanswered"] = fake_unanswered_entry.address
    for id_ in (1, 2, 3, 4, 5):
        rig.fake["silent_id"] = id_
        rig.step()
    assert {rig.state_of(id_) for id_ in (1, 2, 3, 4, 5)} == {"UNKNOWN"}
    # A venue that takes two requests between two looks.
    rig.venue["requests"] = new_ring(2)
    rig.fake["requests"] = address(rig.venue["requests"])
    set_halt(rig.halt, True, 3, NOW)
    sent = []
    for _ in range(6):
        rig.step()
        sent += rig.requests()
    assert sorted(sent) == [(CANCEL, id_) for id_ in (1, 2, 3, 4, 5)], "none is due a second time yet"
    set_halt(rig.halt, False, 0, NOW)
    rig.step()
    set_halt(rig.halt, True, 3, NOW)
    rig.step()
    assert len(rig.requests()) == 2, "a second stop asks again"


def test_each_approved_record_is_sent_once_and_in_order(rig):
    rig.order(id=1)
    rig.order(id=2, side=SELL)
    rig.order(id=1, kind=CANCEL)
    rig.step()
    rig.step()
    assert rig.requests() == [(NEW, 1), (NEW, 2), (CANCEL, 1)]
    assert (rig.count("sent"), rig.count("cancels_sent"), rig.count("orders_seen")) == (2, 1, 3)
    assert (rig.state_of(1), rig.state_of(2)) == ("PENDING_CANCEL", "PENDING_NEW")


def test_replace_goes_out_once_acknowledged_and_not_before(rig):
    rig.order(id=1)
    rig.order(id=1, kind=REPLACE)
    rig.step()
    assert rig.requests() == [(NEW, 1)]
    assert rig.reported() == [(CANCEL_REJECT, 1, reasons.ILLEGAL_TRANSITION)]
    rig.answer(kind=ACK, id=1)
    rig.step()
    rig.order(id=1, kind=REPLACE, qty=2 * E8)
    rig.step()
    assert rig.requests() == [(REPLACE, 1)]
    assert rig.state_of(1) == "PENDING_REPLACE"
    assert rig.count("replaces_sent") == 1


@pytest.mark.parametrize("kind", [CANCEL, REPLACE])
def test_change_of_no_open_order_is_answered_not_sent(rig, kind):
    rig.working(1)
    rig.answer(kind=CANCELED, id=1)
    rig.step()
    rig.reported()
    for id_ in (1, 404):
        rig.order(id=id_, kind=kind)
    rig.step()
    assert rig.requests() == []
    assert rig.reported() == [(CANCEL_REJECT, i, reasons.UNKNOWN_ORDER) for i in (1, 404)]


def test_client_id_is_never_sent_twice(rig):
    rig.order(id=1)
    rig.order(id=1)
    rig.step()
    assert rig.requests() == [(NEW, 1)]
    assert rig.reported() == [(REJECT, 1, reasons.DUPLICATE_ID)]


def test_full_table_refuses_what_it_could_not_track():
    rig = GatewayRig(slots=16)
    for id_ in range(1, 18):
        rig.order(id=id_)
    rig.step()
    assert len(rig.requests()) == 16
    assert rig.reported() == [(REJECT, 17, reasons.GATEWAY_TABLE_FULL)]


def test_busy_venue_refuses_and_nothing_is_left_pending(rig):
    rig.working(1)
    rig.fake["busy"] = 1
    rig.order(id=2)
    rig.order(id=1, kind=REPLACE)
    rig.order(id=1, kind=CANCEL)
    rig.step()
    busy = reasons.VENUE_BUSY
    assert rig.reported() == [(REJECT, 2, busy), (CANCEL_REJECT, 1, busy), (CANCEL_REJECT, 1, busy)]
    assert (rig.state_of(1), rig.state_of(2)) == ("WORKING", "REJECTED")
    assert (rig.count("sent"), int(rig.state["rejects"][0][busy])) == (1, 3)


def test_record_that_is_no_request_is_answered_not_sent(rig):
    rig.order(id=1, kind=FILL)
    rig.step()
    assert rig.requests() == []
    assert rig.reported() == [(CANCEL_REJECT, 1, reasons.INVALID_VALUE)]


def test_latency_is_counted_from_the_tick_to_the_send(rig):
    rig.order(id=1, origin_tsc=1, sent_tsc=1)
    rig.order(id=2)
    rig.step()
    counts = [summarize(h.view(np.int64), 1.0).count for h in rig.hists]
    assert counts == [1, 1], "the second order has no origin"


# Too old.


def test_an_order_that_lay_too_long_is_refused_and_a_cancel_never_is(rig):
    rig.working(1, 2)
    rig.run_clock()
    rig.order(id=3)
    rig.order(id=1, kind=REPLACE, qty=2 * E8)
    rig.order(id=2, kind=CANCEL)
    rig.order(id=4, local_ts=NOW + 1)
    rig.step(NOW + 10**9 + 1)
    assert rig.requests() == [(CANCEL, 2), (NEW, 4)]
    stale = reasons.INTENT_STALE
    assert rig.reported() == [(REJECT, 3, stale), (CANCEL_REJECT, 1, stale)]
    assert (rig.state_of(3), rig.state_of(1), int(rig.state["rejects"][0][stale])) == ("unknown", "WORKING", 2)


def test_an_order_exactly_at_its_age_leaves(rig):
    rig.run_clock()
    rig.order(id=1)
    rig.step(NOW + 10**9)
    assert rig.requests() == [(NEW, 1)]


def test_each_instrument_has_its_own_age(rig):
    rig.max_ages[:2] = 5, 10
    rig.run_clock()
    rig.order(id=1, instrument=0)
    rig.order(id=2, instrument=1)
    rig.step(NOW + 6)
    assert rig.requests() == [(NEW, 2)]


# Stopping.


def test_halt_stops_every_order_and_replace_and_no_cancel(rig):
    rig.working(1, 2)
    set_halt(rig.halt, True, 3, NOW)
    rig.order(id=3)
    rig.order(id=1, kind=REPLACE)
    rig.order(id=1, kind=CANCEL)
    rig.step()
    assert {kind for kind, _ in rig.requests()} == {CANCEL}
    assert rig.reported() == [(REJECT, 3, reasons.HALTED), (CANCEL_REJECT, 1, reasons.ILLEGAL_TRANSITION)]


def refused_halt_cancel(rig: GatewayRig) -> None:
    """Order 1 is working again although halted: the venue refused to cancel it."""
    rig.working(1)
    set_halt(rig.halt, True, 3, NOW)
    rig.step()
    rig.answer(kind=CANCEL_REJECT, id=1, flags=reasons.VENUE_BUSY)
    rig.step()
    assert (rig.requests(), rig.state_of(1)) == ([(CANCEL, 1)], "WORKING")
    rig.reported()


def test_halt_stops_a_replace_that_the_order_table_would_allow(rig):
    refused_halt_cancel(rig)
    rig.order(id=1, kind=REPLACE, qty=2 * E8)
    rig.step()
    assert rig.requests() == []
    assert rig.reported() == [(CANCEL_REJECT, 1, reasons.HALTED)]


def cancels_over(rig: GatewayRig, seconds: float, answer=lambda: None) -> list[int]:
    """When (ms) cancels leave within so many seconds of steps a millisecond apart; ``answer`` is called after each."""
    found = []
    for now_ms in range(1, int(seconds * 1000)):
        rig.step(now_ms * MS)
        for request in rig.requests():
            assert request == (CANCEL, 1)
            found.append(now_ms)
            answer()
    return found


#: At once, then after 50 ms, each wait twice the last, up to a second.
RETRIES_MS = [1, 51, 151, 351, 751, 1551, 2551, 3551]


def test_a_refused_halt_cancel_goes_out_again_with_growing_waits_until_the_order_has_ended(rig):
    rig.working(1)
    set_halt(rig.halt, True, 3, NOW)
    refuse = lambda: rig.answer(kind=CANCEL_REJECT, id=1, flags=reasons.VENUE_BUSY)  # noqa: E731
    assert cancels_over(rig, 4, refuse) == RETRIES_MS
    assert (rig.count("halt_cancels"), rig.count("halt_cancels_again")) == (1, len(RETRIES_MS) - 1)
    rig.answer(kind=CANCELED, id=1)
    for now_ms in range(4000, 8000):
        rig.step(now_ms * MS)
    assert (rig.requests(), rig.state_of(1)) == ([], "CANCELED")


def test_a_halt_cancel_without_an_answer_goes_out_again(rig):
    rig.working(1)
    set_halt(rig.halt, True, 3, NOW)
    assert cancels_over(rig, 4) == RETRIES_MS


def test_an_unknown_order_is_cancelled_again_until_its_end_is_known(rig):
    rig.state["venue_unanswered"] = fake_unanswered_entry.address
    rig.working(1)
    rig.fake["silent_id"] = 1
    rig.step()
    set_halt(rig.halt, True, 3, NOW)
    assert cancels_over(rig, 4) == RETRIES_MS and rig.state_of(1) == "UNKNOWN"


def test_a_cancel_of_the_strategys_own_counts_at_a_halt_until_it_is_refused(rig):
    rig.working(1)
    rig.order(id=1, kind=CANCEL)
    rig.step()
    set_halt(rig.halt, True, 3, NOW)
    rig.step(MS)
    assert (rig.requests(), rig.count("halt_cancels")) == ([(CANCEL, 1)], 0)
    rig.answer(kind=CANCEL_REJECT, id=1, flags=reasons.VENUE_BUSY)
    assert cancels_over(rig, 0.2)[:2] == [51, 101]
    assert rig.count("halt_cancels") == 1


def test_a_refusal_that_may_be_that_of_our_own_cancel_is_told_as_such(rig):
    """Who is above knows of no cancel, and would take it for the answer to the replace."""
    rig.working(1)
    rig.order(id=1, kind=REPLACE, qty=9 * E8, price=100 * E8)
    rig.step()
    set_halt(rig.halt, True, 3, NOW)
    rig.step(MS)
    assert rig.requests() == [(REPLACE, 1), (CANCEL, 1)]
    set_halt(rig.halt, False, 0, NOW)
    for _ in range(2):
        # A venue cannot mark one.
        rig.answer(kind=CANCEL_REJECT, id=1, flags=reasons.VENUE_BUSY, venue_id=int(OWN_CANCEL))
    rig.step(2 * MS)
    told = [one.view(REPORT)["venue_id"] for one in pop_all(rig.reports) if one["kind"] == CANCEL_REJECT]
    assert told == [OWN_CANCEL, 0]


def test_a_second_stop_starts_its_cancels_anew(rig):
    rig.working(1)
    set_halt(rig.halt, True, 3, NOW)
    assert cancels_over(rig, 1) == RETRIES_MS[:5]
    set_halt(rig.halt, False, 0, NOW)
    rig.step(1000 * MS)
    rig.answer(kind=CANCEL_REJECT, id=1, flags=reasons.VENUE_BUSY)
    rig.step(1001 * MS)
    set_halt(rig.halt, True, 3, NOW)
    rig.step(1002 * MS)
    assert rig.requests() == [(CANCEL, 1)]


@pytest.mark.parametrize("state", ["PENDING_NEW", "WORKING", "PENDING_REPLACE"])
def test_halt_cancels_every_open_order_once_though_risk_and_strategy_are_dead(rig, state):
    rig.working(1, 2)
    rig.order(id=3)
    if state == "PENDING_REPLACE":
        rig.order(id=2, kind=REPLACE)
    rig.step()
    rig.requests()
    set_halt(rig.halt, True, 3, NOW)
    for _ in range(3):
        rig.step()
    assert sorted(rig.requests()) == [(CANCEL, 1), (CANCEL, 2), (CANCEL, 3)]
    assert rig.count("halt_cancels") == 3
    assert rig.count("cancels_sent") == 0, "nobody asked for them"
    assert rig.count("halt_cancels_confirmed") == 0
    for kind, id_ in ((CANCELED, 1), (CANCELED, 1), (EXPIRED, 2)):
        rig.answer(kind=kind, id=id_)
    rig.answer(kind=FILL, id=3, qty=E8, price=100 * E8)
    rig.step()
    assert rig.count("halt_cancels_confirmed") == 2, "each once, and what was filled was not cancelled"


def reduce(rig: GatewayRig, is_reducing: bool, at: int) -> None:
    set_scope(rig.halts, REDUCE_PLACE, 3 if is_reducing else 0, at)


def test_while_reducing_only_what_risk_approved_for_that_leaves_and_stays(rig):
    rig.working(1, 2)
    reduce(rig, True, 7)
    rig.order(id=3)
    rig.order(id=4, side=SELL, flags=REDUCES)
    rig.order(id=1, kind=REPLACE, qty=2 * E8)
    rig.step()
    left = pop_all(rig.venue["requests"])
    assert sorted((int(r["kind"]), int(r["id"])) for r in left) == [(NEW, 4), (CANCEL, 1), (CANCEL, 2)]
    assert all(r["flags"] == 0 for r in left), "the venue is told nothing of it"
    assert (REJECT, 3, reasons.HALTED) in rig.reported()
    for id_ in (1, 2):
        rig.answer(kind=CANCELED, id=id_)
    rig.answer(kind=ACK, id=4, side=SELL)
    rig.step()
    rig.step(10**9)
    assert rig.requests() == [], "what makes the position smaller is left alone"
    rig.order(id=4, kind=REPLACE, side=SELL, qty=E8 // 2, flags=REDUCES)
    rig.step(10**9)
    assert rig.requests() == [(REPLACE, 4)]


def test_what_was_approved_for_an_earlier_time_of_reducing_is_cancelled_in_the_next(rig):
    reduce(rig, True, 7)
    rig.working(1, side=SELL, flags=REDUCES)
    reduce(rig, False, 8)
    rig.order(id=2)
    rig.step()
    assert rig.requests() == [(NEW, 2)]
    reduce(rig, True, 9)
    rig.step()
    assert sorted(rig.requests()) == [(CANCEL, 1), (CANCEL, 2)]


def test_reducing_that_comes_between_the_step_s_begin_and_the_send_is_seen(rig):
    """The word is set, but its time is not yet: the step does not know, the last look does."""
    rig.halts[: HALTS.itemsize].view(HALTS)["reducing"] = 3
    rig.order(id=1)
    rig.order(id=2, flags=REDUCES)
    rig.step()
    assert rig.requests() == [(NEW, 2)] and rig.reported() == [(REJECT, 1, reasons.HALTED)]


def test_halt_cancels_name_side_instrument_and_event_time(rig):
    rig.working(1, side=SELL, instrument=1, strategy=4)
    set_halt(rig.halt, True, 3, NOW)
    rig.step()
    (sent,) = pop_all(rig.venue["requests"])
    assert [int(sent[n]) for n in ("kind", "id", "side", "instrument", "strategy", "local_ts")] == [
        CANCEL, 1, SELL, 1, 4, NOW,
    ]  # fmt: skip


def test_halt_cancels_go_on_when_the_venue_was_busy(rig):
    rig.working(1, 2)
    rig.fake["busy"] = 1
    set_halt(rig.halt, True, 3, NOW)
    rig.step()
    assert rig.requests() == []
    rig.fake["busy"] = 0
    rig.step()
    assert sorted(rig.requests()) == [(CANCEL, 1), (CANCEL, 2)]


def test_second_halt_cancels_again(rig):
    for id_ in (1, 2):
        rig.working(id_)
        set_halt(rig.halt, True, 3, NOW)
        rig.step()
        assert rig.requests() == [(CANCEL, id_)]
        rig.answer(kind=CANCELED, id=id_)
        set_halt(rig.halt, False, 0, NOW)
        rig.step()


def test_halted_paper_venue_plays_on_without_risk_so_that_cancels_are_confirmed(rig):
    for _ in range(3):
        push(rig.sim, make(kind=TRADE))
    rig.step()
    assert rig.count("sim_records") == 0
    set_halt(rig.halt, True, 3, NOW)
    rig.step()
    assert rig.count("sim_records") == 3


# Reports.


def test_life_of_an_order_as_reported(rig):
    rig.working(1, qty=3 * E8)
    seen = []
    for report in (
        {"kind": FILL, "qty": E8, "fee": 0},
        {"kind": FILL, "qty": 2 * E8, "fee": 0},
    ):
        rig.answer(id=1, **report)
        rig.step()
        seen.append(rig.state_of(1))
    assert seen == ["PARTIAL", "FILLED"]
    assert [kind for kind, *_ in rig.reported()] == [FILL, FILL]
    assert (rig.count("acks"), rig.count("fills"), rig.count("illegal")) == (1, 2, 0)


@pytest.mark.parametrize(
    "kind, state, counter",
    [(CANCELED, "CANCELED", "canceled"), (EXPIRED, "EXPIRED", "expired"), (REJECT, "REJECTED", "rejected")],
)
def test_end_of_an_order_is_counted_and_passed_on(rig, kind, state, counter):
    rig.order(id=1)
    rig.answer(kind=kind, id=1, flags=reasons.IOC_REMAINDER)
    rig.step()
    assert rig.state_of(1) == state
    assert rig.reported() == [(kind, 1, reasons.IOC_REMAINDER)]
    assert rig.count(counter) == 1


def test_replaced_order_fills_up_to_its_new_quantity(rig):
    rig.working(1)
    rig.order(id=1, kind=REPLACE, qty=2 * E8)
    rig.answer(kind=REPLACED, id=1, qty=2 * E8)
    rig.answer(kind=FILL, id=1, qty=E8, fee=0)
    rig.step()
    assert rig.state_of(1) == "PARTIAL"
    rig.answer(kind=FILL, id=1, qty=E8, fee=0)
    rig.step()
    assert rig.state_of(1) == "FILLED"
    assert (rig.count("tripped"), rig.count("replaced")) == (0, 1)


def test_a_replace_under_way_may_fill_though_the_venue_changed_the_order_before(rig):
    rig.working(1)
    rig.order(id=1, kind=REPLACE, qty=3 * E8)
    rig.answer(kind=REPLACED, id=1, qty=E8 // 2, flags=UNASKED)
    rig.step()
    assert rig.state_of(1) == "PENDING_REPLACE"
    rig.answer(kind=FILL, id=1, qty=2 * E8, fee=0)
    rig.step()
    assert (rig.count("tripped"), rig.count("overfills")) == (0, 0)


def test_an_order_refused_while_a_replace_of_it_is_under_way_has_ended(rig):
    """Its cancel was refused before the venue had answered it, and it was replaced then."""
    rig.order(id=1)
    rig.order(id=1, kind=CANCEL)
    rig.answer(kind=CANCEL_REJECT, id=1)
    rig.step()
    rig.order(id=1, kind=REPLACE, qty=2 * E8)
    rig.answer(kind=REJECT, id=1)
    rig.step()
    assert rig.state_of(1) == "REJECTED"
    rig.answer(kind=CANCEL_REJECT, id=1)
    rig.step()
    assert (rig.state_of(1), rig.count("illegal"), rig.count("tripped")) == ("REJECTED", 0, 0)


def test_refused_replace_leaves_the_old_quantity(rig):
    rig.working(1)
    rig.order(id=1, kind=REPLACE, qty=2 * E8)
    rig.answer(kind=CANCEL_REJECT, id=1)
    rig.answer(kind=FILL, id=1, qty=E8, fee=0)
    rig.step()
    assert rig.state_of(1) == "FILLED"
    assert rig.count("cancel_rejects") == 1


def test_late_fill_is_passed_on_and_counted(rig):
    rig.working(1)
    rig.answer(kind=CANCELED, id=1)
    rig.answer(kind=FILL, id=1, qty=E8, fee=0)
    rig.step()
    assert [kind for kind, *_ in rig.reported()] == [CANCELED, FILL]
    assert (rig.count("late_fills"), rig.count("trip_cause"), rig.state_of(1)) == (1, LATE_FILL, "UNKNOWN")
    rig.step()
    assert rig.requests() == [(CANCEL, 1)], "it lives at the venue"
    rig.answer(kind=CANCELED, id=1)
    rig.step()
    assert rig.state_of(1) == "CANCELED"


def test_an_overfilled_order_is_unknown_and_cancelled_until_its_end_is_known(rig):
    rig.working(1)
    rig.answer(kind=FILL, id=1, qty=E8 + 1, fee=0)
    rig.step()
    assert [kind for kind, *_ in rig.reported()] == [FILL]
    assert (rig.count("overfills"), rig.count("trip_cause"), rig.state_of(1)) == (1, OVERFILL, "UNKNOWN")
    assert (rig.count("fault_id"), rig.count("fault_qty")) == (1, E8 + 1)
    rig.step()
    assert rig.requests() == [(CANCEL, 1)]


WRONG = [
    {"kind": ACK, "qty": E8 + 1}, {"kind": ACK, "price": 101 * E8}, {"kind": REPLACED, "qty": E8 + 1},
    {"kind": REPLACED, "price": 99 * E8}, {"kind": REPLACED, "qty": E8 + 1, "flags": UNASKED},
    {"kind": REPLACED, "price": 99 * E8, "flags": UNASKED},
]  # fmt: skip


@pytest.mark.parametrize("report", WRONG)
def test_terms_that_nobody_asked_for_are_not_believed_and_end_trading_by_name(rig, report):
    rig.order(id=1)
    rig.answer(id=1, **report)
    rig.step()
    assert (rig.count("wrong_terms"), rig.count("trip_cause"), rig.state_of(1)) == (1, WRONG_TERMS, "UNKNOWN")
    assert rig.reported() == []
    rig.answer(kind=FILL, id=1, qty=E8 + 1, fee=0)
    rig.step()
    assert (CANCEL, 1) in rig.requests()
    assert rig.count("overfills") == 1, "measured by what was asked for"


@pytest.mark.parametrize("report", [{"qty": 3 * E8 + 1}, {"qty": 3 * E8, "price": 100 * E8}])
def test_a_replace_carried_out_on_other_terms_ends_trading_by_name(rig, report):
    rig.working(1)
    rig.order(id=1, kind=REPLACE, qty=3 * E8, price=101 * E8)
    rig.answer(kind=REPLACED, id=1, **{"price": 101 * E8, **report})
    rig.step()
    assert (rig.count("trip_cause"), rig.state_of(1)) == (WRONG_TERMS, "UNKNOWN")


def test_a_market_order_is_acknowledged_at_any_price(rig):
    rig.order(id=1, price=0, flags=MARKET)
    rig.answer(kind=ACK, id=1, price=7 * E8)
    rig.step()
    assert (rig.count("tripped"), rig.state_of(1)) == (0, "WORKING")


def test_a_cancel_that_was_answered_without_leaving_is_not_counted_as_sent(rig):
    rig.working(1)
    rig.fake["taken"] = ANSWERED_HERE
    set_halt(rig.halt, True, 3, NOW)
    rig.step()
    assert (rig.count("halt_cancels"), rig.count("halt_cancels_again")) == (0, 0)
    rig.fake["taken"] = 0
    rig.step(10**9)
    assert (rig.count("halt_cancels"), rig.count("halt_cancels_again")) == (1, 0)


def test_refused_cancel_that_crossed_a_fill_is_no_alarm(rig):
    rig.working(1)
    rig.answer(kind=FILL, id=1, qty=E8, fee=0)
    rig.answer(kind=CANCEL_REJECT, id=1, flags=reasons.VENUE_UNKNOWN_ORDER)
    rig.step()
    assert [kind for kind, *_ in rig.reported()] == [FILL, CANCEL_REJECT]
    assert (rig.count("illegal"), rig.count("late_fills")) == (0, 0)


def test_unknown_id_is_counted_and_only_its_fills_are_passed_on(rig):
    rig.answer(kind=ACK, id=404)
    rig.answer(kind=FILL, id=404, fee=0)
    rig.step()
    assert [kind for kind, *_ in rig.reported()] == [FILL]
    assert rig.count("unknown_reports") == 2
    assert (rig.count("orphan_fills"), rig.count("trip_cause")) == (1, ORPHAN_FILL)


def test_illegal_report_is_counted_passed_on_and_moves_nothing(rig):
    rig.working(1, qty=3 * E8)
    rig.answer(kind=FILL, id=1, qty=E8, fee=0)
    rig.answer(kind=REJECT, id=1)
    rig.step()
    assert (rig.count("illegal"), rig.state_of(1)) == (1, "PARTIAL")
    assert [kind for kind, *_ in rig.reported()] == [FILL, REJECT]


def test_fill_reported_twice_under_one_number_counts_once(rig):
    rig.working(1, qty=3 * E8)
    for number in (6, 6, 5, 6):
        rig.answer(kind=FILL, id=1, qty=E8, fee=0, trade_id=number)
    rig.step()
    assert [kind for kind, *_ in rig.reported()] == [FILL, FILL]
    assert (rig.count("duplicate_fills"), rig.count("fills"), rig.state_of(1)) == (2, 2, "PARTIAL")


def test_a_fill_told_again_after_its_order_was_forgotten_counts_once():
    """A venue that tells a day's executions once more after a reconnect."""
    rig = GatewayRig(slots=16)
    rig.working(1, qty=E8)
    rig.answer(kind=FILL, id=1, qty=E8, trade_id=77)
    rig.step()
    for id_ in range(2, 30):
        rig.working(id_)
        rig.answer(kind=CANCELED, id=id_, qty=E8, flags=reasons.USER_REQUEST)
        rig.step()
    assert rig.state_of(1) == "unknown"
    rig.reported()
    rig.answer(kind=FILL, id=1, qty=E8, trade_id=77)
    rig.step()
    assert rig.reported() == [] and (rig.count("duplicate_fills"), rig.count("tripped")) == (1, 0)


def test_fill_numbers_have_64_bits_and_come_in_any_order(rig):
    rig.working(1, qty=5 * E8)
    for number in (2**63 + 5, 2**63 + 6, 1, 2**64 - 1, 2**63 + 5):
        rig.answer(kind=FILL, id=1, qty=E8, fee=0, trade_id=number)
    rig.step()
    assert (rig.count("duplicate_fills"), rig.count("fills"), rig.state_of(1)) == (1, 4, "PARTIAL")


def test_equal_fills_without_numbers_all_count(rig):
    rig.working(1, qty=3 * E8)
    for _ in range(3):
        rig.answer(kind=FILL, id=1, qty=E8, fee=0)
    rig.step()
    assert (rig.count("fills"), rig.count("duplicate_fills"), rig.state_of(1)) == (3, 0, "FILLED")


# Invariants.


@pytest.mark.parametrize("fill", [{"qty": 0}, {"qty": -1}, {"price": 0}])
def test_impossible_fill_trips_and_is_passed_on(rig, fill):
    rig.working(1, 2)
    rig.answer(**{"kind": FILL, "id": 1, "fee": 0, **fill})
    rig.step()
    assert [kind for kind, *_ in rig.reported()] == [FILL]
    assert (rig.count("unbookable_fills"), rig.count("tripped"), rig.count("trip_cause")) == (1, 1, UNBOOKABLE_FILL)
    assert rig.count("fault_id") == 1, "of which order it was"
    rig.order(id=3)
    rig.step()
    assert (CANCEL, 2) in rig.requests(), "what is still open is cancelled"
    assert rig.reported() == [(REJECT, 3, reasons.HALTED)]


def test_trip_outlasts_the_clearing_of_a_halt(rig):
    rig.working(1)
    rig.answer(kind=FILL, id=1, qty=2 * E8, fee=0)
    rig.step()
    set_halt(rig.halt, True, 4, NOW)
    rig.step()
    set_halt(rig.halt, False, 0, NOW)
    rig.order(id=3)
    rig.step()
    assert (NEW, 3) not in rig.requests()


def test_more_requests_than_the_ring_delivered_trips(rig):
    rig.order(id=1)
    rig.step()
    rig.state["sent"] += 1
    rig.order(id=2)
    rig.step()
    assert rig.requests() == [(NEW, 1)]
    assert (rig.count("sent_unapproved"), rig.count("tripped")) == (1, 1)
    assert (rig.count("trip_cause"), rig.count("fault_id")) == (SENT_UNAPPROVED, 2)


@pytest.mark.parametrize(
    ("cause", "counter"),
    [
        (ORPHAN_FILL, "orphan_fills"),
        (BROKEN_TRADE, "broken_trades"),
        (VENUE_FORGOT, "venue_forgot"),
        (WRONG_TERMS, "wrong_terms"),
        (UNREADABLE_REPORT, "unreadable_reports"),
        (SESSION_LOST, "session_lost"),
        (POSITION_DIFFERS, "position_differs"),
    ],
)
def test_what_the_venue_says_and_nobody_can_book_is_counted_kept_and_ends_trading(rig, cause, counter):
    rig.working(1, 2)
    rig.answer(kind=VENUE_FAULT, flags=cause, id=999, price=7, qty=5)
    rig.answer(kind=VENUE_FAULT, flags=ORPHAN_FILL, id=1000)
    rig.step()
    assert rig.reported() == [], "there is no order it could be a report of"
    assert rig.count(counter) == 1 + (cause == ORPHAN_FILL)
    assert (rig.count("tripped"), rig.count("trip_cause"), rig.count("unbookable_fills")) == (1, cause, 0)
    assert [rig.count(name) for name in ("fault_id", "fault_price", "fault_qty")] == [999, 7, 5], "those of the first"
    rig.order(id=3)
    rig.step()
    assert sorted(rig.requests()) == [(CANCEL, 1), (CANCEL, 2)]
    assert rig.reported() == [(REJECT, 3, reasons.HALTED)]


def test_an_order_the_venue_forgot_is_unknown_and_counts_until_it_is_known(rig):
    rig.state["venue_unanswered"] = fake_unanswered_entry.address
    rig.working(1)
    rig.fake["silent_id"] = 1
    rig.step()
    assert (rig.state_of(1), rig.count("unanswered")) == ("UNKNOWN", 1)
    rig.answer(kind=CANCELED, id=1)
    rig.step()
    assert rig.state_of(1) == "CANCELED"


# Room.


def test_full_reports_ring_loses_no_report():
    rig = GatewayRig(reports=4)
    rig.working(1)
    for number in range(1, 11):
        rig.answer(kind=FILL, id=404, fee=0, flags=number)
    seen = []
    for _ in range(5):
        rig.step()
        seen += [flags for _, _, flags in rig.reported()]
    assert seen == list(range(1, 11))
    assert rig.count("reports_held") > 0


def test_full_reports_ring_holds_orders_but_no_cancel():
    rig = GatewayRig(reports=2)
    rig.working(1)
    for _ in range(2):
        rig.answer(kind=FILL, id=1, qty=E8 // 4, fee=0)
    rig.step()
    rig.order(id=1, kind=CANCEL)
    rig.order(id=1, kind=CANCEL)
    rig.order(id=2)
    rig.step()
    assert rig.requests() == [(CANCEL, 1), (CANCEL, 1)]
    rig.reported()
    rig.step()
    assert rig.requests() == [(NEW, 2)], "held, not lost"


def test_refusal_of_a_cancel_waits_for_room_and_is_told_once():
    rig = GatewayRig(reports=2)
    for _ in range(2):
        rig.answer(kind=FILL, id=404, fee=0)
    rig.step()
    rig.order(id=9, kind=CANCEL)
    rig.step()
    assert len(rig.reported()) == 2
    rig.step()
    assert rig.reported() == [(CANCEL_REJECT, 9, reasons.UNKNOWN_ORDER)]
    assert rig.count("orders_seen") == 1


# The market of the paper venue.


def test_paper_market_waits_for_risk(rig):
    for number in range(5):
        push(rig.sim, make(kind=TRADE, id=number))
    rig.progress[0] = 3
    rig.step()
    assert [int(r["id"]) for r in pop_all(rig.venue["played"])] == [0, 1, 2]
    rig.progress[0] = 5
    rig.step()
    assert [int(r["id"]) for r in pop_all(rig.venue["played"])] == [3, 4]


def test_orders_are_sent_before_the_market_they_were_caused_by_is_played_past():
    """The orders ring is not yet empty: the market stands still, however far risk has come."""
    rig = GatewayRig(reports=2)
    rig.working(7)
    for _ in range(2):
        rig.answer(kind=FILL, id=7, qty=E8 // 4, fee=0)
    rig.step()
    rig.order(id=1)
    push(rig.sim, make(kind=TRADE))
    rig.progress[0] = 1
    rig.step()
    assert rig.count("sim_records") == 0
    rig.reported()
    rig.step()
    assert (rig.count("sent"), rig.count("sim_records")) == (2, 1)


def test_market_stands_still_while_one_step_cannot_take_all_orders(rig):
    for id_ in range(1, MAX_ORDERS_PER_STEP + 10):
        rig.order(id=id_)
    push(rig.sim, make(kind=TRADE))
    rig.progress[0] = 1
    rig.step()
    assert (rig.count("sent"), rig.count("sim_records")) == (MAX_ORDERS_PER_STEP, 0)
    rig.step()
    assert (rig.count("sent"), rig.count("sim_records")) == (MAX_ORDERS_PER_STEP + 9, 1)


def test_market_waits_for_room_to_report_in():
    rig = GatewayRig(reports=64)
    rig.answer(kind=FILL, id=404, fee=0)
    rig.step()
    push(rig.sim, make(kind=TRADE))
    rig.progress[0] = 1
    rig.step()
    assert rig.count("sim_records") == 0, "63 free of 64"
    rig.reported()
    rig.step()
    assert rig.count("sim_records") == 1


def test_venue_without_room_is_polled_before_it_is_fed(rig):
    rig.fake["room"] = 0
    rig.answer(kind=FILL, id=404, fee=0)
    push(rig.sim, make(kind=TRADE))
    rig.progress[0] = 1
    rig.step()
    assert (rig.count("sim_records"), len(rig.reported())) == (1, 1)
    rig.fake["room"] = 0
    push(rig.sim, make(kind=TRADE))
    rig.progress[0] = 2
    rig.step()
    assert rig.count("sim_records") == 1, "nothing to poll: tried again next time"


def test_one_step_plays_a_bounded_piece_of_market(rig):
    for _ in range(MAX_MARKET_PER_STEP + 5):
        push(rig.sim, make(kind=TRADE))
    rig.progress[0] = 2**40
    rig.step()
    assert rig.count("sim_records") == MAX_MARKET_PER_STEP
    rig.step()
    assert rig.count("sim_records") == MAX_MARKET_PER_STEP + 5


# Property: whatever happens, nothing is sent twice, unasked, or after a halt.

EVENTS = st.lists(
    st.tuples(
        st.sampled_from(["new", "replace", "cancel", "ack", "fill", "canceled", "reject", "halt", "clear", "busy"]),
        st.integers(1, 12),
    ),
    max_size=80,
)


@settings(max_examples=100)
@given(EVENTS)
def test_no_sequence_of_events_sends_twice_or_after_a_halt(events):
    rig, news, replaces, sent, halted = GatewayRig(), 0, 0, [], False
    for what, id_ in events:
        if what == "new":
            news += 1
            rig.order(id=id_)
        elif what == "replace":
            replaces += 1
            rig.order(id=id_, kind=REPLACE, qty=E8)
        elif what == "cancel":
            rig.order(id=id_, kind=CANCEL)
        elif what in ("halt", "clear"):
            halted = what == "halt"
            set_halt(rig.halt, halted, 3, NOW)
        elif what == "busy":
            rig.fake["busy"] = 1 - rig.fake["busy"][0]
        else:
            kind = {"ack": ACK, "fill": FILL, "canceled": CANCELED, "reject": REJECT}[what]
            rig.answer(kind=kind, id=id_, qty=E8 // 4)
        rig.step()
        fresh = rig.requests()
        assert not halted or all(kind == CANCEL for kind, _ in fresh)
        sent += fresh
    ids = [id_ for kind, id_ in sent if kind == NEW]
    assert len(ids) == len(set(ids)) == rig.count("sent") <= news
    assert sum(kind == REPLACE for kind, _ in sent) == rig.count("replaces_sent") <= replaces
    assert rig.count("orders_seen") == sum(what in ("new", "replace", "cancel") for what, _ in events)
    if rig.count("tripped"):
        causes = (
            "unbookable_fills",
            "sent_unapproved",
            "wrong_prices",
            "orphan_fills",
            "overfills",
            "late_fills",
            "wrong_terms",
        )
        assert any(rig.count(name) for name in causes)


# With the real paper venue.


def level(side: int, price: int, qty: int, ts: int, last: bool) -> np.ndarray:
    return make(kind=LEVEL, side=side, price=price, qty=qty, local_ts=ts, exchange_ts=ts, flags=LAST if last else 0)


def test_orders_fill_on_the_simulated_exchange_and_come_back():
    exchange = pytest.importorskip("hftpipe.venues.paper.exchange")
    rig = GatewayRig()
    instruments = aligned(INSTRUMENT.itemsize).view(INSTRUMENT)
    fill_instrument(instruments)
    memory = aligned(exchange.exchange_bytes(1))
    exchange.exchange_init(memory, instruments, exchange.SimModel())
    rig.state["venue"], rig.state["venue_room"] = address(memory), 0
    for name in ("submit", "market", "poll"):
        rig.state[f"venue_{name}"] = getattr(exchange, f"{name}_entry").address
    push(rig.sim, make(kind=BOOK_RESET, qty=0, price=0))
    push(rig.sim, make(kind=BOOK_STATE, flags=VALID, qty=0, price=0))
    push(rig.sim, level(BUY, BID, 5 * E8, NOW, False))
    push(rig.sim, level(SELL, BID + TICK, 5 * E8, NOW, True))
    rig.order(id=1, flags=MARKET, price=0, qty=E8 // 10, local_ts=NOW)
    rig.order(id=2, flags=POST_ONLY, price=BID - TICK, qty=E8, local_ts=NOW)
    rig.progress[0] = 4
    rig.step()
    for delay_ns in (10**6, 2 * 10**6, 3 * 10**6):
        push(rig.sim, level(BUY, BID, 6 * E8, NOW + delay_ns, True))
    rig.progress[0] = 7
    rig.step()
    assert (rig.state_of(1), rig.state_of(2)) == ("FILLED", "WORKING")
    assert {(kind, id_) for kind, id_, _ in rig.reported()} >= {(FILL, 1), (ACK, 2)}
    set_halt(rig.halt, True, 3, NOW)
    for delay_ns in (4 * 10**6, 5 * 10**6, 6 * 10**6):
        push(rig.sim, level(BUY, BID, 7 * E8, NOW + delay_ns, True))
    rig.step()
    assert rig.state_of(2) == "CANCELED", "confirmed though risk publishes no progress any more"
    assert (rig.count("illegal"), rig.count("unknown_reports"), rig.count("unbookable_fills")) == (0, 0, 0)


def paper_rig() -> GatewayRig:
    """The gateway before the real paper venue, whose book is open, with order 2 resting."""
    exchange = pytest.importorskip("hftpipe.venues.paper.exchange")
    rig = GatewayRig()
    rig.instruments = aligned(INSTRUMENT.itemsize).view(INSTRUMENT)
    fill_instrument(rig.instruments)
    rig.memory = aligned(exchange.exchange_bytes(1))
    exchange.exchange_init(rig.memory, rig.instruments, exchange.SimModel())
    rig.state["venue"], rig.state["venue_room"] = address(rig.memory), 0
    for name in ("submit", "market", "poll"):
        rig.state[f"venue_{name}"] = getattr(exchange, f"{name}_entry").address
    push(rig.sim, make(kind=BOOK_RESET, qty=0, price=0))
    push(rig.sim, make(kind=BOOK_STATE, flags=VALID, qty=0, price=0))
    push(rig.sim, level(BUY, BID, 5 * E8, NOW, False))
    push(rig.sim, level(SELL, BID + TICK, 5 * E8, NOW, True))
    rig.order(id=2, flags=POST_ONLY, price=BID - TICK, qty=E8, local_ts=NOW)
    push(rig.sim, level(BUY, BID, 6 * E8, NOW + 10 * MS, True))
    rig.progress[0] = 5
    rig.step()
    rig.step()
    assert rig.state_of(2) == "WORKING"
    return rig


def test_a_stopped_paper_venue_confirms_cancels_though_its_market_is_over():
    rig = paper_rig()
    set_halt(rig.halt, True, 9, NOW)
    for now_ms in range(1, 100):
        rig.step(now_ms * MS)
    assert rig.state_of(2) == "CANCELED"


def test_time_runs_on_only_while_stopped_with_something_open():
    rig = paper_rig()
    for now_ms in range(1, 100):
        rig.step(now_ms * MS)
    before = rig.count("event_ts")
    assert before == NOW + 10 * MS
    set_halt(rig.halt, True, 9, NOW)
    for now_ms in range(100, 400):
        rig.step(now_ms * MS)
    assert before < rig.count("event_ts") <= before + 50 * MS


def test_ring_of_any_size_lets_the_market_move():
    rig = GatewayRig(reports=8)
    assert rig.reports[:192].view(RING)["capacity"][0] == 8
    push(rig.sim, make(kind=TRADE))
    rig.progress[0] = 1
    rig.step()
    assert rig.count("sim_records") == 1


def test_an_order_without_an_answer_is_unknown_and_goes_on_working(rig):
    rig.order(id=1)
    rig.step()
    rig.state["venue_unanswered"], rig.fake["silent_id"] = fake_unanswered_entry.address, 1
    rig.step()
    assert (rig.state_of(1), rig.count("unanswered"), rig.count("illegal")) == ("UNKNOWN", 1, 0)
    rig.answer(kind=ACK, id=1)
    rig.step()
    assert rig.state_of(1) == "WORKING"
