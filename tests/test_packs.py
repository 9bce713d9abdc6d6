"""Coins whose quantities no int64 of 1e-8 holds: in packs, both ways to and from the venue's text, and in a whole run."""

import gzip
import json
import os
import re
from collections.abc import Iterator
from decimal import Decimal
from pathlib import Path

import numpy as np
import pytest
from data import DATA, needs_data
from hypothesis import example, given
from hypothesis import strategies as st
from memory import address, aligned
from running import hftpipe
from test_binance_scanner import DEPTH_USDM, SAMPLES, TICKER_SPOT, Decoders

from hftpipe.capture.check_book import BookCheck, check_book
from hftpipe.capture.detect import detect
from hftpipe.config import ConfigError, load
from hftpipe.core.machine.digits import TEXT_BYTES
from hftpipe.core.machine.fixed import INT64_MAX
from hftpipe.core.schema.amounts import amounts_table
from hftpipe.core.schema.instruments import INSTRUMENT, MAX_POWER
from hftpipe.core.schema.spreads import common_sets
from hftpipe.core.trading.amounts import write_price, write_qty
from hftpipe.venues.binance.scanner import FALLBACK, OK

USDM = DATA / "binance-usdm-2024" / "usdm_btcusdt_20240808.gz"
LINES = 6_000
#: Amounts of packs: those of the default configuration, times what a quantity of 1 of the capture has become.
PACK_LIMITS = """
[risk.limits.BTTCUSDT]
max_order_qty = "1000000"
max_market_order_qty = "1000000"
max_order_notional = "10000000000"
max_position = "10000000"
max_intent_age_ms = 60000
max_book_age_ms = 60000
[controls]
max_gross_notional = "10000000000"
max_drawdown = "10000000000"
max_daily_loss = "10000000000"
[strategy.params]
order_size = "10000"
max_inventory = "100000"
"""
POWERS = st.integers(1, MAX_POWER)
PACKED = {power: Decoders(power) for power in range(MAX_POWER + 1)}


def text_of(units: int, places: int, spare: int = 0) -> str:
    """Units of 10**-places as a venue writes them, with zeros to spare."""
    plain = f"{Decimal(units).scaleb(-places):f}"
    return plain + ("" if "." in plain else ".") + "0" * max(spare, "." not in plain)


def depth(*levels: tuple[str, str]) -> bytes:
    rows = ",".join(f'["{price}","{qty}"]' for price, qty in levels)
    return DEPTH_USDM[: DEPTH_USDM.index(b'"b":[')] + f'"b":[{rows}],"a":[{rows}]}}}}'.encode()


# --- from the venue ------------------------------------------------------------------------------


@given(
    power=POWERS,
    levels=st.lists(st.tuples(st.integers(0, INT64_MAX), st.integers(0, INT64_MAX), st.integers(0, 3)), max_size=4),
)
@example(power=MAX_POWER, levels=[(INT64_MAX, INT64_MAX, 0), (1, 1, 3)])
def test_both_decoders_read_every_price_and_quantity_of_a_pack_to_the_last_unit(power: int, levels: list) -> None:
    decoders = PACKED[power]
    text = depth(*((text_of(p, 8 + power, spare), text_of(q, 8 - power, spare)) for p, q, spare in levels))
    assert decoders.agree(text) == OK
    assert decoders.levels() == 2 * [[price, qty] for price, qty, _ in levels]


@given(power=POWERS, price=st.integers(0, INT64_MAX), qty=st.integers(0, INT64_MAX))
def test_best_prices_and_trades_are_in_packs_too(power: int, price: int, qty: int) -> None:
    decoders, p, q = PACKED[power], text_of(price, 8 + power), text_of(qty, 8 - power)
    ticker = f'{{"u":7,"s":"BTCUSDT","b":"{p}","B":"{q}","a":"{p}","A":"{q}"}}'.encode()
    assert decoders.agree(ticker) == OK
    assert [int(decoders.head()[name]) for name in ("bid", "bid_qty", "ask", "ask_qty")] == [price, qty, price, qty]
    trade = f'{{"e":"trade","E":5,"s":"BTCUSDT","t":9,"p":"{p}","q":"{q}","T":5,"m":true}}'.encode()
    assert decoders.agree(trade) == OK
    assert (int(decoders.head()["price"]), int(decoders.head()["qty"])) == (price, qty)


