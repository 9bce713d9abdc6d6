"""The JSON of spot orders: answers to requests, and the events of user data. All amounts have eight decimals."""

from dataclasses import dataclass
from typing import Any

from hftpipe.core.schema import reasons
from hftpipe.simulation.market_server.text import decimal_text
from hftpipe.simulation.market_server.trading import orders as words
from hftpipe.simulation.market_server.trading.orders import Fill, Order

Payload = dict[str, Any]
NO_LIST = -1
#: Why an order has expired, by reason (``eR``).
_EXPIRY = {
    reasons.IOC_REMAINDER: "UNFILLED_IOC_QUANTITY_EXPIRED", reasons.FOK_UNFILLABLE: "UNFILLED_FOK_ORDER_EXPIRED",
    reasons.NO_LIQUIDITY: "INSUFFICIENT_LIQUIDITY", reasons.VENUE_ENDED: "EXCHANGE_CANCELED",
}  # fmt: skip


def amount(value: int) -> str:
    """As spot writes amounts."""
    return decimal_text(value, 8)


def _state(order: Order) -> Payload:
    """What most answers tell of an order, in the order they do."""
    asked = order.asked
    return {
        "price": amount(asked.price), "origQty": amount(asked.qty), "executedQty": amount(order.executed),
        "origQuoteOrderQty": amount(asked.quote_qty), "cummulativeQuoteQty": amount(order.quote),
        "status": order.status, "timeInForce": asked.tif, "type": asked.type, "side": order.side_text,
    }  # fmt: skip


def ack(order: Order) -> Payload:
    """Answer to a new order, ACK."""
    return {
        "symbol": order.symbol.name, "orderId": order.id, "orderListId": NO_LIST, "clientOrderId": order.client_id,
        "transactTime": order.updated_ms,
    }  # fmt: skip


def result(order: Order) -> Payload:
    """RESULT."""
    return ack(order) | _state(order) | {
        "workingTime": order.created_ms, "selfTradePreventionMode": order.asked.stp,
    }  # fmt: skip


def full(order: Order) -> Payload:
    """FULL."""
    fills = [
        {"price": amount(one.price), "qty": amount(one.qty), "commission": amount(one.fee),
         "commissionAsset": one.fee_asset, "tradeId": one.trade_id}
        for one in order.fills
    ]  # fmt: skip
    return ack(order) | _state(order) | {
        "workingTime": order.created_ms, "fills": fills, "selfTradePreventionMode": order.asked.stp,
    }  # fmt: skip


ANSWERS = {"ACK": ack, "RESULT": result, "FULL": full}


def canceled(order: Order, cancel_id: str) -> Payload:
    """Answer to a cancel."""
    return {
        "symbol": order.symbol.name, "origClientOrderId": order.client_id, "orderId": order.id,
        "orderListId": NO_LIST, "clientOrderId": cancel_id, "transactTime": order.updated_ms,
    } | _state(order) | {"selfTradePreventionMode": order.asked.stp}  # fmt: skip


def row(order: Order) -> Payload:
    """An order as queries have it."""
    state = _state(order)
    quote = state.pop("origQuoteOrderQty")
    return {
        "symbol": order.symbol.name, "orderId": order.id, "orderListId": NO_LIST, "clientOrderId": order.client_id,
    } | state | {
        "stopPrice": amount(0), "icebergQty": amount(0), "time": order.created_ms, "updateTime": order.updated_ms,
        "isWorking": True, "workingTime": order.created_ms, "origQuoteOrderQty": quote,
        "selfTradePreventionMode": order.asked.stp,
    }  # fmt: skip


def trade_row(fill: Fill) -> Payload:
    """An execution as ``myTrades`` has it."""
    return {
        "symbol": fill.symbol.name, "id": fill.trade_id, "orderId": fill.order_id, "orderListId": NO_LIST,
        "price": amount(fill.price), "qty": amount(fill.qty), "quoteQty": amount(fill.worth),
        "commission": amount(fill.fee), "commissionAsset": fill.fee_asset, "time": fill.ts_ms,
        "isBuyer": fill.side == 0, "isMaker": fill.is_maker, "isBestMatch": True,
    }  # fmt: skip


@dataclass(frozen=True, slots=True)
class Report:
    """What an executionReport tells besides the order: execution type, ids as ``c`` and ``C``, why, and the execution."""

    kind: str
    client_id: str
    original_id: str = ""
    why: int = reasons.NONE
    fill: Fill | None = None


def execution_report(order: Order, told: Report, now_ms: int, execution_id: int) -> Payload:
    """``executionReport``."""
    asked, fill = order.asked, told.fill
    event = {
        "e": "executionReport", "E": now_ms, "s": order.symbol.name, "c": told.client_id, "S": order.side_text,
        "o": asked.type, "f": asked.tif, "q": amount(asked.qty), "p": amount(asked.price), "P": amount(0),
        "F": amount(0), "g": NO_LIST, "C": told.original_id, "x": told.kind, "X": order.status, "r": "NONE",
        "i": order.id, "l": amount(fill.qty if fill else 0), "z": amount(order.executed),
        "L": amount(fill.price if fill else 0), "n": amount(fill.fee) if fill else "0",
        "N": fill.fee_asset if fill else None, "T": order.updated_ms, "t": fill.trade_id if fill else -1,
        "I": execution_id, "w": order.is_open, "m": fill.is_maker if fill else False, "M": False,
        "O": order.created_ms, "Z": amount(order.quote), "Y": amount(fill.worth if fill else 0),
        "Q": amount(asked.quote_qty), "W": order.created_ms, "V": asked.stp,
    }  # fmt: skip
    if told.kind == "EXPIRED":
        event["eR"] = _EXPIRY.get(told.why, "NONE")
    if told.kind == "TRADE_PREVENTION":
        event |= {"v": execution_id, "A": amount(order.left), "B": amount(order.left), "u": 1, "Cs": order.symbol.name}
    return event


def account_position(changed: list[tuple[str, int, int]], now_ms: int) -> Payload:
    """``outboundAccountPosition`` of (asset, free, locked)."""
    balances = [{"a": asset, "f": amount(free), "l": amount(locked)} for asset, free, locked in changed]
    return {"e": "outboundAccountPosition", "E": now_ms, "u": now_ms, "B": balances}


def refuses_as(status: str) -> str:
    """Execution type of an order that ends with a status."""
    return "TRADE_PREVENTION" if status == words.EXPIRED_IN_MATCH else status
