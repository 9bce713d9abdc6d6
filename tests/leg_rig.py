"""Two venues that answer the arbitrage as badly as venues do, and a checker that only knows what was executed.

All of a run comes from its seed: books that cross and come back, and for each order what its venue makes of it.
"""

import random
from dataclasses import dataclass
from typing import Any

import numpy as np
from strategy_rig import E8, LOT, TICK, Rig

from hftpipe.core.schema.reasons import IOC_REMAINDER, MAX_POSITION, UNKNOWN_ORDER
from hftpipe.core.schema.records import (
    ACK,
    ASK,
    BID,
    BUY,
    CANCEL,
    CANCEL_REJECT,
    CANCELED,
    EXPIRED,
    FILL,
    INVALID,
    NEW,
    REJECT,
    VALID,
)
from hftpipe.strategy.compile.loader import LoadedStrategy, load

MS = 1_000_000
SIZE, LARGEST, UNHEDGED = 10 * LOT, 30 * LOT, 12 * LOT
SETTINGS: dict[str, Any] = {
    "order_size": "0.01", "max_inventory": "0.03", "max_unhedged": "0.012", "leg_timeout_ms": 20, "pause_ms": 50,
    "max_age_ms": 500, "opportunity_threshold_bps": 5, "hysteresis_bps": 1, "slippage_bps": 20,
}  # fmt: skip
#: What a venue makes of an order, and how often; while it is down, mostly the first three.
FATES = ("silent", "rejected", "nothing", "part", "late", "filled")
UP, DOWN = (2, 4, 6, 10, 8, 70), (40, 40, 20, 0, 0, 0)
LISTED = {"one unit": ("BTCUSDT", "BTC-USDT"), "packs": ("1000PEPEUSDT", "PEPEUSDT")}


def arbitrage(policy: int, **more: Any) -> LoadedStrategy:
    """The strategy with the settings of these tests, and others."""
    return load("arbitrage", SETTINGS | {"leg_policy": policy} | more)


@dataclass
class Sent:
    """An order as its venue has it."""

    order: Any
    fate: str
    due: int
    left: int
    over: bool = False


