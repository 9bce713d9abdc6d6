"""With metrics off, a stamp is not cheap: it is not there."""

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest

PROGRAM = """
import json, sys
import numpy as np
from hftpipe.core.machine.hist import hist_since, stamp
from hftpipe.core.machine.build import METRICS
from hftpipe.core.machine.jit import jit
from hftpipe.core.machine.mem import U64, load_i64, store_i64
from machine_code import instructions

@jit
def stamped(hist, data, n):
    total = np.int64(0)
    for i in range(n):
        start = stamp()
        total += load_i64(data + U64(8) * U64(i))
        store_i64(data, total)
        hist_since(hist, start, stamp())
    return total

@jit
def plain(hist, data, n):
    total = np.int64(0)
    for i in range(n):
        total += load_i64(data + U64(8) * U64(i))
        store_i64(data, total)
    return total

def code(function, name):
    function.compile("(uint64, uint64, int64)")
    return instructions(function.inspect_asm(function.signatures[0]), name)

json.dump([METRICS, code(stamped, "stamped"), code(plain, "plain")], sys.stdout)
"""


def compile_with(metrics: str, folder: Path) -> tuple[bool, list[str], list[str]]:
    program = folder / "stamps.py"
    program.write_text(PROGRAM)
    environment = os.environ | {
        "HFTPIPE_PIPELINE__METRICS": metrics,
        "HFTPIPE_CACHE_DIR": str(folder / "cache"),
        "PYTHONPATH": str(Path(__file__).parent),
    }
    result = subprocess.run(
        [sys.executable, str(program)], capture_output=True, text=True, env=environment, timeout=300
    )
    assert result.returncode == 0, result.stderr[-3000:]
    return tuple(json.loads(result.stdout))


@pytest.mark.parametrize("word", ["false", "0", "off", "No"])
def test_without_metrics_the_machine_code_is_that_of_the_source_without_stamps(tmp_path: Path, word: str) -> None:
    metrics, stamped, plain = compile_with(word, tmp_path)
    assert not metrics
    assert stamped == plain
    assert len(plain) > 5 and not any("rdtsc" in line for line in plain)


def test_with_metrics_the_stamps_are_there(tmp_path: Path) -> None:
    metrics, stamped, plain = compile_with("true", tmp_path)
    assert metrics
    assert any("rdtsc" in line for line in stamped) and not any("rdtsc" in line for line in plain)
