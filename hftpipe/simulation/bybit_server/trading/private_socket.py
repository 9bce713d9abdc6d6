"""The private WebSocket: what befalls an account's orders and what it has. Nothing is told of what was before the subscription."""

import json
from typing import Any

import orjson
from aiohttp import web

from hftpipe.simulation.bybit_server.answers import Refused
from hftpipe.simulation.bybit_server.peer import Peer
from hftpipe.simulation.bybit_server.trading.state import TradingState
from hftpipe.simulation.bybit_server.trading.telling import EXECUTION, ORDER, POSITION, WALLET
from hftpipe.simulation.market_server.outbox import Stall
from hftpipe.simulation.market_server.trading.key_ring import Key

_CATEGORIES = ("spot", "linear", "inverse", "option")
_FAST = "execution.fast"
#: Topics by what they are told of; the dead man's switch tells nothing, but watches its connections.
_KINDS = {
    **{name: ORDER for name in ("order", *(f"order.{one}" for one in _CATEGORIES))},
    **{name: EXECUTION for name in ("execution", *(f"execution.{one}" for one in _CATEGORIES))},
    **{name: EXECUTION for name in (_FAST, *(f"{_FAST}.{one}" for one in _CATEGORIES))},
    **{name: POSITION for name in ("position", *(f"position.{one}" for one in _CATEGORIES if one != "spot"))},
    "wallet": WALLET, "greeks": "greeks", "dcp.spot": "dcp", "dcp.future": "dcp", "dcp.option": "dcp",
}  # fmt: skip
_FAST_FIELDS = (
    "category", "symbol", "execId", "execPrice", "execQty", "orderId", "isMaker", "orderLinkId", "side", "execTime", "seq",
)  # fmt: skip


def _category_of(topic: str) -> str:
    """The category that a topic is limited to; empty: all."""
    last = topic.rpartition(".")[2]
    return last if last in _CATEGORIES else ""


class _Wrong(Exception):
    pass


class PrivateConnection(Peer):
    """A client of the private topics.

    Attributes:
        key: that it is authorised with; names: topics that it has subscribed to.

    Args:
        request: the HTTP request that becomes the connection; state: of the venue's trading.
    """

    kind = "private"

    def __init__(self, request: web.Request, state: TradingState, stall: Stall) -> None:
        super().__init__(request, stall, state.refresh)
        self._state, self.names = state, dict[str, None]()
        self.key: Key | None = None

    def take(self, text: str) -> None:
        """Answer a request."""
        self.refresh()
        try:
            asked = json.loads(text)
        except ValueError:
            asked = None
        if not isinstance(asked, dict):
            return self._answer({"success": False, "ret_msg": "error:invalid request", "op": ""}, {})
        op = str(asked.get("op", ""))
        if op == "ping":
            return self._answer({"op": "pong", "args": [str(self._state.now_ms())]}, asked)
        try:
            self._carry_out(op, asked)
        except (_Wrong, Refused) as wrong:
            return self._answer({"success": False, "ret_msg": str(wrong), "op": op}, asked)
        return self._answer({"success": True, "ret_msg": "", "op": op}, asked)

    def _answer(self, said: dict[str, Any], asked: dict[str, Any]) -> None:
        head = {"req_id": asked["req_id"]} if "req_id" in asked else {}
        self.say(orjson.dumps(head | said | {"conn_id": self.id}).decode())

    def _carry_out(self, op: str, asked: dict[str, Any]) -> None:
        if op == "auth":
            if self.key is not None:
                raise _Wrong("Repeated auth")
            self.key = self._state.keys.of_connection(asked.get("args"), self._state.now_ms())
            self._state.accounts[self.key.account].events.follow(self, self._hear)
        elif op not in ("subscribe", "unsubscribe"):
            raise _Wrong(f"error:invalid op,op:{op}")
        elif self.key is None:
            raise _Wrong("Request not authorized")
        elif op == "subscribe":
            self._subscribe(self._topics(asked))
        else:
            for name in self._topics(asked):
                self.names.pop(name, None)

    @staticmethod
    def _topics(asked: dict[str, Any]) -> list[str]:
        given = asked.get("args")
        if not isinstance(given, list) or not given or not all(isinstance(one, str) for one in given):
            raise _Wrong("error:args is empty or not a list of topics")
        return given

    def _subscribe(self, names: list[str]) -> None:
        """A request stands or falls as a whole; one topic for all categories and one for a single one do not go together."""
        for name in names:
            if name not in _KINDS:
                raise _Wrong(f"error:handler not found,topic:{name}")
            if name in self.names or names.count(name) > 1:
                raise _Wrong(f"error:already subscribed,topic:{name}")
        for kind in (ORDER, EXECUTION, POSITION):
            if len({bool(_category_of(name)) for name in names if _KINDS[name] == kind}) > 1:
                raise _Wrong(f"error:topics for all categories and for one in the same request,topic:{kind}")
        self.names |= dict.fromkeys(names)

    def _hear(self, event: dict[str, Any]) -> None:
        for name in tuple(self.names):
            if _KINDS[name] == event["topic"] and _category_of(name) in ("", event["category"]):
                rows = event["data"]
                if name.startswith(_FAST):
                    rows = [{field: one[field] for field in _FAST_FIELDS} | _client_id(one) for one in rows]
                told = {"id": event["id"], "topic": name, "creationTime": event["creationTime"], "data": rows}
                self.say(orjson.dumps(told).decode())

    def key_revoked(self, name: str) -> bool:
        """A key opens nothing any more: whether this connection used it; it is told, and hears nothing after that."""
        if self.key is None or self.key.name != name:
            return False
        self.leave()
        self.key = None
        self._answer({"success": False, "ret_msg": "API key is invalid.", "op": "auth"}, {})
        return True

    def leave(self) -> None:
        """The connection is over."""
        if self.key is not None:
            self._state.accounts[self.key.account].events.leave(self)


def _client_id(row: dict[str, Any]) -> dict[str, str]:
    """The fast topic does not know the client's ids of orders that were taken."""
    return {"orderLinkId": "" if row["isMaker"] else row["orderLinkId"]}
