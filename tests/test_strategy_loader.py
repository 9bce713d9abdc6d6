"""Loading: every mistake an author can make is named by file, line and reason, before anything starts."""

import os
import subprocess
import sys
from pathlib import Path

import pytest

from hftpipe.core.machine.jit import CACHE_DIR
from hftpipe.strategy import StrategyError
from hftpipe.strategy.compile.loader import load, publish_params

HEAD = "from hftpipe.strategy import *\nimport numpy as np\n\n\n"


def write(tmp_path: Path, body: str, name: str = "mine.py") -> str:
    path = tmp_path / name
    path.write_text(HEAD + body)
    return f"{path}:Mine"


def refused(tmp_path: Path, body: str, params: dict | None = None) -> str:
    with pytest.raises(StrategyError) as caught:
        load(write(tmp_path, body), params)
    message = str(caught.value)
    assert "Traceback" not in message
    assert len(message.splitlines()) <= 4, message
    return message


HOOK = (
    "class Mine(Strategy):\n    x: float = state()\n    d: Price = state()\n    def on_book(self, ctx, book):\n        "
)


@pytest.mark.parametrize(
    ("line", "expected"),
    [
        ("self.x = ctx.nope", "ctx has no attribute 'nope'"),
        ("ctx.by(1, 2)", "did you mean 'buy'?"),
        ("self.y = 1", "self has no attribute 'y'"),
        ("self.x = book.bidd", "book has no attribute 'bidd'; did you mean 'bid'?"),
        ("self.x = undefined_name + 1", "name 'undefined_name' is not defined"),
        ("found = [{}]; found.append({1: 2})", "it allocates memory"),
        ("a = [1, 2]; a.append(3); self.x = a[1]", "it allocates memory"),
        ("self.x = np.zeros(3)[0]", "it allocates memory"),
        ("self.x = np.array([1.0, 2.0]).sum()", "it allocates memory"),
        ("self.x = 'text'", "cannot be stored in a float64 field"),
        ("import os; os.getpid()", "import inside a function"),
        ("ctx.buy('1', 2)", "ctx.buy: price must be a number"),
        ("ctx.buy(1)", "missing a required argument: 'qty'"),
        ("ctx.buy(1, 2, 0.5)", "ctx.buy: flags must be an integer"),
        ("ctx.cancel(1.5)", "ctx.cancel: the order id must be an integer"),
        ("book.level(0.5, 1)", "book.level: side must be an integer"),
        ("self._missing(ctx)", "self has no attribute '_missing'"),
        ("with open('x') as f: pass", "with (context manager)"),
    ],
)
def test_a_hook_that_does_not_compile_is_named_with_file_line_and_reason(tmp_path, line, expected):
    message = refused(tmp_path, HOOK + line + "\n")
    first = message.splitlines()[0]
    assert first.startswith(f"{tmp_path}/mine.py:9: on_book: "), message
    assert expected in first, message
    assert line.split(";")[0] in message


def test_a_mistake_in_a_helper_method_is_reported_at_its_own_line(tmp_path):
    body = HOOK + "self._quote(ctx)\n    def _quote(self, ctx):\n        self.x = ctx.nope\n"
    assert refused(tmp_path, body).startswith(f"{tmp_path}/mine.py:11: on_book: ctx has no attribute 'nope'")


def test_a_mistake_in_a_module_function_is_reported_at_its_own_line(tmp_path):
    body = "def twice(x):\n    return x * missing\n\n" + HOOK + "self.x = twice(2)\n"
    assert refused(tmp_path, body).startswith(f"{tmp_path}/mine.py:6: on_book: name 'missing' is not defined")


