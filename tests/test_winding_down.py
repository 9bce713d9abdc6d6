"""The end of a run waits for what tells of the last ends, however the looks at it fall."""

from types import SimpleNamespace
from typing import Any

import numpy as np

from hftpipe.app.stopping import WindDown
from hftpipe.core.schema.cells import HALT_CELL

_RING = SimpleNamespace(name="ring.reports", writer="gateway", reader="risk", kind="reports")


class World:
    """One gateway with an open order. It ends right after the first look at anything; risk reads its reports some looks later."""

    def __init__(self, read_after: int) -> None:
        self.looks, self._read_after = 0, read_after
        self.halt = np.zeros(1, HALT_CELL)
        self.graph = SimpleNamespace(each=lambda kind: ["gateway"], rings=[_RING], at=lambda kind, name: kind)
        self.config = SimpleNamespace(pipeline=SimpleNamespace(stop_timeout_s=5.0))
        self.segment = SimpleNamespace(record=lambda name, _dtype: {"n_open": [self._look(self.open)]})

    @property
    def open(self) -> int:
        return int(self.looks == 0)

    @property
    def unread(self) -> int:
        return 2 if 0 < self.looks < self._read_after else 0

    def _look(self, seen: int) -> int:
        self.looks += 1
        return seen

    def state(self, _name: str) -> dict[str, np.ndarray]:
        counters = ("halt_cancels", "halt_cancels_again", "canceled", "expired", "fills")
        return {"stopped": np.ones(1, np.int64)} | {name: np.zeros(1, np.int64) for name in counters}

    def venue_of(self, _name: str) -> Any:
        return SimpleNamespace(name="paper")

    def halt_cell(self) -> np.ndarray:
        self.looks = self.looks if self.halt["halted"][0] else 0
        return self.halt

    def depths(self) -> dict[str, int]:
        return {"ring.reports": self._look(self.unread)}


def test_what_ends_between_two_looks_is_waited_for_until_risk_has_read_of_it() -> None:
    for read_after in range(2, 12):
        world: Any = World(read_after)
        WindDown(world, dead=list).run()
        assert world.unread == 0 and world.looks > 1, read_after
        assert world.halt["halted"][0]
