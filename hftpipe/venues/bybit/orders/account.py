"""An account at Bybit over Python: REST that is signed, log-ins, topics, and what became of an order (4 to 7)."""

from collections.abc import Mapping, Sequence
from contextlib import ExitStack
from dataclasses import replace
from decimal import Decimal
from typing import Any
from urllib.parse import unquote, urlencode

import numpy as np
import orjson

from hftpipe.core.machine.system_clock import steady_ns
from hftpipe.transport.http.answer import Answer, Outcome
from hftpipe.transport.http.rest import RestClient
from hftpipe.transport.signing.keys import Key
from hftpipe.transport.websocket.connect import ConnectError, Connection
from hftpipe.venues.bybit.ids import trade_id_of
from hftpipe.venues.bybit.orders.disconnects import PATH as SWITCH
from hftpipe.venues.bybit.orders.disconnects import DisconnectCancel
from hftpipe.venues.bybit.orders.errors import ERRORS, WRONG_TIME
from hftpipe.venues.bybit.orders.market import AccountMarket
from hftpipe.venues.bybit.orders.words import ENDS, STATES
from hftpipe.venues.orders.client_text import client_id_of, client_text
from hftpipe.venues.orders.errors import ASK
from hftpipe.venues.orders.facts import CANCEL_ASKED, CANCELLED, LIVE, STATE, TRADE, TURNED_DOWN, UNSAID
from hftpipe.venues.orders.keeper import NotNow, Question, Upkeep
from hftpipe.venues.orders.numbers import Instruments, scaled
from hftpipe.venues.orders.pages import all_rows
from hftpipe.venues.orders.rest_account import RestAccount
from hftpipe.venues.orders.rest_error import RestError
from hftpipe.venues.orders.rest_facts import LATER_S, RECV_WINDOW_MS, fact_about, not_found, wait_for

_REALTIME, _HISTORY, EXECUTIONS = "/v5/order/realtime", "/v5/order/history", "/v5/execution/list"
POSITIONS = "/v5/position/list"
#: In so many contracts the position mode is looked at: mostly it is that of all, and a session must not wait long for it.
_MODES = 40
_TIME, _CANCEL = "/v5/market/time", "/v5/order/cancel"
_ANSWER_S, _LOGIN_MS = 10.0, 10_000
#: Codes by which the venue says that it does not know whether a request was done.
_UNSURE = frozenset(row.code for row in ERRORS if row.action == ASK)


def reply_of(answer: Answer) -> Answer:
    """What an answer over HTTP says: its status is 200 for errors of the business, too. The body is the result then."""
    body = answer.body if isinstance(answer.body, dict) else {}
    code = body.get("retCode")
    if answer.outcome is not Outcome.OK or not isinstance(code, int):
        return replace(answer, body=None)
    if code == 0:
        return replace(answer, body=body.get("result"))
    outcome = Outcome.UNKNOWN if code in _UNSURE else Outcome.REFUSED
    return replace(answer, outcome=outcome, code=code, message=str(body.get("retMsg"))[:300], body=None)


class CallRefused(ConnectError):
    """The venue has said no to a request on a connection, which is there all the same."""


