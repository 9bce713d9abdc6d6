"""A campaign that is ended by a signal leaves no process and no shared memory."""

import os
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path

import pytest
from test_run import REPO, is_gone

SHM = Path("/dev/shm")


def workers_of(pid: int) -> list[int]:
    return [int(one) for one in Path(f"/proc/{pid}/task/{pid}/children").read_text().split()]


def cpu_ticks(pid: int) -> int:
    fields = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()
    return int(fields[11]) + int(fields[12])


@pytest.fixture(params=["hftpipe.simulation.world", "hftpipe.simulation.feed_campaign"])
def campaign(request: pytest.FixtureRequest) -> Iterator[subprocess.Popen[bytes]]:
    command = [sys.executable, "-m", request.param, "--seeds", "100000", "--first", "900000"]
    process = subprocess.Popen(command, cwd=REPO, stdout=subprocess.DEVNULL, stderr=subprocess.PIPE)
    yield process
    if process.poll() is None:
        process.kill()
    process.communicate()


def until_busy(process: subprocess.Popen[bytes]) -> list[int]:
    """Wait until both workers run seeds: their process ids."""
    deadline = time.monotonic() + 240
    while time.monotonic() < deadline and process.poll() is None:
        workers = workers_of(process.pid)
        if len(workers) == 2 and all(cpu_ticks(worker) > 30 for worker in workers):
            return workers
        time.sleep(0.05)
    raise AssertionError(f"did not start: {process.poll()}")


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM, signal.SIGKILL])
def test_a_signal_ends_the_workers_and_leaves_no_segment(campaign: subprocess.Popen[bytes], number: int) -> None:
    workers = until_busy(campaign)
    # A seed is under way at almost any time: look at many of them.
    seen = {path.name for _ in range(200) for path in SHM.glob("hftpipe-world-*") if not time.sleep(0.001)}
    campaign.send_signal(number)
    _, err = campaign.communicate(timeout=60)
    assert campaign.returncode == (-number if number == signal.SIGKILL else 128 + number), err
    deadline = time.monotonic() + 10
    while time.monotonic() < deadline and not all(map(is_gone, workers)):
        time.sleep(0.02)
    alive = [worker for worker in workers if not is_gone(worker)]
    for worker in alive:
        os.kill(worker, signal.SIGKILL)
    assert not alive and not seen and not list(SHM.glob("hftpipe-world-*"))
    assert b"Traceback" not in err
