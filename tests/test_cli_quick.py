"""``hftpipe top`` is there at once: it loads no compiler, no option parser and no configuration, and means the same with it."""

import inspect
import os
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from hftpipe.cli import operate
from hftpipe.cli.quick import quick, top_of
from hftpipe.config import load
from hftpipe.strategy.compile.loader import load as load_strategy
from hftpipe.topology.pipeline import Pipeline

REPO = Path(__file__).resolve().parents[1]
#: What is not loaded on the way to the first screen.
HEAVY = ("numba", "llvmlite", "typer", "pydantic", "hftpipe.config", "hftpipe.strategy", "hftpipe.topology.pipeline")
CODE = f"""
import atexit, sys
from hftpipe.cli import main
atexit.register(lambda: print("loaded:", [one for one in {HEAVY} if one in sys.modules], file=sys.stderr))
main()
"""


def hftpipe(*arguments: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [sys.executable, "-c", CODE, *arguments], capture_output=True, text=True, cwd=REPO, timeout=60,
        env={**os.environ, "COLUMNS": "140"},
    )  # fmt: skip


@pytest.fixture
def name(clean_shm: None) -> Iterator[str]:
    """A pipeline that is laid out and published, and does not run."""
    name = f"test-quick-{os.getpid()}"
    pipeline = Pipeline(load([], {}, {"pipeline.name": name}), [load_strategy("market_making")], 1, 0)
    pipeline.segment.publish()
    yield name
    pipeline.segment.unlink()


def test_top_loads_nothing_heavy_and_shows_what_the_option_parser_s_top_shows(name: str) -> None:
    seen, parsed = hftpipe("top", "--name", name, "--once"), hftpipe("top", f"--name={name}", "--once")
    assert seen.returncode == 0 and seen.stderr == "loaded: []\n", seen.stderr
    assert "BTCUSDT" in seen.stdout and seen.stdout == parsed.stdout
    assert parsed.returncode == 0 and "'typer'" in parsed.stderr, "the other one is the parser's"


def test_a_pipeline_that_is_not_there_is_refused_in_the_same_words() -> None:
    gone, parsed = hftpipe("top", "--name", "test-none", "--once"), hftpipe("top", "--name=test-none", "--once")
    assert gone.returncode == parsed.returncode == 2
    assert gone.stderr.splitlines()[0] == parsed.stderr.splitlines()[0]
    assert gone.stderr.startswith("error: ") and "no pipeline named 'test-none' is running" in gone.stderr


@pytest.mark.parametrize(
    ("arguments", "meant"),
    [
        (["top"], ("default", False)), (["top", "--once"], ("default", True)), (["top", "--name", "a"], ("a", False)),
        (["top", "--once", "--name", "a"], ("a", True)), (["top", "--name", "a", "--name", "b"], ("b", False)),
        # All else is the parser's: help, other spellings, mistakes, other commands.
        (["top", "--help"], None), (["top", "--name=a"], None), (["top", "--name"], None), (["top", "a"], None),
        (["top", "--name", "--once"], None), (["top", "--"], None), (["--help"], None), ([], None), (["run", "--once"], None),
    ],
)  # fmt: skip
def test_only_a_plain_top_is_read_without_the_parser(arguments: list[str], meant: tuple[str, bool] | None) -> None:
    assert top_of(arguments) == meant
    assert (quick(arguments) is None) == (meant is None)


def test_the_defaults_are_those_of_the_command() -> None:
    parameters = inspect.signature(operate.top).parameters
    assert {name: one.default for name, one in parameters.items()} == {"name": "default", "once": False}
