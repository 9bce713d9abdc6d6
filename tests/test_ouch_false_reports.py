"""A venue that says what cannot be: nothing of it is believed, trading halts by name, and what may live there is cancelled.

The gateway and its OUCH venue, with a venue on the other end of the socket that says what the test tells it to.
"""

import socket
import struct
from collections.abc import Iterator

import numpy as np
import ouch_reference as ref
import pytest
from ouch_rig import PRICE, SHARE, TICK, Client, wait_for
from risk_rig import make, push
from test_gateway_stage import MS, GatewayRig

from hftpipe.core.schema import reasons
from hftpipe.core.schema.cells import HALT_CAUSES, OPERATOR, ORPHAN_FILL
from hftpipe.core.schema.counters import FAULT
from hftpipe.core.schema.halts import INSTRUMENT_SCOPE, set_scope
from hftpipe.core.schema.records import (
    ACK,
    BUY,
    CANCEL,
    CANCEL_REJECT,
    CANCELED,
    EXPIRED,
    FILL,
    MARKET,
    NEW,
    REPLACE,
    REPLACED,
    SELL,
    UNASKED,
)
from hftpipe.core.shared.cell import set_halt
from hftpipe.venues.nasdaq.ouch.datagram import ACCEPT, DATA, HEADER_BYTES, LOGIN, MAGIC
from hftpipe.venues.nasdaq.ouch.state import part, venue_counters
from hftpipe.venues.nasdaq.ouch.venue import poll_entry, submit_entry, unanswered_entry

HEADER = struct.Struct(">IIQQBBH")
WIRE_PRICE = PRICE // 10_000


class Wire:
    """The venue's end: takes datagrams, keeps the messages in them, says what it is told to."""

    def __init__(self) -> None:
        self.sock = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
        self.sock.bind(("127.0.0.1", 0))
        self.sock.setblocking(False)
        self.port, self.peer, self.session = self.sock.getsockname()[1], None, 0
        self.next_out, self.expected, self.heard, self.is_deaf = 1, 1, list[bytes](), False

    def pump(self) -> None:
        """Take what has come."""
        while True:
            try:
                data, self.peer = self.sock.recvfrom(2048)
            except BlockingIOError:
                return
            _, session, seq, _, kind, _, count = HEADER.unpack_from(data)
            if session != self.session:
                self.session, self.next_out, self.expected = session, 1, 1
            if kind == LOGIN and not self.is_deaf:
                self.send(ACCEPT)
            at = HEADER_BYTES
            for number in range(seq, seq + count) if kind == DATA else ():
                (length,) = struct.unpack_from(">H", data, at)
                if number == self.expected:
                    self.heard.append(data[at + 2 : at + 2 + length])
                    self.expected += 1
                at += 2 + length

    def send(self, kind: int, *texts: bytes) -> None:
        self.send_raw(kind, len(texts), b"".join(struct.pack(">H", len(text)) + text for text in texts))

    def send_raw(self, kind: int, count: int, blocks: bytes) -> None:
        head = HEADER.pack(MAGIC, self.session, self.next_out, self.expected, kind, 0, count)
        self.sock.sendto(head + blocks, self.peer)

    def say(self, *texts: bytes) -> None:
        self.send(DATA, *texts)
        self.next_out += len(texts)

    def take(self) -> list[bytes]:
        """Messages since last asked, without account queries."""
        self.pump()
        heard, self.heard = [text for text in self.heard if text[:1] != b"Q"], []
        return heard


