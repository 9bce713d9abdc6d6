"""What a market order would meet in the book: what it costs, and how much an amount of the quote currency buys."""

from hftpipe.core.schema.records import ASK, BID, BUY
from hftpipe.simulation.market_server.market import Market
from hftpipe.simulation.market_server.trading.orders import STP_NONE, NewOrder, Orders, worth

_SCALE = 10**8
_EVERY_LEVEL = 8192


def levels_met(market: Market, orders: Orders, asked: NewOrder) -> list[tuple[int, int]]:
    """What a market order meets, best first: (price, quantity), without the account's own (``orders``) where those are prevented."""
    index = asked.symbol.index
    own: dict[int, int] = {}
    if asked.stp != STP_NONE:
        for one in orders.of(index):
            own[one.asked.price] = own.get(one.asked.price, 0) + one.left
    levels = market.side(index, ASK if asked.side == BUY else BID, _EVERY_LEVEL)
    return [(price, qty - own.get(price, 0)) for price, qty in levels]


def cost_of(levels: list[tuple[int, int]], qty: int) -> int:
    """What a quantity would cost."""
    left, cost = qty, 0
    for price, there in levels:
        taken = min(left, there)
        cost, left = cost + worth(price, taken), left - taken
    return cost


def bought_for(levels: list[tuple[int, int]], quote_qty: int, lot: int) -> int:
    """The most that an amount of the quote currency buys, or what must be sold to get it, in whole lots."""
    left, total = quote_qty, 0
    for price, there in levels:
        taken = min(there, left * _SCALE // price // lot * lot)
        total, left = total + taken, left - worth(price, taken)
        if taken < there:
            break
    return total
