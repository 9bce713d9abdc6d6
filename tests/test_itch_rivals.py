"""Other people's ITCH software reads what the encoder writes, and comes to the same messages, trades and books."""

import numpy as np
import pytest
from itch_reference import SHARE, block, directory, message, random_flow
from itch_rig import FeedRig

from hftpipe.core.schema.records import TRADE
from hftpipe.simulation.matching import memory as matching_memory
from hftpipe.venues.nasdaq.itch import encode
from hftpipe.venues.nasdaq.itch.messages import MESSAGE_LENGTHS

I64, U64 = np.int64, np.uint64


class Writer:
    """An encoder and the messages it has written, as length-prefixed blocks."""

    def __init__(self, symbol: str = "TEST", locate: int = 7):
        self.state = np.zeros(1, encode.ENCODER)
        encode.encoder_init(self.state, locate, symbol, SHARE)
        self.address = U64(self.state.ctypes.data)
        self.buffer = np.zeros(256, np.uint8)
        self.target = U64(self.buffer.ctypes.data)
        self.blocks = bytearray()

    def put(self, function, *values) -> int:
        size = int(function(self.address, *values, self.target))
        if size > 0:
            self.blocks += self.buffer[:size].tobytes()
        return size

    def messages(self) -> list[bytes]:
        texts, at = [], 0
        while at < len(self.blocks):
            size = int.from_bytes(self.blocks[at : at + 2], "big")
            texts.append(bytes(self.blocks[at + 2 : at + 2 + size]))
            at += 2 + size
        return texts


def written_day() -> Writer:
    """One of every message that the encoder knows, in an order that makes sense."""
    w, t = Writer(), I64(34_200_000_000_000)
    w.put(encode.encode_system, I64(ord("O")), t)
    w.put(encode.encode_directory, t)
    w.put(encode.encode_add, U64(1), I64(0), U64(500), U64(1_000_000), t)
    w.put(encode.encode_add, U64(2), I64(1), U64(300), U64(1_000_100), t)
    w.put(encode.encode_executed, U64(1), U64(100), U64(41), t)
    w.put(encode.encode_executed_price, U64(1), U64(50), U64(42), I64(ord("Y")), U64(1_000_050), t)
    w.put(encode.encode_executed_price, U64(1), U64(25), U64(43), I64(ord("N")), U64(1_000_050), t)
    w.put(encode.encode_cancel, U64(1), U64(25), t)
    w.put(encode.encode_replace, U64(2), U64(3), U64(200), U64(1_000_200), t)
    w.put(encode.encode_trade, I64(0), U64(10), U64(1_000_000), U64(44), t)
    w.put(encode.encode_add, U64(4), I64(0), U64(5), U64(999_900), t)
    w.put(encode.encode_delete, U64(4), t)
    return w


def test_written_messages_are_what_struct_would_write():
    t = 34_200_000_000_000
    texts = written_day().messages()
    assert texts[2] == message("A", 7, 1, b"B", 500, b"TEST    ", 1_000_000, time_ns=t)
    assert texts[4:12] == [
        message("E", 7, 1, 100, 41, time_ns=t),
        message("C", 7, 1, 50, 42, b"Y", 1_000_050, time_ns=t),
        message("C", 7, 1, 25, 43, b"N", 1_000_050, time_ns=t),
        message("X", 7, 1, 25, time_ns=t),
        message("U", 7, 2, 3, 200, 1_000_200, time_ns=t),
        message("P", 7, 0, b"B", 10, b"TEST    ", 1_000_000, 44, time_ns=t),
        message("A", 7, 4, b"B", 5, b"TEST    ", 999_900, time_ns=t),
        message("D", 7, 4, time_ns=t),
    ]
    assert all(len(text) == MESSAGE_LENGTHS[chr(text[0])] for text in texts)


def test_what_is_written_is_read_back():
    rig = FeedRig()
    for text in written_day().messages():
        rig.apply(text)
    assert rig.levels(0, 0) == {100 * 10**8: 300 * SHARE}
    assert rig.levels(0, 1) == {10_002_000_000: 200 * SHARE}
    assert rig.state["trades"] == 3 and rig.state["damages"] == 0


EVENTS = {
    "ADD": (encode.EVENT_ADD, "A"), "EXECUTE": (encode.EVENT_EXECUTE, "E"), "CANCEL": (encode.EVENT_CANCEL, "X"),
    "DELETE": (encode.EVENT_DELETE, "D"), "REPLACE": (encode.EVENT_REPLACE, "U"), "EXPIRE": (encode.EVENT_EXPIRE, ""),
}  # fmt: skip


