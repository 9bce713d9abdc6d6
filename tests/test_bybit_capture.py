"""Recorded Bybit messages as captures: recognised, played through the production code, checked, and run through the pipeline."""

import json
import os
from pathlib import Path

import numpy as np
import pytest
from bybit_rig import book_text
from capture_records import records_of
from data import DATA, needs_data
from running import hftpipe

from hftpipe.capture.check_book import check_book
from hftpipe.capture.detect import detect
from hftpipe.core.schema.records import BUY, SELL, TOP, TRADE
from hftpipe.venues.bybit.recognise import recognise

START_NS = 1_733_011_200_000_000_000


def write(path: Path, texts: list[bytes]) -> Path:
    """Texts as a recorder writes them: a line each, with the time that it has."""
    made = [b"%d %s" % (json.loads(text).get("ts", 0) * 10**6 or START_NS, text) for text in texts]
    path.write_bytes(b"\n".join(made) + b"\n")
    return path


def recorded(name: str) -> list[bytes]:
    return [line for line in next(DATA.glob(f"bybit-*/{name}")).read_bytes().splitlines() if line]


def trade(number: str, price: str = "10.5", symbol: str = "BTCUSDT", **more: object) -> bytes:
    row = {"T": 1790000000000, "s": symbol, "S": "Buy", "v": "0.1", "p": price, "i": number, "BT": False} | more
    message = {"topic": f"publicTrade.{symbol}", "ts": 1790000000001, "type": "snapshot", "data": [row]}
    return json.dumps(message, separators=(",", ":")).encode()


@pytest.mark.parametrize(
    ("text", "market", "symbol"),
    [
        (book_text("delta", 2, 3), "bybit_linear", "BTCUSDT"),
        (book_text("delta", 2, 3).replace(b'"type":"delta","ts":1790000000105', b'"ts":1790000000105,"type":"delta"'),
         "bybit_spot", "BTCUSDT"),
        (book_text("snapshot", 2, 3, depth=1), "", "BTCUSDT"),
        (json.dumps(json.loads(book_text("delta", 2, 3)), sort_keys=True).encode(), "", "BTCUSDT"),
        (trade("2290000000050703789"), "bybit_spot", "BTCUSDT"),
        (trade("20f43950-0000-5b31-9112-a178eb6023af"), "bybit_linear", "BTCUSDT"),
        (b'{"op":"pong","args":["1"]}', "", ""), (b'{"topic":"tickers.BTCUSDT","data":{}}', "", ""), (b"[1]", "", ""),
        (b'{"topic":"publicTrade.X","data":7}', "", "X"), (b'{"topic":"orderbook.50.X","data":{"b":7,"a":1}}', "", "X"),
    ],
)  # fmt: skip
def test_a_line_says_whose_it_is_as_far_as_it_tells(text, market, symbol):
    said = recognise(json.loads(text))
    assert (said.market, said.symbol) == (market, symbol)


def test_what_a_capture_holds_is_found_from_its_lines(tmp_path):
    book = book_text("snapshot", 2, 3, [("100.1", "0.25")], [("100.3", "0.5")], depth=1)
    info = detect(write(tmp_path / "some.txt", [book, trade("77", "100.1"), trade("78", "5", "ETHUSDT")]))
    assert (info.symbols, info.market, info.snapshots) == (("BTCUSDT", "ETHUSDT"), "bybit_spot", 1)
    assert (info.ticks[0], info.lots[0]) == (10_000_000, 5_000_000)


@needs_data
def test_the_recorded_contract_is_played_to_its_end_on_paper(tmp_path):
    env = os.environ | {"HFTPIPE_STATE_DIR": str(tmp_path / "state")}
    path = write(tmp_path / "xrp.txt", recorded("2024-12-01_XRPUSDT_ob500*.jsonl"))
    assert detect(path).market == "bybit_linear"
    out = tmp_path / "summary.json"
    done = hftpipe(env, "run", "--replay", str(path), "--speed", "max", "--json", str(out))
    assert done.returncode == 0, done.stderr[-2000:]
    summary = json.loads(out.read_text())
    stage = summary["counters"]["market_data"]
    assert (stage["book_updates"], stage["bad_messages"], stage["invalidations"]) == (50, 0, 0), stage
    assert summary["reason"] == "end of the recording"


@needs_data
def test_books_of_all_recorded_lines_are_checked_without_a_problem(tmp_path):
    checked = check_book(write(tmp_path / "xrp.txt", recorded("2024-12-01_XRPUSDT_ob500*.jsonl")))
    assert (checked.applied, checked.gaps, checked.crossed, checked.errors) == (50, 0, 0, 0)
    assert checked.states == {"XRPUSDT": "VALID"} and not checked.ok, "there is nothing to compare with"


def test_trades_of_one_message_are_published_each_with_its_own_time_and_block_trades_are_not(tmp_path):
    rows = [
        {
            "T": 1790000000000 + at,
            "s": "BTCUSDT",
            "S": side,
            "v": f"0.00{at + 1}",
            "p": price,
            "i": str(70 + at),
            "BT": at == 1,
        }
        for at, (side, price) in enumerate([("Buy", "61000.1"), ("Sell", "60999.9"), ("Sell", "61000.0")])
    ]
    message = {"topic": "publicTrade.BTCUSDT", "type": "snapshot", "ts": 1790000000009, "data": rows}
    texts = [
        book_text("snapshot", 2, 3, [("60999.9", "1")], [("61000.1", "1")]),
        json.dumps(message, separators=(",", ":")).encode(),
        book_text("snapshot", 9, 4, [("61000.0", "2")], [("61000.1", "1")], depth=1),
    ]
    records, _ = records_of(write(tmp_path / "bybit_btcusdt.txt", texts))
    made = records[records["kind"] == TRADE]
    assert made["exchange_ts"].tolist() == [1790000000000 * 10**6, 1790000000002 * 10**6]
    assert made["price"].tolist() == [6100010000000, 6100000000000] and made["qty"].tolist() == [100_000, 300_000]
    assert made["side"].tolist() == [BUY, SELL] and made["id"].tolist() == [70, 72]
    assert made["local_ts"].tolist() == [1790000000009 * 10**6] * 2
    tops = records[records["kind"] == TOP]
    assert tops["price"].tolist() == [6100000000000, 6100010000000] and tops["id"].tolist() == [4, 4]


def _market(rounds: int, lie_at: int = -1) -> list[bytes]:
    """A book whose best bid grows, and its best prices beside, told at the same moments."""
    rng, made, bid = np.random.default_rng(5), [], 10_000
    made.append(book_text("snapshot", 100, 1, [("100.00", "1")], [("200.00", "1")]))
    for at in range(rounds):
        old, bid = bid, bid + int(rng.integers(1, 5))
        told = f"{bid + (at == lie_at):d}"
        price = f"{told[:-2]}.{told[-2:]}"
        top = book_text("snapshot", 900 + at, 2 + at, [(price, "1")], [("200.00", "1")], depth=1)
        levels = [(f"{old / 100:.2f}", "0"), (f"{bid / 100:.2f}", "1")]
        made += [top, book_text("delta", 101 + at, 2 + at, levels)]
    return made


def test_levels_are_checked_against_the_best_prices_by_what_both_count_by(tmp_path):
    fine = check_book(write(tmp_path / "fine.txt", _market(500)))
    assert fine.ok and fine.compared >= 500 and fine.mismatched == 0
    assert not check_book(write(tmp_path / "lie.txt", _market(500, lie_at=250))).ok
