"""Orders of accounts on their way into the books of a market, and what befalls them there.

============================================= ====================================================================
what the book says of a new order             what becomes of it
============================================= ====================================================================
post-only that would take                     refused, or taken and EXPIRED, as the venue has it
fill-or-kill that cannot be filled            the same
what is left of an immediate one              EXPIRED
met one of its owner                          EXPIRE_MAKER, EXPIRE_TAKER: that one is EXPIRED_IN_MATCH; EXPIRE_BOTH: both
priced beyond what the book can hold          it rests on its level alone, and enters the book when that comes near; one that
                                              takes is executed, and what is left of it EXPIRED
no room in the book                           refused, or taken and EXPIRED
============================================= ====================================================================
"""

from collections.abc import Callable
from typing import Any, Generic, Protocol, TypeVar

from hftpipe.core.schema import reasons
from hftpipe.core.schema.records import BUY
from hftpipe.core.schema.records import FOK as BOOK_FOK
from hftpipe.core.schema.records import GTC as BOOK_GTC
from hftpipe.core.schema.records import IOC as BOOK_IOC
from hftpipe.core.schema.records import MARKET as BOOK_MARKET
from hftpipe.core.schema.records import POST_ONLY as BOOK_POST_ONLY
from hftpipe.simulation.market_server.clock import VenueClock
from hftpipe.simulation.market_server.market import Asked, Happened, Market
from hftpipe.simulation.market_server.market_steps import ENTER, REDUCE, REMOVE, SET_FAR
from hftpipe.simulation.market_server.symbols import Symbols
from hftpipe.simulation.market_server.trading import orders as words
from hftpipe.simulation.market_server.trading.orders import Fill, NewOrder, Order
from hftpipe.simulation.market_server.trading.trader import Books, Trader
from hftpipe.simulation.matching.memory import (
    DELETE,
    EXECUTE,
    EXPIRE,
    STP_CANCEL_MAKER,
    STP_CANCEL_TAKER,
    STP_NONE,
)

_TIF = {words.GTC: BOOK_GTC, words.IOC: BOOK_IOC, words.FOK: BOOK_FOK, words.GTX: BOOK_POST_ONLY}
_STP = {
    words.STP_NONE: STP_NONE, words.EXPIRE_MAKER: STP_CANCEL_MAKER, words.EXPIRE_TAKER: STP_CANCEL_TAKER,
    words.EXPIRE_BOTH: STP_CANCEL_TAKER,
}  # fmt: skip
_MS_NS = 1_000_000
AnyTrader = TypeVar("AnyTrader", bound=Trader[Any])


def book_tif(asked: NewOrder) -> int:
    """Time in force of an order as the matching engine has it."""
    if asked.type == words.MARKET:
        return BOOK_MARKET
    if asked.type == words.LIMIT_MAKER:
        return BOOK_POST_ONLY
    return _TIF[asked.tif]


def named_by_number(id_: int) -> str:
    """What an order goes by that its client has not named."""
    return f"sim{id_}"


class Feed(Protocol):
    """The market that orders are entered into.

    Attributes:
        market: the engine; symbols: what it lists; clock: the venue's.
    """

    market: Market
    symbols: Symbols
    clock: VenueClock

    def order(self, index: int, asked: Asked) -> int:
        """Carry out what an account asks of a book, and tell of what that changes; what it came to."""


