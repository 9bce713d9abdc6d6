"""An account at Bybit over Python: REST that is signed, log-ins, topics, and what became of an order (4 to 7)."""

from collections.abc import Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack
from dataclasses import dataclass
from typing import Any
from urllib.parse import unquote, urlencode

import numpy as np
import orjson

from hftpipe.core.machine.system_clock import steady_ns, wall_ns
from hftpipe.core.schema import reasons
from hftpipe.transport.http.answer import Answer, Outcome
from hftpipe.transport.http.rest import RestClient
from hftpipe.transport.signing.keys import Key
from hftpipe.transport.websocket.connect import ConnectError, Connection
from hftpipe.venues.bybit.ids import trade_id_of
from hftpipe.venues.bybit.orders.errors import ERRORS
from hftpipe.venues.bybit.orders.market import AccountMarket
from hftpipe.venues.bybit.orders.scan import ENDS
from hftpipe.venues.orders.client_text import client_id_of, client_text, epoch_of
from hftpipe.venues.orders.errors import ASK, UNLISTED
from hftpipe.venues.orders.facts import (
    ASKED_ABOUT,
    CANCEL_ASKED,
    CANCELLED,
    DONE,
    FACT,
    GONE,
    LIVE,
    REFUSED,
    STATE,
    TRADE,
    TURNED_DOWN,
    UNSAID,
)
from hftpipe.venues.orders.keeper import NotNow, Question, Upkeep
from hftpipe.venues.orders.numbers import Instruments, scaled

RECV_WINDOW_MS = 5000
#: So long after it was first asked about an order that the venue does not find has never been there: what it answers from may lag.
NOT_FOUND_NS = (RECV_WINDOW_MS + 10_000) * 1_000_000
#: The venue refuses what comes from its future more strictly than what is late: we aim a little behind it.
BEHIND_NS = 50_000_000
_REALTIME, _HISTORY, _EXECUTIONS = "/v5/order/realtime", "/v5/order/history", "/v5/execution/list"
_TIME, _CANCEL = "/v5/market/time", "/v5/order/cancel"
_WRONG_TIME = 10002
_CLOCK_LOOKS, _AT_ONCE, _MOST_PAGES = 5, 4, 100
_AGAIN_S, _LATER_S, _ANSWER_S, _LOGIN_MS = 0.5, 2.0, 10.0, 10_000
_STATES = {
    "New": LIVE, "PartiallyFilled": LIVE, "Untriggered": LIVE, "Triggered": LIVE, "Filled": DONE, "Cancelled": CANCELLED,
    "PartiallyFilledCanceled": CANCELLED, "Deactivated": CANCELLED, "Rejected": TURNED_DOWN,
}  # fmt: skip
_WHY = {text: (state, reason) for text, state, reason in ENDS}


class RestError(OSError):
    """A request over REST came to nothing; the message says what was asked and what the venue said."""


@dataclass(frozen=True)
class Reply:
    """An answer of the business: HTTP is 200 for its errors, too.

    Attributes:
        outcome: what became of it; code, message: the venue's; result: what it gives; rest_s: for how long it is to be left alone.
    """

    outcome: Outcome
    code: int
    message: str
    result: Any
    rest_s: float = 0.0


def reply_of(answer: Answer) -> Reply:
    """What an answer over HTTP says."""
    body = answer.body if isinstance(answer.body, dict) else {}
    code = body.get("retCode")
    if answer.outcome is not Outcome.OK or not isinstance(code, int):
        return Reply(answer.outcome, answer.code, answer.message, None, answer.retry_after_s)
    if code == 0:
        return Reply(Outcome.OK, 0, "", body.get("result"))
    action, _ = _ACTIONS.get(code, UNLISTED)
    return Reply(Outcome.UNKNOWN if action == ASK else Outcome.REFUSED, code, str(body.get("retMsg"))[:300], None)


_ACTIONS = {row.code: (row.action, row.reason) for row in ERRORS}


