"""Why a stage stopped itself, for the person who must judge it: the latched halt says so, and the log."""

import logging
from collections.abc import Sequence

from hftpipe.core.machine.fixed import format_fixed
from hftpipe.core.schema.cells import HALT_CAUSES, INVARIANT, POSITION_DIFFERS
from hftpipe.log import event
from hftpipe.topology.controls import quotes_of
from hftpipe.topology.pipeline import Pipeline
from hftpipe.venues.contract import About

LOG = logging.getLogger("hftpipe.app.supervisor")
_ORDER = "order {id:#x}"
#: By cause; ``id price qty`` are those of the report or request that tripped the stage.
_TEXTS = {
    "orphan_fill": "the venue executed its order number {id}, which is not of this run: {shares} of its units at {price}; "
    "it may be of an earlier run of this account",
    "broken_trade": "the venue took execution {id} back",
    "venue_forgot": "the venue no longer knows orders of ours",
    "login_refused": "user {user} at {server}: refused {id} times, or not answered; is the account in use, and the password right?",
    "session_lost": "the order session with {server} (user {user}) was lost and has not come back for {id} ms, with {shares} orders "
    "open: what became of them is not known",
    "wrong_price": _ORDER + " was executed at a price worse than its own: {qty} at {price}",
    "unbookable_fill": _ORDER + ": its execution of {qty} at {price} cannot be booked",
    "sent_unapproved": "stage {stage} has sent more requests than risk approved; found at " + _ORDER,
    "wrong_terms": _ORDER + " stands at the venue on terms that were not asked for: {qty} at {price}",
    "overfill": _ORDER + " was executed beyond its quantity: {qty} at {price}",
    "late_fill": _ORDER + " was executed after its end: {qty} at {price}",
    "unreadable_report": "a message of the venue cannot be read (first byte {id}, {shares} bytes; 0: it never comes whole); an execution "
    "may have been in it",
    "position_differs": "the account has {qty} of {symbol} more than the run (below 0: less), which is beyond position_tolerance; somebody "
    "else trades on it, or something was never told",
    "drawdown": "{qty} lost since the best moment within controls.drawdown_window_s, in {quote}; controls.max_drawdown = {price}",
    "daily_loss": "{qty} lost since midnight UTC, in {quote}; controls.max_daily_loss = {price}",
    "position_limit": _ORDER + ": its execution of {qty} at {price} took the position beyond max_position",
}


def why_tripped(
    stage: str,
    cause: int,
    id_: int,
    price: int,
    qty: int,
    about: About | None,
    symbol: str = "",
    quotes: Sequence[str] = (),
) -> str:
    """One line.

    Args:
        cause: from HALT_CAUSES; id_, price, qty: of the report that tripped the stage (prices and quantities 1e-8).
        about: the gateway's venue; None for another stage; symbol: of the instrument that it is about, if it is about one.
        quotes: the quote currencies; of a loss ``id_`` is the number of one.
    """
    name = HALT_CAUSES.get(cause, f"code_{cause}")
    text = _TEXTS.get(name, "stage {stage} met something that must not happen")
    server, user = (about.server, about.user) if about else ("", "")
    return text.format(
        stage=stage, id=id_, price=format_fixed(price), qty=format_fixed(qty), shares=qty, user=user or "of the account", server=server or "the venue",
        symbol=symbol or "an instrument", quote=quotes[id_] if id_ < len(quotes) else "quote currency",
    )  # fmt: skip


def told(pipeline: Pipeline, stage: str) -> tuple[int, str]:
    """Say to the log why a stage has stopped itself: (cause, one line)."""
    state, place = pipeline.state(stage), pipeline.venue_of(stage)
    cause = int(state["trip_cause"][0]) or INVARIANT
    id_, price, qty = (int(state[name][0]) for name in ("fault_id", "fault_price", "fault_qty"))
    symbol = ""
    if place and cause == POSITION_DIFFERS:
        symbol = bytes(pipeline.instruments["symbol"][place.first + id_]).decode()
    quotes = quotes_of(pipeline.config)
    what = why_tripped(stage, cause, id_, price, qty, place.about if place else None, symbol, quotes)
    name = HALT_CAUSES.get(cause, f"code_{cause}")
    event(LOG, logging.ERROR, "halted: a stage stopped itself", stage=stage, cause=name, what=what)
    return cause, what