@pytest.mark.parametrize(
    ("body", "expected"),
    [
        ("class Mine(Strategy):\n    def on_order(self, ctx): pass\n", "on_order is not a hook"),
        ("class Mine(Strategy):\n    def on_fills(self, ctx, f): pass\n", "did you mean on_fill?"),
        ("class Mine(Strategy):\n    pass\n", "Mine has no hook"),
        ("class Mine(Strategy):\n    def on_book(self, book): pass\n", "on_book(self, book) must be on_book(self, ctx, book)"),
        ("class Mine(Strategy):\n    def on_timer(self, ctx, now): pass\n", "must be on_timer(self, ctx)"),
        ("class Mine(Strategy):\n    def on_timer(self, *ctx): pass\n", "must be on_timer(self, ctx)"),
        ("class Mine(Strategy):\n    def on_timer(self, ctx): yield 1\n", "without yield or async"),
        ("class Mine(Strategy):\n    x: str = param('a')\n    def on_timer(self, ctx): pass\n", "type str is not allowed"),
        ("class Mine(Strategy):\n    x: float = param(0.0, gt=0)\n    def on_timer(self, ctx): pass\n", "x = 0.0: must be a number above 0"),
        ("class Mine(Strategy):\n    x: float = state()\n    def on_timer(self, ctx): pass\n    def x(self): pass\n", ""),
        *((f"class Mine(Strategy):\n    n: int = state()\n    x: float = state(shape={shape})\n    def on_timer(self, ctx): pass\n",
           f"Mine.x: state(shape={shown}): must be a number of elements, or a tuple of 1 to 8 such, each at least 1, together")
          for shape, shown in (("10**10", "10000000000"), ("-4", "-4"), ("2.5", "2.5"), ("0", "0"), ("True", "True"), ("[4, 2]", "[4, 2]"),
                               ("(4, -2)", "(4, -2)"), ("(2**32, 2**32)", "(4294967296, 4294967296)"), ("()", "()"))),
        ("class Mine(Strategy):\n    x: int = state(shape=2**22)\n    y: int = state(shape=2**22)\n    z: int = state()\n    def on_timer(self, ctx): pass\n",
         "Mine: its state has 8,388,609 elements, 4,194,304 of them in 'x'; at most 8,388,608 (64 MB) are possible"),
        ("class Other(Strategy):\n    def on_timer(self, ctx): pass\n", "strategy classes in this file: Other"),
        ("class Mine:\n    def on_timer(self, ctx): pass\n", "no strategy class 'Mine'"),
        ("class Mine(Strategy:\n", "syntax error"),
        ("import not_a_module_at_all\n", "ModuleNotFoundError: No module named 'not_a_module_at_all'"),
        ("x = 1 / 0\n", "mine.py:5: ZeroDivisionError"),
    ],
)  # fmt: skip
def test_a_malformed_file_is_named_with_its_reason(tmp_path, body, expected):
    if not expected:
        # The later definition wins in Python: the state is simply gone, the function is an ordinary method.
        load(write(tmp_path, body))
        return
    message = refused(tmp_path, body)
    assert message.startswith(f"{tmp_path}/mine.py"), message
    assert expected in message


def test_the_five_hooks_are_listed_when_another_is_asked_for(tmp_path):
    message = refused(tmp_path, "class Mine(Strategy):\n    def on_order(self, ctx): pass\n")
    for hook in ("on_book(self, ctx, book)", "on_trade(", "on_fill(", "on_timer(self, ctx)", "on_params("):
        assert hook in message


def test_a_missing_file_and_an_unknown_name_say_what_exists(tmp_path):
    with pytest.raises(StrategyError, match="does not exist"):
        load(f"{tmp_path}/none.py:Mine")
    with pytest.raises(StrategyError, match="allowed are arbitrage, market_making, momentum"):
        load("market_maker")


PARAMS = """class Mine(Strategy):
    spread: float = param(5.0, gt=0, le=100)
    size: Qty = param("0.001", gt=0)
    n: int = param(3, ge=1, lt=6)
    on: bool = param(True)
    last: Price = state(7)
    ring: float = state(1.5, shape=(2, 3))
    def on_timer(self, ctx):
        self.last = 0
"""


@pytest.mark.parametrize(
    ("params", "expected"),
    [
        ({"spread": 0}, "parameter spread = 0: must be a number above 0.0 and at most 100.0"),
        ({"spread": "x"}, "parameter spread = 'x': must be a number"),
        ({"spread": float("nan")}, "parameter spread = nan"),
        ({"spread": True}, "parameter spread = True"),
        ({"size": "0.000000001"}, "parameter size = '0.000000001': must be a decimal such as"),
        ({"size": -1}, "must be a decimal such as \"0.001\" with at most 8 decimals above 0"),
        ({"n": 6}, "parameter n = 6: must be an integer at least 1 and below 6"),
        ({"n": 2.5}, "parameter n = 2.5"),
        ({"on": "maybe"}, "parameter on = 'maybe': must be true or false"),
        ({"speed": 1}, "unknown parameter 'speed'; allowed: spread, size, n, on"),
    ],
)  # fmt: skip
def test_a_wrong_parameter_is_refused_with_what_is_allowed(tmp_path, params, expected):
    assert expected in refused(tmp_path, PARAMS, params)


def test_all_wrong_parameters_are_reported_at_once(tmp_path):
    assert len(refused(tmp_path, PARAMS, {"spread": 0, "n": 9, "x": 1}).splitlines()) == 3


