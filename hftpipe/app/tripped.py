"""Why a stage stopped itself, for the person who must judge it: the latched halt says so, and the log."""

from hftpipe.config import Config
from hftpipe.core.machine.fixed import format_fixed
from hftpipe.core.schema.cells import HALT_CAUSES

_ORDER = "order {id:#x}"
#: By cause; ``id price qty`` are those of the report that tripped the stage.
_TEXTS = {
    "orphan_fill": "the venue executed its order number {id}, which is not of this run: {shares} of its units at {price}; "
    "it may be of an earlier run of this account",
    "broken_trade": "the venue took execution {id} back",
    "venue_forgot": "the venue no longer knows orders of ours",
    "login_refused": "user {user} at {venue}: refused {id} times, or not answered; is the account in use, and the password right?",
    "wrong_terms": _ORDER + " stands at the venue on terms that were not asked for: {qty} at {price}",
    "overfill": _ORDER + " was executed beyond its quantity: {qty} at {price}",
    "late_fill": _ORDER + " was executed after its end: {qty} at {price}",
    "unreadable_report": "a message of the venue cannot be read; an execution may have been in it",
    "position_limit": _ORDER + ": its execution of {qty} at {price} took the position beyond max_position",
}


def why_tripped(stage: str, cause: int, id_: int, price: int, qty: int, config: Config) -> str:
    """One line.

    Args:
        cause: from HALT_CAUSES; id_, price, qty: of the report that tripped the stage (prices and quantities 1e-8).
    """
    name = HALT_CAUSES.get(cause, f"code_{cause}")
    text = _TEXTS.get(name, "stage {stage} met something that must not happen")
    venue = f"{config.udp.order_address}:{config.udp.order_port}" if config.pipeline.venue == "udp" else "the venue"
    return text.format(
        stage=stage, id=id_, price=format_fixed(price), qty=format_fixed(qty), shares=qty, user=config.udp.user, venue=venue
    )  # fmt: skip
