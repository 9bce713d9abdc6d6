"""Where the captured feeds are, and the mark of tests that need them."""

from pathlib import Path

import pytest

DATA = Path(__file__).resolve().parents[2] / "shared" / "data"
needs_data = pytest.mark.skipif(not DATA.is_dir(), reason="captured feeds are not on this machine (../shared/data)")
