"""What a client may ask on a public connection: ``subscribe``, ``unsubscribe`` and ``ping``, and what it is answered.

A request stands or falls as a whole: one topic that there is not, one that is subscribed to already, or too many, and nothing of it is
done. The answer to a ping says ``op`` ping.
"""

import json
from typing import Any, Protocol

from hftpipe.simulation.bybit_server.faults import RequestFaults
from hftpipe.simulation.bybit_server.feed import Feed
from hftpipe.simulation.bybit_server.settings import ARGS_CHARS
from hftpipe.simulation.bybit_server.topics import meaning_of

Answer = dict[str, Any]


class Subscriber(Protocol):
    """The connection that asks.

    Attributes:
        id: of the connection; names: what it has subscribed to; feed: whose topics; faults: what befalls its requests.
    """

    id: str
    names: dict[str, None]
    feed: Feed
    faults: RequestFaults

    def subscribe(self, names: list[str]) -> None:
        """Hear these from now on."""

    def unsubscribe(self, names: list[str]) -> None:
        """No longer."""


class _Wrong(Exception):
    pass


def _topics(asked: dict[str, Any]) -> list[str]:
    given = asked.get("args")
    if not isinstance(given, list) or not given or not all(isinstance(one, str) for one in given):
        raise _Wrong("error:args is empty or not a list of topics")
    return given


def _check(names: list[str], who: Subscriber) -> None:
    """Refuse a subscription that the venue refuses."""
    rules = who.feed.rules
    if rules.args_most and len(names) > rules.args_most:
        raise _Wrong(f"args size >{rules.args_most}")
    for name in names:
        if meaning_of(name, rules, who.feed.symbols) is None:
            raise _Wrong(f"error:handler not found,topic:{name}")
        if name in who.names or names.count(name) > 1:
            who.feed.asked_twice += 1
            raise _Wrong(f"error:already subscribed,topic:{name}")
    if sum(map(len, [*who.names, *names])) > ARGS_CHARS:
        raise _Wrong(f"error:args of a connection are longer than {ARGS_CHARS} characters")
    if who.faults.next("refuse_next"):
        raise _Wrong(f"error:handler not found,topic:{names[0]}")


def _carry_out(asked: dict[str, Any], who: Subscriber) -> tuple[str, list[str]]:
    """What is said of a request that is fine, and what is to be heard from now on."""
    op = asked.get("op")
    if op == "ping":
        return "pong", []
    if op == "subscribe":
        names = _topics(asked)
        _check(names, who)
        return "subscribe" if who.feed.rules.name == "spot" else "", names
    if op == "unsubscribe":
        who.unsubscribe(_topics(asked))
        return "", []
    raise _Wrong(f"error:invalid op,op:{op}")


def answer(text: str, who: Subscriber) -> tuple[Answer, list[str]]:
    """Carry out a request: what it is answered, and the topics that it has subscribed to."""
    try:
        asked = json.loads(text)
    except ValueError:
        asked = None
    if not isinstance(asked, dict):
        return {"success": False, "ret_msg": "error:invalid request", "conn_id": who.id, "req_id": "", "op": ""}, []
    tail = {"conn_id": who.id, "req_id": str(asked.get("req_id", "")), "op": str(asked.get("op", ""))}
    try:
        said, names = _carry_out(asked, who)
    except _Wrong as wrong:
        return {"success": False, "ret_msg": str(wrong)} | tail, []
    return {"success": True, "ret_msg": said} | tail, names
