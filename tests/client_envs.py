"""Virtual environments of their own for clients of others, whose packages would clash with ours and with one another.

``python tests/client_envs.py`` makes all of them beforehand. They are kept, by what is in them, in the folder of
HFTPIPE_TEST_CLIENTS or below the user's cache folder.
"""

import hashlib
import os
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
_INSTALL_S = 600


class NoClient(Exception):
    """An environment that cannot be made here; the text is the reason."""


def _folder() -> Path:
    cache = os.environ.get("XDG_CACHE_HOME") or str(Path.home() / ".cache")
    return Path(os.environ.get("HFTPIPE_TEST_CLIENTS") or f"{cache}/hftpipe-test-clients")


def _run(*command: object) -> None:
    try:
        done = subprocess.run([*map(str, command)], capture_output=True, text=True, timeout=_INSTALL_S)
    except subprocess.TimeoutExpired as late:
        raise NoClient(f"not installed within {_INSTALL_S} s") from late
    if done.returncode:
        raise NoClient((done.stderr.strip().splitlines() or ["pip says nothing"])[-1])


def client_python(name: str) -> Path:
    """The interpreter of a client's environment, made if it is not there yet.

    Raises:
        NoClient: pip cannot install it.
    """
    packages = CLIENTS[name]
    key = hashlib.sha256(repr((packages, sys.version_info[:2])).encode()).hexdigest()[:12]
    folder = _folder() / f"{name}-{key}"
    python, done = folder / "bin" / "python", folder / "installed"
    if not done.exists():
        _run(sys.executable, "-m", "venv", folder)
        _run(python, "-m", "pip", "install", "--quiet", "--disable-pip-version-check", *packages)
        done.touch()
    return python


if __name__ == "__main__":
    for each in CLIENTS:
        print(each, client_python(each))