@pytest.mark.parametrize("sample", SAMPLES)
@pytest.mark.parametrize("power", range(1, MAX_POWER + 1))
@given(data=st.data())
def test_whatever_stands_where_a_number_should_both_decoders_agree(
    sample: bytes, power: int, data: st.DataObject
) -> None:
    numbers = [found.span(1) for found in re.finditer(rb'"([0-9.]+)"', sample)]
    start, end = data.draw(st.sampled_from(numbers))
    odd = data.draw(st.text("0123456789.-e", max_size=45)).encode()
    PACKED[power].agree(sample[:start] + odd + sample[end:])


@pytest.mark.parametrize(
    ("power", "price", "qty", "why"),
    [
        (3, "0.1", "1.000001", "more than 5 decimals"), (8, "0.1", "1.5", "more than 0 decimals"),
        (2, "0.00000000001", "1", "more than 10 decimals"), (2, "0.1", "9223372036855", "too large"),
        (2, "922337203.7", "1", "too large"),
    ],
)  # fmt: skip
def test_a_number_that_would_lose_a_unit_is_refused_by_name(power: int, price: str, qty: str, why: str) -> None:
    decoders, text = PACKED[power], depth((price, qty))
    assert decoders.agree(text) == FALLBACK
    assert why in str(decoders.decode(text))


def test_numbers_before_their_symbol_are_for_the_slow_decoder() -> None:
    early = b'{"u":7,"b":"61837.63","B":"300000000000","a":"61837.64","A":"5","s":"BTCUSDT"}'
    assert PACKED[4].agree(early) == FALLBACK and PACKED[4].decode(early) is None
    assert int(PACKED[4].head()["bid_qty"]) == 30_000_000 * 10**8
    plain = early.replace(b"300000000000", b"3")
    assert PACKED[0].agree(plain) == OK == PACKED[0].agree(TICKER_SPOT)


# --- to the venue --------------------------------------------------------------------------------


@given(power=st.integers(0, MAX_POWER), step=st.integers(1, 10**10), data=st.data())
@example(power=8, step=1, data=None)
@pytest.mark.parametrize("write", [write_price, write_qty], ids=["price", "qty"])
def test_an_order_is_written_in_the_venue_s_units_and_is_the_same_amount(write, power: int, step: int, data) -> None:
    most = INT64_MAX // step
    value = step * (data.draw(st.integers(1, most) | st.integers(1, min(most, 9_999))) if data else most)
    rows = np.zeros(1, INSTRUMENT)
    rows["symbol"], rows["power"], rows["tick"], rows["lot"] = b"A", power, step, step
    table = aligned(64)
    table[:] = amounts_table(rows).view(np.uint8)
    room = np.full(64, 0xAA, np.uint8)
    end = int(write(address(table), np.int64(0), np.int64(value), address(room))) - room.ctypes.data
    text = room[:end].tobytes().decode()
    places = 8 + power if write is write_price else 8 - power
    assert Decimal(text) == Decimal(value).scaleb(-places) and (room[TEXT_BYTES:] == 0xAA).all()
    # As many decimals as the step has, whatever the value.
    decimals = max(0, -int(Decimal(step).scaleb(-places).normalize().as_tuple().exponent))
    assert len(text.partition(".")[2]) == decimals and not re.match("0[0-9]", text)


# --- a market of trillions -----------------------------------------------------------------------


