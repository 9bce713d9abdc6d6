"""The JSON of orders, executions, positions and coins, as answers and private topics have it. Amounts and times are texts."""

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

from hftpipe.core.schema import reasons
from hftpipe.core.schema.records import BUY
from hftpipe.simulation.bybit_server.payloads import amount_text
from hftpipe.simulation.bybit_server.settings import CategoryRules
from hftpipe.simulation.bybit_server.trading.account import UnifiedAccount
from hftpipe.simulation.bybit_server.trading.ids import exec_text, order_text, text_of
from hftpipe.simulation.bybit_server.trading.settings import MAINTENANCE
from hftpipe.simulation.market_server.symbols import Symbol
from hftpipe.simulation.market_server.trading import orders as words
from hftpipe.simulation.market_server.trading.orders import Fill, Order, worth

Row = dict[str, Any]
POST_ONLY = "PostOnly"
#: The venue's words for times in force and for self-match prevention, and ours.
TIFS = {"GTC": words.GTC, "IOC": words.IOC, "FOK": words.FOK, POST_ONLY: words.GTX}
SMPS = {
    "None": words.STP_NONE, "CancelMaker": words.EXPIRE_MAKER, "CancelTaker": words.EXPIRE_TAKER,
    "CancelBoth": words.EXPIRE_BOTH,
}  # fmt: skip
_TIF_TEXTS, _SMP_TEXTS = ({own: text for text, own in table.items()} for table in (TIFS, SMPS))
_OPEN_TEXTS = {words.NEW: "New", words.PARTIALLY_FILLED: "PartiallyFilled", words.FILLED: "Filled"}
#: Why an order is over, by reason.
_REJECT_TEXTS = {
    reasons.NONE: "EC_NoError", reasons.USER_REQUEST: "EC_PerCancelRequest",
    reasons.POST_ONLY_WOULD_TAKE: "EC_PostOnlyWillTakeLiquidity", reasons.IOC_REMAINDER: "EC_NoImmediateQtyToFill",
    reasons.NO_LIQUIDITY: "EC_NoImmediateQtyToFill", reasons.FOK_UNFILLABLE: "EC_CancelForNoFullFill",
    reasons.SELF_TRADE: "EC_BySelfMatch",
}  # fmt: skip
#: What the book itself could not take.
_NOT_TAKEN = (reasons.VENUE_BUSY, reasons.VENUE_FILTER)


def side_text(side: int) -> str:
    """As the venue writes it."""
    return "Buy" if side == BUY else "Sell"


def _has_dust(order: Order) -> bool:
    """A quote amount is hardly ever spent to the last bit."""
    return order.status == words.FILLED and order.quote < order.asked.quote_qty


def status_text(order: Order, category: str) -> str:
    """Its state in the venue's words."""
    if _has_dust(order):
        return "PartiallyFilledCanceled"
    if order.status in _OPEN_TEXTS:
        return _OPEN_TEXTS[order.status]
    if not order.executed and order.why in _NOT_TAKEN:
        return "Rejected"
    return "PartiallyFilledCanceled" if order.executed and category == "spot" else "Cancelled"


def _end_texts(order: Order) -> tuple[str, str]:
    """``cancelType`` and ``rejectReason``."""
    if _has_dust(order):
        return "UNKNOWN", "EC_CancelByOrderValueZero"
    if order.is_open or order.status == words.FILLED:
        return "UNKNOWN", "EC_NoError"
    kind = "CancelBySmp" if order.why == reasons.SELF_TRADE else order.cancel_id or "UNKNOWN"
    return kind, _REJECT_TEXTS.get(order.why, "EC_Others")


