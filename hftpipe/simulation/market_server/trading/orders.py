"""An order of an account, its executions, and where an account's orders are found.

Amounts are 1e-8. An order is open while it is NEW or PARTIALLY_FILLED. The words are Binance's; other venues have their own for them.
"""

from collections import deque
from collections.abc import Iterable
from dataclasses import dataclass, field
from itertools import islice

from hftpipe.core.schema import reasons
from hftpipe.core.schema.records import BUY
from hftpipe.simulation.market_server.symbols import Symbol

NEW, PARTIALLY_FILLED, FILLED = "NEW", "PARTIALLY_FILLED", "FILLED"
CANCELED, EXPIRED, EXPIRED_IN_MATCH = "CANCELED", "EXPIRED", "EXPIRED_IN_MATCH"
LIMIT, LIMIT_MAKER, MARKET = "LIMIT", "LIMIT_MAKER", "MARKET"
GTC, IOC, FOK, GTX = "GTC", "IOC", "FOK", "GTX"
STP_NONE, EXPIRE_MAKER, EXPIRE_TAKER, EXPIRE_BOTH = "NONE", "EXPIRE_MAKER", "EXPIRE_TAKER", "EXPIRE_BOTH"
_OPEN = (NEW, PARTIALLY_FILLED)
_KEPT, _KEPT_FILLS = 20_000, 200_000
_SCALE = 10**8


def worth(price: int, qty: int) -> int:
    """What a quantity is worth at a price, 1e-8, rounded down."""
    return price * qty // _SCALE


@dataclass(frozen=True, slots=True)
class Fill:
    """One execution of an order.

    Attributes:
        trade_id: as in the public trades; worth: price x qty; fee: positive is paid; realized: profit (USD-M).
    """

    trade_id: int
    order_id: int
    symbol: Symbol
    side: int
    price: int
    qty: int
    worth: int
    fee: int
    fee_asset: str
    is_maker: bool
    ts_ms: int
    realized: int = 0


@dataclass(slots=True)
class NewOrder:
    """An order as it is asked for.

    Attributes:
        price: 0 for MARKET; qty: 0 if ``quote_qty`` is given instead (spot MARKET).
        client_id: empty: the venue makes one; answer: how much of the order the answer tells (ACK, RESULT, FULL).
    """

    symbol: Symbol
    side: int
    type: str
    tif: str
    price: int
    qty: int
    quote_qty: int = 0
    client_id: str = ""
    reduce_only: bool = False
    stp: str = EXPIRE_MAKER
    answer: str = "ACK"
    price_match: str = STP_NONE
    good_till_ms: int = 0


@dataclass(slots=True)
class Order:
    """An order that the venue has taken.

    Attributes:
        asked: as it was asked for; its price and quantities are those of now.
        place: goes up with every queue it joins: of two at a price the lower one is ahead.
        is_far: it is beyond its book, on its level alone; changes: how often it was changed; modify_id: what the client calls
            the last change (USD-M).
        why, cancel_id: why it is over, and what the request that ended it is called; met_id: the order of its owner it has met.
    """

    id: int
    account: int
    asked: NewOrder
    client_id: str
    created_ms: int
    updated_ms: int
    status: str = NEW
    executed: int = 0
    quote: int = 0
    place: int = 0
    is_far: bool = False
    changes: int = 0
    modify_id: int | None = None
    why: int = reasons.NONE
    cancel_id: str = ""
    met_id: int = 0
    fills: list[Fill] = field(default_factory=list)

    @property
    def symbol(self) -> Symbol:
        """What it trades."""
        return self.asked.symbol

    @property
    def side(self) -> int:
        """BUY or SELL."""
        return self.asked.side

    @property
    def side_text(self) -> str:
        """The same as the venue writes it."""
        return "BUY" if self.asked.side == BUY else "SELL"

    @property
    def left(self) -> int:
        """What is not executed yet."""
        return self.asked.qty - self.executed

    @property
    def is_open(self) -> bool:
        """Whether anything may still happen to it."""
        return self.status in _OPEN

    @property
    def average(self) -> int:
        """Mean price of what was executed, 0 if nothing was."""
        return self.quote * _SCALE // self.executed if self.executed else 0

    def take(self, fill: Fill) -> None:
        """Reckon an execution in."""
        self.executed += fill.qty
        self.quote += fill.worth
        self.status = PARTIALLY_FILLED if self.left else FILLED
        self.updated_ms = fill.ts_ms
        self.fills.append(fill)


class Orders:
    """The orders of one account in one market: all that are open, and the last ones that are not.

    Attributes:
        open: by id; fills: the last executions, oldest first.
    """

    def __init__(self) -> None:
        self.open: dict[int, dict[int, Order]] = {}
        self.fills: deque[Fill] = deque(maxlen=_KEPT_FILLS)
        self._by_client: dict[tuple[int, str], Order] = {}
        self._all: dict[tuple[int, int], Order] = {}
        self._closed: deque[Order] = deque()

    def add(self, order: Order) -> None:
        """A new one."""
        index = order.symbol.index
        self._all[index, order.id] = self._by_client[index, order.client_id] = order
        self.open.setdefault(index, {})[order.id] = order

    def close(self, order: Order) -> None:
        """It is over; the oldest of too many such are forgotten."""
        self.open[order.symbol.index].pop(order.id, None)
        self._closed.append(order)
        while len(self._closed) > _KEPT:
            old = self._closed.popleft()
            del self._all[old.symbol.index, old.id]
            if self._by_client.get((old.symbol.index, old.client_id)) is old:
                del self._by_client[old.symbol.index, old.client_id]

    def rename(self, order: Order, client_id: str) -> None:
        """It goes by another client's id from now on."""
        order.client_id = client_id
        self._by_client[order.symbol.index, client_id] = order

    def by_id(self, index: int, id_: int) -> Order | None:
        """The order of a symbol with the venue's id."""
        return self._all.get((index, id_))

    def by_client(self, index: int, client_id: str) -> Order | None:
        """The last order of a symbol that had this client's id."""
        return self._by_client.get((index, client_id))

    def is_taken(self, index: int, client_id: str) -> bool:
        """Whether an open order of a symbol has this client's id."""
        found = self._by_client.get((index, client_id))
        return found is not None and found.is_open and found.client_id == client_id

    def of(self, index: int | None = None) -> list[Order]:
        """Open orders of a symbol, or of all, oldest first."""
        groups: Iterable[dict[int, Order]] = self.open.values() if index is None else [self.open.get(index, {})]
        return sorted((one for group in groups for one in group.values()), key=lambda one: (one.created_ms, one.id))

    def names(self) -> list[tuple[int, str]]:
        """Number and client id of every order that is not forgotten, open or not."""
        return [(one.id, one.client_id) for one in self._all.values()]

    def closed(self, most: int = _KEPT) -> list[Order]:
        """The last orders that are over, oldest first."""
        return [*islice(reversed(self._closed), most)][::-1]

    def all_of(self, index: int) -> list[Order]:
        """Orders of a symbol, open or not, by id."""
        return sorted((one for (at, _), one in self._all.items() if at == index), key=lambda one: one.id)
