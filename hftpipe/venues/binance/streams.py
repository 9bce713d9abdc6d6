"""Binance's market streams: names, subscriptions and snapshots (venue documentation of 2026, spot and USD-M).

The combined form ``{"stream": ..., "data": ...}`` is used throughout: a spot bookTicker has no event type of its own. The venue
confirms streams that there are not, too; that they stay silent is noticed later (:mod:`hftpipe.venues.live.keeper`).
"""

import time
from collections.abc import Sequence

import orjson

from hftpipe.core.machine.system_clock import steady_ns
from hftpipe.core.schema.instruments import TOP_LEVELS
from hftpipe.transport.http.answer import Outcome
from hftpipe.transport.http.rest import RestClient
from hftpipe.transport.websocket.connect import ConnectError, Connection
from hftpipe.venues.binance.markets import Market
from hftpipe.venues.live.plan import Heard

#: Streams in one request, and the pause between requests: 5 messages a second are taken on spot, 10 on USD-M.
BATCH, PAUSE_S = 200, 0.3
MOST_STREAMS = 1024
CONFIRM_S = 10.0
#: The venue closes a connection after 24 hours (1.2, 2.1), and says so shortly before.
LIFETIME_S = 23 * 3600.0
_SHUTDOWN = b'"serverShutdown"'


def is_ending(text: bytes) -> bool:
    """Whether a text says that connections are about to be closed."""
    return _SHUTDOWN in text


def stream_names(symbol: str, is_top: bool) -> list[str]:
    """The streams of a symbol: best prices and trades, and its depth unless only best prices are followed."""
    name = symbol.lower()
    wanted = ("bookTicker", "trade") if is_top else ("depth@100ms", "bookTicker", "trade")
    return [f"{name}@{one}" for one in wanted]


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


def subscribe(connection: Connection, symbols: Sequence[str], levels: Sequence[int]) -> Sequence[Heard]:
    """Ask for the streams of some symbols, batch by batch, each confirmed before the next; what comes meanwhile is of no book yet.

    Args:
        levels: a side of each one's book.

    Raises:
        ConnectError: too many for one connection; refused; not confirmed.
    """
    names = [
        name for symbol, side in zip(symbols, levels, strict=True) for name in stream_names(symbol, side == TOP_LEVELS)
    ]
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


class Snapshots:
    """Whole books by REST.

    Args:
        client: of the market's REST interface; market: whose symbols they are.
    """

    def __init__(self, client: RestClient, market: Market) -> None:
        self._client, self._request = client, market.depth

    def fetch(self, symbol: str) -> bytes:
        """The book of a symbol, named as recorders name it, for a snapshot does not say whose it is.

        Raises:
            OSError: no answer, a refusal, or not now; the message names server and reason.
        """
        ask = self._request
        answer = self._client.get(ask.path, {"symbol": symbol, **ask.query}, ask.weight)
        if answer.outcome is not Outcome.OK:
            raise OSError(f"{self._client.address}{ask.path}: {answer.outcome}: {answer.message}")
        return b'{"stream":"%s@depthSnapshot","data":%s}' % (symbol.lower().encode(), orjson.dumps(answer.body))
