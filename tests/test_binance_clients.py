"""Independent clients, as they are published, on the simulated Binance venue: the books they build are the engine's."""

from collections.abc import Iterator
from decimal import Decimal
from pathlib import Path
from typing import Any

import pytest
from binance_account import KEY, MARKETS, SECRET, Account
from binance_rig import PlainBook, Venue
from client_runs import run, run_go

from hftpipe.simulation.market_server.trading.accounts import SIM_PUBLIC_KEY_ID

pytest.importorskip("aiohttp", reason="the simulated Binance venue needs aiohttp (hftpipe[sim])")


@pytest.fixture(scope="module")
def running(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Venue]:
    made = Venue(tmp_path_factory.mktemp("binance"), "--rate", 300, "--weight-limit", 100_000)
    yield made
    made.close()


@pytest.fixture
def venue(running: Venue) -> Iterator[Venue]:
    yield running
    running.control(freeze=False, drop_next_depth=0)


@pytest.fixture
def trading(running: Venue) -> Iterator[Venue]:
    """A venue whose accounts are flat, before and after."""
    running.control(freeze=False)
    yield running
    for market in MARKETS:
        truth = Account(running, market).truth()
        assert truth["openOrders"] == []
        assert {Decimal(one["qty"]) for one in truth.get("positions", {}).values()} <= {Decimal(0)}


def test_python_binance_keeps_the_spot_book(venue: Venue) -> None:
    got = run("python-binance", "python_binance_book.py", venue.port)
    now = venue.json("/api/v3/depth", symbol="BTCUSDT", limit=5000)
    assert got["id"] == now["lastUpdateId"]
    assert {**got["bids"]} == dict(now["bids"]) and {**got["asks"]} == dict(now["asks"])


@pytest.mark.parametrize(
    ("name", "symbol", "path"),
    [
        ("binance", "BTC/USDT", "/api/v3/depth"),
        ("binanceusdm", "BTC/USDT:USDT", "/fapi/v1/depth"),
    ],
)
def test_ccxt_keeps_the_book_and_loads_the_markets(venue: Venue, name: str, symbol: str, path: str) -> None:
    got = run("ccxt", "ccxt_book.py", venue.port, name, symbol)
    now = venue.json(path, symbol="BTCUSDT", limit=1000)
    assert got["error"] == "" and got["updates"] == 30 and symbol in got["markets"] and len(got["markets"]) == 2
    assert got["trades"] and got["last"] > 0
    assert got["id"] == now["lastUpdateId"]
    for side in ("bids", "asks"):
        assert [row[:2] for row in got[side]] == [[float(price), float(qty)] for price, qty in now[side]]


@pytest.mark.parametrize(("name", "symbol"), [("binance", "BTC/USDT"), ("binanceusdm", "BTC/USDT:USDT")])
def test_ccxt_notices_a_dropped_depth_event(venue: Venue, name: str, symbol: str) -> None:
    got = run("ccxt", "ccxt_book.py", venue.port, name, symbol, 10)
    assert got["error"] and 10 <= got["updates"] < 30


@pytest.mark.parametrize(("market", "path"), [("spot", "/api/v3/depth"), ("usdm", "/fapi/v1/depth")])
def test_the_official_client_hears_what_makes_the_book(venue: Venue, market: str, path: str) -> None:
    got = run("official", "official_streams.py", venue.port, market)
    book = PlainBook.of(got["snapshot"], market == "usdm")
    applied = sum(book.apply(event) for event in got["depth"])
    now = venue.json(path, symbol="BTCUSDT", limit=1000)
    assert applied > 20 and book.id == now["lastUpdateId"]
    assert book.sides() == PlainBook.of(now, market == "usdm").sides()
    assert len(got["aggregates"]) > 1 and all(Decimal(one["q"]) > 0 for one in got["aggregates"])
    numbers = [one["a"] for one in got["aggregates"]]
    assert numbers == list(range(numbers[0], numbers[0] + len(numbers)))


