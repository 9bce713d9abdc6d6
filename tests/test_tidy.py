"""The style of the package, as far as a machine can read it."""

import ast
import re
import subprocess
from collections.abc import Iterator
from functools import cache
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[1]
PACKAGE = ROOT / "hftpipe"
FILES = sorted(PACKAGE.rglob("*.py"))
NAMES = [str(path.relative_to(PACKAGE)) for path in FILES]

FILE_LINES, FUNCTION_LINES = 450, 70

STAGES = ("market", "strategy", "risk", "gateway")
COLD = ("record", "monitor", "backtest")
#: What the files of each part may import of ours, besides their own part. A part is all files whose name starts so; a file
#: belongs to its longest one. Arrows run down this list, never up it.
MAY_IMPORT = {
    "core/schema/": (),
    "core/machine/": ("core.schema",),
    "core/shared/": ("core.machine", "core.schema"),
    "core/trading/": ("core.machine", "core.schema"),
    "topology/graph.py": ("core.schema",),
    "config/": ("topology.graph", "core.schema"),
    "log.py": ("config",),
    "core/feed/": ("core.machine", "core.schema", "core.shared", "core.trading"),
    # The four processes: core only.
    "market/": ("core",),
    "strategy/": ("core",),
    "risk/": ("core",),
    "gateway/": ("core",),
    "gateway/journaling.py": ("core", "journal.append", "journal.layout"),
    "gateway/stopping.py": ("core", "gateway", "journal.layout"),
    # The journal: what the gateway writes, what provides its files beside it, and what reads them.
    "journal/": ("core", "log"),
    "journal/fold.py": ("core", "journal", "gateway.orders"),
    "transport/": ("core", "config"),
    "venues/": ("core", "config"),
    "venues/live/": (
        "core",
        "transport",
        "venues.contract",
        "venues.message",
        "venues.taped",
        "venues.booking",
        "venues.listing",
        "venues.listing_changes",
    ),
    # Orders at a venue over WebSocket and REST.
    "venues/orders/": ("core", "config", "transport", "venues.contract"),
    "venues/binance/orders/": ("core", "config", "transport", "venues.orders", "venues.contract", "venues.binance"),
    "venues/bybit/orders/": ("core", "config", "transport", "venues.orders", "venues.contract", "venues.bybit"),
    "venues/live/wiring.py": (
        "core",
        "config",
        "log",
        "transport",
        "venues.contract",
        "venues.message",
        "venues.taped",
        "venues.listing",
        "venues.paper.catalogue",
        "venues.orders",
    ),
    "venues/listing": ("core",),
    "venues/scan/": ("core", "venues.message"),
    "venues/binance/": (
        "core",
        "venues.message",
        "venues.contract",
        "venues.scan",
        "venues.booking",
        "venues.sync_table",
    ),
    "venues/bybit/": (
        "core",
        "venues.message",
        "venues.contract",
        "venues.scan",
        "venues.booking",
        "venues.sync_table",
    ),
    "venues/binance/streams.py": ("core", "transport", "venues.live.plan"),
    "venues/bybit/streams.py": ("core", "transport", "venues.live.plan"),
    "venues/binance/tickers.py": ("core", "transport", "venues.binance", "venues.live.plan"),
    "venues/bybit/tickers.py": ("core", "transport", "venues.bybit", "venues.live.plan"),
    "venues/bybit/whole_book.py": ("core", "transport", "venues.bybit", "venues.live.plan"),
    "venues/binance/listing.py": ("core", "venues.listing"),
    "venues/bybit/listing.py": ("core", "venues.listing"),
    # Its simulated twin.
    "venues/binance/simulated.py": (
        "core",
        "config",
        "venues",
        "simulation.binance_server",
        "simulation.market_server",
    ),
    "venues/binance/wiring.py": ("core", "config", "transport", "venues"),
    "venues/bybit/simulated.py": ("core", "config", "venues", "simulation"),
    "venues/bybit/wiring.py": ("core", "config", "transport", "venues"),
    "venues/nasdaq/": ("core", "config", "transport", "venues.contract"),
    # What it lists, asked of the venue itself.
    "venues/binance/discovery.py": ("core", "transport", "venues.binance", "venues.listing"),
    "venues/bybit/discovery.py": ("core", "transport", "venues.bybit", "venues.listing"),
    # Its simulated twin.
    "venues/nasdaq/embedded.py": ("core", "config", "venues", "simulation.exchange_server", "simulation.flow"),
    # Markets of our own making, and what matches their orders.
    "simulation/matching/": ("core",),
    "simulation/flow/": ("core", "simulation.matching"),
    "venues/paper/": ("core", "config", "simulation.flow", "topology.graph", "venues.contract"),
    "venues/taped/": ("core", "config", "capture.reader", "venues.contract", "venues.message", "venues.codecs"),
    "record/tape/": ("core", "log"),
    "capture/reader.py": ("core",),
    "capture/": ("core", "config", "log", "record.tape", "venues"),
    "topology/": (
        "core",
        "config",
        "market",
        "strategy",
        "risk",
        "gateway",
        "venues",
        "simulation.flow",
        "record.tape.recorder",
        "journal.layout",
    ),
    # The simulated exchange speaks the venue's protocols, in a process that the supervisor starts beside the stages.
    "simulation/exchange_server/": ("core", "transport", "simulation.flow", "simulation.matching", "venues.nasdaq"),
    "simulation/exchange_server/process.py": ("core", "log", "simulation.beside"),
    "simulation/beside.py": ("core", "log"),
    # A recorded capture as the market: the code that reads captures and rebuilds their books.
    "simulation/exchange_server/captured": (
        "core",
        "capture.detect",
        "simulation.flow",
        "simulation.matching",
        "venues",
    ),
    # A simulated Binance venue: REST and WebSocket over the same engine and flow.
    "simulation/market_server/": ("core", "simulation.flow", "simulation.matching", "simulation.beside"),
    "simulation/bybit_server/": ("core", "simulation.flow", "simulation.market_server"),
    "simulation/binance_server/": (
        "core",
        "simulation.flow",
        "simulation.matching",
        "simulation.market_server",
    ),
    "simulation/campaign.py": ("core",),
    # Real processes: the run, and simulated venues.
    "simulation/processes.py": ("core",),
    "simulation/live_campaign/": ("core", "simulation.processes", "journal.query"),
    # The whole pipeline in one thread, and the bugs that are planted in it.
    "simulation/world/": (
        "core",
        "config",
        "topology",
        "strategy",
        "venues.binance",
        "venues.codecs",
        "venues.paper",
        "venues.registry",
        "venues.taped",
        "simulation.flow",
        "simulation.campaign",
        "journal",
    ),
    # What it looks at of risk's memory.
    "simulation/world/supervising.py": ("core", "risk.standings"),
    "simulation/world/checkers/controls.py": ("core", "risk.worth", "simulation.campaign", "simulation.world"),
    "simulation/world/mutants": ("core", "risk", "venues.paper", "journal.append"),
    # The exchange, a bad network and the ITCH feed in one thread.
    "simulation/feed_campaign/": (
        "core",
        "venues.nasdaq.itch",
        "simulation.flow",
        "simulation.matching",
        "simulation.exchange_server",
        "simulation.campaign",
    ),
    "kill_switch/": ("core", "config", "log", "app", "monitor", "risk.limits", "topology.graph"),
    "monitor/": ("core", "strategy", "topology"),
    "record/replay/": ("core", "config", "topology", "strategy", "record.tape", "monitor"),
    # Risk is played from its tape: what it looked at in between, and what it decided by.
    "record/replay/rig.py": ("core", "topology", "strategy", "record", "risk.changes", "risk.state", "risk.worth"),
    # The day's losses begin as those of the recorded run did.
    "record/replay/verify.py": ("core", "config", "topology", "strategy", "record", "monitor", "risk.losses"),
    "record/replay/verdicts.py": ("core", "config", "topology", "record", "risk.losses", "risk.worth"),
}
#: Where the wall clock is read.
CLOCK = ("core/machine/clock.py", "core/machine/system_clock.py")
CLOCKS = {
    "time": {"time", "time_ns", "perf_counter", "perf_counter_ns"},
    "datetime": {"now", "utcnow", "today"},
    "date": {"today"},
}
#: (file, function) that ends a process whatever happened, so that nothing unwinds into its parent's code; or that keeps what
#: went wrong beside trading, or in watching over it, from leaving orders alone.
BOUNDARIES = {
    ("app/supervisor.py", "_child_main"),
    ("app/supervisor.py", "_watched"),
    ("app/supervisor.py", "_latch_last"),
    ("app/cold.py", "run"),
    ("transport/errands.py", "run"),
    ("venues/orders/keeper.py", "_answer"),
    ("venues/orders/watchdog.py", "_attempt"),
}
#: Files outside core that use numba itself, and why; all others use the decorators and intrinsics of core.
NUMBA = {
    "strategy/": "compiles the user's classes: record types, methods, entries, error texts",
    "capture/reader.py": "memchr, to find the end of a line",
    "venues/scan/swar.py": "intrinsics that read eight digits at once",
    "venues/nasdaq/itch/wire.py": "the byte-swap intrinsic",
    "venues/nasdaq/itch/receive.py": "the socket calls",
    "venues/nasdaq/ouch/sockets.py": "the socket calls",
    "transport/stream.py": "the socket calls",
    "simulation/matching/levels.py": "leading and trailing zeros of a bitmap",
}
#: Packages whose compiled functions handle money, and so have no float next to it.
NO_FLOAT_MONEY = ("core", "market", "risk", "gateway", "venues")
MONEY = re.compile(r"price|qty|quantity|notional|\bbid\b|\bask\b|\bcost\b|\bfee")
MACHINE_PATH = re.compile(r"(?<![\w.~$}/-])/(?:work|root|Users)/\w|(?<![\w.~$}/-])/home/(?!me\b|user\b|hftpipe\b)\w")


