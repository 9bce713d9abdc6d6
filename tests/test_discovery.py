"""Discovery promises: both documents asked for within the weight allowed, real ones listed exactly, changes said in words."""

from collections.abc import Iterator
from copy import deepcopy
from decimal import Decimal
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import orjson
import pytest
from data import DATA
from listing_rig import MARKETS, entry, ticker
from memory import address, aligned
from rest_rig import Server, serving

from hftpipe.config import load
from hftpipe.core.schema.amounts import amounts_table
from hftpipe.core.schema.instruments import CONTRACTS, INSTRUMENT, LINEAR
from hftpipe.core.trading.amounts import write_price, write_qty
from hftpipe.topology import universe
from hftpipe.topology.configured import instrument_rows
from hftpipe.topology.universe import with_universe
from hftpipe.venues.binance.discovery import DiscoveryError, client_of, discover
from hftpipe.venues.binance.listing import listing_of
from hftpipe.venues.binance.markets import BINANCE_SPOT, BINANCE_USDM, Market
from hftpipe.venues.listing import Listing
from hftpipe.venues.listing_changes import changes

RESPONSES = DATA / "binance-rest-gct" / "public_responses.jsonl"
needs_responses = pytest.mark.skipif(
    not RESPONSES.is_file(), reason="recorded REST answers are not on this machine (../shared/data/binance-rest-gct)"
)


@pytest.fixture
def server() -> Iterator[Server]:
    with serving() as made:
        yield made


# --- changes ---------------------------------------------------------------------------------------


def test_changed_filters_and_delisted_instruments_are_said_with_old_and_new() -> None:
    symbols = ("AUSDT", "BUSDT", "CUSDT", "DUSDT")
    days = [ticker(symbol) for symbol in symbols]
    before = listing_of([entry(BINANCE_USDM, symbol) for symbol in symbols], days, BINANCE_USDM)
    later = [
        entry(BINANCE_USDM, "AUSDT", tickSize="0.1", minPrice="0.1", notional="7.5"),
        entry(BINANCE_USDM, "BUSDT", status="SETTLING"),
        entry(BINANCE_USDM, "DUSDT"),
        entry(BINANCE_USDM, "NEWUSDT"),
    ]
    day_later = [ticker(symbol, lastPrice="777", quoteVolume="3") for symbol in (*symbols, "NEWUSDT")]
    assert changes(before, listing_of(later, day_later, BINANCE_USDM)) == [
        "AUSDT: tick 0.01 is now 0.1",
        "AUSDT: minimum notional 5 is now 7.5",
        "BUSDT: no longer traded (status SETTLING)",
        "CUSDT: no longer listed",
    ]
    assert changes(before, before) == []


def test_another_pack_is_said_as_such_and_changes_no_tick_or_lot() -> None:
    coin = entry(BINANCE_SPOT, tickSize="0.00000001", stepSize="1", maxQty="100")
    cheap, busy = (
        listing_of([coin], [ticker(lastPrice="0.00000046", volume=volume)], BINANCE_SPOT)
        for volume in ("1", "99000000000000")
    )
    assert changes(cheap, busy) == ["AUSDT: pack 1 is now 100000"]
    assert changes(busy, cheap) == ["AUSDT: pack 100000 is now 1"]


def test_fees_and_currencies_are_said_in_their_own_units() -> None:
    before = listing_of([entry(BINANCE_SPOT)], [ticker()], BINANCE_SPOT)
    rows = before.rows.copy()
    rows["maker_fee"], rows["quote"], rows["contract"] = -2_500, b"USDC", CONTRACTS.index(LINEAR)
    assert changes(before, Listing(rows)) == [
        "AUSDT: contract spot is now linear", "AUSDT: quote USDT is now USDC", "AUSDT: maker fee 10 bps is now -0.25 bps",
    ]  # fmt: skip


# --- asked of a venue ------------------------------------------------------------------------------


def serve(server: Server, market: Market, info: Any, tickers: Any, status: int = 200) -> None:
    server.answers[market.info.path] = (status, {"X-MBX-USED-WEIGHT-1M": "21"}, orjson.dumps(info))
    server.answers[market.tickers.path] = (status, {"X-MBX-USED-WEIGHT-1M": "150"}, orjson.dumps(tickers))


@MARKETS
def test_a_market_is_asked_for_both_documents_within_the_weight_it_names(server: Server, market: Market) -> None:
    limits = [
        {"rateLimitType": "ORDERS", "interval": "MINUTE", "intervalNum": 1, "limit": 9},
        {"rateLimitType": "REQUEST_WEIGHT", "interval": "MINUTE", "intervalNum": 1, "limit": 1000},
    ]
    serve(server, market, {"symbols": [entry(market)], "rateLimits": limits}, [ticker()])
    client = client_of(market, server.address)
    assert client.weights.room == market.weight_limit * 8 // 10
    listing = discover(client, market)
    assert (listing.rows == listing_of([entry(market)], [ticker()], market).rows).all() and len(listing.rows) == 1
    assert client.weights.room == 800 and client.weights.used == 150
    assert [path.partition("?")[0] for _, path, _ in server.asked] == [market.info.path, market.tickers.path]


BAD: list[tuple[int, Any, Any, str]] = [
    (400, {"code": -1121, "msg": "Invalid symbol."}, [], "refused: Invalid symbol. (code -1121)"),
    (429, {"code": -1003, "msg": "Too much."}, [], "limited: Too much. (code -1003); may be asked again in 60 s"),
    (503, {}, [], "failed: HTTP 503"),
    (200, [], [], "the answer has no list of symbols"),
    (200, {"symbols": []}, {}, "the answer is no list of tickers"),
    (200, {"symbols": [], "rateLimits": [{"rateLimitType": "REQUEST_WEIGHT", "interval": "MINUTE", "intervalNum": 1, "limit": 50}]}, [], "a request of weight 80 never fits; allowed: at most 40"),
]  # fmt: skip


