"""An account at Binance over Python: REST that is signed, log-ins, subscriptions, and what became of an order."""

from collections.abc import Iterable, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack
from typing import Any
from urllib.parse import urlencode

import numpy as np
import orjson

from hftpipe.core.machine.system_clock import steady_ns, wall_ns
from hftpipe.core.schema import reasons
from hftpipe.transport.http.answer import Answer, Outcome
from hftpipe.transport.http.rest import RestClient
from hftpipe.transport.signing.keys import ED25519, Key
from hftpipe.transport.websocket.connect import ConnectError, Connection
from hftpipe.venues.binance.markets import Request
from hftpipe.venues.binance.orders.market import AccountMarket
from hftpipe.venues.orders.client_text import client_id_of, client_text, epoch_of
from hftpipe.venues.orders.errors import ASK, UNLISTED
from hftpipe.venues.orders.facts import (
    ASKED_ABOUT,
    CANCEL_ASKED,
    CANCELLED,
    DONE,
    FACT,
    GONE,
    LAPSED,
    LIVE,
    REFUSED,
    STATE,
    TRADE,
    TURNED_DOWN,
)
from hftpipe.venues.orders.keeper import ANY_EPOCH, NotNow, Question, Upkeep
from hftpipe.venues.orders.numbers import Instruments, scaled
from hftpipe.venues.orders.state import LAST_REVISION

RECV_WINDOW_MS = 5000
#: So long after it was first asked about an order that the venue does not find has never been there: what it answers from may lag.
NOT_FOUND_NS = (RECV_WINDOW_MS + 10_000) * 1_000_000
_AGAIN_S = 0.5
_LATER_S = 2.0
_ANSWER_S = 10.0
_KEEP_KEY_S = 1200.0
#: Id of the one request that is under way: letters and digits alone (1.2).
_CALL = "session"
_NOT_FOUND = (-2013, -2026)
#: A request outside its window; a key for events that is none any more.
_WRONG_TIME, _NO_SUCH_KEY = (-1021, -5028), -1125
_STATES = {
    "NEW": LIVE, "PARTIALLY_FILLED": LIVE, "PENDING_CANCEL": LIVE, "FILLED": DONE, "CANCELED": CANCELLED, "EXPIRED": LAPSED,
    "EXPIRED_IN_MATCH": LAPSED, "REJECTED": TURNED_DOWN,
}  # fmt: skip
_CLOCK_LOOKS = 5
#: Cancels under way at once.
_AT_ONCE = 4
#: The venue refuses what comes from its future more strictly than what is late: we aim a little behind it.
BEHIND_NS = 50_000_000


class RestError(OSError):
    """A request over REST came to nothing; the message says what was asked and what the venue said."""


