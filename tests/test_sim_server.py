"""The simulated exchange on loopback: orders in, reports and market data out, over networks good and bad."""

import os
import socket
import time

import numpy as np
import pytest
from ouch_rig import ACCOUNTS, PRICE, SHARE, TICK, Client, Exchange, Watcher, wait_for

from hftpipe.core.schema import reasons
from hftpipe.core.schema.records import (
    ACK,
    ANSWERED_HERE,
    BUY,
    CANCEL_REJECT,
    CANCELED,
    EXECUTION,
    EXPIRED,
    FILL,
    FILL_MAKER,
    FOK,
    IOC,
    MARKET,
    NEW,
    POST_ONLY,
    REJECT,
    REPLACED,
    SELL,
    VALID,
)
from hftpipe.core.trading.book import book_level
from hftpipe.simulation.exchange_server.impair import Impairment
from hftpipe.simulation.matching.query import match_best, match_next_level
from hftpipe.venues.nasdaq.itch.feed import feed_book
from hftpipe.venues.nasdaq.ouch.link import TCP, UDP
from hftpipe.venues.nasdaq.ouch.session import ENDED, UP
from hftpipe.venues.nasdaq.ouch.state import take_ref

BAD = Impairment(loss=0.3, duplicate=0.2, reorder=0.3, delay_us=50, reorder_us=1000)


@pytest.fixture
def started():
    """Makes exchanges and clients, and closes them all."""
    made = []

    class Maker:
        def exchange(self, **settings):
            made.append(made_one := Exchange(**settings))
            return made_one.start()

        def client(self, exchange, **settings):
            port = exchange.server.tcp_port if settings.get("transport") == TCP else exchange.server.order_port
            made.append(made_one := Client(port, **settings))
            return made_one.log_in()

        def watcher(self, exchange):
            made.append(made_one := Watcher(exchange))
            return made_one

        def watched(self, **settings):
            """An exchange and a receiver that is on its lines, and compiled, before the session begins."""
            made.append(exchange := Exchange(**settings))
            watcher = self.watcher(exchange)
            watcher.step()
            return exchange.start(), watcher

    yield Maker()
    for one in reversed(made):
        one.stop() if isinstance(one, Exchange) else one.close()


def kinds(reports) -> list[int]:
    return [int(r["kind"]) for r in reports]


def best(exchange, side: int, instrument: int = 0) -> tuple[int, int]:
    price, qty = match_best(exchange.server.book(instrument), np.int64(side))
    return int(price), int(qty)


@pytest.fixture(params=[UDP, TCP], ids=["udp", "tcp"])
def trading(request, started):
    exchange = started.exchange()
    return exchange, started.client(exchange, transport=request.param), started


def test_an_order_rests_is_replaced_and_cancelled(trading):
    exchange, client, _ = trading
    bid, _ = best(exchange, BUY)
    id_ = client.new(BUY, bid - 5 * TICK, 10)
    (ack,) = client.wait(id_, 1)
    assert ack["kind"] == ACK and ack["price"] == bid - 5 * TICK and ack["qty"] == 10 * SHARE and ack["strategy"] == 3
    assert client.replace(id_, bid - 4 * TICK, 7) == 1
    replaced = client.wait(id_, 2)[1]
    assert (replaced["kind"], replaced["price"], replaced["qty"]) == (REPLACED, bid - 4 * TICK, 7 * SHARE)
    assert client.cancel(id_) == 1
    canceled = client.wait(id_, 3)[2]
    assert (canceled["kind"], canceled["qty"], canceled["flags"]) == (CANCELED, 7 * SHARE, reasons.USER_REQUEST)


def test_a_taker_is_filled_at_the_makers_price_and_pays(trading):
    exchange, client, _ = trading
    ask, qty = best(exchange, SELL)
    id_ = client.new(BUY, ask + 50 * TICK, 1, IOC)
    ack, fill = client.wait(id_, 2)
    assert kinds([ack, fill]) == [ACK, FILL]
    assert (fill["price"], fill["qty"], fill["flags"]) == (ask, SHARE, 0)
    paid = fill.view(EXECUTION)
    assert paid["fee"] == ask * 30_000 // 10**8 and paid["trade_id"] > 0 and fill["exchange_ts"] >= 34_200 * 10**9
    wait_for(lambda: best(exchange, SELL) != (ask, qty))