@cache
def tree_of(path: Path) -> ast.Module:
    return ast.parse(path.read_text(), str(path))


def nodes(path: Path, *kinds: type[ast.AST]) -> Iterator[ast.AST]:
    return (node for node in ast.walk(tree_of(path)) if isinstance(node, kinds))


def functions(path: Path) -> Iterator[ast.FunctionDef | ast.AsyncFunctionDef]:
    return nodes(path, ast.FunctionDef, ast.AsyncFunctionDef)


def imports(path: Path) -> Iterator[tuple[int, str]]:
    """(line, module) of everything imported anywhere in the file; ``from a import b`` counts as ``a.b`` and ``a``."""
    for node in nodes(path, ast.Import, ast.ImportFrom):
        if isinstance(node, ast.Import):
            yield from ((node.lineno, alias.name) for alias in node.names)
        else:
            yield node.lineno, node.module or "."
            yield from ((node.lineno, f"{node.module}.{alias.name}") for alias in node.names)


def ours(path: Path) -> Iterator[tuple[int, str]]:
    """(line, module below ``hftpipe``) of our own modules imported."""
    for line, module in imports(path):
        if module.startswith("hftpipe."):
            yield line, module.removeprefix("hftpipe.")


def package_of(path: Path) -> str:
    return path.relative_to(PACKAGE).parts[0]


