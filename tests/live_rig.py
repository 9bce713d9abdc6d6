"""The market stage of a pipeline on a server of a test's own, stepped by hand."""

import ctypes
import time
from collections.abc import Callable

import numpy as np
import pytest
from websocket_server import Server

from hftpipe.config import load
from hftpipe.core.machine.clock import calibrate_once
from hftpipe.core.machine.system_clock import steady_ns
from hftpipe.core.schema.records import BID
from hftpipe.core.shared.private import PrivateSegment
from hftpipe.core.shared.stage import SERVICE
from hftpipe.core.trading.book import BOOK, book_level
from hftpipe.core.trading.books import book_offsets
from hftpipe.strategy.compile.loader import load as load_strategy
from hftpipe.topology.pipeline import Pipeline
from hftpipe.transport.websocket.link import LINK

STEP = ctypes.CFUNCTYPE(ctypes.c_int64, ctypes.c_uint64, ctypes.c_int64)
SYMBOLS = ("AUSDT", "BUSDT", "CUSDT")


class StageRig:
    """The stage; what the venue is like a test says."""

    def __init__(self, caplog: pytest.LogCaptureFixture, server: Server | None, settings: dict[str, object]) -> None:
        self.caplog, self.server = caplog, server
        tables = [
            {"symbol": one, "tick_size": "0.01", "lot_size": "0.001", "min_notional": "5", "reference_price": "100"}
            for one in SYMBOLS
        ]
        self.config = load(
            [], {}, {"instruments": tables, "live.book_check_s": 0, "live.listing_check_s": 0} | settings
        )
        self.pipeline = Pipeline(
            self.config, [load_strategy("market_making")], 1, 10**18, PrivateSegment, calibrate_once
        )
        self.stage, self.state = self.pipeline.stages["market_data"], self.pipeline.state("market_data")
        self._step = STEP(self.stage.step)
        self.stage.opened()

    def told(self) -> object:
        """What a test that waits in vain should show."""
        return None

    def never_wrong(self) -> None:
        """What must hold at every look."""

    def links(self) -> np.ndarray:
        region: np.ndarray = self.pipeline.segment.region("market.links")
        return region[: len(region) // LINK.itemsize * LINK.itemsize].view(LINK)

    def step(self) -> None:
        if self._step(self.stage.state, steady_ns()) == SERVICE:
            assert self.stage.service()

    def until(self, done: Callable[[], bool], seconds: float = 20.0) -> None:
        deadline = time.monotonic() + seconds
        while not done():
            assert time.monotonic() < deadline, (self.states(), self.told(), self.said())
            for _ in range(50):
                self.step()
            self.never_wrong()
            time.sleep(0.0005)

    def said(self) -> str:
        """What was logged of connections and snapshots."""
        return "\n".join(record.getMessage() for record in self.caplog.records)

    @property
    def books_at(self) -> list[int]:
        offsets = book_offsets(np.array(self.config.levels()))
        return [self.pipeline.address("market.books") + int(at) for at in offsets]

    def books(self) -> list[np.void]:
        memory, start = self.pipeline.segment.region("market.books"), self.pipeline.address("market.books")
        return [memory[at - start :][: BOOK.itemsize].view(BOOK)[0] for at in self.books_at]

    def states(self) -> list[int]:
        return [int(book["state"]) for book in self.books()]

    def bids(self, index: int) -> tuple[int, int]:
        """The two bids of a book."""
        at = np.uint64(self.books_at[index])
        first, second = (int(book_level(at, BID, level)[1]) // 10**8 for level in (0, 1))
        return first, second

    def close(self) -> None:
        self.stage.closed()
        if self.server:
            self.server.close()
        self.pipeline.segment.unlink()
