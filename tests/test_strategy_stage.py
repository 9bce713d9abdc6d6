"""The stage: what strategies see, what they send and in which order, and what is counted when something is refused."""

import random
import unicodedata
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from strategy_rig import E8, LOT, TICK, Rig, address

from hftpipe.core.schema.fault import read_fault
from hftpipe.core.schema.reasons import (
    CHANGE_IN_FLIGHT,
    INTENTS_RING_FULL,
    TOO_MANY_ACTIONS,
    TOO_MANY_OPEN_ORDERS,
    UNKNOWN_ORDER,
)
from hftpipe.core.schema.records import (
    ACK,
    ASK,
    BID,
    BUY,
    CANCEL,
    CANCEL_REJECT,
    CANCELED,
    EXPIRED,
    FEE_ASSET,
    FILL,
    FILL_MAKER,
    INVALID,
    LAST,
    MARKET,
    NEW,
    NOT_A_NUMBER,
    POST_ONLY,
    REDUCE_ONLY,
    REJECT,
    REPLACE,
    REPLACED,
    SELL,
    TOP,
    UNASKED,
    VALID,
    client_id,
)
from hftpipe.core.shared.ring import ring_peek
from hftpipe.core.shared.stage import SERVICE
from hftpipe.core.trading.book import BOOK
from hftpipe.core.trading.order_table import ORDER, ORDER_BYTES, REJECTED, TABLE, TABLE_HEADER_BYTES, UNKNOWN
from hftpipe.strategy.compile.loader import LoadedStrategy, load, publish_params
from hftpipe.strategy.stage import _handle as handle
from hftpipe.strategy.wiring import fault_service

SOURCE = '''
import math
from hftpipe.strategy import *


class Scripted(Strategy):
    """Does what ``what`` says, at every hook it has; the tests set it through the shared parameters' record."""

    what: int = state()
    target: OrderId = state()
    made: OrderId = state(shape=40)
    answers: int = state(shape=8)
    seen: int = state(shape=8)
    text: float = state(shape=8)
    speed: float = param(1.0, gt=0, le=10)

    def on_book(self, ctx, book):
        self.seen[0] += 1
        self.seen[5] = ctx.instrument
        self.seen[6] = ctx.now
        self.text[0], self.text[1], self.text[2] = book.mid(), book.spread(), book.spread_bps()
        self.text[3], self.text[4] = book.imbalance(2), book.microprice()
        self.text[5] = book.depth(BID, 3)
        self.text[6], self.text[7] = book.level(ASK, 1)
        self._act(ctx)

    def on_trade(self, ctx, trade):
        self.seen[1] += 1
        self.target = trade.id

    def on_fill(self, ctx, fill):
        self.seen[2] += 1
        self.answers[0], self.answers[1], self.answers[2] = fill.fee, ctx.position(), fill.is_maker()
        self.answers[3] = fill.id
        self.answers[5], self.answers[6] = fill.trade_id, fill.fee_asset()
        self.answers[7] = ctx.find(fill.id).venue_id

    def on_timer(self, ctx):
        self.seen[3] += 1
        self._act(ctx)

    def on_params(self, ctx):
        self.seen[4] += 1

    def _act(self, ctx):
        if self.what == 1:
            self.made[0] = ctx.buy(10000000000, 100000)
            self.made[1] = ctx.sell(10010000000, 200000, POST_ONLY | REDUCE_ONLY)
            self.made[2] = ctx.buy(0, 100000, MARKET)
        elif self.what == 2:
            for i in range(40):
                self.made[i] = ctx.buy(10000000000, 100000)
        elif self.what == 3:
            self.answers[0] = ctx.cancel(self.target)
            self.answers[1] = ctx.cancel(self.target)
        elif self.what == 4:
            self.answers[0] = ctx.replace(self.target, 10020000000, 300000)
        elif self.what == 5:
            self.made[0] = ctx.buy(math.nan, 100000)
            self.made[1] = ctx.sell(10000000000, math.inf)
            self.made[2] = ctx.buy(1e300, 100000)
            self.made[3] = ctx.buy(10000000000.4, 99999.6)
        elif self.what == 6:
            self.answers[0] = ctx.cancel_all()
        elif self.what == 7:
            self.made[self.target] = 1
        elif self.what == 8:
            self.answers[0] = ctx.select(1)
            self.answers[1] = ctx.select(5) + ctx.select(-1) + ctx.select(2**63 - 1) + ctx.select(-(2**63))
            self.made[1] = ctx.buy(10000000000, 100000)
        elif self.what == 9:
            self.answers[0], self.answers[1] = ctx.tick(), ctx.lot()
            self.answers[2], self.answers[3] = ctx.round_down(10005000001), ctx.round_up(10005000001)
            self.answers[4], self.answers[5] = ctx.round_up(10010000000.0), ctx.round_down(math.nan)
        elif self.what == 10:
            self.answers[0], self.answers[1] = ctx.open_orders(), ctx.open_qty(BUY)
            self.answers[2], self.answers[3] = ctx.order(0).qty, ctx.order(99).state
            self.answers[4], self.answers[5] = ctx.find(self.target).state, ctx.is_open(self.target)
            self.answers[6], self.answers[7] = ctx.find(12345).state, ctx.position_of(1)
        elif self.what == 11:
            self.made[0] = ctx.buy(10000000000, 100000)
            ctx.cancel(self.made[0])
            raise ValueError("told to")
        elif self.what == 12:
            self.answers[0] = ctx.replace(self.target, 10020000000, 300000)
            self.answers[1] = ctx.cancel(self.target)
            self.made[0] = ctx.buy(10000000000, 100000)
            raise ValueError("told to")
        elif self.what == 13:
            self.answers[0] = ctx.replace(self.target, 10020000000, 300000)
            raise ValueError("told to")
        elif self.what == 14:
            self.answers[0] = ctx.replace(self.target, math.nan, 300000)
'''