def in_packages(*packages: str) -> list[Path]:
    return [path for path in FILES if package_of(path) in packages]


def is_within(module: str, packages: tuple[str, ...]) -> bool:
    return any(module == package or module.startswith(f"{package}.") for package in packages)


def at(path: Path, line: int, text: str) -> str:
    return f"{path.relative_to(ROOT)}:{line}: {text}"


def test_there_is_something_to_look_at() -> None:
    assert len(FILES) > 20 and {"core", *STAGES} <= {package_of(path) for path in FILES}


def test_one_idea_per_file() -> None:
    long = [at(path, n, "lines") for path in FILES if (n := len(path.read_text().splitlines())) > FILE_LINES]
    assert not long, f"over {FILE_LINES} lines: {long}"


def test_functions_fit_on_a_page() -> None:
    long = [
        at(path, function.lineno, f"{function.name} has {function.end_lineno - function.lineno + 1} lines")
        for path in FILES
        for function in functions(path)
        if function.end_lineno - function.lineno + 1 > FUNCTION_LINES
    ]
    assert not long, f"over {FUNCTION_LINES} lines: {long}"


def _clock_reads(path: Path) -> Iterator[str]:
    for node in nodes(path, ast.Attribute):
        owner = node.value.attr if isinstance(node.value, ast.Attribute) else getattr(node.value, "id", "")
        if node.attr in CLOCKS.get(owner, ()):
            yield at(path, node.lineno, f"{owner}.{node.attr}")
    for node in nodes(path, ast.ImportFrom):
        if node.module == "time":
            names = [alias.name for alias in node.names if alias.name in CLOCKS["time"]]
            yield from (at(path, node.lineno, f"from time import {name}") for name in names)


