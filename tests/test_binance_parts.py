"""Parts of the simulated Binance venue without a server: the engine side event by event, candles, weights, amounts."""

import importlib

import numpy as np
import pytest
from typer.testing import CliRunner

from hftpipe.cli import app
from hftpipe.core.schema.instruments import INSTRUMENT
from hftpipe.core.schema.records import ASK, BID, LAST, LEVEL, TOP, TRADE
from hftpipe.simulation.binance_server.settings import SPOT, USDM, MarketRules, usdm_decimals
from hftpipe.simulation.binance_server.weights import Weights
from hftpipe.simulation.market_server.candles import INTERVALS, candles_of, end_of, start_of
from hftpipe.simulation.market_server.history import AGGREGATE_NS, MINUTE_MS, History, Trade
from hftpipe.simulation.market_server.listing import Listing
from hftpipe.simulation.market_server.market import Market
from hftpipe.simulation.market_server.text import decimal_text, decimals_of

E8 = 10**8
FIRST_ID, FIRST_TRADE = 1_000_000, 5000


def market_of(rules: MarketRules, seed: int) -> Market:
    rows = np.zeros(2, INSTRUMENT)
    rows["symbol"], rows["base"], rows["quote"] = [b"BTCUSDT", b"ETHUSDT"], [b"BTC", b"ETH"], b"USDT"
    rows["tick"], rows["lot"], rows["min_notional"] = E8 // 100, E8 // 1000, 5 * E8
    rows["reference_price"] = [60_000 * E8, 3000 * E8]
    return Market(Listing(rules, rows, np.array([1000.0, 500.0])), seed, None, 0, FIRST_ID, FIRST_TRADE)


def book_of(market: Market, index: int) -> list[dict[int, int]]:
    return [dict(market.side(index, side, 10_000)) for side in (BID, ASK)]


@pytest.mark.parametrize("rules", [SPOT, USDM], ids=["spot", "usdm"])
@pytest.mark.parametrize("seed", [1, 2])
def test_after_every_event_its_levels_make_the_engines_book(rules: MarketRules, seed: int) -> None:
    market = market_of(rules, seed)
    books, tops = [book_of(market, index) for index in (0, 1)], [market.top(index) for index in (0, 1)]
    ids, trades, moved = [FIRST_ID, FIRST_ID], [0, 0], 0
    for _ in range(4000):
        records = market.play(10**18, 1)
        index = int(records["instrument"][0])
        assert (records["instrument"] == index).all()
        levels = records[records["kind"] == LEVEL]
        for record in levels:
            side = books[index][record["side"]]
            side[int(record["price"])] = int(record["qty"])
            if not record["qty"]:
                del side[int(record["price"])]
        assert books[index] == book_of(market, index)
        assert {int(one) for one in levels["id"]} == {market.update_id(index)} and levels["flags"][-1] == LAST
        step = market.update_id(index) - ids[index]
        assert step == 1 if rules is SPOT else market.update_id(index) - max(ids) == 2
        ids[index] = market.update_id(index)
        for record in records[records["kind"] == TRADE]:
            assert record["id"] == trades[index] + 1 or not trades[index]
            trades[index] = int(record["id"])
        best = records[records["kind"] == TOP]
        told = (*(int(best[name][0]) for name in ("price", "qty")), *(int(best[name][1]) for name in ("price", "qty"))) \
            if len(best) else tops[index]  # fmt: skip
        bids, asks = books[index]
        assert told == (max(bids), bids[max(bids)], min(asks), asks[min(asks)]) == market.top(index)
        moved += len(best) > 0
        tops[index] = told
    assert min(trades) > FIRST_TRADE and moved > 100


def trade(number: int, price: int, at_ms: int, is_sold: bool = False) -> Trade:
    return Trade(number, price * E8, E8, at_ms * 1_000_000, is_sold)


