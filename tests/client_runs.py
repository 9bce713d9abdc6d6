"""What clients of others say when they are run as they are published; a test whose client cannot be had is skipped."""

import json
import subprocess
from pathlib import Path
from typing import Any

import pytest
from client_envs import NoClient, client_program, client_python

_SCRIPTS = Path(__file__).resolve().parent / "clients"
_MOST_S = 120


def run(client: str, script: str, *arguments: object) -> Any:
    """What a script in Python prints."""
    try:
        python = client_python(client)
    except NoClient as reason:
        pytest.skip(f"{client} cannot be installed: {reason}")
    return _said(python, _SCRIPTS / script, *arguments)


def run_go(program: str, *arguments: object) -> Any:
    """What a program in Go prints."""
    try:
        built = client_program(program)
    except NoClient as reason:
        pytest.skip(f"the {program} client in Go, or what it needs, cannot be had: {reason}")
    return _said(built, *arguments)


def _said(*command: object) -> Any:
    done = subprocess.run([*map(str, command)], capture_output=True, text=True, timeout=_MOST_S)
    assert done.returncode == 0, done.stderr[-3000:]
    return json.loads(done.stdout.strip().splitlines()[-1])
