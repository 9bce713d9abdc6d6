"""The reference strategies through the stage: what they quote, what they leave alone, and when they stop."""

import pytest
from strategy_rig import E8, LOT, TICK, Rig

from hftpipe.core.schema.records import (
    ACK,
    ASK,
    BID,
    BUY,
    CANCEL,
    CANCEL_REJECT,
    EXPIRED,
    FILL,
    INVALID,
    IOC,
    NEW,
    POST_ONLY,
    REDUCE_ONLY,
    REJECT,
    REPLACE,
    REPLACED,
    SELL,
)
from hftpipe.core.trading.order_table import TABLE, TABLE_HEADER_BYTES
from hftpipe.strategy.compile.loader import load, publish_params

PLAIN = {"spread_bps": 10, "reprice_threshold": 1, "skew_factor": 1, "widening": 1, "max_inventory": "0.01"}
BID_PRICE, ASK_PRICE = 9_990_000_000, 10_010_000_000


def make(**params) -> Rig:
    return Rig(load("market_making", {**PLAIN, **params}))


def live(rig: Rig, bid: float = 99.9, ask: float = 100.1) -> list:
    """Quote on a first book and have every order acknowledged."""
    rig.ready(bid, ask)
    sent = rig.run()
    for order in sent:
        rig.update(ACK, order["id"])
    rig.run()
    return sent


def move(rig: Rig, bid: float, ask: float) -> list:
    rig.touch(bid, ask)
    return rig.run()


def test_both_sides_are_quoted_post_only_half_the_spread_from_the_mid():
    bid, ask = live(make())
    assert (bid["kind"], bid["side"], bid["price"], bid["qty"], bid["flags"]) == (NEW, BUY, BID_PRICE, LOT, POST_ONLY)
    assert (ask["kind"], ask["side"], ask["price"], ask["qty"], ask["flags"]) == (NEW, SELL, ASK_PRICE, LOT, POST_ONLY)


def test_levels_are_half_a_spread_apart_and_counted():
    sent = live(make(num_levels=3, spread_bps=40))
    assert [int(r["price"]) for r in sent if r["side"] == BUY] == [9_980_000_000, 9_960_000_000, 9_940_000_000]
    assert [int(r["price"]) for r in sent if r["side"] == SELL] == [10_020_000_000, 10_040_000_000, 10_060_000_000]


def test_quotes_never_reach_the_other_side_of_the_touch():
    rig = make(spread_bps="0.01")
    bid, ask = live(rig, 100.0, 100.1)
    assert bid["price"] == 100 * E8 and ask["price"] == 100 * E8 + TICK


def test_quotes_stay_while_the_target_moves_less_than_the_threshold():
    rig = make(reprice_threshold=20)
    live(rig)
    assert move(rig, 100.0, 100.2) == []


def test_quotes_follow_the_mid_by_replacing():
    rig = make()
    bid, ask = live(rig)
    moved = move(rig, 101.9, 102.1)
    assert [(int(r["kind"]), int(r["id"])) for r in moved] == [(REPLACE, int(bid["id"])), (REPLACE, int(ask["id"]))]
    assert all(r["price"] % TICK == 0 for r in moved) and moved[0]["price"] < 102 * E8 < moved[1]["price"]


def test_nothing_is_sent_while_a_change_is_pending_and_the_newest_quote_with_its_answer():
    rig = make()
    bid, _ = live(rig)
    assert len(move(rig, 101.9, 102.1)) == 2
    assert move(rig, 103.9, 104.1) == []
    assert move(rig, 105.9, 106.1) == []
    rig.update(REPLACED, bid["id"], side=BUY, price=10_190_000_000, qty=LOT)
    (newest,) = rig.run()
    assert (newest["id"], newest["price"]) == (bid["id"], 10_590_000_000)
    assert move(rig, 105.9, 106.1) == []


