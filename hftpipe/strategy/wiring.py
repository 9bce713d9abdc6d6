"""Memory of the strategy stage and its strategies: how much, how it starts, and its addresses put into STATE and SEATs."""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from functools import partial

import numpy as np

from hftpipe.core.schema.fault import FAULT_BYTES
from hftpipe.core.schema.halts import halt_words, halts_bytes
from hftpipe.core.schema.layout import offset_of
from hftpipe.core.schema.position import POSITION
from hftpipe.core.schema.spreads import NO_NET
from hftpipe.core.trading.books import Levels, books_bytes, books_init, books_table, levels_of
from hftpipe.core.trading.order_table import table_bytes, table_init
from hftpipe.strategy.compile.loader import LoadedStrategy
from hftpipe.strategy.faults import record_faults
from hftpipe.strategy.pacing import PACE, PACE_BYTES, pace_row
from hftpipe.strategy.params import params_bytes, params_init
from hftpipe.strategy.quote_slots import QUOTE_BYTES, QUOTE_SLOTS, queue_slots
from hftpipe.strategy.quotes import NEVER
from hftpipe.strategy.stage_state import HOOK_NUMBERS, SEAT, STATE

OPEN_ORDERS = 1024


@dataclass(frozen=True)
class Seat:
    """One strategy of the stage.

    Attributes:
        strategy: as loaded.
        own: which instruments it trades (bool by instrument id); None: all.
        orders: slots of its open-order table, a power of two.
        rate: orders a second and a minute that risk allows it in all: quotes keep within them. None: no limit.
    """

    strategy: LoadedStrategy
    own: np.ndarray | None = None
    orders: int = OPEN_ORDERS
    rate: tuple[int, int] | None = None

    @property
    def first(self) -> int:
        """Id of its first instrument."""
        return 0 if self.own is None else int(np.flatnonzero(self.own)[0])


def stage_sizes(n_instruments: int, levels: Levels, n_seats: int = 1) -> dict[str, int]:
    """Bytes of every region that all strategies share.

    Args:
        levels: price levels kept per side of a book; one number for all instruments, or int64[n].
    """
    return {
        "state": STATE.itemsize,
        "seats": n_seats * SEAT.itemsize,
        "users": 8 * n_instruments,
        "books": books_bytes(levels_of(levels, n_instruments)),
        "scopes": halts_bytes(n_instruments),
    }


def seat_sizes(seat: Seat, n_instruments: int) -> dict[str, int]:
    """Bytes of every region that one strategy has for itself."""
    return {
        "self": seat.strategy.dtype.itemsize,
        "params": params_bytes(len(seat.strategy.schema)),
        "positions": n_instruments * POSITION.itemsize,
        "table": table_bytes(seat.orders),
        "quotes": n_instruments * QUOTE_SLOTS * QUOTE_BYTES,
        "quote_queue": 8 * queue_slots(n_instruments),
        "paces": n_instruments * PACE_BYTES,
        "fault": FAULT_BYTES,
    }


def init_stage(
    regions: Mapping[str, np.ndarray], seats: Sequence[Seat], n_instruments: int, levels: Levels,
    ticks: np.ndarray | None = None,
) -> None:  # fmt: skip
    """Bring the shared regions (uint8 arrays as sized by :func:`stage_sizes`, zeroed) to their starting state.

    What starts as zeros is not written: in a large universe most of it is never used, and then takes no memory.

    Args:
        levels: as given to :func:`stage_sizes`.
        ticks: price step of each instrument (1e-8); books are right without it, only slower.
    """
    books_init(regions["books"], levels_of(levels, n_instruments), ticks)
    users = regions["users"][: 8 * n_instruments].view(np.uint64)
    for index, seat in enumerate(seats):
        users[slice(None) if seat.own is None else seat.own] |= np.uint64(1 << index)


