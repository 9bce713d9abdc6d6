"""Binance's market streams: names, subscriptions and snapshots (venue documentation of 2026, spot and USD-M).

The combined form ``{"stream": ..., "data": ...}`` is used throughout: a spot bookTicker has no event type of its own. The venue
confirms streams that there are not, too; that they stay silent is noticed later (:mod:`hftpipe.venues.live.keeper`).
"""

import time
from collections.abc import Callable, Sequence

import orjson

from hftpipe.core.machine.system_clock import steady_ns
from hftpipe.core.schema.instruments import SHALLOW_LEVELS, TOP_LEVELS
from hftpipe.transport.http.answer import Outcome
from hftpipe.transport.http.rest import RestClient
from hftpipe.transport.websocket.connect import ConnectError, Connection
from hftpipe.venues.binance.markets import Market, Request
from hftpipe.venues.live.plan import BookCheck, Heard

#: Streams in one request, and the pause between requests: 5 messages a second are taken on spot, 10 on USD-M.
BATCH, PAUSE_S = 200, 0.3
MOST_STREAMS = 1024
CONFIRM_S = 10.0
#: Said every ALIVE_S where nothing may come for long: its answer shows that the connection lives.
ALIVE, ALIVE_S = b'{"method":"GET_PROPERTY","params":["combined"],"id":1000000}', 20.0
Subscribe = Callable[[Connection, Sequence[str], Sequence[int]], Sequence[Heard]]
#: The venue closes a connection after 24 hours (1.2, 2.1), and says so shortly before.
LIFETIME_S = 23 * 3600.0
_SHUTDOWN = b'"serverShutdown"'


def is_ending(text: bytes) -> bool:
    """Whether a text says that connections are about to be closed."""
    return _SHUTDOWN in text


def stream_names(symbol: str, is_top: bool, trades: str = "trade") -> list[str]:
    """The streams of a symbol with its book: best prices, its depth unless only those are followed, and trades (empty: none)."""
    name = symbol.lower()
    wanted = ("" if is_top else "depth@100ms", "bookTicker", trades)
    return [f"{name}@{one}" for one in wanted if one]


def _confirm(connection: Connection, number: int) -> None:
    """Wait for the answer to request ``number``; what else comes belongs to no book yet."""
    deadline = steady_ns() + int(CONFIRM_S * 1e9)
    while (left_ns := deadline - steady_ns()) > 0:
        answer = orjson.loads(connection.receive(left_ns / 1e9))
        if answer.get("id") == number and "data" not in answer:
            if answer.get("result", 0) is None:
                return
            raise ConnectError(f"{connection.server}: subscription refused: {answer.get('msg', answer)}")
    raise ConnectError(f"{connection.server}: subscription not confirmed within {CONFIRM_S:.0f} s")


def books_with(trades: str) -> Subscribe:
    """What asks for the streams of symbols with their books, and with these trades."""

    def subscribe(connection: Connection, symbols: Sequence[str], levels: Sequence[int]) -> Sequence[Heard]:
        return ask_for(
            connection,
            [
                name
                for symbol, side in zip(symbols, levels, strict=True)
                for name in stream_names(symbol, side == TOP_LEVELS, trades)
            ],
        )

    return subscribe


def aggregates(connection: Connection, symbols: Sequence[str], levels: Sequence[int]) -> Sequence[Heard]:
    """Ask for the aggregate trades of symbols."""
    return ask_for(connection, [f"{symbol.lower()}@aggTrade" for symbol in symbols])


def ask_for(connection: Connection, names: Sequence[str]) -> Sequence[Heard]:
    """Ask for streams, batch by batch, each confirmed before the next; what comes meanwhile is of no book yet.

    Raises:
        ConnectError: too many for one connection; refused; not confirmed.
    """
    if len(names) > MOST_STREAMS:
        raise ConnectError(
            f"{connection.server}: {len(names)} streams on one connection; allowed: at most {MOST_STREAMS} "
            "(live.connections shares them out)"
        )
    for number, at in enumerate(range(0, len(names), BATCH), 1):
        if at:
            time.sleep(PAUSE_S)
        request = {"method": "SUBSCRIBE", "params": names[at : at + BATCH], "id": number}
        try:
            connection.send(orjson.dumps(request))
            _confirm(connection, number)
        except (orjson.JSONDecodeError, AttributeError) as wrong:
            raise ConnectError(f"{connection.server}: an answer that is no JSON object") from wrong
    return ()


def book_check(snapshots: "Snapshots", period_s: float) -> BookCheck | None:
    """How books are compared with the venue's own: with the snapshots that they begin with; None: never."""
    if not period_s:
        return None
    return BookCheck(snapshots.fetch, snapshots.levels, is_named=True, tries=1, period_s=period_s)


class Snapshots:
    """Whole books by REST; of a shallow book fewer levels are asked for, which costs a quarter of the weight or less.

    Args:
        client: of the market's REST interface; market: whose symbols they are.
    """

    def __init__(self, client: RestClient, market: Market) -> None:
        self._client, self._market = client, market

    def _request(self, levels: int) -> Request:
        return self._market.shallow_depth if levels <= SHALLOW_LEVELS else self._market.depth

    def levels(self, levels: int) -> int:
        """How many a side are asked for where our book has so many."""
        return int(self._request(levels).query["limit"])

    def fetch(self, symbol: str, levels: int) -> bytes:
        """The book of a symbol, named as recorders name it, for a snapshot does not say whose it is.

        Args:
            levels: a side of our book.

        Raises:
            OSError: no answer, a refusal, or not now; the message names server and reason.
        """
        ask = self._request(levels)
        answer = self._client.get(ask.path, {"symbol": symbol, **ask.query}, ask.weight)
        if answer.outcome is not Outcome.OK:
            raise OSError(f"{self._client.address}{ask.path}: {answer.outcome}: {answer.message}")
        return b'{"stream":"%s@depthSnapshot","data":%s}' % (symbol.lower().encode(), orjson.dumps(answer.body))
