"""What Bybit lists promises: each instrument exact to the last unit, or left out and counted by its reason; asked for page by page."""

from collections.abc import Iterator
from typing import Any
from urllib.parse import parse_qs, quote

import orjson
import pytest
from rest_rig import Server, serving

from hftpipe.core.schema.instruments import CONTRACTS, VENUES
from hftpipe.transport.http import weights as weights_module
from hftpipe.venues.bybit import discovery as discovery_module
from hftpipe.venues.bybit.discovery import INSTRUMENTS, TICKERS, DiscoveryError, client_of, discover
from hftpipe.venues.bybit.listing import listing_of
from hftpipe.venues.bybit.markets import BYBIT_LINEAR, BYBIT_SPOT, Market

MARKETS = pytest.mark.parametrize("market", [BYBIT_SPOT, BYBIT_LINEAR], ids=lambda one: one.name)
TICKER = {"lastPrice": "100.004", "volume24h": "5000.5", "turnover24h": "500050.25"}


def entry(market: Market, symbol: str = "AUSDT", **more: Any) -> dict[str, Any]:
    """An instrument as the venue writes it; keys of filters and of the entry itself may be given anew."""
    if market.category == "spot":
        lots = {"basePrecision": "0.001", "minOrderQty": "0.002", "maxLimitOrderQty": "1000", "minOrderAmt": "5"}
        own: dict[str, Any] = {}
    else:
        lots = {"qtyStep": "0.001", "minOrderQty": "0.001", "maxOrderQty": "1000", "minNotionalValue": "5"}
        own = {"contractType": "LinearPerpetual", "settleCoin": "USDT", "isPreListing": False}
    prices = {"tickSize": "0.01", "minPrice": "0.01", "maxPrice": "1000000"}
    made = {"symbol": symbol, "status": "Trading", "baseCoin": "A", "quoteCoin": "USDT", **own}
    for table, keys in (("priceFilter", prices), ("lotSizeFilter", lots)):
        made[table] = {key: more.pop(key, value) for key, value in keys.items()}
    return made | more


def ticker(symbol: str = "AUSDT", **more: Any) -> dict[str, Any]:
    return {"symbol": symbol, **TICKER, **more}


@MARKETS
def test_an_instrument_has_the_venues_filters_to_the_last_unit(market: Market) -> None:
    (row,) = listing_of([entry(market)], [ticker()], market).rows
    assert (row["symbol"], row["base"], row["quote"]) == (b"AUSDT", b"A", b"USDT")
    assert (row["tick"], row["lot"], row["min_notional"], row["power"]) == (1_000_000, 100_000, 5 * 10**8, 0)
    assert (row["reference_price"], row["volume_24h"], row["multiplier"]) == (100 * 10**8, 50005025000000, 10**8)
    fees = {"bybit_spot": (100_000, 100_000), "bybit_linear": (20_000, 55_000)}
    assert (row["maker_fee"], row["taker_fee"]) == fees[market.name] and market.name in VENUES
    assert CONTRACTS[row["contract"]] == market.contract


def test_a_coin_that_trades_by_the_trillion_is_in_packs() -> None:
    coin = entry(
        BYBIT_LINEAR, tickSize="0.0000000001", qtyStep="100", maxOrderQty="88888888888800", minNotionalValue=""
    )
    (row,) = listing_of([coin], [ticker(lastPrice="0.0000001234", volume24h="99000000000000")], BYBIT_LINEAR).rows
    assert (row["power"], row["tick"], row["reference_price"]) == (5, 10**3, 1_234 * 10**3)
    assert row["lot"] == 100 * 10**8 // 10**5 and row["min_notional"] == 0


@pytest.mark.parametrize(
    ("market", "more", "why"),
    [
        (BYBIT_SPOT, {"status": "PreLaunch"}, "status PreLaunch"), (BYBIT_LINEAR, {"status": None}, "status None"),
        (BYBIT_LINEAR, {"contractType": "InversePerpetual"}, "contract type InversePerpetual"),
        (BYBIT_LINEAR, {"settleCoin": "BTC"}, "it is settled in another currency than it is quoted in"),
        (BYBIT_LINEAR, {"isPreListing": True}, "it is not listed yet"),
        (BYBIT_SPOT, {"priceFilter": None}, "it has no priceFilter"),
        (BYBIT_SPOT, {"tickSize": "0"}, "tickSize is 0"), (BYBIT_SPOT, {"basePrecision": "x"}, "basePrecision is not a decimal"),
        (BYBIT_LINEAR, {"qtyStep": "0.0000000001"}, "its lot has too many decimals"),
        (BYBIT_LINEAR, {"minNotionalValue": "9" * 30}, "its minimum notional does not fit"),
        (BYBIT_SPOT, {"baseCoin": "a"}, "a currency of it is not"),
    ],
)  # fmt: skip
def test_what_cannot_be_traded_here_is_left_out_by_its_reason(market: Market, more: dict[str, Any], why: str) -> None:
    listing = listing_of([entry(market, **more), entry(market, "BUSDT")], [ticker(), ticker("BUSDT")], market)
    ((reason, symbols),) = listing.left_out.items()
    assert reason.startswith(why) and symbols == ("AUSDT",) and len(listing.rows) == 1