@pytest.mark.parametrize(
    ("market", "path", "steps"),
    [("spot", "/api/v3/depth", ["0.01000000", "0.00001000"]), ("usdm", "/fapi/v1/depth", ["0.10", "0.001"])],
)
def test_a_client_in_go_keeps_the_book_and_loads_the_markets(
    venue: Venue, market: str, path: str, steps: list[str]
) -> None:
    got = run_go("binance", "book", venue.port, market)
    now = venue.json(path, symbol="BTCUSDT", limit=1000)
    assert got["changes"] > 20 and got["id"] == now["lastUpdateId"]
    assert (got["bids"], got["asks"]) == (dict(now["bids"]), dict(now["asks"]))
    assert set(got["markets"]) == {"BTCUSDT", "ETHUSDT"} and got["markets"]["BTCUSDT"] == steps
    numbers = [one["t" if market == "spot" else "a"] for one in got["trades"]]
    assert len(numbers) > 1 and numbers == list(range(numbers[0], numbers[0] + len(numbers)))
    assert all(Decimal(one["p"]) > 0 and Decimal(one["q"]) > 0 for one in got["trades"])


# --- trading --------------------------------------------------------------------------------------------


def check_told(venue: Venue, market: str, got: dict[str, Any], before: int) -> None:
    """What a client was told of its two executions and its balances is what the account has."""
    truth = Account(venue, market).truth()
    fills = [one["id"] for one in truth["fills"]]
    assert [int(one) for one in got["trades"]][-len(fills) :] == fills and len(fills) > before
    kind = "wallet" if market == "usdm" else "free"
    assert {name: Decimal(str(value)) for name, value in got["balances"].items()} == {
        name: Decimal(one[kind]) for name, one in truth["balances"].items()
    }


def statuses(events: list[dict[str, Any]], market: str) -> list[str]:
    """Execution types that user data told of."""
    if market == "spot":
        return [one["x"] for one in events if "x" in one]
    return [one["o"]["x"] for one in events if "o" in one]


#: What becomes of the orders of a client: one that is changed and cancelled, two at the market, one more by WebSocket API.
LIVES = {
    "spot": ["NEW", "CANCELED", "NEW", "CANCELED", "NEW", "NEW", "NEW", "CANCELED"],
    "usdm": ["NEW", "AMENDMENT", "CANCELED", "NEW", "NEW", "NEW", "AMENDMENT", "CANCELED"],
    "official": ["NEW", "REPLACED", "CANCELED", "NEW", "NEW", "NEW", "REPLACED", "CANCELED"],
    "go": ["NEW", "AMENDMENT", "CANCELED", "NEW", "NEW", "NEW", "CANCELED"],
}


@pytest.mark.parametrize("market", MARKETS)
def test_python_binance_trades(trading: Venue, market: str) -> None:
    before = len(Account(trading, market).truth()["fills"])
    got = run("python-binance", "python_binance_trade.py", trading.port, market, KEY, SECRET)
    assert (got["placed"], got["seen"], got["open"], got["gone"]) == ("NEW", "NEW", 1, "CANCELED")
    assert got["changed"] == ("SUCCESS" if market == "spot" else "0.030") and got["api"] == ["NEW", "CANCELED"]
    assert Decimal(got["bought"]) == Decimal(got["sold"]) == Decimal("0.02")
    assert [one for one in statuses(got["events"], market) if one != "TRADE"] == LIVES[market]
    check_told(trading, market, got, before)


@pytest.mark.parametrize(
    ("name", "symbol", "market"), [("binance", "BTC/USDT", "spot"), ("binanceusdm", "BTC/USDT:USDT", "usdm")]
)
def test_ccxt_trades(trading: Venue, name: str, symbol: str, market: str) -> None:
    before = len(Account(trading, market).truth()["fills"])
    got = run("ccxt", "ccxt_trade.py", trading.port, name, symbol, KEY, SECRET)
    assert (got["placed"], got["seen"], got["open"], got["changed"], got["gone"]) == (
        "open",
        "open",
        1,
        0.03,
        "canceled",
    )
    assert got["api"] == ["open", "canceled"] and got["held"] == ([0.02] if market == "usdm" else [])
    assert got["refusal"] == ("OrderImmediatelyFillable" if market == "spot" else "InvalidOrder")
    assert got["failed"] == [] and got["left"] == 0
    assert [got["bought"], "closed"] in got["watched"] and [got["sold"], "closed"] in got["watched"]
    fills = [str(one["id"]) for one in Account(trading, market).truth()["fills"]]
    assert got["watched_trades"] == fills[before:]
    check_told(trading, market, got, before)


