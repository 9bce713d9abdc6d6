"""Arithmetic of an author's that has no right answer ends the strategy by name: it never goes on with a wrong number."""

import math
import os
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from machine_code import problems
from strategy_rig import Rig
from test_strategy_loader import refused, write

from hftpipe.strategy.compile.loader import LoadedStrategy, load
from hftpipe.strategy.faults import decode

TOP = """import math

class Mine(Strategy):
    zero: int = state(0)
    one: int = state(1)
    large: int = state(2**62)
    nothing: float = state(0.0)
    half: float = state(0.5)
    x: float = state()
    flag: bool = state(False)
    ints: int = state(shape=3)
    n: int = state(7)
    f: float = state(7.0)

    def on_timer(self, ctx):
        """
LINE = 4 + TOP.count("\n") + 1


def run_once(tmp_path: Path, line: str) -> Rig:
    """A stage whose strategy's timer has done this line once."""
    rig = Rig(load(write(tmp_path, TOP + line + "\n")))
    rig.timer()
    rig.run()
    return rig


def raised_by(tmp_path: Path, line: str) -> tuple[str, str, str, int]:
    """What that line raised: class, message, file, line."""
    rig = run_once(tmp_path, line)
    assert rig.seats[0]["failed"] == 4, "nothing was raised"
    return decode(int(rig.seats[0]["raised"]))


DIVISIONS = [
    "self.n = self.one // self.zero",
    "self.n = self.one % self.zero",
    "self.n = 3 - 10 // (self.one - self.one)",
    "self.n //= self.zero",
    "self.n %= self.zero",
    "self.n = divmod(self.one, self.zero)[0]",
    "self.n = np.uint64(self.one) // np.uint64(self.zero)",
    "self.f = self.one / self.zero",
    "self.f = self.half / self.nothing",
    "self.f = self.half / self.zero",
    "self.f = self.one / self.nothing",
    "self.f = self.half // self.nothing",
    "self.f = self.half % self.nothing",
    "self.f /= self.nothing",
    "self.f = divmod(self.half, self.nothing)[0]",
    "self.f = self.nothing**-1",
    "self.f = divmod(self.f, self.nothing)[1]",
    "self.f = np.float32(self.half) / np.float32(self.nothing)",
    "self.f = self.one / self.flag",
    "self.n = self.one // self.ints[1]",
    "self.ints[0] //= self.zero",
]


@pytest.mark.parametrize("line", DIVISIONS)
def test_a_division_by_zero_is_a_fault_of_its_own_line(tmp_path: Path, line: str) -> None:
    kind, message, file, number = raised_by(tmp_path, line)
    assert (kind, file, number) == ("ZeroDivisionError", f"{tmp_path}/mine.py", LINE) and "zero" in message


@pytest.mark.parametrize("line", ["self.n = self.zero ** (self.zero - 1)", "self.f = abs(1j / (1j * self.nothing))"])
def test_a_division_by_zero_inside_another_operation_is_a_fault_too(tmp_path: Path, line: str) -> None:
    assert raised_by(tmp_path, line)[0] == "ZeroDivisionError"


@pytest.mark.parametrize("decorator", ["", "@njit\n", "@njit(error_model='numpy')\n"])
def test_a_division_by_zero_in_a_helper_is_a_fault_of_the_helpers_line(tmp_path: Path, decorator: str) -> None:
    body = (
        f"from numba import njit\n\n{decorator}def share(a, b):\n    return a / b\n\n" + TOP + "self.f = self._of(3)\n"
    )
    body += "    def _of(self, x):\n        return share(x, self.zero)\n"
    rig = Rig(load(write(tmp_path, body)))
    rig.timer()
    rig.run()
    kind, _, file, line = decode(int(rig.seats[0]["raised"]))
    assert (kind, file, line) == ("ZeroDivisionError", f"{tmp_path}/mine.py", 8 + decorator.count("\n"))
    assert rig.self_record["f"] == 7.0


