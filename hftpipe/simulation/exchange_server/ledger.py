"""What the exchange knows of its accounts: what each has executed, and which of its orders rest. The truth to compare with.

Executions are summed where they are reported; the orders are read from the matching books. Written down as JSON
(quantities and prices in units of 1e-8)::

    {"written_ns": ..., "accounts": {"USER": {"connected": true, "orders": [...], "executed": {"SYMBOL": {...}}}}}
"""

import os
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import orjson

from hftpipe.core.machine.jit import jit
from hftpipe.core.machine.mem import U64, view
from hftpipe.core.machine.system_clock import steady_ns
from hftpipe.core.schema.records import BUY
from hftpipe.simulation.exchange_server.accounts import ACCOUNT, ACCOUNT_BYTES, is_live
from hftpipe.simulation.flow.flow import flow_book
from hftpipe.simulation.matching.memory import MATCHING, ORDER

if TYPE_CHECKING:
    from hftpipe.simulation.exchange_server.itch_exchange import ItchExchange

#: Executed by one account in one instrument: quantities (1e-8) and executions.
TALLY = np.dtype([("bought", "i8"), ("sold", "i8"), ("fills", "i8"), ("_pad", "i8")], align=True)
_TALLY_SHIFT = np.uint64(5)
assert TALLY.itemsize == 1 << int(_TALLY_SHIFT)
_REF_MASK = (1 << 32) - 1
#: How often the truth is written, and rounds between two looks whether it is time.
WRITE_NS, WRITE_ROUNDS = 50_000_000, 256


@jit
def tally(tallies, n_instruments, owner, instrument, side, qty):
    """Add one execution of account ``owner`` (1 and up)."""
    index = U64((owner - 1) * n_instruments + instrument)
    t = view(tallies + (index << _TALLY_SHIFT), TALLY)
    if side == BUY:
        t.bought += qty
    else:
        t.sold += qty
    t.fills += 1


def _resting(exchange: "ItchExchange", instrument: int) -> tuple[np.ndarray, int]:
    """The ORDERs of an instrument that rest for an account (a copy), and its tick."""
    flows, stride = int(exchange.state["flows"][0]), int(exchange.state["flow_stride"][0])
    memory = exchange.memory.piece("flows")[int(flow_book(np.uint64(flows + stride * instrument))) - flows :]
    header = memory[: MATCHING.itemsize].view(MATCHING)[0]
    start, count = int(header["orders_at"]), int(header["max_orders"]) + 1
    orders = memory[start : start + count * ORDER.itemsize].view(ORDER)
    return orders[(orders["id"] != 0) & (orders["owner"] != 0) & (orders["qty"] > 0)], int(header["tick"])


def _orders(exchange: "ItchExchange", owner: int) -> list[dict[str, Any]]:
    found = []
    for instrument, row in enumerate(exchange.config.instruments):
        orders, tick = _resting(exchange, instrument)
        found += [
            {
                "ref": int(order["id"]) & _REF_MASK, "symbol": bytes(row["symbol"]).decode(), "side": int(order["side"]),
                "price": int(order["tick"]) * tick, "qty": int(order["qty"]), "filled": int(order["filled"]),
            }
            for order in orders[orders["owner"] == owner]
        ]  # fmt: skip
    return sorted(found, key=lambda order: order["ref"])


def ledger(exchange: "ItchExchange") -> dict[str, Any]:
    """The truth about every account; call it between two rounds."""
    rows = exchange.config.instruments
    tallies = exchange.memory.piece("tallies")
    accounts = {}
    for index, who in enumerate(exchange.config.accounts):
        address = exchange.memory.address("accounts") + index * ACCOUNT_BYTES
        memory = exchange.memory.piece("accounts")[index * ACCOUNT_BYTES :][: ACCOUNT.itemsize].view(ACCOUNT)
        mine = tallies[index * len(rows) : (index + 1) * len(rows)]
        accounts[who.user] = {
            "connected": bool(is_live(np.uint64(address))),
            "orders": _orders(exchange, index + 1),
            "requests": int(memory["requests"][0]),
            "executed": {
                bytes(row["symbol"]).decode(): {name: int(one[name]) for name in ("bought", "sold", "fills")}
                for row, one in zip(rows, mine, strict=True)
            },
        }
    return {"written_ns": steady_ns(), "accounts": accounts}


class LedgerFile:
    """Keeps a file with the truth up to date; a reader never sees half of it. ``path`` empty: none is kept."""

    def __init__(self, exchange: "ItchExchange", path: str) -> None:
        self._exchange, self._path, self._next_ns = exchange, path, 0
        #: Rounds the exchange may make before it asks again.
        self.rounds = WRITE_ROUNDS if path else 0

    def write(self, now_ns: int, is_last: bool = False) -> None:
        """Write it, if it is time (for the last one it is)."""
        if not self._path or (now_ns < self._next_ns and not is_last):
            return
        self._next_ns = now_ns + WRITE_NS
        fresh = Path(f"{self._path}.new")
        fresh.write_bytes(orjson.dumps(ledger(self._exchange)))
        os.replace(fresh, self._path)
