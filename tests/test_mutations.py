"""Messages of the venues, broken at random: nothing crashes, no decoder reads more into one than the other, no fill is made up.

``HFTPIPE_MUTATIONS`` says how many of each kind (a few thousand unless it does); the same number makes the same messages.
"""

import json
import os
import random
from collections.abc import Callable, Iterator
from decimal import Decimal

import pytest
from bybit_orders_rig import Desk as BybitDesk
from bybit_rig import Decoders as BybitDecoders
from orders_rig import ONE
from orders_rig import Desk as BinanceDesk
from test_binance_scanner import DEPTH_SPOT, DEPTH_USDM, TICKER_SPOT, TICKER_USDM, TRADE_OLD, TRADE_SPOT
from test_binance_scanner import Decoders as BinanceDecoders
from websocket_server import frame

from hftpipe.core.schema.records import LEFT

COUNT = int(os.environ.get("HFTPIPE_MUTATIONS", "4000"))
ID = 0x0102_0000_65A1_0007
QTY = ONE // 100
BINANCE = (DEPTH_USDM, DEPTH_SPOT, TICKER_USDM, TICKER_SPOT, TRADE_SPOT, TRADE_OLD)
BYBIT = (
    b'{"topic":"orderbook.50.BTCUSDT","type":"delta","ts":1790000000125,"data":{"s":"BTCUSDT","b":[["61000.00","0"]],'
    b'"a":[["61000.30","0.100"],["61000.20","0.750"]],"u":4100002,"seq":99000000009},"cts":1790000000121}',
    b'{"topic":"orderbook.1.BTCUSDT","ts":1790000000105,"type":"snapshot","data":{"s":"BTCUSDT","b":[["61000.10","1.203"]],'
    b'"a":[["61000.20","0.800"]],"u":4100001,"seq":99000000001},"cts":1790000000102}',
    b'{"topic":"publicTrade.BTCUSDT","type":"snapshot","ts":1790000000110,"data":[{"T":1790000000108,"s":"BTCUSDT","S":"Buy",'
    b'"v":"0.010","p":"61000.20","L":"PlusTick","i":"20f43950-0000-5b31-9112-a178eb6023af","BT":false,"RPI":false}]}',
)
_LETTERS = b'0123456789.-+eE"\\{}[]:,tfn \x00\xff'


def mutations(texts: tuple[bytes, ...], seed: int) -> Iterator[bytes]:
    """Cut, changed, doubled, swapped: one to three times each."""
    draw = random.Random(seed)
    for _ in range(COUNT):
        text = bytearray(draw.choice(texts))
        for _ in range(draw.randint(1, 3)):
            at, other = draw.randrange(len(text)), draw.randrange(len(text))
            kind = draw.randrange(5)
            if kind == 0:
                text = text[: at + 1]
            elif kind == 1:
                text[at] = draw.choice(_LETTERS)
            elif kind == 2:
                text[at:at] = text[min(at, other) : max(at, other)]
            elif kind == 3:
                del text[min(at, other) : min(at, other) + draw.randint(1, 8)]
            else:
                text[at:at] = bytes(draw.choice(_LETTERS) for _ in range(draw.randint(1, 25)))
            text = text or bytearray(b"{")
        yield bytes(text)


@pytest.mark.parametrize(
    ("make", "texts"), [(BinanceDecoders, BINANCE), (BybitDecoders, BYBIT)], ids=["binance", "bybit"]
)
def test_no_decoder_reads_more_into_a_broken_message_than_the_other(
    make: Callable[[], object], texts: tuple[bytes, ...]
) -> None:
    decoders = make()
    for text in mutations(texts, COUNT):
        decoders.agree(text)


def binance_texts(desk: BinanceDesk, id_: int) -> tuple[bytes, ...]:
    """What the venue may say of an order that has filled in part, as an answer and as an event."""
    result = {
        "orderId": 9001, "symbol": "BTCUSDT", "status": "NEW", "price": "61000.00", "clientOrderId": desk.text(id_),
        "executedQty": "0.000", "origQty": "0.010", "updateTime": 1790000000000,
    }  # fmt: skip
    event = {
        "e": "executionReport", "E": 1, "s": "BTCUSDT", "c": desk.text(id_), "C": "", "x": "TRADE", "X": "PARTIALLY_FILLED",
        "i": 9001, "l": "0.004", "z": "0.004", "L": "60999.90", "n": "0.00000400", "N": "BTC", "T": 1790000000001, "t": 77,
        "m": True, "q": "0.010", "p": "61000.00",
    }  # fmt: skip
    made = [{"id": f"{id_:016x}n00000001", "status": 200, "result": result}, {"subscriptionId": 0, "event": event}]
    return tuple(json.dumps(one, separators=(",", ":")).encode() for one in made)


def bybit_texts(desk: BybitDesk, id_: int) -> tuple[bytes, ...]:
    """The same of Bybit."""
    made = [
        {"topic": "order.linear", "data": [desk.order(id_)]},
        {"topic": "execution.linear", "data": [desk.execution("0.004", 1, id_), desk.execution("0.002", 2, id_)]},
    ]
    return tuple(json.dumps(one, separators=(",", ":")).encode() for one in made)


@pytest.mark.parametrize(
    ("make", "texts", "link"),
    [(lambda: BinanceDesk("spot"), binance_texts, 0), (BybitDesk, bybit_texts, 1)],
    ids=["binance", "bybit"],
)
def test_no_broken_message_makes_up_an_execution_or_ends_the_reading(
    make: Callable[[], object], texts: Callable[[object, int], tuple[bytes, ...]], link: int
) -> None:
    """Whatever is booked is no more than the order, at a price that is written in the message, and the next message is read."""
    desk = make()
    assert desk.new(ID) == LEFT
    desk.requests()
    for count, text in enumerate(mutations(texts(desk, ID), COUNT)):
        desk.theirs[link].sendall(frame(text))
        for kind, _id, price, qty, *_ in desk.poll():
            if kind == "fill":
                assert qty > 0 and price > 0
                shown = {
                    str(Decimal(price).scaleb(-8).normalize()),
                    f"{Decimal(price).scaleb(-8):f}".rstrip("0").rstrip("."),
                }
                assert any(one.encode() in text for one in shown), (price, text)
        if desk.state(ID) not in ("PENDING_NEW", "WORKING", "PARTIAL", "UNKNOWN") or count % 500 == 499:
            # A message may say that the order has ended, or filled beyond what it is: the next one is another order's.
            desk.close()
            desk = make()
            assert desk.new(ID) == LEFT
        desk.questions()
        desk.unanswered()
    desk.theirs[link].sendall(frame(texts(desk, ID)[0]))
    desk.poll()
    assert desk.counter("messages") > 0
