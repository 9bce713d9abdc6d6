"""The reader of captures knows no venue: the text of one that nobody has heard of is read through its codec alone."""

from collections.abc import Iterator

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from memory import address

from hftpipe.core.machine.jit import entry, jit
from hftpipe.core.machine.mem import U64, call_words, load_u8, view
from hftpipe.core.schema.instruments import INSTRUMENT
from hftpipe.core.trading.book import BOOK
from hftpipe.core.trading.books import book_at
from hftpipe.venues.codecs import BUILT_IN, CodecError, codec_of, codecs
from hftpipe.venues.contract import Codec, Evidence
from hftpipe.venues.message import FALLBACK, IGNORED, LEVELS_APPLIED, MESSAGE, MESSAGE_BYTES, OK, TRADE, Symbols
from hftpipe.venues.taped.cursor import (
    CURSOR,
    DECODED,
    NEED_CHUNK,
    NEED_DECODE,
    REFUSED,
    WAITING,
    follow,
    is_ours,
    read_line,
    read_message,
)
from hftpipe.venues.taped.rebuild import Rebuild

#: Its messages are one digit in braces: the instrument; 7 is none of ours, 8 a kind not traded on. A letter is for its slow decoder,
#: which knows "a" (the first instrument) and refuses the others.
DIGIT_ZERO, NOT_TRADED = ord("0"), 8


@entry("int64(uint64, uint64, uint64, uint64)")
def scan_digit(text, end, symbols, message):
    letter = np.int64(load_u8(text + U64(1)))
    if end != text + U64(3) or letter > DIGIT_ZERO + 9:
        return np.int64(FALLBACK)
    m = view(message, MESSAGE)
    m.kind, m.instrument = TRADE, letter - DIGIT_ZERO
    if m.instrument == NOT_TRADED:
        m.kind = IGNORED
    return np.int64(OK)


@entry("int64(uint64, uint64, uint64)")
def follow_digit(sync, book, message):
    view(sync, BOOK).update_id += 1
    view(book, BOOK).update_id += 1
    return np.int64(LEVELS_APPLIED)


def decode_letter(text: bytes, symbols: Symbols, memory: np.ndarray) -> str | None:
    header = memory[:MESSAGE_BYTES].view(MESSAGE)
    header["kind"], header["instrument"] = TRADE, symbols.ids["A"]
    return None if text == b"{a}" else f"no letter of mine: {text.decode()}"


def syncs_init(memory: np.ndarray, levels: np.ndarray, markets: object) -> None:
    n = len(levels)
    memory[: 8 * n] = (memory.ctypes.data + 64 + BOOK.itemsize * np.arange(n)).view(np.uint8)


CODEC = Codec(
    ("digits",), "a digit", scan_digit.address, decode_letter, follow_digit.address,
    lambda levels: 64 + BOOK.itemsize * len(levels), syncs_init,
    lambda memory, levels: np.split(memory[64:][: BOOK.itemsize * len(levels)].view(BOOK), len(levels)), lambda payload: Evidence(),
)  # fmt: skip


@pytest.fixture(autouse=True, scope="module")
def _registered() -> Iterator[None]:
    with pytest.MonkeyPatch.context() as patch:
        patch.setitem(BUILT_IN, "digits", f"{__name__}:CODEC")
        yield


@jit
def book_of(book):
    """The newest update that a book has."""
    return view(book, BOOK).update_id


@jit
def run(cursor, books):
    """Read on until Python is needed; returns how many messages were followed."""
    done = np.int64(0)
    while read_line(cursor):
        found = read_message(cursor)
        if found == WAITING:
            return done
        if found == DECODED and is_ours(cursor):
            instrument = view(view(cursor, CURSOR).message, MESSAGE).instrument
            done += follow(cursor, book_at(books, instrument)) == LEVELS_APPLIED
    return done