def test_no_order_is_sent_before_the_first_is_acknowledged():
    rig = make()
    rig.ready(99.9, 100.1)
    assert len(rig.run()) == 2
    assert move(rig, 101.9, 102.1) == []


def test_a_long_position_lowers_both_quotes_and_widens_them():
    rig = make(spread_bps=100, max_inventory="0.004")
    bid, ask = live(rig)
    rig.push("updates", kind=FILL, id=1, side=BUY, price=100 * E8, qty=2 * LOT, instrument=0)
    moved = {int(r["side"]): r for r in rig.run()}
    # share 0.5: half spread 0.5 x 1.5 = 0.75, fair 100 - 0.375
    assert moved[BUY]["price"] == 9_880_000_000 < bid["price"]
    assert moved[SELL]["price"] == 10_040_000_000 < ask["price"]
    assert moved[SELL]["price"] - moved[BUY]["price"] > ask["price"] - bid["price"]


@pytest.mark.parametrize(("held", "stopped"), [(BUY, BUY), (SELL, SELL)])
def test_the_side_that_would_pass_max_inventory_is_withdrawn(held, stopped):
    rig = make(max_inventory="0.002", reprice_threshold=1000)
    orders = {int(r["side"]): r for r in live(rig)}
    rig.push("updates", kind=FILL, id=1, side=held, price=100 * E8, qty=2 * LOT, instrument=0)
    sent = rig.run()
    assert [(int(r["kind"]), int(r["id"])) for r in sent] == [(CANCEL, int(orders[stopped]["id"]))]


def test_a_filled_quote_is_made_again():
    rig = make(reprice_threshold=1000)
    bid, _ = live(rig)
    rig.fill(bid)
    (again,) = rig.run()
    assert (again["kind"], again["side"]) == (NEW, BUY) and again["id"] != bid["id"]


@pytest.mark.parametrize("kind", [REJECT, EXPIRED])
def test_after_a_rejection_the_side_rests_a_while(kind):
    rig = make()
    rig.ready(99.9, 100.1)
    bid, ask = rig.run()
    rig.update(kind, bid["id"], side=BUY, flags=14)
    rig.update(ACK, ask["id"])
    for _ in range(20):
        assert move(rig, 99.9, 100.1) == []
    rig.now += 250_000_000
    (again,) = move(rig, 99.9, 100.1)
    assert (again["kind"], again["side"]) == (NEW, BUY)


def test_quotes_are_withdrawn_when_the_book_is_lost():
    rig = make()
    live(rig)
    rig.book_state(INVALID)
    rig.timer()
    assert [int(r["kind"]) for r in rig.run()] == [CANCEL, CANCEL]
    rig.timer()
    assert rig.run() == [], "once"


def test_no_new_quote_while_halted():
    rig = make()
    rig.halt()
    rig.ready()
    assert rig.run() == []
    rig.halt(False)
    assert len(move(rig, 99.9, 100.1)) == 2


def test_a_new_spread_moves_the_quotes_at_once():
    rig = make()
    live(rig)
    publish_params(rig.memory["params"], rig.loaded, {"spread_bps": 40})
    moved = rig.run()
    assert [int(r["kind"]) for r in moved] == [REPLACE, REPLACE]
    assert [int(r["price"]) for r in moved] == [9_980_000_000, 10_020_000_000]


def test_fewer_levels_withdraw_the_rest():
    rig = make(num_levels=2)
    live(rig)
    publish_params(rig.memory["params"], rig.loaded, {"num_levels": 1})
    assert [int(r["kind"]) for r in rig.run()] == [CANCEL, CANCEL]


def test_two_instruments_are_quoted_independently():
    rig = make()
    live(rig)
    rig.ready(49.9, 50.1, instrument=1)
    sent = rig.run()
    assert [int(r["instrument"]) for r in sent] == [1, 1]
    assert [int(r["price"]) for r in sent] == [4_990_000_000, 5_010_000_000]


