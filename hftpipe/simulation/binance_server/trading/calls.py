"""Requests of accounts, by REST path and by method of the WebSocket API: what each weighs, needs, and is answered."""

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

from hftpipe.simulation.binance_server.answers import Answers
from hftpipe.simulation.binance_server.trading.account import Account
from hftpipe.simulation.binance_server.trading.listen_keys import ListenKeys
from hftpipe.simulation.binance_server.trading.params import Params
from hftpipe.simulation.binance_server.trading.spot_service import SpotService
from hftpipe.simulation.binance_server.trading.usdm_account import UsdmAccount
from hftpipe.simulation.binance_server.trading.usdm_service import UsdmService
from hftpipe.simulation.binance_server.trading.usdm_upkeep import UsdmUpkeep

Answer = Callable[[Any, Params], Any]


@dataclass(frozen=True)
class Call:
    """One request.

    Attributes:
        answer: takes the trader and the parameters.
        weight, weight_of_all: request weight; the second one without a ``symbol``, 0: the same.
        is_entry: it enters, changes or cancels orders; is_free: it weighs nothing if it succeeds.
        is_signed: otherwise the key alone is enough.
    """

    answer: Answer
    weight: int
    weight_of_all: int = 0
    is_entry: bool = False
    is_free: bool = False
    is_signed: bool = True

    def weighs(self, params: Params) -> int:
        """Request weight of one."""
        return self.weight if "symbol" in params else self.weight_of_all or self.weight


def spot_calls(s: SpotService) -> tuple[dict[tuple[str, str], Call], dict[str, Call]]:
    """Spot: by (HTTP method, path), and by method of the WebSocket API."""
    place, cancel = Call(s.place, 1, 0, True, True), Call(s.cancel, 1, 0, True, True)
    cancel_all, replace = Call(s.cancel_all, 1, 0, True, True), Call(s.cancel_replace, 1, 0, True, True)
    amend, test, status = Call(s.amend, 4, 0, True), Call(s.test, 1), Call(s.status, 4)
    opened, every, account, trades = (
        Call(s.open_orders, 6, 80), Call(s.all_orders, 20), Call(s.account, 20), Call(s.trades, 20),
    )  # fmt: skip
    counts, commission = Call(s.counts, 40), Call(s.commission, 20)
    rest = {
        ("POST", "/api/v3/order"): place, ("DELETE", "/api/v3/order"): cancel, ("GET", "/api/v3/order"): status,
        ("POST", "/api/v3/order/test"): test, ("POST", "/api/v3/order/cancelReplace"): replace,
        ("PUT", "/api/v3/order/amend/keepPriority"): amend, ("DELETE", "/api/v3/openOrders"): cancel_all,
        ("GET", "/api/v3/openOrders"): opened, ("GET", "/api/v3/allOrders"): every,
        ("GET", "/api/v3/account"): account, ("GET", "/api/v3/myTrades"): trades,
        ("GET", "/api/v3/rateLimit/order"): counts, ("GET", "/api/v3/account/commission"): commission,
    }  # fmt: skip
    api = {
        "order.place": place, "order.test": test, "order.cancel": cancel, "order.cancelReplace": replace,
        "order.amend.keepPriority": amend, "order.status": status, "openOrders.cancelAll": cancel_all,
        "openOrders.status": opened, "allOrders": every, "account.status": account, "myTrades": trades,
        "account.rateLimits.orders": counts, "account.commission": commission,
    }  # fmt: skip
    return rest, api


def _listen_calls(keys: ListenKeys) -> dict[str, Call]:
    def start(trader: Account[Any], params: Params) -> Any:
        return {"listenKey": keys.start(trader.account)}

    def ping(trader: Account[Any], params: Params) -> Any:
        return {"listenKey": keys.extend(trader.account)}

    def stop(trader: Account[Any], params: Params) -> Any:
        keys.end(trader.account)
        return {}

    made = {"start": start, "ping": ping, "stop": stop}
    return {name: Call(answer, 1, is_signed=False) for name, answer in made.items()}


