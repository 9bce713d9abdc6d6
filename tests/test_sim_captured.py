"""A recorded capture as the market of the simulated exchange: its levels, its trades, and who trades among them."""

import gzip
import json
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest
from ouch_rig import Client, Exchange, Watcher, free_port, wait_for
from usdm_tape import START, Tape, opened

from hftpipe.capture.detect import detect
from hftpipe.capture.reader import CaptureError
from hftpipe.core.machine.fixed import to_fixed
from hftpipe.core.machine.jit import jit
from hftpipe.core.machine.mem import view
from hftpipe.core.schema.instruments import INSTRUMENT, VENUES
from hftpipe.core.schema.records import ACK, BUY, FILL, GTC, SELL, VALID
from hftpipe.core.trading.book import book_level, book_qty_at, book_walk, book_walk_level, book_walk_next
from hftpipe.simulation.exchange_server.captured import play
from hftpipe.simulation.exchange_server.captured_levels import synthetic_at
from hftpipe.simulation.exchange_server.captured_taken import note_execution
from hftpipe.simulation.exchange_server.itch_exchange import OPEN_NS, ItchExchange
from hftpipe.simulation.exchange_server.settings import ExchangeConfig
from hftpipe.simulation.matching.engine import STP_NONE, match_event, match_event_count, match_events_clear, match_new
from hftpipe.simulation.matching.memory import EVENT, EXECUTE, MATCHING, ORDER
from hftpipe.simulation.matching.query import match_level_qty, match_order
from hftpipe.venues.nasdaq.itch.feed import feed_book
from hftpipe.venues.nasdaq.itch.messages import FIELD_MAX, PRICE_UNIT
from tests.data import DATA, needs_data

CAPTURES = (
    "binance-usdm-2024/usdm_btcusdt_20240808.gz",
    "binance-spot-2024/spot_btcusdt_20240808.gz",
    "binance-spot-2024/spot_ethusdt_20240808.gz",
)
TICK, LOT = 10**6, 10**8
# The owner that the first account has in the books.
ME = 1


def rows(symbol: str = "TEST", venue: str = "binance_usdm", tick: int = TICK, lot: int = LOT) -> np.ndarray:
    table = np.zeros(1, INSTRUMENT)
    table["symbol"], table["venue"], table["tick"], table["lot"] = symbol.encode(), VENUES[venue], tick, lot
    table["reference_price"] = 100 * 10**8
    return table


