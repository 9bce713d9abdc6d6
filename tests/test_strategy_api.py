"""The author's side: what can be written in a class, and that the guide names all of it."""

from pathlib import Path

import numpy as np
import pytest
from strategy_rig import E8, Rig

import hftpipe.strategy as api
from hftpipe.core.schema.records import ASK, BID, BUY, FILL, SELL
from hftpipe.strategy.api.declare import HOOKS, Param, State, param, state
from hftpipe.strategy.api.methods import CONTEXT_TYPE
from hftpipe.strategy.api.views import BOOK_TYPE, FILL_TYPE, ORDER_TYPE, TRADE_TYPE
from hftpipe.strategy.compile.loader import load

GUIDE = Path(__file__).resolve().parents[1] / "docs" / "writing-a-strategy.md"


def strategy(tmp_path: Path, body: str) -> Rig:
    path = tmp_path / "mine.py"
    path.write_text("from hftpipe.strategy import *\nimport math\n" + body)
    return Rig(load(f"{path}:Mine"))


def test_there_are_five_hooks_and_no_more():
    assert list(HOOKS) == ["on_book", "on_trade", "on_fill", "on_timer", "on_params"]


def test_declarations_keep_what_they_are_given():
    assert param("0.1", gt=0, le=5) == Param("0.1", gt=0, le=5)
    assert state(3, shape=(2, 2)) == State(3, (2, 2))


def test_every_public_name_is_there():
    for name in api.__all__:
        assert getattr(api, name) is not None or name == "EMPTY"


@pytest.mark.parametrize("kind", [CONTEXT_TYPE, BOOK_TYPE, TRADE_TYPE, FILL_TYPE, ORDER_TYPE], ids=lambda k: k.label)
def test_the_guide_names_every_field_and_method(kind):
    text = GUIDE.read_text()
    for name in (*kind.fields, *kind.methods):
        assert name in text, f"{kind.label}.{name}"


def test_the_guides_example_loads_and_trades(tmp_path):
    source = GUIDE.read_text().split("```python\n")[1].split("```")[0]
    (tmp_path / "follower.py").write_text(source)
    rig = Rig(load(f"{tmp_path}/follower.py:Follower", {"size": "0.002"}))
    rig.book_state()
    rig.levels((BID, 100.0, 9.0), (ASK, 100.1, 1.0))
    (order,) = rig.run()
    assert (order["side"], order["price"], order["qty"]) == (BUY, 10_010_000_000, 200_000)


def test_fields_may_have_the_names_of_methods_of_other_records(tmp_path):
    body = """
class Mine(Strategy):
    spread_bps: float = state(5.0)
    position: int = state()
    mid: Price = state()
    buy: int = state(2)
    def on_book(self, ctx, book):
        self.mid, self.position = book.mid(), ctx.position()
        self.spread_bps = self.spread_bps + book.spread_bps() * 0 + self.buy
"""
    rig = strategy(tmp_path, body)
    rig.ready()
    rig.run()
    assert rig.self_record["mid"] == 10_005_000_000 and rig.self_record["spread_bps"] == 7.0


def test_methods_functions_constants_and_base_classes_can_be_used(tmp_path):
    body = """
FACTOR = 3
def scale(x, by=FACTOR):
    return shift(x) * by
def shift(x):
    return x + 1
class Base(Strategy):
    total: int = state()
    STEP = 100
    def on_timer(self, ctx):
        self.total += self._step(2)
    def _step(self, n, extra=1):
        return self.STEP + n + extra
class Mine(Base):
    STEP = 1000
    def _step(self, n, extra=1):
        return self.STEP + scale(n) + extra
"""
    rig = strategy(tmp_path, body)
    rig.timer()
    rig.run()
    assert rig.self_record["total"] == 1000 + 9 + 1


def test_two_classes_with_equal_fields_keep_their_own_methods(tmp_path):
    body = """
class Other(Strategy):
    n: int = state()
    def on_timer(self, ctx): self.n = self._value()
    def _value(self): return 1
class Mine(Strategy):
    n: int = state()
    def on_timer(self, ctx): self.n = self._value()
    def _value(self): return 2
"""
    rig = strategy(tmp_path, body)
    other = Rig(load(f"{tmp_path}/mine.py:Other"))
    for each in (rig, other):
        each.timer()
        each.run()
    assert (rig.self_record["n"], other.self_record["n"]) == (2, 1)


def test_profit_methods_are_those_of_the_current_position(tmp_path):
    body = """
class Mine(Strategy):
    out: int = state(shape=4)
    def on_fill(self, ctx, fill):
        self.out[0], self.out[1] = ctx.average_price(), ctx.unrealised()
        self.out[2], self.out[3] = ctx.position(), ctx.position_of(1)
"""
    rig = strategy(tmp_path, body)
    rig.ready(100.0, 100.2)
    rig.run()
    rig.update(FILL, 5, side=BUY, price=99 * E8, qty=2 * E8, instrument=0)
    rig.run()
    assert list(rig.self_record["out"]) == [99 * E8, round(2 * 1.1 * E8), 2 * E8, 0]
    rig.update(FILL, 6, side=SELL, price=99 * E8, qty=2 * E8, instrument=0)
    rig.run()
    assert list(rig.self_record["out"]) == [0, 0, 0, 0]


def test_order_ids_survive_being_mixed_with_plain_numbers(tmp_path):
    """uint64 and int64 in one variable would become a float64, which cannot hold a client order id."""
    body = """
class Mine(Strategy):
    id: OrderId = state()
    def on_book(self, ctx, book):
        made = 0
        if book.bid > 0:
            made = ctx.buy(book.bid, 100000)
        self.id = made
    def on_fill(self, ctx, fill):
        found = 0
        if fill.id == self.id:
            found = fill.id
        ctx.cancel(found)
"""
    rig = strategy(tmp_path, body)
    rig.ready()
    (order,) = rig.run()
    assert int(rig.self_record["id"]) == int(order["id"]) > 2**53
    rig.fill(order, qty=1)
    (cancel,) = rig.run()
    assert cancel["id"] == order["id"]


def test_shaped_state_starts_at_its_default_and_may_have_two_dimensions(tmp_path):
    body = """
class Mine(Strategy):
    grid: float = state(0.5, shape=(3, 4))
    def on_timer(self, ctx):
        for i in range(3):
            self.grid[i, 3] = math.sqrt(i)
"""
    rig = strategy(tmp_path, body)
    rig.timer()
    rig.run()
    assert np.allclose(rig.self_record["grid"][:, 3], [0, 1, 2**0.5]) and rig.self_record["grid"][0, 0] == 0.5
