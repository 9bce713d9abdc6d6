"""A client that is gone leaves no orders, an account is had by one at a time, and a log-in that fails is a named fault."""

import os
import socket
import time

import numpy as np
import orjson
import pytest
from ouch_rig import ACCOUNTS, PRICE, SHARE, TICK, Client, Exchange, free_port, wait_for

from hftpipe.core.schema import reasons
from hftpipe.core.schema.cells import LOGIN_REFUSED
from hftpipe.core.schema.records import (
    ACK,
    ANSWERED_HERE,
    BUY,
    CANCELED,
    EXPIRED,
    FILL,
    IOC,
    NEW,
    REJECT,
    SELL,
    VENUE_FAULT,
)
from hftpipe.simulation.exchange_server.ledger import LedgerFile, ledger
from hftpipe.simulation.exchange_server.settings import Account
from hftpipe.simulation.matching.query import match_best
from hftpipe.venues.nasdaq.ouch.link import TCP, UDP
from hftpipe.venues.nasdaq.ouch.state import draw_session

CANCEL_AFTER_MS = 1000
LOGIN_NS = 400_000_000
OF_LOGIN = {"login_ns": LOGIN_NS}


@pytest.fixture
def exchange():
    one = Exchange().start()
    # Compiled now: later a client would be silent meanwhile.
    ledger(one.server)
    yield one
    one.stop()


@pytest.fixture(params=[UDP, TCP], ids=["udp", "tcp"])
def client_of(request, exchange):
    """Makes clients of one transport; those not closed yet are closed at the end."""
    made = []

    def make(session: int = 1, **settings) -> Client:
        port = exchange.server.tcp_port if request.param == TCP else exchange.server.order_port
        made.append(Client(port, request.param, session=session, **settings))
        return made[-1]

    yield make
    for one in made:
        one.close()


def resting(exchange: Exchange, user: str = ACCOUNTS[0].user) -> list[dict]:
    return ledger(exchange.server)["accounts"][user]["orders"]


def two_orders(client: Client) -> list[int]:
    ids = [client.new(BUY, PRICE - (100 + n) * TICK, 5) for n in range(2)]
    for id_ in ids:
        client.wait(id_, 1)
    return ids


def vanish(client: Client) -> None:
    """As a killed process does: nothing is said any more (it is not polled), and the kernel closes its stream."""
    if client.part("link")["transport"] == TCP:
        with socket.socket(fileno=os.dup(int(client.part("link")["fd"]))) as stream:
            stream.shutdown(socket.SHUT_RDWR)


def test_orders_of_a_client_that_vanishes_are_cancelled_after_the_silence_it_asked_for(exchange, client_of):
    client = client_of(cancel_after_ms=CANCEL_AFTER_MS, heartbeat_ns=50_000_000).log_in()
    two_orders(client)
    assert len(resting(exchange)) == 2
    vanish(client)
    wait_for(lambda: not resting(exchange), 5)


def test_orders_of_a_client_that_did_not_ask_for_it_stay(exchange, client_of):
    client = client_of().log_in()
    two_orders(client)
    vanish(client)
    wait_for(lambda: not ledger(exchange.server)["accounts"][ACCOUNTS[0].user]["connected"])
    time.sleep(0.05)
    assert len(resting(exchange)) == 2


def test_a_client_that_lives_keeps_its_orders_by_heartbeats(exchange, client_of):
    client = client_of(cancel_after_ms=CANCEL_AFTER_MS, heartbeat_ns=50_000_000).log_in()
    two_orders(client)
    deadline = time.monotonic() + 3 * CANCEL_AFTER_MS / 1000
    while time.monotonic() < deadline:
        client.poll()
        time.sleep(0.005)
    assert len(resting(exchange)) == 2


def test_a_client_that_logs_out_takes_its_orders_with_it_if_it_asked_for_that(exchange, client_of):
    client = client_of(cancel_after_ms=CANCEL_AFTER_MS).log_in()
    two_orders(client)
    client.close()
    wait_for(lambda: not resting(exchange), 5)


def test_who_comes_back_hears_that_and_why_its_orders_are_gone(exchange, client_of):
    client = client_of(cancel_after_ms=CANCEL_AFTER_MS, heartbeat_ns=50_000_000).log_in()
    ids = two_orders(client)
    vanish(client)
    wait_for(lambda: not resting(exchange), 5)
    for id_ in ids:
        report = client.wait(id_, 2)[1]
        assert (report["kind"], report["flags"]) == (EXPIRED, reasons.DISCONNECTED)


def test_a_second_log_in_of_an_account_is_refused_and_the_first_goes_on(exchange, client_of):
    first = client_of(session=1).log_in()
    id_ = two_orders(first)[0]
    second = client_of(session=2, **OF_LOGIN)

    def told():
        first.poll()
        second.poll()
        return [r for r in second.reports if r["kind"] == VENUE_FAULT]

    (fault,) = wait_for(told)
    assert fault["flags"] == LOGIN_REFUSED and fault["id"] > 0, "its number says how often"
    assert first.cancel(id_) == 1
    assert [int(r["kind"]) for r in first.wait(id_, 2)] == [ACK, CANCELED]
    assert first.part("link")["refused_logins"] == 0 and first.part("link")["disconnects"] == 0
    assert len(resting(exchange)) == 1