def test_an_author_may_catch_a_division_by_zero(tmp_path: Path) -> None:
    body = "try:\n            self.n = self.one // self.zero\n        except Exception:\n            self.n = -1"
    rig = run_once(tmp_path, body)
    assert rig.seats[0]["failed"] == 0 and rig.self_record["n"] == -1


@pytest.mark.parametrize(
    "line",
    [
        "self.n = self.large + self.large",
        "self.n = self.large * 2",
        "self.n = 2 * self.large",
        "self.n = -self.large - self.large - 1",
        "self.n += 2**63 - 1",
        "self.n = self.large * self.large",
        "self.n = self.large * ctx.tick()",
        "self.ints[0] = self.large; self.ints[0] *= 4",
    ],
)
def test_a_result_beyond_int64_is_a_fault_and_does_not_wrap(tmp_path: Path, line: str) -> None:
    kind, message, file, number = raised_by(tmp_path, line)
    assert (kind, file, number) == ("OverflowError", f"{tmp_path}/mine.py", LINE)
    assert message == "the result does not fit an int64"


def test_unsigned_numbers_wrap_for_who_wants_that(tmp_path: Path) -> None:
    """A generator of random numbers lives on it."""
    line = "self.n = np.int64(np.uint64(self.n) * np.uint64(6364136223846793005) + np.uint64(1442695040888963407))"
    rig = run_once(tmp_path, line)
    expected = (7 * 6364136223846793005 + 1442695040888963407) % 2**64
    assert rig.seats[0]["failed"] == 0 and int(rig.self_record["n"]) % 2**64 == expected


@pytest.mark.parametrize(
    "form",
    [
        "int(self.x)", "round(self.x)", "math.floor(self.x)", "math.ceil(self.x)", "math.trunc(self.x)", "np.int64(self.x)",
        "self.x", "int(np.float32(self.x))",
    ],
)  # fmt: skip
def test_a_float_that_no_int64_is_near_is_a_fault_where_it_becomes_one(tmp_path: Path, form: str) -> None:
    loaded = load(write(tmp_path, TOP + f"self.n = {form}; self.ints[1] = self.x\n"))
    for value in (math.nan, math.inf, -math.inf, 1e30, 2.0**63, -(2.0**64)):
        rig = Rig(loaded)
        rig.self_record["x"] = value
        rig.timer()
        rig.run()
        kind, message, _, number = decode(int(rig.seats[0]["raised"]))
        assert (kind, number, rig.self_record["n"]) == ("ValueError", LINE, 7)
        assert message == "NaN, infinity and floats beyond int64 have no integer"
    for value in (-(2.0**63), 0.0, 2.0**62):
        rig = Rig(loaded)
        rig.self_record["x"] = value
        rig.timer()
        rig.run()
        assert rig.seats[0]["failed"] == 0 and rig.self_record["n"] == value == rig.self_record["ints"][1]


def test_a_float_that_no_int64_is_near_is_a_fault_in_an_array_too(tmp_path: Path) -> None:
    assert raised_by(tmp_path, "self.ints[1] = self.half * 1e30")[0] == "ValueError"


@pytest.mark.parametrize(
    ("line", "name"),
    [
        ("self.f = np.divide(self.half, self.nothing)", "'np.divide'"),
        ("self.n = np.floor_divide(self.one, self.zero)", "'np.floor_divide'"),
        ("self.n = np.mod(self.one, self.zero)", "'np.mod'"),
        ("self.n = np.remainder(self.one, self.zero)", "'np.remainder'"),
        ("self.n = np.fmod(self.one, self.zero)", "'np.fmod'"),
        ("self.f = np.reciprocal(self.nothing)", "'np.reciprocal'"),
        ("self.ints //= self.zero", "an array is divided"),
        ("self.ints %= self.zero", "an array is divided"),
        ("a = self.ints; a //= 2", "an array is divided"),
    ],
)
def test_a_division_that_would_not_look_at_its_divisor_is_refused(tmp_path: Path, line: str, name: str) -> None:
    message = refused(tmp_path, TOP + line + "\n")
    assert message.startswith(f"{tmp_path}/mine.py:{LINE}: on_timer: ") and name in message, message
    assert "divides by zero" in message


