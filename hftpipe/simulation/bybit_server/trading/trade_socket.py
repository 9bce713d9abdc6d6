"""The order-entry WebSocket: requests that REST has, too, authorised once. An answer has the request's ``reqId``.

===================================================================== ======
what is wrong                                                         code
===================================================================== ======
not JSON, no ``header``, ``args`` that are not one object             10001
before ``auth``, or an ``auth`` that does not fit                     10004
a second ``auth``                                                     20001
an ``op`` that there is not                                           10404
``reqId`` longer than 36 characters, or of a request before           20006
===================================================================== ======
"""

import asyncio
import json
import uuid
from collections import deque
from collections.abc import Mapping
from typing import Any

import orjson
from aiohttp import web

from hftpipe.simulation.bybit_server.answers import PARAMETER, Refused
from hftpipe.simulation.bybit_server.peer import Peer
from hftpipe.simulation.bybit_server.trading.calls import Call
from hftpipe.simulation.bybit_server.trading.keys import check_time
from hftpipe.simulation.bybit_server.trading.refused import KEY, ROUTE, SIGN
from hftpipe.simulation.bybit_server.trading.state import TradingState
from hftpipe.simulation.market_server.outbox import Stall
from hftpipe.simulation.market_server.trading.key_ring import Key

_REPEATED_AUTH, _REPEATED_ID = 20001, 20006
_ID_MOST = 36
_IDS_KEPT = 10_000


class TradeConnection(Peer):
    """A client that enters orders.

    Attributes:
        key: that it is authorised with.

    Args:
        request: the HTTP request that becomes the connection; state: of the venue's trading; calls: by ``op``.
    """

    kind = "trade"

    def __init__(self, request: web.Request, state: TradingState, calls: Mapping[str, Call], stall: Stall) -> None:
        super().__init__(request, stall, state.refresh)
        self._state, self._calls = state, calls
        self.key: Key | None = None
        self._ids, self._id_order = set[str](), deque[str]()

    def take(self, text: str) -> None:
        """Answer a request."""
        self.refresh()
        try:
            asked = json.loads(text)
        except ValueError:
            asked = None
        if not isinstance(asked, dict):
            return self._say({"retCode": PARAMETER, "retMsg": "Param error", "op": ""}, {})
        op = str(asked.get("op", ""))
        if op == "ping":
            return self._say({"retCode": 0, "retMsg": "OK", "op": "pong", "data": [str(self._state.now_ms())]}, asked)
        try:
            if op == "auth":
                self._authorise(asked)
                return self._say({"retCode": 0, "retMsg": "OK", "op": op}, asked)
            return self._carry_out(op, asked)
        except Refused as refused:
            said = {"retCode": refused.code, "retMsg": str(refused), "op": op}
            return self._say(said if op == "auth" else said | {"data": {}, "retExtInfo": {}, "header": {}}, asked)

    def _say(self, said: dict[str, Any], asked: dict[str, Any]) -> None:
        head = {"reqId": asked["reqId"]} if asked.get("reqId") else {}
        self.say(orjson.dumps(head | said | {"connId": self.id}).decode())

    def _authorise(self, asked: dict[str, Any]) -> None:
        if self.key is not None:
            raise Refused(_REPEATED_AUTH, "Repeat auth")
        self.key = self._state.keys.of_connection(asked.get("args"), self._state.now_ms())

    def _carry_out(self, op: str, asked: dict[str, Any]) -> None:
        call, state = self._calls.get(op), self._state
        if call is None:
            raise Refused(ROUTE, "op type is not found")
        if self.key is None:
            raise Refused(SIGN, "Not authorised")
        self._check_id(asked.get("reqId"))
        header, args = asked.get("header"), asked.get("args")
        if (
            not isinstance(header, dict)
            or not isinstance(args, list)
            or len(args) != 1
            or not isinstance(args[0], dict)
        ):
            raise Refused(PARAMETER, "Param error")
        check_time(str(header.get("X-BAPI-TIMESTAMP", "")), str(header.get("X-BAPI-RECV-WINDOW", "")), state.now_ms())
        made = state.carry_out(call, state.accounts[self.key.account], args[0], True)
        if made.fate.is_dropped:
            return
        said = {
            "retCode": made.code, "retMsg": made.text, "op": op, "data": made.result, "retExtInfo": made.ext,
            "header": made.verdict.headers() | {"Traceid": uuid.uuid4().hex, "Timenow": str(state.now_ms())},
        }  # fmt: skip
        if made.fate.delay_ms:
            asyncio.get_running_loop().call_later(made.fate.delay_ms / 1000, self._say, said, asked)
        else:
            self._say(said, asked)

    def _check_id(self, given: Any) -> None:
        if given is None or given == "":
            return
        if not isinstance(given, str) or len(given) > _ID_MOST or given in self._ids:
            raise Refused(_REPEATED_ID, "Duplicate reqId" if given in self._ids else "reqId invalid")
        self._ids.add(given)
        self._id_order.append(given)
        if len(self._id_order) > _IDS_KEPT:
            self._ids.discard(self._id_order.popleft())

    def key_revoked(self, name: str) -> bool:
        """A key opens nothing any more: whether this connection used it; it is told."""
        if self.key is None or self.key.name != name:
            return False
        self._say({"retCode": KEY, "retMsg": "API key is invalid.", "op": "auth"}, {})
        self.key = None
        return True

    def leave(self) -> None:
        """The connection is over: what it has asked for stays."""
        self._ids.clear()
