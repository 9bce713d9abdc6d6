"""What the venue lists is asked again every so often: an instrument whose rules have changed, or that is not traded any more, is halted.

::

    the first answer   compared with the configuration: other rules are said
    each later one     compared with the first; what has changed is asked for once more, and what both answers say is believed

Orders are formed by the rules of the start. An order by old rules would be refused, or be another one than was meant.
"""

from collections.abc import Callable

import numpy as np

from hftpipe.core.schema.catalogue import LISTED
from hftpipe.core.schema.cells import NOT_TRADED, RULES_CHANGED
from hftpipe.venues.listing import Listing
from hftpipe.venues.listing_changes import ORDER_RULES, Change, changes_of
from hftpipe.venues.live.books import Desk
from hftpipe.venues.live.plan import ListingPlan

#: How soon what has changed is asked for once more; how soon after an answer that did not come, at first and at most.
AGAIN_S, FIRST_PAUSE_S = 5.0, 10.0
#: What a configured instrument and a listed one have in common.
_COMMON = ("symbol", "base", "quote", "contract", "multiplier", "power", *ORDER_RULES)


def configured(instruments: np.ndarray) -> Listing:
    """What a pipeline trades (INSTRUMENT array), as if a venue listed it."""
    rows = np.zeros(len(instruments), LISTED)
    for name in _COMMON:
        rows[name] = instruments[name]
    return Listing(rows)


class ListingWatch:
    """Asks, compares, halts.

    Args:
        desk: the keeper; plan: of the venue; traded: what the pipeline trades, in the order of the instruments.
        halt: halts an instrument for a cause (:data:`hftpipe.core.schema.cells.HALT_CAUSES`), called in the stage's own thread.
    """

    def __init__(self, desk: Desk, plan: ListingPlan, traded: Listing, halt: Callable[[int, int], None]) -> None:
        self._desk, self._plan, self._traded, self._halt = desk, plan, traded, halt
        self._numbers = {symbol: number for number, symbol in desk.names.items()}
        self._first: Listing | None = None
        #: Changes that only one answer has told so far, and those that are known.
        self._suspected, self._known = set[Change](), set[Change]()
        self._failures = 0

    def begin(self) -> None:
        """Ask for the first time."""
        self._desk.look(self._look)

    # In a thread beside.

    def _look(self) -> None:
        try:
            found = self._plan.ask()
        except (OSError, ValueError) as wrong:
            self._failures += 1
            if self._failures == 1:
                self._desk.report(f"what is listed could not be asked: {wrong}")
            self._desk.look(self._look, min(FIRST_PAUSE_S * self._failures, self._plan.period_s))
            return
        self._failures = 0
        if self._first is None:
            self._begin_with(found)
        else:
            self._take(set(changes_of(self._first, found, ORDER_RULES)) - self._known)
        self._desk.look(self._look, AGAIN_S if self._suspected else self._plan.period_s)

    def _begin_with(self, found: Listing) -> None:
        """The first answer: what is not traded there at all is halted, other rules than those configured are said."""
        told = changes_of(self._traded, found, ORDER_RULES)
        for one in told:
            if not one.is_gone:
                rule, _, there = one.said.partition(" is now ")
                self._desk.report(f"{one.symbol}: configured {rule}; at the venue {there}")
        gone = {one.symbol for one in told if one.is_gone}
        self._suspected = {one for one in told if one.is_gone}
        traded = np.isin(found.rows["symbol"], self._traded.rows["symbol"])
        self._first = Listing(np.concatenate([found.rows[traded], self._missing(gone)]))

    def _missing(self, symbols: set[str]) -> np.ndarray:
        return self._traded.rows[np.isin(self._traded.rows["symbol"], [one.encode() for one in symbols])]

    def _take(self, found: set[Change]) -> None:
        """What two answers in a row have said is believed."""
        for one in sorted(found & self._suspected):
            self._known.add(one)
            self._desk.tell(lambda one=one: self._changed(one))  # type: ignore[misc]
        self._suspected = found - self._known

    # In the stage's thread.

    def _changed(self, one: Change) -> bool:
        self._desk.memory.live["rule_changes"] += 1
        self._halt(self._numbers[one.symbol], NOT_TRADED if one.is_gone else RULES_CHANGED)
        self._desk.report(f"{one.symbol}: {one.said}; it is halted")
        return False