@pytest.mark.parametrize(("status", "info", "tickers", "said"), BAD)
def test_a_market_that_does_not_say_what_it_lists_is_named(
    server: Server, status: int, info: Any, tickers: Any, said: str
) -> None:
    serve(server, BINANCE_SPOT, info, tickers, status)
    with pytest.raises(DiscoveryError) as caught:
        discover(client_of(BINANCE_SPOT, server.address), BINANCE_SPOT)
    assert str(caught.value).startswith(server.address + "/api/v3/") and str(caught.value).endswith(said)


# --- real answers ----------------------------------------------------------------------------------


def recorded(path: Path, market: Market) -> tuple[dict[str, Any], list[dict[str, Any]]]:
    """exchangeInfo, and all tickers that were recorded of the market, the longest list last."""
    answers = [one for one in map(orjson.loads, path.read_bytes().splitlines()) if one["data"]]
    (info,) = [one["data"] for one in answers if one["path"] == market.info.path]
    days = [one["data"] for one in answers if one["path"] == market.tickers.path]
    lists = [one if isinstance(one, list) else [one] for one in days]
    return info, [day for one in sorted(lists, key=len) for day in one if "symbol" in day]


@needs_responses
@MARKETS
def test_recorded_answers_are_listed_exactly_or_counted(server: Server, market: Market) -> None:
    info, days = recorded(RESPONSES, market)
    serve(server, market, info, days)
    listing = discover(client_of(market, server.address), market)
    symbols = {one["symbol"]: one for one in info["symbols"]}
    assert len(listing.rows) + sum(map(len, listing.left_out.values())) == len(symbols) == 25
    assert {"it has no 24 h ticker"} <= set(listing.left_out) <= {"it has no 24 h ticker", "status BREAK"}
    assert {b"BTCUSDT", b"ETHUSDT"} <= set(listing.rows["symbol"].tolist()), listing.lines()
    for row in listing.rows:
        filters = {one["filterType"]: one for one in symbols[row["symbol"].decode()]["filters"]}
        pack = Decimal(10) ** int(row["power"])
        assert Decimal(int(row["tick"])).scaleb(-8) / pack == Decimal(filters["PRICE_FILTER"]["tickSize"])
        assert Decimal(int(row["lot"])).scaleb(-8) * pack == Decimal(filters["LOT_SIZE"]["stepSize"])
        rule = filters.get("NOTIONAL") or filters["MIN_NOTIONAL"]
        least = rule.get("minNotional") or rule["notional"]
        assert Decimal(int(row["min_notional"])).scaleb(-8) == Decimal(least)


@needs_responses
@MARKETS
def test_with_tickers_for_all_of_them_every_recorded_symbol_that_trades_is_listed(market: Market) -> None:
    info, _ = recorded(RESPONSES, market)
    days = [ticker(one["symbol"], lastPrice=one["filters"][0]["tickSize"]) for one in info["symbols"]]
    listing = listing_of(info["symbols"], days, market)
    traded = [one["symbol"].encode() for one in info["symbols"] if one["status"] == "TRADING"]
    assert sorted(listing.rows["symbol"].tolist()) == sorted(traded) and set(listing.left_out) <= {"status BREAK"}
    other = deepcopy(info["symbols"])
    other[0]["filters"][1]["stepSize"] = "10"
    other[0]["filters"][1]["minQty"] = "10"
    old = f"{Decimal(info['symbols'][0]['filters'][1]['stepSize']).normalize():f}"
    assert changes(listing, listing_of(other, days, market)) == [f"{other[0]['symbol']}: lot {old} is now 10"]


# --- into the pipeline -----------------------------------------------------------------------------


def test_what_is_discovered_can_be_chosen_from_and_becomes_what_a_run_trades_and_writes(monkeypatch: Any) -> None:
    coin = entry(BINANCE_SPOT, "BTTCUSDT", tickSize="0.00000001", stepSize="1", maxQty="100", baseAsset="BTTC")
    listing = listing_of(
        [entry(BINANCE_SPOT), coin, entry(BINANCE_SPOT, "AUSDC", quoteAsset="USDC")],
        [ticker(), ticker("BTTCUSDT", lastPrice="0.00000046", volume="99000000000000"), ticker("AUSDC")],
        BINANCE_SPOT,
    )
    found = SimpleNamespace(catalogue=lambda config: listing.rows)
    monkeypatch.setattr(universe, "find_venue", lambda entry: found)
    config = with_universe(load([], {}, {"universe": [{"symbols": ["*USDT"]}]}))
    assert [(one.symbol, one.pack, one.contract) for one in config.instruments] == [
        ("AUSDT", 1, "spot"), ("BTTCUSDT", 10**5, "spot"),
    ]  # fmt: skip
    rows = instrument_rows(config)
    assert rows.dtype == INSTRUMENT
    for name in ("symbol", "tick", "lot", "power", "maker_fee", "taker_fee", "min_notional", "reference_price"):
        assert rows[name].tolist() == listing.rows[name][:2].tolist(), name
    table, room = aligned(64 * len(rows)), np.zeros(64, np.uint8)
    table[:] = amounts_table(rows).view(np.uint8)
    written = []
    for at, row in enumerate(rows):
        for write, column in ((write_price, "tick"), (write_qty, "lot"), (write_price, "reference_price")):
            end = int(write(address(table), np.int64(at), row[column], address(room))) - room.ctypes.data
            written.append(room[:end].tobytes().decode())
    assert written == ["0.01", "0.001", "100.00", "0.00000001", "1", "0.00000046"], "as the venue lists them"
