"""The WebSocket API: one connection, its requests and their answers, its session, and the user data it has subscribed to.

A request is ``{"id", "method", "params"}``; its answer has the same id (a number, text of up to 36 letters, digits, ``-`` and
``_``, or null), a status as HTTP has it, ``result`` or ``error``, and ``rateLimits`` unless ``returnRateLimits=false`` was in
the address or is among the parameters.

User data (spot): ``userDataStream.subscribe`` after ``session.logon`` (Ed25519 keys only), or ``.subscribe.signature``; an
account's events come once a connection, as ``{"subscriptionId", "event"}``.
"""

import asyncio
import json
import re
from collections.abc import Callable
from typing import Any

import orjson
from aiohttp import web

from hftpipe.simulation.binance_server.answers import Refused
from hftpipe.simulation.binance_server.connection import Line, Peer
from hftpipe.simulation.binance_server.rest import limit_text
from hftpipe.simulation.binance_server.trading.account import Account
from hftpipe.simulation.binance_server.trading.calls import Call
from hftpipe.simulation.binance_server.trading.faults import BODIES
from hftpipe.simulation.binance_server.trading.keys import check_time
from hftpipe.simulation.binance_server.trading.params import Params
from hftpipe.simulation.binance_server.trading.refused import TOO_MANY, UNAUTHORISED, missing, said
from hftpipe.simulation.binance_server.trading.signing import api_payload
from hftpipe.simulation.binance_server.trading.state import TradingState
from hftpipe.simulation.market_server.clock import VenueClock
from hftpipe.simulation.market_server.trading.faults import UNAVAILABLE
from hftpipe.simulation.market_server.trading.key_ring import Key

_ID = re.compile(r"[A-Za-z0-9_-]{1,36}")
_INT64 = 2**63
_NOT_JSON = Refused(-1135, "Invalid JSON Request")
_CONNECT_WEIGHT = {"spot": 2, "usdm": 5}
#: An answer: status, its ``result`` or ``error``, and whose order counts it tells.
_Made = tuple[int, Any, Account[Any] | None]


def _text(value: Any) -> str:
    """A parameter as it is signed."""
    if isinstance(value, bool):
        return "true" if value else "false"
    return json.dumps(value, separators=(",", ":")) if isinstance(value, list | dict) else str(value)


def _id_of(asked: dict[str, Any]) -> Any:
    given = asked.get("id")
    is_number = type(given) is int and -_INT64 <= given < _INT64
    if given is None or is_number or (isinstance(given, str) and _ID.fullmatch(given)):
        return given
    raise Refused(-1135, "Request id must be an integer, a string of up to 36 characters or null.")