class Desk(GatewayRig):
    """A gateway with an OUCH venue, logged in."""

    def __init__(self, **settings: int) -> None:
        super().__init__()
        self.wire = Wire()
        quiet = {"rto_ns": 10**12, "rto_max_ns": 10**12, "heartbeat_ns": 10**12, "silence_ns": 10**13}
        self.client = Client(self.wire.port, **(quiet | settings))
        self.state["sim"], self.state["venue_room"], self.state["venue"] = 0, 0, int(self.client.address)
        for name, function in (("submit", submit_entry), ("poll", poll_entry), ("unanswered", unanswered_entry)):
            self.state[f"venue_{name}"] = function.address
        self.log_in(1)

    def log_in(self, next_number: int) -> None:
        """Until the venue has let us in, and said which number it takes next."""
        while not self.client.state["ready"]:
            self.step()
            self.wire.pump()
            if any(text[:1] == b"Q" for text in self.wire.heard):
                self.wire.heard.clear()
                self.wire.say(ref.PLAIN.pack(b"Q", 0, next_number))

    def close(self) -> None:
        self.client.close()
        self.wire.sock.close()

    def hear(self, *texts: bytes) -> None:
        """The venue says ``texts``, and the gateway has heard them, and done what follows."""
        self.wire.say(*texts)
        expected = self.wire.next_out
        wait_for(lambda: self.step() * 0 or part(self.client.memory, "session")["expected"][0] >= expected)
        for now_ns in (0, 0, 0):
            self.step(now_ns)

    def enter(self, id_: int = 1, shares: int = 10, **fields: int) -> None:
        self.order(**{"kind": NEW, "id": id_, "price": PRICE, "qty": shares * SHARE, "instrument": 0, **fields})
        self.step()
        (text,) = self.wire.take()
        assert text[:1] == b"O"

    def accepted(self, id_: int = 1, shares: int = 10) -> None:
        """An order of client id ``id_`` that rests as number ``id_``."""
        self.enter(id_, shares)
        self.hear(accepted(id_, shares))
        assert self.state_of(id_) == "WORKING"
        self.reported()

    def replacing(self, shares: int, price: int = PRICE + TICK) -> None:
        """Order 1, and a replace of it under way."""
        self.accepted()
        self.replace(shares, price)

    def replace(self, shares: int, price: int = PRICE + TICK) -> None:
        """A replace of order 1 under way."""
        assert push(self.orders, make(kind=REPLACE, id=1, price=price, qty=shares * SHARE, instrument=0))
        self.step()
        assert self.wire.take()[0][:1] == b"U"

    def cancels(self) -> list[int]:
        """Reference numbers cancelled on the wire since last asked."""
        return [struct.unpack(">I", text[1:5])[0] for text in self.wire.take() if text[:1] == b"X"]

    def tripped(self) -> str:
        """The name under which trading ended; "" if it goes on."""
        return HALT_CAUSES[self.count("trip_cause")] if self.count("tripped") else ""


def accepted(
    number: int = 1, shares: int = 10, side: bytes = b"B", stock: str = "TEST", price: int = WIRE_PRICE
) -> bytes:
    tail = (side, shares, ref.stock(stock), price, b"0", b"Y", 77, b"A", b"N", b"N", b"L", b" " * 14, 0)
    return ref.ACCEPTED.pack(b"A", 5, number, *tail)


def replaced(
    old: int, new: int, shares: int, price: int = WIRE_PRICE + TICK // 10_000, side: bytes = b"B", stock: str = "TEST"
) -> bytes:
    tail = (side, shares, ref.stock(stock), price, b"0", b"Y", 77, b"A", b"N", b"N", b"L", b" " * 14, 0)
    return ref.REPLACED.pack(b"U", 5, old, new, *tail)


def executed(number: int, shares: int, match: int, price: int = WIRE_PRICE) -> bytes:
    return ref.EXECUTED.pack(b"E", 5, number, shares, price, b"A", match, 0)


def canceled(number: int, shares: int, reason: bytes = b"U") -> bytes:
    return ref.CANCELED.pack(b"C", 5, number, shares, reason)


@pytest.fixture
def desk() -> Iterator[Desk]:
    made = Desk()
    yield made
    made.close()


OTHER_TERMS = {
    "more": {"shares": 1000}, "less": {"shares": 9}, "sold": {"side": b"S"}, "symbol": {"stock": "OTHER"},
    "price": {"price": WIRE_PRICE + 1},
}  # fmt: skip


@pytest.mark.parametrize("terms", OTHER_TERMS.values(), ids=OTHER_TERMS)
def test_an_order_accepted_on_other_terms_halts_by_name_and_is_cancelled(desk, terms):
    desk.enter()
    desk.hear(accepted(**terms))
    assert (desk.tripped(), desk.count("wrong_terms"), desk.state_of(1)) == ("wrong_terms", 1, "UNKNOWN")
    assert (desk.cancels(), desk.reported()) == ([1], []), "what is not believed is not passed on"
    assert desk.count("fault_id") == 1
    desk.hear(canceled(1, 1000))
    assert desk.state_of(1) == "CANCELED" and desk.reported()[0][:2] == (CANCELED, 1)


