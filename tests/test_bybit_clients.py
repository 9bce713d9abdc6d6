"""Independent clients, as they are published, on the simulated Bybit venue: the books they build are the engine's, and they trade."""

import json
from collections.abc import Iterator
from decimal import Decimal
from pathlib import Path

import pytest
from binance_rig import Venue
from bybit_account import CATEGORIES, KEY, SECRET, Trader, check_account
from bybit_rig import Decoders
from bybit_venue import Topics, book_of, bybit_venue, of, sides
from client_runs import run, run_go

from hftpipe.simulation.market_server.trading.accounts import SIM_PUBLIC_KEY_ID
from hftpipe.venues.message import IGNORED, OK

pytest.importorskip("aiohttp", reason="the simulated Bybit venue needs aiohttp (hftpipe[sim])")


@pytest.fixture(scope="module")
def venue(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Venue]:
    made = bybit_venue(tmp_path_factory.mktemp("bybit"), "--rate", 300)
    yield made
    made.close()


@pytest.mark.parametrize("category", ["spot", "linear"])
def test_pybit_hears_what_makes_the_book(venue: Venue, category: str) -> None:
    got = run("pybit", "pybit_frames.py", venue.port, category)
    frames, topic = got["frames"], "orderbook.50.BTCUSDT"
    assert len(of(frames, topic)) > 30 and got["heard"] > 30 and got["markets"] == ["BTCUSDT", "ETHUSDT"]
    assert book_of(frames, topic).sides() == sides(got["book"])
    assert of(frames, "publicTrade.BTCUSDT") and of(frames, "tickers.BTCUSDT")
    answered = [one["op"] for one in frames if "op" in one]
    assert answered.count("subscribe") == 3 and answered.count("ping") >= 1, "it is told that it is heard"
    # What it hears, our own decoders read.
    decoders = Decoders()
    for one in frames:
        text = json.dumps(one, separators=(",", ":")).encode()
        status = decoders.agree(text)
        assert decoders.decode(text) is None
        assert status == OK or decoders.head()["kind"] == IGNORED, text[:200]


@pytest.mark.parametrize(
    ("category", "symbol", "steps"),
    [("spot", "BTC/USDT", [0.01, 0.00001, 5.0]), ("linear", "BTC/USDT:USDT", [0.1, 0.001, None])],
)
def test_ccxt_loads_the_markets_and_keeps_book_and_trades(
    venue: Venue, category: str, symbol: str, steps: list[float | None]
) -> None:
    got = run("ccxt", "ccxt_bybit.py", venue.port, category, symbol)
    assert len(got["markets"]) == 2 and got["markets"][symbol][:2] == steps[:2]
    assert got["bids"] == got["fetched"]["bids"] and got["asks"] == got["fetched"]["asks"]
    assert len(got["bids"]) == len(got["asks"]) == 50 and got["bids"][0][0] < got["asks"][0][0]
    assert got["trades"] and all(side in ("buy", "sell") and qty > 0 for _, side, _, qty in got["trades"])
    assert got["last"] > 0 and got["candles"] > 0


@pytest.mark.parametrize(("category", "steps"), [("spot", ["0.01", "0.00001"]), ("linear", ["0.1", "0.001"])])
def test_a_client_in_go_keeps_the_book_and_loads_the_markets(venue: Venue, category: str, steps: list[str]) -> None:
    try:
        got = run_go("bybit", "book", venue.port, category)
        now = venue.json("/v5/market/orderbook", category=category, symbol="BTCUSDT", limit=50)["result"]
        topic = Topics(venue, category)
        topic.ask_for("subscribe", "orderbook.50.BTCUSDT")
        whole = next(one for one in topic.data(1) if one["type"] == "snapshot")
        topic.close()
    finally:
        venue.control(freeze=False)
    kept = {side: {Decimal(price): Decimal(qty) for price, qty in got[side].items()} for side in ("bids", "asks")}
    assert (kept["bids"], kept["asks"]) == sides(now) == sides(whole["data"])
    assert got["changes"] > 30 and got["u"] == whole["data"]["u"]
    assert set(got["markets"]) == {"BTCUSDT", "ETHUSDT"} and got["markets"]["BTCUSDT"] == steps
    assert len({one["i"] for one in got["trades"]}) == len(got["trades"]) > 1 and got["tickers"] > 0
    assert all(Decimal(one["p"]) > 0 and Decimal(one["v"]) > 0 for one in got["trades"])


# --- trading --------------------------------------------------------------------------------------------


def fills_of(venue: Venue, category: str) -> list[str]:
    return [one["execId"] for one in Trader(venue, category).truth()[category]["fills"]]


def wallets(venue: Venue) -> dict[str, Decimal]:
    return {name: Decimal(one["wallet"]) for name, one in Trader(venue, "spot").truth()["coins"].items()}


def lives(orders: list[list[str]]) -> list[str]:
    """What became of orders, of each its states in a row."""
    return [
        "".join(status[0] for one, status in orders if one == id_) for id_ in dict.fromkeys(one for one, _ in orders)
    ]


