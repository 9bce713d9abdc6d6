"""The risk stage wired to private memory, for tests."""

from typing import Any

import numpy as np
from memory import address, aligned, record

from hftpipe.core.machine.fixed import INT64_MAX
from hftpipe.core.schema.cells import HALT_CELL, TOP_CELL
from hftpipe.core.schema.halts import halts_bytes
from hftpipe.core.schema.histogram import HIST_BYTES
from hftpipe.core.schema.instruments import INSTRUMENT
from hftpipe.core.schema.position import POSITION
from hftpipe.core.schema.records import BUY, NEW, RECORD, VALID, layout_of
from hftpipe.core.schema.ring import ring_bytes
from hftpipe.core.shared import ring
from hftpipe.core.shared.event_time import EVENT_TIME, REAL_TIME_MULT
from hftpipe.core.trading import order_table
from hftpipe.core.trading.order_table import ORDER, table_bytes, table_init
from hftpipe.risk.crossing import TOUCH
from hftpipe.risk.desks import DESK
from hftpipe.risk.groups import GROUP, MEMBER, fill_groups
from hftpipe.risk.limits import LIMITS
from hftpipe.risk.losses import LOSS
from hftpipe.risk.rate import RATE
from hftpipe.risk.repeats import REPEATS_BYTES
from hftpipe.risk.stage import step
from hftpipe.risk.standings import STANDING
from hftpipe.risk.state import LANE, STATE
from hftpipe.risk.worth import TOTAL, WORTH

E8 = 10**8
TICK, LOT, MIN_NOTIONAL = E8 // 100, 1000, 5 * E8
BID, ASK = 9_995 * TICK, 10_005 * TICK
NOW = 1_700_000_000 * 10**9
N_INSTRUMENTS, N_STRATEGIES, N_GROUPS = 2, 4, 2


def fill_limits(row: np.ndarray) -> None:
    """Limits under which the default order passes."""
    row["max_order_qty"], row["max_market_qty"] = 10 * E8, 5 * E8
    row["max_order_notional"], row["max_position"] = 600 * E8, 20 * E8
    row["collar_e8"], row["post_only_collar_e8"] = E8 // 100, E8 // 200
    row["max_book_age_ns"], row["max_intent_age_ns"] = 2 * 10**9, 10**9
    row["orders_per_s"], row["orders_per_min"] = 1000, 10_000


def fill_instrument(row: np.ndarray) -> None:
    """Filters of the test instrument."""
    row["tick"], row["lot"], row["min_notional"] = TICK, LOT, MIN_NOTIONAL


def fill_top(row: np.ndarray) -> None:
    """A fresh, VALID top of book with a mid of 100."""
    row["bid"], row["ask"], row["bid_qty"], row["ask_qty"] = BID, ASK, E8, E8
    row["local_ts"], row["state"] = NOW, VALID


def new_ring(capacity: int) -> np.ndarray:
    """An empty ring."""
    memory = aligned(ring_bytes(capacity))
    ring.ring_init(memory, capacity)
    return memory


def push(memory: np.ndarray, item: np.ndarray) -> bool:
    """Push one RECORD."""
    return bool(ring.ring_push(address(memory), address(item)))


def pop_all(memory: np.ndarray) -> list[Any]:
    """Pop everything, as copies."""
    out, base = [], memory.ctypes.data
    while slot := int(ring.ring_peek(address(memory))):
        out.append(memory[slot - base : slot - base + 64].view(RECORD)[0].copy())
        ring.ring_pop(address(memory))
    return out


def make(**fields: int) -> np.ndarray:
    """A record in the layout of its kind: a limit buy of 1 at 100 unless said otherwise."""
    item = record(layout_of(fields.get("kind", NEW)))
    defaults = {"kind": NEW, "side": BUY, "price": 100 * E8, "qty": E8, "id": 1, "local_ts": NOW, "strategy": 1}
    known = {name: value for name, value in defaults.items() if name in (item.dtype.names or ())}
    for name, value in {**known, **fields}.items():
        item[name] = value
    return item


