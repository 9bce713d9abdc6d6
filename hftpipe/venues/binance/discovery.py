"""Asks Binance what it lists: exchangeInfo and the 24 h tickers of a market, as a :class:`Listing`."""

from functools import cache
from typing import Any

from hftpipe.core.schema.refusal import NetworkRefusal
from hftpipe.transport.http.answer import Manners, Outcome
from hftpipe.transport.http.rest import RestClient
from hftpipe.transport.http.weights import Weights
from hftpipe.venues.binance.listing import listing_of, rules_of
from hftpipe.venues.binance.markets import Market, Request
from hftpipe.venues.listing import Listing

#: -1000, -1001, -1006, -1007: an error that is not named, a disconnection inside, an unexpected answer, a time-out inside.
MANNERS = Manners(
    counts=("x-mbx-used-weight", "x-mbx-order-count"),
    used="x-mbx-used-weight-1m",
    unsure=frozenset({-1000, -1001, -1006, -1007}),
)

_PER_MINUTE = {"rateLimitType": "REQUEST_WEIGHT", "interval": "MINUTE", "intervalNum": 1}


class DiscoveryError(NetworkRefusal):
    """What a market lists could not be learned; says where it was asked, and what the venue said."""


def client_of(market: Market, address: str, ca_file: str = "") -> RestClient:
    """A client of a market's REST interface at an address; all clients of one address share what may be asked of it.

    ``ca_file``: certificates to trust instead of the system's.
    """
    return RestClient(address, _weights_of(market.name, market.weight_limit, address), MANNERS, ca_file=ca_file)


@cache
def _weights_of(name: str, limit: int, address: str) -> Weights:
    return Weights(limit)


def _ask(client: RestClient, request: Request) -> Any:
    try:
        answer = client.get(request.path, request.query, request.weight)
    except ValueError as bad:
        raise DiscoveryError(f"{client.address}{request.path}: {bad}") from bad
    if answer.outcome is Outcome.OK:
        return answer.body
    code = f" (code {answer.code})" if answer.code else ""
    rest = f"; may be asked again in {answer.retry_after_s:.0f} s" if answer.outcome is Outcome.LIMITED else ""
    raise DiscoveryError(f"{client.address}{request.path}: {answer.outcome}: {answer.message}{code}{rest}")


def _weight_limit(info: dict[str, Any]) -> int:
    """The weight a minute that the venue allows, as it says itself; 0 where it does not."""
    limits = info.get("rateLimits")
    for one in limits if isinstance(limits, list) else ():
        if isinstance(one, dict) and _PER_MINUTE.items() <= one.items() and isinstance(one.get("limit"), int):
            return int(one["limit"])
    return 0


def _symbols(client: RestClient, market: Market) -> list[Any]:
    """The symbols that a market names. The client's weights get the limit that the venue names."""
    info = _ask(client, market.info)
    if not isinstance(info, dict) or not isinstance(info.get("symbols"), list):
        raise DiscoveryError(f"{client.address}{market.info.path}: the answer has no list of symbols")
    if (limit := _weight_limit(info)) > 1:
        client.weights.set_limit(limit)
    return list(info["symbols"])


def discover_rules(client: RestClient, market: Market) -> Listing:
    """Ask a market for the rules of its instruments alone: prices and volumes of the rows mean nothing.

    Raises:
        DiscoveryError: it did not answer, refused, or answered with something else.
    """
    return rules_of(_symbols(client, market), market)


def discover(client: RestClient, market: Market) -> Listing:
    """Ask a market what it lists.

    Raises:
        DiscoveryError: it did not answer, refused, or answered with something else.
    """
    symbols = _symbols(client, market)
    tickers = _ask(client, market.tickers)
    if not isinstance(tickers, list):
        raise DiscoveryError(f"{client.address}{market.tickers.path}: the answer is no list of tickers")
    return listing_of(symbols, tickers, market)