def usdm_calls(
    s: UsdmService, a: UsdmAccount, u: UsdmUpkeep, keys: ListenKeys
) -> tuple[dict[tuple[str, str], Call], dict[str, Call]]:
    """USD-M: by (HTTP method, path), and by method of the WebSocket API."""
    place, change, cancel = (Call(one, weight, 0, True) for one, weight in ((s.place, 0), (s.change, 0), (s.cancel, 1)))
    test, status, listen = Call(s.test, 0), Call(s.status, 1), _listen_calls(keys)
    balances, account, positions = Call(a.balances, 5), Call(a.account, 5), Call(a.positions, 5)
    v1 = {
        ("POST", "order"): place, ("PUT", "order"): change, ("DELETE", "order"): cancel, ("GET", "order"): status,
        ("POST", "order/test"): test, ("DELETE", "allOpenOrders"): Call(s.cancel_all, 1, 0, True),
        ("GET", "openOrder"): Call(s.open_order, 1), ("GET", "openOrders"): Call(s.open_orders, 1, 40),
        ("POST", "batchOrders"): Call(s.place_batch, 5, 0, True), ("PUT", "batchOrders"): Call(s.change_batch, 5, 0, True),
        ("DELETE", "batchOrders"): Call(s.cancel_batch, 1, 0, True),
        ("POST", "countdownCancelAll"): Call(u.count_down, 10, 0, True),
        ("GET", "allOrders"): Call(s.all_orders, 5), ("GET", "userTrades"): Call(s.trades, 5),
        ("GET", "rateLimit/order"): Call(s.counts, 1), ("GET", "commissionRate"): Call(a.commission, 20),
        ("POST", "leverage"): Call(a.set_leverage, 1), ("POST", "marginType"): Call(a.set_margin_type, 1),
        ("GET", "positionSide/dual"): Call(a.position_mode, 30), ("POST", "positionSide/dual"): Call(a.set_position_mode, 1),
        ("GET", "multiAssetsMargin"): Call(a.assets_mode, 30), ("GET", "accountConfig"): Call(a.account_config, 5),
        ("GET", "symbolConfig"): Call(a.symbol_config, 5), ("GET", "leverageBracket"): Call(a.brackets, 1),
        ("POST", "listenKey"): listen["start"], ("PUT", "listenKey"): listen["ping"],
        ("DELETE", "listenKey"): listen["stop"],
    }  # fmt: skip
    rest = {(method, f"/fapi/v1/{path}"): call for (method, path), call in v1.items()}
    for version in ("v2", "v3"):
        rest |= {
            ("GET", f"/fapi/{version}/balance"): balances, ("GET", f"/fapi/{version}/account"): account,
            ("GET", f"/fapi/{version}/positionRisk"): positions if version == "v3" else Call(a.all_positions, 5),
        }  # fmt: skip
    api = {
        "order.place": place, "order.test": test, "order.modify": change, "order.cancel": cancel,
        "order.status": status, "account.status": account, "v2/account.status": account,
        "account.balance": balances, "v2/account.balance": balances, "account.position": Call(a.all_positions, 5),
        "v2/account.position": positions, "userDataStream.start": listen["start"],
        "userDataStream.ping": listen["ping"], "userDataStream.stop": listen["stop"],
    }  # fmt: skip
    return rest, api


def public_methods(a: Answers) -> dict[str, tuple[int, Callable[[Params], Any]]]:
    """Methods of the WebSocket API that need no key: weight and answer."""
    common: dict[str, tuple[int, Callable[[Params], Any]]] = {
        "ping": (1, a.ping), "time": (1, a.time), "exchangeInfo": (20, a.exchange_info), "depth": (5, a.depth),
        "ticker.price": (2, a.price), "ticker.book": (2, a.best),
    }  # fmt: skip
    if a.rules.name == "usdm":
        return common
    return common | {
        "trades.recent": (25, a.trades), "trades.historical": (25, a.old_trades), "trades.aggregate": (4, a.aggregates),
        "klines": (2, a.klines), "uiKlines": (2, a.klines), "avgPrice": (2, a.average), "ticker.24hr": (2, a.day),
    }  # fmt: skip
