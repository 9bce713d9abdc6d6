"""Compiled code is reused exactly as long as no source of the package has changed."""

import json
import os
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

from hftpipe.core.machine import build as build_module
from hftpipe.core.machine import jit as jit_module
from hftpipe.core.machine.build import BUILD_HASH
from hftpipe.core.machine.jit import CACHE_DIR, KEPT_CACHE_S, KEPT_CACHES, _drop_old_caches

LIMIT = "from hftpipe.core.machine.jit import jit\n\n\n@jit\ndef limit():\n    return {}\n"
CHECK = """
from hftpipe.core.machine.jit import jit
from hftpipe.core.limits import limit


@jit
def allowed(value):
    return value <= limit()
"""
PROGRAM = """
import json, sys
import numpy as np
from hftpipe.core.machine import jit
from hftpipe.core.check import allowed
verdict = bool(allowed(np.int64(50)))
hits, misses = sum(allowed.stats.cache_hits.values()), sum(allowed.stats.cache_misses.values())
json.dump([jit.BUILD_HASH, str(jit.CACHE_DIR), verdict, hits, misses], sys.stdout)
"""


@pytest.fixture
def package(tmp_path: Path) -> Path:
    """A package of the same name with a limit in one file and a check that uses it in another."""
    core = tmp_path / "source" / "hftpipe" / "core"
    machine = core / "machine"
    machine.mkdir(parents=True)
    for folder in (core.parent, core, machine):
        (folder / "__init__.py").touch()
    for module in (jit_module, build_module):
        shutil.copy(module.__file__, machine)
    (core / "limits.py").write_text(LIMIT.format(10))
    (core / "check.py").write_text(CHECK)
    return core


def run(package: Path, **environment: str) -> tuple[str, str, bool, int, int]:
    """(build hash, cache directory, whether 50 is allowed, cache hits, cache misses)."""
    paths = {"PYTHONPATH": str(package.parents[1]), "HFTPIPE_CACHE_DIR": str(package.parents[2] / "cache")}
    command = [sys.executable, "-B", "-c", PROGRAM]
    result = subprocess.run(
        command, capture_output=True, text=True, env=os.environ | paths | environment, timeout=300, cwd=package
    )
    assert result.returncode == 0, result.stderr[-3000:]
    return tuple(json.loads(result.stdout))


def test_a_second_process_compiles_nothing(package: Path) -> None:
    first, second = run(package), run(package)
    assert first[3:] == (0, 1) and second[3:] == (1, 0)
    assert first[:3] == second[:3]


def test_a_limit_changed_in_one_file_takes_effect_in_another(package: Path) -> None:
    """numba alone would answer with the old limit: its cache looks at the file of the function only."""
    before = run(package)
    stamps = os.stat(package / "check.py")
    (package / "limits.py").write_text(LIMIT.format(99))
    after = run(package)
    assert os.stat(package / "check.py").st_mtime_ns == stamps.st_mtime_ns
    assert (before[2], after[2]) == (False, True)
    assert before[0] != after[0] and before[1] != after[1]
    (package / "limits.py").write_text(LIMIT.format(10))
    assert run(package) == (*before[:3], 1, 0)


def test_a_renamed_file_and_the_metrics_switch_are_other_builds(package: Path) -> None:
    hashes = {run(package)[0], run(package, HFTPIPE_PIPELINE__METRICS="false")[0]}
    (package / "unused.py").touch()
    hashes.add(run(package)[0])
    (package / "unused.py").rename(package / "still_unused.py")
    hashes.add(run(package)[0])
    assert len(hashes) == 4


def test_the_cache_directory_is_named_by_the_build() -> None:
    assert CACHE_DIR.name == BUILD_HASH[:20] and len(BUILD_HASH) == 64


def test_old_caches_are_dropped_but_never_a_recent_one_nor_our_own(tmp_path: Path) -> None:
    now = 2_000_000_000
    for index in range(12):
        folder = tmp_path / f"old-{index:02}"
        folder.mkdir()
        os.utime(folder, (now - index * KEPT_CACHE_S // 2, now - index * KEPT_CACHE_S // 2))
    (tmp_path / "mine").mkdir()
    os.utime(tmp_path / "mine", (1, 1))
    _drop_old_caches(tmp_path, "mine")
    left = sorted(path.name for path in tmp_path.iterdir())
    assert left == ["mine", *(f"old-{index:02}" for index in range(KEPT_CACHES - 1))]
