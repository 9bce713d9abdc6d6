"""Run numbers (epochs): never the same twice, whatever becomes of the state folder.

A number is the second (UTC, since 1970) in which its run was started, or more than the last one where the clock does
not say later. With the file lost it still comes out above every earlier one; with the clock set back the file keeps it
above. Client order ids and the venue's session numbers are built from it (:func:`hftpipe.core.schema.records.client_id`).
"""

from hftpipe.app.state import StateError, locked, refused, state_file
from hftpipe.core.machine.durable import write_whole
from hftpipe.core.schema.records import EPOCH_MAX, EPOCH_STEP


def next_epoch(name: str, now_s: int) -> int:
    """The number of a run of pipeline ``name`` that starts at ``now_s`` (wall clock); on the disk when this returns.

    Raises:
        StateError: the file holds no run number, or the state folder cannot be written.
    """
    with locked(name):
        last = _last(name)
        epoch = now_s if now_s > last else last + EPOCH_STEP
        if not 0 < epoch <= EPOCH_MAX:
            raise StateError(f"{state_file(name, 'epoch')}: no run number left after {last}; allowed: 1 to {EPOCH_MAX}")
        _write(name, epoch)
    return epoch


def raise_epoch(name: str, epoch: int) -> None:
    """Remember ``epoch`` if it is above the last one (a crashed run's segment may have had a higher number).

    Raises:
        StateError: as :func:`next_epoch`.
    """
    if not 0 < epoch <= EPOCH_MAX:
        raise StateError(f"pipeline {name!r}: {epoch} is no run number; allowed: 1 to {EPOCH_MAX}")
    with locked(name):
        if epoch > _last(name):
            _write(name, epoch)


def _last(name: str) -> int:
    """The last run's number, 0 if there has been none."""
    path = state_file(name, "epoch")
    try:
        raw = path.read_bytes()[:100]
    except FileNotFoundError:
        return 0
    except OSError as error:
        raise refused(path, error) from error
    text = raw.strip()
    if not (text.isdigit() and len(text) <= 10 and 0 < int(text) <= EPOCH_MAX):
        shown = raw.decode(errors="replace")[:40]
        raise StateError(
            f"{path}: holds {shown!r}, which is no run number; allowed: a whole number in 1..{EPOCH_MAX}. "
            "If it cannot be restored, remove the file: numbers then go on from the clock"
        )
    return int(text)


def _write(name: str, epoch: int) -> None:
    path = state_file(name, "epoch")
    try:
        write_whole(path, b"%d\n" % epoch)
    except OSError as error:
        raise refused(path, error) from error
