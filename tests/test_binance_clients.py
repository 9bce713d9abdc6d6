"""Independent clients, as they are published, on the simulated Binance venue: the books they build are the engine's."""

import json
import subprocess
from collections.abc import Iterator
from decimal import Decimal
from pathlib import Path
from typing import Any

import pytest
from binance_rig import PlainBook, Venue
from client_envs import NoClient, client_python

pytest.importorskip("aiohttp", reason="the simulated Binance venue needs aiohttp (hftpipe[sim])")

SCRIPTS = Path(__file__).resolve().parent / "clients"


@pytest.fixture(scope="module")
def running(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Venue]:
    made = Venue(tmp_path_factory.mktemp("binance"), "--rate", 300, "--weight-limit", 100_000)
    yield made
    made.close()


@pytest.fixture
def venue(running: Venue) -> Iterator[Venue]:
    yield running
    running.control(freeze=False, drop_next_depth=0)


def run(client: str, script: str, *arguments: object) -> Any:
    """What a client's script prints."""
    try:
        python = client_python(client)
    except NoClient as reason:
        pytest.skip(f"{client} cannot be installed: {reason}")
    command = [str(python), str(SCRIPTS / script), *map(str, arguments)]
    done = subprocess.run(command, capture_output=True, text=True, timeout=120)
    assert done.returncode == 0, done.stderr[-3000:]
    return json.loads(done.stdout.strip().splitlines()[-1])


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
