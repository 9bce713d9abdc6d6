"""A journal as a gateway writes it, without a gateway: entries of an order's life into real files."""

from pathlib import Path
from typing import Any

import numpy as np

from hftpipe.core.schema.layout import aligned
from hftpipe.core.schema.records import ACK, BUY, FILL, NEW, SELL
from hftpipe.journal.append import entry_tail, journal_append, journal_withdraw
from hftpipe.journal.keeper import JournalWriter
from hftpipe.journal.layout import FILL_DETAIL, JOURNAL
from hftpipe.journal.recovery import Recovered, carried_of, recover

E8 = 10**8
META = {
    "pipeline": "t", "venue": "alpha", "kind": "LIVE", "mode": "live", "server": "https://x", "instance": "a",
    "epoch": 7, "build": "b", "fingerprint": "f", "strategies": ["one"], "fee_assets": ["BNB"],
    "instruments": [
        {"id": 0, "symbol": "BTCUSDT", "base": "BTC", "quote": "USDT", "tick": 10**7, "lot": 10**5, "pack": 1},
        {"id": 1, "symbol": "ETHUSDT", "base": "ETH", "quote": "USDT", "tick": 10**6, "lot": 10**4, "pack": 1},
    ],
}  # fmt: skip
#: A file with room for some 50 entries.
SMALL = 4096
START_NS = 1_790_000_000 * 10**9


class Written:
    """The journal of one run. ``keeper``: whether its thread is beside."""

    def __init__(self, folder: Path, epoch: int = 7, size: int = SMALL, sync_each: bool = False) -> None:
        folder.mkdir(exist_ok=True)
        self.folder, self.memory = folder, aligned(JOURNAL.itemsize).view(JOURNAL)
        self.found: Recovered = recover(folder)
        meta: dict[str, Any] = {**META, "epoch": epoch, "carried": carried_of(self.found.standing)}
        self.writer = JournalWriter(folder, self.memory, meta, epoch, size, sync_each, 0, self.found)
        self.address = np.uint64(self.memory.ctypes.data)
        self.memory["now_ns"] = START_NS
        self._next_id = epoch << 16

    def entry(self, kind: int, id_: int, price: int = 0, qty: int = 0, a: int = 0, b: int = 0, **more: int) -> bool:
        names = ("instrument", "kind", "side", "strategy", "flags")
        tail = entry_tail(*(np.uint64({"kind": kind, **more}.get(name, 0)) for name in names))
        self.memory["now_ns"] += 1000
        return bool(
            journal_append(
                self.address, np.uint64(id_), np.int64(price), np.int64(qty), np.uint64(a), np.int64(b), np.int64(tail)
            )
        )  # fmt: skip

    def withdraw(self) -> None:
        journal_withdraw(self.address)

    def order(
        self, price: int = 60_000 * E8, qty: int = E8, side: int = BUY, instrument: int = 0, venue_id: int = 0
    ) -> int:
        """A NEW, and if it has a venue's number its ACK."""
        self._next_id += 1
        self.entry(NEW, self._next_id, price, qty, a=START_NS, side=side, instrument=instrument)
        if venue_id:
            self.entry(ACK, self._next_id, price, qty, a=venue_id, b=START_NS, side=side, instrument=instrument)
        return self._next_id

    def fill(self, id_: int, price: int, qty: int, trade: int, side: int = BUY, fee: int = 0, flags: int = 1) -> None:
        """An execution, as the gateway writes it."""
        self.entry(FILL, id_, price, qty, a=trade, b=fee, side=side, flags=flags)
        self.entry(FILL_DETAIL, id_, qty, 0, a=99, b=START_NS, side=side)

    def close(self) -> None:
        self.writer._thread.start()
        self.writer.close()

    def crash(self) -> None:
        """The process is gone; what it wrote is in its file."""
        self.memory["next_at"] = 0


def trades(run: Written) -> None:
    """Some orders: one filled, one half filled, one that nothing is known of."""
    one = run.order(venue_id=11)
    run.fill(one, 60_000 * E8, E8, trade=1, fee=12 * E8)
    two = run.order(price=60_010 * E8, qty=2 * E8, side=SELL, venue_id=12)
    run.fill(two, 60_010 * E8, E8 // 2, trade=2, side=SELL, fee=E8 // 1000, flags=1 | 1 << 1)
    run.order(qty=3 * E8)
