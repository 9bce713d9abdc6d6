"""The index from symbol to id against a dictionary."""

import numpy as np
from hypothesis import given
from hypothesis import strategies as st
from memory import address

from hftpipe.core.schema.instruments import INSTRUMENT, SYMBOL_BYTES, symbols_table
from hftpipe.core.trading.symbols import find_symbol

names = st.text("ABCDEFGHIJKLMNOPQRSTUVWXYZ0123456789_-", min_size=1, max_size=SYMBOL_BYTES)


def table_of(symbols: list[str]) -> np.ndarray:
    rows = np.zeros(len(symbols), INSTRUMENT)
    rows["symbol"] = [symbol.encode() for symbol in symbols]
    return symbols_table(rows)


def find(table: np.ndarray, text: str) -> int:
    """Looked up in the middle of other text, as in a message."""
    data = np.frombuffer(b'"' + text.encode() + b'","USDTUSDTUSDTUSDTUSDTUSDT', np.uint8)
    return int(find_symbol(address(table), address(data) + np.uint64(1), np.int64(len(text.encode()))))


@given(st.lists(names, min_size=1, max_size=40, unique=True), st.lists(names, max_size=20))
def test_it_finds_what_is_there_and_nothing_else(symbols: list[str], others: list[str]) -> None:
    table, ids = table_of(symbols), {symbol: index for index, symbol in enumerate(symbols)}
    for text in (*symbols, *others, *(one[:-1] for one in symbols), *(one + "X" for one in symbols)):
        assert find(table, text) == ids.get(text, -1), text


def test_five_thousand_symbols_are_told_apart() -> None:
    symbols = [f"{base}{quote}" for quote in ("USDT", "USDC", "BTC") for base in (f"COIN{n}" for n in range(1667))]
    table = table_of(symbols)
    assert [find(table, symbol) for symbol in symbols] == list(range(len(symbols)))
    assert {find(table, f"NONE{n}USDT") for n in range(1000)} == {-1}


def test_a_text_that_is_too_long_or_empty_is_no_symbol() -> None:
    table = table_of(["A" * SYMBOL_BYTES])
    assert find(table, "A" * SYMBOL_BYTES) == 0
    assert find(table, "A" * (SYMBOL_BYTES + 1)) == -1 and find(table, "") == -1