def test_parameters_and_state_start_in_the_record(tmp_path):
    loaded = load(write(tmp_path, PARAMS), {"size": "0.25", "on": "false", "n": 4})
    start = loaded.initial[0]
    assert (start["spread"], start["size"], start["n"], start["on"]) == (5.0, 25_000_000, 4, 0)
    assert start["last"] == 7 and (start["ring"] == 1.5).all() and start["ring"].shape == (2, 3)
    assert loaded.defaults == {"spread": "5.0", "size": "0.001", "n": "3", "on": "true"}
    assert [p.type_name for p in loaded.schema] == ["float", "Qty", "int", "bool"]
    assert set(loaded.hooks) == {"on_timer"} and loaded.hooks["on_timer"] > 0


def test_publishing_a_wrong_value_writes_nothing(tmp_path):
    from strategy_rig import aligned

    from hftpipe.strategy.params import params_bytes, params_init

    loaded = load(write(tmp_path, PARAMS))
    area = aligned(params_bytes(4))
    params_init(area, loaded.initial, 4)
    before = area.copy()
    with pytest.raises(StrategyError, match="at most 100"):
        publish_params(area, loaded, {"n": 2, "spread": 101})
    assert (area == before).all()
    publish_params(area, loaded, {"n": 2})
    assert area.view("u8")[0] == 2
    assert (area.view("u8")[8:12] != before.view("u8")[8:12]).sum() == 1


LOADER = """
import sys
from numba.core import event
class Count(event.Listener):
    n = 0
    def on_start(self, e): Count.n += 1
    def on_end(self, e): pass
from hftpipe.strategy.compile.loader import load
from hftpipe.strategy.api.hooks import call_hook
import ctypes, numpy as np
with event.install_listener("numba:compile", Count()):
    loaded = load(sys.argv[1])
record, ctx = loaded.initial, np.zeros(4096, np.uint8)
f = ctypes.CFUNCTYPE(ctypes.c_int64, ctypes.c_uint64, ctypes.c_uint64, ctypes.c_uint64)(loaded.hooks["on_timer"])
assert f(record.ctypes.data, ctx.ctypes.data, 0) == 0
print(Count.n, int(record["x"][0]))
"""


def load_elsewhere(spec: str, cache: Path) -> tuple[int, int]:
    """Load in a fresh process and run on_timer: (functions compiled, resulting x)."""
    environment = {**os.environ, "HFTPIPE_CACHE_DIR": str(cache)}
    done = subprocess.run(
        [sys.executable, "-c", LOADER, spec], env=environment, capture_output=True, text=True, timeout=120, check=False
    )
    assert done.returncode == 0, done.stderr
    compiled, x = done.stdout.split()
    return int(compiled), int(x)


def test_a_warm_start_compiles_nothing_and_an_edit_is_seen(tmp_path):
    helper = tmp_path / "numbers_of_mine.py"
    helper.write_text("STEP = 2\n\ndef scale(v):\n    return v * 10\n")
    body = (
        "from numbers_of_mine import STEP, scale\nclass Mine(Strategy):\n    x: int = state()\n    K = 1\n"
        "    def on_timer(self, ctx):\n        self.x = scale(self.K) + STEP\n"
    )
    spec, cache = write(tmp_path, body), tmp_path / "cache"
    compiled, x = load_elsewhere(spec, cache)
    assert compiled > 0 and x == 12
    assert load_elsewhere(spec, cache) == (0, 12)
    write(tmp_path, body.replace("K = 1", "K = 5"))
    assert load_elsewhere(spec, cache)[1] == 52
    helper.write_text("STEP = 3\n\ndef scale(v):\n    return v * 100\n")
    os.utime(helper, (2_000_000_000, 2_000_000_000))
    assert load_elsewhere(spec, cache)[1] == 503


def test_an_edit_within_the_same_second_is_seen_in_the_same_process(tmp_path):
    body = "class Mine(Strategy):\n    x: int = param(1)\n    def on_timer(self, ctx): pass\n"
    assert load(write(tmp_path, body)).initial["x"][0] == 1
    assert load(write(tmp_path, body.replace("param(1)", "param(2)"))).initial["x"][0] == 2


def test_entry_points_are_cached_beside_the_package_code(tmp_path):
    load(write(tmp_path, "class Mine(Strategy):\n    def on_timer(self, ctx): pass\n"))
    assert list((CACHE_DIR / "strategies").glob("Mine_*.py"))