class Desk(Generic[AnyTrader]):
    """The orders of one market.

    Attributes:
        traders: by index of the account.

    Args:
        feed: the market; books: how it keeps accounts; first_order: order ids of each symbol come after this.
        named: what an order goes by that its client has not named, from its id.
    """

    def __init__(
        self, feed: Feed, books: Books[AnyTrader], traders: list[AnyTrader], first_order: int,
        named: Callable[[int], str] = named_by_number,
    ) -> None:  # fmt: skip
        self._feed, self._books, self.traders, self._named = feed, books, traders, named
        self._last_order = dict.fromkeys(range(len(feed.symbols.all)), first_order)
        self._place, self._entered = 0, 0
        self._far: dict[int, list[Order]] = {}
        self._touched: dict[int, AnyTrader] = {}

    def now_ms(self) -> int:
        """The venue's time."""
        return self._feed.clock.now_ns // _MS_NS

    # Requests.

    def place(self, trader: AnyTrader, asked: NewOrder) -> Order:
        """Enter an order that has been checked.

        Raises:
            Exception: what the books refuse it with, as the market does not take it; nothing has happened.
        """
        index, now = asked.symbol.index, self.now_ms()
        id_ = self._last_order[index] + 1
        order = Order(id_, trader.account, asked, asked.client_id or self._named(id_), now, now)
        reason = self._enter(trader, order)
        if refused := self._refused(reason):
            self._feed.market.happened()
            raise refused
        self._last_order[index] = id_
        trader.orders.add(order)
        self._books.opened(trader, order)
        self._rest_far(order)
        self._end_request(trader, order, reason)
        return order

    def reject(self, trader: AnyTrader, asked: NewOrder, reason: int) -> Order:
        """Take an order that never gets to its book: it is over at once, with this reason."""
        index, now = asked.symbol.index, self.now_ms()
        id_ = self._last_order[index] = self._last_order[index] + 1
        order = Order(id_, trader.account, asked, asked.client_id or self._named(id_), now, now)
        trader.orders.add(order)
        self._books.opened(trader, order)
        self._end_request(trader, order, reason)
        return order

    def _enter(self, trader: AnyTrader, order: Order) -> int:
        """Enter what is left of an order; what that came to."""
        asked, index = order.asked, order.symbol.index
        self._place += 1
        order.place, order.is_far, self._entered = self._place, False, order.id
        tif, stp = book_tif(asked), _STP[asked.stp]
        ask = Asked(ENTER, order.id, trader.owner, order.side, asked.price, order.left, tif, stp)
        reason = self._feed.order(index, ask)
        if reason != reasons.VENUE_FILTER:
            return reason
        if not self._takes(order):
            order.is_far = True
            return reasons.NONE
        if tif == BOOK_POST_ONLY:
            return reasons.POST_ONLY_WOULD_TAKE
        return self._feed.order(index, ask._replace(tif=BOOK_IOC))

    def _refused(self, reason: int) -> Exception | None:
        """What the order is refused with that came to this just now; None: it was taken.

        The book is busy, too, when it has executed as much of an order as it can tell of at once: the rest of that has expired.
        """
        is_executed = reason == reasons.VENUE_BUSY and self._feed.market.has_happened
        return None if reason == reasons.NONE or is_executed else self._books.refusal(reason)

    def _takes(self, order: Order) -> bool:
        bid, _, ask, _ = self._feed.market.top(order.symbol.index)
        price = order.asked.price
        return bool(ask) and price >= ask if order.side == BUY else price <= bid

    def _end_request(self, trader: AnyTrader, order: Order, reason: int = reasons.NONE) -> None:
        """Reckon in what a request has led to, and tell of it; ``reason``: what entering the order came to."""
        self._touched[trader.account] = trader
        self._settle()
        if reason != reasons.NONE and order.is_open:
            # The book has not taken it, and says no more of it.
            self._end(trader, order, words.EXPIRED, reason, "")
        if order.status == words.EXPIRED_IN_MATCH and order.asked.stp == words.EXPIRE_BOTH:
            self._expire_met(trader, order)
        self._tell_touched()

    def _met(self, trader: AnyTrader, order: Order) -> Order | None:
        """The order of its owner that this one meets, which is at the head of the best level."""
        others = [one for one in trader.orders.of(order.symbol.index) if one.side != order.side and not one.is_far]
        sign = -1 if order.side == BUY else 1
        return max(others, key=lambda one: (sign * one.asked.price, -one.place), default=None)

    def _expire_met(self, trader: AnyTrader, order: Order) -> None:
        met = self._met(trader, order)
        if met is not None:
            met.met_id = order.id
            self._remove(met)
            self._end(trader, met, words.EXPIRED_IN_MATCH, reasons.SELF_TRADE, "")

    def cancel(self, trader: AnyTrader, order: Order, cancel_id: str = "") -> None:
        """Take an open order out; ``cancel_id``: what the client calls this request."""
        self._remove(order)
        self._end(trader, order, words.CANCELED, reasons.USER_REQUEST, cancel_id)
        self._end_request(trader, order)

    def expire(self, trader: AnyTrader, order: Order) -> None:
        """Take an open order out of the venue's own accord."""
        self._remove(order)
        self._end(trader, order, words.EXPIRED, reasons.VENUE_ENDED, "")
        self._end_request(trader, order)

    def reduce(self, trader: AnyTrader, order: Order, qty: int, client_id: str) -> None:
        """Make the total of an open order smaller, but larger than what is executed: it keeps its place."""
        by = order.asked.qty - qty
        if not order.is_far:
            self._feed.order(order.symbol.index, Asked(REDUCE, order.id, trader.owner, order.side, 0, by, 0, 0))
        self._books.changed(trader, order, order.asked.price, qty, client_id)
        if order.is_far:
            self._set_far(order.symbol.index, order.side, order.asked.price)
        self._end_request(trader, order)

    def replace(self, trader: AnyTrader, order: Order, price: int, qty: int) -> None:
        """Give an open order another price and total, above what is executed: it goes to the back of its queue.

        A post-only one that would take is cancelled.
        """
        self._remove(order)
        self._feed.market.happened()
        self._books.changed(trader, order, price, qty, "")
        reason = self._enter(trader, order)
        if self._refused(reason):
            self._feed.market.happened()
            self._end(trader, order, words.CANCELED, reason, "")
        self._rest_far(order)
        self._end_request(trader, order, reason)

    def _remove(self, order: Order) -> None:
        index = order.symbol.index
        if order.is_far:
            self._far[index].remove(order)
            self._set_far(index, order.side, order.asked.price)
        else:
            self._feed.order(index, Asked(REMOVE, order.id, order.account + 1, order.side, 0, 0, 0, 0))

    # What is too far away for the book.

    def _rest_far(self, order: Order) -> None:
        if order.is_far and order.is_open:
            self._far.setdefault(order.symbol.index, []).append(order)
            self._set_far(order.symbol.index, order.side, order.asked.price)

    def _set_far(self, index: int, side: int, price: int) -> None:
        rest = sum(one.left for one in self._far[index] if (one.side, one.asked.price) == (side, price))
        self._feed.order(index, Asked(SET_FAR, 0, 0, side, price, rest, 0, 0))

    def _bring_near(self) -> None:
        for index, far in self._far.items():
            for order in [one for one in far if self._feed.market.reaches(index, one.asked.price)]:
                trader = self.traders[order.account]
                self._remove(order)
                reason = self._enter(trader, order)
                if self._refused(reason):
                    self._end(trader, order, words.EXPIRED, reasons.VENUE_ENDED, "")
                self._rest_far(order)
                self._end_request(trader, order, reason)

    # What befalls orders.

    def advance(self) -> None:
        """Reckon in what the market has done since."""
        self._settle()
        self._tell_touched()
        if self._far:
            self._bring_near()

    def _settle(self) -> None:
        for one in self._feed.market.happened():
            if one.kind == EXECUTE:
                self._execute(one, one.maker_owner, one.maker_id, True)
                self._execute(one, one.owner, one.order_id, False)
            elif one.kind == EXPIRE or (one.kind == DELETE and one.reason == reasons.SELF_TRADE):
                self._expire(one)

    def _order_of(self, one: Happened, owner: int, id_: int) -> tuple[AnyTrader, Order]:
        trader = self.traders[owner - 1]
        order = trader.orders.by_id(one.instrument, id_)
        assert order is not None and order.is_open, f"order {id_} of account {owner - 1} is not open"
        return trader, order

    def _execute(self, one: Happened, owner: int, id_: int, is_maker: bool) -> None:
        if not owner:
            return
        trader, order = self._order_of(one, owner, id_)
        ts_ms = self._feed.clock.when(one.ts) // _MS_NS
        fill: Fill = self._books.executed(trader, order, one.price, one.qty, one.trade_id, is_maker, ts_ms)
        trader.orders.fills.append(fill)
        if not order.is_open:
            trader.orders.close(order)
        self._touched[trader.account] = trader

    def _expire(self, one: Happened) -> None:
        trader, order = self._order_of(one, one.owner, one.order_id)
        status = words.EXPIRED
        if one.reason == reasons.SELF_TRADE:
            status, met = words.EXPIRED_IN_MATCH, self._met(trader, order)
            order.met_id = self._entered if one.kind == DELETE else met.id if met else 0
        self._end(trader, order, status, one.reason, "")
        self._touched[trader.account] = trader

    def _end(self, trader: AnyTrader, order: Order, status: str, why: int, cancel_id: str) -> None:
        order.updated_ms, order.why, order.cancel_id = self.now_ms(), why, cancel_id
        self._books.ended(trader, order, status, why, cancel_id)
        trader.orders.close(order)

    def _tell_touched(self) -> None:
        while self._touched:
            self._books.told(self._touched.popitem()[1])