def in_trillions(line: str) -> str:
    """A line of the capture with prices a millionth and quantities 10**12 times what they are."""

    def shifted(found: re.Match[str]) -> str:
        return f'["{Decimal(found[1]).scaleb(-6):.8f}","{Decimal(found[2]).scaleb(12):.1f}"]'

    line = re.sub(r'\["([0-9.]+)","([0-9.]+)"\]', shifted, line)
    for price, qty in (("b", "B"), ("a", "A"), ("p", "q")):
        line = re.sub(rf'"{price}":"([0-9.]+)"', lambda m, k=price: f'"{k}":"{Decimal(m[1]).scaleb(-6):.8f}"', line)
        line = re.sub(rf'"{qty}":"([0-9.]+)"', lambda m, k=qty: f'"{k}":"{Decimal(m[1]).scaleb(12):.1f}"', line)
    return line.replace("BTCUSDT", "BTTCUSDT").replace("btcusdt", "bttcusdt")


@pytest.fixture(scope="module")
def captures(tmp_path_factory: pytest.TempPathFactory) -> Iterator[tuple[Path, Path]]:
    """The start of a real capture, and the same market with other numbers."""
    folder = tmp_path_factory.mktemp("captures")
    with gzip.open(USDM, "rt") as file:
        lines = [line for _, line in zip(range(LINES), file, strict=False)]
    plain, trillions = folder / "plain.txt", folder / "trillions.txt"
    plain.write_text("".join(lines))
    trillions.write_text("".join(map(in_trillions, lines)))
    yield plain, trillions


def figures(check: BookCheck) -> tuple[object, ...]:
    return check.applied, check.compared, check.mismatched, check.transient, check.gaps, check.crossed, check.errors


@needs_data
def test_a_book_of_trillions_is_followed_as_the_same_book_in_small_numbers(captures: tuple[Path, Path]) -> None:
    plain, trillions = map(check_book, captures)
    assert plain.ok and trillions.ok and plain.compared > 100
    assert figures(trillions) == figures(plain)
    info = detect(captures[1])
    assert info.powers[0] > 0
    assert info.ticks[0] * 10**6 == detect(captures[0]).ticks[0] * 10 ** info.powers[0]


@needs_data
def test_a_run_on_it_trades_in_packs_and_says_so(captures: tuple[Path, Path], tmp_path: Path) -> None:
    out, config = tmp_path / "out.json", tmp_path / "packs.toml"
    config.write_text(PACK_LIMITS)
    env = {**os.environ, "HFTPIPE_STATE_DIR": str(tmp_path)}
    done = hftpipe(
        env, "run", "--config", str(config), "--name", "t-packs", "--json", str(out),
        "--set", f"market.replay={captures[1]}", "--set", "market.speed=20",
    )  # fmt: skip
    assert done.returncode == 0, done.stderr
    summary = json.loads(out.read_text())
    assert summary["events"] == LINES and summary["books_not_valid"] == 0
    assert summary["orders"] > 0 and not summary["rejects"], summary["rejects"]
    pack = 10 ** detect(captures[1]).powers[0]
    assert summary["instruments"]["BTTCUSDT"]["pack"] == pack
    assert summary["net_by_base"].get("BTTC", 0) == summary["position"] * pack
    assert f"x {pack:,} BTTC" in done.stdout


# --- what is refused -----------------------------------------------------------------------------


@pytest.mark.parametrize("pack", [0, 5, 20, 10**9, "10"])
def test_a_pack_that_is_no_power_of_ten_is_refused(tmp_path: Path, pack: object) -> None:
    file = tmp_path / "c.toml"
    file.write_text(f"[[instruments]]\npack = {json.dumps(pack)}\n")
    with pytest.raises(ConfigError, match=r"instruments\[0\]\.pack = .*allowed: 1 or a power of ten up to 100000000"):
        load([str(file)], {}, {})


def test_packs_of_different_size_are_compared_in_the_larger_one() -> None:
    rows = np.zeros(3, INSTRUMENT)
    rows["symbol"], rows["quote"], rows["power"] = [b"BTTCUSDT", b"BTTC-USDT", b"1000BTTCUSDT"], b"USDT", [4, 0, 0]
    rows["multiplier"], rows["tick"], rows["lot"] = 10**8, 1, 1
    assert common_sets(rows) == [[(0, 1), (1, 10_000), (2, 10)]]
