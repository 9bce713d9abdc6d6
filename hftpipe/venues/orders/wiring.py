"""An account wired into the gateway: its memory, what is private, the threads beside it, and its watchdog."""

from collections.abc import Callable, Sequence
from typing import Any, Protocol

import numpy as np

from hftpipe.core.machine.system_clock import steady_ns
from hftpipe.core.schema.cells import STAGE_DIED
from hftpipe.core.schema.halts import CLOSED_SCOPE, set_scope
from hftpipe.transport.signing.keys import Key
from hftpipe.venues.contract import Site, Wired
from hftpipe.venues.orders import venue
from hftpipe.venues.orders.keeper import AccountKeeper, AccountMemory, AccountPlan, Upkeep
from hftpipe.venues.orders.looks import n_open
from hftpipe.venues.orders.setup import Speech, Terms, account_init, open_private
from hftpipe.venues.orders.state import REGION
from hftpipe.venues.orders.watchdog import TRY_S, Canceller, Watchdog

#: A simulated venue beside the run ends with it: nothing lives on there.
SIMULATED_TRY_S, WATCHDOG_LOOK_S = 5.0, 1.0


class Plan(AccountPlan, Canceller, Protocol):
    """What a venue's account does over Python."""


def wire_account(
    site: Site,
    state: np.ndarray,
    plan: Plan,
    speech: Callable[[], Speech],
    terms: Terms,
    key: Key,
    prefix: bytes,
    report: Callable[[str], None],
    upkeep: Callable[[AccountMemory], Sequence[Upkeep]] = lambda memory: (),
    released: Callable[[], None] = lambda: None,
) -> Wired:
    """Wire an account as the order half of a venue (contract: :class:`hftpipe.venues.contract.Orders`).

    Args:
        speech: made in the gateway's own process, for it holds the key.
        prefix: of our client ids; upkeep: what must be done beside what the plan has; released: done at the end, with nothing open.
    """
    index = int(state["venue_index"][0])
    # Until the log-in is through nobody quotes.
    set_scope(site.memory.region("halts"), CLOSED_SCOPE + index, 1, steady_ns())
    memory = account_init(
        site.memory.region(REGION), len(site.instruments), site.memory.address("clock"), terms,
        halts=site.memory.address("halts"), venue_index=index,
    )  # fmt: skip
    state["venue"], state["venue_submit"] = site.memory.address(REGION), venue.submit_entry.address
    state["venue_poll"], state["venue_unanswered"] = venue.poll_entry.address, venue.unanswered_entry.address
    try_s = SIMULATED_TRY_S if site.config.live.simulated else TRY_S
    watchdog = Watchdog(memory.account, memory.table, plan, report, try_s)

    def look_after() -> None:
        """A run whose orders nobody looks after must not go on."""
        if watchdog.has_died() and not memory.account["fault"][0]:
            report("orders: the watchdog has died: trading ends")
            memory.account["fault"] = STAGE_DIED

    jobs = (*plan.upkeep, *upkeep(memory), Upkeep("watchdog", WATCHDOG_LOOK_S, look_after))
    keeper = AccountKeeper(memory, plan, jobs, report)
    kept: list[Any] = [keeper, watchdog]

    def opened() -> None:
        # Before there are threads, which no fork takes along.
        watchdog.start()
        said = speech()
        kept.append(open_private(memory.account, site.instruments, key, prefix, said, site.fee_assets))
        keeper.open()

    def closed() -> None:
        if not n_open(memory.table):
            released()
        watchdog.stop()
        keeper.close()

    return Wired(opened=opened, closed=closed, keep=(kept,))