class BinanceAccount:
    """The plan of an account (:class:`hftpipe.venues.orders.keeper.AccountPlan`).

    Args:
        market: where it is; key: its key; rest: a client of its REST interface.
        api_url, events_url: of the interface for requests, and of the connection for events (USD-M).
        instruments: what is traded; prefix: of our client ids; assets: numbers of what fees are paid in.
        ca_file: certificates that are trusted instead of the system's, empty: the system's.

    Attributes:
        rest, prefix: as given; kind: of the key.
    """

    def __init__(
        self,
        market: AccountMarket,
        key: Key,
        rest: RestClient,
        api_url: str,
        events_url: str,
        instruments: Instruments,
        prefix: bytes,
        assets: Mapping[str, int],
        ca_file: str = "",
    ) -> None:
        self.rest, self.prefix, self.kind = rest, prefix, key.kind
        self._market, self._key = market, key
        self._api_url, self._events_url, self._ca_file = api_url, events_url, ca_file
        self._instruments, self._assets = instruments, assets
        self._errors = {row.code: (row.action, row.reason) for row in market.errors}
        self._offset_ns, self._listen_key = 0, ""

    def __repr__(self) -> str:
        return f"BinanceAccount({self._market.market.name})"

    @property
    def upkeep(self) -> Sequence[Upkeep]:
        """Keys for events expire within the hour."""
        return (Upkeep("key for events", _KEEP_KEY_S, self._keep_key),) if self._market.listen_key else ()

    # Requests over REST.

    def _timestamp(self) -> int:
        return (wall_ns() + self._offset_ns) // 1_000_000

    def ask(self, method: str, request: Request, query: Mapping[str, str | int] | None = None) -> Answer:
        """Make one signed request. The signature is of the query exactly as it is sent."""
        headers = {"X-MBX-APIKEY": self._key.name.reveal()}

        def stamped() -> dict[str, str | int]:
            params = {**(query or {}), "recvWindow": RECV_WINDOW_MS, "timestamp": self._timestamp()}
            params["signature"] = self._key.sign(urlencode(params).encode())
            return params

        # Stamped and signed once there is weight for it: what has waited would be too old.
        answer = self.rest.send(method, request.path, stamped, request.weight, headers)
        if answer.code in _WRONG_TIME:
            self.clock_offset_ns()
        return answer

    def _wanted(self, what: str, answer: Answer) -> Any:
        if answer.outcome is Outcome.OK:
            return answer.body
        code = f" (code {answer.code})" if answer.code else ""
        raise RestError(f"{self.rest.address}: {what}: {answer.outcome}: {answer.message}{code}")

    def public(self, request: Request, **query: str) -> Any:
        """What the market says to everybody. Raises RestError."""
        answer = self.rest.get(request.path, {**request.query, **query}, request.weight)
        return self._wanted(request.path, answer)

    def clock_offset_ns(self) -> int:
        """The venue's clock less ours, by the quickest of some answers, a little behind it (section 3). Raises RestError."""
        best = (1 << 62, 0)
        for _ in range(_CLOCK_LOOKS):
            sent = steady_ns()
            body = self._wanted("time", self.rest.get(self._market.time.path, weight=self._market.time.weight))
            took, now = steady_ns() - sent, wall_ns()
            try:
                best = min(best, (took, int(body["serverTime"]) * 1_000_000 - (now - took // 2)))
            except (KeyError, TypeError, ValueError) as wrong:
                raise RestError(f"{self.rest.address}: the answer has no time") from wrong
        self._offset_ns = best[1] - BEHIND_NS
        return self._offset_ns

    # The session.

    def connect(self) -> list[Connection]:
        """All connections of a session. Raises ConnectError, RestError."""
        with ExitStack() as undo:
            api = Connection(self._api_url, self._ca_file)
            undo.callback(api.close)
            if self._key.kind == ED25519:
                self._log_on(api)
            if self._market.is_spot:
                self._subscribe(api)
                events = []
            else:
                events = [Connection(f"{self._events_url}/ws/{self._new_listen_key()}", self._ca_file)]
            undo.pop_all()
        return [api, *events]

    def call(
        self, api: Connection, method: str, params: dict[str, str | int], is_signed: bool, is_plain: bool = False
    ) -> Any:
        """One request over the interface, before it is handed over; a plain one has no time. Raises ConnectError."""
        if not is_plain:
            params = {**params, "timestamp": self._timestamp(), "recvWindow": RECV_WINDOW_MS}
        if is_signed:
            params["apiKey"] = self._key.name.reveal()
            text = "&".join(f"{name}={params[name]}" for name in sorted(params))
            params["signature"] = self._key.sign(text.encode())
        api.send(orjson.dumps({"id": _CALL, "method": method, "params": params}))
        until = steady_ns() + int(_ANSWER_S * 1e9)
        while steady_ns() < until:
            answer = orjson.loads(api.receive(_ANSWER_S))
            if isinstance(answer, dict) and answer.get("id") in (_CALL, None) and "status" in answer:
                if answer.get("status") == 200:
                    return answer.get("result")
                error = answer.get("error") or {}
                raise ConnectError(f"{api.server}: {method}: {error.get('msg', 'refused')} (code {error.get('code')})")
        raise ConnectError(f"{api.server}: {method}: no answer within {_ANSWER_S:.0f} s")

    def _log_on(self, api: Connection) -> None:
        self.call(api, "session.logon", {}, is_signed=True)

    def _subscribe(self, api: Connection) -> None:
        if self._key.kind == ED25519:
            self.call(api, "userDataStream.subscribe", {}, is_signed=False)
        else:
            self.call(api, "userDataStream.subscribe.signature", {}, is_signed=True)

    def _listen(self, method: str) -> Answer:
        request = self._market.listen_key
        assert request is not None, f"{self._market.market.name} has no keys for events"
        headers = {"X-MBX-APIKEY": self._key.name.reveal()}
        return self.rest.send(method, request.path, None, request.weight, headers)

    def _new_listen_key(self) -> str:
        body = self._wanted("key for events", self._listen("POST"))
        if not isinstance(body, dict) or not isinstance(body.get("listenKey"), str):
            raise RestError(f"{self.rest.address}: the answer has no key for events")
        self._listen_key = body["listenKey"]
        return self._listen_key

    def _keep_key(self) -> None:
        if not self._listen_key:
            return
        answer = self._listen("PUT")
        if answer.code == _NO_SUCH_KEY:
            raise ConnectError(f"the key for events is gone: {answer.message} (code {answer.code})")
        self._wanted("key for events", answer)

    # What became of an order.

    def find(self, question: Question) -> list[np.ndarray]:
        """What has become of an order: its executions, then its state. Raises NotNow."""
        old = self._one(question, question.revision)
        if self._market.is_spot and question.was_changed and question.revision < LAST_REVISION:
            # A replacement may have been made that we have not heard of; it is read after the old one, whose end makes room for it.
            if new := self._one(question, question.revision + 1):
                return self._facts(question, new)
            is_over = old is not None and _STATES.get(old.get("status")) != LIVE
            if is_over and question.is_changing and steady_ns() - question.since_ns < NOT_FOUND_NS:
                raise NotNow(_AGAIN_S, "its replacement is not found yet")
        if old is not None:
            return self._facts(question, old)
        if steady_ns() - question.since_ns < NOT_FOUND_NS:
            raise NotNow(_AGAIN_S, "not found yet")
        return [self._fact(question, GONE)]

    def _one(self, question: Question, revision: int) -> Any:
        """An order as the venue has it, None: it has none. Raises NotNow."""
        text = client_text(self.prefix, question.id, revision)
        query = {"symbol": self._instruments.symbols[question.instrument], "origClientOrderId": text}
        answer = self.ask("GET", self._market.order, query)
        if answer.outcome is Outcome.OK:
            return answer.body
        if answer.outcome is Outcome.REFUSED and answer.code in _NOT_FOUND:
            return None
        raise NotNow(max(answer.retry_after_s, _LATER_S), answer.message)

    def _facts(self, question: Question, body: Any) -> list[np.ndarray]:
        try:
            state = self._state(question, body)
            trades = self._trades(question, body) if int(state["cum"][0]) else []
        except (KeyError, TypeError, ValueError) as wrong:
            raise NotNow(_LATER_S, f"an answer that cannot be read: {wrong}") from wrong
        for trade in trades:
            trade["revision"], trade["cum"] = state["revision"], state["cum"]
        return [*trades, state]

    def _fact(self, question: Question, kind: int) -> np.ndarray:
        made = np.zeros(1, FACT)
        made["id"], made["kind"], made["cum"], made["request"] = question.id, kind, -1, ASKED_ABOUT
        made["revision"] = question.revision
        return made

    def _state(self, question: Question, body: Any) -> np.ndarray:
        made, (price_places, qty_places) = self._fact(question, STATE), self._instruments.places(question.instrument)
        id_, revision = client_id_of(self.prefix, body["clientOrderId"])
        if id_ != question.id:
            raise ValueError("another order")
        made["revision"], made["venue_id"], made["state"] = revision, int(body["orderId"]), _STATES[body["status"]]
        made["price"], made["qty"] = scaled(body["price"], price_places), scaled(body["origQty"], qty_places)
        made["cum"] = scaled(body["executedQty"], qty_places)
        made["ts"] = int(body.get("updateTime", body.get("transactTime", 0))) * 1_000_000
        return made

    def _trades(self, question: Question, body: Any) -> list[np.ndarray]:
        query: dict[str, str | int] = {
            "symbol": self._instruments.symbols[question.instrument],
            "orderId": int(body["orderId"]),
            "limit": 1000,
        }
        answer = self.ask("GET", self._market.trades, query)
        if answer.outcome is not Outcome.OK:
            raise NotNow(max(answer.retry_after_s, _LATER_S), answer.message)
        price_places, qty_places = self._instruments.places(question.instrument)
        found = []
        for row in answer.body:
            made = self._fact(question, TRADE)
            made["trade_id"], made["ts"] = int(row["id"]), int(row["time"]) * 1_000_000
            made["last_price"], made["last_qty"] = scaled(row["price"], price_places), scaled(row["qty"], qty_places)
            made["is_maker"] = bool(row["isMaker"] if self._market.is_spot else row["maker"])
            made["fee"], made["state"] = scaled(row["commission"], 8), LIVE
            asset = row["commissionAsset"]
            if asset != self._instruments.quotes[question.instrument]:
                made["fee_asset"] = self._assets.get(asset, 0)
                if asset not in self._assets:
                    made["fee"] = 0
            found.append(made)
        return found

    # Cancelling.

    def cancel_all(self, last_epoch: int) -> int:
        """Cancel every open order under our ids up to an epoch, at once; how many there were. Raises RestError."""
        ours = [one for one in self._open(last_epoch) if self._is_ours(str(one.get("clientOrderId", "")), last_epoch)]
        with ThreadPoolExecutor(_AT_ONCE) as pool:
            answers = list(pool.map(self._cancel_one, ours))
        for answer in answers:
            if answer.outcome not in (Outcome.OK, Outcome.REFUSED):
                self._wanted("cancel", answer)
        return len(ours)

    def _open(self, last_epoch: int) -> list[Any]:
        """Open orders; of a run's own ones its symbols are asked for, where that weighs less than all there are."""
        every, one, symbols = self._market.open_orders, self._market.open_orders_of, self._instruments.symbols
        if last_epoch == ANY_EPOCH or len(symbols) * one.weight >= every.weight:
            return list(self._wanted("open orders", self.ask("GET", every)))
        return [
            order
            for symbol in symbols
            for order in self._wanted("open orders", self.ask("GET", one, {"symbol": symbol}))
        ]

    def _is_ours(self, text: str, last_epoch: int) -> bool:
        id_, _ = client_id_of(self.prefix, text)
        return id_ != 0 and epoch_of(id_) <= last_epoch

    def _cancel_one(self, order: Mapping[str, Any]) -> Answer:
        return self.ask("DELETE", self._market.order, {"symbol": order["symbol"], "orderId": int(order["orderId"])})

    def hold_off(self, symbols: Iterable[str], countdown_ms: int) -> None:
        """Have the venue cancel what is open in each symbol in so many ms, unless it is told again (0: not at all). Raises RestError."""
        assert self._market.countdown is not None, f"{self._market.market.name} has no dead man's switch"
        for symbol in symbols:
            query: dict[str, str | int] = {"symbol": symbol, "countdownTime": countdown_ms}
            self._wanted("dead man's switch", self.ask("POST", self._market.countdown, query))

    def cancel(self, question: Question) -> list[np.ndarray]:
        """Cancel an order over REST; what came of it. Raises NotNow."""
        text = client_text(self.prefix, question.id, question.revision)
        query = {"symbol": self._instruments.symbols[question.instrument], "origClientOrderId": text}
        answer = self.ask("DELETE", self._market.order, query)
        made = self._fact(question, REFUSED)
        made["request"] = CANCEL_ASKED
        if answer.outcome is Outcome.OK and answer.body.get("status") == "CANCELED":
            made["kind"], made["state"], made["reason"] = STATE, CANCELLED, reasons.USER_REQUEST
            made["cum"] = scaled(answer.body["executedQty"], self._instruments.places(question.instrument)[1])
            return [made]
        action, reason = self._errors.get(answer.code, UNLISTED)
        if answer.outcome is not Outcome.REFUSED:
            action, reason = ASK, reasons.VENUE_BUSY
        made["action"], made["reason"], made["code"] = action, reason, answer.code
        return [made]
