"""What a strategy cannot use: refused by name, with file and line, when its class is loaded."""

from pathlib import Path

import pytest
from strategy_rig import Rig
from test_strategy_loader import refused, write

from hftpipe.strategy.compile.loader import load

TOP = """import math
import os
import random
import time

import numba
from numba import carray, njit, objmode, types
from numba.extending import intrinsic
from numpy.lib.stride_tricks import as_strided
from numpy.random import normal

from hftpipe.core.machine.mem import store_i64

@intrinsic
def own(typingctx, x):
    return types.int64(types.int64), lambda context, builder, sig, args: args[0]

class Mine(Strategy):
    n: int = state()
    f: float = state()
    a: int = state(shape=8)
    b: int = state(shape=4)
    x: float = state(shape=(2, 3))

    def on_book(self, ctx, book):
        """
LINE = 4 + TOP.count("\n") + 1
MEMORY, HIDDEN, PYTHON = "without a check of its bounds", "a recording would not replay", "runs Python in the middle"


@pytest.mark.parametrize(
    ("line", "name", "why"),
    [
        # Memory that nobody measures.
        ("self.n = self.a.flat[9]", "'.flat' of an array", MEMORY),
        ("self.a.flat[self.n + 9] = 1", "'.flat' of an array", MEMORY),
        ("for v in self.a.flat: self.n += v", "'.flat' of an array", MEMORY),
        ("b = self.a; c = b; self.n = c.flat[9]", "'.flat' of an array", MEMORY),
        ("self.n = (lambda a: a.flat[9])(self.a)", "'.flat' of an array", MEMORY),
        ("v = self.a.reshape(8, 2**61 + 1); self.n = v[0, 9]", "'.reshape' of an array", MEMORY),
        ("v = self.a.view(np.int8)", "'.view' of an array", MEMORY),
        ("v = self.a.ctypes", "'.ctypes' of an array", MEMORY),
        ("v = carray(self.a.ctypes, (99,), np.int64)", "'carray'", MEMORY),
        ("v = numba.carray(self.a.ctypes, (99,), np.int64)", "'numba.carray'", MEMORY),
        ("v = as_strided(self.a, (4000,), (8,))", "'as_strided'", MEMORY),
        ("v = np.lib.stride_tricks.as_strided(self.a, (4000,), (8,))", "'np.lib.stride_tricks.as_strided'", MEMORY),
        ("v = np.frombuffer(self.a, np.int8)", "'np.frombuffer'", MEMORY),
        ("self.n = np.take(self.a, 99)", "'np.take'", MEMORY),
        ("for v in np.nditer(self.a): pass", "'np.nditer'", MEMORY),
        ("v = np.reshape(self.a, (2, 4))", "'np.reshape'", ""),
        ("self.b += self.a", "two arrays at once", "lengths are not compared"),
        ("np.add(self.b, self.b, self.a)", "two arrays at once", "lengths are not compared"),
        ("np.negative(self.b, self.a)", "two arrays at once", "lengths are not compared"),
        ("store_i64(8, 1)", "'store_i64'", ""),
        ("self.n = own(1)", "'own'", ""),
        # Another result in a replay.
        ("self.f = np.random.random()", "'np.random.random'", HIDDEN),
        ("m = np; self.f = m.random.random()", "random'", ""),
        ("self.f = normal()", "'normal'", HIDDEN),
        ("self.f = random.random()", "'random.random'", HIDDEN),
        ("self.n = hash(3)", "'hash'", HIDDEN),
        ("self.n = id(self)", "'id'", HIDDEN),
        ("self.f = time.time()", "'time.time'", "time is ctx.now"),
        ("self.n = os.getpid()", "'os.getpid'", ""),
        # Python in a hook.
        ("print(self.n)", "'print'", PYTHON),
        ("f = print; f(self.n)", "'print'", PYTHON),
        ("with objmode(): self.n", "'objmode'", PYTHON),
        ("with numba.objmode(y='int64'): y = 1", "'numba.objmode'", PYTHON),
        ("v = open('x')", "'open'", ""),
        ("v = numba.literally(self.n)", "'numba.literally'", ""),
    ],
)
def test_what_is_not_known_to_be_safe_is_refused_by_name(tmp_path: Path, line: str, name: str, why: str) -> None:
    message = refused(tmp_path, TOP + line + "\n")
    first = message.splitlines()[0]
    assert first.startswith(f"{tmp_path}/mine.py:{LINE}: on_book: "), message
    assert name in first and why in first, message
    assert line.split(";")[0] in message