@pytest.fixture(scope="module")
def loaded(tmp_path_factory: pytest.TempPathFactory) -> LoadedStrategy:
    path = Path(tmp_path_factory.mktemp("strategy")) / "scripted.py"
    path.write_text(SOURCE)
    return load(f"{path}:Scripted")


@pytest.fixture
def rig(loaded: LoadedStrategy) -> Rig:
    made = Rig(loaded)
    made.ready()
    assert made.run() == []
    return made


def act(rig: Rig, what: int, target: int = 0, origin: int = 0):
    """Have the strategy do one thing in on_book, and nothing afterwards."""
    rig.self_record["what"], rig.self_record["target"] = what, target
    rig.levels((BID, 100.0, 1.0), origin=origin)
    sent = rig.run()
    rig.self_record["what"] = 0
    return sent


def orders(rig: Rig) -> list:
    """All used slots of the open-order table."""
    table = rig.memory["table"]
    capacity = int(table[:TABLE_HEADER_BYTES].view(TABLE)[0]["capacity"])
    slots = table[TABLE_HEADER_BYTES : TABLE_HEADER_BYTES + capacity * ORDER_BYTES].view(ORDER)
    return [slot for slot in slots if slot["state"] != 0]


def state_of(rig: Rig, id_: int) -> int:
    return next(int(o["state"]) for o in orders(rig) if o["id"] == id_)


def open_count(rig: Rig) -> int:
    return int(rig.memory["table"][:TABLE_HEADER_BYTES].view(TABLE)[0]["n_open"])


def test_actions_are_sent_in_order_with_all_their_fields(rig):
    buy, sell, market = act(rig, 1, origin=4711)
    assert [r["kind"] for r in (buy, sell, market)] == [NEW, NEW, NEW]
    assert (buy["side"], buy["price"], buy["qty"], buy["flags"]) == (BUY, 100 * E8, LOT, 0)
    assert (sell["side"], sell["price"], sell["qty"], sell["flags"]) == (
        SELL,
        10010000000,
        2 * LOT,
        POST_ONLY | REDUCE_ONLY,
    )
    assert (market["side"], market["price"], market["flags"]) == (BUY, 0, MARKET)
    assert [int(r["id"]) for r in (buy, sell, market)] == [client_id(2, 3, 1, n) for n in (1, 2, 3)]
    assert list(rig.self_record["made"][:3]) == [int(r["id"]) for r in (buy, sell, market)]
    for record in (buy, sell, market):
        assert (record["origin_tsc"], record["local_ts"], record["strategy"]) == (4711, rig.now, 3)
        assert record["exchange_ts"] > 0
    assert [int(o["state"]) for o in orders(rig)] == [1, 1, 1]