def test_what_is_executed_is_measured_by_what_was_asked_and_not_by_what_the_venue_claims(desk):
    desk.enter()
    desk.hear(accepted(shares=1000), executed(1, 500, 5))
    assert (desk.count("overfills"), desk.count("fills"), desk.tripped()) == (1, 1, "wrong_terms")
    assert (desk.cancels(), desk.count("halt_cancels"), desk.state_of(1)) == ([1], 1, "UNKNOWN")
    # It stays open here until its end is known, whatever is refused.
    desk.hear(ref.PLAIN.pack(b"I", 5, 1))
    assert desk.state_of(1) == "UNKNOWN"
    desk.hear(canceled(1, 500))
    assert desk.state_of(1) == "CANCELED"


REPLACED_WRONG = {
    "more": {"shares": 3000}, "sold": {"shares": 20, "side": b"S"}, "symbol": {"shares": 20, "stock": "OTHER"},
    "price": {"shares": 20, "price": WIRE_PRICE},
    "more-than-fits": {"shares": 2**32 - 1},
}  # fmt: skip


@pytest.mark.parametrize("terms", REPLACED_WRONG.values(), ids=REPLACED_WRONG)
def test_a_replace_carried_out_on_other_terms_halts_by_name_and_is_cancelled_under_its_new_number(desk, terms):
    desk.replacing(20)
    desk.hear(replaced(1, 2, **terms))
    assert (desk.tripped(), desk.state_of(1), desk.cancels()) == ("wrong_terms", "UNKNOWN", [2])
    desk.hear(executed(2, 2000, 12))
    assert desk.count("overfills") == 1, "20 were asked for"


def test_a_replace_carried_out_as_asked_counts_what_was_filled_before_and_may_leave_less(desk):
    desk.replacing(20)
    desk.hear(executed(1, 6, 10), replaced(1, 2, 14))
    assert [kind for kind, *_ in desk.reported()] == [FILL, REPLACED]
    desk.hear(executed(2, 14, 11))
    assert (desk.tripped(), desk.state_of(1)) == ("", "FILLED")


@pytest.mark.parametrize("number", [1, 501], ids=["same-number", "another-number"])
@pytest.mark.parametrize(
    ("shares", "price", "is_wrong"), [(5, 0, False), (11, 0, True), (10, 50_000, True)], ids=["less", "more", "price"]
)
def test_a_replace_that_nobody_asked_for_may_only_shrink_an_order(desk, number, shares, price, is_wrong):
    desk.accepted()
    desk.hear(replaced(1, number, shares, WIRE_PRICE + price))
    assert desk.tripped() == ("wrong_terms" if is_wrong else "")
    if is_wrong:
        assert (desk.cancels(), desk.state_of(1), desk.reported()) == ([number], "UNKNOWN", [])
    else:
        assert (desk.state_of(1), desk.reported()) == ("WORKING", [(REPLACED, 1, UNASKED)])
    # Executions under the number that it has now are those of the order.
    desk.hear(executed(number, 5, 3))
    assert (desk.count("fills"), desk.count("orphan_fills")) == (1, 0)


@pytest.mark.parametrize("shares", [11, 2**32 - 1])
def test_an_overfill_halts_by_name_and_what_is_left_of_the_order_is_cancelled(desk, shares):
    desk.accepted()
    desk.accepted(2)
    desk.hear(executed(1, shares, 5))
    assert (desk.tripped(), desk.count("overfills"), desk.state_of(1)) == ("overfill", 1, "UNKNOWN")
    assert sorted(desk.cancels()) == [1, 2] and desk.count("halt_cancels") == 2
    assert desk.reported() == [(FILL, 1, 1)], "it was executed, and is booked"
    desk.hear(executed(1, shares, 6))
    assert desk.count("overfills") == 2


