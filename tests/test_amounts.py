"""Prices and quantities as text: against Decimal, for every kind of step, and refused where they are no multiple."""

from decimal import Decimal

import numpy as np
import pytest
from hypothesis import example, given
from hypothesis import strategies as st
from memory import address, aligned

from hftpipe.core.machine.digits import TEXT_BYTES, eight_digits, write_amount
from hftpipe.core.machine.fixed import INT64_MAX, INT64_MIN, SCALE, format_fixed, parse_decimal
from hftpipe.core.schema.amounts import AMOUNTS, amounts_table, decimals_of
from hftpipe.core.schema.instruments import INSTRUMENT
from hftpipe.core.trading.amounts import write_price, write_qty

#: Steps as venues have them, in 1e-8: 1e-8 to 100, with one, five, two and odd ones before the zeros.
VENUE_STEPS = [1, 5, 10, 25, 10**4, 10**6, 5 * 10**6, SCALE // 2, SCALE, 5 * SCALE, 10 * SCALE, 100 * SCALE]
STEPS = st.sampled_from(VENUE_STEPS) | st.integers(1, 10**12) | st.integers(1, INT64_MAX)
FILL = 0xAA


def rows(tick: int, lot: int) -> np.ndarray:
    made = np.zeros(2, INSTRUMENT)
    made["symbol"], made["tick"], made["lot"] = [b"OTHER", b"TEST"], [7, tick], [3, lot]
    return made


def written(write, step: int, value: int) -> bytes | None:
    """The text of ``value``, whose step is the price's or the quantity's; None if it is refused."""
    is_price = write is write_price
    table = amounts_table(rows(step, 1) if is_price else rows(1, step))
    memory = aligned(table.nbytes)
    memory[:] = table.view(np.uint8)
    buffer = np.full(64, FILL, np.uint8)
    end = int(write(address(memory), np.int64(1), np.int64(value), address(buffer)))
    assert (buffer[TEXT_BYTES:] == FILL).all(), "written behind the room for a text"
    if end == 0:
        assert (buffer == FILL).all(), "refused, but written"
        return None
    return buffer[: end - buffer.ctypes.data].tobytes()


def twin(step: int, value: int) -> bytes | None:
    """The same by Decimal: as many decimals as the step has once its zeros are off."""
    if value <= 0 or value % step:
        return None
    decimals = max(0, -int(Decimal(step).scaleb(-8).normalize().as_tuple().exponent))
    return f"{Decimal(value).scaleb(-8):.{decimals}f}".encode()


def parsed(text: bytes) -> int:
    buffer = np.frombuffer(text, np.uint8)
    ok, value = parse_decimal(address(buffer), address(buffer) + np.uint64(len(text)))
    assert ok, text
    return int(value)


@pytest.mark.parametrize("write", [write_price, write_qty], ids=["price", "qty"])
@given(data=st.data())
def test_every_multiple_of_the_step_is_written_exactly_and_read_back(write, data: st.DataObject) -> None:
    step = data.draw(STEPS)
    most = INT64_MAX // step
    value = step * data.draw(st.integers(1, most) | st.integers(1, min(most, 10**6)) | st.sampled_from([1, most]))
    text = written(write, step, value)
    assert text == twin(step, value) and text is not None and parsed(text) == value


@pytest.mark.parametrize("write", [write_price, write_qty], ids=["price", "qty"])
@given(step=STEPS, value=st.integers(INT64_MIN, INT64_MAX) | st.integers(-10, 10**12))
@example(step=SCALE // 2, value=SCALE // 4)
@example(step=2**62, value=2**62)
@example(step=2**62, value=2**61)
@example(step=3, value=INT64_MIN)
@example(step=1, value=0)
@example(step=1, value=-1)
@example(step=2, value=-2)
@example(step=INT64_MAX, value=INT64_MAX)
def test_what_is_no_multiple_or_not_above_0_is_refused(write, step: int, value: int) -> None:
    assert written(write, step, value) == twin(step, value)


@pytest.mark.parametrize(
    ("step", "value", "text"),
    [
        (1, 1, b"0.00000001"), (1, INT64_MAX, b"92233720368.54775807"), (SCALE // 2, 3 * SCALE // 2, b"1.5"),
        (5 * SCALE // 100, 5 * SCALE, b"5.00"), (5 * SCALE, 15 * SCALE, b"15"), (10 * SCALE, 60_000 * SCALE, b"60000"),
        (100 * SCALE, 92_233_720_300 * SCALE, b"92233720300"), (SCALE // 10, 61_800 * SCALE, b"61800.0"),
        (SCALE // 1000, SCALE // 1000, b"0.001"), (SCALE, 100_000_000 * SCALE, b"100000000"),
        (SCALE, 99_999_999 * SCALE, b"99999999"),
    ],
)  # fmt: skip
def test_texts_that_venues_take(step: int, value: int, text: bytes) -> None:
    assert written(write_price, step, value) == written(write_qty, step, value) == text


@given(st.integers(0, INT64_MAX) | st.integers(0, 10**10), st.integers(0, 8))
@example(0, 0)
@example(0, 8)
@example(INT64_MAX, 8)
@example(10**16 - 1, 8)
@example(10**16, 0)
def test_an_amount_is_cut_to_its_decimals_as_the_slow_twin_cuts_it(value: int, decimals: int) -> None:
    buffer = np.full(64, FILL, np.uint8)
    end = int(write_amount(address(buffer), np.int64(value), np.int64(decimals)) - address(buffer))
    text = buffer[:end].tobytes()
    assert text.decode() == format_fixed(value, decimals) and len(text) <= 20
    assert parsed(text) == value - value % 10 ** (8 - decimals)
    assert (buffer[TEXT_BYTES:] == FILL).all()


@given(st.integers(0, SCALE - 1))
@example(0)
@example(SCALE - 1)
@example(9_999)
@example(99_990_000)
def test_eight_digits_are_those_of_the_number(number: int) -> None:
    assert "".join(map(str, int(eight_digits(np.uint64(number))).to_bytes(8, "little"))) == f"{number:08d}"


def test_each_instrument_has_a_line_of_its_own_and_its_own_decimals() -> None:
    table = amounts_table(rows(SCALE // 2, 5 * SCALE))
    assert table.dtype == AMOUNTS and AMOUNTS.itemsize == 64
    assert table["price"]["decimals"].tolist() == [8, 1] and table["qty"]["decimals"].tolist() == [8, 0]
    assert [decimals_of(step) for step in (1, 5, 10, SCALE // 20, SCALE // 2, SCALE, 5 * SCALE, 10**10)] == [
        8, 8, 7, 2, 1, 0, 0, 0,
    ]  # fmt: skip


@pytest.mark.parametrize(("tick", "lot", "complaint"), [(0, 1, "TEST: tick 0"), (1, -1, "TEST: lot -1")])
def test_a_step_that_is_not_above_0_is_refused_by_name(tick: int, lot: int, complaint: str) -> None:
    with pytest.raises(ValueError, match=complaint):
        amounts_table(rows(tick, lot))
