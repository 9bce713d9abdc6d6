"""``hftpipe`` as a user starts it: a command to its end, and a run under way with what it says."""

import json
import signal
import subprocess
import sys
import time
from collections.abc import Sequence
from pathlib import Path
from typing import Any

CONFIGS = Path(__file__).resolve().parent.parent / "configs"
_COMMAND = (sys.executable, "-c", "from hftpipe.cli import main; main()")


def configs(*names: str) -> list[str]:
    """Options for files of the configs folder."""
    return [f"--config={CONFIGS / name}.toml" for name in names]


def hftpipe(env: dict[str, str], *args: str, seconds: float = 600) -> subprocess.CompletedProcess[str]:
    return subprocess.run([*_COMMAND, *args], env=env, capture_output=True, text=True, timeout=seconds)


class Running:
    """A run under way, with what it says."""

    def __init__(self, env: dict[str, str], out: Path, name: str, *args: str, files: Sequence[str]) -> None:
        self.name, self.env, self.out = name, env, out
        self.log = out.with_suffix(".log")
        with self.log.open("w") as log:
            self.process = subprocess.Popen(
                [*_COMMAND, "run", *files, "--name", name, "--json", str(out), *args], env=env, stdout=log, stderr=log
            )

    def says(self, text: str, seconds: float = 600.0) -> dict[str, Any]:
        """The log line whose message is ``text``, once it is there."""
        deadline = time.monotonic() + seconds
        while time.monotonic() < deadline:
            for line in self.log.read_text().splitlines():
                if line.startswith("{") and (said := json.loads(line))["message"] == text:
                    return dict(said)
            assert self.process.poll() is None, self.log.read_text()
            time.sleep(0.05)
        raise AssertionError(f"{text!r} was never said:\n{self.log.read_text()}")

    def end(self) -> dict[str, Any]:
        if self.process.poll() is None:
            self.process.send_signal(signal.SIGINT)
        self.process.wait(60)
        return dict(json.loads(self.out.read_text()))