class BybitAccount(RestAccount):
    """The plan of an account (:class:`hftpipe.venues.orders.wiring.Plan`).

    Args:
        market: where it is; key: its key; rest: a client of its REST interface.
        trade_url, private_url: of the interface for orders (empty: a session needs none of it), and of the account's own topics.
        instruments: what is traded; prefix: of our client ids; assets: numbers of what fees are paid in.
        ca_file: certificates that are trusted instead of the system's, empty: the system's; switch: the dead man's, None: none.
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
        switch: DisconnectCancel | None = None,
    ) -> None:
        super().__init__(key, rest, instruments, prefix, assets, ERRORS, WRONG_TIME, market.cancels_per_s)
        self._market, self._category = market, market.market.category
        self._trade_url, self._private_url, self._ca_file, self._switch = trade_url, private_url, ca_file, switch
        self._is_one_way = False

    def __repr__(self) -> str:
        return f"BybitAccount({self._market.market.name})"

    @property
    def upkeep(self) -> Sequence[Upkeep]:
        """Nothing but the signs of life, which compiled code gives."""
        return ()

    # Requests over REST.

    def ask(self, method: str, path: str, params: Mapping[str, str | int | bool]) -> Answer:
        """Make one signed request: a query, or a body of JSON; what is signed is exactly what is sent (7)."""
        is_query = method == "GET"
        text, key = urlencode(params).encode() if is_query else orjson.dumps(params), self._key.name.reveal()

        def stamped() -> dict[str, str]:
            stamp = str(self._clock.now_ms())
            signature = self._key.sign(f"{stamp}{key}{RECV_WINDOW_MS}".encode() + text)
            return {
                "X-BAPI-API-KEY": key, "X-BAPI-TIMESTAMP": stamp, "X-BAPI-RECV-WINDOW": str(RECV_WINDOW_MS),
                "X-BAPI-SIGN": signature, **({} if is_query else {"Content-Type": "application/json"}),
            }  # fmt: skip

        # Stamped and signed once there is weight for it: what has waited would be too old.
        if is_query:
            query = {name: str(value) for name, value in params.items()}
            return self._heeded(reply_of(self.rest.send(method, path, query, 1, stamped)))
        return self._heeded(reply_of(self.rest.send(method, path, None, 1, stamped, text)))

    def public(self, path: str, query: Mapping[str, str]) -> Any:
        """What the venue says to everybody. Raises RestError."""
        return self.wanted(path, reply_of(self.rest.get(path, query)))

    def _time_ns(self) -> int:
        result = self.public(_TIME, {})
        try:
            return int(result["timeNano"])
        except (KeyError, TypeError, ValueError) as wrong:
            raise RestError(f"{self.rest.address}: the answer has no time") from wrong

    # The session.

    def connect(self) -> list[Connection]:
        """All connections of a session. Raises ConnectError, RestError."""
        if not self._is_one_way:
            for symbol in self._instruments.symbols[:_MODES] if self._category != "spot" else ():
                self.check_mode(symbol)
            self._is_one_way = True
        with ExitStack() as undo:
            opened = []
            for url in filter(None, (self._trade_url, self._private_url)):
                connection = Connection(url, self._ca_file)
                undo.callback(connection.close)
                opened.append(connection)
            *trades, private = opened
            for trade in trades:
                self._call(trade, {"reqId": "auth", "op": "auth", "args": self._login()}, "reqId")
            self._call(private, {"req_id": "auth", "op": "auth", "args": self._login()}, "req_id")
            topics = [f"{name}.{self._category}" for name in ("order", "execution")]
            self._call(private, {"req_id": "topics", "op": "subscribe", "args": topics}, "req_id")
            self._watch(private)
            undo.pop_all()
        return opened

    def check_mode(self, symbol: str) -> None:
        """See that orders without a position's side are taken. Raises ConnectError: they are not; RestError."""
        query = {"category": self._category, "symbol": symbol}
        if any(int(one.get("positionIdx") or 0) for one in self._pages(POSITIONS, query, "position mode")):
            raise ConnectError(
                f"{symbol}: the account is in hedge mode; allowed: one-way mode (/v5/position/switch-mode, mode 0)"
            )

    def _watch(self, private: Connection) -> None:
        """Have the venue cancel what is open when this connection, and others that watch, are gone; without that the session goes on."""
        if self._switch is None:
            return
        for topic in self._switch.topics(lambda params: self.ask("POST", SWITCH, params)):
            try:
                self._call(private, {"req_id": "dcp", "op": "subscribe", "args": [topic]}, "req_id")
            except CallRefused as wrong:
                self._switch.refused(str(wrong))

    def _login(self) -> list[str | int]:
        until = self._clock.now_ms() + _LOGIN_MS
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
            raise CallRefused(f"{connection.server}: {request['op']}: {said} (code {answer.get('retCode', '-')})")
        raise ConnectError(f"{connection.server}: {request['op']}: no answer within {_ANSWER_S:.0f} s")

    # What became of an order.

    def _named(self, question: Question) -> dict[str, str | int]:
        return {
            "category": self._category, "symbol": self._instruments.symbols[question.instrument],
            "orderLinkId": client_text(self.prefix, question.id),
        }  # fmt: skip

    def find(self, question: Question) -> list[np.ndarray]:
        """What has become of an order: its executions, then its state. Raises NotNow."""
        named = self._named(question)
        for path, more in ((_REALTIME, {"openOnly": 0}), (_REALTIME, {"openOnly": 1}), (_HISTORY, {})):
            rows = self._rows(self._listed(self.ask("GET", path, {**named, **more})))
            if found := [one for one in rows if one.get("orderLinkId") == named["orderLinkId"]]:
                return self._told(question, found[0])
        if order := self._by_executions(question, named):
            return self._told(question, order)
        return not_found(question)

    @staticmethod
    def _rows(result: Any) -> list[Any]:
        """The rows of a list. Raises NotNow: there is none, which does not say that nothing is in it."""
        rows = result.get("list") if isinstance(result, dict) else None
        if not isinstance(rows, list):
            raise NotNow(LATER_S, "an answer without a list")
        return rows

    def _by_executions(self, question: Question, named: Mapping[str, str | int]) -> dict[str, Any] | None:
        """An order that no list shows, though it has executions: a restart clears the one of recent orders, and ``history`` lags.

        None: it has no executions either. Raises NotNow: it has, and may be on its list yet.
        """
        try:
            rows = self._pages(EXECUTIONS, {**named, "limit": 100}, f"executions of order {named['orderLinkId']}")
        except RestError as wrong:
            raise NotNow(LATER_S, str(wrong)) from wrong
        rows = [
            one for one in rows if one.get("orderLinkId") == named["orderLinkId"] and one.get("execType") == "Trade"
        ]
        if not rows:
            return None
        newest, filled = rows[0], sum(Decimal(one["execQty"]) for one in rows)
        if filled < Decimal(newest["orderQty"]):
            # What is open is listed at once: after so long it is not.
            wait_for(question, "it has executions, and is on no list yet")
        return {
            **{name: newest[name] for name in ("symbol", "orderId", "orderLinkId")}, "price": newest["orderPrice"],
            "qty": newest["orderQty"], "cumExecQty": str(filled), "updatedTime": newest["execTime"],
            "orderStatus": "Filled" if filled >= Decimal(newest["orderQty"]) else "Cancelled",
        }  # fmt: skip

    def _state(self, question: Question, order: Any) -> np.ndarray:
        made, (price_places, qty_places) = fact_about(question, STATE), self._instruments.places(question.instrument)
        if client_id_of(self.prefix, order["orderLinkId"])[0] != question.id:
            raise ValueError("another order")
        made["state"], made["venue_id"] = STATES[order["orderStatus"]], trade_id_of(order["orderId"])
        if int(made["state"][0]) in (CANCELLED, TURNED_DOWN):
            why = ENDS.get(order.get("rejectReason", "")) or ENDS.get(order.get("cancelType", ""))
            if why:
                made["reason"] = why[1]
                made["state"] = made["state"] if int(made["state"][0]) == TURNED_DOWN else why[0]
        made["price"], made["qty"] = scaled(order["price"] or "0", price_places), scaled(order["qty"], qty_places)
        made["cum"] = scaled(order["cumExecQty"] or "0", qty_places)
        made["ts"] = int(order["updatedTime"]) * 1_000_000
        return made

    def _pages(self, path: str, query: Mapping[str, str | int], what: str) -> list[Any]:
        """All rows of a list. Raises RestError."""

        def page(cursor: str | None) -> tuple[list[Any], str | None]:
            result = self.wanted(what, self.ask("GET", path, {**query, **({"cursor": cursor} if cursor else {})}))
            if not isinstance(result, dict) or not isinstance(result.get("list"), list):
                raise RestError(f"{self.rest.address}: {what}: an answer without a list")
            return result["list"], unquote(result.get("nextPageCursor") or "") or None

        return all_rows(page, what)

    def _executions(self, question: Question, order: Any) -> list[np.ndarray]:
        query = {"category": self._category, "orderId": order["orderId"], "limit": 100}
        rows = self._pages(EXECUTIONS, query, f"executions of order {order['orderId']}")
        # The venue tells the newest first.
        return [self._execution(question, row) for row in rows[::-1] if row["execType"] == "Trade"]

    def _execution(self, question: Question, row: Any) -> np.ndarray:
        self._check_symbol(question, row)
        made, (price_places, qty_places) = fact_about(question, TRADE), self._instruments.places(question.instrument)
        made["trade_id"], made["ts"] = trade_id_of(row["execId"]), int(row["execTime"]) * 1_000_000
        made["last_price"] = scaled(row["execPrice"], price_places)
        made["last_qty"] = scaled(row["execQty"], qty_places)
        made["is_maker"], made["state"] = bool(row["isMaker"]), LIVE
        self._put_fee(made, question, row.get("execFee"), row.get("feeCurrency") or self._unnamed_coin(question, row))
        return made

    def _unnamed_coin(self, question: Question, row: Mapping[str, Any]) -> str:
        """What a fee is in that names no coin: of contracts what they settle in; on spot what was received, and of a rebate what was
        paid (5). Empty: it cannot be told."""
        quote = self._instruments.quotes[question.instrument]
        if self._category != "spot":
            return quote
        base, is_rebate = str(row["symbol"]).removesuffix(quote), str(row.get("execFee", "")).startswith("-")
        bought, sold = (quote, base) if is_rebate else (base, quote)
        return {"Buy": bought, "Sell": sold}.get(str(row.get("side")), "")

    # Cancelling.

    def cancel(self, question: Question) -> list[np.ndarray]:
        """Cancel an order over REST; what came of it. A receipt is no end: that comes as an event. Raises NotNow."""
        self._take_turn()
        reply = self.ask("POST", _CANCEL, self._named(question))
        if reply.outcome is not Outcome.OK:
            return [self._cancel_refused(question, reply)]
        made = fact_about(question, STATE)
        made["request"], made["state"] = CANCEL_ASKED, UNSAID
        return [made]

    def _open_orders(self, last_epoch: int) -> list[Any]:
        query: dict[str, str | int] = {"category": self._category, "openOnly": 0, "limit": 50}
        settles = [{"settleCoin": one} for one in self._market.settles] or [{}]
        return [one for more in settles for one in self._pages(_REALTIME, {**query, **more}, "open orders")]

    def _text_of(self, order: Mapping[str, Any]) -> str:
        return str(order.get("orderLinkId", ""))

    def _cancel_one(self, order: Mapping[str, Any]) -> Answer:
        params = {"category": self._category, "symbol": order["symbol"], "orderId": order["orderId"]}
        return self.ask("POST", _CANCEL, params)
