"""What every test gets: bounded property tests, and /dev/shm as clean as it was found."""

from collections.abc import Iterator
from pathlib import Path

import pytest
from hypothesis import HealthCheck, settings

# Shared machines stall; a slow example is no failure, and examples are few enough to run on every change.
settings.register_profile("product", max_examples=100, deadline=None, suppress_health_check=[HealthCheck.too_slow])
settings.load_profile("product")

SHM = Path("/dev/shm")


@pytest.fixture(autouse=True)
def own_state(tmp_path_factory: pytest.TempPathFactory, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A state folder of the test's own: no halt and no run of one test is found by another. Its pipelines' files."""
    folder = tmp_path_factory.mktemp("state")
    monkeypatch.setenv("HFTPIPE_STATE_DIR", str(folder))
    return folder / "hftpipe"


@pytest.fixture
def clean_shm() -> Iterator[None]:
    """Fails a test that leaves a segment behind."""
    before = set(SHM.glob("hftpipe-test-*"))
    yield
    left = set(SHM.glob("hftpipe-test-*")) - before
    for path in left:
        path.unlink(missing_ok=True)
    assert not left, f"left in /dev/shm: {sorted(path.name for path in left)}"
