"""An account wired into the gateway: its memory, what is private, the threads beside it, and its watchdog."""

from collections.abc import Callable, Sequence
from functools import partial
from typing import Any, Protocol

import numpy as np

from hftpipe.config import ConfigError
from hftpipe.core.machine.system_clock import steady_ns
from hftpipe.core.schema.cells import STAGE_DIED
from hftpipe.core.schema.halts import CLOSED_SCOPE, set_scope
from hftpipe.transport.http.connect import Address
from hftpipe.transport.http.pool import Pool
from hftpipe.transport.http.rest import RestClient
from hftpipe.transport.http.weights import Weights
from hftpipe.transport.signing.keys import Key
from hftpipe.venues.contract import Site, Wired
from hftpipe.venues.orders import venue
from hftpipe.venues.orders.account_look import AccountLook
from hftpipe.venues.orders.booked import Booked, balance_lines, position_lines
from hftpipe.venues.orders.keeper import AccountKeeper, AccountMemory, AccountPlan, Upkeep
from hftpipe.venues.orders.looks import n_open
from hftpipe.venues.orders.numbers import Instruments
from hftpipe.venues.orders.reconcile import Policy, Reconciler
from hftpipe.venues.orders.setup import Speech, Terms, account_init, open_private
from hftpipe.venues.orders.state import REGION
from hftpipe.venues.orders.watchdog import TRY_S, Canceller, Watchdog

#: What ``live.order_entry`` calls orders that go over REST.
REST = "rest"
#: What ``live.external_orders`` calls that they are cancelled.
CANCEL = "cancel"
#: A simulated venue beside the run ends with it: nothing lives on there.
SIMULATED_TRY_S, WATCHDOG_LOOK_S = 5.0, 1.0


class Plan(AccountPlan, Canceller, AccountLook, Protocol):
    """What a venue's account does over Python; ``rest``: over which client."""

    @property
    def rest(self) -> RestClient:
        """What asks over REST."""


def _heed(account: np.ndarray, weights: Weights) -> None:
    """What compiled code is told over REST holds for what is asked from here, and the other way round."""
    until_ns, used = int(account["rest_ns"][0]), int(account["weight_used"][0])
    account["told_rest_ns"] = weights.rest_until_ns
    if until_ns > max(weights.rest_until_ns, steady_ns()):
        weights.rest((until_ns - steady_ns()) / 1e9)
    if used:
        account["weight_used"] = 0
        weights.note(used)


def _pool(site: Site, memory: AccountMemory, rest: RestClient, report: Callable[[str], None]) -> Pool | None:
    """Connections for requests over REST, where orders go that way."""
    if not len(memory.calls):
        return None
    address = Address(rest.address, site.config.live.ca_file)
    heed = partial(_heed, memory.account, rest.weights)
    return Pool(memory.call_links, memory.calls["busy"], address, report, heed)


def _booked(site: Site, is_spot: bool) -> Booked:
    """What executions of the run come to, in which amounts of the account."""
    instruments = Instruments.of(site.instruments)
    if is_spot and not all((*instruments.bases, *instruments.quotes)):
        names = [
            one
            for one, *both in zip(instruments.symbols, instruments.bases, instruments.quotes, strict=True)
            if not all(both)
        ]
        raise ConfigError(
            f"instruments: base and quote of {', '.join(names)} are needed to compare balances; allowed: the venue's names"
        )
    tolerances = [one.position_tolerance for one in site.config.instruments]
    lines = (
        balance_lines(instruments, tolerances, site.fee_assets) if is_spot else position_lines(instruments, tolerances)
    )
    return Booked(lines, instruments, is_spot, site.fee_assets)


def wire_account(
    site: Site,
    state: np.ndarray,
    plan: Plan,
    speech: Callable[[], Speech],
    terms: Terms,
    key: Key,
    prefix: bytes,
    is_spot: bool,
    report: Callable[[str], None],
    upkeep: Callable[[AccountMemory], Sequence[Upkeep]] = lambda memory: (),
    released: Callable[[], None] = lambda: None,
) -> Wired:
    """Wire an account as the order half of a venue (contract: :class:`hftpipe.venues.contract.Orders`).

    Args:
        speech: made in the gateway's own process, for it holds the key.
        prefix: of our client ids; is_spot: whether assets change hands; upkeep: what must be done beside what the plan has; released: done at the end, with nothing open.
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
    live, compared = site.config.live, list[Reconciler]()

    def before_orders(had_left: bool) -> None:
        for one in compared:
            one.begin(had_left)

    keeper = AccountKeeper(memory, plan, jobs, report, _pool(site, memory, plan.rest, report), before_orders)
    if live.reconcile_s:
        policy = Policy(live.reconcile_s, live.answer_timeout_s, live.external_orders == CANCEL)
        compared.append(
            Reconciler(memory, plan, _booked(site, is_spot), policy, prefix, keeper.ask, keeper.tell, report)
        )
    kept: list[Any] = [keeper, watchdog, *compared]

    def opened() -> None:
        # Before there are threads, which no fork takes along.
        watchdog.start()
        said = speech()
        kept.append(open_private(memory.account, site.instruments, key, prefix, said, site.fee_assets))
        keeper.open()
        for one in compared:
            one.open()

    def closed() -> None:
        if not n_open(memory.table):
            released()
        watchdog.stop()
        for one in compared:
            one.close()
        keeper.close()

    return Wired(opened=opened, closed=closed, keep=(kept,))