@pytest.mark.parametrize("market", MARKETS)
def test_the_official_client_trades(trading: Venue, market: str) -> None:
    before = len(Account(trading, market).truth()["fills"])
    got = run("official", "official_trade.py", trading.port, market, KEY, SECRET)
    changed = "0.01000000" if market == "spot" else "0.030"
    assert (got["placed"], got["seen"], got["open"], got["gone"]) == ("NEW", "NEW", 1, "CANCELED")
    assert got["changed"] == changed and got["api"] == ["NEW", changed, "CANCELED"]
    assert Decimal(got["bought"]) == Decimal(got["sold"]) == Decimal("0.02")
    lives = LIVES["official" if market == "spot" else "usdm"]
    assert [one for one in statuses(got["events"], market) if one != "TRADE"] == lives
    check_told(trading, market, got, before)


#: What a client is refused with: a post-only order that would trade, and the cancel of an order that is gone.
REFUSALS = {"spot": (-2010, -2011), "usdm": (-5022, -2011)}


@pytest.mark.parametrize("market", MARKETS)
def test_a_client_in_go_trades(trading: Venue, market: str) -> None:
    before = len(Account(trading, market).truth()["fills"])
    got = run_go("binance", "trade", trading.port, market, KEY, SECRET)
    assert (got["placed"], got["seen"], got["open"], got["gone"]) == ("NEW", "NEW", 1, "CANCELED")
    assert Decimal(got["changed"]) == Decimal("0.03") and (got["refused"], got["unknown"]) == REFUSALS[market]
    assert Decimal(got["bought"]) == Decimal(got["sold"]) == Decimal("0.02")
    if market == "usdm":
        assert Decimal(got["held"]) == Decimal("0.02") and got["api"] == ["NEW", "NEW", "CANCELED"]
        assert got["account"] == got["balances"]["USDT"]
    else:
        assert got["api"] == ["NEW", "CANCELED"]
    lives = LIVES["go" if market == "usdm" else market]
    assert [one for one in got["executions"] if one != "TRADE"] == lives and got["executions"].count("TRADE") >= 2
    assert got["told"].items() <= got["balances"].items() and "USDT" in got["told"]
    fills = {one["id"]: one for one in Account(trading, market).truth()["fills"]}
    for one in got["trades"][before:]:
        assert {name: fills[one["id"]][name] for name in ("price", "qty", "commission")} == {
            name: one[name] for name in ("price", "qty", "commission")
        }
    check_told(trading, market, got | {"trades": [one["id"] for one in got["trades"]]}, before)


def test_the_official_client_logs_on_with_a_public_key(tmp_path: Path) -> None:
    pytest.importorskip("cryptography", reason="public keys need cryptography (hftpipe[sim])")
    from cryptography.hazmat.primitives import serialization as to
    from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey

    private = Ed25519PrivateKey.generate()
    secret, public = tmp_path / "private.pem", tmp_path / "public.pem"
    secret.write_bytes(private.private_bytes(to.Encoding.PEM, to.PrivateFormat.PKCS8, to.NoEncryption()))
    public.write_bytes(private.public_key().public_bytes(to.Encoding.PEM, to.PublicFormat.SubjectPublicKeyInfo))
    venue = Venue(tmp_path, "--rate", 100, "--public-key", public, "--balance", "BTC=2.5", "--weight-limit", 100_000)
    try:
        for market in MARKETS:
            got = run("official", "official_trade.py", venue.port, market, SIM_PUBLIC_KEY_ID, SECRET, secret)
            assert (got["placed"], got["gone"]) == ("NEW", "CANCELED") and "CANCELED" in statuses(got["events"], market)
            check_told(venue, market, got, 0)
        assert 2 < Decimal(Account(venue, "spot").truth()["balances"]["BTC"]["free"]) < 3
    finally:
        venue.close()