class Reader:
    def __init__(self) -> None:
        self.cursor = np.zeros(1, CURSOR)
        instruments = np.zeros(2, INSTRUMENT)
        instruments["symbol"], instruments["tick"] = [b"A", b"B"], 1
        self.rebuild = Rebuild(self.cursor, "digits", instruments)
        self.refusals, self.followed = list[str](), 0

    def read(self, text: bytes) -> None:
        """Whole lines of text, to their end."""
        self.rebuild.page.give(np.frombuffer(text, np.uint8))
        self.followed += int(run(address(self.cursor), np.uint64(self.rebuild.books)))
        while self["need"] == NEED_DECODE:
            reason = self.rebuild.page.decode()
            self.refusals += [reason] if reason else []
            self.followed += int(run(address(self.cursor), np.uint64(self.rebuild.books)))
        assert self["need"] == NEED_CHUNK

    def __getitem__(self, name: str) -> int:
        return int(self.cursor[name][0])


COUNTERS = ("lines", "bad_lines", "slow_decodes", "bad_messages", "ignored_messages", "unknown_symbols")


def counted_slowly(lines: list[bytes]) -> dict[str, int]:
    """What a reader counts, line by line in plain Python."""
    found = dict.fromkeys((*COUNTERS, "followed"), 0)
    for line in lines:
        found["lines"] += 1
        stamp, _, rest = line.partition(b" ")
        if not (stamp.isdigit() and rest.startswith(b"{") and rest.endswith(b"}")):
            found["bad_lines"] += 1
            continue
        letter = rest[1:2]
        found["slow_decodes"] += letter.isalpha()
        if letter.isalpha() and letter != b"a":
            found["bad_messages"] += 1
        elif letter == b"8":
            found["ignored_messages"] += 1
        elif letter == b"7":
            found["unknown_symbols"] += 1
        else:
            found["followed"] += 1
    return found


LINES = st.sampled_from((b"1 {0}", b"2 {1}", b"3 {7}", b"4 {8}", b"5 {a}", b"6 {x}", b"", b"none", b"7 [0]", b"8 {0"))


@given(st.lists(st.lists(LINES, min_size=1, max_size=6), max_size=5))
def test_each_line_is_read_once_whatever_the_chunks_and_whoever_decodes_it(chunks: list[list[bytes]]) -> None:
    reader = Reader()
    for chunk in chunks:
        reader.read(b"".join(line + b"\n" for line in chunk))
    slowly = counted_slowly([line for chunk in chunks for line in chunk])
    assert {name: reader[name] for name in COUNTERS} | {"followed": reader.followed} == slowly
    assert len(reader.refusals) == slowly["bad_messages"] and reader["line_ready"] == reader["message_ready"] == 0


def test_what_follows_a_message_is_the_codecs_and_finds_its_own_place_by_the_table() -> None:
    reader = Reader()
    reader.read(b"1 {0}\n2 {1}\n3 {1}\n4 {a}\n")
    assert reader.rebuild.syncs["update_id"].tolist() == [2, 2]
    assert [book_of(reader.rebuild.book(index)) for index in range(2)] == [2, 2]


def test_a_refusal_is_said_and_the_line_after_it_is_read() -> None:
    reader = Reader()
    reader.read(b"1 {x}\n2 {0}\n")
    assert reader.refusals == ["no letter of mine: {x}"] and reader.followed == 1 and reader["bad_messages"] == 1
    assert REFUSED < WAITING < DECODED


def test_every_market_of_a_codec_is_found_by_it_and_no_other_is() -> None:
    for codec in codecs():
        assert codec_of(codec.markets) is codec and set(codec.markets) <= set(BUILT_IN)
    assert {market for codec in codecs() for market in codec.markets} == set(BUILT_IN)
    for markets in ([], ["nobody"], [*BUILT_IN, "nobody"]):
        with pytest.raises(CodecError, match="no reader of captures of"):
            codec_of(markets)


def test_markets_of_two_codecs_are_not_read_together() -> None:
    assert codec_of(["digits"]).events == "a digit"
    with pytest.raises(CodecError, match="digits, binance_spot together"):
        codec_of(["digits", "binance_spot"])


@jit
def _called(function, a, b):
    return call_words(function, (a, b))


@entry("int64(uint64, uint64)")
def less(a, b):
    return np.int64(a - b)


def test_words_are_handed_to_a_c_function_in_order() -> None:
    assert _called(np.uint64(less.address), np.uint64(9), np.uint64(4)) == 5