def test_only_the_clock_module_reads_a_clock() -> None:
    found = [read for path in FILES if str(path.relative_to(PACKAGE)) not in CLOCK for read in _clock_reads(path)]
    assert not found, found
    assert list(_clock_reads(PACKAGE / CLOCK[1]))


def _broad(handler: ast.ExceptHandler) -> bool:
    kinds = handler.type.elts if isinstance(handler.type, ast.Tuple) else [handler.type]
    return any(kind is None or getattr(kind, "id", "") in ("Exception", "BaseException") for kind in kinds)


def test_no_except_is_bare_or_broad() -> None:
    found = set()
    for path in FILES:
        for function in functions(path):
            for node in ast.walk(function):
                if isinstance(node, ast.ExceptHandler) and _broad(node):
                    found.add((str(path.relative_to(PACKAGE)), function.name))
        outside = [node for node in tree_of(path).body if isinstance(node, ast.Try)]
        assert not any(_broad(handler) for node in outside for handler in node.handlers), path
    assert found <= BOUNDARIES, found - BOUNDARIES


def test_only_the_command_line_prints() -> None:
    found = [
        at(path, node.lineno, "print")
        for path in FILES
        if path.relative_to(PACKAGE).parts[0] not in ("cli.py", "cli")
        for node in nodes(path, ast.Call)
        if getattr(node.func, "id", "") == "print"
    ]
    assert not found, found


def part_of(name: str) -> str:
    """The entry of MAY_IMPORT that a file of this name is under; "" if there is none."""
    return max((part for part in MAY_IMPORT if name.startswith(part)), key=len, default="")


@pytest.mark.parametrize("part", MAY_IMPORT)
def test_a_part_imports_only_what_the_map_allows(part: str) -> None:
    files = [path for name, path in zip(NAMES, FILES, strict=True) if part_of(name) == part]
    own = part if "/" not in part else part.rpartition("/")[0].replace("/", ".")
    allowed = (own.removesuffix(".py"), *MAY_IMPORT[part])
    found = {
        at(path, line, module)
        for path in files
        for line, module in ours(path)
        if not is_within(module, allowed) and not any(name.startswith(f"{module}.") for name in allowed)
    }
    assert files and not found, sorted(found)


def test_stages_never_import_one_another() -> None:
    for stage in STAGES:
        others = tuple(other for other in STAGES if other != stage)
        found = [at(path, line, m) for path in in_packages(stage) for line, m in ours(path) if is_within(m, others)]
        assert not found, found


def test_cold_packages_are_not_imported_by_a_stage() -> None:
    found = [
        at(path, line, module)
        for path in in_packages("core", *STAGES)
        for line, module in ours(path)
        if is_within(module, COLD)
    ]
    assert not found, found


def test_numba_is_used_through_core() -> None:
    found = {
        at(path, line, module)
        for path in FILES
        for line, module in imports(path)
        if module.partition(".")[0] in ("numba", "llvmlite")
        and package_of(path) != "core"
        and not str(path.relative_to(PACKAGE)).startswith(tuple(NUMBA))
    }
    assert not found, sorted(found)
    assert not [line for line, module in imports(PACKAGE / "strategy" / "stage.py") if module.startswith("numba")]


def _has_decorator(function: ast.FunctionDef | ast.AsyncFunctionDef, names: tuple[str, ...]) -> bool:
    decorators = [node.func if isinstance(node, ast.Call) else node for node in function.decorator_list]
    return any(getattr(node, "id", "") in names for node in decorators)


def _is_compiled(function: ast.FunctionDef | ast.AsyncFunctionDef) -> bool:
    return _has_decorator(function, ("jit", "entry"))


#: Functions that numba reads as well: selectors of what strategy code calls, and hooks of strategies.
NUMBA_READS = ("jit", "entry", "overload", "overload_attribute", "method_of")