class Market:
    """A captured market whose lines are played one after another, by hand."""

    def __init__(self, path: str, table: np.ndarray | None = None, **settings) -> None:
        table = rows() if table is None else table
        self.server = ItchExchange(
            ExchangeConfig(table, port_a=free_port(), port_b=free_port(), replay=path, **settings)
        )
        self.state, self.capture = self.server.state[0], self.server.captured.state[0]
        self.address, self.book = np.uint64(self.server.state.ctypes.data), self.server.book(0)
        self.captured = self.server.captured.book(0)
        self.state["open_ns"], self.problems = OPEN_NS, list[str]()
        self.server.captured.source.open(self.problems.append)

    def until(self, receive_ts: int) -> None:
        """Play every line up to a receive time."""
        self.state["time_ns"] = OPEN_NS + receive_ts - (int(self.capture["first_ts"]) or receive_ts)
        while play(self.address) or self.state["need"]:
            if self.state["need"]:
                self.server.captured.source.service()
                self.state["need"] = 0

    def line(self, number: int) -> None:
        """Play the hand-written lines up to ``number``, from 1."""
        self.until(START)
        self.until(START + (number - 1) * 10**6)

    def synthetic(self, side: int, price: str) -> int:
        """Shares that synthetic orders hold at a price."""
        return int(synthetic_at(self.book, np.int64(side), np.int64(to_fixed(price) // TICK))) // LOT

    def enter(self, id_: int, side: int, price: str, shares: int) -> list[np.void]:
        """An order of a participant: its events."""
        match_events_clear(self.book)
        match_new(
            self.book, np.uint64(id_), np.int64(ME), np.int64(side), np.int64(to_fixed(price)), np.int64(shares * LOT),
            np.int64(GTC), np.int64(STP_NONE),
        )  # fmt: skip
        events = [match_event(self.book, np.int64(i)) for i in range(match_event_count(self.book))]
        found = [self._record(event, EVENT) for event in events]
        for event, record in zip(events, found, strict=True):
            if record["kind"] == EXECUTE:
                note_execution(np.uint64(self.state["captured"]), np.int64(0), np.uint64(event))
        match_events_clear(self.book)
        return found

    def left(self, id_: int) -> int:
        """Shares of a participant's order that still rest."""
        order = match_order(self.book, np.uint64(id_))
        return int(self._record(order, ORDER)["qty"]) // LOT if order else 0

    @staticmethod
    def _record(address: int, dtype: np.dtype) -> np.void:
        memory = np.ctypeslib.as_array((np.ctypeslib.ctypes.c_uint8 * dtype.itemsize).from_address(int(address)))
        return memory.view(dtype)[0].copy()

    def close(self) -> None:
        self.server.captured.source.close()
        self.server.close()


@pytest.fixture
def market(tmp_path) -> Iterator:
    made = []

    def make(tape: Tape, **settings) -> Market:
        made.append(Market(tape.write(tmp_path), **settings))
        return made[-1]

    yield make
    for one in made:
        one.close()


def test_a_level_grows_at_its_tail_and_shrinks_from_there(market):
    tape = opened().depth([["100.00", "16"]], []).depth([["100.00", "12"]], [])
    m = market(tape)
    m.line(2)
    assert (m.synthetic(BUY, "100.00"), m.synthetic(SELL, "100.02")) == (10, 6)
    assert m.enter(1, BUY, "100.00", 3)[0]["qty"] == 3 * LOT
    m.line(3)
    assert (
        m.synthetic(BUY, "100.00") == 16 and match_level_qty(m.book, np.int64(BUY), np.int64(100 * 10**8)) == 19 * LOT
    )
    m.line(4)
    # What came behind us went first: 10 are still ahead, 2 behind.
    assert m.synthetic(BUY, "100.00") == 12
    assert m.enter(2, SELL, "100.00", 11)[-1]["maker_owner"] == ME and m.left(1) == 2


def test_a_trade_fills_who_is_next_in_the_queue(market):
    tape = opened().trade("100.01", "5", BUY).trade("100.01", "2", BUY)
    m = market(tape)
    m.line(2)
    m.enter(1, SELL, "100.01", 4)
    m.line(3)
    assert (m.synthetic(SELL, "100.01"), m.left(1)) == (0, 4)
    m.line(4)
    assert m.left(1) == 2 and m.capture["short_trades"] == 0


def test_a_trade_fills_a_better_priced_participant_first(market):
    m = market(opened().depth([["100.00", "0"]], []).trade("100.01", "3", BUY))
    m.line(3)
    m.enter(1, SELL, "100.00", 2)
    m.line(4)
    assert m.left(1) == 0 and m.synthetic(SELL, "100.01") == 4


def test_a_trade_further_out_shows_that_better_levels_are_gone(market):
    m = market(opened().trade("100.02", "1", BUY).depth([], []))
    m.line(3)
    assert (m.synthetic(SELL, "100.01"), m.synthetic(SELL, "100.02"), m.synthetic(SELL, "100.03")) == (0, 5, 7)
    # The next depth update does not say so: the levels are as captured again.
    m.line(4)
    assert (m.synthetic(SELL, "100.01"), m.synthetic(SELL, "100.02"), m.synthetic(SELL, "100.03")) == (5, 6, 7)


def test_a_trade_that_the_book_is_past_already_changes_nothing(market):
    m = market(opened().depth([], [["100.01", "9"]], ms=50).trade("100.02", "3", BUY, ms=49))
    m.line(4)
    assert (m.synthetic(SELL, "100.01"), m.synthetic(SELL, "100.02"), m.capture["late_trades"]) == (9, 6, 1)


def test_what_a_participant_took_stays_taken_and_only_what_is_added_is_new(market):
    tape = opened().depth([["99.99", "21"]], [])
    levels = ((5, 1), (7, 3), (6, 3), (2, 2), (5, 5))
    for shown, _ in levels:
        tape.depth([], [["100.01", str(shown)]])
    m = market(tape)
    m.line(2)
    assert m.enter(1, BUY, "100.01", 4)[0]["kind"] == EXECUTE
    m.line(3)
    assert (m.synthetic(SELL, "100.01"), m.synthetic(BUY, "99.99")) == (1, 21)
    for line, (shown, left) in enumerate(levels, 4):
        m.line(line)
        assert m.synthetic(SELL, "100.01") == left, shown


def test_a_trade_behind_it_and_a_replaced_book_give_back_nothing_that_was_taken(market):
    tape = opened().trade("100.02", "1", BUY, ms=50).depth([["99.97", "1"]], [], ms=51)
    tape.last_id += 5
    tape.depth([], []).snapshot([["100.00", "10"]], [["100.01", "5"], ["100.02", "9"]]).depth([], [])
    m = market(tape)
    m.line(2)
    assert m.enter(1, BUY, "100.01", 4)[0]["kind"] == EXECUTE
    m.line(4)
    assert m.synthetic(SELL, "100.01") == 1
    m.line(7)
    assert (m.synthetic(SELL, "100.01"), m.synthetic(SELL, "100.02")) == (1, 9)


def test_a_captured_level_that_met_a_participant_has_so_much_less(market):
    tape = opened().depth([["100.00", "0"]], [["100.00", "8"]]).depth([], [["100.00", "9"]])
    m = market(tape)
    m.line(2)
    m.enter(1, BUY, "100.00", 3)
    m.line(4)
    assert (m.left(1), m.synthetic(SELL, "100.00")) == (0, 6)


def test_a_captured_level_that_crosses_a_participant_trades_with_him(market):
    m = market(opened().depth([["100.00", "0"]], [["100.00", "8"]]))
    m.line(2)
    m.enter(1, BUY, "100.00", 3)
    m.line(3)
    assert (m.left(1), m.synthetic(SELL, "100.00"), m.synthetic(BUY, "100.00")) == (0, 5, 0)


def test_a_lost_book_is_withdrawn_and_a_snapshot_brings_it_back(market):
    tape = opened()
    tape.last_id += 5
    tape.depth([["99.00", "1"]], []).snapshot([["99.50", "4"]], [["99.60", "4"]]).depth([], [])
    m = market(tape)
    m.line(2)
    m.enter(1, BUY, "99.98", 3)
    m.line(3)
    assert m.synthetic(BUY, "100.00") == 0 and m.synthetic(SELL, "100.01") == 0 and m.left(1) == 3
    m.line(5)
    # The ask of the snapshot is below our bid.
    assert (m.left(1), m.synthetic(SELL, "99.60"), m.synthetic(BUY, "99.50"), m.synthetic(BUY, "100.00")) == (
        0,
        1,
        4,
        0,
    )


def test_fractions_of_a_share_are_rounded_down_and_counted(market):
    m = market(opened().depth([["99.97", "2.7"], ["99.96", "0.4"]], []).trade("100.00", "0.5", SELL))
    m.line(4)
    assert (m.synthetic(BUY, "99.97"), m.synthetic(BUY, "99.96"), m.synthetic(BUY, "100.00")) == (2, 0, 10)
    assert m.capture["rounded"] == 3


def test_prices_that_cannot_be_had_are_left_out_and_counted(market):
    far = "500000.00"
    m = market(opened().depth([["99.995", "2"]], [[far, "3"], ["99000.00", "3"]]))
    m.line(3)
    # Off the tick; beyond ITCH; outside of the window of prices.
    assert m.capture["left_out"] == 3 and m.synthetic(SELL, far) == 0


# --- real captures ---------------------------------------------------------------------------------------


@jit
def _differences(book, captured, side, lot):
    """Levels of a captured side inside the window, and how many of them the synthetic orders do not equal."""
    m, levels, wrong = view(book, MATCHING), np.int64(0), np.int64(0)
    cursor = book_walk(captured, side, np.int64(0))
    while cursor >= 0:
        price, qty = book_walk_level(captured, side, cursor)
        tick = price // m.tick
        if price // PRICE_UNIT <= FIELD_MAX and tick >= m.base_tick and tick < m.base_tick + m.window:
            levels += 1
            wrong += np.int64(synthetic_at(book, side, tick) != qty // lot * lot)
        cursor = book_walk_next(captured, side, cursor)
    return levels, wrong


@jit
def _held(book, captured, side):
    """Ticks of the window where synthetic orders of a side rest though the capture has no level there."""
    m, extra = view(book, MATCHING), np.int64(0)
    for tick in range(m.base_tick, m.base_tick + m.window):
        if synthetic_at(book, side, np.int64(tick)) > 0:
            extra += np.int64(book_qty_at(captured, side, tick * m.tick) == 0)
    return extra


def plain_books(path: Path) -> Iterator[tuple[int, dict[int, dict[int, int]] | None]]:
    """(receive time, levels by side) of each line, the book by nothing but json and dicts; None for other events."""
    book, early, last = {BUY: {}, SELL: {}}, [], None
    for text in gzip.decompress(path.read_bytes()).decode().splitlines():
        ts, _, payload = text.partition(" ")
        data = json.loads(payload)
        data = data.get("data", data)
        changes = []
        if "lastUpdateId" in data:
            book, last = {BUY: {}, SELL: {}}, data["lastUpdateId"]
            changes = [(data["bids"], data["asks"])] + [(e["b"], e["a"]) for e in early if e["u"] > last]
        elif data.get("e") == "depthUpdate" and last is None:
            early.append(data)
        elif data.get("e") == "depthUpdate" and data["u"] > last:
            changes = [(data["b"], data["a"])]
        for side, levels in (pair for sides in changes for pair in zip((BUY, SELL), sides, strict=True)):
            for price, qty in levels:
                book[side][to_fixed(price)] = to_fixed(qty)
        yield int(ts), book if changes else None


@needs_data
@pytest.mark.parametrize("name", CAPTURES)
def test_after_each_depth_update_the_synthetic_levels_are_the_captured_ones(name):
    path = DATA / name
    info = detect(path)
    m = Market(str(path), rows(info.symbols[0], info.market, info.ticks[0], info.lots[0]))
    updates = compared = before = 0
    for ts, book in plain_books(path):
        m.until(ts)
        done = int(m.capture["depth_updates"] + m.capture["reloads"])
        if book is None or done == before:
            continue
        updates, before = updates + 1, done
        for side in (BUY, SELL):
            levels, wrong = _differences(m.book, m.captured, np.int64(side), np.int64(info.lots[0]))
            assert wrong == 0, (updates, side)
            compared += levels
            price, qty = book_level(m.captured, np.int64(side), np.int64(0))
            best = (max if side == BUY else min)(price for price, qty in book[side].items() if qty)
            assert (price, qty) == (best, book[side][best])
    for side in (BUY, SELL):
        assert _held(m.book, m.captured, np.int64(side)) == 0
    figures = m.server.figures()
    m.close()
    assert updates > 3000 and compared > 100 * updates and m.server.captured.has_ended() and not m.problems
    assert figures["trades"] > 5000 and figures["unencodable"] == figures["bad_messages"] == 0
    assert figures["left_out"] < compared // 1000 and figures["rounded"] < 10


# --- over the wire ---------------------------------------------------------------------------------------


def test_a_client_trades_in_the_capture_and_the_feed_shows_its_book(tmp_path):
    tape = opened()
    for index in range(400):
        tape.depth([["99.90", str(1 + index)]], [])
    tape.trade("100.01", "5", BUY).trade("100.01", "2", BUY).depth([], [["100.01", "0"]])
    exchange = Exchange(rows(), replay=tape.write(tmp_path), speed=1.0)
    watcher, client = Watcher(exchange), Client(exchange.server.order_port)
    watcher.step()
    try:
        exchange.server.state["speed"] = 0.0
        exchange.start()
        client.log_in()
        exchange.server.state["speed"] = 0.01
        wait_for(lambda: exchange.server.captured.state["depth_updates"][0] > 0)
        ours = client.new(SELL, 100_01 * TICK, 4)
        assert [r["kind"] for r in client.wait(ours, 1)] == [ACK]
        exchange.server.state["speed"] = 1.0
        fill = client.wait(ours, 2)[1]
        assert (fill["kind"], fill["qty"], fill["price"]) == (FILL, 2 * LOT, 100_01 * TICK)

        def caught_up():
            watcher.step()
            return watcher.arbiter["delivered"] == exchange.server.figures()["messages"] and "ended" in exchange.said

        wait_for(caught_up)
        assert watcher.feed_state["line_state"] == VALID and watcher.feed_state["damages"] == 0
        book = feed_book(watcher.feed, np.int64(0))
        tops = [tuple(map(int, book_level(book, np.int64(side), np.int64(0)))) for side in (BUY, SELL)]
        assert tops == [(100 * 10**8, 10 * LOT), (100_01 * TICK, 2 * LOT)]
        assert watcher.feed_state["executions"] == 2
    finally:
        client.close()
        exchange.stop()
        watcher.close()


@pytest.mark.parametrize(
    ("symbol", "price", "settings", "message"),
    [
        ("OTHER", "100.00", {}, "holds OTHER, but the instruments are TEST"),
        ("TEST", "430000.00", {}, "TEST: prices around 430000; ITCH ends at 429496.7295"),
        ("TEST", "100.00", {"tick": 1000}, "TEST: tick 0.00001; ITCH prices are whole multiples of 0.0001"),
    ],
)
def test_a_market_that_the_wire_cannot_carry_is_refused_by_name(tmp_path, symbol, price, settings, message):
    tape = Tape(symbol).depth([[price, "1"]], [])
    with pytest.raises(ValueError, match=message):
        ItchExchange(ExchangeConfig(rows(**settings), replay=tape.write(tmp_path)))


def test_a_file_that_is_no_capture_is_refused(tmp_path):
    with pytest.raises(CaptureError, match="nothing"):
        ItchExchange(ExchangeConfig(rows(), replay=str(tmp_path / "nothing")))


def test_a_damaged_capture_is_played_to_the_damage_and_told_of(market):
    tape = opened().depth([["99.97", "1"]], [])
    tape.lines.append("\0")
    m = market(tape)
    m.line(3)
    wait_for(lambda: m.line(10) or m.server.captured.has_ended())
    assert m.synthetic(BUY, "99.97") == 1 and "zero byte" in m.problems[0]
