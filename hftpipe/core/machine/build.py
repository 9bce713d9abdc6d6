"""Which build this is: a hash of every source file, of the compiler and of the CPU that it compiles for.

It names the cache of compiled code and stands in every shared-memory header and recording. Nothing is compiled to know it.
"""

import hashlib
import os
import platform
from importlib.metadata import version
from pathlib import Path

PACKAGE_DIR = Path(__file__).resolve().parents[2]
METRICS_ENV = "HFTPIPE_PIPELINE__METRICS"
#: Frozen into the machine code: with metrics off every stamp compiles to nothing.
METRICS: bool = os.environ.get(METRICS_ENV, "true").strip().lower() not in ("0", "false", "no", "off")


def _cpu() -> str:
    """Model and abilities of the first CPU: what the compiler may use of it."""
    try:
        text = Path("/proc/cpuinfo").read_text()
    except OSError:
        return platform.machine()
    first = text.partition("\n\n")[0].splitlines()
    return "\n".join(line for line in first if line.startswith(("model name", "flags", "CPU part", "Features")))


def _hash_sources() -> str:
    digest = hashlib.sha256()
    for part in (version("numba"), version("llvmlite"), platform.python_version(), _cpu()):
        digest.update(part.encode())
    digest.update(b"metrics" if METRICS else b"no-metrics")
    for path in sorted(PACKAGE_DIR.rglob("*.py")):
        digest.update(str(path.relative_to(PACKAGE_DIR)).encode())
        digest.update(path.read_bytes())
    return digest.hexdigest()


#: Hex digest of all package sources, numba, llvmlite, Python, the CPU model and the metrics switch.
BUILD_HASH: str = _hash_sources()