def _unannotated(node: ast.AST, is_compiled: bool = False) -> Iterator[ast.FunctionDef | ast.AsyncFunctionDef]:
    """Functions below ``node`` that lack an annotation, except those that numba reads and what stands inside them."""
    for inner in ast.iter_child_nodes(node):
        read = is_compiled
        if isinstance(inner, ast.ClassDef):
            read = any(ast.unparse(base) == "Strategy" for base in inner.bases)
        elif isinstance(inner, ast.FunctionDef | ast.AsyncFunctionDef):
            read = is_compiled or _has_decorator(inner, NUMBA_READS)
            arguments = [*inner.args.posonlyargs, *inner.args.args, *inner.args.kwonlyargs]
            arguments += [one for one in (inner.args.vararg, inner.args.kwarg) if one]
            named = [one for one in arguments if one.arg not in ("self", "cls")]
            if not read and not (inner.returns and all(one.annotation for one in named)):
                yield inner
        yield from _unannotated(inner, read)


def test_only_what_numba_reads_is_unannotated() -> None:
    """mypy passes over functions without annotations, as compiled ones must be: no other may be one."""
    found = [at(path, one.lineno, one.name) for path in FILES for one in _unannotated(tree_of(path))]
    assert not found, found


def _float_money(path: Path) -> Iterator[str]:
    for function in filter(_is_compiled, functions(path)):
        for node in ast.walk(function):
            is_division = isinstance(node, ast.BinOp) and isinstance(node.op, ast.Div)
            is_float = isinstance(node, ast.Call) and ast.unparse(node.func) in ("float", "np.float64", "np.float32")
            if (is_division or is_float) and MONEY.search(ast.unparse(node)):
                yield at(path, node.lineno, ast.unparse(node))


def test_money_never_becomes_a_float_in_compiled_code() -> None:
    found = [use for path in in_packages(*NO_FLOAT_MONEY) for use in _float_money(path)]
    assert not found, found


def _plain_comments(path: Path) -> Iterator[str]:
    for number, line in enumerate(path.read_text().splitlines(), 1):
        if re.search(r"\b(TODO|FIXME|XXX|HACK)\b", line):
            yield at(path, number, line.strip())


def test_nothing_is_left_for_later() -> None:
    found = [line for path in FILES for line in _plain_comments(path)]
    assert not found, found


def test_every_module_says_what_it_is() -> None:
    found = [
        name
        for name, path in zip(NAMES, FILES, strict=True)
        if path.read_text().strip() and not ast.get_docstring(tree_of(path))
    ]
    assert not found, found


def _tracked() -> list[Path]:
    listed = subprocess.run(["git", "ls-files", "-z"], cwd=ROOT, capture_output=True, text=True)
    if listed.returncode == 0 and listed.stdout:
        return [ROOT / name for name in listed.stdout.split("\0") if name and (ROOT / name).is_file()]
    return [
        path for folder in ("hftpipe", "tests", "benches", "docs", "configs") for path in (ROOT / folder).rglob("*.*")
    ]


def test_no_file_names_a_directory_of_one_machine() -> None:
    found = []
    for path in _tracked():
        data = path.read_bytes()
        if b"\0" not in data[:8192]:
            lines = data.decode(errors="replace").splitlines()
            found += [at(path, n, line.strip()[:100]) for n, line in enumerate(lines, 1) if MACHINE_PATH.search(line)]
    assert not found, found


# --- the checks themselves ------------------------------------------------------------------------------

BAD = """
import time
from time import perf_counter
from datetime import datetime
from hftpipe.core.machine.jit import jit

@jit
def value(price, qty):
    return float(price) * qty / 2

def now():
    try:
        return time.time_ns(), datetime.now()
    except (ValueError, Exception):
        return None
"""


def test_the_checks_see_what_they_look_for(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    bad = tmp_path / "hftpipe" / "bad.py"
    bad.parent.mkdir()
    bad.write_text(BAD)
    monkeypatch.setitem(globals(), "ROOT", tmp_path)
    assert len(list(_clock_reads(bad))) == 3
    assert len(list(_float_money(bad))) == 2
    assert [function.name for function in _unannotated(tree_of(bad))] == ["now"]
    assert [_broad(node) for node in nodes(bad, ast.ExceptHandler)] == [True]
    assert [
        _broad(node)
        for node in ast.walk(ast.parse("try:\n  x\nexcept ValueError:\n  y"))
        if isinstance(node, ast.ExceptHandler)
    ] == [False]
    assert MACHINE_PATH.search("cp " + "/".join(("", "work", "main")) + " .")
    assert not MACHINE_PATH.search("https://host/work/x and ~/work/x and $HOME/root/x")