@pytest.mark.parametrize("category", CATEGORIES)
def test_pybit_trades(venue: Venue, category: str) -> None:
    before = len(fills_of(venue, category))
    got = run("pybit", "pybit_trade.py", venue.port, category, KEY, SECRET)
    assert (got["seen"], got["changed"], got["amended"], got["left"]) == ("New", True, ["0.03"], 0)
    assert got["answers"] == ["order.create", "order.amend", "order.cancel"]
    assert lives(got["orders"]) == ["NNC", "NNC", "F", "F"] and [one for one, _ in got["orders"]][-2:] == [
        got["bought"], got["sold"],
    ]  # fmt: skip
    fills = fills_of(venue, category)
    assert got["executions"] == fills[before:] and got["listed"] == fills[::-1] and len(fills) >= before + 2
    assert got["held"] == (["0.02", "0"] if category == "linear" else ["", ""]) and got["history"] >= 4
    assert got["positions"] == ["0"] * 6 + ["0.02", "0"] if category == "linear" else got["positions"] == []
    assert {name: Decimal(text) for name, text in got["coins"].items()} == wallets(venue)
    check_account(Trader(venue, category))


@pytest.mark.parametrize(("category", "symbol"), [("spot", "BTC/USDT"), ("linear", "BTC/USDT:USDT")])
def test_ccxt_trades(venue: Venue, category: str, symbol: str) -> None:
    before = len(fills_of(venue, category))
    got = run("ccxt", "ccxt_bybit_trade.py", venue.port, category, symbol, KEY, SECRET)
    assert (got["seen"], got["open"], got["changed"], got["closed"], got["left"]) == ("open", 1, 0.03, "closed", 0)
    assert got["refusal"] == "InsufficientFunds" and got["placed"] in got["canceled"] and got["failed"] == []
    assert got["held"] == ([0.02] if category == "linear" else [])
    assert lives(got["watched"]) == ["ooc", "c", "c", "ooc", "oc"] and [got["by_socket"], "canceled"] in got["watched"]
    assert [got["bought"], "closed"] in got["watched"] and [got["sold"], "closed"] in got["watched"]
    fills = fills_of(venue, category)
    assert got["watched_trades"] == fills[before:] and sorted(got["trades"]) == sorted(fills)
    assert {name: Decimal(str(value)) for name, value in got["balances"].items()} == wallets(venue)
    check_account(Trader(venue, category))


@pytest.mark.parametrize("category", CATEGORIES)
def test_a_client_in_go_trades(venue: Venue, category: str) -> None:
    before = len(fills_of(venue, category))
    got = run_go("bybit", "trade", venue.port, category, KEY, SECRET)
    (seen,), (changed,) = got["seen"], got["changed"]
    assert (seen["orderId"], seen["orderStatus"], Decimal(seen["qty"])) == (got["placed"], "New", Decimal("0.02"))
    assert Decimal(changed["qty"]) == Decimal("0.03") and got["refused"] == (170213 if category == "spot" else 110001)
    told = [[one["orderId"], one["orderStatus"]] for one in got["orders"]]
    assert lives(told) == ["NNC", "NC", "F", "F"] and told[0][0] == got["placed"] and got["left"] == 0
    assert [one for one, _ in told][-2:] == [got["bought"], got["sold"]]
    truth = {one["execId"]: one for one in Trader(venue, category).truth()[category]["fills"]}
    for one in (*got["executions"], *got["listed"]):
        same = ("orderId", "side", "execPrice", "execQty", "execFee", "execValue")
        assert {name: one[name] for name in same} == {name: truth[one["execId"]][name] for name in same}
    fills = fills_of(venue, category)
    assert [one["execId"] for one in got["executions"]] == fills[before:] and len(fills) >= before + 2
    assert [one["execId"] for one in got["listed"]] == fills[::-1]
    assert got["held"] == (["0.02", "0"] if category == "linear" else ["", ""])
    assert [one["size"] for one in got["positions"]][-2:] == (["0.02", "0"] if category == "linear" else [])
    assert {name: Decimal(text) for name, text in got["coins"].items()} == wallets(venue)
    assert got["wallets"].items() <= got["coins"].items() and "USDT" in got["wallets"]
    check_account(Trader(venue, category))


def test_pybit_signs_with_a_public_key(tmp_path: Path) -> None:
    pytest.importorskip("cryptography", reason="public keys need cryptography (hftpipe[sim])")
    from cryptography.hazmat.primitives import serialization as to
    from cryptography.hazmat.primitives.asymmetric.rsa import generate_private_key

    private = generate_private_key(65537, 2048)
    secret, public = tmp_path / "private.pem", tmp_path / "public.pem"
    secret.write_bytes(private.private_bytes(to.Encoding.PEM, to.PrivateFormat.PKCS8, to.NoEncryption()))
    public.write_bytes(private.public_key().public_bytes(to.Encoding.PEM, to.PublicFormat.SubjectPublicKeyInfo))
    venue = bybit_venue(tmp_path, "--rate", 100, "--public-key", public, "--balance", "BTC=2.5")
    try:
        got = run("pybit", "pybit_trade.py", venue.port, "spot", SIM_PUBLIC_KEY_ID, "", secret)
        assert lives(got["orders"]) == ["NNC", "NNC", "F", "F"] and got["executions"] == fills_of(venue, "spot")
        assert 2 < wallets(venue)["BTC"] < 3
    finally:
        venue.close()
