"""Bybit's public topics: names, subscriptions, signs of life (v5 documentation of 2026).

A book begins with the first message of its topic, which may come before the subscription is confirmed: nothing that comes meanwhile is
left out. The venue closes a connection on which nobody pings; a ping is a message of JSON.
"""

from collections.abc import Sequence
from itertools import count
from typing import Any

import orjson

from hftpipe.core.machine.system_clock import steady_ns
from hftpipe.core.schema.instruments import SHALLOW_LEVELS, TOP_LEVELS
from hftpipe.transport.websocket.connect import ConnectError, Connection
from hftpipe.venues.bybit.markets import Market
from hftpipe.venues.live.plan import Heard

#: Characters of all topics of a connection.
MOST_CHARS = 21_000
CONFIRM_S = 10.0
#: How often the venue wants to be told that somebody is there.
ALIVE_S = 20.0
#: Levels a side of the topic that a shallow book follows, told every 20 ms, and of that of a full one, every 100 ms.
SHALLOW, FULL = 50, 200
PING = b'{"op":"ping"}'


def depth_of(levels: int) -> int:
    """Levels a side of the topic that a book with so many follows."""
    return SHALLOW if levels <= SHALLOW_LEVELS else FULL


def topics(symbol: str, levels: int) -> list[str]:
    """The topics of a symbol whose book has so many levels a side: best prices, trades, and levels unless only best prices are followed."""
    wanted = [f"orderbook.1.{symbol}", f"publicTrade.{symbol}"]
    if levels == TOP_LEVELS:
        return wanted
    return [f"orderbook.{depth_of(levels)}.{symbol}", *wanted]


def chars(symbol: str, levels: int) -> int:
    """What the topics of a symbol count on a connection."""
    return sum(map(len, topics(symbol, levels)))


def _request(op: str, number: str, names: Sequence[str]) -> bytes:
    return orjson.dumps({"op": op, "req_id": number, "args": list(names)})


def complaint(text: bytes) -> str:
    """Why the venue refuses a request, of a text that is no market data; empty: it refuses nothing."""
    try:
        answer = orjson.loads(text)
    except orjson.JSONDecodeError:
        return ""
    if not isinstance(answer, dict) or answer.get("success") is not False:
        return ""
    return f"request {answer.get('req_id', '')!s:.40} refused: {answer.get('ret_msg', '')!s:.200}"


def _object(connection: Connection, text: bytes) -> dict[str, Any]:
    try:
        answer = orjson.loads(text)
    except orjson.JSONDecodeError as wrong:
        raise ConnectError(f"{connection.server}: an answer that is no JSON object") from wrong
    if not isinstance(answer, dict):
        raise ConnectError(f"{connection.server}: an answer that is no JSON object")
    return answer


def _confirm(connection: Connection, number: str, heard: list[Heard]) -> None:
    """Wait for the answer to request ``number``; what else comes is kept."""
    deadline = steady_ns() + int(CONFIRM_S * 1e9)
    while (left_ns := deadline - steady_ns()) > 0:
        text = connection.receive(left_ns / 1e9)
        answer = _object(connection, text)
        if "topic" in answer:
            heard.append(Heard(steady_ns(), text))
        elif answer.get("req_id") == number and answer.get("op") == "subscribe":
            if answer.get("success") is True:
                return
            raise ConnectError(f"{connection.server}: subscription refused: {answer.get('ret_msg', '')!s:.200}")
    raise ConnectError(f"{connection.server}: subscription not confirmed within {CONFIRM_S:.0f} s")


class Topics:
    """Subscriptions of one category.

    Args:
        market: the category.
    """

    def __init__(self, market: Market) -> None:
        self._market, self._numbers = market, count(1)

    def subscribe(self, connection: Connection, symbols: Sequence[str], levels: Sequence[int]) -> Sequence[Heard]:
        """Ask for the topics of some symbols, request by request, each confirmed before the next.

        Args:
            levels: a side of each one's book.

        Raises:
            ConnectError: too many for one connection; refused; not confirmed.
        """
        return self.ask_for(
            connection, [name for symbol, side in zip(symbols, levels, strict=True) for name in topics(symbol, side)]
        )

    def ask_for(self, connection: Connection, names: Sequence[str]) -> Sequence[Heard]:
        """Ask for topics, request by request, each confirmed before the next; what has come meanwhile.

        Raises:
            ConnectError: too many for one connection; refused; not confirmed.
        """
        if (length := sum(map(len, names))) > MOST_CHARS:
            raise ConnectError(
                f"{connection.server}: topics of {length} characters on one connection; allowed: at most {MOST_CHARS} "
                "(live.connections shares them out)"
            )
        heard: list[Heard] = []
        for at in range(0, len(names), self._market.args_most):
            number = f"s{next(self._numbers)}"
            connection.send(_request("subscribe", number, names[at : at + self._market.args_most]))
            _confirm(connection, number, heard)
        return heard

    def again(self, symbol: str, levels: int, attempt: int) -> list[bytes]:
        """Requests after which the books of a symbol begin anew: its topics of levels and best prices are given up and asked for."""
        books = [name for name in topics(symbol, levels) if name.startswith("orderbook.")]
        number = f"{symbol}.{attempt}"
        return [_request("unsubscribe", f"u.{number}", books), _request("subscribe", f"r.{number}", books)]