class Executed:
    """What was executed, from the fills alone: quantities in the common unit."""

    def __init__(self, units: tuple[int, int]) -> None:
        self.units, self.held, self.worst, self.fills = units, [0, 0], 0, 0

    def fill(self, instrument: int, side: int, qty: int) -> None:
        self.fills += 1
        self.held[instrument] += qty if side == BUY else -qty
        self.worst = max(self.worst, abs(self.unhedged))

    @property
    def unhedged(self) -> int:
        """Bought less sold, over both venues."""
        return sum(held // units for held, units in zip(self.held, self.units, strict=True))


class Venues:
    """A rig of the strategy stage between two such venues."""

    def __init__(self, seed: int, loaded: LoadedStrategy, listed: str = "one unit") -> None:
        self.random, self.units = random.Random(seed), (1, 1000) if listed == "packs" else (1, 1)
        self.rig = Rig(loaded, listed=LISTED[listed], fees=(20_000, 30_000))
        self.rig.instruments["tick"] = [TICK // 10 // units for units in self.units]
        self.executed, self.orders = Executed(self.units), []
        self.is_down, self.offset, self.halted = [False, False], 0.0, False
        for at in (0, 1):
            self.rig.book_state(VALID, at)
            self.show(at)

    def show(self, at: int) -> None:
        """A new top of book at one venue; the second one's price stands ``offset`` basis points off."""
        middle = 100.0 * (1 + self.offset * 1e-4 * at) / self.units[at]
        half = 0.0001 * middle
        qty = self.random.choice((0.004, 0.01, 0.02)) * self.units[at]
        self.rig.touch(middle - half, middle + half, qty, at)

    def turn(self) -> None:
        """Something happens; then the strategy is heard, and what is due is answered."""
        chance = self.random.random()
        if chance < 0.25:
            self.offset = self.random.choice((-40.0, -15.0, 0.0, 0.0, 15.0, 40.0))
        elif chance < 0.28:
            self.is_down[self.random.randrange(2)] = True
        elif chance < 0.36:
            self.is_down[self.random.randrange(2)] = False
        elif chance < 0.38:
            at = self.random.randrange(2)
            self.rig.book_state(INVALID, at)
            self.rig.book_state(VALID, at)
        elif chance < 0.44:
            self.halted = chance < 0.39
            self.rig.halt(self.halted)
        elif chance < 0.7:
            self.rig.timer(self.random.randrange(80) * MS)
        self.show(self.random.randrange(2))
        self.settle()

    def calm(self, turns: int = 60) -> None:
        """All is well again, and nothing crosses: every leg that is open should be closed."""
        self.is_down, self.offset, self.halted = [False, False], 0.0, False
        self.rig.halt(False)
        for order in self.orders:
            order.due = 0
        for _ in range(turns):
            self.rig.timer(20 * MS)
            for at in (0, 1):
                self.show(at)
            self.settle()

    def settle(self) -> None:
        """Take what the strategy sent, and answer what is due."""
        self.take(self.rig.run())
        for sent in [one for one in self.orders if not one.over and one.due <= self.rig.now]:
            self.answer(sent)
            self.take(self.rig.run())

    def take(self, intents: list[Any]) -> None:
        for intent in intents:
            if intent["kind"] == NEW:
                at = int(intent["instrument"])
                (fate,) = self.random.choices(FATES, DOWN if self.is_down[at] or self.halted else UP)
                wait = {"silent": 10**18, "late": self.random.randrange(200) * MS}.get(
                    fate, self.random.randrange(3) * MS
                )
                self.orders.append(Sent(intent, fate, self.rig.now + wait, int(intent["qty"])))
            elif intent["kind"] == CANCEL:
                self.cancel(next(one for one in self.orders if one.order["id"] == intent["id"]))

    def cancel(self, sent: Sent) -> None:
        """A cancel: it comes too late, or ends the order, or is not heard either."""
        chance = self.random.random()
        if sent.over or chance < 0.2:
            self.tell(sent, CANCEL_REJECT, flags=UNKNOWN_ORDER)
            sent.due = min(sent.due, self.rig.now + self.random.randrange(50) * MS)
        elif chance < 0.7:
            sent.over = True
            self.tell(sent, CANCELED, price=sent.order["price"], qty=sent.left)

    def tell(self, sent: Sent, kind: int, **fields: Any) -> None:
        order = sent.order
        self.rig.update(kind, order["id"], side=order["side"], instrument=order["instrument"], **fields)

    def fill(self, sent: Sent, qty: int) -> None:
        self.executed.fill(int(sent.order["instrument"]), int(sent.order["side"]), qty)
        sent.left -= qty
        self.tell(sent, FILL, price=sent.order["price"], qty=qty)

    def answer(self, sent: Sent) -> None:
        sent.over, qty = True, int(sent.order["qty"])
        if sent.fate == "rejected":
            self.tell(sent, REJECT, price=sent.order["price"], qty=qty, flags=MAX_POSITION)
            return
        self.tell(sent, ACK, price=sent.order["price"], qty=qty)
        if sent.fate in ("filled", "late", "silent"):
            self.fill(sent, qty)
            return
        lot = int(self.rig.instruments["lot"][0])
        if sent.fate == "part" and (part := self.random.randrange(qty // lot) * lot):
            self.fill(sent, part)
        self.tell(sent, EXPIRED, price=sent.order["price"], qty=sent.left, flags=IOC_REMAINDER)


def books(rig: Rig, *tops: tuple[float, float]) -> None:
    """A bid and an ask of one unit at each instrument in turn."""
    for at, (bid, ask) in enumerate(tops):
        rig.levels((BID, bid, 1.0), (ASK, ask, 1.0), instrument=at)


assert SIZE == E8 // 100 and np.int64(UNHEDGED) < LARGEST
