"""Aggregate trades in the place of single ones: with the books on spot, on connections of their own on USD-M; never counted twice."""

from collections.abc import Iterator

import pytest
from binance_rig import Venue
from live_rig import StageRig
from memory import address, aligned

from hftpipe.core.schema.records import VALID
from hftpipe.core.schema.refusal import Refusal
from hftpipe.core.trading.book import book_bytes, book_init
from hftpipe.venues.binance.sync import USDM, feed, sync_bytes, sync_init
from hftpipe.venues.live import keeper as keeper_module
from hftpipe.venues.message import MESSAGE, MESSAGE_BYTES, TRADE, TRADE_IGNORED, TRADE_SEEN, message_bytes

pytest.importorskip("aiohttp", reason="the simulated venues need aiohttp (hftpipe[sim])")


def test_an_aggregate_of_trades_that_come_singly_is_no_further_trade() -> None:
    sync, book, memory = aligned(sync_bytes()), aligned(book_bytes(64)), aligned(message_bytes())
    sync_init(sync, USDM)
    book_init(book, 0, 64)
    message = memory[:MESSAGE_BYTES].view(MESSAGE)

    def told(n_trades: int) -> int:
        message["kind"], message["accepted"], message["n_trades"] = TRADE, 1, n_trades
        return int(feed(address(sync), address(book), address(memory)))

    assert [told(3), told(2)] == [TRADE_SEEN, TRADE_SEEN]
    assert [told(0), told(3), told(0)] == [TRADE_SEEN, TRADE_IGNORED, TRADE_SEEN]


@pytest.fixture(scope="module")
def venue(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Venue]:
    made = Venue(tmp_path_factory.mktemp("binance"), "--rate", 200)
    yield made
    made.close()


class Rig(StageRig):
    """The stage on the simulated venue, with aggregate trades."""

    def __init__(self, caplog: pytest.LogCaptureFixture, venue: Venue, market: str) -> None:
        tables = [
            {"symbol": one, "tick_size": "0.01", "lot_size": "0.00001", "min_notional": "5", "reference_price": "100"}
            for one in ("BTCUSDT", "ETHUSDT")
        ]
        super().__init__(
            caplog, None,
            {
                "pipeline.venue": market, "live.server": f"http://127.0.0.1:{venue.port}", "instruments": tables,
                "live.trades": "aggTrade", "live.connections": 2,
            },
        )  # fmt: skip

    def trades(self) -> int:
        return int(self.state["trades"][0])


@pytest.mark.parametrize("market", ["binance_usdm", "binance_spot"])
def test_aggregates_are_the_trades_and_their_connection_takes_no_book_along(
    venue: Venue, caplog: pytest.LogCaptureFixture, monkeypatch: pytest.MonkeyPatch, market: str
) -> None:
    monkeypatch.setattr(keeper_module, "FIRST_PAUSE_S", 0.05)
    rig = Rig(caplog, venue, market)
    links = len(rig.links())
    assert links == (4 if market == "binance_usdm" else 2)
    rig.until(lambda: rig.states() == [VALID] * 2 and rig.trades() >= 20)
    assert int(rig.state["trades_ignored"][0]) == 0 and rig.said() == ""
    name = market.partition("_")[2]
    told = [
        venue.json("/fapi/v1/aggTrades" if name == "usdm" else "/api/v3/aggTrades", symbol=one)
        for one in ("BTCUSDT", "ETHUSDT")
    ]
    assert 0 < rig.trades() <= sum(map(len, told))
    if market == "binance_usdm":
        venue.control(disconnect="all", market="usdm")
        rig.until(lambda: "connecting again" in rig.said())
    trades = rig.trades()
    rig.until(lambda: rig.trades() > trades and rig.states() == [VALID] * 2)
    rig.close()


def test_bybit_has_none_and_says_so(caplog: pytest.LogCaptureFixture) -> None:
    with pytest.raises(Refusal, match=r"live\.trades = aggTrade: bybit_linear has single trades alone; allowed: trade"):
        StageRig(
            caplog,
            None,
            {"pipeline.venue": "bybit_linear", "live.server": "http://127.0.0.1:9", "live.trades": "aggTrade"},
        )
