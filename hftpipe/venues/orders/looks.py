"""What another process or thread sees of an account's order table (its memory, uint8), without stopping its owner."""

import numpy as np

from hftpipe.core.trading.order_table import ORDER, PENDING_NEW, TABLE, TABLE_HEADER_BYTES, UNKNOWN
from hftpipe.venues.orders.client_text import epoch_of


def order_rows(table: np.ndarray) -> np.ndarray:
    """All its slots, as an ORDER array where it lies; one that holds none has id 0."""
    capacity = int(table[: TABLE.itemsize].view(TABLE)["capacity"][0])
    rows: np.ndarray = table[TABLE_HEADER_BYTES:][: capacity * ORDER.itemsize].view(ORDER)
    return rows


def n_open(table: np.ndarray) -> int:
    """How many orders are open."""
    return int(table[: TABLE.itemsize].view(TABLE)["n_open"][0])


def open_instruments(table: np.ndarray) -> list[int]:
    """Instruments with open orders."""
    rows = order_rows(table)
    is_open = (rows["state"] >= PENDING_NEW) & (rows["state"] <= UNKNOWN)
    return [int(one) for one in np.unique(rows["instrument"][is_open])]


def newest_epoch(table: np.ndarray) -> int:
    """The largest epoch of a client id in it; -1: it has none."""
    ids = order_rows(table)["id"]
    return max((epoch_of(int(one)) for one in ids[ids != 0]), default=-1)
