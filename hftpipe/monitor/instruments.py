"""The instruments of a running pipeline at one moment: some of them one by one, all of them as sums.

There may be thousands, and a screen wants to be drawn several times a second: what is said of all of them is reckoned on whole
arrays, and only what is shown becomes objects.
"""

from dataclasses import dataclass

import numpy as np

from hftpipe.core.schema.cells import TOP_CELL
from hftpipe.core.schema.instruments import INSTRUMENT
from hftpipe.core.schema.names import base_of
from hftpipe.core.schema.position import POSITION
from hftpipe.core.schema.records import BOOK_STATE_NAMES, VALID
from hftpipe.core.shared.shm import Segment
from hftpipe.monitor.pnl import average_price, captured, inventory, unrealised

#: Instruments shown one by one at most.
MOST_SHOWN = 20
_TRIES = 100


@dataclass(frozen=True)
class InstrumentView:
    """One instrument at this moment; prices, quantities and money in 1e-8 units.

    ``pack``: units of the venue that one unit here is. ``mid`` is the last one known (0: none yet). ``captured + inventory ==
    realised + unrealised``, to the last unit.
    """

    symbol: str
    pack: int
    state: str
    bid: int
    bid_qty: int
    ask: int
    ask_qty: int
    mid: int
    qty: int
    average: int
    realised: int
    unrealised: int
    captured: int
    inventory: int
    fees: int
    taker_fees: int
    fills: int
    taker_fills: int
    turnover: int
    working_buy: int
    working_sell: int


#: What is added up over all instruments.
SUMS = ("realised", "unrealised", "captured", "inventory", "fees", "taker_fees", "fills", "taker_fills", "turnover")


@dataclass(frozen=True)
class Instruments:
    """All instruments.

    Attributes:
        shown: all of them, or those with most of ours in them and then those whose best prices have changed most.
        more: how many are not shown; not_valid: how many books of all are not VALID.
        held: quantity by symbol, of those shown and of all others that we hold.
        sums: what the fields SUMS of all of them come to, by quote currency: amounts of different ones are never added.
        net: quantity (1e-8) by base currency, of all instruments in it at all venues; packs (1000PEPE) as what is in them;
            of how many instruments.
    """

    shown: list[InstrumentView]
    more: int
    not_valid: int
    held: dict[str, int]
    sums: dict[str, dict[str, int]]
    net: dict[str, tuple[int, int]]


def tops_of(segment: Segment) -> np.ndarray:
    """A consistent copy of every cell (the last try wins where a writer never pauses)."""
    cells = segment.region("tops").view(TOP_CELL)
    copy, left = cells.copy(), np.arange(len(cells))
    for _ in range(_TRIES):
        before = cells["version"][left]
        copy[left] = cells[left]
        left = left[(before % 2 != 0) | (cells["version"][left] != before)]
        if not len(left):
            break
    return copy


def _view(symbol: str, power: int, top: np.void, row: np.void) -> InstrumentView:
    bid, ask = int(top["bid"]), int(top["ask"])
    mid = _mid(top, row)
    return InstrumentView(
        symbol=symbol,
        pack=10**power,
        state=BOOK_STATE_NAMES.get(int(top["state"]), "?"),
        bid=bid,
        bid_qty=int(top["bid_qty"]),
        ask=ask,
        ask_qty=int(top["ask_qty"]),
        mid=mid,
        qty=int(row["qty"]),
        average=average_price(row),
        realised=int(row["realised"]),
        unrealised=unrealised(row, mid),
        captured=captured(row),
        inventory=inventory(row, mid),
        fees=int(row["fees"]),
        taker_fees=int(row["taker_fees"]),
        fills=int(row["fills"]),
        taker_fills=int(row["taker_fills"]),
        turnover=int(row["turnover"]),
        working_buy=int(row["working_buy"]),
        working_sell=int(row["working_sell"]),
    )


def _mid(top: np.void, row: np.void) -> int:
    """As risk marks: by a book that may be traded on; else by the last mid known."""
    bid, ask = int(top["bid"]), int(top["ask"])
    is_two_sided = bid and ask and bid < ask and int(top["state"]) == VALID
    return (bid + ask) // 2 if is_two_sided else int(row["mark"])


def _most_active(tops: np.ndarray, rows: np.ndarray, most: int) -> np.ndarray:
    """Indices of the instruments to show; in their own order where that is all of them."""
    if len(rows) <= most:
        return np.arange(len(rows))
    is_ours = (rows["qty"] != 0) | (rows["working_buy"] != 0) | (rows["working_sell"] != 0) | (rows["fills"] != 0)
    keys = (np.arange(len(rows)), -tops["version"].astype(np.int64), -rows["turnover"], ~is_ours)
    return np.lexsort(keys)[:most]


def _sums(quotes: np.ndarray, tops: np.ndarray, rows: np.ndarray) -> dict[str, dict[str, int]]:
    """What all instruments come to by quote currency, in Python's own integers: only those that ever traded have anything to add."""
    active = np.flatnonzero((rows["fills"] != 0) | (rows["qty"] != 0)).tolist()
    found: dict[str, dict[str, int]] = {}
    for index in active or [0]:
        row, total = rows[index], found.setdefault(quotes[index].decode(), dict.fromkeys(SUMS, 0))
        mid = _mid(tops[index], row)
        for name in ("realised", "fees", "taker_fees", "fills", "taker_fills", "turnover"):
            total[name] += int(row[name])
        total["unrealised"] += unrealised(row, mid)
        total["captured"] += captured(row)
        total["inventory"] += inventory(row, mid)
    return found


def _net(instruments: np.ndarray, rows: np.ndarray) -> dict[str, tuple[int, int]]:
    """What is held of each base currency, wherever it is traded, and by how many positions."""
    found: dict[str, tuple[int, int]] = {}
    for index in np.flatnonzero(rows["qty"]).tolist():
        base, pack = base_of(instruments["symbol"][index].decode(), instruments["base"][index].decode())
        pack *= 10 ** int(instruments["power"][index])
        qty, count = found.get(base, (0, 0))
        found[base] = qty + int(rows["qty"][index]) * pack, count + 1
    return found


def sums_of(segment: Segment, tops: np.ndarray, rows: np.ndarray) -> dict[str, dict[str, int]]:
    """What POSITION rows, one an instrument, come to by quote currency (SUMS); ``tops``: the market, of :func:`tops_of`."""
    return _sums(segment.region("instruments").view(INSTRUMENT)["quote"], tops, rows)


def look_at(segment: Segment, most: int = MOST_SHOWN) -> Instruments:
    """Look at all instruments of a pipeline, and one by one at up to ``most`` of them."""
    tops, rows = tops_of(segment), segment.region("risk.positions").view(POSITION).copy()
    symbols, instruments = segment.meta["symbols"], segment.region("instruments").view(INSTRUMENT)
    chosen, powers = _most_active(tops, rows, most).tolist(), instruments["power"].tolist()
    held = dict.fromkeys([*chosen, *np.flatnonzero(rows["qty"]).tolist()])
    return Instruments(
        shown=[_view(symbols[index], powers[index], tops[index], rows[index]) for index in chosen],
        more=len(rows) - len(chosen),
        not_valid=int((tops["state"] != VALID).sum()),
        held={symbols[index]: int(rows["qty"][index]) for index in held},
        sums=_sums(instruments["quote"], tops, rows),
        net=_net(instruments, rows),
    )
