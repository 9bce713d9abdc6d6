"""Ids as texts: orders are numbers in spot and UUIDs in linear; executions go by the id of the public trade.

An order's text has all that finds it in it: its symbol and its number among that one's.
"""

import uuid

from hftpipe.simulation.bybit_server.payloads import trade_id
from hftpipe.simulation.bybit_server.settings import CategoryRules
from hftpipe.simulation.market_server.symbols import Symbol
from hftpipe.simulation.market_server.trading.orders import Fill, Order

_SYMBOLS_MOST = 10_000
#: The first half of the UUIDs (version 4), and the first bits of the second.
_FIRST_HALF, _VARIANT = 0xA4C1718E_0C6E_4659, 1 << 63
_NUMBERS = (1 << 62) - 1
_AGAIN = uuid.UUID("6ba7b814-9dad-11d1-80b4-00c04fd430c8")


def order_text(category: str, index: int, id_: int) -> str:
    """What an order is called, by the index of its symbol and its id."""
    number = id_ * _SYMBOLS_MOST + index
    return str(number) if category == "spot" else str(uuid.UUID(int=_FIRST_HALF << 64 | _VARIANT | number))


def text_of(category: str, order: Order) -> str:
    """What an order is called."""
    return order_text(category, order.symbol.index, order.id)


def order_place(category: str, text: str) -> tuple[int, int] | None:
    """Index of the symbol and id of the order that is called so; None: none is."""
    try:
        number = (int(text) if text.isdecimal() else -1) if category == "spot" else uuid.UUID(text).int & _NUMBERS
    except ValueError:
        return None
    if number < 0:
        return None
    id_, index = divmod(number, _SYMBOLS_MOST)
    return (index, id_) if order_text(category, index, id_) == text else None


def exec_text(rules: CategoryRules, symbol: Symbol, fill: Fill, is_second: bool) -> str:
    """What an execution is called: as the public trade. The second one of an account that has traded with itself has another id."""
    text = trade_id(rules, symbol, fill.trade_id)
    if not is_second:
        return text
    return f"9{text}" if rules.name == "spot" else str(uuid.uuid5(_AGAIN, text))
