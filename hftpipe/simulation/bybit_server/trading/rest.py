"""REST requests of accounts: who asks, what befalls the request, and its answer. HTTP is 200 for errors of the business, too."""

import asyncio
import json
from collections.abc import Callable, Mapping
from typing import Any
from urllib.parse import parse_qsl

import orjson
from aiohttp import web

from hftpipe.core.machine.system_clock import steady_ns
from hftpipe.simulation.bybit_server.answers import PARAMETER, Refused
from hftpipe.simulation.bybit_server.rest import Requests
from hftpipe.simulation.bybit_server.trading.calls import Call
from hftpipe.simulation.bybit_server.trading.refused import TOO_MANY
from hftpipe.simulation.bybit_server.trading.state import TradingState
from hftpipe.simulation.market_server.trading.cutting import cut_off

_UNAVAILABLE, _FORBIDDEN = 503, 403


def _params(query: str, body: bytes, is_get: bool) -> dict[str, Any]:
    """The parameters of a request.

    Raises:
        Refused: a body that is not a JSON object.
    """
    if is_get:
        return dict(parse_qsl(query, True))
    try:
        given = json.loads(body or b"{}")
    except ValueError:
        given = None
    if not isinstance(given, dict):
        raise Refused(PARAMETER, "params error: the body is not a JSON object")
    return given


class TradingRest:
    """The requests of accounts.

    Args:
        state: of the venue's trading; calls: by (HTTP method, path); requests: how often addresses have asked.
    """

    def __init__(self, state: TradingState, calls: Mapping[tuple[str, str], Call], requests: Requests) -> None:
        self._state, self._calls, self._requests = state, calls, requests

    def routes(self) -> list[web.RouteDef]:
        """What is served."""
        return [web.route(method, path, self._handler(call)) for (method, path), call in self._calls.items()]

    def _said(
        self, code: int, text: str, result: Any, ext: dict[str, Any], headers: dict[str, str] | None = None
    ) -> web.Response:
        now = self._state.now_ms()
        body = {"retCode": code, "retMsg": text, "result": result, "retExtInfo": ext, "time": now}
        head = {"Timenow": str(now)} | (headers or {})
        return web.Response(body=orjson.dumps(body), headers=head, content_type="application/json", charset="utf-8")

    def _fault(self, category: str) -> web.Response | None:
        """What tests have asked to go wrong with this request; a request of no category is anybody's."""
        known = self._state.request_faults
        for faults in [known[category]] if category in known else known.values():
            if faults.next("status_5xx"):
                return web.Response(status=_UNAVAILABLE, text="Service Unavailable")
            if faults.next("limit_10006"):
                headers = {
                    "X-Bapi-Limit-Reset-Timestamp": str(self._state.now_ms() + 1000), "X-Bapi-Limit-Status": "0",
                }  # fmt: skip
                return self._said(TOO_MANY, "Too many visits!", {}, {}, headers)
        return None

    def _handler(self, call: Call) -> Callable[[web.Request], Any]:
        async def handle(request: web.Request) -> web.Response:
            body, is_get = await request.read(), request.method == "GET"
            query = request.raw_path.partition("?")[2]
            if self._requests.is_too_many(request.remote or "", steady_ns()) or (is_get and body):
                return web.Response(status=_FORBIDDEN, text="access too frequent")
            self._state.refresh()
            try:
                return await self._answer(call, request, query, body)
            except Refused as refused:
                return self._said(refused.code, str(refused), {}, {})

        return handle

    async def _answer(self, call: Call, request: web.Request, query: str, body: bytes) -> web.Response:
        is_get, state = request.method == "GET", self._state
        params = _params(query, body, is_get)
        if wrong := self._fault(str(params.get("category", ""))):
            return wrong
        payload = query if is_get else body.decode(errors="replace")
        key = state.keys.of_request(request.headers, payload, state.now_ms())
        made = state.carry_out(call, state.accounts[key.account], params, False)
        if made.fate.delay_ms:
            await asyncio.sleep(made.fate.delay_ms / 1000)
        answer = self._said(made.code, made.text, made.result, made.ext, made.verdict.headers())
        return cut_off(request, made.fate.cut, answer) if made.fate.cut else answer
