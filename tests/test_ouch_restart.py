"""The exchange dies and comes back without its memory: no order is forgotten here, and nothing is sent again."""

import os
import signal

import numpy as np
import pytest
from memory import fork, join
from ouch_rig import ACCOUNTS, PRICE, SHARE, TICK, Client, Exchange, free_port, instruments, wait_for

from hftpipe.core.schema import reasons
from hftpipe.core.schema.cells import BROKEN_TRADE, ORPHAN_FILL, VENUE_FORGOT
from hftpipe.core.schema.records import ACK, BUY, CANCELED, EXECUTION, EXPIRED, FILL, IOC, RECORD, SELL, VENUE_FAULT
from hftpipe.core.trading.order_reports import replace_sent
from hftpipe.core.trading.order_table import (
    ON_ACK,
    ON_CANCEL_SENT,
    ORDER,
    STATE_NAMES,
    order_find,
    order_insert,
    order_move,
)
from hftpipe.simulation.exchange_server.itch_exchange import ItchExchange
from hftpipe.simulation.exchange_server.settings import ExchangeConfig, Told
from hftpipe.simulation.matching.query import match_best
from hftpipe.venues.nasdaq.itch.encode import stock_word
from hftpipe.venues.nasdaq.ouch.encode import encode_executed, encode_replaced
from hftpipe.venues.nasdaq.ouch.link import TCP, UDP, link_is_up
from hftpipe.venues.nasdaq.ouch.reports import apply_message
from hftpipe.venues.nasdaq.ouch.state import ANSWERED, order_view, remember_ref

ANSWER_NS = 50_000_000


class Killed:
    """An exchange in a process of its own, on ports that the next one can have."""

    def __init__(self) -> None:
        names = ("port_a", "port_b", "order_port", "tcp_port", "request_port")
        self.settings = {name: free_port() for name in names} | {"speed": 0.0, "accounts": ACCOUNTS}
        self.pid = fork(self._serve)

    def _serve(self) -> None:
        told = Told(print, print, lambda: None)
        ItchExchange(ExchangeConfig(instruments(), **self.settings)).run(np.zeros(1, np.uint64), told)

    def kill(self) -> None:
        """Without a goodbye."""
        if self.pid:
            os.kill(self.pid, signal.SIGKILL)
            assert join(self.pid) == -signal.SIGKILL
            self.pid = 0

    def again(self) -> Exchange:
        """Another exchange on the same ports, with nothing in its memory."""
        return Exchange(**self.settings).start()


@pytest.fixture(params=[UDP, TCP], ids=["udp", "tcp"])
def venue(request):
    """A killable exchange and a client of it; what is put in the list is closed as well."""
    killed, more = Killed(), []
    port = killed.settings["tcp_port" if request.param == TCP else "order_port"]
    timing = {"heartbeat_ns": 500_000_000, "silence_ns": 2_500_000_000} if request.param == TCP else {}
    # A busy machine may need long to start an exchange.
    client = Client(port, request.param, answer_ns=ANSWER_NS, login_ns=120_000_000_000, **timing)
    try:
        yield killed, client.log_in(), more
    finally:
        client.close()
        for one in more:
            one.stop()
        killed.kill()


def state_of(client: Client, id_: int) -> str:
    at = int(order_find(np.uint64(client.state["table"]), np.uint64(id_))) - client.memory.ctypes.data
    return STATE_NAMES[client.memory[at : at + ORDER.itemsize].view(ORDER)[0]["state"]]


def faults(client: Client) -> list[int]:
    return [int(r["flags"]) for r in client.reports if r["kind"] == VENUE_FAULT]


def back_again(client: Client) -> None:
    wait_for(lambda: client.poll() or faults(client))


@pytest.mark.parametrize("after_silence", [False, True], ids=["at-once", "after-the-session-was-lost"])
def test_after_a_restart_every_order_is_unknown_and_none_is_sent_again(venue, after_silence):
    killed, client, more = venue
    resting = [client.new(BUY, PRICE - (100 + n) * TICK, 5) for n in range(3)]
    for id_ in resting:
        client.wait(id_, 1)
    killed.kill()
    under_way = client.new(BUY, PRICE - 200 * TICK, 5)
    if after_silence:
        wait_for(lambda: client.poll() or not link_is_up(np.uint64(client.state["link"])))
    more.append(killed.again())
    back_again(client)
    assert faults(client) == [VENUE_FORGOT] and client.state["forgotten"] == 1
    told = {int(r["id"]) for r in client.reports if r["kind"] == VENUE_FAULT}
    assert told == {1}, "the venue would take number 1 next"
    assert {state_of(client, id_) for id_ in (*resting, under_way)} == {"UNKNOWN"}
    assert set(client.unanswered()) == {*resting, under_way}
    # Nothing is sent again, and nothing more is heard: they stay UNKNOWN, which counts as working.
    for id_ in (*resting, under_way):
        assert client.cancel(id_) == 1
    wait_for(lambda: client.poll() or client.state["stale"] == 4)
    assert more[0].server.figures()["entered"] == 0 and client.state["again"] == 0
    assert {state_of(client, id_) for id_ in (*resting, under_way)} == {"UNKNOWN"}
    assert client.unanswered() == []
    # A new order has a number that was never used.
    assert client.state["next_ref"] == 5
    client.wait(client.new(BUY, PRICE - 300 * TICK, 1), 1)
    assert more[0].server.figures()["entered"] == 1


def test_an_order_under_way_when_the_venue_forgets_is_not_sent_again_even_if_it_was_the_first(venue):
    killed, client, more = venue
    killed.kill()
    first = client.new(BUY, PRICE - 100 * TICK, 5)
    more.append(killed.again())
    back_again(client)
    assert faults(client) == [VENUE_FORGOT] and state_of(client, first) == "UNKNOWN"
    assert client.unanswered() == [first] and more[0].server.figures()["entered"] == 0