def test_never_more_than_one_order_per_side_and_level_whatever_the_market_does():
    rig = make(num_levels=2, spread_bps=20)
    open_orders: dict[int, int] = {}
    rig.ready(99.9, 100.1)
    for n in range(300):
        for record in rig.run():
            if record["kind"] == NEW:
                open_orders[int(record["id"])] = int(record["side"])
                rig.update(ACK, record["id"])
            elif record["kind"] == REPLACE and int(record["id"]) not in open_orders:
                rig.update(CANCEL_REJECT, record["id"])
            elif record["kind"] == REPLACE:
                rig.update(REPLACED, record["id"], price=record["price"], qty=record["qty"])
            else:
                open_orders.pop(int(record["id"]))
                rig.update(33 + 2, record["id"])
        sides = list(open_orders.values())
        assert sides.count(BUY) <= 2 and sides.count(SELL) <= 2
        if n % 7 == 3 and open_orders:
            id_, side = open_orders.popitem()
            rig.push("updates", kind=FILL, id=id_, side=side, price=100 * E8, qty=LOT, instrument=0)
        rig.touch(99.9 + (n * 37 % 23) / 10, 100.1 + (n * 37 % 23) / 10)
    assert rig.memory["table"][:TABLE_HEADER_BYTES].view(TABLE)["illegal"][0] == 0, "no illegal transition"


# --- momentum --------------------------------------------------------------------------------------


def moving() -> Rig:
    rig = Rig(load("momentum", {"window_ms": 1, "cooldown_ms": 0, "hold_ms": 10, "slippage_bps": 10}))
    rig.ready(100.0, 100.1)
    rig.trade(100.1, 1.0)
    assert rig.run() == [], "the first window has nothing to compare with"
    return rig


def window(rig: Rig, bid: float, ask: float, side: int) -> list:
    """A new touch, then a trade that closes the window."""
    rig.touch(bid, ask)
    rig.now += 2_000_000
    rig.trade(ask if side == BUY else bid, 1.0, side=side)
    return rig.run()


def test_momentum_follows_a_move_with_an_ioc_past_the_touch():
    rig = moving()
    (order,) = window(rig, 101.0, 101.1, BUY)
    assert (order["side"], order["flags"], order["qty"]) == (BUY, IOC, LOT)
    assert order["price"] == 10_130_000_000, "101.1 and 10 bps, up to a tick"


def test_momentum_needs_price_and_flow_to_agree():
    assert window(moving(), 101.0, 101.1, SELL) == []
    assert window(moving(), 100.0, 100.1, BUY) == []


def test_momentum_leaves_after_its_holding_time_reduce_only():
    rig = moving()
    (order,) = window(rig, 101.0, 101.1, BUY)
    rig.fill(order)
    rig.timer(ns=5_000_000)
    assert rig.run() == []
    rig.timer(ns=6_000_000)
    (leave,) = rig.run()
    assert (leave["side"], leave["flags"], leave["qty"]) == (SELL, IOC | REDUCE_ONLY, LOT)
    rig.timer()
    assert rig.run() == [], "one at a time"


def test_momentum_leaves_when_the_market_turns():
    rig = moving()
    (order,) = window(rig, 101.0, 101.1, BUY)
    rig.fill(order)
    (leave,) = window(rig, 99.0, 99.1, SELL)
    assert (leave["side"], leave["flags"]) == (SELL, IOC | REDUCE_ONLY)


def test_momentum_does_not_pass_its_largest_position():
    rig = Rig(load("momentum", {"window_ms": 1, "cooldown_ms": 0, "max_position": "0.001"}))
    rig.push("updates", kind=FILL, id=1, side=BUY, price=100 * E8, qty=LOT, instrument=0)
    rig.ready(100.0, 100.1)
    rig.trade(100.1, 1.0)
    rig.run()
    assert window(rig, 101.0, 101.1, BUY) == []


def test_sides_of_book_and_order_are_the_same_numbers():
    assert (BID, ASK) == (BUY, SELL)
