"""The book check: real captures come out clean, and a wrong book cannot pass for a cut inside a burst."""

import gzip

import orjson
import pytest
from data import DATA, needs_data

from hftpipe.capture.check_book import check_book, render
from hftpipe.capture.reader import CaptureError

USDM = DATA / "binance-usdm-2024" / "usdm_btcusdt_20240808.gz"


def depth(first: int, last: int, bids=(), asks=(), symbol: str = "BTCUSDT") -> dict:
    return {
        "e": "depthUpdate", "E": last, "s": symbol, "U": first, "u": last,
        "b": [[str(p), str(q)] for p, q in bids], "a": [[str(p), str(q)] for p, q in asks],
    }  # fmt: skip


def ticker(last: int, bid, bid_qty, ask, ask_qty, symbol: str = "BTCUSDT") -> dict:
    return {"u": last, "s": symbol, "b": str(bid), "B": str(bid_qty), "a": str(ask), "A": str(ask_qty)}


SNAPSHOT = {"lastUpdateId": 100, "bids": [["99", "1"], ["98", "2"]], "asks": [["101", "1"], ["102", "2"]]}


def write(tmp_path, *messages, tail: bytes = b""):
    path = tmp_path / "feed.txt"
    lines = [b"%d %s\n" % (n + 1, m if isinstance(m, bytes) else orjson.dumps(m)) for n, m in enumerate(messages)]
    path.write_bytes(b"".join(lines) + tail)
    return path


def counts(check) -> tuple[int, int, int]:
    return check.compared, check.mismatched, check.transient


def test_a_right_book_compares_equal_wherever_the_ticker_stands_in_the_file(tmp_path):
    check = check_book(
        write(
            tmp_path, SNAPSHOT, ticker(95, 99, 1, 101, 1), depth(99, 102, bids=[(99, 3)]),
            depth(103, 105, asks=[(101, 0)]), ticker(102, 99, 3, 101, 1), ticker(104, 99, 3, 102, 2),
            depth(106, 110, bids=[("99.5", 1)]), ticker(109, "99.5", 1, 102, 2), ticker(111, 98, 1, 99, 1),
        )
    )  # fmt: skip
    assert counts(check) == (3, 0, 0)
    assert check.ok
    assert (check.applied, check.gaps, check.errors, check.states) == (3, 0, 0, {"BTCUSDT": "VALID"})


# A taker eats the best ask (101) and part of the next; the venue cuts depth between the two, at id 105.
BURST = (
    SNAPSHOT, depth(99, 102), ticker(101, 99, 1, 101, 1), depth(103, 105, asks=[(101, 0)]),
    depth(106, 110, asks=[(102, "0.5")]), ticker(107, 99, 1, 102, "0.5"),
)  # fmt: skip


def test_a_cut_inside_a_burst_is_transient(tmp_path):
    check = check_book(write(tmp_path, *BURST))
    assert counts(check) == (3, 0, 1)
    assert check.ok


@pytest.mark.parametrize("mark", ["quantity", "better"])
def test_the_other_two_ways_a_cut_shows_are_transient_too(tmp_path, mark):
    change = [(101, "0.3")] if mark == "quantity" else [("100.5", 4)]
    after = [(101, "0.2")] if mark == "quantity" else [("100.5", 0), (101, "0.2")]
    check = check_book(
        write(
            tmp_path,
            *BURST[:3],
            depth(103, 105, asks=change),
            depth(106, 110, asks=after),
            ticker(107, 99, 1, 101, "0.2"),
        )
    )
    assert counts(check) == (3, 0, 1)


def test_a_mismatch_that_stays_is_no_transient(tmp_path):
    """The book kept 101 deleted although the venue still has it."""
    check = check_book(write(tmp_path, *BURST[:4], depth(106, 110), ticker(107, 99, 1, 101, 1)))
    assert counts(check) == (3, 2, 0)
    assert not check.ok


def test_a_mismatch_without_a_following_ticker_in_the_next_update_is_no_transient(tmp_path):
    late = ticker(111, 99, 1, 102, "0.5")
    check = check_book(write(tmp_path, *BURST[:4], depth(106, 110, asks=[(101, 1)]), late))
    assert counts(check) == (3, 1, 0)


def test_a_mismatch_the_update_does_not_explain_is_no_transient(tmp_path):
    """A level lost before (the venue's ask 101 is not in the book) heals at the next update: still a wrong book."""
    wrong = {**SNAPSHOT, "asks": [["102", "2"]]}
    right_after = depth(106, 110, asks=[(102, "0.5")])
    check = check_book(
        write(
            tmp_path, wrong, ticker(98, 99, 1, 102, 2), depth(99, 102), ticker(103, 99, 1, 101, 1),
            depth(103, 105, bids=[(98, 1)]), right_after, ticker(107, 99, 1, 102, "0.5"),
        )
    )  # fmt: skip
    assert counts(check) == (3, 1, 0)


def test_a_ghost_level_that_disappears_by_itself_is_no_transient(tmp_path):
    ghost = {**SNAPSHOT, "bids": [["99", "1"], ["100", "5"]]}
    check = check_book(
        write(
            tmp_path, ghost, ticker(98, 100, 5, 101, 1), depth(99, 102), ticker(103, 99, 1, 101, 1),
            depth(103, 105, asks=[(102, 1)]), depth(106, 110, bids=[(100, 0), (99, 2)]), ticker(107, 99, 2, 101, 1),
        )
    )  # fmt: skip
    assert counts(check) == (3, 1, 0)