def test_on_book_is_called_once_per_update_and_only_on_a_tradable_book(loaded):
    rig = Rig(loaded)
    rig.levels((BID, 100.0, 1.0), (ASK, 100.1, 1.0))
    rig.run()
    assert rig.self_record["seen"][0] == 0 and rig.state["untradable"] == 1
    rig.book_state()
    rig.levels((BID, 99.9, 1.0), (BID, 99.8, 2.0), (ASK, 100.2, 3.0))
    rig.run()
    assert rig.self_record["seen"][0] == 1 and rig.state["book_updates"] == 2
    rig.levels((BID, 100.3, 1.0))
    rig.run()
    assert rig.self_record["seen"][0] == 1, "a crossed book is not traded on"
    rig.book_state(INVALID)
    rig.levels((BID, 100.3, 0.0))
    rig.run()
    assert rig.self_record["seen"][0] == 1


def test_book_methods_give_what_the_levels_say(rig):
    rig.levels((BID, 99.9, 2.0), (ASK, 100.2, 5.0))
    rig.run()
    text = rig.self_record["text"]
    assert text[0] == 10005000000 and text[1] == TICK
    assert text[2] == pytest.approx(1e4 * 0.1 / 100.05)
    assert text[3] == pytest.approx((3 - 6) / 9)
    assert text[4] == pytest.approx(100.05 * E8)
    assert text[5] == 3 * E8 and (text[6], text[7]) == (10020000000, 5 * E8)


def test_a_newer_top_hides_stale_levels_and_an_older_one_is_dropped(rig):
    rig.touch(99.9, 100.1, 3.0)
    rig.run()
    assert rig.self_record["seen"][0] == 2
    assert rig.self_record["text"][0] == 10000000000, "mid of the newer top"
    assert rig.self_record["text"][5] == 0, "the bid at 100.0 is stale and no other is there"
    rig._update_id -= 2
    rig.touch(99.0, 100.1)
    rig.run()
    assert rig.self_record["seen"][0] == 2 and rig.state["book_updates"] == 2


def test_a_reset_replaces_every_level(rig):
    from hftpipe.core.schema.records import BOOK_RESET

    rig.market(BOOK_RESET, id=50)
    rig._update_id = 50
    rig.levels((BID, 50.0, 1.0), (ASK, 50.1, 1.0))
    rig.run()
    assert rig.self_record["text"][0] == 5005000000 and rig.self_record["text"][5] == 1 * E8


def test_each_instrument_has_its_own_book_and_position(rig):
    rig.ready(10.0, 10.1, instrument=1)
    rig.run()
    assert rig.self_record["seen"][5] == 1 and rig.self_record["text"][0] == 1005000000
    rig.push("updates", kind=FILL, id=9, side=SELL, price=E8, qty=E8, instrument=1)
    rig.run()
    assert (rig.position(), rig.position(instrument=1)) == (0, -E8)


def test_trades_and_timers_reach_their_hooks_with_event_time(rig):
    rig.trade(100.0, 1.0)
    rig.timer(ns=5_000_000)
    rig.levels((BID, 100.0, 2.0))
    rig.run()
    assert list(rig.self_record["seen"][:4]) == [2, 1, 0, 1] and rig.self_record["target"] == 7
    assert rig.self_record["seen"][6] == rig.now
    assert (rig.state["trades"], rig.state["timers"]) == (1, 1)


def test_more_actions_than_the_buffer_holds_are_refused_and_counted(rig):
    sent = act(rig, 2)
    assert len(sent) == 16 and (rig.self_record["made"] != 0).sum() == 16
    assert rig.ctx["refused"][TOO_MANY_ACTIONS] == 24 and open_count(rig) == 16


def test_a_strategy_that_floods_the_ring_leaves_a_place_for_each_behind_it(loaded):
    rig = Rig(loaded, intents=8)
    rig.ctx["spare"] = 2
    rig.self_record["what"] = 2
    rig.ready()
    rig.step()
    assert rig.ctx["refused"][INTENTS_RING_FULL] == 34 and open_count(rig) == 6


