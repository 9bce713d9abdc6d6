"""Clients of others, ready to run: virtual environments of their own for those in Python, whose packages would clash with ours
and with one another, and programs for those in Go.

``python tests/client_envs.py`` makes all of them beforehand. They are kept, by what is in them, in the folder of
HFTPIPE_TEST_CLIENTS or below the user's cache folder.
"""

import hashlib
import os
import shutil
import subprocess
import sys
from pathlib import Path

#: What goes together: python-binance and other packages each have a module ``binance``.
CLIENTS = {
    "python-binance": ("python-binance==1.0.37",),
    "ccxt": ("ccxt==4.5.90",),
    "pybit": ("pybit==5.17.0",),
    "official": ("binance-sdk-spot==13.3.0", "binance-sdk-derivatives-trading-usds-futures==18.1.0"),
}
#: Sources of the programs in Go, a folder each.
GO_SOURCES = Path(__file__).resolve().parent / "clients" / "go"
GO_PROGRAMS = ("binance", "bybit")
_INSTALL_S = 600


class NoClient(Exception):
    """A client that cannot be had here; the text is the reason."""


def _folder() -> Path:
    cache = os.environ.get("XDG_CACHE_HOME") or str(Path.home() / ".cache")
    return Path(os.environ.get("HFTPIPE_TEST_CLIENTS") or f"{cache}/hftpipe-test-clients")


def _run(*command: object, cwd: Path | None = None) -> None:
    try:
        done = subprocess.run([*map(str, command)], capture_output=True, text=True, timeout=_INSTALL_S, cwd=cwd)
    except subprocess.TimeoutExpired as late:
        raise NoClient(f"not installed within {_INSTALL_S} s") from late
    if done.returncode:
        raise NoClient((done.stderr.strip().splitlines() or [f"{command[0]} says nothing"])[-1])


def _kept(name: str, key: bytes) -> Path:
    return _folder() / f"{name}-{hashlib.sha256(key).hexdigest()[:12]}"


def client_python(name: str) -> Path:
    """The interpreter of a client's environment, made if it is not there yet.

    Raises:
        NoClient: pip cannot install it.
    """
    packages = CLIENTS[name]
    folder = _kept(name, repr((packages, sys.version_info[:2])).encode())
    python, done = folder / "bin" / "python", folder / "installed"
    if not done.exists():
        _run(sys.executable, "-m", "venv", folder)
        _run(python, "-m", "pip", "install", "--quiet", "--disable-pip-version-check", *packages)
        done.touch()
    return python


def client_program(name: str) -> Path:
    """A program of :data:`GO_PROGRAMS`, built if it is not there yet.

    Raises:
        NoClient: there is no Go, or it cannot have the modules; RuntimeError: the program does not build.
    """
    go = shutil.which("go")
    if go is None:
        raise NoClient("there is no Go here")
    sources = sorted(one for one in GO_SOURCES.rglob("*") if one.is_file())
    folder = _kept("go", b"\0".join(one.read_bytes() for one in sources))
    if not (folder / name).exists():
        _run(go, "mod", "download", cwd=GO_SOURCES)
        folder.mkdir(parents=True, exist_ok=True)
        build = [go, "build", "-mod=readonly", "-o", folder, "./..."]
        done = subprocess.run([*map(str, build)], cwd=GO_SOURCES, capture_output=True, text=True, timeout=_INSTALL_S)
        if done.returncode:
            raise RuntimeError(done.stderr)
    return folder / name


if __name__ == "__main__":
    for each in CLIENTS:
        print(each, client_python(each))
    for each in GO_PROGRAMS:
        print(each, client_program(each))
