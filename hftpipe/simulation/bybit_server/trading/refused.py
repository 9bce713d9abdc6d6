"""What the venue says no with: codes and texts, of each category its own for the same thing."""

from typing import Any

from hftpipe.simulation.bybit_server.answers import PARAMETER, Refused

TIME, KEY, SIGN, TOO_MANY, ROUTE = 10002, 10003, 10004, 10006, 10404
NO_ORDER, DUPLICATE, FUNDS, MANY_ORDERS, ORDER_VALUE = "no order", "duplicate", "funds", "many orders", "order value"
QTY, LEAST_QTY, MOST_QTY, TICK, PRICE_RANGE, FILLED, SYMBOL, CLOSED = (
    "qty", "least qty", "most qty", "tick", "price range", "filled", "symbol", "closed",
)  # fmt: skip
BUY_BAND, SELL_BAND, REDUCES_NOTHING = "buy band", "sell band", "reduces nothing"
_TABLE: dict[str, dict[str, tuple[int, str]]] = {
    "spot": {
        NO_ORDER: (170213, "Order does not exist."),
        DUPLICATE: (170141, "Duplicate clientOrderId"),
        FUNDS: (170131, "Insufficient balance."),
        MANY_ORDERS: (170810, "Cannot exceed maximum of 500 conditional, TP/SL and active orders."),
        ORDER_VALUE: (170140, "Order value exceeded lower limit."),
        QTY: (170137, "Order quantity has too many decimals."),
        LEAST_QTY: (170136, "Order quantity exceeded lower limit."),
        MOST_QTY: (170124, "Order amount too large."),
        TICK: (170134, "Order price has too many decimals."),
        PRICE_RANGE: (170132, "Order price too high."),
        FILLED: (170313, "Order quantity must be larger than what is executed."),
        SYMBOL: (170121, "Invalid symbol."),
        CLOSED: (170121, "Invalid symbol."),
        BUY_BAND: (170193, "Buy order price cannot be higher than the limit."),
        SELL_BAND: (170194, "Sell order price cannot be lower than the limit."),
    },
    "linear": {
        NO_ORDER: (110001, "order not exists or too late to cancel"),
        DUPLICATE: (110072, "OrderLinkedID is duplicate"),
        FUNDS: (110007, "ab not enough for new order"),
        MANY_ORDERS: (110020, "Not allowed to have more than 500 active orders"),
        ORDER_VALUE: (110094, "Order does not meet minimum order value"),
        QTY: (PARAMETER, "Qty invalid"),
        LEAST_QTY: (PARAMETER, "The number of contracts exceeds minimum limit allowed"),
        MOST_QTY: (PARAMETER, "The number of contracts exceeds maximum limit allowed"),
        TICK: (PARAMETER, "Price invalid"),
        PRICE_RANGE: (110003, "Order price exceeds the allowable range."),
        FILLED: (110064, "The number of contracts modified cannot be less than or equal to the filled quantity"),
        SYMBOL: (PARAMETER, "symbol invalid"),
        CLOSED: (110074, "This contract is not live"),
        REDUCES_NOTHING: (110017, "current position is zero, cannot fix reduce-only order qty"),
    },
}  # fmt: skip


def refusal(category: str, what: str) -> Refused:
    """One of the table."""
    return Refused(*_TABLE[category][what])


def wrong(name: str, allowed: str = "") -> Refused:
    """A parameter that is not there, or holds what it may not."""
    return Refused(PARAMETER, f"params error: {name} invalid" + (f"; allowed: {allowed}" if allowed else ""))


def not_served(name: str) -> Refused:
    """A parameter that the venue has and this one does not: to do without it would be to do something else."""
    return Refused(PARAMETER, f"params error: {name} is not served by the simulated venue")


def said(refused: Refused) -> dict[str, Any]:
    """Code and text as batches tell them."""
    return {"code": refused.code, "msg": str(refused)}
