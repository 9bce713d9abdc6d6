"""What people ask of a journal: entries by order, venue's number, instrument and time, as they come, as rows or as a file."""

import re
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.csv
import pyarrow.parquet

from hftpipe.core.machine.fixed import format_fixed
from hftpipe.core.schema import reasons
from hftpipe.core.schema.cells import HALT_CAUSES
from hftpipe.core.schema.layout import aligned
from hftpipe.core.schema.records import (
    ACK,
    BUY,
    CANCEL,
    CANCEL_REJECT,
    CANCELED,
    EXPIRED,
    FILL,
    FILL_MAKER,
    NEW,
    REJECT,
    REPLACE,
    REPLACED,
    TIF_MASK,
    TIF_NAMES,
    VENUE_FAULT,
)
from hftpipe.journal.files import PACKED, JournalError, numbered
from hftpipe.journal.layout import (
    ENTRY,
    ENTRY_BYTES,
    FILE_BEGIN,
    FILE_END,
    FILL_DETAIL,
    HEADER,
    HEADER_BYTES,
    NAMES,
    OWN_REQUEST,
)
from hftpipe.journal.reading import JournalFile, read_whole, walk

_FROM_VENUE = (ACK, REPLACED, CANCELED, EXPIRED, REJECT, CANCEL_REJECT, FILL_DETAIL, VENUE_FAULT)
_WITH_REASON = (CANCELED, EXPIRED, REJECT, CANCEL_REJECT)
_HAS_VENUE_ID = (ACK, REPLACED, FILL_DETAIL)
#: As :mod:`hftpipe.venues.orders.client_text` writes it.
_CLIENT_ID = re.compile(r"cm_[A-Za-z0-9-]{1,12}_([0-9a-f]{8})_([0-9a-f]{4})([0-9a-f]{4})(_[0-9a-f]{2})?")
#: Of what is still written so much is looked at at once.
_PIECE = 1 << 20


def order_of(client_id: str) -> int:
    """Our number of the order that a venue knows under this text; 0: it is none of ours."""
    match = _CLIENT_ID.fullmatch(client_id)
    if match is None:
        return 0
    epoch, owners, counter = (int(match[at], 16) for at in (1, 2, 3))
    return owners << 48 | epoch << 16 | counter


@dataclass(frozen=True)
class Question:
    """Which entries are wanted; what is None is not asked for.

    Attributes:
        order: our client order id; venue_id: the venue's number of an order; instrument: a symbol.
        since_ns, until_ns: our wall clock, the first included, the second not.
        run: an epoch.
    """

    order: int | None = None
    venue_id: int | None = None
    instrument: str | None = None
    since_ns: int | None = None
    until_ns: int | None = None
    run: int | None = None


class Asker:
    """Picks the entries of a question out of file after file; what a venue's number stands for is learnt on the way."""

    def __init__(self, question: Question) -> None:
        self._question, self._orders = question, set[int]()

    def learn(self, entries: np.ndarray) -> None:
        """See which orders have the number that is asked for."""
        told = np.isin(entries["kind"], _HAS_VENUE_ID) & (entries["a"] == np.uint64(self._question.venue_id or 0))
        self._orders |= set(entries["id"][told].tolist())

    def pick(self, one: JournalFile, entries: np.ndarray) -> np.ndarray:
        """The entries of a file, or of a part of it, that are asked for."""
        asked = self._question
        keep = np.ones(len(entries), bool)
        if asked.run is not None and one.epoch != asked.run:
            return entries[:0]
        if asked.order is not None:
            keep &= entries["id"] == np.uint64(asked.order)
        if asked.instrument is not None:
            numbers = [row["id"] for row in one.meta["instruments"] if row["symbol"] == asked.instrument]
            keep &= np.isin(entries["instrument"], numbers) & ~np.isin(entries["kind"], (FILE_BEGIN, FILE_END))
        if asked.since_ns is not None:
            keep &= entries["time_ns"] >= asked.since_ns
        if asked.until_ns is not None:
            keep &= entries["time_ns"] < asked.until_ns
        if asked.venue_id is not None:
            self.learn(entries)
            keep &= np.isin(entries["id"], np.array(sorted(self._orders), np.uint64))
        return entries[keep]