ALLOWED = """from enum import IntEnum
from typing import NamedTuple

class Side(IntEnum):
    LEFT = 3

class Pair(NamedTuple):
    first: int
    second: int

STEPS = np.array([1, 2, 3])
WEIGHTS = (0.5, 0.25)

class Mine(Strategy):
    n: int = state(2)
    f: float = state()
    a: float = state(2.0, shape=8)
    g: float = state(shape=(2, 3))

    def on_timer(self, ctx):
        pair = Pair(1, 2)
        self.n += STEPS[1] + Side.LEFT + pair.second + len(STEPS) + self.a.size + self.g.shape[1] + self.a.ndim
        self.a *= 0.5
        self.a[1:3] = 4.0
        self.f = WEIGHTS[0] + math.sqrt(4.0) + np.sqrt(4.0) + np.exp(0.0) + abs(-1.0) + float(min(3, 2)) + round(1.2)
        self.f += self.a.sum() + np.mean(self.a) + np.float64(1) + np.pi - math.pi + divmod(7, 2)[0]
        for i, value in enumerate(self.a):
            if isinstance(value, float) and np.isfinite(value) and not math.isnan(value):
                self.f += i * 0
        for one, other in zip(self.a, self.a):
            self.f += one - other
        for index, value in np.ndenumerate(self.g):
            self.g[index] = index[0] + value
        self.g.fill(3.0)
        self.f += self.g.T[2, 1] + np.searchsorted(STEPS, 2) + sum((1, 2)) + self._bounded(3)
        try:
            self.n += STEPS[self.n]
        except Exception:
            self.n = -1

    def _bounded(self, n):
        double = lambda x: 2 * x
        return double(n) if n > 0 else 0
"""


def test_what_is_safe_can_be_used(tmp_path: Path) -> None:
    rig = Rig(load(write(tmp_path, "import math\n" + ALLOWED)))
    rig.timer()
    rig.run()
    assert rig.seats[0]["failed"] == 0 and rig.self_record["n"] == -1
    expected = 0.5 + 2 + 2 + 1 + 1 + 2 + 1 + (6 + 8) + 14 / 8 + 1 + 3 + 3.0 + 1 + 3 + 6
    assert rig.self_record["f"] == pytest.approx(expected)


@pytest.mark.parametrize("decorator", ["", "@njit\n", "@njit(boundscheck=False, error_model='python')\n"])
def test_an_index_in_a_function_of_the_authors_is_checked_however_it_is_decorated(
    tmp_path: Path, decorator: str
) -> None:
    body = (
        f"from numba import njit\n\n{decorator}def put(array, i):\n    array[i] = 7\n\nclass Mine(Strategy):\n"
        "    a: int = state(shape=4)\n    after: int = state()\n    def on_timer(self, ctx):\n        put(self.a, 4)\n"
    )
    rig = Rig(load(write(tmp_path, body)))
    rig.timer()
    rig.run()
    assert rig.seats[0]["failed"] == 4 and rig.self_record["after"] == 0


def test_a_compiled_function_that_is_not_taken_by_its_name_is_refused(tmp_path: Path) -> None:
    helper = tmp_path / "compiled_elsewhere.py"
    helper.write_text(
        "from numba import njit\n\n@njit\ndef put(array, i):\n    array[i] = 7\n\ndef plain(x):\n    return x\n"
    )
    body = "import compiled_elsewhere\n\nclass Mine(Strategy):\n    a: int = state(shape=4)\n    def on_timer(self, ctx):\n        "
    for use in ("compiled_elsewhere.put(self.a, 9)", "self.a[0] = compiled_elsewhere.plain(3)"):
        assert "import" in refused(tmp_path, body + use + "\n") and "by its name" in refused(
            tmp_path, body + use + "\n"
        )