class RiskRig:
    """The stage, its rings and everything it reads."""

    def __init__(self, orders: int = 1024, updates: int = 1024, reports: int = 1024, slots: int = 1024) -> None:
        self.state, self.lane = record(STATE), record(LANE)
        self.rings = {
            "intents": new_ring(1024), "orders": new_ring(orders), "reports": new_ring(reports),
            "updates": new_ring(updates), "market": new_ring(16),
        }  # fmt: skip
        self.progress = aligned(64).view(np.uint64)
        self.halt, self.time = record(HALT_CELL), record(EVENT_TIME)
        self.halts = aligned(halts_bytes(N_INSTRUMENTS))
        self.tops = aligned(64 * N_INSTRUMENTS).view(TOP_CELL)
        self.instruments = aligned(INSTRUMENT.itemsize * N_INSTRUMENTS).view(INSTRUMENT)
        self.limits = aligned(LIMITS.itemsize * N_INSTRUMENTS).view(LIMITS)
        self.positions = aligned(POSITION.itemsize * N_INSTRUMENTS).view(POSITION)
        self.rates = aligned(RATE.itemsize * N_INSTRUMENTS).view(RATE)
        self.groups = aligned(GROUP.itemsize * N_GROUPS).view(GROUP)
        self.members = aligned(MEMBER.itemsize * N_INSTRUMENTS).view(MEMBER)
        self.desks = aligned(DESK.itemsize * N_STRATEGIES).view(DESK)
        self.table = aligned(table_bytes(slots))
        table_init(self.table, slots)
        self.worths = aligned(WORTH.itemsize * N_INSTRUMENTS).view(WORTH)
        self.totals = aligned(TOTAL.itemsize * (2 + N_STRATEGIES)).view(TOTAL)
        self.losses = aligned(LOSS.itemsize).view(LOSS)
        self.standings = aligned(STANDING.itemsize * N_STRATEGIES * N_INSTRUMENTS).view(STANDING)
        self.repeats = aligned(REPEATS_BYTES)
        self.touches = aligned(TOUCH.itemsize * N_INSTRUMENTS).view(TOUCH)
        self.totals["max_gross"], self.standings["is_allowed"], self.standings["most"] = INT64_MAX, 1, INT64_MAX
        self.losses["max_daily_loss"] = self.losses["max_drawdown"] = INT64_MAX
        self.losses["slice_ns"] = 60 * 10**9
        self.hists = [aligned(HIST_BYTES) for _ in range(3)]
        for index in range(N_INSTRUMENTS):
            fill_limits(self.limits[index : index + 1])
            fill_instrument(self.instruments[index : index + 1])
            fill_top(self.tops[index : index + 1])
        self._wire()

    def _wire(self) -> None:
        s = self.state
        for name in ("intents", "updates"):
            s[name] = address(self.rings[name])
        for name in ("orders", "reports", "market"):
            self.lane[name] = address(self.rings[name])
        self.lane["progress"], self.lane["time"] = address(self.progress), address(self.time)
        s["lanes"], s["n_lanes"] = address(self.lane), 1
        for name in ("halt", "halts", "tops", "instruments", "limits", "positions", "rates", "table", "desks", "worths", "totals", "losses",
                     "standings", "repeats"):  # fmt: skip
            s[name] = address(getattr(self, name))
        s["n_instruments"], s["n_desks"], s["n_quotes"] = N_INSTRUMENTS, N_STRATEGIES, 1
        for name, memory in zip(("h_strategy_to_risk", "h_risk", "h_tick_to_risk"), self.hists, strict=True):
            s[name] = address(memory)

    def group(self, *groups: tuple[Any, list[bool]], units: tuple[int, ...] = (1, 1)) -> None:
        """Limits of several instruments together, from now on: (limits, which instruments)."""
        configured = [(limits, np.array(own)) for limits, own in groups]
        fill_groups(self.groups, self.members, configured, np.array(units))
        self.state["groups"], self.state["members"] = address(self.groups), address(self.members)

    def own_apart(self) -> None:
        """Each strategy has positions of its own, and what they are worth."""
        count = N_STRATEGIES * N_INSTRUMENTS
        self.owned = aligned(POSITION.itemsize * count).view(POSITION)
        self.own_worths = aligned(WORTH.itemsize * count).view(WORTH)
        each = N_INSTRUMENTS * POSITION.itemsize
        self.desks["positions"] = int(address(self.owned)) + each * np.arange(N_STRATEGIES, dtype=np.uint64)
        self.state["own_worths"] = address(self.own_worths)

    def prevent_self_match(self) -> None:
        """Orders that could trade with our own are refused, from now on."""
        self.state["touches"] = address(self.touches)

    def run_clock(self) -> None:
        """From now on event time is the monotonic time that each step is given; it is NOW."""
        self.time["mult"], self.time["mono_ns"], self.time["event_ts"] = REAL_TIME_MULT, NOW, NOW

    def step(self, now_ns: int = 0) -> int:
        """One step at monotonic ``now_ns``."""
        return int(step(address(self.state), np.int64(now_ns)))

    def intend(self, **fields: int) -> None:
        """Push an intent."""
        assert push(self.rings["intents"], make(**fields))

    def report(self, **fields: int) -> None:
        """Push a report."""
        assert push(self.rings["reports"], make(**fields))

    def pop(self, name: str) -> list[Any]:
        """Empty a ring."""
        return pop_all(self.rings[name])

    def count(self, name: str) -> int:
        """A counter."""
        return int(self.state[name][0])

    def rejects(self, reason: int) -> int:
        """Refusals for a reason."""
        return int(self.state["rejects"][0][reason])

    def position(self, field: str = "qty", instrument: int = 0) -> int:
        """A field of a POSITION row."""
        return int(self.positions[field][instrument])

    def order(self, id_: int) -> np.ndarray:
        """The order under a client id, in risk's table."""
        slot = int(order_table.order_find(address(self.table), np.uint64(id_)))
        at = slot - self.table.ctypes.data
        return self.table[at : at + ORDER.itemsize].view(ORDER)[0]