# --- the value of a quantity ------------------------------------------------------------------------

VALUE = """class Mine(Strategy):
    price: int = state()
    qty: int = state()
    inexact: float = state()
    value: int = state()
    of_float: int = state()

    def on_timer(self, ctx):
        self.value = ctx.value(self.price, self.qty)
        self.of_float = ctx.value(self.inexact, self.qty)
"""
E8, MOST = 10**8, 2**63 - 1


@pytest.fixture(scope="module")
def valued(tmp_path_factory: pytest.TempPathFactory) -> LoadedStrategy:
    return load(write(tmp_path_factory.mktemp("value"), VALUE))


def values(loaded: LoadedStrategy, price: int, qty: int, inexact: Any = 0.0) -> tuple[int, int]:
    rig = Rig(loaded)
    rig.self_record["price"], rig.self_record["qty"], rig.self_record["inexact"] = price, qty, inexact
    rig.timer()
    rig.run()
    assert rig.seats[0]["failed"] == 0
    return int(rig.self_record["value"]), int(rig.self_record["of_float"])


@given(st.integers(-(2**63), MOST), st.integers(-(2**63), MOST))
def test_a_value_is_exact_and_stands_at_the_end_where_it_does_not_fit(
    valued: LoadedStrategy, price: int, qty: int
) -> None:
    product = abs(price * qty) // E8
    exact = product if (price < 0) == (qty < 0) else -product
    assert values(valued, price, qty)[0] == max(-MOST, min(MOST, exact))


def test_a_value_of_what_is_no_number_is_above_every_limit(valued: LoadedStrategy) -> None:
    assert values(valued, 60_000 * E8, E8 // 2, 60_000.0 * E8) == (30_000 * E8, 30_000 * E8)
    for bad in (math.nan, math.inf, -math.inf, 1e19):
        assert values(valued, 0, E8, bad)[1] == MOST


def test_the_arguments_of_a_value_must_be_numbers(tmp_path: Path) -> None:
    line = "self.n = ctx.value('1', 2)"
    assert "ctx.value: price must be a number" in refused(tmp_path, TOP + line + "\n")


# --- engine code in an author's hook ----------------------------------------------------------------------

ENGINE_ONLY = """class Mine(Strategy):
    n: int = state()
    f: float = state()

    def on_book(self, ctx, book):
        self.n = ctx.value(book.ask, ctx.lot())
        self.n = ctx.value(book.microprice(), ctx.position())
        self.n = ctx.average_price()
        self.n = ctx.unrealised()
        self.n = ctx.round_down(self.f)
        self.n = ctx.round_up(book.mid())
        self.n = ctx.open_qty(BUY)
        self.n = book.depth(BID, 5)
        self.f = book.imbalance(5)
        self.f = book.spread_bps()
        ctx.quote(0, BUY, book.bid, ctx.lot())
        ctx.buy(self.f, ctx.lot(), IOC)
        ctx.replace(self.n, book.bid, ctx.lot())
        ctx.cancel_all()
"""


def test_engine_code_that_a_hook_calls_has_no_way_to_raise_and_nothing_it_must_not_call(tmp_path: Path) -> None:
    """Its divisions and products are bounded by itself: they are compiled with numpy's model wherever they are used."""
    # Code that comes from the cache cannot be read: this source is another one each time.
    loaded = load(write(tmp_path, f"# {os.urandom(8).hex()}\n{ENGINE_ONLY}"))
    library = loaded.bound.keep[0]._library
    ir, asm = library.get_llvm_str(), library.get_asm_str()
    assert ".const.picklebuf" not in ir and problems(ir, asm) == set()