def test_a_full_intents_ring_refuses_instead_of_losing(loaded):
    rig = Rig(loaded, intents=8)
    rig.self_record["what"] = 2
    rig.ready()
    rig.step()
    assert rig.ctx["refused"][INTENTS_RING_FULL] == 32 and open_count(rig) == 8
    assert [int(i) for i in rig.self_record["made"][:9]].count(0) == 1
    sent = rig.intents()
    assert len(sent) == 8 and rig.state["intents_sent"] == 8
    rig.levels((BID, 100.0, 2.0))
    assert len(rig.run()) == 8, "there is room again, and ids go on without a gap"
    assert rig.ctx["sequence"] == 17


def test_a_full_order_table_refuses_new_orders(loaded):
    rig = Rig(loaded, orders=16)
    first = act_on(rig, 2)
    assert len(first) == 16
    rig.levels((BID, 100.0, 2.0))
    assert rig.run() == [] and rig.ctx["refused"][TOO_MANY_OPEN_ORDERS] == 40


def act_on(rig: Rig, what: int):
    rig.self_record["what"] = what
    rig.ready()
    return rig.run()


def test_a_flooding_strategy_never_loses_count(loaded):
    rig = Rig(loaded, intents=64, orders=4096)
    rig.self_record["what"] = 2
    rig.ready()
    for _ in range(50):
        rig.levels((BID, 100.0, 1.0))
    rig.step()
    sent = rig.intents()
    refused = sum(int(n) for n in rig.ctx["refused"])
    assert len(sent) == 64 == open_count(rig) and len(sent) + refused == 51 * 40
    assert [int(r["id"]) for r in sent] == [client_id(2, 3, 1, number) for number in range(1, 65)]


def test_what_is_no_number_is_marked_for_risk_and_counted(rig):
    nan, infinite, huge, plain = act(rig, 5)
    for record in (nan, infinite, huge):
        assert (record["flags"], record["price"], record["qty"]) == (NOT_A_NUMBER, 0, 0)
    assert (plain["flags"], plain["price"], plain["qty"]) == (0, 10000000000, 100000), "finite floats are rounded"
    assert rig.ctx["not_numbers"] == 3


def test_cancel_is_sent_once_and_only_for_an_open_order(rig):
    order = act(rig, 1)[0]
    (cancel,) = act(rig, 3, order["id"])
    assert (cancel["kind"], cancel["id"], cancel["side"]) == (CANCEL, order["id"], BUY)
    assert list(rig.self_record["answers"][:2]) == [1, 0] and rig.ctx["repeated_cancels"] == 1
    assert act(rig, 3, order["id"]) == [] and rig.ctx["repeated_cancels"] == 3
    rig.update(CANCELED, order["id"])
    rig.run()
    assert act(rig, 3, order["id"]) == [] and rig.ctx["refused"][UNKNOWN_ORDER] == 2
    assert act(rig, 3, 99) == [] and rig.ctx["refused"][UNKNOWN_ORDER] == 4
    assert act(rig, 3, -1) == [] and rig.ctx["refused"][UNKNOWN_ORDER] == 6


def test_cancel_all_leaves_out_what_is_being_cancelled(rig):
    order = act(rig, 1)[0]
    act(rig, 3, order["id"])
    assert [r["kind"] for r in act(rig, 6)] == [CANCEL, CANCEL] and rig.self_record["answers"][0] == 2
    assert act(rig, 6) == []


def test_cancel_all_goes_on_where_it_had_no_more_room_though_all_that_it_sent_was_refused(rig):
    made = [int(r["id"]) for r in act(rig, 2) + act(rig, 2)]
    for _ in range(2):
        sent = [int(r["id"]) for one in range(2) for r in refused(rig, act(rig, 6))]
        assert sorted(sent) == sorted(made), "each in its turn"


def refused(rig: Rig, sent: list) -> list:
    """Requests that are refused, all of them."""
    for request in sent:
        rig.update(CANCEL_REJECT, request["id"], flags=7)
    return sent


