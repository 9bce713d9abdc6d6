"""Public REST: paths, the envelope, the limit of an address, and what tests ask to go wrong. HTTP is 200 for errors of the business, too."""

from collections import deque
from collections.abc import Callable, Mapping
from typing import Any

import orjson
from aiohttp import web

from hftpipe.core.machine.system_clock import steady_ns
from hftpipe.simulation.bybit_server.answers import Answers, Query, Refused
from hftpipe.simulation.bybit_server.faults import RequestFaults
from hftpipe.simulation.bybit_server.settings import REQUESTS, REQUESTS_S

_SECOND_NS = 1_000_000_000
_TOO_MANY = 10006
_UNAVAILABLE, _FORBIDDEN = 503, 403


class Requests:
    """When an address has asked, within the last seconds."""

    def __init__(self) -> None:
        self._times: dict[str, deque[int]] = {}

    def is_too_many(self, address: str, now_ns: int) -> bool:
        """Reckon a request in; whether it is one too many."""
        times = self._times.setdefault(address, deque())
        times.append(now_ns)
        while times[0] <= now_ns - REQUESTS_S * _SECOND_NS:
            times.popleft()
        return len(times) > REQUESTS


class Rest:
    """The REST calls of the venue.

    Args:
        answers: of the venue; faults: of each category; refresh: called before each answer; now_ms: the venue's time.
        requests: how often addresses have asked.
    """

    def __init__(
        self,
        answers: Answers,
        faults: Mapping[str, RequestFaults],
        refresh: Callable[[], None],
        now_ms: Callable[[], int],
        requests: Requests,
    ) -> None:
        self._answers, self._faults, self._refresh, self._now_ms = answers, faults, refresh, now_ms
        self._requests = requests

    def routes(self) -> list[web.RouteDef]:
        """What is served."""
        a = self._answers
        table = {
            "time": a.time, "orderbook": a.book, "recent-trade": a.trades, "kline": a.klines, "tickers": a.tickers,
            "instruments-info": a.instruments,
        }  # fmt: skip
        return [web.get(f"/v5/market/{name}", self._handler(one)) for name, one in table.items()]

    def _said(self, code: int, text: str, result: Any, headers: dict[str, str] | None = None) -> web.Response:
        body = {"retCode": code, "retMsg": text, "result": result, "retExtInfo": {}, "time": self._now_ms()}
        return web.Response(body=orjson.dumps(body), headers=headers, content_type="application/json", charset="utf-8")

    def _fault(self, query: Query) -> web.Response | None:
        """What tests have asked to go wrong with this request; a request of no category is anybody's."""
        name = self._answers.category(query)
        for faults in [self._faults[name]] if name else self._faults.values():
            if faults.next("status_5xx"):
                return web.Response(status=_UNAVAILABLE, text="Service Unavailable")
            if faults.next("limit_10006"):
                headers = {"X-Bapi-Limit-Reset-Timestamp": str(self._now_ms() + 1000), "X-Bapi-Limit-Status": "0"}
                return self._said(_TOO_MANY, "Too many visits!", {}, headers)
        return None

    def _handler(self, answer: Callable[[Query], Any]) -> Callable[[web.Request], Any]:
        async def handle(request: web.Request) -> web.Response:
            self._refresh()
            if wrong := self._fault(request.query):
                return wrong
            if self._requests.is_too_many(request.remote or "", steady_ns()):
                return web.Response(status=_FORBIDDEN, text="access too frequent")
            try:
                return self._said(0, "OK", answer(request.query))
            except Refused as refusal:
                return self._said(refusal.code, str(refusal), {})

        return handle
