"""What is live has one owner and is only read from it; what is fixed at the start stays as it was; settings are tables.

Three proofs of what docs/architecture.md says under "Owners": which files write positions, orders and tops of book at all; who
changes what in the memory of a running pipeline, word by word; and that no compiled code sees the configuration.
"""

import ast
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest
from demo_rig import START_NS, TURN_NS, turns
from test_tidy import NAMES, PACKAGE, functions, tree_of

from hftpipe.config import load
from hftpipe.config.presets import demo_overrides
from hftpipe.core.machine.jit import jit
from hftpipe.core.machine.mem import call_step
from hftpipe.core.schema.cells import TOP_CELL
from hftpipe.core.schema.position import POSITION
from hftpipe.core.schema.ring import RING_HEADER_BYTES
from hftpipe.core.shared.private import PrivateSegment
from hftpipe.core.trading.order_table import ORDER
from hftpipe.topology.graph import VENUE_KINDS
from hftpipe.topology.pipeline import Pipeline
from hftpipe.topology.strategies import load_strategies

# --- which files write it -------------------------------------------------------------------------------

#: Of each kind of record: where it is defined, what writes one for its caller, and every file that does either, with whose it is.
WRITERS: dict[str, tuple[str, set[str], dict[str, str]]] = {
    "POSITION": (
        "core.schema.position",
        {"position_fill"},
        {
            "core/trading/position.py": "the arithmetic; writes what its caller owns",
            "risk/exposure.py": "the account's",
            "risk/marking.py": "the account's mark",
            "risk/groups.py": "the account's, added up (GROUP has fields of the same names)",
            "strategy/stage.py": "the strategy's, from the fills it is told of",
            "journal/fold.py": "a reader's own, made again from a journal",
            "simulation/world/mutants.py": "planted bugs",
        },
    ),
    "ORDER": (
        "core.trading.order_table",
        {
            "order_insert",
            "order_move",
            "order_reopen",
            "move_reported",
            "move_filled",
            "replace_sent",
            "replace_dropped",
        },
        {
            "core/trading/order_table.py": "the life of an order; writes what its caller owns",
            "core/trading/order_reports.py": "the same",
            "risk/exposure.py": "risk's table",
            "risk/stage.py": "risk's table",
            "gateway/counting.py": "the gateway's table",
            "gateway/orders.py": "the gateway's table",
            "gateway/stage.py": "the gateway's table",
            "gateway/stopping.py": "the gateway's table",
            "journal/fold.py": "a reader's own table, made again from a journal",
            "strategy/context.py": "the strategy's table",
            "strategy/quotes.py": "the strategy's table",
            "strategy/stage.py": "the strategy's table",
            "strategy/undo.py": "the strategy's table",
            "venues/nasdaq/ouch/reports.py": "the order session's own table",
            "venues/nasdaq/ouch/venue.py": "the order session's own table",
            "venues/orders/apply.py": "an account's own table",
            "venues/orders/revived.py": "an account's own table",
            "venues/orders/telling.py": "an account's own table",
            "venues/orders/venue.py": "an account's own table",
            "simulation/world/mutants.py": "planted bugs",
        },
    ),
    "TOP_CELL": (
        "core.schema.cells",
        {"write_top", "cell_write"},
        {
            "core/shared/cell.py": "the cell; writes what its caller owns",
            "core/feed/publish.py": "the feed's",
            "risk/marking.py": "a copy that one verdict is reached by",
            "risk/stage.py": "the same copy: up to when it is known",
            "record/replay/chain.py": "a replay has no feed: it writes what the feed would have",
        },
    ),
}
#: Fields by which a record is known where it is written through a name that says nothing.
OWN_FIELDS = {
    "POSITION": {"cost", "realised", "working_buy", "working_sell", "at_mid", "taker_fills"},
    "ORDER": {"asked_price", "new_price", "new_qty", "open_index", "cancel_due_ns", "venue_id", "under_way"},
}
#: Records of other kinds with such fields.
NOT_IT = {
    "journal/query.py": {"venue_id"},
    "simulation/market_server/trading/margin_ledger.py": {"cost"},
    "strategy/quote_slots.py": {"asked_price"},
    "gateway/stage.py": {"venue_id"},
    "risk/stage.py": {"venue_id"},
    "venues/nasdaq/ouch/state.py": {"venue_id"},
    "venues/binance/orders/account.py": {"venue_id"},
    "venues/bybit/orders/account.py": {"venue_id"},
    "venues/bybit/orders/topics.py": {"venue_id"},
    "venues/binance/orders/answers.py": {"venue_id"},
    "venues/binance/orders/events.py": {"venue_id"},
    "venues/orders/reconcile.py": {"venue_id"},
    "venues/paper/reports.py": {"venue_id"},
    "venues/paper/requests.py": {"venue_id"},
}


