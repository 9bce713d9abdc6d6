"""Each strategy of a running pipeline at one moment: what it asked for, what it holds, what it earned."""

from dataclasses import dataclass
from typing import Any

import numpy as np

from hftpipe.core.schema.fault import read_fault
from hftpipe.core.schema.position import POSITION
from hftpipe.core.shared.shm import Segment
from hftpipe.monitor.instruments import sums_of, tops_of
from hftpipe.topology.graph import Graph


@dataclass(frozen=True)
class StrategyView:
    """One strategy.

    Attributes:
        counters: hooks called, requests sent, executions.
        held: quantity (1e-8) by symbol, of what is not 0.
        sums: money over all its instruments (:data:`hftpipe.monitor.instruments.SUMS`), by quote currency.
        fees: fees that are not in quote currency, by asset (1e-8 of it).
        fault: None, or what a hook raised: ``hook file line exception message count dropped``.
    """

    counters: dict[str, int]
    held: dict[str, int]
    sums: dict[str, dict[str, int]]
    fees: dict[str, int]
    fault: dict[str, Any] | None


def graph_of(segment: Segment) -> Graph:
    """The map of a pipeline, from its segment."""
    return Graph(tuple(segment.meta["venues"]), tuple(segment.meta["strategies"]))


def own_positions(segment: Segment, index: int) -> np.ndarray:
    """A copy of the POSITION rows of a strategy, by instrument; their ``mark`` is that of the account's."""
    account = segment.region("risk.positions").view(POSITION).copy()
    if len(segment.meta["strategies"]) == 1:
        return account
    own = segment.region("risk.owned").view(POSITION)[index * len(account) :][: len(account)].copy()
    own["mark"] = account["mark"]
    return own


def fees_of(segment: Segment, index: int | None = None) -> dict[str, int]:
    """What was paid in other assets than the quote currency by asset, of the account or of one strategy; only what is not 0."""
    assets = segment.meta["fee_assets"]
    if not assets:
        return {}
    rows = segment.region("risk.fees")[: 8 * (1 + len(segment.meta["strategies"])) * len(assets)].view(np.int64)
    own = rows.reshape(-1, len(assets))[0 if index is None else 1 + index].tolist()
    return {asset: paid for asset, paid in zip(assets, own, strict=True) if paid}


def strategies_of(segment: Segment, graph: Graph) -> dict[str, StrategyView]:
    """Look at every strategy."""
    symbols, tops, found = segment.meta["symbols"], tops_of(segment), {}
    for index, (name, places) in enumerate(segment.meta["seats"].items()):
        rows = own_positions(segment, index)
        words = {one: segment.region(region)[at : at + 8].view(np.int64) for one, (region, at) in places.items()}
        found[name] = StrategyView(
            counters={one: int(word[0]) for one, word in words.items()},
            held={symbols[at]: int(rows["qty"][at]) for at in np.flatnonzero(rows["qty"]).tolist()},
            sums=sums_of(segment, tops, rows),
            fees=fees_of(segment, index),
            fault=read_fault(segment.region(graph.own("strategy.fault", name))),
        )
    return found
