"""``hftpipe verdicts``: every verdict of risk in a recorded session, passed or refused, with the figures that it was reached by.

Nothing of this is written while a run goes on: the tape of risk holds what each verdict was reached by, and risk is played from it
again. ``hftpipe replay --verify`` proves that it decides then as it did.
"""

import sys
from collections.abc import Iterator
from dataclasses import asdict, dataclass
from typing import Any

import numpy as np
import orjson

from hftpipe.config import Config
from hftpipe.core.machine.fixed import format_fixed
from hftpipe.core.schema.position import POSITION
from hftpipe.core.schema.reasons import NAMES
from hftpipe.core.schema.records import (
    CANCEL,
    CANCEL_REJECT,
    NEW,
    REJECT,
    REPLACE,
    SELL,
    TIF_MASK,
    TIF_NAMES,
)
from hftpipe.core.shared.tape import TOP_SEEN
from hftpipe.record.replay.compare import flows_of
from hftpipe.record.replay.rig import StageReplay
from hftpipe.record.replay.verify import open_recorded
from hftpipe.record.tape.reader import Session
from hftpipe.risk.losses import LOSS, today
from hftpipe.risk.worth import TOTAL, WORTH
from hftpipe.topology.pipeline import Pipeline

KINDS = {NEW: "new", CANCEL: "cancel", REPLACE: "replace"}


@dataclass(frozen=True)
class Verdict:
    """One verdict; amounts as decimal numbers.

    Attributes:
        verdict: ``passed``, or why it was refused.
        figures: what it was reached by, before it: book, position and orders of the instrument, sums of its quote currency; none of a
            cancel, and where the request itself was none.
    """

    record: int
    time: str
    kind: str
    order: str
    strategy: str
    instrument: str
    side: str
    type: str
    price: str
    qty: str
    verdict: str
    figures: dict[str, str]

    def line(self) -> str:
        """For people."""
        what = f"{self.kind:<7} {self.order} {self.strategy} {self.instrument} {self.side} {self.type} {self.qty} at {self.price}"
        return f"{self.time}  {what}: {self.verdict}" + "".join(
            f" {name}={value}" for name, value in self.figures.items()
        )


class VerdictReplay(StageReplay):
    """Risk fed from its tape, which notes before each verdict what it will be reached by."""

    def __init__(self, pipeline: Pipeline, tape: np.ndarray) -> None:
        expected = {flow.ring: len(tape) for flow in flows_of(pipeline) if flow.writer == "risk"}
        super().__init__(pipeline, "risk", tape, expected)
        self.figures: dict[int, dict[str, str]] = {}
        self._rows = {
            name: pipeline.segment.region(f"risk.{name}").view(dtype)
            for name, dtype in (("positions", POSITION), ("worths", WORTH), ("totals", TOTAL), ("losses", LOSS))
        }

    def _judged(self, at: int, seen: np.ndarray) -> None:
        if NEW <= int(self.tape["kind"][at]) <= REPLACE:
            self.figures[at] = self._now(int(self.tape["instrument"][at]), seen[seen["kind"] == TOP_SEEN])
        super()._judged(at, seen)

    def _now(self, instrument: int, tops: np.ndarray) -> dict[str, str]:
        if instrument >= len(self._rows["positions"]) or len(tops) < 2:
            return {}
        position, worth = self._rows["positions"][instrument], self._rows["worths"][instrument]
        loss = self._rows["losses"][int(worth["quote"])]
        amounts = {
            "bid": tops[0]["price"], "ask": tops[1]["price"], "position": position["qty"],
            "working_buy": position["working_buy"], "working_sell": position["working_sell"],
            "gross": self._rows["totals"]["gross"][int(worth["quote"])],
            "profit_today": today(loss, int(tops[0]["exchange_ts"])), "drawdown": loss["peak"] - loss["profit"],
        }  # fmt: skip
        age_ns = int(tops[0]["exchange_ts"]) - int(tops[0]["local_ts"])
        return {name: format_fixed(int(value)) for name, value in amounts.items()} | {
            "book_age_ms": f"{age_ns / 1e6:.3f}"
        }

    def verdicts(self) -> dict[int, str]:
        """By index of the request on the tape: what became of it."""
        found = {}
        for ring, rows in self.records.items():
            for row, cause in zip(rows, self.causes[ring].tolist(), strict=False):
                if not NEW <= int(self.tape["kind"][cause]) <= REPLACE:
                    continue
                is_refused = int(row["kind"]) in (REJECT, CANCEL_REJECT)
                found[cause] = NAMES[int(row["flags"])] if is_refused else "passed"
        return found


def _utc(ns: int) -> str:
    return f"{np.datetime64(ns, 'ns')}Z"


def verdicts_of(session: Session, config: Config, pipeline: Pipeline) -> Iterator[Verdict]:
    """Every verdict, in the order in which they were reached.

    Raises:
        RecordError: the tape holds what risk cannot have consumed.
    """
    replay = VerdictReplay(pipeline, session.records("risk").array())
    replay.run()
    symbols = pipeline.segment.meta["symbols"]
    for at, verdict in sorted(replay.verdicts().items()):
        row = replay.tape[at]
        instrument, strategy, flags = int(row["instrument"]), int(row["strategy"]), int(row["flags"])
        yield Verdict(
            at, _utc(int(row["local_ts"])), KINDS[int(row["kind"])], f"{int(row['id']):#x}",
            pipeline.names[strategy] if strategy < len(pipeline.names) else str(strategy),
            symbols[instrument] if instrument < len(symbols) else str(instrument),
            "sell" if int(row["side"]) == SELL else "buy", TIF_NAMES.get(flags & TIF_MASK, str(flags)),
            format_fixed(int(row["price"])), format_fixed(int(row["qty"])), verdict, replay.figures.get(at, {}),
        )  # fmt: skip


def verdicts_main(folder: str, is_refused: bool, order: int | None, is_json: bool, force: bool) -> int:
    """``hftpipe verdicts``.

    Args:
        folder: the session's.
        is_refused: only those that were refused; order: only those of this client id.
        is_json: a JSON object a line; force: as of ``hftpipe replay``.

    Returns:
        0.

    Raises:
        RecordError, StrategyError: it cannot be replayed.
    """
    session, config, pipeline = open_recorded(folder, force)
    counts: dict[str, int] = {}
    for one in verdicts_of(session, config, pipeline):
        counts[one.verdict] = counts.get(one.verdict, 0) + 1
        if (is_refused and one.verdict == "passed") or (order is not None and int(one.order, 16) != order):
            continue
        facts: dict[str, Any] = asdict(one)
        sys.stdout.write((orjson.dumps(facts).decode() if is_json else one.line()) + "\n")
    if not is_json:
        told = ", ".join(f"{count} {name}" for name, count in sorted(counts.items(), key=lambda item: -item[1]))
        sys.stdout.write(f"{sum(counts.values())} verdicts: {told or 'none'}\n")
    return 0
