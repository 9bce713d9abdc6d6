"""What every test gets: bounded property tests, and /dev/shm as clean as it was found; and which tests run one after the other."""

import os
import re
from collections.abc import Iterable, Iterator
from pathlib import Path

import pytest
from hypothesis import HealthCheck, settings

# Shared machines stall; a slow example is no failure, and examples are few enough to run on every change.
settings.register_profile("product", max_examples=100, deadline=None, suppress_health_check=[HealthCheck.too_slow])
settings.load_profile("product")

SHM = Path("/dev/shm")
#: Files that start pipelines or exchanges: what their tests see depends on the CPUs that those get.
_STARTS = re.compile(
    r"subprocess|multiprocessing|\bfork\b|pytest_plugins|app\.supervisor|"
    r"^from (running|test_run|test_run_strategy|client_runs|live_exchanges|live_orders_rig|live_rig|ouch_rig|binance_rig|bybit_rig|bybit_venue|"
    r"test_replay_verify) import",
    re.MULTILINE,
)
#: Those of them whose processes compile or reckon and keep no time.
_TIMELESS = ("test_machine_code", "test_jit_cache", "test_metrics_off", "test_tidy", "test_readme")
#: Files that start nothing and keep time all the same.
_KEEP_TIME = ("test_kill_switch", "test_webhook")


def _takes_turns(path: Path, known: dict[Path, bool]) -> bool:
    if path not in known:
        starts = path.stem not in _TIMELESS and bool(_STARTS.search(path.read_text()))
        known[path] = starts or path.stem in _KEEP_TIME
    return known[path]


def pytest_collection_modifyitems(items: Iterable[pytest.Item]) -> None:
    """Mark the tests of such files ``in_turn``: ``make test`` runs them one after the other, and the others beside, at a low priority."""
    known: dict[Path, bool] = {}
    for item in items:
        if _takes_turns(item.path, known):
            item.add_marker(pytest.mark.in_turn)


@pytest.fixture(autouse=True)
def own_state(tmp_path_factory: pytest.TempPathFactory, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A state folder of the test's own: no halt and no run of one test is found by another. Its pipelines' files."""
    folder = tmp_path_factory.mktemp("state")
    monkeypatch.setenv("HFTPIPE_STATE_DIR", str(folder))
    return folder / "hftpipe"


@pytest.fixture
def clean_shm() -> Iterator[None]:
    """Fails a test that leaves a segment behind."""
    own = f"hftpipe-test-*{os.getpid()}*"
    before = set(SHM.glob(own))
    yield
    left = set(SHM.glob(own)) - before
    for path in left:
        path.unlink(missing_ok=True)
    assert not left, f"left in /dev/shm: {sorted(path.name for path in left)}"
