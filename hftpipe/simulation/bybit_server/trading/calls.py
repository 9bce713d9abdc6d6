"""Requests of accounts, by REST path and by ``op`` of the order-entry WebSocket: what answers them, and which limit they count for."""

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

from hftpipe.simulation.bybit_server.trading import settings as limits
from hftpipe.simulation.bybit_server.trading.account import UnifiedAccount
from hftpipe.simulation.bybit_server.trading.account_requests import AccountRequests
from hftpipe.simulation.bybit_server.trading.ordering import Ordering
from hftpipe.simulation.bybit_server.trading.params import Params
from hftpipe.simulation.bybit_server.trading.queries import Queries

Answer = Callable[[UnifiedAccount, Params], Any]


@dataclass(frozen=True)
class Call:
    """One request.

    Attributes:
        answer: takes the account and the parameters; of a batch it makes a pair: the result and what is said of each order.
        limit: what it counts for; is_entry: it enters, changes or cancels orders; is_batch: several at once.
    """

    answer: Answer
    limit: str
    is_entry: bool = False
    is_batch: bool = False

    def carry_out(self, account: UnifiedAccount, params: Params) -> tuple[Any, dict[str, Any]]:
        """``result`` and ``retExtInfo``.

        Raises:
            Refused: it is not carried out.
        """
        made = self.answer(account, params)
        return made if self.is_batch else (made, {})

    def count(self, params: Params) -> int:
        """For how many requests it counts."""
        asked = params.get("request")
        return max(1, len(asked)) if self.is_batch and isinstance(asked, list) else 1


def entries(o: Ordering) -> dict[str, Call]:
    """What enters, changes and cancels orders, by the last part of its path."""
    return {
        limits.CREATE: Call(o.create, limits.CREATE, True),
        limits.AMEND: Call(o.amend, limits.AMEND, True),
        limits.CANCEL: Call(o.cancel, limits.CANCEL, True),
        limits.CANCEL_ALL: Call(o.cancel_all, limits.CANCEL_ALL, True),
        limits.CREATE_BATCH: Call(o.batch(o.create), limits.CREATE_BATCH, True, True),
        limits.AMEND_BATCH: Call(o.batch(o.amend), limits.AMEND_BATCH, True, True),
        limits.CANCEL_BATCH: Call(o.batch(o.cancel), limits.CANCEL_BATCH, True, True),
    }


def rest_calls(o: Ordering, q: Queries, a: AccountRequests) -> dict[tuple[str, str], Call]:
    """By (HTTP method, path)."""
    return {("POST", f"/v5/order/{name}"): call for name, call in entries(o).items()} | {
        ("GET", "/v5/order/realtime"): Call(q.realtime, "realtime"),
        ("GET", "/v5/order/history"): Call(q.history, "history"),
        ("GET", "/v5/execution/list"): Call(q.executions, "executions"),
        ("GET", "/v5/position/list"): Call(q.positions, "positions"),
        ("GET", "/v5/account/wallet-balance"): Call(a.wallet, "wallet"),
        ("GET", "/v5/account/info"): Call(a.info, "info"),
        ("GET", "/v5/account/fee-rate"): Call(a.fees, "fee-rate"),
        ("GET", "/v5/user/query-api"): Call(a.api_key, "query-api"),
        ("POST", "/v5/position/set-leverage"): Call(a.set_leverage, "leverage"),
        ("POST", "/v5/position/switch-mode"): Call(a.switch_mode, "leverage"),
        ("POST", "/v5/position/switch-isolated"): Call(a.switch_isolated, "leverage"),
        ("POST", "/v5/account/set-margin-mode"): Call(a.set_margin_mode, "leverage"),
        ("POST", "/v5/account/set-limit-px-action"): Call(a.set_price_action, "leverage"),
        ("POST", "/v5/order/disconnected-cancel-all"): Call(a.set_dcp, "dcp"),
        ("GET", "/v5/account/query-dcp-info"): Call(a.dcp, "dcp"),
    }


def socket_calls(o: Ordering) -> dict[str, Call]:
    """By ``op``."""
    return {f"order.{name}": call for name, call in entries(o).items() if name != limits.CANCEL_ALL}
