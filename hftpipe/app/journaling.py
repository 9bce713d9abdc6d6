"""The journals of a run: what the run before has left in them, the files of this one, and the gateways that write them.

One journal a venue and account: ``FOLDER/PIPELINE/VENUE.MODE[.NUMBER]``, in which NUMBER stands for server and instance.
"""

import fcntl
import hashlib
import logging
import os
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from hftpipe.app.state import state_file
from hftpipe.config import Config
from hftpipe.core.machine.build import BUILD_HASH
from hftpipe.core.shared.stage import Stage
from hftpipe.journal.files import JournalError
from hftpipe.journal.fold import Standing
from hftpipe.journal.keeper import JournalWriter
from hftpipe.journal.layout import JOURNAL
from hftpipe.journal.recovery import Recovered, carried_of, recover
from hftpipe.log import event
from hftpipe.topology.configured import fee_assets_of
from hftpipe.topology.pipeline import Pipeline
from hftpipe.topology.place import VenuePlace, is_journaled

LOG = logging.getLogger("hftpipe.journal")
#: Orders of an earlier run that the log lists; the summary has all.
SHOWN = 20


def journals_of(config: Config, name: str = "") -> Path:
    """The folder of all journals of a pipeline (``name``, or the configured one)."""
    name = name or config.pipeline.name
    return Path(config.journal.folder) / name if config.journal.folder else state_file(name, "journal")


def account_folder(place: VenuePlace) -> Path:
    """The folder of the journal of a venue's account."""
    about, mode = place.about, place.config.pipeline.mode
    account = f"{about.server}|{about.user}" if not about.ends_with_run else ""
    number = f".{hashlib.blake2b(account.encode(), digest_size=4).hexdigest()}" if account else ""
    return journals_of(place.config) / f"{place.name}.{mode}{number}"


@dataclass
class _Venue:
    """The journal of one venue in this run."""

    place: VenuePlace
    folder: Path
    lock: int
    found: Recovered
    before: Standing | None
    writer: JournalWriter | None = None


class Journals:
    """The journals of a run's venues that have one.

    Args:
        pipeline: laid out; no stage has started.

    Raises:
        JournalError: one that is there cannot be trusted, or is written by another run; nothing was made.
    """

    def __init__(self, pipeline: Pipeline) -> None:
        self._pipeline = pipeline
        self._venues: list[_Venue] = []
        for place in pipeline.venues:
            if is_journaled(place):
                self._venues.append(_found(place))

    def begin(self) -> None:
        """Make this run's first files, and have the gateways write them.

        Raises:
            JournalError: a file cannot be made.
        """
        for one in self._venues:
            self._begin(one)

    def _begin(self, one: _Venue) -> None:
        pipeline, settings = self._pipeline, one.place.config.journal
        gateway = pipeline.graph.at("gateway", one.place.name)
        memory = pipeline.segment.record(pipeline.graph.at("gateway.journal", one.place.name), JOURNAL)
        try:
            one.writer = JournalWriter(
                one.folder, memory, self._meta(one), pipeline.segment.epoch, settings.file_mb << 20,
                settings.fsync == "every_order", 0 if settings.fsync == "none" else settings.fsync_ms * 1_000_000, one.found,
            )  # fmt: skip
        except OSError as error:
            raise JournalError(f"{one.folder}: no journal file can be made: {error.strerror}") from error
        pipeline.state(gateway)["journal"] = memory.ctypes.data
        _write_beside(pipeline.stages[gateway], one.writer)
        _say(one, settings.fsync)

    def _meta(self, one: _Venue) -> dict[str, Any]:
        """What stands in each file: names for its numbers, and what the run began with. No secrets are known here."""
        pipeline, place = self._pipeline, one.place
        rows = pipeline.instruments[place.first : place.first + place.count]
        return {
            "pipeline": pipeline.segment.name, "venue": place.name, "kind": place.about.orders_to,
            "mode": place.config.pipeline.mode, "server": place.about.server, "instance": place.config.live.instance,
            "epoch": pipeline.segment.epoch, "build": BUILD_HASH, "fingerprint": pipeline.config.fingerprint(),
            "strategies": pipeline.names, "fee_assets": list(fee_assets_of(pipeline.config)),
            "instruments": [
                {
                    "id": place.first + at, "symbol": row["symbol"].decode(), "base": row["base"].decode(),
                    "quote": row["quote"].decode(), "tick": int(row["tick"]), "lot": int(row["lot"]), "pack": 10 ** int(row["power"]),
                }
                for at, row in enumerate(rows)
            ],
            "carried": carried_of(one.before),
        }  # fmt: skip

    def discard(self) -> None:
        """The run was refused: it has left nothing in any journal."""
        for one in self._venues:
            if one.writer:
                one.writer.discard()

    def facts(self) -> dict[str, dict[str, Any]]:
        """For the summary, by venue."""
        return {
            one.place.name: {
                "folder": str(one.folder),
                "cut": one.found.notes,
                "before_ended": one.found.ended,
                "open_before": one.before.order_rows() if one.before else [],
                "positions_before": one.before.position_rows() if one.before else [],
            }
            for one in self._venues
        }


def _found(place: VenuePlace) -> _Venue:
    folder = account_folder(place)
    try:
        folder.mkdir(parents=True, exist_ok=True)
        lock = os.open(folder / "lock", os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
    except OSError as error:
        raise JournalError(f"{folder}: {error.strerror}; the folder of the journal must be writable") from error
    try:
        # Of this process alone: its children do not hold it when it is gone.
        fcntl.lockf(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except OSError as error:
        os.close(lock)
        raise JournalError(f"{folder}: another run writes this journal, of the same pipeline and account") from error
    try:
        found = recover(folder)
        return _Venue(place, folder, lock, found, found.standing)
    except OSError as error:
        raise JournalError(f"{error.filename or folder}: {error.strerror}") from error


def _write_beside(stage: Stage, writer: JournalWriter) -> None:
    """The gateway's process has the journal's thread: begun after what forks, ended after the last step."""
    opened, closed = stage.opened, stage.closed

    def open_both() -> None:
        if opened:
            opened()
        writer.open()

    def close_both() -> None:
        if closed:
            closed()
        writer.close()

    stage.opened, stage.closed = open_both, close_both


def _say(one: _Venue, fsync: str) -> None:
    """What the run before has left, for whoever starts this one."""
    venue = one.place.name
    for note in one.found.notes:
        event(LOG, logging.WARNING, "the torn tail of the journal was cut", venue=venue, what=note)
    event(LOG, logging.INFO, "journal", venue=venue, folder=str(one.folder), fsync=fsync, last_entry=one.found.last_seq)
    if one.before is None:
        return
    orders, positions = one.before.order_rows(), one.before.position_rows()
    if orders:
        event(
            LOG, logging.WARNING, "orders that were open or unknown when the last run ended", venue=venue, count=len(orders),
            orders=orders[:SHOWN],
        )  # fmt: skip
    if positions:
        event(LOG, logging.INFO, "positions when the last run ended, by its journal", venue=venue, positions=positions)
