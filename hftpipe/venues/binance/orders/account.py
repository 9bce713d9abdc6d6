"""An account at Binance over Python: REST that is signed, log-ins, subscriptions, and what became of an order."""

from collections.abc import Iterable, Mapping, Sequence
from contextlib import ExitStack
from typing import Any
from urllib.parse import urlencode

import numpy as np
import orjson

from hftpipe.core.machine.system_clock import steady_ns
from hftpipe.core.schema import reasons
from hftpipe.transport.http.answer import Answer, Outcome
from hftpipe.transport.http.rest import RestClient
from hftpipe.transport.signing.keys import ED25519, Key
from hftpipe.transport.websocket.connect import ConnectError, Connection
from hftpipe.venues.binance.markets import Request
from hftpipe.venues.binance.orders.errors import WRONG_TIME
from hftpipe.venues.binance.orders.market import AccountMarket
from hftpipe.venues.binance.orders.words import STATES
from hftpipe.venues.orders.client_text import client_id_of, client_text
from hftpipe.venues.orders.facts import CANCEL_ASKED, CANCELLED, LIVE, STATE, TRADE, UNSAID
from hftpipe.venues.orders.keeper import ANY_EPOCH, Question, Upkeep
from hftpipe.venues.orders.numbers import Instruments, scaled
from hftpipe.venues.orders.pages import all_rows
from hftpipe.venues.orders.rest_account import RestAccount
from hftpipe.venues.orders.rest_error import RestError
from hftpipe.venues.orders.rest_facts import RECV_WINDOW_MS, fact_about, not_found, wait_for
from hftpipe.venues.orders.state import LAST_REVISION

_ANSWER_S = 10.0
_KEEP_KEY_S = 1200.0
#: Id of the one request that is under way: letters and digits alone (1.2).
_CALL = "session"
NOT_FOUND = (-2013, -2026)
#: A key for events that is none any more.
_NO_SUCH_KEY = -1125
#: Executions on a page.
PAGE = 1000