def answer(folder: Path, question: Question) -> Iterator[tuple[JournalFile, np.ndarray]]:
    """The files of a journal with their entries that are asked for, in order.

    Raises:
        JournalError: a file cannot be read; of one that is damaged inside the entries before that are given.
    """
    asker = Asker(question)
    paths = list(numbered(folder).values())
    # An order's request comes before its number is known.
    for path in paths if question.venue_id is not None else ():
        asker.learn(read_whole(path).entries)
    for path in paths:
        one = read_whole(path)
        yield one, asker.pick(one, one.entries)


def follow(folder: Path, question: Question, wait: Callable[[], bool]) -> Iterator[tuple[JournalFile, np.ndarray]]:
    """The entries from now on, as they come; ``wait`` is called in between and ends it with False."""
    asker = Asker(question)
    for path in numbered(folder).values() if question.venue_id is not None else ():
        asker.learn(read_whole(path).entries)
    current = _newest(folder)
    # The newest request may be taken back still: it is told when that is sure.
    seen, number = (len(current.entries) - _may_go(current.entries), current.number) if current else (0, 0)
    while wait():
        fresh = _more(current, seen) if current else np.zeros(0, ENTRY)
        following = None if len(fresh) else _begun(folder, number + 1)
        if current and following:
            # Nobody writes to it any more: what was held back, or packed before it was looked at, is told now.
            fresh = read_whole(current.path).entries[seen:]
        if current and len(fresh):
            seen += len(fresh)
            yield current, asker.pick(current, fresh)
        if following:
            current, seen, number = following, 0, following.number


def _begun(folder: Path, number: int) -> JournalFile | None:
    """The file of a number, if anything is written in it; the one before it has ended then, or its run was killed."""
    path = numbered(folder).get(number)
    if path is None:
        return None
    try:
        with path.open("rb") as file:
            head = np.frombuffer(file.read(HEADER_BYTES).ljust(HEADER_BYTES, b"\0"), HEADER)[0]
            file.seek(int(head["head_bytes"]))
            is_packed, is_empty = path.name.endswith(PACKED), not any(file.read(ENTRY_BYTES))
    except FileNotFoundError:
        # Packed since its name was read: the next look finds it.
        return None
    return read_whole(path) if is_packed or not is_empty else None


def _newest(folder: Path) -> JournalFile | None:
    """The file that is written to: the last one that has entries."""
    for path in reversed(numbered(folder).values()):
        one = read_whole(path)
        if len(one.entries):
            return one
    return None