@pytest.mark.parametrize(
    "end", [canceled(1, 10), ref.REJECTED.pack(b"J", 5, 1, 3, b" " * 14)], ids=["canceled", "rejected"]
)
def test_an_execution_of_an_order_that_had_ended_halts_by_name_and_the_order_is_cancelled(desk, end):
    desk.enter()
    desk.hear(accepted(), end) if end[:1] == b"C" else desk.hear(end)
    desk.hear(executed(1, 2, 5))
    assert (desk.tripped(), desk.count("late_fills"), desk.state_of(1)) == ("late_fill", 1, "UNKNOWN")
    assert (desk.cancels(), desk.count("halt_cancels")) == ([1], 1)
    desk.hear(canceled(1, 8))
    assert desk.state_of(1) == "CANCELED"


def test_more_executed_of_an_order_that_was_full_is_an_overfill_and_is_cancelled(desk):
    desk.accepted()
    desk.hear(executed(1, 10, 5))
    assert (desk.state_of(1), desk.tripped()) == ("FILLED", "")
    desk.hear(executed(1, 1, 6))
    assert (desk.tripped(), desk.state_of(1), desk.cancels()) == ("overfill", "UNKNOWN", [1])


@pytest.mark.parametrize("side", [BUY, SELL], ids=["buy", "sell"])
@pytest.mark.parametrize("shares", [4, 10], ids=["part", "whole"])
def test_an_execution_at_a_price_worse_than_asked_for_is_booked_and_halts_by_name(desk, side, shares):
    worse = WIRE_PRICE + 100 if side == BUY else WIRE_PRICE - 100
    desk.enter(side=side)
    desk.hear(accepted(side=b"BS"[side : side + 1]), executed(1, shares, 5, worse))
    assert (desk.tripped(), desk.count("wrong_prices"), desk.count("fills")) == ("wrong_price", 1, 1)
    assert [kind for kind, *_ in desk.reported()] == [ACK, FILL], "the position follows the venue"
    facts = tuple(desk.count(name) for name in ("fault_id", "fault_price", "fault_qty"))
    assert facts == (1, worse * 10_000, shares * SHARE)
    # What may still be executed of it is cancelled; of a whole one nothing is left.
    assert (desk.state_of(1), desk.cancels()) == (("UNKNOWN", [1]) if shares == 4 else ("FILLED", []))


