"""An account's own orders as a comparison sees them: read without stopping compiled code, so torn at worst. What differs must last."""

import numpy as np

from hftpipe.core.machine.system_clock import steady_ns
from hftpipe.core.trading.order_table import A_REPLACE, PARTIAL, PENDING_NEW, UNKNOWN, WORKING
from hftpipe.venues.orders.compare import OwnOrders
from hftpipe.venues.orders.facts import ASK_STATE
from hftpipe.venues.orders.keeper import AccountMemory, Question
from hftpipe.venues.orders.looks import order_rows
from hftpipe.venues.orders.state import ACKED, ASKED, END_TOLD, REVISION, STRAY, TOLD_UNKNOWN, UNTOLD

#: With any of these nothing is sure of an order; an execution of it may still be found out.
_UNSURE = int(ASKED | END_TOLD | STRAY | TOLD_UNKNOWN | UNTOLD)

_LONG_NS = 2_000_000_000


def _is_open(rows: np.ndarray) -> np.ndarray:
    made: np.ndarray = (rows["state"] >= PENDING_NEW) & (rows["state"] <= UNKNOWN)
    return made


def _ids(rows: np.ndarray) -> frozenset[int]:
    return frozenset(int(one) for one in rows["id"])


class AccountOrders:
    """The orders of an account (its AccountMemory)."""

    def __init__(self, memory: AccountMemory) -> None:
        self._memory = memory

    def now(self) -> OwnOrders:
        """What is open, and what of it rests without anything under way."""
        rows = order_rows(self._memory.table).copy()
        rows = rows[_is_open(rows)]
        rests = (rows["state"] == WORKING) | (rows["state"] == PARTIAL)
        is_sure = (rows["user"] & _UNSURE == 0) & (rows["user"] & int(ACKED) != 0) & (rows["cancels"] == 0)
        return OwnOrders(_ids(rows), _ids(rows[rests & is_sure]))

    def unsettled(self) -> set[int]:
        """Instruments with an order of which nothing is known, that was asked about and has had no answer for long, or that waits for
        executions that the venue has named."""
        rows = order_rows(self._memory.table).copy()
        # A look now and then settles nothing and unsettles nothing; a question that has waited for long, behind many others, does.
        asked = (rows["user"] & int(ASKED) != 0) & (steady_ns() - self._memory.extras["looked_ns"] > _LONG_NS)
        asked, rows = asked[_is_open(rows)], rows[_is_open(rows)]
        waits = (rows["state"] == UNKNOWN) | (rows["user"] & int(TOLD_UNKNOWN | UNTOLD) != 0) | asked
        waits |= rows["cancel_due_ns"] > rows["filled"]
        return {int(one) for one in np.unique(rows["instrument"][waits])}

    def active(self, since_ns: int) -> set[int]:
        """Instruments with open orders, or with any of which something left or came in since a time (monotonic ns)."""
        rows = order_rows(self._memory.table).copy()
        rows = rows[rows["id"] != 0]
        found = _is_open(rows) | (rows["created_ts"] >= since_ns)
        return {int(one) for one in np.unique(rows["instrument"][found])}

    def has(self, id_: int) -> bool:
        """Whether an order is in the table, open or not."""
        return self._place(id_) >= 0

    def _place(self, id_: int) -> int:
        found = np.flatnonzero(order_rows(self._memory.table)["id"] == np.uint64(id_))
        return int(found[0]) if len(found) else -1

    def question(self, id_: int, instrument: int, venue_id: int) -> Question:
        """What is asked to find out what has become of an order."""
        place = self._place(id_)
        if place < 0:
            return Question(id_, ASK_STATE, venue_id, instrument, 0, 0, False, False, steady_ns())
        row = order_rows(self._memory.table)[place]
        return Question(
            id_, ASK_STATE, int(row["venue_id"]), int(row["instrument"]), int(row["user"]) & int(REVISION),
            int(self._memory.extras[place]["last_no"]), bool(row["asked_qty"]), int(row["under_way"]) >= A_REPLACE, steady_ns(),
        )  # fmt: skip