def is_view(node: ast.AST, kind: str) -> bool:
    return (
        isinstance(node, ast.Call)
        and getattr(node.func, "id", "") == "view"
        and getattr(node.args[1], "id", "") == kind
    )


def bindings(function: ast.AST) -> Iterator[tuple[ast.expr, ast.expr]]:
    """(target, value) of every assignment, pair by pair."""
    for node in ast.walk(function):
        if isinstance(node, ast.Assign):
            for target in node.targets:
                if isinstance(target, ast.Tuple) and isinstance(node.value, ast.Tuple):
                    yield from zip(target.elts, node.value.elts, strict=True)
                else:
                    yield target, node.value


def written(function: ast.AST) -> Iterator[ast.Attribute | ast.Subscript]:
    """Everything that is assigned to by field: ``x.field = ``, ``x["field"] += ``."""
    for node in ast.walk(function):
        if isinstance(node, ast.Attribute | ast.Subscript) and isinstance(node.ctx, ast.Store):
            yield node


def knows(tree: ast.Module, name: str, module: str, kind: str) -> bool:
    """Whether ``kind`` in the file ``name`` is the record of that name in ``module``, and no other."""
    if name == module.replace(".", "/") + ".py":
        return True
    return any(
        isinstance(node, ast.ImportFrom)
        and node.module == f"hftpipe.{module}"
        and kind in {alias.name for alias in node.names}
        for node in ast.walk(tree)
    )


def writes(tree: ast.Module, name: str, kind: str) -> set[str]:
    """How a file writes records of a kind."""
    module, writers, _ = WRITERS[kind]
    found = {
        node.func.id
        for node in ast.walk(tree)
        if isinstance(node, ast.Call) and isinstance(node.func, ast.Name) and node.func.id in writers
    }
    for node in written(tree):
        field = node.attr if isinstance(node, ast.Attribute) else getattr(node.slice, "value", "")
        if field in OWN_FIELDS.get(kind, ()) and field not in NOT_IT.get(name, ()):
            found.add(f".{field}")
    if knows(tree, name, module, kind):
        for function in (one for one in ast.walk(tree) if isinstance(one, ast.FunctionDef)):
            views = {one.id for one, value in bindings(function) if isinstance(one, ast.Name) and is_view(value, kind)}
            for node in written(function):
                base = node.value
                if is_view(base, kind) or (isinstance(base, ast.Name) and base.id in views):
                    found.add(f"view in {function.name}")
    return found


@pytest.mark.parametrize("kind", WRITERS)
def test_only_the_owners_files_write_it(kind: str) -> None:
    known = WRITERS[kind][2]
    found = {name: how for name in NAMES if (how := writes(tree_of(PACKAGE / name), name, kind))}
    assert {name: how for name, how in found.items() if name not in known} == {}
    assert set(known) - set(found) == set(), "named as a writer, but writes nothing"


def test_the_fields_by_which_a_record_is_known_are_its_own() -> None:
    for kind, record in {"POSITION": POSITION, "ORDER": ORDER}.items():
        assert OWN_FIELDS[kind] <= set(record.names or ())
    assert TOP_CELL.names


PLANTED = """
from hftpipe.core.schema.position import POSITION
from hftpipe.core.trading.order_table import ORDER, order_move

def fudge(positions, order):
    p, n = view(positions, POSITION), 0
    p.qty += 1
    order.venue_id = 7
    order_move(order, 0, 1)
    rows["realised"] = 0
"""


def test_the_search_sees_what_it_looks_for() -> None:
    tree = ast.parse(PLANTED)
    assert writes(tree, "monitor/x.py", "POSITION") == {"view in fudge", ".realised"}
    assert writes(tree, "monitor/x.py", "ORDER") == {".venue_id", "order_move"}
    assert writes(tree, "monitor/x.py", "TOP_CELL") == set()


# --- who changes what while it runs ---------------------------------------------------------------------