def test_a_venue_that_remembers_gives_an_order_one_fate(venue):
    """The connection alone is lost, with an order on its way: no fault, and what is sent again is taken once."""
    killed, client, _ = venue
    first = client.new(BUY, PRICE - 200 * TICK, 5)
    client.wait(first, 1)
    os.kill(killed.pid, signal.SIGSTOP)
    id_ = client.new(BUY, PRICE - 100 * TICK, 5)
    wait_for(lambda: client.poll() or not link_is_up(np.uint64(client.state["link"])))
    os.kill(killed.pid, signal.SIGCONT)
    client.wait(id_, 1)
    wait_for(lambda: client.poll() or (client.state["ready"] and client.state["resend"] == 0))
    assert client.cancel(id_) == client.cancel(first) == 1
    assert [int(r["kind"]) for r in client.wait(id_, 2) + client.wait(first, 2)] == [ACK, CANCELED] * 2
    assert faults(client) == [] and client.state["forgotten"] == 0


@pytest.fixture
def alone():
    """A client of nobody: reports are handed to it directly."""
    client = Client(free_port())
    yield client
    client.close()


def take(client: Client, text: np.ndarray, length: int) -> np.void | None:
    out = np.zeros(1, RECORD)
    at, record = np.uint64(text.ctypes.data), np.uint64(out.ctypes.data)
    return out[0] if apply_message(client.address, at, np.int64(length), record, np.int64(1)) else None


def test_an_execution_of_an_order_nobody_knows_is_a_fault_with_its_facts(alone):
    text = np.zeros(64, np.uint8)
    args = (np.int64(5), np.uint64(999), np.uint64(7), np.uint64(1_500_000), np.int64(ord("A")), np.uint64(3))
    report = take(alone, text, encode_executed(*args, np.uint64(text.ctypes.data)))
    assert (report["kind"], report["flags"], report["id"]) == (VENUE_FAULT, ORPHAN_FILL, 999)
    assert (report["price"], report["qty"]) == (PRICE, 7)
    assert alone.state["orphan_fills"] == 1 and alone.state["unknown_ref"] == 1


def order_under(client: Client, ref: int, **fields) -> int:
    """An open order of client id 5 that the venue knows as number ``ref``."""
    table = np.uint64(client.state["table"])
    slot = order_insert(table, np.uint64(5))
    row = order_view(int(slot), client.memory)
    for name, value in {"price": PRICE, "qty": 10 * SHARE, "venue_id": ref | int(ANSWERED), **fields}.items():
        row[name] = value
    order_move(table, slot, np.int64(ON_ACK))
    remember_ref(client.address, np.uint64(ref), np.uint64(5))
    remember_ref(client.address, np.uint64(int(row["user"][0])), np.uint64(5))
    return int(slot)


@pytest.mark.parametrize("is_cancelling", [False, True], ids=["replacing", "cancelling-too"])
def test_an_order_that_is_dead_when_replaced_has_ended(alone, is_cancelling):
    slot, table = order_under(alone, 4, user=6, filled=SHARE), np.uint64(alone.state["table"])
    assert replace_sent(table, np.uint64(slot), np.int64(PRICE - 100 * TICK), np.int64(8 * SHARE))
    if is_cancelling:
        order_move(table, np.uint64(slot), np.int64(ON_CANCEL_SENT))
    text, id_text = np.zeros(80, np.uint8), np.full(14, 32, np.uint8)
    args = (np.int64(5), np.uint64(4), np.uint64(6), np.int64(BUY), np.uint64(7), np.uint64(stock_word("TEST")))
    rest = (np.uint64(1_490_000), np.int64(48), np.uint64(1), np.uint64(id_text.ctypes.data))
    length = encode_replaced(*args, *rest, np.uint64(text.ctypes.data))
    text[51] = ord("D")
    report = take(alone, text, length)
    assert (report["kind"], report["id"], report["flags"]) == (EXPIRED, 5, reasons.DEAD_WHEN_REPLACED)
    assert report["qty"] == 7 * SHARE
    assert STATE_NAMES[order_view(slot, alone.memory)["state"][0]] == "EXPIRED"


def test_an_execution_taken_back_is_a_fault(alone):
    text = np.zeros(64, np.uint8)
    text[:22] = np.frombuffer(b"B" + bytes(8) + (4).to_bytes(4, "big") + (888).to_bytes(8, "big") + b"E", np.uint8)
    report = take(alone, text, 36)
    assert (report["kind"], report["flags"], report["id"]) == (VENUE_FAULT, BROKEN_TRADE, 4)
    assert report.view(EXECUTION)["trade_id"] == 888 and alone.state["broken_trades"] == 1


def test_a_fill_that_was_not_heard_before_the_restart_is_not_lost_in_silence(venue):
    """The order was executed, the report died with the venue: it must not look as if nothing had been sent."""
    killed, client, more = venue
    taker = client.new(BUY, PRICE + 500 * TICK, 1, IOC)
    killed.kill()
    more.append(killed.again())
    wait_for(lambda: client.poll() or faults(client) or FILL in [int(r["kind"]) for r in client.about(taker)])
    back_again(client)
    kinds = [int(r["kind"]) for r in client.about(taker)]
    assert state_of(client, taker) == ("FILLED" if FILL in kinds else "UNKNOWN") and faults(client) == [VENUE_FORGOT]
    assert (
        match_best(more[0].server.book(0), np.int64(SELL))[1] % SHARE == 0 and more[0].server.figures()["entered"] == 0
    )