def test_many_transients_are_a_failure(tmp_path):
    messages, last = [SNAPSHOT, depth(99, 102), ticker(101, 99, 1, 101, 1)], 102
    for qty in range(2, 8):
        messages += [
            depth(last + 1, last + 2, asks=[(101, f"0.{qty}")]), depth(last + 3, last + 9, asks=[(101, qty)]),
            ticker(last + 5, 99, 1, 101, qty),
        ]  # fmt: skip
        last += 9
    check = check_book(write(tmp_path, *messages))
    assert (check.mismatched, check.transient) == (0, 6)
    assert not check.ok


def test_a_capture_without_snapshot_stays_syncing_and_says_so(tmp_path):
    check = check_book(write(tmp_path, *BURST[1:]))
    assert (check.states, check.compared, check.ok) == ({"BTCUSDT": "SYNCING"}, 0, False)
    text = render(check)
    assert "book BTCUSDT SYNCING" in text
    assert "no snapshot" in text


def test_a_gap_and_a_crossed_book_fail_the_check(tmp_path):
    gap = check_book(write(tmp_path, *BURST, depth(120, 121)))
    assert (gap.gaps, gap.ok, gap.states) == (1, False, {"BTCUSDT": "INVALID"})
    crossed = check_book(write(tmp_path, *BURST, depth(111, 112, bids=[(103, 1)])))
    assert (crossed.crossed, crossed.ok) == (1, False)


def test_bad_lines_and_messages_are_counted_and_shown(tmp_path):
    check = check_book(
        write(tmp_path, *BURST, b'{"e":"trade"', b'{"e":"trade"}', b'{"result":null,"id":1}', tail=b"no time {}\n")
    )
    assert (check.errors, check.ok, counts(check)) == (3, False, (3, 0, 1))
    text = render(check)
    assert "line 8: key" in text
    assert "2 lines are not" in text


def test_damage_to_the_file_is_reported_after_what_was_read(tmp_path):
    path = write(tmp_path, *BURST)
    path.write_bytes(gzip.compress(path.read_bytes())[:-6])
    check = check_book(path)
    assert (counts(check), check.errors, check.ok) == ((3, 0, 1), 1, False)
    assert "cut off" in render(check)


def test_two_symbols_are_checked_apart_and_a_bare_snapshot_belongs_to_neither(tmp_path):
    bare = check_book(write(tmp_path, *BURST, depth(1, 2, symbol="ETHUSDT")))
    assert bare.compared == 0
    assert set(bare.states.values()) == {"SYNCING"}
    assert "name no instrument" in render(bare)
    named = [{"stream": f"{name}@depthSnapshot", "data": SNAPSHOT} for name in ("btcusdt", "ethusdt")]
    other = [{**message, "s": "ETHUSDT"} for message in BURST[1:3]]
    check = check_book(write(tmp_path, *named, *BURST[1:], *other))
    assert (check.states, check.ok) == ({"BTCUSDT": "VALID", "ETHUSDT": "VALID"}, True)
    assert counts(check) == (4, 0, 1)


def test_trades_are_counted_and_odd_ones_apart(tmp_path):
    trade = {"e": "trade", "E": 1, "T": 1, "s": "BTCUSDT", "t": 1, "p": "1", "q": "1", "X": "MARKET", "m": True}
    check = check_book(write(tmp_path, *BURST, trade, {**trade, "X": "NA", "p": "0", "q": "0"}))
    assert (check.trades, check.ignored_trades) == (1, 1)


def test_render_names_every_count(tmp_path):
    lines = render(check_book(write(tmp_path, *BURST))).splitlines()
    for line in (
        "compared 3",
        "mismatched 0",
        "transient 1",
        "gaps 0",
        "crossed 0",
        "depth events applied 3",
        "lines 6",
    ):
        assert line in lines


def test_a_file_that_is_no_capture_is_refused(tmp_path):
    path = tmp_path / "nothing"
    path.write_bytes(b"hello\n")
    with pytest.raises(CaptureError, match="no local time"):
        check_book(path)


@needs_data
@pytest.mark.parametrize(
    ("name", "compared"),
    [
        ("binance-usdm-2024/usdm_btcusdt_20240808.gz", 6546),
        ("binance-spot-2024/spot_btcusdt_20240808.gz", 3449),
        ("binance-spot-2024/spot_ethusdt_20240808.gz", 3432),
    ],
)
def test_recorded_books_are_rebuilt_without_a_mismatch(name, compared):
    check = check_book(DATA / name)
    assert (check.compared, check.mismatched, check.gaps, check.crossed, check.errors) == (compared, 0, 0, 0, 0)
    assert check.ok


def rewritten(tmp_path, change):
    """The USD-M capture with each depth update passed through ``change`` (None drops it)."""
    path = tmp_path / "changed.txt"
    with gzip.open(USDM) as source, path.open("wb") as target:
        number = 0
        for line in source:
            if b'"depthUpdate"' in line:
                number += 1
                line = change(number, line)
            if line is not None:
                target.write(line)
    return path


@needs_data
def test_one_dropped_update_of_a_real_capture_is_a_gap(tmp_path):
    check = check_book(rewritten(tmp_path, lambda number, line: None if number == 3000 else line))
    assert (check.gaps, check.ok) == (1, False)


@needs_data
def test_lost_deletes_of_a_real_capture_are_mismatches(tmp_path):
    """As a decoder that sometimes loses zero quantities would make them."""

    def lose_deletes(number: int, line: bytes) -> bytes:
        if number % 50 != 0:
            return line
        stamp, _, text = line.partition(b" ")
        message = orjson.loads(text)
        for side in "ba":
            message["data"][side] = [row for row in message["data"][side] if float(row[1]) != 0]
        return stamp + b" " + orjson.dumps(message) + b"\n"

    check = check_book(rewritten(tmp_path, lose_deletes))
    assert check.mismatched + check.crossed > 0
    assert not check.ok
