"""Asks Bybit what it lists: instruments-info, page by page, and the 24 h tickers of a category, as a :class:`Listing`.

The venue counts requests of an address by five seconds (600 in them; then it answers 403 for ten minutes). HTTP is 200 for errors of the
business, too: what became of a request stands in ``retCode``.
"""

from functools import cache
from typing import Any
from urllib.parse import unquote

from hftpipe.core.schema.refusal import NetworkRefusal
from hftpipe.transport.http.answer import Manners, Outcome
from hftpipe.transport.http.rest import RestClient
from hftpipe.transport.http.weights import Weights
from hftpipe.venues.bybit.listing import listing_of, rules_of
from hftpipe.venues.bybit.markets import Market
from hftpipe.venues.listing import Listing

REQUESTS, PERIOD_S = 600, 5.0
#: 403 is what an address gets that has asked too often.
MANNERS = Manners(code="retCode", message="retMsg", counts=("x-bapi-limit",), rests_s={429: 60.0, 403: 600.0})
INSTRUMENTS, TICKERS = "/v5/market/instruments-info", "/v5/market/tickers"
#: Too many visits: asked again after a second, so often at most.
_TOO_MANY, _PAUSE_S, _TRIES = 10006, 1.0, 3
#: A page holds 1,000 instruments.
_PAGE, _MOST_PAGES = 1000, 100


class DiscoveryError(NetworkRefusal):
    """What a category lists could not be learned; says where it was asked, and what the venue said."""


def client_of(address: str, ca_file: str = "") -> RestClient:
    """A client of the REST interface at an address; all clients of one address share what may be asked of it.

    ``ca_file``: certificates to trust instead of the system's.
    """
    return RestClient(address, _weights_of(address), MANNERS, ca_file=ca_file)


@cache
def _weights_of(address: str) -> Weights:
    return Weights(REQUESTS, period_s=PERIOD_S)


def result(client: RestClient, path: str, query: dict[str, str]) -> dict[str, Any]:
    """The ``result`` of an answer.

    Raises:
        DiscoveryError: there is none.
    """
    where = f"{client.address}{path}"
    for _ in range(_TRIES):
        answer = client.get(path, query)
        if answer.outcome is not Outcome.OK:
            raise DiscoveryError(f"{where}: {answer.outcome}: {answer.message}")
        body = answer.body if isinstance(answer.body, dict) else {}
        code, found = body.get("retCode"), body.get("result")
        if code == 0 and isinstance(found, dict):
            return found
        if code != _TOO_MANY:
            raise DiscoveryError(f"{where}: refused: {body.get('retMsg', 'no answer of its own')!s:.200} (code {code})")
        client.weights.rest(_PAUSE_S)
    raise DiscoveryError(f"{where}: refused {_TRIES} times: too many visits (code {_TOO_MANY})")


def _list(client: RestClient, path: str, query: dict[str, str]) -> tuple[list[Any], str]:
    """A list that the venue gives, and the cursor of its next page; empty: there is none."""
    body = result(client, path, query)
    found, cursor = body.get("list"), body.get("nextPageCursor", "")
    if not isinstance(found, list) or not isinstance(cursor, str):
        raise DiscoveryError(f"{client.address}{path}: the answer has no list")
    return found, cursor


def _instruments(client: RestClient, market: Market) -> list[Any]:
    entries: list[Any] = []
    query = {"category": market.category, "limit": str(_PAGE)}
    for _ in range(_MOST_PAGES):
        page, cursor = _list(client, INSTRUMENTS, query)
        entries += page
        if not cursor:
            return entries
        # It comes percent-encoded, and a query is encoded as it is sent.
        query["cursor"] = unquote(cursor)
    raise DiscoveryError(f"{client.address}{INSTRUMENTS}: more than {_MOST_PAGES} pages")


def discover_rules(client: RestClient, market: Market) -> Listing:
    """Ask a category for the rules of its instruments alone: prices and volumes of the rows mean nothing.

    Raises:
        DiscoveryError: as of :func:`discover`.
    """
    return rules_of(_instruments(client, market), market)


def discover(client: RestClient, market: Market) -> Listing:
    """Ask a category what it lists.

    Raises:
        DiscoveryError: it did not answer, refused, or answered with something else.
    """
    entries = _instruments(client, market)
    tickers, _ = _list(client, TICKERS, {"category": market.category})
    return listing_of(entries, tickers, market)