def _more(one: JournalFile, seen: int) -> np.ndarray:
    """Valid entries behind the first ``seen`` of a file that is being written."""
    first = one.first_seq or 0
    try:
        with one.path.open("rb") as file:
            file.seek(int(one.header["head_bytes"]) + seen * ENTRY_BYTES)
            raw = file.read(_PIECE)
    except OSError:
        return np.zeros(0, ENTRY)
    memory = aligned(max(len(raw), ENTRY_BYTES))[: len(raw) // ENTRY_BYTES * ENTRY_BYTES]
    memory[:] = np.frombuffer(raw, np.uint8)[: len(memory)]
    entries = memory.view(ENTRY)
    if not first and len(entries):
        first = int(entries["id"][0])
    address, seed = np.uint64(memory.ctypes.data), np.uint64(one.header["crc"])
    count = int(walk(address, np.int64(len(entries)), seed, np.uint64(first + seen)))
    # What stands behind the piece that was read is told with the next one.
    return entries[: count - (_may_go(entries[:count]) if count < len(entries) or count > 1 else 0)]


def _may_go(entries: np.ndarray) -> int:
    """Of the newest entries how many may still be taken back: a request, as long as nothing stands behind it."""
    return int(len(entries) > 0 and entries["kind"][-1] in (NEW, REPLACE, CANCEL))


def time_text(ns: int) -> str:
    """A wall time as text, UTC, with all its digits."""
    return datetime.fromtimestamp(ns // 10**9, UTC).strftime("%Y-%m-%dT%H:%M:%S") + f".{ns % 10**9:09d}Z"


def row_of(one: JournalFile, entry: np.void) -> dict[str, Any]:
    """An entry for people: only what it says."""
    kind = int(entry["kind"])
    symbols = {row["id"]: row["symbol"] for row in one.meta["instruments"]}
    row: dict[str, Any] = {
        "seq": one.first_seq + ((int(entry["seq"]) - one.first_seq) & 0xFFFFFFFF), "time": time_text(int(entry["time_ns"])),
        "kind": NAMES.get(kind, str(kind)),
    }  # fmt: skip
    if kind in (FILE_BEGIN, FILE_END):
        return row | {"file": one.number, "run": one.epoch}
    flags, a, b = int(entry["flags"]), int(entry["a"]), int(entry["b"])
    row |= {"order": f"{int(entry['id']):#x}", "instrument": symbols.get(int(entry["instrument"]), "?")}
    row |= {"side": "buy" if entry["side"] == BUY else "sell", "strategy": int(entry["strategy"])}
    row |= {"price": format_fixed(int(entry["price"])), "qty": format_fixed(int(entry["qty"]))}
    if kind in _FROM_VENUE and b:
        row["venue_time"] = time_text(b)
    if kind in _HAS_VENUE_ID and a:
        row["venue_id"] = str(a)
    if kind == FILL:
        assets = [one.meta["instruments"][0]["quote"], *one.meta["fee_assets"]]
        row |= {"trade_id": str(a), "fee": format_fixed(b), "fee_asset": _fee_asset(one, entry, assets)}
        row["liquidity"] = "maker" if flags & FILL_MAKER else "taker"
    elif kind in (NEW, REPLACE):
        row["type"] = TIF_NAMES.get(flags & TIF_MASK, str(flags & TIF_MASK))
    elif kind == CANCEL and b == OWN_REQUEST:
        row["by"] = "gateway"
    elif kind in _WITH_REASON:
        row["reason"] = reasons.NAMES.get(flags, str(flags))
    elif kind == VENUE_FAULT:
        row["cause"] = HALT_CAUSES.get(flags, str(flags))
    elif kind == FILL_DETAIL:
        row["filled"], row["left"] = row.pop("price"), row.pop("qty")
    return row


def _fee_asset(one: JournalFile, entry: np.void, assets: list[str]) -> str:
    number = int(entry["flags"]) >> 1
    if number:
        return assets[number] if number < len(assets) else str(number)
    quotes = {row["id"]: row["quote"] for row in one.meta["instruments"]}
    return str(quotes.get(int(entry["instrument"]), ""))


#: Columns of an export; amounts in 1e-8.
_COLUMNS = ("seq", "time_ns", "id", "price", "qty", "a", "b", "side", "strategy", "flags")


def table_of(parts: Iterator[tuple[JournalFile, np.ndarray]]) -> pa.Table:
    """Entries as columns: as they are, with names for run, kind and instrument, and what ``a`` and ``b`` are under their own names."""
    tables = []
    for one, entries in parts:
        symbols = {row["id"]: row["symbol"] for row in one.meta["instruments"]}
        columns = {name: np.ascontiguousarray(entries[name]) for name in _COLUMNS}
        first = np.uint64(one.first_seq)
        columns["seq"] = first + ((columns["seq"].astype(np.uint64) - first) & np.uint64(0xFFFFFFFF))
        kinds, a, b = entries["kind"], columns.pop("a"), columns.pop("b")
        named = {
            "run": np.full(len(entries), one.epoch, np.uint64),
            "kind": pa.array([NAMES.get(int(kind), str(kind)) for kind in kinds], pa.string()),
            "instrument": pa.array([symbols.get(int(number), "") for number in entries["instrument"]], pa.string()),
        }
        is_fill, from_venue = kinds == FILL, np.isin(kinds, _FROM_VENUE)
        named["trade_id"] = pa.array(a, mask=~is_fill)
        named["fee"] = pa.array(b, mask=~is_fill)
        named["venue_id"] = pa.array(a, mask=~np.isin(kinds, _HAS_VENUE_ID))
        named["venue_time_ns"] = pa.array(b, mask=~from_venue)
        tables.append(pa.table(columns | named))
    if not tables:
        raise JournalError("there is no journal to export from")
    return pa.concat_tables(tables)


def export(parts: Iterator[tuple[JournalFile, np.ndarray]], path: Path) -> int:
    """Write entries to a ``.parquet`` or ``.csv`` file: how many.

    Raises:
        JournalError: the file has another ending, or cannot be written.
    """
    writers: dict[str, Callable[[pa.Table, str], None]] = {
        ".parquet": pyarrow.parquet.write_table, ".csv": pyarrow.csv.write_csv,
    }  # fmt: skip
    if path.suffix not in writers:
        raise JournalError(f"{path}: ending {path.suffix!r}; allowed: {', '.join(writers)}")
    table = table_of(parts)
    try:
        writers[path.suffix](table, str(path))
    except OSError as error:
        raise JournalError(f"{path}: {error.strerror or error}") from error
    return int(table.num_rows)
