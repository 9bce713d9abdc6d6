"""Quotes against a venue that does anything: the engine beside a slow twin that only knows what the author asked for."""

import random
from collections import deque
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from quote_rig import Desk, quoting
from strategy_rig import E8, LOT, TICK

from hftpipe.core.schema.reasons import (
    AMEND_BELOW_FILLED,
    BOOK_STALE,
    HALTED,
    MAX_POSITION,
    POST_ONLY_WOULD_TAKE,
    RATE_PER_S,
    USER_REQUEST,
    VENUE_BUSY,
    VENUE_UNKNOWN_ORDER,
)
from hftpipe.core.schema.records import (
    ACK,
    BUY,
    CANCEL,
    CANCEL_REJECT,
    CANCELED,
    EXPIRED,
    FILL,
    GTC,
    NEW,
    POST_ONLY,
    RECORD,
    REJECT,
    REPLACE,
    REPLACED,
    SELL,
)
from hftpipe.core.schema.ring import RING, RING_HEADER_BYTES
from hftpipe.strategy.compile.loader import LoadedStrategy
from hftpipe.strategy.pacing import pace_row

MS = 1_000_000
SLOTS, INSTRUMENTS = 3, 2
PER_S, PER_MIN = 12, 400
REASONS = (RATE_PER_S, BOOK_STALE, MAX_POSITION, VENUE_BUSY)


@pytest.fixture(scope="module")
def loaded(tmp_path_factory: pytest.TempPathFactory) -> LoadedStrategy:
    return quoting(Path(tmp_path_factory.mktemp("quotes")))


def slot_of(request: np.ndarray) -> tuple[int, int]:
    """Prices of slot n are n ticks beside a multiple of sixteen: a new order says which slot it is for."""
    return int(request["instrument"]), int(request["price"]) // TICK % 16


@dataclass
class Wish:
    """What the author asked for last, less what has filled since."""

    side: int
    price: int
    asked: int
    left: int
    flags: int


@dataclass
class Order:
    """An order as the venue has it, and what of it is known to the strategy."""

    slot: tuple[int, int]
    side: int
    price: int
    qty: int
    flags: int
    filled: int = 0
    told: int = 0
    known_qty: int = 0
    lives: bool = False
    is_known: bool = False
    ended: bool = False
    asked: list[int] = field(default_factory=list)


