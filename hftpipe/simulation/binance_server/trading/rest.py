"""REST requests of accounts: who asks, what befalls the request, and its answer."""

import asyncio
from collections.abc import Callable
from typing import Any
from urllib.parse import parse_qsl

import orjson
from aiohttp import web

from hftpipe.simulation.binance_server.answers import Refused
from hftpipe.simulation.binance_server.rest import FAULT_TEXTS, SERVER_ERRORS, limit_text
from hftpipe.simulation.binance_server.trading.calls import Call
from hftpipe.simulation.binance_server.trading.faults import BODIES
from hftpipe.simulation.binance_server.trading.refused import GONE, TOO_MANY, said
from hftpipe.simulation.binance_server.trading.signing import rest_payload
from hftpipe.simulation.binance_server.trading.state import TradingState
from hftpipe.simulation.market_server.trading.cutting import cut_off
from hftpipe.simulation.market_server.trading.faults import REQUEST_CUT, UNAVAILABLE

_LISTEN_KEYS_GONE = "Listen keys are no longer served; use userDataStream.subscribe of the WebSocket API."


def _answer(body: Any, status: int, headers: dict[str, str]) -> web.Response:
    return web.Response(
        body=orjson.dumps(body), status=status, headers=headers, content_type="application/json", charset="utf-8"
    )


class TradingRest:
    """The requests of one market.

    Args:
        state: of its trading; calls: by (HTTP method, path); refresh: called before each answer.
    """

    def __init__(self, state: TradingState, calls: dict[tuple[str, str], Call], refresh: Callable[[], None]) -> None:
        self._state, self._calls, self._refresh = state, calls, refresh

    def routes(self) -> list[web.RouteDef]:
        """What is served."""
        made = [web.route(method, path, self._handler(call)) for (method, path), call in self._calls.items()]
        if self._state.market == "spot":
            made += [web.route(method, "/api/v3/userDataStream", self._gone) for method in ("POST", "PUT", "DELETE")]
        return made

    async def _gone(self, request: web.Request) -> web.Response:
        return _answer({"code": -1101, "msg": _LISTEN_KEYS_GONE}, GONE, {})

    def _handler(self, call: Call) -> Callable[[web.Request], Any]:
        async def handle(request: web.Request) -> web.Response:
            body = (await request.read()).decode(errors="replace")
            self._refresh()
            state = self._state
            status = state.rest_faults.next_status()
            if status != 200:
                waits = {} if status >= SERVER_ERRORS else {"Retry-After": str(state.rest_faults.retry_after_s)}
                return _answer(FAULT_TEXTS[status], status, waits)
            return await self._weighed(call, request, body)

        return handle

    async def _weighed(self, call: Call, request: web.Request, body: str) -> web.Response:
        state, address = self._state, request.remote or ""
        query = request.raw_path.partition("?")[2].encode(errors="surrogateescape").decode(errors="replace")
        params = dict(parse_qsl(body, True)) | dict(parse_qsl(query, True))
        weight = call.weighs(params)
        verdict = state.weights.charge(address, 0 if call.is_free else weight, state.now_ms())
        headers = {"X-MBX-USED-WEIGHT": str(verdict.used), "X-MBX-USED-WEIGHT-1M": str(verdict.used)}
        if verdict.status != 200:
            text = limit_text(state.weights.per_min)
            return _answer(text, verdict.status, headers | {"Retry-After": str(verdict.retry_after_s)})
        try:
            return await self._carried_out(call, request, query, body, params, headers)
        except Refused as wrong:
            if call.is_free:
                state.weights.charge(address, weight, state.now_ms())
            return _answer(said(wrong), wrong.status, headers)

    async def _carried_out(
        self, call: Call, request: web.Request, query: str, body: str, params: dict[str, str], headers: dict[str, str]
    ) -> web.Response:
        state, name = self._state, request.headers.get("X-MBX-APIKEY", "")
        if call.is_signed:
            payload, signature = rest_payload(query, body)
            key = state.keys.signed(name, payload, signature, params, state.now_us())
        else:
            key = state.keys.known(name)
        trader = state.traders[key.account]
        fate = state.faults.next_fate(False) if call.is_entry else None
        if fate and fate.answer == UNAVAILABLE:
            return _answer(BODIES[fate.answer], 503, headers)
        if fate and fate.cut == REQUEST_CUT:
            return cut_off(request, fate.cut, web.Response())
        try:
            made, status = call.answer(trader, params), 200
            if call.is_entry:
                headers |= trader.counts.headers(state.now_ms())
        except Refused as wrong:
            if fate is None or not (fate.answer or fate.delay_ms or fate.cut):
                if wrong.status == TOO_MANY:
                    headers["Retry-After"] = str(trader.counts.retry_after_s(state.now_ms()))
                raise
            made, status = said(wrong), wrong.status
        if fate and fate.delay_ms:
            await asyncio.sleep(fate.delay_ms / 1000)
        if fate and fate.answer:
            return _answer(BODIES[fate.answer], 503, headers)
        answer = _answer(made, status, headers)
        return cut_off(request, fate.cut, answer) if fate and fate.cut else answer
