"""What was lost today outlives the run: a restart does not begin the day anew.

Once a second, and at the end, the supervisor writes what risk has lost in each quote currency to ``NAME.losses`` of the state folder;
the next run of the same day (UTC) of that pipeline goes on from there, and so does its drawdown. A crash loses at most the last second
of it. Only where orders go to a venue that outlives the run: on paper every run is a day of its own.

What was lost in a currency that a run does not trade is kept as it is, as long as its day lasts.

The file is what a person would look at, too: amounts as decimal numbers, and ``above`` how far the best profit of each slice of the
drawdown window, from ``slice`` on backwards, was above the profit at that moment. One that cannot be read is named, and refuses the start: with
nothing known of the day no limit of it can be kept. Whoever removes it begins the day anew.
"""

import logging
import threading
from collections.abc import Mapping
from types import MappingProxyType
from typing import Any

import numpy as np
import orjson

from hftpipe.app.state import StateError, refused, state_file
from hftpipe.core.machine.durable import within, write_whole
from hftpipe.core.machine.fixed import format_fixed, to_fixed
from hftpipe.core.machine.system_clock import steady_ns, wall_ns
from hftpipe.log import event
from hftpipe.risk.losses import DAY_NS, LOSS, carry, since_peak, today
from hftpipe.topology.controls import quotes_of
from hftpipe.topology.pipeline import Pipeline

LOG = logging.getLogger("hftpipe.app.run")
_EVERY_NS = 1_000_000_000
#: The disk is waited for so long; at the end longer, for there is no next time.
_DISK_LIMIT_S, _LAST_LIMIT_S = 0.2, 2.0


def outlives(pipeline: Pipeline) -> bool:
    """Whether any venue does not end with the run."""
    return any(not place.about.ends_with_run for place in pipeline.venues)


def _rows(pipeline: Pipeline) -> np.ndarray:
    rows: np.ndarray = pipeline.segment.region("risk.losses").view(LOSS)
    return rows


def lost_text(
    rows: np.ndarray, quotes: list[str], now_ns: int, others: Mapping[str, Any] = MappingProxyType({})
) -> bytes:
    """The file's text: LOSS rows of these quote currencies at wall time ``now_ns``; ``others``: what it says of more of them."""
    lost = {
        quote: {
            "today": format_fixed(today(row, now_ns)),
            "slice": int(row["slice"]),
            "above": [format_fixed(value) for value in since_peak(row)],
        }
        for quote, row in zip(quotes, rows, strict=True)
    }
    return orjson.dumps({"time_ns": now_ns, "slice_ns": int(rows["slice_ns"][0]), "lost": {**others, **lost}}) + b"\n"


def others_in(text: bytes, quotes: list[str], slice_ns: int) -> tuple[dict[str, Any], int]:
    """What a file says of currencies that are not among ``quotes``, and of which day. Raises as :func:`go_on` does."""
    facts: dict[str, Any] = orjson.loads(text)
    is_same = int(facts["slice_ns"]) == slice_ns
    others = {
        quote: one if is_same else {**one, "above": []} for quote, one in facts["lost"].items() if quote not in quotes
    }
    return others, int(facts["time_ns"]) // DAY_NS


def go_on(rows: np.ndarray, quotes: list[str], text: bytes, now_ns: int) -> dict[str, str]:
    """Take over what a file says into the LOSS rows of a run that begins at wall time ``now_ns``: today's profit by quote currency.

    Nothing of another day. Of a window that was another one then the drawdown begins anew.

    Raises:
        ValueError, KeyError, TypeError: it is no such text.
    """
    facts: dict[str, Any] = orjson.loads(text)
    time_ns, slice_ns = int(facts["time_ns"]), int(facts["slice_ns"])
    if time_ns // DAY_NS != now_ns // DAY_NS:
        return {}
    found = {}
    for quote, one in facts["lost"].items():
        profit, above = to_fixed(one["today"]), [to_fixed(value) for value in one["above"]]
        number = int(one["slice"])
        if quote not in quotes:
            continue
        row = rows[quotes.index(quote) :][:1]
        is_same = slice_ns == int(row["slice_ns"][0])
        carry(row, now_ns, profit, now_ns // slice_ns - number, above if is_same else [])
        found[quote] = one["today"]
    return found


def resume_losses(pipeline: Pipeline) -> dict[str, str]:
    """Before the stages start: what time it is, and go on where an earlier run of today ended. Today's profit so far, by quote currency.

    Raises:
        StateError: the file cannot be read.
    """
    _rows(pipeline)["utc_ns"] = wall_ns() - steady_ns()
    if not outlives(pipeline):
        return {}
    path = state_file(pipeline.segment.name, "losses")
    try:
        found = go_on(_rows(pipeline), quotes_of(pipeline.config), path.read_bytes(), wall_ns())
    except FileNotFoundError:
        return {}
    except OSError as error:
        raise refused(path, error) from error
    except (ValueError, KeyError, TypeError) as error:
        raise StateError(
            f"{path} cannot be read as the losses of a day ({error}); removing it begins the day anew, with nothing lost"
        ) from error
    if found:
        event(LOG, logging.INFO, "the day's profit goes on from an earlier run", **found)
    return found


class LossKeeper:
    """Keeps the file of a running pipeline; never raises: a disk that is full is named once."""

    def __init__(self, pipeline: Pipeline) -> None:
        self._pipeline, self._quotes = pipeline, quotes_of(pipeline.config)
        self._next_ns, self._has_told = 0, False
        self._is_kept, self._is_written = outlives(pipeline), threading.Event()
        self._is_written.set()
        self._others, self._day = self._others_before() if self._is_kept else ({}, 0)

    def _others_before(self) -> tuple[dict[str, Any], int]:
        """What earlier runs of today have lost in currencies that this one does not trade. (The start has read the file, so it can be.)"""
        try:
            text = state_file(self._pipeline.segment.name, "losses").read_bytes()
            return others_in(text, self._quotes, int(_rows(self._pipeline)["slice_ns"][0]))
        except (OSError, ValueError, KeyError, TypeError):
            return {}, 0

    def look(self, is_last: bool = False) -> None:
        """Write it, if it is time to and the disk does not owe the last answer still."""
        if not self._is_kept or (steady_ns() < self._next_ns and not is_last):
            return
        limit_s = _LAST_LIMIT_S if is_last else _DISK_LIMIT_S
        if not self._is_written.wait(limit_s if is_last else 0):
            return
        self._next_ns = steady_ns() + _EVERY_NS
        if (error := within(limit_s, self._write)) and (is_last or not self._has_told):
            self._has_told = True
            what = "what was lost today is not on the disk: a restart would forget it"
            event(LOG, logging.WARNING, what, reason=str(error))

    def _write(self) -> None:
        self._is_written.clear()
        try:
            path, now_ns = state_file(self._pipeline.segment.name, "losses"), wall_ns()
            others = self._others if now_ns // DAY_NS == self._day else {}
            write_whole(path, lost_text(_rows(self._pipeline), self._quotes, now_ns, others))
        except StateError as error:
            raise OSError(str(error)) from error
        finally:
            self._is_written.set()