def order_row(order: Order, rules: CategoryRules) -> Row:
    """An order."""
    fees = fees_of(order)
    asked, symbol, category = order.asked, order.symbol, rules.name
    left = order.left if order.is_open else 0
    left_value = worth(asked.price, left) if order.is_open else max(0, asked.quote_qty - order.quote)
    cancel_type, reason = _end_texts(order)
    made = {
        "category": category, "symbol": symbol.name, "orderId": text_of(category, order), "orderLinkId": order.client_id,
        "blockTradeId": "", "side": side_text(order.side), "positionIdx": 0, "orderStatus": status_text(order, category),
        "cancelType": cancel_type, "rejectReason": reason,
        "timeInForce": "IOC" if asked.type == words.MARKET else _TIF_TEXTS[asked.tif], "isLeverage": "0" if category == "spot" else "",
        "price": amount_text(asked.price), "qty": amount_text(asked.quote_qty or asked.qty),
        "avgPrice": amount_text(order.average) if order.executed else "", "leavesQty": amount_text(left),
        "leavesValue": amount_text(left_value), "cumExecQty": amount_text(order.executed),
        "cumExecValue": amount_text(order.quote), "cumExecFee": amount_text(sum(fees.values())),
        "cumFeeDetail": {coin: amount_text(fee) for coin, fee in fees.items()}, "closedPnl": "0",
        "orderType": "Market" if asked.type == words.MARKET else "Limit", "stopOrderType": "", "orderIv": "",
        "triggerPrice": "", "takeProfit": "", "stopLoss": "", "triggerBy": "", "tpTriggerBy": "", "slTriggerBy": "",
        "triggerDirection": 0, "placeType": "", "lastPriceOnCreated": "", "closeOnTrigger": False,
        "reduceOnly": asked.reduce_only, "smpGroup": 0, "smpType": _SMP_TEXTS[asked.stp],
        "smpOrderId": order_text(category, symbol.index, order.met_id) if order.met_id else "", "slLimitPrice": "0",
        "tpLimitPrice": "0", "tpslMode": "", "ocoTriggerBy": "", "createdTime": str(order.created_ms),
        "updatedTime": str(order.updated_ms), "parentOrderLinkId": "",
    }  # fmt: skip
    if category == "linear":
        return made | {"createType": "CreateByUser"}
    is_by_quote = asked.type == words.MARKET and asked.quote_qty
    return made | {"marketUnit": "quoteCoin" if is_by_quote else "baseCoin" if asked.type == words.MARKET else ""}


def fees_of(order: Order) -> dict[str, int]:
    """What an order has paid, by coin."""
    made: dict[str, int] = {}
    for fill in order.fills:
        made[fill.fee_asset] = made.get(fill.fee_asset, 0) + fill.fee
    return made


@dataclass(frozen=True, slots=True)
class Executed:
    """What an execution's row tells that the execution itself does not know.

    Attributes:
        rate: of the fee, 1e-8; mark: the mark price; seq: of the engine; closed: quantity of the position that it has closed.
        is_second: the account was on both sides, and this is the other one.
    """

    rate: int
    mark: int
    seq: int
    closed: int
    is_second: bool


def execution_row(order: Order, rules: CategoryRules, fill: Fill, told: Executed) -> Row:
    """An execution."""
    asked, symbol, category = order.asked, order.symbol, rules.name
    is_linear = category == "linear"
    return {
        "category": category, "symbol": symbol.name, "orderId": text_of(category, order), "orderLinkId": order.client_id,
        "side": side_text(order.side), "orderPrice": amount_text(asked.price),
        "orderQty": amount_text(asked.quote_qty or asked.qty), "leavesQty": amount_text(order.left),
        "createType": "CreateByUser" if is_linear else "", "orderType": "Market" if asked.type == words.MARKET else "Limit",
        "stopOrderType": "UNKNOWN" if is_linear else "", "execId": exec_text(rules, symbol, fill, told.is_second),
        "execPrice": amount_text(fill.price), "execQty": amount_text(fill.qty), "execValue": amount_text(fill.worth),
        "execFee": amount_text(fill.fee), "feeRate": amount_text(told.rate), "feeCurrency": "" if is_linear else fill.fee_asset,
        "execType": "Trade", "execTime": str(fill.ts_ms), "isMaker": fill.is_maker, "isLeverage": "0", "tradeIv": "",
        "markIv": "", "markPrice": amount_text(told.mark), "indexPrice": amount_text(told.mark), "underlyingPrice": "",
        "closedSize": amount_text(told.closed) if is_linear else "", "execPnl": amount_text(fill.realized),
        "seq": told.seq, "blockTradeId": "", "marketUnit": "", "extraFees": "",
    }  # fmt: skip


