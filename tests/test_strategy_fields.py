"""What a strategy may write: its own state and ``order.user``. The rest is refused before anything starts."""

from pathlib import Path

import pytest
from strategy_rig import Rig
from test_strategy_loader import HOOK, refused, write

from hftpipe.strategy.compile.loader import load

FIELDS = {
    "ctx": ("now", "instrument", "n_instruments", "halted"),
    "book": ("bid", "bid_qty", "ask", "ask_qty", "state", "instrument", "update_id", "exchange_ts", "local_ts", "n_bids", "n_asks"),
    "trade": ("price", "qty", "side", "id", "instrument", "exchange_ts", "local_ts", "flags"),
    "fill": ("price", "qty", "side", "id", "fee", "instrument", "exchange_ts", "flags"),
}  # fmt: skip
ORDER_FIELDS = (
    "id",
    "price",
    "qty",
    "filled",
    "new_price",
    "new_qty",
    "state",
    "side",
    "flags",
    "instrument",
    "created_ts",
)


@pytest.mark.parametrize("name", FIELDS)
def test_no_field_of_the_engine_can_be_assigned_to(tmp_path: Path, name: str) -> None:
    hook = {"trade": "on_trade", "fill": "on_fill"}.get(name, "on_book")
    for field in FIELDS[name]:
        body = f"class Mine(Strategy):\n    def {hook}(self, ctx, {name if name != 'ctx' else 'book'}):\n        {name}.{field} = 1\n"
        message = refused(tmp_path, body)
        assert message.startswith(f"{tmp_path}/mine.py:7: {hook}: {name}.{field} cannot be assigned to"), message


def test_of_an_order_only_user_can_be_assigned_to(tmp_path: Path) -> None:
    for field in ORDER_FIELDS:
        message = refused(tmp_path, HOOK + f"ctx.order(0).{field} = 1\n")
        assert message.startswith(f"{tmp_path}/mine.py:9: on_book: order.{field} cannot be assigned to"), message
    load(write(tmp_path, HOOK + "ctx.order(0).user = 7\n"))


@pytest.mark.parametrize(
    ("line", "expected"),
    [
        ("other = book; other.bid = 1", "book.bid cannot be assigned to"),
        ("book.bid += 1", "book.bid cannot be assigned to"),
        ("book.bid, self.x = 1, 2", "book.bid cannot be assigned to"),
        ("ctx.book().ask = 1", "book.ask cannot be assigned to"),
        ("book['bid'] = 1", "book.bid cannot be assigned to"),
        ("book[1] = 1", "cannot be assigned to"),
        ("for ctx.now in range(3): self.x = 1", "ctx.now cannot be assigned to"),
        ("setattr(book, 'bid', 1)", ""),
        ("object.__setattr__(book, 'bid', 1)", ""),
        ("book.__setattr__('bid', 1)", "book has no attribute '__setattr__'"),
        ("del book.bid", ""),
        ("self.x = (ctx.now := 1)", ""),
    ],
)
def test_no_way_of_writing_an_assignment_gets_past_that(tmp_path: Path, line: str, expected: str) -> None:
    message = refused(tmp_path, HOOK + line + "\n")
    assert message.startswith(f"{tmp_path}/mine.py:9: "), message
    assert expected in message


def test_a_helper_that_is_handed_a_record_cannot_write_it_either(tmp_path: Path) -> None:
    body = "def spoil(thing):\n    thing.n_instruments = 99\n\n" + HOOK + "spoil(ctx)\n"
    message = refused(tmp_path, body)
    assert message.startswith(f"{tmp_path}/mine.py:6: on_book: ctx.n_instruments cannot be assigned to"), message
    body = HOOK + "self._spoil(book)\n    def _spoil(self, thing):\n        thing.state = 2\n"
    assert refused(tmp_path, body).startswith(f"{tmp_path}/mine.py:11: on_book: book.state cannot be assigned to")


def test_a_parameter_is_not_the_strategys_to_change(tmp_path: Path) -> None:
    body = "class Mine(Strategy):\n    size: int = param(1)\n    def on_timer(self, ctx):\n        self.size = 2\n"
    expected = "mine.py:8: on_timer: self.size cannot be assigned to: it is a parameter, set from the configuration"
    assert expected in refused(tmp_path, body)


def test_an_array_is_only_copied_over_one_of_its_shape(tmp_path: Path) -> None:
    body = (
        "class Mine(Strategy):\n    long: int = state(shape=100)\n    same: int = state(shape=100)\n"
        "    short: int = state(shape=2)\n    def on_timer(self, ctx):\n        self.long = self.same\n"
    )
    load(write(tmp_path, body))
    for value in ("self.short", "self.same[:2]", "5"):
        refused(tmp_path, body.replace("self.long = self.same", f"self.long = {value}"))


INDICES = """
LAST, FIRST = 9223372036854775807, -9223372036854775808


class Mine(Strategy):
    x: int = state(shape=10)

    def on_book(self, ctx, book):
        for n, i in enumerate((-1, 2, LAST, FIRST, 64, -64)):
            self.x[0] += book.level(i, i)[0] + book.level(0, i)[0]
            self.x[1] += ctx.position_of(i)
            self.x[2] += ctx.order(i).state
            self.x[3] += ctx.select(i)
            self.x[4] += ctx.open_qty(i)
            self.x[5] += ctx.find(i).state + ctx.is_open(i) + ctx.cancel(i) + ctx.replace(i, i, i)
            self.x[6] += ctx.quoted(i)[1] if i != 2 else 0
            self.x[6] += ctx.quote_id(i) if i != 2 else 0
            self.x[7] += ctx.quote(i, 0, 1, 1) if i != 2 else 0
            self.x[8] += ctx.instrument
            self.x[9] += book.depth(0, FIRST) + book.depth(1, -1)
"""


def test_an_index_from_the_author_is_checked_wherever_it_goes(tmp_path: Path) -> None:
    rig = Rig(load(write(tmp_path, INDICES)))
    rig.ready()
    rig.levels((0, 99.0, 1.0), (1, 101.0, 1.0))
    rig.touch(99.5, 100.5)
    rig.run()
    assert rig.seats[0]["failed"] == 0 and rig.state["callbacks"] == 3
    assert list(rig.self_record["x"]) == [0] * 10
