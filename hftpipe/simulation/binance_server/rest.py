"""Public REST of one market: which paths there are, what each weighs, and how an answer or a refusal is said."""

from collections.abc import Callable
from typing import Any

import orjson
from aiohttp import web

from hftpipe.simulation.binance_server.answers import Answers, Query, Refused
from hftpipe.simulation.binance_server.faults import RestFaults
from hftpipe.simulation.binance_server.weights import Weights

_Weight = Callable[[Query], int]
_Answer = Callable[[Query], Any]
#: What is said with a status that a test has asked for; from SERVER_ERRORS on there is no time to come back.
FAULT_TEXTS = {
    503: {"code": -1000, "msg": "Unknown error, please check your request or try again later."},
    429: {"code": -1003, "msg": "Too many requests; please use the websocket for live updates."},
    418: {"code": -1003, "msg": "Way too much request weight used; IP banned."},
}
SERVER_ERRORS = 500


def _flat(weight: int) -> _Weight:
    return lambda query: weight


def _by_limit(steps: tuple[tuple[int, int], ...], default: int, beyond: int) -> _Weight:
    """Of a ``limit`` up to the first number of a step, its second one."""

    def weight(query: Query) -> int:
        text = query.get("limit", "")
        limit = int(text) if text.isascii() and text.isdigit() else default
        return next((weight for most, weight in steps if limit <= most), beyond)

    return weight


def _one_or_all(one: int, many: int) -> _Weight:
    return lambda query: one if "symbol" in query else many


def _spot_day(query: Query) -> int:
    if "symbol" in query:
        return 2
    if "symbols" not in query:
        return 80
    count = query["symbols"].count(",") + 1
    return 2 if count <= 20 else 40 if count <= 100 else 80


def _spot(a: Answers) -> dict[str, tuple[_Weight, _Answer]]:
    depth = _by_limit(((100, 5), (500, 25), (1000, 50)), 100, 250)
    return {
        "/api/v3/ping": (_flat(1), a.ping),
        "/api/v3/time": (_flat(1), a.time),
        "/api/v3/exchangeInfo": (_flat(20), a.exchange_info),
        "/api/v3/depth": (depth, a.depth),
        "/api/v3/trades": (_flat(25), a.trades),
        "/api/v3/historicalTrades": (_flat(25), a.old_trades),
        "/api/v3/aggTrades": (_flat(4), a.aggregates),
        "/api/v3/klines": (_flat(2), a.klines),
        "/api/v3/uiKlines": (_flat(2), a.klines),
        "/api/v3/avgPrice": (_flat(2), a.average),
        "/api/v3/ticker/24hr": (_spot_day, a.day),
        "/api/v3/ticker/price": (_one_or_all(2, 4), a.price),
        "/api/v3/ticker/bookTicker": (_one_or_all(2, 4), a.best),
    }


def _usdm(a: Answers) -> dict[str, tuple[_Weight, _Answer]]:
    depth = _by_limit(((50, 2), (100, 5), (500, 10)), 500, 20)
    klines = _by_limit(((99, 1), (499, 2), (1000, 5)), 500, 10)
    return {
        "/fapi/v1/ping": (_flat(1), a.ping),
        "/fapi/v1/time": (_flat(1), a.time),
        "/fapi/v1/exchangeInfo": (_flat(1), a.exchange_info),
        "/fapi/v1/depth": (depth, a.depth),
        "/fapi/v1/trades": (_flat(5), a.trades),
        "/fapi/v1/historicalTrades": (_flat(200), a.old_trades),
        "/fapi/v1/aggTrades": (_flat(20), a.aggregates),
        "/fapi/v1/klines": (klines, a.klines),
        "/fapi/v1/premiumIndex": (_one_or_all(1, 10), a.premium),
        "/fapi/v1/ticker/24hr": (_one_or_all(1, 40), a.day),
        "/fapi/v1/ticker/price": (_one_or_all(1, 2), a.price),
        "/fapi/v2/ticker/price": (_one_or_all(1, 2), a.price),
        "/fapi/v1/ticker/bookTicker": (_one_or_all(2, 5), a.best),
    }


def _said(body: Any, status: int = 200, headers: dict[str, str] | None = None) -> web.Response:
    return web.Response(
        body=orjson.dumps(body), status=status, headers=headers, content_type="application/json", charset="utf-8"
    )


class Rest:
    """The REST calls of one market.

    Attributes:
        weights: its limit.

    Args:
        answers: of the market; faults: what tests have asked for; refresh: called before each answer.
    """

    def __init__(self, answers: Answers, weights: Weights, faults: RestFaults, refresh: Callable[[], None]) -> None:
        self._answers, self.weights, self._faults, self._refresh = answers, weights, faults, refresh

    def routes(self) -> list[web.RouteDef]:
        """What is served."""
        table = (_usdm if self._answers.rules.name == "usdm" else _spot)(self._answers)
        return [web.get(path, self._handler(*one)) for path, one in table.items()]

    def _handler(self, weight: _Weight, answer: _Answer) -> Callable[[web.Request], Any]:
        async def handle(request: web.Request) -> web.Response:
            self._refresh()
            status = self._faults.next_status()
            if status != 200:
                waits = {} if status >= SERVER_ERRORS else {"Retry-After": str(self._faults.retry_after_s)}
                return _said(FAULT_TEXTS[status], status, waits)
            verdict = self.weights.charge(request.remote or "", weight(request.query), self._answers.now_ms())
            headers = {"X-MBX-USED-WEIGHT": str(verdict.used), "X-MBX-USED-WEIGHT-1M": str(verdict.used)}
            if verdict.status != 200:
                return _said(
                    limit_text(self.weights.per_min),
                    verdict.status,
                    headers | {"Retry-After": str(verdict.retry_after_s)},
                )
            try:
                return _said(answer(request.query), headers=headers)
            except Refused as wrong:
                return _said({"code": wrong.code, "msg": str(wrong)}, 400, headers)

        return handle


def limit_text(per_min: int) -> dict[str, Any]:
    """What is said beyond the request weight of a minute."""
    text = f"Too much request weight used; current limit is {per_min} request weight per 1 MINUTE."
    return {"code": -1003, "msg": f"{text} Please use WebSocket Streams for live updates to avoid polling the API."}