def test_replace_needs_a_working_order_and_ends_with_the_answer(rig):
    order = act(rig, 1)[0]
    assert act(rig, 4, order["id"]) == [] and rig.ctx["refused"][CHANGE_IN_FLIGHT] == 1
    rig.update(ACK, order["id"])
    rig.run()
    (sent,) = act(rig, 4, order["id"])
    assert (sent["kind"], sent["price"], sent["qty"], sent["id"]) == (REPLACE, 10020000000, 300000, order["id"])
    assert state_of(rig, order["id"]) == 5
    rig.update(REPLACED, order["id"], price=10020000000, qty=300000)
    rig.run()
    held = next(o for o in orders(rig) if o["id"] == order["id"])
    assert (held["state"], held["price"], held["qty"], held["new_qty"]) == (2, 10020000000, 300000, 0)


def test_a_change_of_the_venues_own_leaves_a_replace_under_way(rig):
    order = act(rig, 1)[0]
    rig.update(ACK, order["id"])
    rig.run()
    act(rig, 4, order["id"])
    rig.update(REPLACED, order["id"], price=order["price"], qty=50000, flags=UNASKED)
    rig.run()
    held = next(o for o in orders(rig) if o["id"] == order["id"])
    assert (held["state"], held["qty"], held["new_qty"]) == (5, 50000, 300000)
    rig.update(REPLACED, order["id"], price=10020000000, qty=300000)
    rig.run()
    held = next(o for o in orders(rig) if o["id"] == order["id"])
    assert (held["state"], held["qty"], held["new_qty"]) == (2, 300000, 0)


def test_a_refused_replace_leaves_the_order_working(rig):
    order = act(rig, 1)[0]
    rig.update(ACK, order["id"])
    rig.run()
    act(rig, 4, order["id"])
    rig.update(CANCEL_REJECT, order["id"], flags=5)
    rig.run()
    assert state_of(rig, order["id"]) == 2 and open_count(rig) == 3


def test_an_order_refused_while_a_replace_of_it_is_under_way_has_ended(rig):
    """Its cancel was refused before the venue had answered it, and it was replaced then."""
    order = act(rig, 1)[0]
    act(rig, 3, order["id"])
    rig.update(CANCEL_REJECT, order["id"], flags=50)
    rig.run()
    act(rig, 4, order["id"])
    rig.update(REJECT, order["id"], flags=46)
    rig.run()
    assert state_of(rig, order["id"]) == REJECTED
    rig.update(CANCEL_REJECT, order["id"], flags=44)
    rig.run()
    assert state_of(rig, order["id"]) == REJECTED


def test_a_replace_that_is_no_number_is_under_way_as_any_other(rig):
    """Of a replace without price and quantity and a cancel after it, the first refusal leaves the other to be answered."""
    order = act(rig, 1)[0]
    rig.update(ACK, order["id"])
    rig.run()
    assert [r["flags"] for r in act(rig, 14, order["id"])] == [NOT_A_NUMBER]
    act(rig, 3, order["id"])
    rig.update(CANCEL_REJECT, order["id"], flags=5)
    rig.run()
    assert state_of(rig, order["id"]) == 4 and act(rig, 3, order["id"]) == []
    rig.update(CANCEL_REJECT, order["id"], flags=5)
    rig.run()
    assert state_of(rig, order["id"]) == 2


def test_an_order_whose_old_quantity_has_filled_has_ended_though_a_replace_of_it_is_under_way(rig):
    """There is none of it left at the venue to replace; whether the venue says so makes no difference."""
    order = act(rig, 1)[0]
    rig.update(ACK, order["id"])
    rig.run()
    act(rig, 4, order["id"])
    rig.fill(order)
    rig.run()
    assert (state_of(rig, order["id"]), open_count(rig)) == (7, 2)
    rig.update(CANCEL_REJECT, order["id"], flags=44)
    rig.run()
    assert rig.memory["table"][:TABLE_HEADER_BYTES].view(TABLE)[0]["illegal"] == 0


@pytest.mark.parametrize("kind", [CANCEL_REJECT, REPLACED])
def test_the_answer_to_a_replace_does_not_end_a_cancel_sent_after_it(rig, kind):
    order = act(rig, 1)[0]
    rig.update(ACK, order["id"])
    rig.run()
    act(rig, 4, order["id"])
    act(rig, 3, order["id"])
    rig.update(kind, order["id"], price=10020000000, qty=300000)
    rig.run()
    assert state_of(rig, order["id"]) == 4, "the cancel is still under way"
    rig.update(CANCELED, order["id"])
    rig.run()
    assert state_of(rig, order["id"]) == 8