def test_on_usdm_what_is_traded_at_one_price_and_side_within_100_ms_is_one_aggregate() -> None:
    history = History(0, AGGREGATE_NS)
    for number, (price, at_ms, is_sold) in enumerate(
        [(10, 0, False), (10, 99, False), (10, 100, False), (10, 110, True), (11, 111, True)], 1
    ):
        history.add(trade(number, price, at_ms, is_sold))
    assert history.settle(150 * 1_000_000) is None and history.settle(300 * 1_000_000) is not None
    assert [(one.id, one.first_id, one.last_id, one.qty // E8) for one in history.aggregates] == [
        (1, 1, 2, 2), (2, 3, 3, 1), (3, 4, 4, 1), (4, 5, 5, 1),
    ]  # fmt: skip


@pytest.mark.parametrize("interval", INTERVALS)
def test_periods_of_an_interval_follow_one_another_without_a_hole(interval: str) -> None:
    # 2024-02-28 to March: a leap day, an end of a month, a Monday.
    at = 1_709_078_400_000 + 12_345
    start = start_of(at, interval)
    assert start <= at < end_of(start, interval)
    for _ in range(40):
        following = end_of(start, interval)
        assert start_of(following, interval) == following and start_of(following - 1, interval) == start
        start = following


def test_weeks_begin_on_mondays_and_months_on_the_first() -> None:
    wednesday = 1_709_164_800_000 - 86_400_000
    assert start_of(wednesday, "1w") == 1_708_905_600_000
    assert start_of(wednesday, "1M") == 1_706_745_600_000


def test_minutes_without_trades_repeat_the_last_price() -> None:
    history = History(0, 0)
    base = 1_700_000_040_000
    for number, (price, minute) in enumerate([(10, 0), (12, 0), (9, 0), (11, 3)], 1):
        history.add(trade(number, price, base + minute * MINUTE_MS))
    made = candles_of(history, "1m", base + 5 * MINUTE_MS)
    rows = [[one.open // E8, one.high // E8, one.low // E8, one.close // E8, one.volume // E8] for one in made]
    assert rows == [
        [10, 12, 9, 9, 3],
        [9] * 4 + [0],
        [9] * 4 + [0],
        [11, 11, 11, 11, 1],
        [11] * 4 + [0],
        [11] * 4 + [0],
    ]
    assert [one.open_ms for one in made] == [base + n * MINUTE_MS for n in range(6)]
    day = history.day(base + 5 * MINUTE_MS)
    assert day is not None and (day.first_id, day.last_id, day.count, day.quote) == (1, 4, 4, 42 * E8 * E8)


def test_weight_is_given_anew_each_minute_and_who_does_not_stop_is_banned() -> None:
    weights = Weights(10)
    assert weights.charge("a", 6, 59_000).status == 200
    over = weights.charge("a", 6, 59_000)
    assert (over.status, over.used, over.retry_after_s) == (429, 6, 1)
    assert weights.charge("b", 6, 59_000).status == 200
    assert weights.charge("a", 6, 60_000).status == 200
    answers = [weights.charge("a", 6, 60_001).status for _ in range(101)]
    assert answers == [429] * 100 + [418]
    assert weights.charge("a", 1, 120_001).status == 418 and weights.charge("a", 1, 180_002).status == 200


@pytest.mark.parametrize(
    ("value", "decimals", "text"),
    [
        (6_180_020_000_000, 2, "61800.20"), (1, 8, "0.00000001"), (-1_234_567, 3, "-0.012"), (0, 8, "0.00000000"),
        (437_848 * E8, 0, "437848"), (1_737_000, 5, "0.01737"),
    ],
)  # fmt: skip
def test_amounts_are_written_with_the_decimals_asked_for(value: int, decimals: int, text: str) -> None:
    assert decimal_text(value, decimals) == text


def test_usdm_prices_have_two_decimals_or_as_many_as_the_tick() -> None:
    assert decimals_of(E8) == 0 and decimals_of(1) == 8
    assert usdm_decimals(E8 // 10, E8 // 1000) == usdm_decimals(E8 // 100, E8 // 1000)
    assert (usdm_decimals(1000, E8).price, usdm_decimals(1000, E8).qty) == (5, 0)


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (("binance", "--market", "coinm"), "--market coinm: allowed: spot, usdm, both"),
        (("binance", "--loss-a", "0.1"), "--loss-a 0.1: only --protocol itch has it"),
        (("itch", "--tls"), "--tls True: only --protocol binance and bybit has it"),
        (("binance", "--cert-file", "x"), "only with --tls"),
        (("binance", "--speed", "-1"), "--speed -1"),
        (("binance", "--rate", "nan"), "--rate nan"),
        (("binance", "--rate", "0"), "--rate 0"),
    ],
)
def test_options_that_make_no_venue_are_refused_in_one_line(arguments: tuple[str, ...], message: str) -> None:
    result = CliRunner().invoke(app, ["sim-exchange", "--protocol", *arguments])
    assert result.exit_code == 2 and message in result.output and len(result.output.strip().splitlines()) == 1


def test_without_aiohttp_the_command_says_what_to_install(monkeypatch: pytest.MonkeyPatch) -> None:
    command = importlib.import_module("hftpipe.cli.exchange")
    monkeypatch.setattr(command, "find_spec", lambda name: None)
    result = CliRunner().invoke(app, ["sim-exchange", "--protocol", "binance"])
    assert result.exit_code == 2 and "pip install 'hftpipe[sim]'" in result.output