def test_two_accounts_trade_with_each_other_and_the_maker_is_told_so(trading):
    exchange, client, started = trading
    other = started.client(exchange, account=ACCOUNTS[1], session=9)
    ask, _ = best(exchange, SELL)
    # What rests at the best ask is taken first, so that the other account's order is alone at that price.
    qty = best(exchange, SELL)[1]
    client.wait(client.new(BUY, ask, qty // SHARE, IOC), 2)
    maker = other.new(SELL, ask, 3)
    other.wait(maker, 1)
    taker = client.new(BUY, ask, 3, IOC)
    assert kinds(client.wait(taker, 2)) == [ACK, FILL]
    fill = other.wait(maker, 2)[1]
    assert (fill["kind"], fill["flags"], fill["qty"]) == (FILL, FILL_MAKER, 3 * SHARE) and fill["local_ts"] < 0


@pytest.mark.parametrize(
    ("flags", "price_of", "shares", "expected", "reason"),
    [
        (IOC, lambda bid, ask: bid - 10 * TICK, 5, [ACK, EXPIRED], reasons.IOC_REMAINDER),
        (FOK, lambda bid, ask: ask, 40_000_000, [ACK, EXPIRED], reasons.FOK_UNFILLABLE),
        (POST_ONLY, lambda bid, ask: ask, 5, [REJECT], reasons.POST_ONLY_WOULD_TAKE),
        (FOK, lambda bid, ask: ask, 1, [ACK, FILL], 0),
        (MARKET, lambda bid, ask: 0, 1, [ACK, FILL], 0),
        (POST_ONLY, lambda bid, ask: bid, 1, [ACK], POST_ONLY),
    ],
    ids=["ioc", "fok-unfillable", "post-only-taking", "fok", "market", "post-only"],
)
def test_each_time_in_force_ends_as_it_must(trading, flags, price_of, shares, expected, reason):
    exchange, client, _ = trading
    (bid, _), (ask, _) = best(exchange, BUY), best(exchange, SELL)
    id_ = client.new(BUY, price_of(bid, ask), shares, flags)
    reports = client.wait(id_, len(expected))
    assert kinds(reports) == expected and reports[-1]["flags"] == reason


def test_our_own_orders_never_trade_with_each_other(trading):
    exchange, client, _ = trading
    (_bid, _), (ask, _) = best(exchange, BUY), best(exchange, SELL)
    resting = client.new(SELL, ask + 2000 * TICK, 5)
    client.wait(resting, 1)
    # Everything up to our own order is taken, and ours is cancelled instead of traded with.
    taker = client.new(BUY, ask + 2000 * TICK, 40_000_000, IOC)
    wait_for(lambda: client.poll() or EXPIRED in kinds(client.about(taker)))
    reports = client.wait(resting, 2)
    assert reports[1]["kind"] == EXPIRED and reports[1]["flags"] == reasons.SELF_TRADE
    assert best(exchange, SELL)[1] == 0


def test_what_the_wire_cannot_say_is_rejected_here(trading):
    _, client, _ = trading
    orders = [
        {"price": PRICE + 1, "shares": 1},
        {"price": PRICE, "qty": SHARE + 1},
        {"price": PRICE, "shares": 1, "instrument": 7},
    ]
    for id_, order in enumerate(orders, 1):
        assert client.submit(NEW, id_, BUY, **order) == ANSWERED_HERE
        (report,) = client.wait(id_, 1)
        assert report["kind"] == REJECT and report["flags"] == reasons.VENUE_FILTER
    assert client.state["entered"] == 0


def test_a_tick_the_venue_does_not_have_is_rejected_there(trading):
    _, client, _ = trading
    (report,) = client.wait(client.new(BUY, PRICE + 10_000, 1), 1)
    assert report["kind"] == REJECT and report["flags"] == reasons.TICK_FILTER


def test_cancelling_what_is_gone_is_a_cancel_reject(trading):
    exchange, client, _ = trading
    ask, _ = best(exchange, SELL)
    id_ = client.new(BUY, ask, 1, IOC)
    client.wait(id_, 2)
    client.cancel(id_)
    report = client.wait(id_, 3)[2]
    assert report["kind"] == CANCEL_REJECT and report["flags"] == reasons.VENUE_UNKNOWN_ORDER


def test_a_replace_that_crosses_reports_the_replace_then_the_fills(trading):
    exchange, client, _ = trading
    (bid, _), (ask, _) = best(exchange, BUY), best(exchange, SELL)
    id_ = client.new(BUY, bid - 3 * TICK, 1)
    client.wait(id_, 1)
    client.replace(id_, ask, 1)
    assert kinds(client.wait(id_, 3)) == [ACK, REPLACED, FILL]


def test_a_cancel_behind_a_rejected_replace_still_cancels(trading):
    exchange, client, _ = trading
    bid, _ = best(exchange, BUY)
    id_ = client.new(BUY, bid - 3 * TICK, 5)
    client.wait(id_, 1)
    assert client.replace(id_, bid - 3 * TICK + 10_000, 5) == 1 and client.cancel(id_) == 1
    assert kinds(client.wait(id_, 3)) == [ACK, CANCEL_REJECT, CANCELED], "each is answered"
    assert (client.state["crossed"], client.state["stale"]) == (1, 0)


def test_an_order_that_rests_for_longer_than_numbers_are_remembered_is_still_found(trading):
    exchange, client, _ = trading
    resting = client.new(BUY, best(exchange, BUY)[0] - 5 * TICK, 10)
    client.wait(resting, 1)
    for other in range(1, 1100):
        take_ref(client.address, np.uint64(1 << 40 | other))
    client.cancel(resting)
    assert kinds(client.wait(resting, 2)) == [ACK, CANCELED]


def test_every_order_gets_one_fate_over_a_bad_network(started):
    exchange = started.exchange(orders_in=BAD, orders_out=BAD)
    client = started.client(exchange)
    bid, _ = best(exchange, BUY)
    ids = []
    for index in range(60):
        ids.append(client.new(BUY, bid - (5 + index % 7) * TICK, 1 + index))
        client.poll()
    for id_ in ids:
        client.wait(id_, 1)
        client.cancel(id_)
    for id_ in ids:
        assert kinds(client.wait(id_, 2)) == [ACK, CANCELED]
    time.sleep(0.05)
    client.poll()
    assert len(client.reports) == 2 * len(ids)
    assert exchange.server.figures()["entered"] == len(ids)
    assert client.part("session")["resent"] > 0 and client.part("session")["duplicates"] > 0


def test_an_order_without_answer_becomes_unknown_and_then_known(started):
    exchange = started.exchange(orders_out=Impairment(delay_us=300_000))
    client = started.client(exchange, answer_ns=50_000_000)
    bid, _ = best(exchange, BUY)
    id_ = client.new(BUY, bid - 3 * TICK, 5)
    assert wait_for(client.unanswered) == [id_]
    assert kinds(client.wait(id_, 1)) == [ACK]


def levels_of_engine(exchange, instrument: int, side: int) -> dict[int, int]:
    book, found = exchange.server.book(instrument), {}
    price, qty = match_best(book, np.int64(side))
    while qty:
        found[int(price)] = int(qty)
        price, qty = match_next_level(book, np.int64(side), price)
    return found


def levels_of_feed(watcher, instrument: int, side: int) -> dict[int, int]:
    book, found, index = feed_book(watcher.feed, np.int64(instrument)), {}, 0
    while True:
        price, qty = book_level(book, np.int64(side), np.int64(index))
        if not qty:
            return found
        found[int(price)] = int(qty)
        index += 1


@pytest.mark.parametrize(
    "lines",
    [{}, {"line_a": Impairment(loss=0.3, duplicate=0.1, reorder=0.2), "line_b": Impairment(loss=0.05, delay_us=200)}],
    ids=["clean", "bad"],
)
def test_the_book_rebuilt_from_the_feed_is_the_engines(started, lines):
    exchange, watcher = started.watched(rate_per_s=2000.0, **lines)
    client = started.client(exchange)
    client.wait(client.new(BUY, best(exchange, BUY)[0] - 20 * TICK, 2), 1)
    # From here on nothing is compiled: a receiver that pauses for seconds loses what its sockets cannot hold.
    exchange.server.state["speed"] = 1.0
    for index in range(20):
        client.new(BUY, best(exchange, BUY)[0] - index * TICK, 2)
        for _ in range(200):
            watcher.step()
        client.poll()
    end = time.monotonic() + 0.5
    while time.monotonic() < end:
        watcher.step()
    exchange.server.state["speed"] = 0.0
    client.cancel(client.next_id)
    client.wait(client.next_id, 2)

    def caught_up():
        watcher.step()
        return int(watcher.arbiter["delivered"]) == exchange.server.figures()["messages"]

    wait_for(caught_up)
    for instrument in range(2):
        for side in (BUY, SELL):
            assert levels_of_feed(watcher, instrument, side) == levels_of_engine(exchange, instrument, side)
    assert watcher.arbiter["delivered"] > 2000 and watcher.feed_state["damages"] == 0
    if lines:
        assert watcher.arbiter["holes"] > 0
    else:
        lost = watcher.kernel_drops()
        assert watcher.arbiter["holes"] == 0 and watcher.arbiter["requests"] == 0, f"the kernel dropped {lost}"


def test_a_late_joiner_gets_the_day_from_its_first_message(started):
    exchange = started.exchange()
    client = started.client(exchange)
    bid, _ = best(exchange, BUY)
    client.wait(client.new(BUY, bid + 0 * TICK, 9), 1)
    watcher = started.watcher(exchange)

    def caught_up():
        watcher.step()
        return watcher.feed_state["line_state"] == VALID and watcher.arbiter["expected"] > 1

    wait_for(caught_up)
    assert watcher.arbiter["requests"] > 0 and watcher.arbiter["holes"] == 1
    for instrument in range(2):
        for side in (BUY, SELL):
            assert levels_of_feed(watcher, instrument, side) == levels_of_engine(exchange, instrument, side)


def test_who_joins_a_busy_session_late_gets_all_of_it(started):
    exchange, early = started.watched(rate_per_s=10_000.0, speed=4.0)
    early.close()
    wait_for(lambda: exchange.server.figures()["messages"] > 200_000, 60)
    watcher = started.watcher(exchange)

    def has_all():
        for _ in range(200):
            watcher.step()
        watcher.records.clear()
        is_valid = watcher.feed_state["line_state"] == VALID and watcher.arbiter["expected"] > 1
        return is_valid and watcher.arbiter["delivered"] == exchange.server.figures()["messages"]

    for _ in range(50):
        has_all()
    exchange.server.state["speed"] = 0.0
    wait_for(has_all, 60)
    for instrument in range(2):
        for side in (BUY, SELL):
            assert levels_of_feed(watcher, instrument, side) == levels_of_engine(exchange, instrument, side)
    assert watcher.arbiter["delivered"] > 200_000 and watcher.feed_state["damages"] == 0


def test_who_joins_too_late_is_not_valid_and_is_told_of(started):
    exchange = started.exchange(store_messages=1024, speed=1.0)
    wait_for(lambda: exchange.server.figures()["messages"] > 4096)
    watcher = started.watcher(exchange)

    def given_up():
        watcher.step()
        return watcher.arbiter["give_ups"] > 0

    wait_for(given_up)
    assert watcher.feed_state["line_state"] != VALID and exchange.server.figures()["too_late"] > 0
    wait_for(lambda: exchange.said)
    assert "only the last 1024" in exchange.said[0]


def test_a_new_session_cancels_what_the_old_one_left(started):
    """The old one is silent; once it counts as lost, the account may be had by another."""
    exchange = started.exchange()
    client = started.client(exchange)
    bid, before = best(exchange, BUY)
    client.wait(client.new(BUY, bid, 50), 1)
    again = started.client(exchange, session=2)
    wait_for(lambda: best(exchange, BUY) == (bid, before))
    assert again.state["next_ref"] == 2


def cut(client: Client) -> None:
    """Break a client's stream."""
    with socket.socket(fileno=os.dup(int(client.part("link")["fd"]))) as stream:
        stream.shutdown(socket.SHUT_RDWR)


def test_a_broken_stream_reconnects_and_misses_nothing(started):
    exchange = started.exchange()
    client = started.client(exchange, transport=TCP)
    bid, _ = best(exchange, BUY)
    first = client.new(BUY, bid - 3 * TICK, 5)
    client.wait(first, 1)
    cut(client)
    wait_for(lambda: client.poll() or (client.part("link")["connects"] == 2 and client.part("soup")["is_up"]))
    client.log_in()
    client.wait(client.new(BUY, bid - 4 * TICK, 5), 1)
    client.cancel(first)
    assert kinds(client.wait(first, 2)) == [ACK, CANCELED]


def test_a_wrong_password_gets_no_session(started):
    exchange = started.exchange()
    client = Client(exchange.server.order_port, account=type(ACCOUNTS[0])("HFTPIP", "WRONG"))
    try:
        wait_for(lambda: client.poll() or client.part("session")["state"] == ENDED)
        assert client.submit(16, 5, BUY, PRICE, 1) == 0 and client.state["not_ready"] == 1
    finally:
        client.close()


def test_noise_at_the_order_ports_changes_nothing(started):
    exchange = started.exchange()
    client = started.client(exchange)
    rng = np.random.default_rng(5)
    target = ("127.0.0.1", exchange.server.order_port)
    with (
        socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as noise,
        socket.create_connection(("127.0.0.1", exchange.server.tcp_port)) as stream,
    ):
        for _ in range(200):
            data = rng.bytes(int(rng.integers(0, 200)))
            noise.sendto(data, target)
            noise.sendto(b"HOS1\0\0\0\1" + data, target)
            noise.sendto(data, ("127.0.0.1", exchange.server.request_port))
        stream.sendall(rng.bytes(4000))
        bid, _ = best(exchange, BUY)
        id_ = client.new(BUY, bid - 3 * TICK, 5)
        assert kinds(client.wait(id_, 1)) == [ACK]
    assert client.part("session")["state"] == UP


def test_the_end_of_the_day_is_told(started):
    exchange = Exchange().start()
    client = Client(exchange.server.order_port).log_in()
    exchange.stop()
    wait_for(lambda: client.poll() or client.state["day_ended"])
    client.close()