class BinanceAccount(RestAccount):
    """The plan of an account (:class:`hftpipe.venues.orders.wiring.Plan`).

    Args:
        market: where it is; key: its key; rest: a client of its REST interface.
        api_url, events_url: of the interface for requests (empty: a session needs none of it), and of the connection for events
            (USD-M).
        instruments: what is traded; prefix: of our client ids; assets: numbers of what fees are paid in.
        ca_file: certificates that are trusted instead of the system's, empty: the system's.
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
        super().__init__(key, rest, instruments, prefix, assets, market.errors, WRONG_TIME)
        self._market, self._listen_key = market, ""
        self._api_url, self._events_url, self._ca_file = api_url, events_url, ca_file

    def __repr__(self) -> str:
        return f"BinanceAccount({self._market.market.name})"

    @property
    def has_api(self) -> bool:
        """Whether a session has the interface for requests."""
        return bool(self._api_url)

    @property
    def upkeep(self) -> Sequence[Upkeep]:
        """Keys for events expire within the hour."""
        return (Upkeep("key for events", _KEEP_KEY_S, self._keep_key),) if self._market.listen_key else ()

    # Requests over REST.

    def ask(self, method: str, request: Request, query: Mapping[str, str | int] | None = None) -> Answer:
        """Make one signed request. The signature is of the query exactly as it is sent."""
        headers = {"X-MBX-APIKEY": self._key.name.reveal()}

        def stamped() -> dict[str, str | int]:
            params = {**(query or {}), "recvWindow": RECV_WINDOW_MS, "timestamp": self._clock.now_ms()}
            params["signature"] = self._key.sign(urlencode(params).encode())
            return params

        # Stamped and signed once there is weight for it: what has waited would be too old.
        return self._heeded(self.rest.send(method, request.path, stamped, request.weight, headers))

    def public(self, request: Request, **query: str) -> Any:
        """What the market says to everybody. Raises RestError."""
        answer = self.rest.get(request.path, {**request.query, **query}, request.weight)
        return self.wanted(request.path, answer)

    def _time_ns(self) -> int:
        body = self.public(self._market.time)
        try:
            return int(body["serverTime"]) * 1_000_000
        except (KeyError, TypeError, ValueError) as wrong:
            raise RestError(f"{self.rest.address}: the answer has no time") from wrong

    # The session.

    def connect(self) -> list[Connection]:
        """All connections of a session. Raises ConnectError, RestError."""
        opened = []
        with ExitStack() as undo:
            if self._api_url:
                opened.append(api := Connection(self._api_url, self._ca_file))
                undo.callback(api.close)
                if self._key.kind == ED25519:
                    self._log_on(api)
                if self._market.is_spot:
                    self._subscribe(api)
            if not self._market.is_spot:
                opened.append(Connection(f"{self._events_url}/ws/{self._new_listen_key()}", self._ca_file))
            undo.pop_all()
        return opened

    def call(
        self, api: Connection, method: str, params: dict[str, str | int], is_signed: bool, is_plain: bool = False
    ) -> Any:
        """One request over the interface, before it is handed over; a plain one has no time. Raises ConnectError."""
        if not is_plain:
            params = {**params, "timestamp": self._clock.now_ms(), "recvWindow": RECV_WINDOW_MS}
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
        body = self.wanted("key for events", self._listen("POST"))
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
        self.wanted("key for events", answer)

    # What became of an order.

    def find(self, question: Question) -> list[np.ndarray]:
        """What has become of an order: its executions, then its state. Raises NotNow."""
        old = self._one(question, question.revision)
        if self._market.is_spot and question.was_changed and question.revision < LAST_REVISION:
            # A replacement may have been made that we have not heard of; it is read after the old one, whose end makes room for it.
            if new := self._one(question, question.revision + 1):
                return self._told(question, new)
            is_over = old is not None and STATES.get(old.get("status"), UNSAID) != LIVE
            if is_over and question.is_changing:
                wait_for(question, "its replacement is not found yet")
        return self._told(question, old) if old is not None else not_found(question)

    def _named(self, question: Question, revision: int) -> dict[str, str | int]:
        text = client_text(self.prefix, question.id, revision)
        return {"symbol": self._instruments.symbols[question.instrument], "origClientOrderId": text}

    def _one(self, question: Question, revision: int) -> Any:
        """An order as the venue has it, None: it has none. Raises NotNow."""
        answer = self.ask("GET", self._market.order, self._named(question, revision))
        is_none = answer.outcome is Outcome.REFUSED and answer.code in NOT_FOUND
        return None if is_none else self._listed(answer)

    def _state(self, question: Question, order: Any) -> np.ndarray:
        made, (price_places, qty_places) = fact_about(question, STATE), self._instruments.places(question.instrument)
        id_, revision = client_id_of(self.prefix, order["clientOrderId"])
        if id_ != question.id:
            raise ValueError("another order")
        if not (state := STATES[order["status"]]):
            raise ValueError(f"an order of which nothing is said: {order['status']}")
        made["revision"], made["venue_id"], made["state"] = revision, int(order["orderId"]), state
        made["price"], made["qty"] = scaled(order["price"], price_places), scaled(order["origQty"], qty_places)
        made["cum"] = scaled(order["executedQty"], qty_places)
        made["ts"] = int(order.get("updateTime", order.get("transactTime", 0))) * 1_000_000
        return made

    def _executions(self, question: Question, order: Any) -> list[np.ndarray]:
        query: dict[str, str | int] = {
            "symbol": self._instruments.symbols[question.instrument], "orderId": int(order["orderId"]), "limit": PAGE,
        }  # fmt: skip

        def page(since: int | None) -> tuple[list[Any], int | None]:
            rows = self._listed(self.ask("GET", self._market.trades, {**query, "fromId": since or 0}))
            return rows, int(rows[-1]["id"]) + 1 if len(rows) >= PAGE else None

        rows = self._listed(self.ask("GET", self._market.trades, query))
        if len(rows) >= PAGE:
            # There are more, and which of them come without a beginning is not said.
            rows = all_rows(page, f"executions of order {order['orderId']}")
        return [self._execution(question, row) for row in rows]

    def _execution(self, question: Question, row: Any) -> np.ndarray:
        self._check_symbol(question, row)
        made, (price_places, qty_places) = fact_about(question, TRADE), self._instruments.places(question.instrument)
        made["trade_id"], made["ts"] = int(row["id"]), int(row["time"]) * 1_000_000
        made["last_price"], made["last_qty"] = scaled(row["price"], price_places), scaled(row["qty"], qty_places)
        made["is_maker"] = bool(row["isMaker"] if self._market.is_spot else row["maker"])
        made["state"] = LIVE
        self._put_fee(made, question, row["commission"], row["commissionAsset"])
        return made

    # Cancelling.

    def cancel(self, question: Question) -> list[np.ndarray]:
        """Cancel an order over REST; what came of it. Raises NotNow."""
        answer = self.ask("DELETE", self._market.order, self._named(question, question.revision))
        if answer.outcome is not Outcome.OK or answer.body.get("status") != "CANCELED":
            return [self._cancel_refused(question, answer)]
        made = fact_about(question, STATE)
        made["request"], made["state"], made["reason"] = CANCEL_ASKED, CANCELLED, reasons.USER_REQUEST
        made["cum"] = scaled(answer.body["executedQty"], self._instruments.places(question.instrument)[1])
        return [made]

    def _open_orders(self, last_epoch: int) -> list[Any]:
        """Open orders; of a run's own ones its symbols are asked for, where that weighs less than all there are."""
        every, one, symbols = self._market.open_orders, self._market.open_orders_of, self._instruments.symbols
        if last_epoch == ANY_EPOCH or len(symbols) * one.weight >= every.weight:
            return list(self.wanted("open orders", self.ask("GET", every)))
        return [
            order
            for symbol in symbols
            for order in self.wanted("open orders", self.ask("GET", one, {"symbol": symbol}))
        ]

    def _text_of(self, order: Mapping[str, Any]) -> str:
        return str(order.get("clientOrderId", ""))

    def _cancel_one(self, order: Mapping[str, Any]) -> Answer:
        return self.ask("DELETE", self._market.order, {"symbol": order["symbol"], "orderId": int(order["orderId"])})

    def hold_off(self, symbols: Iterable[str], countdown_ms: int) -> None:
        """Have the venue cancel what is open in each symbol in so many ms, unless it is told again (0: not at all). Raises RestError, when
        all others have been told."""
        assert self._market.countdown is not None, f"{self._market.market.name} has no dead man's switch"
        wrong: RestError | None = None
        for symbol in symbols:
            query: dict[str, str | int] = {"symbol": symbol, "countdownTime": countdown_ms}
            try:
                self.wanted("dead man's switch", self.ask("POST", self._market.countdown, query))
            except RestError as one:
                wrong = wrong or one
        if wrong:
            raise wrong