def init_seat(regions: Mapping[str, np.ndarray], seat: Seat, rates: Sequence[tuple[int, int]] = ()) -> None:
    """Bring a strategy's own regions (as sized by :func:`seat_sizes`, zeroed) to their starting state.

    Args:
        rates: orders a second and a minute that risk allows, by instrument: quotes keep within them. Empty: no limit.
    """
    loaded = seat.strategy
    regions["self"][: loaded.dtype.itemsize] = loaded.initial.view(np.uint8)
    params_init(regions["params"], loaded.initial, len(loaded.schema))
    table_init(regions["table"], seat.orders)
    paces = regions["paces"][: len(rates) * PACE_BYTES].view(PACE)
    rows = {rate: pace_row(*rate)[0] for rate in set(rates)}
    for instrument, rate in enumerate(rates):
        paces[instrument] = rows[rate]


def wire_stage(
    state: np.ndarray,
    addresses: Mapping[str, int],
    *,
    n_instruments: int,
    levels: Levels,
    n_seats: int = 1,
    feeds: Sequence[tuple[int, int]] = (),
    in_time: bool = False,
    timer_ns: int = 0,
) -> None:
    """Put every address and constant into a STATE array of length 1.

    Args:
        addresses: of ``updates`` (a ring), ``halt`` (HALT_CELL), ``halts`` (HALTS), ``h_market_to_strategy h_strategy``
            (histograms), and the stage's own ``seats users books scopes``.
        levels: as given to :func:`stage_sizes`.
        feeds: addresses of each venue's market ring and of its feed's STATUS.
        in_time: whether the venues' records are merged by their time.
        timer_ns: period of ``on_timer``.
    """
    for index, (ring, status) in enumerate(feeds):
        state["markets"][0][index], state["feeds"][0][index] = ring, status
    state["n_markets"], state["in_time"], state["timer_ns"] = len(feeds), in_time, timer_ns
    for name in ("updates", "halt", "halts", "h_market_to_strategy", "h_strategy", "seats", "users", "scopes"):
        state[name] = addresses[name]
    state["n_seats"], state["n_scopes"], state["n_instruments"] = n_seats, halt_words(n_instruments), n_instruments
    state["books"] = books_table(addresses["books"], levels_of(levels, n_instruments))


def wire_seat(
    row: np.ndarray,
    seat: Seat,
    state: np.ndarray,
    addresses: Mapping[str, int],
    *,
    index: int = 0,
    behind: int = 0,
    strategy: int | None = None,
    epoch: int = 1,
) -> None:
    """Put every address and constant into a SEAT array of length 1, once the stage's STATE array has its own.

    Args:
        addresses: of ``intents`` (a ring), ``instruments`` (INSTRUMENT array), ``state``, the strategy's own ``self params
            positions table quotes quote_queue paces``, and ``spreads`` where they are followed.
        index: which seat it is; behind: for how many others a place in the ring is left; strategy: its id inside client order ids, if not the same.
        epoch: run number, at most EPOCH_MAX; client order ids of another epoch never repeat.
    """
    row["self_record"], row["params_cell"], row["first"] = addresses["self"], addresses["params"], seat.first
    for hook, address in seat.strategy.hooks.items():
        row["hooks"][0][HOOK_NUMBERS[hook]] = address
    row["n_params"] = len(seat.strategy.schema)
    ctx, n_instruments = row["ctx"], int(state["n_instruments"][0])
    for name in ("intents", "table", "positions", "instruments", "quotes", "quote_queue", "paces"):
        ctx[name] = addresses[name]
    for name in ("scopes", "users", "books", "n_instruments"):
        ctx[name] = state[name]
    ctx["room"], ctx["own_bit"] = addresses["state"] + offset_of(STATE, "room"), 1 << index
    ctx["spare"] = behind
    ctx["queue_mask"], ctx["quote_due"] = queue_slots(n_instruments) - 1, NEVER
    ctx["strategy"], ctx["epoch"], ctx["sequence"] = index if strategy is None else strategy, epoch, 1
    if seat.rate:
        ctx["own_pace"] = pace_row(*seat.rate)
    ctx["spreads"], nobody = addresses.get("spreads", 0), ctx["no_spread"]
    nobody["buy"], nobody["sell"], nobody["net"], nobody["step"] = -1, -1, NO_NET, 1


def fault_service(rows: np.ndarray, seats: Sequence[Seat], regions: Sequence[np.ndarray]) -> Callable[[], bool]:
    """What the stage calls from Python once a hook has raised: it names the fault in its strategy's region."""
    return partial(record_faults, rows, [one.strategy for one in seats], regions)