@pytest.mark.parametrize(
    ("day", "why"),
    [(ticker("OTHER"), "it has no 24 h ticker"), (ticker(lastPrice="0"), "it has no last price"), (ticker(lastPrice=""), "lastPrice is not")],
)  # fmt: skip
def test_without_a_price_nothing_is_listed(day: dict[str, Any], why: str) -> None:
    ((reason, _),) = listing_of([entry(BYBIT_SPOT)], [day], BYBIT_SPOT).left_out.items()
    assert reason.startswith(why)


# --- asked of a venue ------------------------------------------------------------------------------


class Venue:
    """Answers page by page, and remembers what was asked."""

    def __init__(self, server: Server, market: Market, symbols: list[str], page: int = 1000, refusals: int = 0) -> None:
        self.market, self.symbols, self.page, self.refusals = market, symbols, page, refusals
        self.server = server

    def answer(self, path: str) -> tuple[int, dict[str, str], bytes]:
        query = {key: values[0] for key, values in parse_qs(path.partition("?")[2]).items()}
        if self.refusals:
            self.refusals -= 1
            return self._said(10006, "Too many visits!", {})
        if query.get("category") != self.market.category:
            return self._said(10001, "params error: category is invalid", {})
        if path.startswith(TICKERS):
            return self._said(0, "OK", {"list": [ticker(one) for one in self.symbols]})
        first = int(query.get("cursor", "at=0").partition("=")[2])
        end = first + self.page
        cursor = quote(f"at={end}", safe="") if end < len(self.symbols) else ""
        return self._said(
            0, "OK", {"list": [entry(self.market, one) for one in self.symbols[first:end]], "nextPageCursor": cursor}
        )

    @staticmethod
    def _said(code: int, text: str, result: Any) -> tuple[int, dict[str, str], bytes]:
        return 200, {}, orjson.dumps({"retCode": code, "retMsg": text, "result": result, "retExtInfo": {}, "time": 1})


class Pages(dict[str, Any]):
    """What the server answers, which depends on the query."""

    def __init__(self, server: Server, venue: Venue) -> None:
        self._server, self._venue = server, venue

    def __getitem__(self, path: str) -> Any:
        return self._venue.answer(self._server.asked[-1][1])


@pytest.fixture
def server() -> Iterator[Server]:
    with serving() as made:
        yield made


def serve(server: Server, market: Market, symbols: list[str], **more: int) -> Venue:
    venue = Venue(server, market, symbols, **more)
    server.answers = Pages(server, venue)
    return venue


def test_contracts_are_asked_for_until_there_is_no_other_page(server: Server) -> None:
    symbols = [f"C{at}USDT" for at in range(25)]
    serve(server, BYBIT_LINEAR, symbols, page=10)
    listing = discover(client_of(server.address), BYBIT_LINEAR)
    assert sorted(row["symbol"].decode() for row in listing.rows) == sorted(symbols) and not listing.left_out
    asked = [path for _, path, _ in server.asked]
    assert [path.partition("cursor=")[2] for path in asked] == ["", "at%3D10", "at%3D20", ""]
    assert all("category=linear" in path for path in asked) and "limit=1000" in asked[0]


def test_too_many_visits_are_waited_out_and_said_when_they_do_not_end(
    server: Server, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(discovery_module, "_PAUSE_S", 0.01)
    serve(server, BYBIT_SPOT, ["AUSDT"], refusals=2)
    assert len(discover(client_of(server.address), BYBIT_SPOT).rows) == 1
    serve(server, BYBIT_SPOT, ["AUSDT"], refusals=3)
    with pytest.raises(DiscoveryError, match=r"instruments-info: refused 3 times: too many visits \(code 10006\)"):
        discover(client_of(server.address), BYBIT_SPOT)


@pytest.mark.parametrize(
    ("answer", "said"),
    [
        ((503, {}, b"x"), "instruments-info: failed: HTTP 503"), ((403, {}, b"x"), "instruments-info: limited: HTTP 403"),
        ((200, {}, b"[1]"), r"refused: no answer of its own \(code None\)"),
        ((200, {}, b'{"retCode":10001,"retMsg":"params error","result":{}}'), r"refused: params error \(code 10001\)"),
        ((200, {}, b'{"retCode":0,"result":{"list":7}}'), "the answer has no list"),
        (None, "instruments-info: failed"),
    ],
)  # fmt: skip
def test_what_goes_wrong_is_said_with_place_and_reason(server: Server, answer: Any, said: str) -> None:
    server.answers = {INSTRUMENTS: answer}
    with pytest.raises(DiscoveryError, match=said):
        discover(client_of(server.address), BYBIT_LINEAR)


def test_no_more_is_asked_within_five_seconds_than_the_venue_allows() -> None:
    now, waited = [0], list[float]()

    def wait(seconds: float) -> None:
        waited.append(seconds)
        now[0] += round(seconds * 1e9)

    weights = weights_module.Weights(600, lambda: now[0], wait, discovery_module.PERIOD_S)
    for _ in range(481):
        assert weights.take(1, 10.0) == 0.0
    assert waited == [5.0], "80 % of 600 at once, the next one when the first comes back"