def test_a_function_inside_a_function_is_not_passed_on_unchecked(tmp_path: Path) -> None:
    body = (
        "def call(f, array):\n    return f(array, 9)\n\nclass Mine(Strategy):\n    a: int = state(shape=4)\n    n: int = state()\n"
        "    def on_timer(self, ctx):\n        def get(array, i):\n            return array[i]\n        self.n = call(get, self.a)\n"
    )
    assert "a function inside a function cannot be passed on" in refused(tmp_path, body)


def test_a_refusal_in_another_file_names_that_file(tmp_path: Path) -> None:
    helper = tmp_path / "helper_of_mine.py"
    helper.write_text("def first(array):\n    return array.flat[9]\n")
    body = "from helper_of_mine import first\n\nclass Mine(Strategy):\n    a: int = state(shape=4)\n    def on_timer(self, ctx):\n        self.a[0] = first(self.a)\n"
    message = refused(tmp_path, body)
    assert message.startswith(f"{helper}:2: on_timer: '.flat' of an array cannot be used")
    assert "return array.flat[9]" in message


RECURSIONS = {
    "of a function": ("def deep(n):\n    if n < 0:\n        return 1\n    return deep(n - 1) * 2\n", "deep(3)", "deep calls itself (deep calls deep)"),
    "without an end": ("def deep(n):\n    return deep(n + 1)\n", "deep(3)", "deep calls itself"),
    "of two functions": (
        "def odd(n):\n    return n if n < 1 else even(n - 1)\n\ndef even(n):\n    return n if n < 1 else odd(n - 1)\n", "odd(3)",
        "odd calls itself (odd calls even calls odd)",
    ),
    "of a method": ("", "self.go(3)", "go calls itself (go calls go)"),
    "of two methods": ("", "self.ping(3)", "ping calls itself (ping calls pong calls ping)"),
    "of a method by another name": ("", "self.alias(3)", "alias calls itself"),
    "of a function that is passed": ("def apply(f, n):\n    return n if n < 1 else f(f, n - 1)\n", "apply(apply, 3)", "apply calls itself"),
}  # fmt: skip


@pytest.mark.parametrize("kind", RECURSIONS)
def test_a_recursion_is_refused_by_the_names_in_it(tmp_path: Path, kind: str) -> None:
    functions, call, expected = RECURSIONS[kind]
    body = (
        "class Mine(Strategy):\n    n: int = state()\n    def on_timer(self, ctx):\n        self.n = " + call + "\n"
        "    def go(self, n):\n        return n if n < 1 else self.go(n - 1)\n"
        "    def ping(self, n):\n        return n if n < 1 else self.pong(n - 1)\n"
        "    def pong(self, n):\n        return n if n < 1 else self.ping(n - 1)\n"
        "    def alias(self, n):\n        me = self\n        return n if n < 1 else me.alias(n - 1)\n"
    )
    message = refused(tmp_path, functions + body)
    assert message.startswith(f"{tmp_path}/mine.py:") and f": on_timer: {expected}" in message, message
    quoted = message.splitlines()[-1].strip()
    assert f"{expected.split()[0]}(" in quoted or "f(f" in quoted, message


def test_a_function_that_is_called_again_and_again_is_no_recursion(tmp_path: Path) -> None:
    body = (
        "def half(x):\n    return x / 2\n\ndef quarter(x):\n    return half(half(x)) + half(1)\n\nclass Mine(Strategy):\n"
        "    f: float = state()\n    def cancel(self, ctx, id_):\n        return ctx.cancel(id_)\n"
        "    def on_timer(self, ctx):\n        self.f = quarter(half(4.0)) + half(quarter(4)) + self.cancel(ctx, 5)\n"
    )
    rig = Rig(load(write(tmp_path, body)))
    rig.timer()
    rig.run()
    assert rig.seats[0]["failed"] == 0 and rig.self_record["f"] == 0.5 + 0.5 + (1 + 0.5) / 2