class ApiConnection(Peer):
    """A client of the WebSocket API.

    Args:
        request: the HTTP request that becomes the connection; state: of the market's trading; clock: the venue's.
        calls: by method; public: by method: weight and answer of those that need no key; refresh: called before each answer.
    """

    limits_texts = False

    def __init__(
        self, request: web.Request, state: TradingState, clock: VenueClock, line: Line, calls: dict[str, Call],
        public: dict[str, tuple[int, Callable[[Params], Any]]], refresh: Callable[[], None],
    ) -> None:  # fmt: skip
        super().__init__(request, state.rules, clock, line, 1_000_000)
        self._state, self._calls, self._public, self._refresh = state, calls, public, refresh
        self._session: Key | None = None
        self._subscriptions: dict[int, Key] = {}
        self._next_subscription = 0
        self._tells_limits = request.query.get("returnRateLimits", "true").lower() != "false"
        self._address = request.remote or ""
        self._used = state.weights.charge(self._address, _CONNECT_WEIGHT[state.market], state.now_ms()).used
        self._own: dict[str, Callable[[Params], Any]] = {"session.logon": self._logon}
        self._own |= {"session.status": self._session_state, "session.logout": self._logout}
        if state.market == "spot":
            self._own |= {
                "userDataStream.subscribe": self._subscribe, "userDataStream.unsubscribe": self._unsubscribe,
                "userDataStream.subscribe.signature": self._subscribe_signed,
                "session.subscriptions": self._tell_subscriptions,
            }  # fmt: skip

    def take(self, text: str) -> None:
        """Answer a request."""
        try:
            asked = json.loads(text, parse_float=str)
            if not isinstance(asked, dict):
                raise ValueError
            id_, method, params = _id_of(asked), asked.get("method"), asked.get("params", {})
            params = {} if params is None else params
            if not isinstance(method, str) or not isinstance(params, dict):
                raise ValueError
        except Refused as wrong:
            return self._answer(None, (wrong.status, said(wrong), None), self._tells_limits)
        except ValueError:
            return self._answer(None, (400, said(_NOT_JSON), None), self._tells_limits)
        texts = {name: _text(value) for name, value in params.items()}
        tells = texts.get("returnRateLimits", "true" if self._tells_limits else "false") != "false"
        self._refresh()
        self._carry_out(id_, method, texts, tells)

    def _carry_out(self, id_: Any, method: str, params: dict[str, str], tells: bool) -> None:
        call = self._calls.get(method)
        fate = self._state.faults.next_fate(True) if call and call.is_entry else None
        if fate and fate.answer == UNAVAILABLE:
            return self._answer(id_, (503, BODIES[fate.answer], None), tells)
        try:
            made = self._made(method, call, params)
        except Refused as wrong:
            made = wrong.status, said(wrong), None
        if fate and fate.is_dropped:
            return None
        if fate and fate.answer:
            made = 503, BODIES[fate.answer], None
        if fate and fate.delay_ms:
            asyncio.get_running_loop().call_later(fate.delay_ms / 1000, self._answer, id_, made, tells)
            return None
        return self._answer(id_, made, tells)

    def _made(self, method: str, call: Call | None, params: dict[str, str]) -> _Made:
        if call is not None:
            return self._call(call, params)
        if method in self._public:
            weight, answer = self._public[method]
            self._charge(weight)
            return 200, answer(params), None
        if method not in self._own:
            raise Refused(-1020, "This operation is not supported.")
        self._charge(2)
        return 200, self._own[method](params), None

    def _call(self, call: Call, params: dict[str, str]) -> _Made:
        self._charge(0 if call.is_free else call.weighs(params))
        trader: Account[Any] | None = None
        try:
            trader = self._state.traders[(self._signed(params) if call.is_signed else self._keyed(params)).account]
            made = call.answer(trader, params)
        except Refused as wrong:
            if call.is_free:
                self._charge(call.weighs(params))
            if trader is not None and wrong.status == TOO_MANY:
                now = self._state.now_ms()
                wrong.data = {"serverTime": now, "retryAfter": now + trader.counts.retry_after_s(now) * 1000}
            raise
        return 200, made, trader if call.is_entry else None

    def _charge(self, weight: int) -> None:
        verdict = self._state.weights.charge(self._address, weight, self._state.now_ms())
        self._used = verdict.used
        if verdict.status != 200:
            now = self._state.now_ms()
            data = {"serverTime": now, "retryAfter": now + verdict.retry_after_s * 1000}
            body = limit_text(self._state.weights.per_min)
            raise Refused(body["code"], body["msg"], verdict.status, data)

    def _answer(self, id_: Any, made: _Made, tells: bool) -> None:
        status, body, trader = made
        answer: dict[str, Any] = {"id": id_, "status": status, "result" if status == 200 else "error": body}
        if tells:
            orders = trader.counts.rows(self._state.now_ms()) if trader else []
            answer["rateLimits"] = [*orders, self._weight_row()]
        self.say(orjson.dumps(answer).decode())

    def _weight_row(self) -> dict[str, Any]:
        return {
            "rateLimitType": "REQUEST_WEIGHT", "interval": "MINUTE", "intervalNum": 1,
            "limit": self._state.weights.per_min, "count": self._used,
        }  # fmt: skip

    # Who asks.

    def _signed(self, params: dict[str, str]) -> Key:
        if "apiKey" not in params and self._session is not None:
            check_time(params, self._state.now_us())
            return self._session
        return self._verified(params)

    def _verified(self, params: Params) -> Key:
        if not params.get("apiKey"):
            raise missing("apiKey")
        payload, signature = api_payload(params), params.get("signature")
        return self._state.keys.signed(params["apiKey"], payload, signature, params, self._state.now_us())

    def _keyed(self, params: dict[str, str]) -> Key:
        if "apiKey" not in params and self._session is not None:
            return self._session
        if not params.get("apiKey"):
            raise missing("apiKey")
        return self._state.keys.known(params["apiKey"])

    def _logon(self, params: Params) -> Any:
        key = self._verified(params)
        if not key.is_ed25519:
            raise Refused(-4056, "HMAC_SHA256 or RSA API keys are not supported; session.logon needs an Ed25519 key.")
        self._session = key
        return self._session_state(params)

    def _session_state(self, params: Params) -> Any:
        now = self._state.now_ms()
        return {
            "apiKey": self._session.name if self._session else None, "authorizedSince": now if self._session else None,
            "connectedSince": now, "returnRateLimits": self._tells_limits, "serverTime": now,
            "userDataStream": bool(self._subscriptions),
        }  # fmt: skip

    def _logout(self, params: Params) -> Any:
        session, self._session = self._session, None
        self._end_subscriptions([id_ for id_, key in self._subscriptions.items() if key is session], True)
        return self._session_state(params)

    def key_revoked(self, name: str) -> None:
        """A key opens nothing any more: a connection that uses it is told."""
        uses = [id_ for id_, key in self._subscriptions.items() if key.name == name]
        if (self._session and self._session.name == name) or uses:
            wrong = Refused(-2015, "Invalid API-key, IP, or permissions for action.", UNAUTHORISED)
            self.say(orjson.dumps({"id": None, "status": wrong.status, "error": said(wrong)}).decode())
        if self._session and self._session.name == name:
            self._session = None
        self._end_subscriptions(uses, True)

    # User data.

    def _subscribe(self, params: Params) -> Any:
        if self._session is None:
            raise Refused(-2015, "Invalid API-key, IP, or permissions for action.", UNAUTHORISED)
        return self._follow(self._session)

    def _subscribe_signed(self, params: Params) -> Any:
        return self._follow(self._verified(params))

    def _follow(self, key: Key) -> Any:
        if any(one.account == key.account for one in self._subscriptions.values()):
            raise Refused(-2035, "User Data Stream subscription already active.")
        id_, self._next_subscription = self._next_subscription, self._next_subscription + 1
        self._subscriptions[id_] = key

        def hear(event: dict[str, Any]) -> None:
            if id_ in self._subscriptions:
                self._tell_event(id_, event)

        self._state.traders[key.account].events.follow((self, id_), hear)
        return {"subscriptionId": id_}

    def _tell_event(self, id_: int, event: dict[str, Any]) -> None:
        self.say(orjson.dumps({"subscriptionId": id_, "event": event}).decode())

    def _unsubscribe(self, params: Params) -> Any:
        text = params.get("subscriptionId")
        asked = list(self._subscriptions) if text is None else [int(text)] if text.isascii() and text.isdigit() else []
        if not asked or any(id_ not in self._subscriptions for id_ in asked):
            raise Refused(-2036, "User Data Stream subscription not active.")
        self._end_subscriptions(asked, True)
        return {}

    def _tell_subscriptions(self, params: Params) -> Any:
        return [{"subscriptionId": id_} for id_ in self._subscriptions]

    def _end_subscriptions(self, asked: list[int], tells: bool) -> None:
        for id_ in asked:
            key = self._subscriptions.pop(id_)
            self._state.traders[key.account].events.leave((self, id_))
            if tells:
                self._tell_event(id_, {"e": "eventStreamTerminated", "E": self._state.now_ms()})

    def leave(self) -> None:
        """The connection is gone."""
        self._end_subscriptions(list(self._subscriptions), False)

    def warning(self) -> str:
        """What it is told when the venue is about to close the connection."""
        return orjson.dumps({"event": {"e": "serverShutdown", "E": self._state.now_ms()}}).decode()
