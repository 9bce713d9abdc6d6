"""The one jit decorator, and the cache it is allowed to use.

Why not plain ``numba.njit`` (each line measured, see docs/decisions/0001-numba.md):

* ``nogil``: a stage loop must not hold the interpreter lock that a cold helper thread needs.
* ``_nrt=False``: an allocation, a list or a string becomes a compile error, and reference counting
  disappears from array code (10-20x on small helpers).
* ``error_model="numpy"``: no exception path behind a division.
* ``cache=True`` is only safe because the cache directory is named by a hash of every source file of the
  package: numba keys its cache by one file and would run old code when an imported helper changes.

The same hash, :data:`BUILD_HASH`, stands in every shared-memory header, so that a process of another build
refuses to attach.
"""

import hashlib
import os
import platform
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import llvmlite
import llvmlite.binding as llvm
import numba
from numba import cfunc, njit

PACKAGE_DIR = Path(__file__).resolve().parents[1]
METRICS_ENV = "HFTPIPE_PIPELINE__METRICS"
KEPT_CACHES = 6

#: Frozen into the machine code: with metrics off every stamp compiles to nothing.
METRICS: bool = os.environ.get(METRICS_ENV, "true").strip().lower() not in ("0", "false", "no", "off")


def _hash_sources() -> str:
    digest = hashlib.sha256()
    for part in (numba.__version__, llvmlite.__version__, platform.python_version(), llvm.get_host_cpu_name()):
        digest.update(part.encode())
    digest.update(b"metrics" if METRICS else b"no-metrics")
    for path in sorted(PACKAGE_DIR.rglob("*.py")):
        digest.update(str(path.relative_to(PACKAGE_DIR)).encode())
        digest.update(path.read_bytes())
    return digest.hexdigest()


def _cache_root() -> Path:
    base = os.environ.get("HFTPIPE_CACHE_DIR") or os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache"
    return Path(base) / "hftpipe"


def _drop_old_caches(root: Path, current: str) -> None:
    """Keep the newest few builds; a cache of another build is never read, so dropping one is always safe."""
    others = sorted((p for p in root.glob("*") if p.is_dir() and p.name != current), key=lambda p: p.stat().st_mtime)
    for path in others[: max(0, len(others) - KEPT_CACHES + 1)]:
        shutil.rmtree(path, ignore_errors=True)


#: Hex digest of all package sources, numba, llvmlite, Python, the CPU model and the metrics switch.
BUILD_HASH: str = _hash_sources()
#: Where compiled code of exactly this build is kept.
CACHE_DIR: Path = _cache_root() / BUILD_HASH[:20]


def _use_cache() -> None:
    CACHE_DIR.mkdir(parents=True, exist_ok=True)
    _drop_old_caches(CACHE_DIR.parent, CACHE_DIR.name)
    numba.config.CACHE_DIR = str(CACHE_DIR)
    # Inline assembly aborts the process (not an exception) unless the parser is registered first.
    llvm.initialize_native_asmparser()


_use_cache()

_OPTIONS: dict[str, Any] = {"nogil": True, "cache": True, "error_model": "numpy", "_nrt": False}


def jit(function: Callable[..., Any]) -> Any:
    """Compile ``function`` for the hot path: no GIL, no allocation, no reference counting, cached by build."""
    return njit(**_OPTIONS)(function)


def entry(signature: str) -> Callable[[Callable[..., Any]], Any]:
    """Compile a function with a C address (``.address``), to be called through a pointer.

    Args:
        signature: a numba signature string such as ``"int64(uint64, int64)"``.
    """
    return cfunc(signature, nogil=True, cache=True, error_model="numpy")