@pytest.mark.parametrize("price", [WIRE_PRICE, WIRE_PRICE + TICK // 10_000, WIRE_PRICE - 500])
def test_while_a_replace_is_under_way_an_execution_at_either_price_is_as_asked(desk, price):
    desk.replacing(20)
    desk.hear(executed(1, 6, 10, price))
    assert (desk.tripped(), desk.count("fills")) == ("", 1)


def test_a_price_that_was_replaced_long_ago_is_not_as_asked(desk):
    desk.replacing(20)
    desk.hear(replaced(1, 2, 20))
    assert push(desk.orders, make(kind=REPLACE, id=1, price=PRICE - 5 * TICK, qty=20 * SHARE, instrument=0))
    desk.step()
    desk.hear(replaced(2, 3, 20, WIRE_PRICE - 5 * TICK // 10_000), executed(3, 6, 10, WIRE_PRICE))
    assert desk.tripped() == "wrong_price"


def test_a_market_order_has_no_price_to_be_worse_than(desk):
    desk.enter(price=0, flags=MARKET)
    desk.hear(accepted(price=0x7FFF_FFFF), executed(1, 10, 5, 2 * WIRE_PRICE))
    assert (desk.tripped(), desk.state_of(1)) == ("", "FILLED")


@pytest.mark.parametrize(("shares", "price"), [(0, WIRE_PRICE), (1, 0)], ids=["no-quantity", "no-price"])
def test_an_execution_that_cannot_be_booked_halts_by_name_with_its_facts(desk, shares, price):
    desk.accepted()
    desk.hear(executed(1, shares, 5, price))
    assert (desk.tripped(), desk.count("unbookable_fills")) == ("unbookable_fill", 1)
    facts = tuple(desk.count(name) for name in ("fault_id", "fault_price", "fault_qty"))
    assert facts == (1, price * 10_000, shares * SHARE)
    assert desk.cancels() == [1]


def test_an_execution_of_a_number_nobody_knows_is_cancelled_too(desk):
    desk.accepted()
    desk.hear(executed(900, 2, 5))
    assert desk.count("trip_cause") == ORPHAN_FILL and sorted(desk.cancels()) == [1, 900]


def test_an_execution_told_twice_leaves_the_order_as_it_is_and_its_cancel_leaves(desk):
    desk.accepted()
    desk.hear(executed(1, 5, 77), executed(1, 5, 77))
    assert (desk.state_of(1), desk.count("fills"), desk.tripped()) == ("PARTIAL", 1, "")
    assert desk.client.state["duplicate_fills"] == 1
    set_halt(desk.halt, True, 3, 0)
    desk.step()
    assert (desk.cancels(), desk.count("halt_cancels")) == ([1], 1)
    desk.hear(canceled(1, 5))
    assert [kind for kind, *_ in desk.reported()] == [FILL, CANCELED]


@pytest.mark.parametrize("matches", [(100, 99), (2**63 + 5, 2**63 + 6), (2**64 - 1, 1), (1, 2**63)])
def test_match_numbers_come_in_any_order_and_have_64_bits(desk, matches):
    desk.accepted()
    desk.hear(*(executed(1, 3, match) for match in (*matches, *matches)))
    assert (desk.count("fills"), desk.state_of(1), desk.client.state["duplicate_fills"]) == (2, "PARTIAL", 2)
    desk.hear(executed(1, 4, 7))
    assert (desk.state_of(1), desk.tripped()) == ("FILLED", "")


@pytest.mark.parametrize(
    ("letter", "reason"),
    [
        (b"H", "venue_ended"),
        (b"S", "venue_ended"),
        (b"T", "venue_ended"),
        (b"\xff", "venue_ended"),
        (b"Z", "disconnected"),
    ],
)
def test_an_order_that_the_venue_ends_is_not_counted_as_our_cancel(desk, letter, reason):
    desk.accepted()
    desk.hear(canceled(1, 10, letter))
    (code,) = (one.code for one in reasons.REASONS if one.name == reason)
    assert desk.reported() == [(EXPIRED, 1, code)]
    assert (desk.count("canceled"), desk.count("expired"), desk.count("ended_by_venue")) == (0, 1, 1)
    assert desk.state["ended"][0][code] == 1


def test_an_order_that_ends_by_its_own_terms_or_by_our_cancel_was_not_ended_by_the_venue(desk):
    desk.accepted()
    desk.accepted(2)
    desk.hear(canceled(1, 10), canceled(2, 10, b"I"))
    assert (desk.count("canceled"), desk.count("expired"), desk.count("ended_by_venue")) == (1, 1, 0)


def test_both_sides_of_a_trade_with_ourselves_count(desk):
    """Two orders, one match number: two executions."""
    desk.accepted()
    desk.enter(2, side=SELL)
    desk.hear(accepted(2, side=b"S"), executed(1, 10, 9), executed(2, 10, 9))
    assert (desk.count("fills"), desk.client.state["duplicate_fills"]) == (2, 0)


CANNOT_BE_READ = {
    "short": executed(1, 2, 5)[:35], "longer-than-any": b"E" + bytes(202), "fills-a-datagram": b"E" + bytes(1999), "empty": b"", "unknown": b"\xff" * 40, "one-byte": b"A",
    "price-wraps": executed(1, 2, 5, 2**64 // 10_000 + WIRE_PRICE), "price-of-all-ones": executed(1, 2, 5, 2**64 - 1),
    "price-one-too-large": executed(1, 2, 5, 2**63 // 10_000),
    "accepted-price": accepted(price=2**64 // 10_000 + WIRE_PRICE), "replaced-price": replaced(1, 2, 5, 2**64 - 1),
}  # fmt: skip


@pytest.mark.parametrize("text", CANNOT_BE_READ.values(), ids=CANNOT_BE_READ)
def test_a_message_that_cannot_be_read_halts_by_name_as_it_may_have_been_a_fill(desk, text):
    desk.accepted()
    desk.hear(text)
    assert (desk.tripped(), desk.count("unreadable_reports")) == ("unreadable_report", 1)
    assert (desk.count("fault_qty"), desk.count("fault_id")) == (len(text), text[0] if text else 0)
    assert (desk.cancels(), desk.count("fills"), desk.client.state["refused"]) == ([1], 0, 1)


def test_a_message_that_cannot_be_read_holds_up_none_behind_it(desk):
    desk.accepted()
    desk.hear(b"E" + bytes(202), executed(1, 10, 5))
    assert (desk.count("fills"), desk.state_of(1)) == (1, "FILLED")


DAMAGED = {"no-block": b"", "cut-off": b"\0\x24E", "too-long-for-us": b"\x0f\xa0" + bytes(4000)}


@pytest.mark.parametrize("blocks", DAMAGED.values(), ids=DAMAGED)
def test_a_message_that_comes_damaged_every_time_halts_by_name_instead_of_blocking_the_session(desk, blocks):
    """The venue sends what is not acknowledged for ever; what is behind it would never be heard."""
    desk.accepted()
    for _ in range(100):
        desk.wire.send_raw(DATA, 1, blocks)
        desk.step()
    for now_ns in (0, 0, 0):
        desk.step(now_ns)
    assert (desk.tripped(), desk.cancels()) == ("unreadable_report", [1])
    assert desk.count("unreadable_reports") == 1, "it is told once"


def test_a_datagram_that_came_damaged_once_halts_nothing(desk):
    desk.accepted()
    for number in range(40):
        desk.wire.send_raw(DATA, 1, b"")
        desk.hear(ref.SYSTEM.pack(b"S", number, b"S"))
    assert desk.tripped() == ""


def test_messages_that_say_nothing_of_orders_halt_nothing(desk):
    desk.accepted()
    desk.hear(b"K" + bytes(40), ref.SYSTEM.pack(b"S", 5, b"S"), ref.PLAIN.pack(b"P", 5, 1))
    assert (desk.tripped(), desk.client.state["refused"]) == ("", 0)


def test_the_largest_price_that_fits_is_read(desk):
    desk.enter(side=SELL)
    desk.hear(accepted(side=b"S"), executed(1, 1, 5, 2**63 // 10_000 - 1))
    assert (desk.tripped(), desk.count("fills")) == ("", 1)


def test_a_cancel_leaves_whatever_the_venue_side_holds_of_the_order(desk):
    """The gateway holds it open: that is enough."""
    desk.accepted()
    desk.hear(canceled(1, 10))
    request = desk.client
    assert request.cancel(1) == 1 and desk.cancels() == [1]
    desk.hear(ref.PLAIN.pack(b"I", 5, 1), ref.PLAIN.pack(b"I", 5, 1))
    assert [kind for kind, *_ in desk.reported()] == [CANCELED, CANCEL_REJECT], "it is answered, once"
    assert request.cancel(404) == 2, "of an order never heard of nothing can leave"


def test_what_is_answered_without_leaving_is_not_counted_as_sent(desk):
    desk.order(kind=NEW, id=1, price=PRICE + 1, qty=10 * SHARE, instrument=0)
    desk.step()
    assert (desk.count("sent"), desk.wire.take(), desk.state_of(1)) == (0, [], "REJECTED")


def test_a_change_that_crosses_the_end_of_its_order_is_no_fault_and_other_news_of_it_are(desk):
    desk.accepted()
    desk.order(kind=CANCEL, id=1)
    desk.step()
    desk.hear(executed(1, 10, 5), ref.PLAIN.pack(b"I", 5, 1))
    assert (desk.client.state["crossed"], desk.client.state["stale"]) == (1, 0)
    desk.hear(canceled(1, 10), canceled(999, 10))
    assert (desk.client.state["stale"], desk.client.state["unknown_ref"], desk.tripped()) == (1, 1, "")
    assert CANCEL_REJECT not in [kind for kind, *_ in desk.reported()]


def cancelled_while_replaced(desk: Desk) -> None:
    """A replace of order 1 under way as number 2, and a cancel behind it."""
    desk.replacing(20)
    desk.order(kind=CANCEL, id=1)
    desk.step()
    assert desk.cancels() == [2]


REFUSED_2 = ref.REJECTED.pack(b"J", 5, 2, 3, b" " * 14)


def test_a_refused_replace_is_told_though_its_cancel_goes_out_again_under_the_old_number(desk):
    """Each request is answered: who counts answers would wait for ever for the one that was not told."""
    cancelled_while_replaced(desk)
    desk.hear(REFUSED_2)
    assert [kind for kind, *_ in desk.reported()] == [CANCEL_REJECT]
    assert (desk.cancels(), desk.state_of(1)) == ([1], "PENDING_CANCEL")
    desk.hear(ref.PLAIN.pack(b"I", 5, 1))
    assert [kind for kind, *_ in desk.reported()] == [CANCEL_REJECT]
    assert (desk.state_of(1), desk.tripped()) == ("WORKING", "")


def test_a_cancel_that_cannot_go_out_again_after_a_refused_replace_is_refused_too():
    desk = Desk(window=2)
    cancelled_while_replaced(desk)
    desk.wire.expected -= 2
    desk.hear(REFUSED_2)
    assert [kind for kind, *_ in desk.reported()] == [CANCEL_REJECT, CANCEL_REJECT]
    assert (desk.cancels(), desk.state_of(1)) == ([], "WORKING")
    desk.close()


@pytest.mark.parametrize("filled", [6, 8])
def test_a_replace_to_a_total_that_has_filled_already_ends_the_order(desk, filled):
    desk.replacing(6)
    desk.hear(executed(1, filled, 10), replaced(1, 2, 0))
    assert [kind for kind, *_ in desk.reported()] == [FILL, REPLACED]
    assert (desk.state_of(1), desk.tripped()) == ("FILLED", "")


def test_every_counter_of_what_should_not_happen_is_where_the_monitor_looks(desk):
    desk.accepted()
    desk.hear(executed(1, 1, 5), executed(1, 1, 5), canceled(999, 1), b"")
    memory, places = desk.client.memory, {one.name: one for one in venue_counters("ouch", 1)}
    assert {one.region for one in places.values()} == {"ouch"}
    faults = [one for one in places.values() if one.kind == FAULT]
    counts = {one.name: int(memory[one.offset : one.offset + 8].view(np.int64)[0]) for one in faults}
    assert {name: count for name, count in counts.items() if count} == {
        "refused": 1,
        "unknown_ref": 1,
        "duplicate_fills": 1,
    }
    for name, record in (("malformed", "session"), ("send_errors", "link")):
        part(memory, record)[name] = 7
        assert int(memory[places[name].offset :][:8].view(np.int64)[0]) == 7


def test_a_second_refusal_of_a_halts_cancels_is_not_the_answer_to_a_later_replace(desk):
    """While one of them is unanswered no replace leaves."""
    refused = ref.PLAIN.pack(b"I", 5, 1)
    desk.accepted()
    set_scope(desk.halts, INSTRUMENT_SCOPE, OPERATOR, 7)
    for ms in (1, 20, 60):
        desk.step(ms * MS)
    assert desk.cancels() == [1, 1]
    desk.hear(refused)
    set_scope(desk.halts, INSTRUMENT_SCOPE, 0, 8)
    desk.order(kind=REPLACE, id=1, price=PRICE + TICK, qty=20 * SHARE, instrument=0)
    desk.step()
    desk.hear(refused)
    assert desk.wire.take() == [] and [kind for kind, *_ in desk.reported()] == 3 * [CANCEL_REJECT]
    desk.replace(20)
    desk.hear(replaced(1, 2, 20))
    assert [kind for kind, *_ in desk.reported()] == [REPLACED]
    assert (desk.tripped(), desk.state_of(1)) == ("", "WORKING")


def test_a_refusal_that_answers_no_cancel_of_ours_changes_nothing(desk):
    """Told twice, or of a cancel that was sent once more after a log-in."""
    refused = ref.PLAIN.pack(b"I", 5, 1)
    desk.accepted()
    desk.order(kind=CANCEL, id=1)
    desk.step()
    desk.cancels()
    desk.hear(refused)
    desk.replace(20)
    desk.reported()
    desk.hear(refused)
    assert desk.reported() == [] and desk.state_of(1) == "PENDING_REPLACE"