class BybitAccount:
    """The plan of an account (:class:`hftpipe.venues.orders.wiring.Plan`).

    Args:
        market: where it is; key: its key; rest: a client of its REST interface.
        trade_url, private_url: of the interface for orders, and of the account's own topics.
        instruments: what is traded; prefix: of our client ids; assets: numbers of what fees are paid in.
    """

    def __init__(
        self,
        market: AccountMarket,
        key: Key,
        rest: RestClient,
        trade_url: str,
        private_url: str,
        instruments: Instruments,
        prefix: bytes,
        assets: Mapping[str, int],
        ca_file: str = "",
    ) -> None:
        self.rest, self.prefix, self.kind = rest, prefix, key.kind
        self._market, self._key, self._category = market, key, market.market.category
        self._trade_url, self._private_url, self._ca_file = trade_url, private_url, ca_file
        self._instruments, self._assets = instruments, assets
        self._offset_ns = 0

    def __repr__(self) -> str:
        return f"BybitAccount({self._market.market.name})"

    @property
    def upkeep(self) -> Sequence[Upkeep]:
        """Nothing but the signs of life, which compiled code gives."""
        return ()

    # Requests over REST.

    def _timestamp(self) -> int:
        return (wall_ns() + self._offset_ns) // 1_000_000

    def ask(self, method: str, path: str, params: Mapping[str, str | int | bool]) -> Reply:
        """Make one signed request: a query, or a body of JSON; what is signed is exactly what is sent (7)."""
        is_query = method == "GET"
        text = urlencode(params).encode() if is_query else orjson.dumps(params)
        stamp, key = str(self._timestamp()), self._key.name.reveal()
        signature = self._key.sign(f"{stamp}{key}{RECV_WINDOW_MS}".encode() + text)
        headers = {
            "X-BAPI-API-KEY": key, "X-BAPI-TIMESTAMP": stamp, "X-BAPI-RECV-WINDOW": str(RECV_WINDOW_MS), "X-BAPI-SIGN": signature,
        }  # fmt: skip
        if is_query:
            query = {name: str(value) for name, value in params.items()}
            return self._heeded(reply_of(self.rest.send(method, path, query, 1, headers)))
        headers["Content-Type"] = "application/json"
        return self._heeded(reply_of(self.rest.send(method, path, None, 1, headers, text)))

    def _heeded(self, reply: Reply) -> Reply:
        """A request that is refused for its time says that the clock is to be measured."""
        if reply.code == _WRONG_TIME:
            self.clock_offset_ns()
        return reply

    def public(self, path: str, query: Mapping[str, str]) -> Any:
        """What the venue says to everybody. Raises RestError."""
        return self.wanted(path, reply_of(self.rest.get(path, query)))

    def wanted(self, what: str, reply: Reply) -> Any:
        """The result of a reply. Raises RestError where there is none."""
        if reply.outcome is Outcome.OK:
            return reply.result
        code = f" (code {reply.code})" if reply.code else ""
        raise RestError(f"{self.rest.address}: {what}: {reply.outcome}: {reply.message}{code}")

    def clock_offset_ns(self) -> int:
        """The venue's clock less ours, by the quickest of some answers, a little behind it. Raises RestError."""
        best = (1 << 62, 0)
        for _ in range(_CLOCK_LOOKS):
            sent = steady_ns()
            result = self.wanted("time", reply_of(self.rest.get(_TIME)))
            took, now = steady_ns() - sent, wall_ns()
            try:
                best = min(best, (took, int(result["timeNano"]) - (now - took // 2)))
            except (KeyError, TypeError, ValueError) as wrong:
                raise RestError(f"{self.rest.address}: the answer has no time") from wrong
        self._offset_ns = best[1] - BEHIND_NS
        return self._offset_ns

    # The session.

    def connect(self) -> list[Connection]:
        """All connections of a session. Raises ConnectError."""
        with ExitStack() as undo:
            opened = []
            for url in (self._trade_url, self._private_url):
                connection = Connection(url, self._ca_file)
                undo.callback(connection.close)
                opened.append(connection)
            trade, private = opened
            self._call(trade, {"reqId": "auth", "op": "auth", "args": self._login()}, "reqId")
            self._call(private, {"req_id": "auth", "op": "auth", "args": self._login()}, "req_id")
            topics = [f"{name}.{self._category}" for name in ("order", "execution")]
            self._call(private, {"req_id": "topics", "op": "subscribe", "args": topics}, "req_id")
            undo.pop_all()
        return opened

    def _login(self) -> list[str | int]:
        until = self._timestamp() + _LOGIN_MS
        return [self._key.name.reveal(), until, self._key.sign(f"GET/realtime{until}".encode())]

    def _call(self, connection: Connection, request: dict[str, Any], id_key: str) -> None:
        """One request on a connection, before it is handed over. What else comes meanwhile is asked about when the session begins."""
        connection.send(orjson.dumps(request))
        until = steady_ns() + int(_ANSWER_S * 1e9)
        while steady_ns() < until:
            answer = orjson.loads(connection.receive(_ANSWER_S))
            if not isinstance(answer, dict) or answer.get("op") != request["op"]:
                continue
            if answer.get("retCode") == 0 or answer.get("success") is True:
                return
            said = answer.get("retMsg") or answer.get("ret_msg") or "refused"
            raise ConnectError(f"{connection.server}: {request['op']}: {said} (code {answer.get('retCode', '-')})")
        raise ConnectError(f"{connection.server}: {request['op']}: no answer within {_ANSWER_S:.0f} s")

    # What became of an order.

    def find(self, question: Question) -> list[np.ndarray]:
        """What has become of an order: its executions, then its state. Raises NotNow."""
        text = client_text(self.prefix, question.id)
        query = {
            "category": self._category,
            "symbol": self._instruments.symbols[question.instrument],
            "orderLinkId": text,
        }
        for path, more in ((_REALTIME, {"openOnly": 0}), (_REALTIME, {"openOnly": 1}), (_HISTORY, {})):
            reply = self.ask("GET", path, {**query, **more})
            if reply.outcome is not Outcome.OK:
                raise NotNow(max(reply.rest_s, _LATER_S), reply.message)
            found = [one for one in reply.result.get("list", []) if one.get("orderLinkId") == text]
            if found:
                return self._facts(question, found[0])
        if steady_ns() - question.since_ns < NOT_FOUND_NS:
            raise NotNow(_AGAIN_S, "not found yet")
        return [self._fact(question, GONE)]

    def _facts(self, question: Question, order: Any) -> list[np.ndarray]:
        try:
            state = self._state(question, order)
            trades = self._trades(question, order) if int(state["cum"][0]) else []
        except (KeyError, TypeError, ValueError) as wrong:
            raise NotNow(_LATER_S, f"an answer that cannot be read: {wrong}") from wrong
        for trade in trades:
            trade["cum"] = state["cum"]
        return [*trades, state]

    def _fact(self, question: Question, kind: int) -> np.ndarray:
        made = np.zeros(1, FACT)
        made["id"], made["kind"], made["cum"], made["request"] = question.id, kind, -1, ASKED_ABOUT
        made["revision"] = question.revision
        return made

    def _state(self, question: Question, order: Any) -> np.ndarray:
        made, (price_places, qty_places) = self._fact(question, STATE), self._instruments.places(question.instrument)
        if client_id_of(self.prefix, order["orderLinkId"])[0] != question.id:
            raise ValueError("another order")
        made["state"], made["venue_id"] = _STATES[order["orderStatus"]], trade_id_of(order["orderId"])
        if int(made["state"][0]) == CANCELLED:
            why = _WHY.get(order.get("rejectReason", "")) or _WHY.get(order.get("cancelType", ""))
            if why:
                made["state"], made["reason"] = why
        made["price"], made["qty"] = scaled(order["price"] or "0", price_places), scaled(order["qty"], qty_places)
        made["cum"] = scaled(order["cumExecQty"] or "0", qty_places)
        made["ts"] = int(order["updatedTime"]) * 1_000_000
        return made

    def _trades(self, question: Question, order: Any) -> list[np.ndarray]:
        found: list[np.ndarray] = []
        query: dict[str, str | int] = {"category": self._category, "orderId": order["orderId"], "limit": 100}
        for _ in range(_MOST_PAGES):
            reply = self.ask("GET", _EXECUTIONS, query)
            if reply.outcome is not Outcome.OK:
                raise NotNow(max(reply.rest_s, _LATER_S), reply.message)
            found += [self._trade(question, row) for row in reply.result["list"] if row["execType"] == "Trade"]
            if not (cursor := reply.result.get("nextPageCursor")):
                break
            query["cursor"] = unquote(cursor)
        return found[::-1]

    def _trade(self, question: Question, row: Any) -> np.ndarray:
        made, (price_places, qty_places) = self._fact(question, TRADE), self._instruments.places(question.instrument)
        made["trade_id"], made["ts"] = trade_id_of(row["execId"]), int(row["execTime"]) * 1_000_000
        made["last_price"], made["last_qty"] = (
            scaled(row["execPrice"], price_places),
            scaled(row["execQty"], qty_places),
        )
        made["is_maker"], made["state"] = bool(row["isMaker"]), LIVE
        asset = row.get("feeCurrency") or self._instruments.quotes[question.instrument]
        if asset == self._instruments.quotes[question.instrument] or asset in self._assets:
            made["fee"], made["fee_asset"] = scaled(row["execFee"] or "0", 8), self._assets.get(asset, 0)
        return made

    # Cancelling.

    def cancel(self, question: Question) -> list[np.ndarray]:
        """Cancel an order over REST; what came of it. A receipt is no end: that comes as an event. Raises NotNow."""
        params = {
            "category": self._category, "symbol": self._instruments.symbols[question.instrument],
            "orderLinkId": client_text(self.prefix, question.id),
        }  # fmt: skip
        reply = self.ask("POST", _CANCEL, params)
        made = self._fact(question, STATE)
        made["request"], made["state"] = CANCEL_ASKED, UNSAID
        if reply.outcome is Outcome.OK:
            return [made]
        action, reason = _ACTIONS.get(reply.code, UNLISTED) if reply.code else (ASK, reasons.VENUE_BUSY)
        made["kind"], made["action"], made["reason"], made["code"] = REFUSED, action, reason, reply.code
        return [made]

    def cancel_all(self, last_epoch: int) -> int:
        """Cancel every open order under our ids up to an epoch, at once; how many there were. Raises RestError."""
        ours = [
            one
            for settle in self._market.settles or ("",)
            for one in self._open({"settleCoin": settle} if settle else {})
            if self._is_ours(str(one.get("orderLinkId", "")), last_epoch)
        ]
        with ThreadPoolExecutor(_AT_ONCE) as pool:
            replies = list(pool.map(self._cancel_one, ours))
        for reply in replies:
            if reply.outcome not in (Outcome.OK, Outcome.REFUSED):
                self.wanted("cancel", reply)
        return len(ours)

    def _open(self, more: Mapping[str, str]) -> list[Any]:
        found: list[Any] = []
        query: dict[str, str | int] = {"category": self._category, "openOnly": 0, "limit": 50, **more}
        for _ in range(_MOST_PAGES):
            result = self.wanted("open orders", self.ask("GET", _REALTIME, query))
            found += result.get("list", [])
            if not (cursor := result.get("nextPageCursor")):
                break
            query["cursor"] = unquote(cursor)
        return found

    def _is_ours(self, text: str, last_epoch: int) -> bool:
        id_, _ = client_id_of(self.prefix, text)
        return id_ != 0 and epoch_of(id_) <= last_epoch

    def _cancel_one(self, order: Mapping[str, Any]) -> Reply:
        return self.ask(
            "POST", _CANCEL, {"category": self._category, "symbol": order["symbol"], "orderId": order["orderId"]}
        )
