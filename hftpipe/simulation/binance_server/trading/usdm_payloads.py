"""The JSON of USD-M orders: answers to requests, and the events of user data."""

from dataclasses import dataclass
from typing import Any

from hftpipe.core.schema.records import BUY
from hftpipe.simulation.market_server.text import decimal_text
from hftpipe.simulation.market_server.trading import orders as words
from hftpipe.simulation.market_server.trading.margin_ledger import Position
from hftpipe.simulation.market_server.trading.orders import Fill, Order, worth

Payload = dict[str, Any]
ONE_WAY = "BOTH"
_MAX_LEVERAGE_NOTIONAL = "100000000"


def money(value: int) -> str:
    """An amount of a margin asset."""
    return decimal_text(value, 8)


def _texts(order: Order) -> tuple[str, str, str]:
    """Price, quantity, executed quantity."""
    decimals = order.symbol.decimals
    return (
        decimals.price_text(order.asked.price), decimals.qty_text(order.asked.qty), decimals.qty_text(order.executed)
    )  # fmt: skip


def answer(order: Order) -> Payload:
    """Answer to a new order, a change or a cancel: an ACK is an order of which nothing is executed yet."""
    (price, qty, executed), asked = _texts(order), order.asked
    return {
        "orderId": order.id, "symbol": order.symbol.name, "status": order.status, "clientOrderId": order.client_id,
        "price": price, "origQty": qty, "executedQty": executed, "cumQty": executed, "timeInForce": asked.tif,
        "type": asked.type, "reduceOnly": asked.reduce_only, "closePosition": False, "side": order.side_text,
        "positionSide": ONE_WAY, "stopPrice": order.symbol.decimals.price_text(0), "workingType": "CONTRACT_PRICE",
        "priceProtect": False, "origType": asked.type, "priceMatch": asked.price_match,
        "selfTradePreventionMode": asked.stp, "goodTillDate": asked.good_till_ms, "updateTime": order.updated_ms,
    }  # fmt: skip


def ack(order: Order) -> Payload:
    """ACK: as it was when it came in."""
    none = order.symbol.decimals.qty_text(0)
    return answer(order) | {"status": words.NEW, "executedQty": none, "cumQty": none, "updateTime": order.created_ms}


def row(order: Order) -> Payload:
    """An order as queries have it."""
    made = answer(order)
    del made["cumQty"]
    return made | {
        "avgPrice": order.symbol.decimals.price_text(order.average), "cumQuote": money(order.quote),
        "time": order.created_ms,
    }  # fmt: skip


def trade_row(fill: Fill) -> Payload:
    """An execution as ``userTrades`` has it."""
    decimals = fill.symbol.decimals
    return {
        "symbol": fill.symbol.name, "id": fill.trade_id, "orderId": fill.order_id,
        "side": "BUY" if fill.side == BUY else "SELL", "price": decimals.price_text(fill.price),
        "qty": decimals.qty_text(fill.qty), "realizedPnl": money(fill.realized), "quoteQty": money(fill.worth),
        "commission": money(fill.fee), "commissionAsset": fill.fee_asset, "time": fill.ts_ms,
        "positionSide": ONE_WAY, "buyer": fill.side == BUY, "maker": fill.is_maker,
    }  # fmt: skip


@dataclass(frozen=True, slots=True)
class Notionals:
    """What open buys and sells of a symbol are worth (``b`` and ``a``)."""

    bids: int
    asks: int


def notionals_of(orders: list[Order]) -> Notionals:
    """Of open orders."""
    bids = sum(worth(one.asked.price, one.left) for one in orders if one.side == BUY)
    return Notionals(bids, sum(worth(one.asked.price, one.left) for one in orders) - bids)


def order_update(
    order: Order, kind: str, client_id: str, fill: Fill | None, notionals: Notionals, now_ms: int
) -> Payload:
    """``ORDER_TRADE_UPDATE``; kind: the execution type."""
    (price, qty, executed), asked, decimals = _texts(order), order.asked, order.symbol.decimals
    told = {
        "s": order.symbol.name, "c": client_id, "S": order.side_text, "o": asked.type, "f": asked.tif, "q": qty,
        "p": price, "ap": decimals.price_text(order.average), "sp": "0", "x": kind, "X": order.status, "i": order.id,
        "l": decimals.qty_text(fill.qty if fill else 0), "z": executed,
        "L": decimals.price_text(fill.price if fill else 0),
        "n": money(fill.fee) if fill else "0", "N": fill.fee_asset if fill else None,
        "T": order.updated_ms, "t": fill.trade_id if fill else 0, "b": money(notionals.bids),
        "a": money(notionals.asks), "m": fill.is_maker if fill else False, "R": asked.reduce_only,
        "wt": "CONTRACT_PRICE", "ot": asked.type, "ps": ONE_WAY, "cp": False,
        "rp": money(fill.realized if fill else 0), "pP": False, "si": 0, "ss": 0, "V": asked.stp,
        "pm": asked.price_match, "gtd": asked.good_till_ms, "er": "0",
    }  # fmt: skip
    if order.modify_id is not None and kind == "AMENDMENT":
        told["M"] = order.modify_id
    if fill is None:
        del told["n"], told["N"]
    return {"e": "ORDER_TRADE_UPDATE", "E": now_ms, "T": order.updated_ms, "o": told}


def trade_lite(order: Order, fill: Fill, now_ms: int) -> Payload:
    """``TRADE_LITE``."""
    price, qty, _ = _texts(order)
    decimals = order.symbol.decimals
    return {
        "e": "TRADE_LITE", "E": now_ms, "T": fill.ts_ms, "s": order.symbol.name, "q": qty, "p": price,
        "m": fill.is_maker, "c": order.client_id, "S": order.side_text, "L": decimals.price_text(fill.price),
        "l": decimals.qty_text(fill.qty), "t": fill.trade_id, "i": order.id,
    }  # fmt: skip


def account_update(balances: list[Payload], positions: list[Payload], ts_ms: int, now_ms: int) -> Payload:
    """``ACCOUNT_UPDATE`` after an order."""
    return {
        "e": "ACCOUNT_UPDATE", "E": now_ms, "T": ts_ms, "a": {"m": "ORDER", "B": balances, "P": positions},
    }  # fmt: skip


def balance_of(asset: str, wallet: int) -> Payload:
    """A wallet in ACCOUNT_UPDATE."""
    return {"a": asset, "wb": money(wallet), "cw": money(wallet), "bc": "0"}


def position_of(name: str, qty_text: str, held: Position, mark: int) -> Payload:
    """A position in ACCOUNT_UPDATE."""
    entry = money(held.entry_price)
    return {
        "s": name, "pa": qty_text, "ep": entry, "bep": entry, "cr": money(held.realized),
        "up": money(held.unrealized(mark)), "mt": held.margin_type, "iw": "0", "ps": ONE_WAY,
    }  # fmt: skip
