"""Memory of the strategy stage: how much, how it starts, and its addresses put into STATE."""

from collections.abc import Callable, Sequence
from functools import partial

import numpy as np

from hftpipe.core.schema.fault import FAULT_BYTES
from hftpipe.core.schema.position import POSITION
from hftpipe.core.trading.book import book_init, book_stride
from hftpipe.core.trading.order_table import table_bytes, table_init
from hftpipe.strategy.compile.loader import LoadedStrategy
from hftpipe.strategy.faults import record_fault
from hftpipe.strategy.pacing import PACE, PACE_BYTES, pace_row
from hftpipe.strategy.params import params_bytes, params_init
from hftpipe.strategy.quote_slots import QUOTE_BYTES, QUOTE_SLOTS, queue_slots
from hftpipe.strategy.quotes import NEVER
from hftpipe.strategy.stage import HOOK_NUMBERS, STATE

OPEN_ORDERS = 1024


def region_sizes(loaded: LoadedStrategy, n_instruments: int, levels: int, orders: int = OPEN_ORDERS) -> dict[str, int]:
    """Bytes of every region the stage owns.

    Args:
        levels: price levels kept per side of a book.
        orders: slots of the open-order table, a power of two.
    """
    return {
        "state": STATE.itemsize,
        "self": loaded.dtype.itemsize,
        "params": params_bytes(len(loaded.schema)),
        "books": n_instruments * book_stride(levels),
        "positions": n_instruments * POSITION.itemsize,
        "table": table_bytes(orders),
        "quotes": n_instruments * QUOTE_SLOTS * QUOTE_BYTES,
        "quote_queue": 8 * queue_slots(n_instruments),
        "paces": n_instruments * PACE_BYTES,
        "fault": FAULT_BYTES,
    }


def init_regions(
    regions: dict[str, np.ndarray],
    loaded: LoadedStrategy,
    n_instruments: int,
    levels: int,
    orders: int = OPEN_ORDERS,
    rates: Sequence[tuple[int, int]] = (),
    ticks: np.ndarray | None = None,
) -> None:
    """Bring the regions (uint8 arrays as sized by :func:`region_sizes`) to their starting state.

    Args:
        levels, orders: as given to :func:`region_sizes`.
        rates: orders a second and a minute that risk allows, by instrument: quotes keep within them. Empty: no limit.
        ticks: price step of each instrument (1e-8); books are right without it, only slower.
    """
    for name, size in region_sizes(loaded, n_instruments, levels, orders).items():
        regions[name][:size] = 0
    regions["self"][: loaded.dtype.itemsize] = loaded.initial.view(np.uint8)
    params_init(regions["params"], loaded.initial, len(loaded.schema))
    table_init(regions["table"], orders)
    stride = book_stride(levels)
    for instrument in range(n_instruments):
        tick = 0 if ticks is None else int(ticks[instrument])
        book_init(regions["books"][instrument * stride :], instrument, levels, tick)
    paces = regions["paces"][: n_instruments * PACE_BYTES].view(PACE)
    for instrument, (per_s, per_min) in enumerate(rates):
        paces[instrument] = pace_row(per_s, per_min)[0]


def wire(
    state: np.ndarray,
    loaded: LoadedStrategy,
    addresses: dict[str, int],
    *,
    n_instruments: int,
    levels: int,
    strategy: int = 0,
    epoch: int = 1,
) -> None:
    """Put every address and constant into a STATE array of length 1.

    Args:
        addresses: of ``market updates intents`` (rings), ``halt`` (HALT_CELL), ``instruments`` (INSTRUMENT array), the stage's own
            ``books positions table quotes quote_queue paces self params``, and ``h_market_to_strategy h_strategy`` (histograms).
        strategy: strategy id inside client order ids.
        epoch: run number, at most EPOCH_MAX; client order ids of another epoch never repeat.
    """
    for name in ("market", "updates", "halt", "h_market_to_strategy", "h_strategy"):
        state[name] = addresses[name]
    state["self_record"], state["params_cell"] = addresses["self"], addresses["params"]
    for hook, address in loaded.hooks.items():
        state["hooks"][0][HOOK_NUMBERS[hook]] = address
    state["n_params"] = len(loaded.schema)
    ctx = state["ctx"]
    for name in ("intents", "table", "positions", "instruments", "books", "quotes", "quote_queue", "paces"):
        ctx[name] = addresses[name]
    ctx["book_stride"], ctx["n_instruments"] = book_stride(levels), n_instruments
    ctx["queue_mask"], ctx["quote_due"] = queue_slots(n_instruments) - 1, NEVER
    ctx["strategy"], ctx["epoch"], ctx["sequence"] = strategy, epoch, 1


def fault_service(state: np.ndarray, loaded: LoadedStrategy, region: np.ndarray) -> Callable[[], bool]:
    """What the stage calls from Python once a hook has raised: it names the fault in its region."""
    return partial(record_fault, state, loaded, region)