#: Whose a region is, by the longest of these that its name begins with; of several venues each has its own. START: nobody's, it is
#: as it was laid out. OUTSIDE: the supervisor's or a person's, no stage's.
START, OUTSIDE = "the start", "the supervisor"
REGIONS = {
    "instruments": START, "symbols": START, "clock": START, "risk.limits": START, "gateway.max_ages": START,
    "market.flow_places": START, "strategy.users": START, "risk.members": START,
    "stop": OUTSIDE, "halt": OUTSIDE, "halts": OUTSIDE, "usage": OUTSIDE, "source_errors": OUTSIDE, "status.": OUTSIDE,
    "strategy.params": OUTSIDE, "tickers": OUTSIDE, "settings": OUTSIDE, "risk.changes": OUTSIDE,
    "market.": "market_data", "strategy.": "strategy", "risk.": "risk", "gateway.": "gateway", "exchange": "gateway",
}  # fmt: skip
#: Regions with a row for each instrument of a venue, or one for each venue: bytes of all rows over their number is that of one.
BY_INSTRUMENT, BY_VENUE = {"tops": "market_data"}, {"time": "market_data", "progress": "risk"}
MEASURED_BY = {
    "market_data": ("kernel_to_market", "decode"), "strategy": ("market_to_strategy", "strategy"),
    "risk": ("strategy_to_risk", "risk", "tick_to_risk"), "gateway": ("risk_to_gateway", "tick_to_order"),
}  # fmt: skip
WARM_UP_S, ROUNDS, ROUND_NS = 2, 200, 4_000_000


@jit
def step_one(step, state, now_ns):
    return call_step(step, state, now_ns)