def test_fills_move_the_position_before_on_fill_is_called(rig):
    order = act(rig, 1)[0]
    rig.update(ACK, order["id"], venue_id=4711, price=order["price"], qty=order["qty"])
    rig.fill(order, qty=LOT // 4, fee=-77, trade_id=2**62 + 1)
    rig.run()
    assert list(rig.self_record["answers"][:4]) == [-77, LOT // 4, 0, int(order["id"])]
    assert list(rig.self_record["answers"][5:]) == [2**62 + 1, 0, 4711] and rig.position("fees") == -77
    assert state_of(rig, order["id"]) == 3
    rig.fill(order, qty=LOT - LOT // 4, fee=5, flags=FILL_MAKER | 3 << FEE_ASSET)
    rig.run()
    assert state_of(rig, order["id"]) == 7 and rig.position() == LOT
    # Its fee is in another asset than the quote currency.
    assert rig.self_record["answers"][6] == 3 and rig.position("fees") == -77


def test_a_fill_of_an_unknown_or_ended_order_still_counts(rig):
    order = act(rig, 1)[0]
    rig.update(CANCELED, order["id"])
    rig.fill(order, qty=LOT // 4)
    rig.update(FILL, 424242, side=BUY, price=E8, qty=5, instrument=0)
    rig.run()
    assert rig.position() == LOT // 4 + 5 and rig.self_record["seen"][2] == 2
    assert rig.state["unknown_orders"] == 1
    assert (state_of(rig, order["id"]), open_count(rig)) == (UNKNOWN, 3), "it lives, and more of it may fill"
    assert [r["kind"] for r in act(rig, 3, order["id"])] == [CANCEL], "one cancel at a time"
    assert act(rig, 3, order["id"]) == [] and rig.ctx["refused"][CHANGE_IN_FLIGHT] == 3
    rig.update(CANCELED, order["id"])
    rig.run()
    assert (state_of(rig, order["id"]), open_count(rig)) == (8, 2)


@pytest.mark.parametrize("bad", [{"qty": 0}, {"qty": -LOT}, {"price": 0}, {"price": 2**62, "qty": 2**62}])
def test_a_fill_that_risk_does_not_book_moves_neither_position_nor_order(rig, bad):
    order = act(rig, 1)[0]
    rig.fill(order, **bad)
    rig.run()
    assert (rig.position(), rig.state["bad_records"], rig.self_record["seen"][2]) == (0, 1, 0)
    assert next(o for o in orders(rig) if o["id"] == order["id"])["filled"] == 0


def test_updates_are_taken_before_market_records(rig):
    order = act(rig, 1)[0]
    rig.self_record["what"], rig.self_record["target"] = 10, order["id"]
    rig.levels((BID, 100.0, 3.0))
    rig.update(ACK, order["id"])
    rig.step()
    assert rig.self_record["answers"][4] == 2, "on_book saw the acknowledgement"


def test_intents_are_out_before_their_market_record_counts_as_read(rig):
    """Handling a record sends its intents; only then does the drain take it off the ring."""
    rig.self_record["what"] = 1
    rig.levels((BID, 100.0, 2.0))
    read, slot = rig.consumed("market"), ring_peek(rig.ring("market"))
    handle(np.uint64(address(rig.memory["state"])), slot)
    assert rig.consumed("market") == read and len(rig.intents()) == 3


def test_open_orders_can_be_looked_at(rig):
    order = act(rig, 1)[0]
    act(rig, 10, order["id"])
    assert list(rig.self_record["answers"]) == [3, 2 * LOT, LOT, 0, 1, 1, 0, 0]


def test_ticks_and_lots_are_those_of_the_instrument(rig):
    act(rig, 9)
    assert list(rig.self_record["answers"][:6]) == [TICK, LOT, 10000000000, 10010000000, 10010000000, 0]


def test_an_instrument_that_does_not_exist_is_refused_not_read(rig):
    (sent,) = act(rig, 8)
    assert sent["instrument"] == 1, "the last one that exists stays current"
    assert list(rig.self_record["answers"][:2]) == [1, 0]
    rig.trade(1.0, 1.0, instrument=9)
    rig.push("updates", kind=FILL, id=1, side=BUY, price=E8, qty=1, instrument=9)
    rig.run()
    assert rig.state["bad_records"] == 2 and rig.self_record["seen"][1] == 0


def test_an_index_out_of_range_disables_the_strategy_instead_of_writing_memory(rig):
    before = rig.memory["self"].copy()
    act(rig, 7, target=4000)
    assert rig.seats[0]["failed"] == 1
    assert (rig.self_record["made"] == before.view(rig.loaded.dtype)[0]["made"]).all()
    calls = int(rig.state["callbacks"])
    rig.trade(100.0, 1.0)
    rig.timer()
    rig.run()
    assert rig.state["callbacks"] == calls, "no hook is called again"


def test_a_strategy_that_raises_has_its_orders_cancelled_and_its_position_kept(rig):
    order = act(rig, 1)[0]
    sent = act(rig, 11)
    assert rig.seats[0]["failed"] == 1
    assert [int(r["kind"]) for r in sent] == [CANCEL, CANCEL, CANCEL], "its own new order is not sent"
    rig.fill(order)
    rig.run()
    assert rig.position() == LOT and rig.self_record["seen"][2] == 0
    rig.update(CANCEL_REJECT, sent[2]["id"])
    assert rig.run() == []
    rig.timer()
    assert [int(r["kind"]) for r in rig.run()] == [CANCEL], "a refused cancel is tried again, at the next timer"


def test_what_a_hook_that_raises_has_asked_for_is_dropped_and_only_cancels_go_out(loaded):
    """A replace of it is undone, so that its order is cancelled as it stands; an order of it ends unsent."""
    for what, dropped, kinds in ((11, 2, [CANCEL]), (12, 2, [CANCEL]), (13, 1, [CANCEL]), (7, 0, [CANCEL])):
        rig = Rig(loaded)
        rig.ready()
        rig.run()
        rig.self_record["what"] = 1
        rig.levels((BID, 100.0, 1.0))
        order = rig.run()[0]
        for other in [one for one in orders(rig) if one["id"] != order["id"]]:
            rig.update(CANCELED, other["id"])
        rig.update(ACK, order["id"])
        rig.run()
        sent = act(rig, what, int(order["id"]) if what != 7 else 10**6)
        assert [int(one["kind"]) for one in sent] == kinds and sent[0]["id"] == order["id"], (what, sent)
        assert (rig.state["dropped"], rig.seats[0]["running"]) == (dropped, 0)
        held = next(one for one in orders(rig) if one["id"] == order["id"])
        assert (held["state"], held["new_price"], held["new_qty"]) == (4, 0, 0)
        assert open_count(rig) == 1
        counted = rig.ctx["news"] + rig.ctx["cancels"] + rig.ctx["replaces"]
        assert counted == rig.state["intents_sent"] + rig.state["dropped"]
        rig.update(CANCELED, order["id"])
        rig.timer()
        assert rig.run() == [] and open_count(rig) == 0


def test_a_halt_is_visible_to_the_strategy(rig):
    rig.halt()
    rig.run()
    assert rig.ctx["halted"] == 1
    rig.halt(False)
    rig.run()
    assert rig.ctx["halted"] == 0


def test_parameters_change_between_events_and_state_does_not(rig):
    rig.self_record["answers"][0] = 55
    publish_params(rig.memory["params"], rig.loaded, {"speed": 2.5})
    assert rig.step() == 1
    assert rig.self_record["speed"] == 2.5 and rig.self_record["seen"][4] == 1 and rig.self_record["answers"][0] == 55
    assert rig.step() == 0 and rig.state["params_applied"] == 1


def test_parameters_half_written_are_not_taken(rig):
    publish_params(rig.memory["params"], rig.loaded, {"speed": 2.5})
    rig.memory["params"].view("u8")[0] |= 1
    rig.step()
    assert rig.self_record["speed"] == 1.0
    publish_params(rig.memory["params"], rig.loaded, {})
    rig.step()
    assert rig.self_record["speed"] == 2.5, "the next writer repairs what a dead one left"


def test_latencies_are_counted_once_per_book_update(rig):
    before = int(rig.memory["h_market_to_strategy"].view("i8")[0])
    rig.levels((BID, 100.0, 1.0), (BID, 99.0, 1.0), (ASK, 100.1, 2.0), origin=1)
    rig.trade(100.0, 1.0)
    rig.run()
    assert int(rig.memory["h_market_to_strategy"].view("i8")[0]) - before == 1
    assert int(rig.memory["h_strategy"].view("i8")[0]) == rig.state["callbacks"]


ANSWERS = (ACK, FILL, FILL, CANCELED, EXPIRED, REJECT, CANCEL_REJECT, REPLACED)


@settings(max_examples=60)
@given(st.integers(0, 2**32))
def test_any_sequence_of_updates_keeps_position_and_open_orders_consistent(loaded, seed):
    """Twin: the position is the sum of all fills; an order is open until a terminal answer or its last fill."""
    rng, rig = random.Random(seed), Rig(loaded)
    rig.ready()
    rig.run()
    position, ids = 0, []
    for _ in range(40):
        action = rng.choice((1, 3, 4, 6, 0))
        ids += [r for r in act(rig, action, int(rng.choice(ids)["id"]) if ids else 0) if r["kind"] == NEW]
        for _ in range(rng.randrange(4)):
            if not ids:
                break
            order, kind = rng.choice(ids), rng.choice(ANSWERS)
            qty = rng.randrange(1, 2 * LOT)
            rig.update(kind, order["id"], side=order["side"], price=100 * E8, qty=qty, instrument=0)
            if kind == FILL:
                position += qty if order["side"] == BUY else -qty
        ids += [r for r in rig.run() if r["kind"] == NEW]
    assert rig.position() == position
    held = orders(rig)
    open_ids = sorted(int(o["id"]) for o in held if 1 <= o["state"] <= 6)
    assert len(open_ids) == open_count(rig) == len(set(open_ids))
    for order in held:
        listed = 1 <= order["state"] < UNKNOWN
        assert not (listed and order["filled"] >= max(order["qty"], order["new_qty"])), "a filled order is not open"
        if order["state"] == 7:
            assert order["filled"] >= order["qty"]
    sent = rig.ctx["news"] + rig.ctx["cancels"] + rig.ctx["replaces"]
    assert sent == rig.state["intents_sent"]


@pytest.mark.parametrize("letter", ["y", "\u00e9", "\U0001d4ce"])
def test_a_fault_with_a_very_long_name_is_cut_and_still_named(tmp_path, letter):
    name = "Z" + letter * 3000
    path = tmp_path / "long.py"
    path.write_text(
        f"from hftpipe.strategy import *\nclass {name}(Exception): pass\nclass Long(Strategy):\n    def on_timer(self, ctx):\n"
        f"        raise {name}({letter * 3000!r})\n"
    )
    rig = Rig(load(f"{path}:Long"))
    rig.timer()
    assert rig.step() == SERVICE
    assert fault_service(rig.seats, [rig.seat], [rig.memory["fault"]])()
    fault = read_fault(rig.memory["fault"])
    assert (fault["hook"], fault["line"], fault["exception"][:50]) == (
        "on_timer",
        5,
        unicodedata.normalize("NFKC", name)[:50],
    )
    assert str(path).endswith(fault["file"][-20:]) and set(fault["message"]) == {letter}


def test_a_pair_of_best_prices_waits_for_its_ask_whatever_comes_of_another_venue_meanwhile(loaded):
    rig = Rig(loaded)
    for instrument in (0, 1):
        rig.book_state(VALID, instrument)
    rig.market(TOP, side=BID, price=100 * E8, qty=E8, id=5, instrument=0)
    rig.run()
    rig.touch(200.0, 200.1, instrument=1)
    rig.run()
    rig.market(TOP, side=ASK, price=101 * E8, qty=E8, id=5, instrument=0, flags=LAST)
    rig.run()
    at = int(rig.state["books"]) - address(rig.memory["books"])
    first = int(rig.memory["books"][at : at + 8].view(np.uint64)[0]) - address(rig.memory["books"])
    header = rig.memory["books"][first : first + BOOK.itemsize].view(BOOK)[0]
    assert (header["bid"], header["ask"]) == (100 * E8, 101 * E8)
