"""Strategies: the names a strategy file needs, and nothing else.

::

    from hftpipe.strategy import BUY, POST_ONLY, Price, Qty, Strategy, param, state
"""

from hftpipe.core.schema.instruments import MAX_INSTRUMENTS
from hftpipe.core.schema.records import ASK, BID, BUY, FOK, GTC, IOC, MARKET, POST_ONLY, REDUCE_ONLY, SELL
from hftpipe.core.trading.order_table import (
    CANCELED,
    EMPTY,
    EXPIRED,
    FILLED,
    PARTIAL,
    PENDING_CANCEL,
    PENDING_NEW,
    PENDING_REPLACE,
    REJECTED,
    UNKNOWN,
    WORKING,
)
from hftpipe.strategy.api.declare import OrderId, Price, Qty, Strategy, StrategyError, param, state

__all__ = [
    "ASK",
    "BID",
    "BUY",
    "CANCELED",
    "EMPTY",
    "EXPIRED",
    "FILLED",
    "FOK",
    "GTC",
    "IOC",
    "MARKET",
    "MAX_INSTRUMENTS",
    "PARTIAL",
    "PENDING_CANCEL",
    "PENDING_NEW",
    "PENDING_REPLACE",
    "POST_ONLY",
    "REDUCE_ONLY",
    "REJECTED",
    "SELL",
    "UNKNOWN",
    "WORKING",
    "OrderId",
    "Price",
    "Qty",
    "Strategy",
    "StrategyError",
    "param",
    "state",
]