def test_a_second_start_under_the_same_session_number_is_refused_too(exchange):
    """Two pipelines whose run numbers are equal: the datagrams of one never pass for the other's."""
    first = Client(exchange.server.order_port, session=7).log_in()
    second = Client(exchange.server.order_port, session=7, **OF_LOGIN)
    try:
        wait_for(lambda: first.poll() or second.poll() or second.state["told_login"])
        assert not second.state["has_logged_in"]
        first.wait(first.new(BUY, PRICE - 100 * TICK, 1), 1)
    finally:
        first.close()
        second.close()


def test_the_account_of_one_that_is_gone_may_be_had_at_once(exchange, client_of):
    first = client_of(session=1).log_in()
    first.close()
    client_of(session=2).log_in()


@pytest.mark.parametrize("port", ["order_port", "tcp_port"])
def test_a_wrong_password_is_a_named_fault(exchange, port):
    transport = TCP if port == "tcp_port" else UDP
    client = Client(getattr(exchange.server, port), transport, account=Account("HFTPIP", "WRONG"), **OF_LOGIN)
    try:
        wait_for(lambda: client.poll() or client.reports)
        assert [(int(r["kind"]), int(r["flags"])) for r in client.reports] == [(VENUE_FAULT, LOGIN_REFUSED)]
        assert client.reports[0]["id"] > 0
    finally:
        client.close()


@pytest.mark.parametrize("transport", [UDP, TCP], ids=["udp", "tcp"])
def test_a_log_in_that_nobody_answers_is_a_named_fault_told_once(transport):
    client = Client(free_port(), transport, **OF_LOGIN)
    try:
        wait_for(lambda: client.poll() or client.reports)
        deadline = time.monotonic() + 3 * LOGIN_NS / 1e9
        while time.monotonic() < deadline:
            client.poll()
        assert [(int(r["kind"]), int(r["flags"])) for r in client.reports] == [(VENUE_FAULT, LOGIN_REFUSED)]
        assert client.submit(16, 5, BUY, PRICE, 1) == 0
    finally:
        client.close()


def test_session_numbers_are_drawn_and_fit_the_wire():
    drawn = {draw_session() for _ in range(1000)}
    assert len(drawn) > 990 and all(0 < number < 1 << 31 for number in drawn)


def test_the_last_reference_number_is_used_and_then_orders_are_refused_by_name(exchange, client_of):
    """Numbers have 32 bits; one more would be taken for the mark of an answered order."""
    client = client_of().log_in()
    client.state["next_ref"] = (1 << 32) - 2
    first, last = (client.new(BUY, PRICE - 100 * TICK, 5) for _ in range(2))
    for id_ in (first, last):
        assert client.wait(id_, 1)[0]["kind"] == ACK
    assert client.submit(NEW, 99, BUY, PRICE - 100 * TICK, 5) == ANSWERED_HERE
    (refused,) = client.wait(99, 1)
    assert (refused["kind"], refused["flags"]) == (REJECT, reasons.VENUE_NUMBERS_USED_UP)
    assert client.replace(last, PRICE - 99 * TICK, 5) == ANSWERED_HERE
    assert client.wait(last, 2)[1]["flags"] == reasons.VENUE_NUMBERS_USED_UP
    for id_ in (first, last):
        assert client.cancel(id_) == 1
    assert client.wait(first, 2)[1]["kind"] == CANCELED and client.wait(last, 3)[2]["kind"] == CANCELED


def test_a_client_without_numbers_that_logs_in_again_has_not_been_forgotten(exchange, client_of):
    client = client_of().log_in()
    client.state["next_ref"] = (1 << 32) - 1
    last = client.new(BUY, PRICE - 100 * TICK, 5)
    client.wait(last, 1)
    client.part("link")["renewed"] = 1
    wait_for(lambda: client.poll() or (client.state["ready"] and client.part("link")["renewed"] == 0))
    assert not [r for r in client.reports if r["kind"] == VENUE_FAULT]
    assert client.state["next_ref"] == 1 << 32


def test_the_ledger_is_what_was_executed_and_what_rests(exchange, client_of, tmp_path):
    client = client_of().log_in()
    ask, _ = match_best(exchange.server.book(0), np.int64(SELL))
    taker = client.new(BUY, int(ask), 1, IOC)
    assert [int(r["kind"]) for r in client.wait(taker, 2)] == [ACK, FILL]
    two_orders(client)
    truth = ledger(exchange.server)["accounts"]
    mine = truth[ACCOUNTS[0].user]
    assert mine["executed"]["TEST"] == {"bought": SHARE, "sold": 0, "fills": 1} and mine["connected"]
    assert [(o["symbol"], o["side"], o["price"], o["qty"]) for o in mine["orders"]] == [
        ("TEST", BUY, PRICE - (100 + n) * TICK, 5 * SHARE) for n in range(2)
    ]
    assert truth["OTHER"]["orders"] == [] and truth["OTHER"]["executed"]["TEST"]["fills"] == 0
    file = tmp_path / "truth.json"
    LedgerFile(exchange.server, str(file)).write(1)
    assert orjson.loads(file.read_bytes())["accounts"] == truth