class World:
    """The desk, its venue and the twin; every request is checked when it is sent."""

    def __init__(self, loaded: LoadedStrategy, dice: random.Random, is_paced: bool, ring: int) -> None:
        self.desk, self.dice = Desk(loaded, intents=ring), dice
        self.is_paced, self.is_halted, self.is_calm = is_paced, False, False
        if is_paced:
            rows = self.desk.rig.memory["paces"].view(pace_row(1, 1).dtype)
            rows[:] = pace_row(PER_S, PER_MIN)[0]
        self.looked_at = 0
        self.wishes: dict[tuple[int, int], Wish] = {}
        self.orders: dict[int, Order] = {}
        self.requests: deque[np.ndarray] = deque()
        self.answers: deque[tuple[int, dict[str, Any]]] = deque()
        self.sent: dict[int, list[int]] = {n: [] for n in range(INSTRUMENTS)}

    # What the author does.

    def quote(self) -> None:
        dice, slot = self.dice, (self.dice.randrange(INSTRUMENTS), self.dice.randrange(SLOTS))
        price = 100 * E8 // TICK // 16 * 16 * TICK + (16 * dice.randrange(4) + slot[1]) * TICK
        qty, side, flags = dice.choice((0, 2, 3, 5)) * LOT, dice.choice((BUY, BUY, SELL)), dice.choice((GTC, POST_ONLY))
        self.desk.wish(price, qty, side=side, slot=slot[1], flags=flags, instrument=slot[0])
        if qty == 0:
            self.wishes.pop(slot, None)
        elif not self.is_halted:
            old = self.wishes.get(slot)
            if not old or (old.side, old.price, old.asked, old.flags) != (side, price, qty, flags):
                self.wishes[slot] = Wish(side, price, qty, qty, flags)
        self.pass_time(0)

    def halt(self) -> None:
        """Trading is halted, and the gateway cancels what stands; or re-armed."""
        self.is_halted = not self.is_halted
        self.desk.rig.halt(self.is_halted)
        self.wishes.clear()
        for id_, order in self.orders.items():
            if order.lives and self.is_halted:
                self.end(id_, CANCELED, USER_REQUEST)
        self.work()

    # What the engine sends.

    def work(self) -> None:
        """Step the stage until it has nothing to do; sometimes nobody reads the ring of intents meanwhile."""
        while self.desk.rig.step():
            continue
        for request in self.written():
            self.check(request)
        if self.is_calm or self.dice.random() < 0.8:
            self.requests += self.desk.rig.intents()

    def written(self) -> list[np.ndarray]:
        """Requests put into the ring since the last look, read or not."""
        ring = self.desk.rig.memory["intents"]
        header = ring[:RING_HEADER_BYTES].view(RING)[0]
        count = int(header["capacity"])
        slots = ring[RING_HEADER_BYTES : RING_HEADER_BYTES + count * RECORD.itemsize].view(RECORD)
        seen, self.looked_at = self.looked_at, int(header["next_in"])
        return [slots[n % count].copy() for n in range(seen, self.looked_at)]

    def check(self, request: np.ndarray) -> None:
        """No request may be one that what is known of its order forbids, nor be too many."""
        kind, id_ = int(request["kind"]), int(request["id"])
        if kind == NEW:
            slot = slot_of(request)
            others = [one for one in self.orders.values() if one.slot == slot and (one.lives or not one.ended)]
            assert not others, "two orders in one slot"
            fields = (int(request[name]) for name in ("side", "price", "qty", "flags"))
            self.orders[id_] = Order(slot, *fields, known_qty=int(request["qty"]), asked=[NEW])
        else:
            order = self.orders[id_]
            assert not order.ended, "a change of an order whose end is known"
            assert CANCEL not in order.asked, "a change after a cancel"
            assert kind == CANCEL or (order.is_known and not order.asked), "a replace while a change is under way"
            order.asked.append(kind)
        if kind != CANCEL:
            times = self.sent[self.orders[id_].slot[0]]
            times.append(int(request["local_ts"]))
            recent = sum(one > times[-1] - 1_024 * MS for one in times)
            assert not self.is_paced or recent <= PER_S, "more than risk allows"

    # What the venue does.

    def tell(self, id_: int, kind: int, **fields: Any) -> None:
        order = self.orders[id_]
        fields = {"side": order.side, "price": order.price, "qty": order.qty, "instrument": order.slot[0], **fields}
        self.answers.append((id_, {"kind": kind, **fields}))

    def end(self, id_: int, kind: int, reason: int) -> None:
        self.orders[id_].lives = False
        self.tell(id_, kind, flags=reason)

    def carry_out(self) -> None:
        """The oldest request: granted, or refused for some reason."""
        request = self.requests.popleft()
        kind, id_ = int(request["kind"]), int(request["id"])
        order, refuse = self.orders[id_], not self.is_calm and self.dice.random() < 0.3
        if kind == NEW:
            if self.is_halted or refuse:
                self.end(id_, REJECT, HALTED if self.is_halted else self.dice.choice(REASONS))
            elif not self.is_calm and self.dice.random() < 0.1:
                self.end(id_, EXPIRED, POST_ONLY_WOULD_TAKE)
            else:
                order.lives = True
                self.tell(id_, ACK)
        elif not order.lives:
            self.tell(id_, CANCEL_REJECT, flags=VENUE_UNKNOWN_ORDER)
        elif refuse or (self.is_halted and kind == REPLACE):
            self.tell(id_, CANCEL_REJECT, flags=self.dice.choice(REASONS))
        elif kind == CANCEL:
            self.end(id_, CANCELED, USER_REQUEST)
        elif int(request["qty"]) <= order.filled:
            self.end(id_, CANCELED, AMEND_BELOW_FILLED)
        else:
            order.price, order.qty = int(request["price"]), int(request["qty"])
            self.tell(id_, REPLACED)

    def trade(self) -> None:
        """Some of an order fills, or the venue ends it."""
        living = [id_ for id_, order in self.orders.items() if order.lives]
        if not living:
            return
        id_ = self.dice.choice(living)
        order = self.orders[id_]
        if self.dice.random() < 0.1:
            self.end(id_, CANCELED, 0)
            return
        qty = self.dice.choice((LOT, order.qty - order.filled))
        order.filled += qty
        order.lives = order.filled < order.qty
        self.tell(id_, FILL, qty=qty)

    def deliver(self) -> None:
        """The oldest answer reaches the strategy."""
        id_, fields = self.answers.popleft()
        order, kind = self.orders[id_], fields["kind"]
        if kind == FILL and not order.ended:
            wish = self.wishes.get(order.slot)
            if wish and wish.side == fields["side"]:
                wish.left -= fields["qty"]
                if wish.left <= 0:
                    del self.wishes[order.slot]
        if kind in (ACK, REJECT, EXPIRED) and NEW in order.asked:
            order.is_known, _ = True, order.asked.remove(NEW)
        elif kind in (REPLACED, CANCEL_REJECT) and order.asked:
            order.asked.pop(0)
        if kind == FILL:
            order.told += fields["qty"]
        elif kind == REPLACED:
            order.known_qty = fields["qty"]
        # Filled whole, as answers come in order: a replace that was not told before finds nothing left.
        is_filled = order.told >= order.known_qty
        order.ended = order.ended or is_filled or kind in (CANCELED, EXPIRED, REJECT)
        self.desk.rig.update(kind, id_, **{name: value for name, value in fields.items() if name != "kind"})
        self.work()

    def pass_time(self, ns: int) -> None:
        self.desk.rig.timer(ns)
        self.work()

    # The run.

    def anything(self) -> None:
        dice = self.dice.random()
        if dice < 0.3:
            self.quote()
        elif dice < 0.5 and self.requests:
            self.carry_out()
        elif dice < 0.7 and self.answers:
            self.deliver()
        elif dice < 0.78:
            self.trade()
        elif dice < 0.8:
            self.halt()
        else:
            self.pass_time(self.dice.choice((0, 1, 10, 300)) * MS)

    def come_to_rest(self) -> None:
        """From now on the venue does as it is asked, and time passes."""
        self.is_calm = True
        if self.is_halted:
            self.halt()
        for _ in range(1500):
            while self.requests or self.answers:
                (self.carry_out if self.requests else self.deliver)()
            self.pass_time(20 * MS)

    def standing(self) -> dict[tuple[int, int], tuple[int, int, int, int]]:
        living = [order for order in self.orders.values() if order.lives]
        found = {one.slot: (one.side, one.price, one.qty - one.filled, one.flags) for one in living}
        assert len(found) == len(living), "two orders in one slot"
        return found


@settings(max_examples=60)
@given(seed=st.integers(0, 2**32), is_paced=st.booleans(), ring=st.sampled_from((8, 64)))
def test_what_stands_becomes_what_was_asked_for_last_whatever_the_venue_did(
    loaded: LoadedStrategy, seed: int, is_paced: bool, ring: int
) -> None:
    world = World(loaded, random.Random(seed), is_paced, ring)
    for _ in range(200):
        world.anything()
    world.come_to_rest()
    wanted = {slot: (one.side, one.price, one.left, one.flags) for slot, one in world.wishes.items()}
    assert world.standing() == wanted
    assert world.desk.illegal == 0