@pytest.mark.parametrize("name", sorted(EVENTS))
def test_every_event_of_a_matching_book_has_its_message(name):
    kind, letters = EVENTS[name]
    assert kind == getattr(matching_memory, name)
    w = Writer()
    w.put(encode.encode_event, I64(kind), U64(5), U64(6), I64(1), I64(10**8), I64(3 * SHARE), U64(9), I64(1))
    assert "".join(chr(text[0]) for text in w.messages()) == letters
    assert w.state["messages"][0] == len(letters)


def test_an_amended_order_leaves_and_comes_back_because_numbers_are_used_once():
    w = Writer()
    w.put(
        encode.encode_event, I64(encode.EVENT_REPLACE), U64(5), U64(5), I64(1), I64(10**8), I64(SHARE), U64(0), I64(1)
    )  # fmt: skip
    assert [chr(text[0]) for text in w.messages()] == ["D", "A"]


@pytest.mark.parametrize(
    ("price", "qty"), [(1, SHARE), (10**8, 1), (0, SHARE), (2**32 * 10_000, SHARE), (10**8, -SHARE)]
)
def test_what_the_wire_cannot_say_is_refused_and_counted(price, qty):
    w = Writer()
    assert w.put(encode.encode_event, I64(1), U64(5), U64(0), I64(0), I64(price), I64(qty), U64(0), I64(1)) == -1
    assert w.state["refused"][0] == 1 and w.state["messages"][0] == 0


def flow_blocks(count: int = 20_000) -> bytes:
    texts = [directory(7, "TEST"), *random_flow(11, count)]
    return b"".join(block(text) for text in texts)


def blocks_of(data: bytes) -> list[bytes]:
    texts, at = [], 0
    while at < len(data):
        size = int.from_bytes(data[at : at + 2], "big")
        texts.append(data[at + 2 : at + 2 + size])
        at += 2 + size
    return texts


def test_itchfeed_reads_the_same_fields():
    parser = pytest.importorskip("itch.parser", reason="itchfeed is not installed (extra: itch)")
    written = written_day()
    theirs = list(parser.MessageParser().parse_stream(bytes(written.blocks)))
    assert [m.to_bytes() for m in theirs] == written.messages()
    assert (theirs[1].stock, theirs[1].round_lot_size) == (b"TEST    ", 100)
    assert (theirs[8].new_order_reference_number, theirs[8].shares, theirs[8].price) == (3, 200, 1_000_200)


def test_the_message_lengths_are_those_of_itchfeed():
    messages = pytest.importorskip("itch.messages", reason="itchfeed is not installed (extra: itch)")
    theirs = {kind.decode(): cls.message_size for kind, cls in messages.messages.items()}
    assert theirs == MESSAGE_LENGTHS


def test_itchcpp_comes_to_the_same_top_of_book():
    book = pytest.importorskip("itchcpp.book", reason="itchcpp is not installed (extra: itch)")
    data, rig = flow_blocks(), FeedRig(1 << 15)
    manager = book.BookManager()
    manager.process_stream(data)
    for text in blocks_of(data):
        rig.apply(text)
    bbo, ours = manager.book_for_symbol("TEST").bbo(), rig.book()
    assert (round(bbo.bid_price * 10**4) * 10**4, bbo.bid_shares * SHARE) == (ours["bid"], ours["bid_qty"])
    assert (round(bbo.ask_price * 10**4) * 10**4, bbo.ask_shares * SHARE) == (ours["ask"], ours["ask_qty"])


def test_itch_book_sees_the_same_trades_and_every_top_of_book():
    core = pytest.importorskip("itch_book._core", reason="itch-book is not installed (extra: itch)")
    data, rig = flow_blocks(), FeedRig(1 << 15)
    session = core.Session(["bbo", "trades"], 10, [])
    session.feed(data)
    theirs, their_trades = session.take_bbo(), session.take_trades()
    tops, trades, last = [], [], None
    for text in blocks_of(data):
        records, b = rig.apply(text), rig.book()
        trades += [(int(r["price"]), int(r["qty"])) for r in records if r["kind"] == TRADE]
        top = tuple(int(b[name]) for name in ("bid", "bid_qty", "ask", "ask_qty"))
        if top != last and text[:1] != b"R":
            tops.append(top)
            last = top
    scale = {"bid_px": 10**4, "bid_sz": SHARE, "ask_px": 10**4, "ask_sz": SHARE}
    columns = [theirs[name].astype(np.int64) * unit for name, unit in scale.items()]
    assert list(zip(*(column.tolist() for column in columns))) == tops
    prices, sizes = their_trades["px"].astype(np.int64), their_trades["size"].astype(np.int64)
    assert list(zip((prices * 10**4).tolist(), (sizes * SHARE).tolist())) == trades