def position_row(account: UnifiedAccount, symbol: Symbol, seq: int, in_topic: bool) -> Row:
    """A position; the topic calls its mean price otherwise than REST."""
    ledger = account.margin
    held, mark = ledger.position(symbol.index), ledger.mark(symbol.index)
    own, _ = ledger.margin(symbol.index, account.contracts)
    value, price = worth(mark, abs(held.qty)), amount_text(held.entry_price)
    return {
        "category": "linear", "positionIdx": 0, "riskId": 1, "riskLimitValue": "100000000", "symbol": symbol.name,
        "side": side_text(0 if held.qty > 0 else 1) if held.qty else "", "size": amount_text(abs(held.qty)),
        "entryPrice" if in_topic else "avgPrice": price, "positionValue": amount_text(abs(held.paid)), "tradeMode": 0,
        "positionStatus": "Normal", "autoAddMargin": 0, "adlRankIndicator": 0, "leverage": str(held.leverage),
        "positionBalance": "0", "markPrice": amount_text(mark), "liqPrice": "", "bustPrice": "",
        "positionIM": amount_text(own), "positionMM": amount_text(value * MAINTENANCE // 10**8), "tpslMode": "Full",
        "takeProfit": "", "stopLoss": "", "trailingStop": "0", "sessionAvgPrice": "",
        "unrealisedPnl": amount_text(held.unrealized(mark)), "curRealisedPnl": amount_text(held.realized),
        "cumRealisedPnl": amount_text(held.realized), "isReduceOnly": False, "leverageSysUpdatedTime": "",
        "mmrSysUpdatedTime": "", "seq": seq, "createdTime": str(held.updated_ms), "updatedTime": str(held.updated_ms),
    }  # fmt: skip


def coin_row(account: UnifiedAccount, coin: str, usd: int) -> Row:
    """What an account has of a coin; ``usd``: what one is worth."""
    wallet, profit = account.wallet(coin), account.margin.unrealized(coin)
    held, asked = account.margin.used(coin, account.contracts)
    realized = sum(
        one.realized for index, one in account.margin.positions.items() if account.margin.quotes[index] == coin
    )
    return {
        "coin": coin, "equity": amount_text(wallet + profit), "usdValue": amount_text(worth(usd, wallet + profit)),
        "walletBalance": amount_text(wallet), "free": "", "locked": amount_text(account.spot.locked[coin]),
        "borrowAmount": "0", "spotBorrow": "0", "availableToWithdraw": "", "availableToBorrow": "", "accruedInterest": "0",
        "totalOrderIM": amount_text(asked), "totalPositionIM": amount_text(held),
        "totalPositionMM": amount_text(maintenance_of(account, coin)), "unrealisedPnl": amount_text(profit),
        "cumRealisedPnl": amount_text(realized), "bonus": "0", "marginCollateral": True, "collateralSwitch": True,
        "spotHedgingQty": "0",
    }  # fmt: skip


def maintenance_of(account: UnifiedAccount, coin: str) -> int:
    """Maintenance margin of all positions that are paid in a coin."""
    ledger = account.margin
    return sum(
        worth(ledger.mark(index), abs(one.qty)) * MAINTENANCE // 10**8
        for index, one in ledger.positions.items()
        if ledger.quotes[index] == coin
    )


def wallet_row(account: UnifiedAccount, coins: list[str], usd_of: Callable[[str], int]) -> Row:
    """Totals of an account in dollars, and some of its coins."""

    def total(amount: Callable[[str], int]) -> str:
        return amount_text(sum(worth(usd_of(coin), amount(coin)) for coin in account.coins()))

    def used(coin: str) -> int:
        return sum(account.margin.used(coin, account.contracts))

    profit = account.margin.unrealized
    return {
        "accountType": "UNIFIED", "accountLTV": "", "accountIMRate": "", "accountMMRate": "",
        "accountIMRateByMp": "", "accountMMRateByMp": "",
        "totalEquity": total(lambda coin: account.wallet(coin) + profit(coin)), "totalWalletBalance": total(account.wallet),
        "totalMarginBalance": total(lambda coin: account.wallet(coin) + profit(coin)),
        "totalAvailableBalance": total(account.available), "totalPerpUPL": total(profit),
        "totalInitialMargin": total(used), "totalMaintenanceMargin": total(lambda coin: maintenance_of(account, coin)),
        "totalInitialMarginByMp": "", "totalMaintenanceMarginByMp": "",
        "coin": [coin_row(account, coin, usd_of(coin)) for coin in coins],
    }  # fmt: skip