class Watched:
    """A pipeline of two venues in this process; whose each word of its memory is."""

    def __init__(self) -> None:
        given = demo_overrides(None) | {
            "venues": [{"name": name, "kind": "paper"} for name in ("alpha", "beta")],
            "market.event_rate_per_s": 4_000, "market.book_levels": 256,
            **{f"rings.{ring}": 1024 for ring in ("market", "sim", "intents", "orders", "reports", "updates")},
        }  # fmt: skip
        config = load([], {}, given)
        self.pipeline = Pipeline(config, load_strategies(config), 1, START_NS, PrivateSegment)
        self.segment, self.graph = self.pipeline.segment, self.pipeline.graph
        self.words = self.segment._bytes.view(np.uint64)
        self.owners: list[str] = [START, OUTSIDE, *self.graph.stages]
        self.owner = np.full(len(self.words), -1, np.int64)
        for region in self.segment.regions():
            self._own(region)
        self.regions = sorted(self.segment.regions(), key=self._place)
        self.begins = [self._place(region) for region in self.regions]

    def _place(self, region: str) -> int:
        return (self.segment.address(region) - self.segment._bytes.ctypes.data) // 8

    def _mark(self, region: str, first: int, last: int, owner: str) -> None:
        """Bytes [first, last) of a region are ``owner``'s."""
        at = self._place(region)
        part = self.owner[at + first // 8 : at + last // 8]
        assert (part == -1).all(), f"{region} has two owners"
        part[:] = self.owners.index(owner)

    def _own(self, region: str) -> None:
        size, (name, _, venue) = len(self.segment.region(region)), region.partition("@")
        rings = {spec.name: spec for spec in self.graph.rings}
        if name.startswith("ring."):
            spec = rings[region.removeprefix("ring.")]
            for line, owner in enumerate((START, spec.writer, spec.reader)):
                self._mark(region, 64 * line, 64 * line + 64, owner)
            self._mark(region, RING_HEADER_BYTES, size, spec.writer)
        elif name.startswith("state."):
            self._mark(region, 0, size, region.removeprefix("state."))
        elif name.startswith("hist."):
            kind = next(one for one, hops in MEASURED_BY.items() if name.removeprefix("hist.") in hops)
            self._mark(region, 0, size, f"{kind}@{venue}" if kind in VENUE_KINDS else kind)
        elif kind := BY_INSTRUMENT.get(name) or BY_VENUE.get(name):
            rows = [one.count if name in BY_INSTRUMENT else 1 for one in self.pipeline.venues]
            row, at = size // sum(rows), 0
            for place, count in zip(self.pipeline.venues, rows, strict=True):
                self._mark(
                    region, at, at + row * count, self.graph.at(kind, place.name) if kind in VENUE_KINDS else kind
                )
                at += row * count
        else:
            kind = REGIONS[max((one for one in REGIONS if name.startswith(one)), key=len)]
            self._mark(region, 0, size, f"{kind}@{venue}" if kind in VENUE_KINDS else kind)

    def regions_of(self, words: np.ndarray) -> set[str]:
        """Names of the regions that these words are in."""
        return {self.regions[at] for at in np.unique(np.searchsorted(self.begins, words, "right") - 1)}

    def warm_up(self) -> None:
        runners = [self.pipeline.stages[stage] for stage in self.graph.stages]
        steps, states = (np.array([getattr(one, name) for one in runners], np.uint64) for name in ("step", "state"))
        turns(steps, states, np.int64(START_NS), np.int64(WARM_UP_S * 10**9 // TURN_NS))

    def run(self, rounds: int = ROUNDS, spoil: tuple[str, str] = ("", "")) -> dict[str, set[str]]:
        """Step each stage by itself: the regions that it changed. Fails at the first word that is not its own.

        ``spoil``: a stage, and a region whose last word it changes.
        """
        changed_by: dict[str, set[str]] = {stage: set() for stage in self.graph.stages}
        before, now_ns = self.words.copy(), START_NS + WARM_UP_S * 10**9
        for _ in range(rounds):
            now_ns += ROUND_NS
            for stage in self.graph.stages:
                runner = self.pipeline.stages[stage]
                step_one(np.uint64(runner.step), np.uint64(runner.state), np.int64(now_ns))
                if stage == spoil[0]:
                    self.segment.region(spoil[1])[-1] ^= 1
                changed = np.flatnonzero(before != self.words)
                before[changed] = self.words[changed]
                foreign = changed[self.owner[changed] != self.owners.index(stage)]
                assert not len(foreign), f"{stage} wrote {self.regions_of(foreign)}"
                changed_by[stage] |= self.regions_of(changed)
        return changed_by


def test_every_word_has_one_owner_and_nobody_else_writes_it_and_what_is_fixed_stays_as_it_was() -> None:
    watched = Watched()
    fixed = watched.owner == watched.owners.index(START)
    at_start = watched.words[fixed].copy()
    watched.warm_up()
    changed_by = watched.run()
    assert (watched.words[fixed] == at_start).all()
    # It was a run: every kind of live data has changed, and by whom it should.
    assert changed_by["risk"] >= {
        "risk.positions",
        "risk.table",
        "ring.orders@alpha",
        "ring.orders@beta",
        "ring.updates",
    }
    assert changed_by["strategy"] >= {"strategy.positions", "strategy.table", "strategy.books", "ring.intents"}
    for venue in ("alpha", "beta"):
        assert changed_by[f"market_data@{venue}"] >= {"tops", "time", f"market.books@{venue}", f"ring.market@{venue}"}
        assert changed_by[f"gateway@{venue}"] >= {
            f"gateway.table@{venue}",
            f"exchange@{venue}",
            f"ring.reports@{venue}",
        }


@pytest.mark.parametrize(
    ("stage", "region"),
    [
        ("gateway@alpha", "risk.positions"), ("strategy", "risk.positions"), ("risk", "strategy.positions"),
        ("risk", "tops"), ("market_data@alpha", "tops"), ("strategy", "gateway.table@beta"), ("gateway@alpha", "gateway.table@beta"),
        ("risk", "instruments"), ("risk", "risk.limits"), ("market_data@beta", "symbols@beta"), ("gateway@beta", "ring.orders@beta"),
    ],
)  # fmt: skip
def test_a_word_that_is_another_s_is_seen(stage: str, region: str) -> None:
    watched = Watched()
    with pytest.raises(AssertionError, match=f"{stage} wrote .*'{region}'"):
        watched.run(1, (stage, region))


# --- settings -------------------------------------------------------------------------------------------


def compiled(path: Path) -> Iterator[ast.FunctionDef | ast.AsyncFunctionDef]:
    for function in functions(path):
        decorators = [one.func if isinstance(one, ast.Call) else one for one in function.decorator_list]
        if any(getattr(one, "id", "") in ("jit", "entry") for one in decorators):
            yield function


def of_the_configuration(tree: ast.Module) -> set[str]:
    """Names under which a file has anything of the configuration."""
    found = {"config", "os", "environ"}
    for node in ast.walk(tree):
        if isinstance(node, ast.ImportFrom) and (node.module or "").partition(".")[2].partition(".")[0] == "config":
            found |= {alias.asname or alias.name for alias in node.names}
    return found


def settings_read(tree: ast.Module, function: ast.AST) -> set[str]:
    names = of_the_configuration(tree)
    used = {node.id for node in ast.walk(function) if isinstance(node, ast.Name)}
    return (used | {node.attr for node in ast.walk(function) if isinstance(node, ast.Attribute)}) & names


def test_no_compiled_code_reads_the_configuration() -> None:
    """What it needs stands in tables that were filled in at the start: limits, instruments, parameters, the stages' STATE."""
    found = {
        f"{name}: {function.name}": read
        for name in NAMES
        for function in compiled(PACKAGE / name)
        if (read := settings_read(tree_of(PACKAGE / name), function))
    }
    assert found == {}
    tree = ast.parse(
        "from hftpipe.config.schema import Limits\n@jit\ndef f(x):\n    return x + Limits.rate + config.rate"
    )
    assert settings_read(tree, tree.body[1]) == {"Limits", "config"}
