"""A run compared with its venue, before the first order and every so often: a thread beside the gateway asks, compares, and deals with it.

::

    open orders ─▶ holdings ─▶ executions of what differs, holdings again, where they differ ─▶ executions of what was traded
         each answer is compared (compare.py) with what the run has (own_orders.py, booked.py); what lasts is a difference

What is done about one is the table DEALT. Nothing of this is in the way of an order: questions share the venue's request weight with
whatever else asks it, and give way to it (account_look.py).
"""

import threading
from collections import OrderedDict
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass
from typing import NamedTuple

import numpy as np

from hftpipe.core.machine.system_clock import steady_ns
from hftpipe.core.schema.cells import POSITION_DIFFERS
from hftpipe.transport.errands import Errands
from hftpipe.transport.http.answer import Outcome
from hftpipe.venues.orders.account_look import AccountLook, ListedExecution, ListedOrder, PutOff
from hftpipe.venues.orders.booked import Booked, Line
from hftpipe.venues.orders.client_text import client_text, epoch_of
from hftpipe.venues.orders.compare import (
    Execution,
    OrdersOff,
    amount_off,
    is_beyond,
    lasting,
    missed,
    orders_off,
    unshown,
)
from hftpipe.venues.orders.executed import ExecutedReader
from hftpipe.venues.orders.facts import FACT, LIVE, STATE
from hftpipe.venues.orders.keeper import AccountMemory, Question
from hftpipe.venues.orders.looks import newest_epoch
from hftpipe.venues.orders.own_orders import AccountOrders
from hftpipe.venues.orders.rest_error import RestError

#: A difference is found so often, with at least this pause between, s.
LOOKS, PAUSE_S = 3, 0.5
#: What the venue says of holdings may be as old as this; executions that are older than that it lists.
LAG_NS, LATE_NS = 2_000_000_000, 10_000_000_000
#: Executions are kept so much longer than they are compared.
KEPT_NS = 30_000_000_000
#: When a comparison is tried again that was put off, or had no session; that got no answer. After so many times of the pause
#: between two without any it is said.
PUT_OFF_S, AGAIN_S, OVERDUE = 1.0, 5.0, 10
#: So long the booking of what was missed is waited for, and how often it is looked at, s. As long as AWAITED_NS it explains a difference.
BOOKED_S, LOOK_S, AWAITED_NS = 5.0, 0.05, 60_000_000_000


#: Differences that were told and are remembered.
REMEMBERED = 100_000


class NoSession(RestError):
    """There is no session, or it is not the one that the comparison began with: what happened is not heard."""


class Way(NamedTuple):
    """What is done about a kind of difference, beside what its method here does: what counts it, and what is said."""

    counter: str
    said: str


#: By kind of difference.
DEALT = {
    "missed": Way(
        "missed", "the venue has execution {what}, the run had not: its order is asked about, and it is booked"
    ),
    "unshown": Way("unshown", "the run has execution {what}, and the venue does not show it"),
    "unlisted": Way("unlisted", "order {what} is open here, and the venue does not list it: it is asked about"),
    "unknown": Way("unknown", "order {what} rests at the venue, and not here: it is asked about and cancelled"),
    "external": Way("external_orders", "order {what} is not of this instance: {policy}"),
    "position": Way("positions_off", "{what}"),
    "balance": Way("balances_off", "{what}"),
}


@dataclass(frozen=True)
class Policy:
    """How often it is compared, how long what is on its way is waited for, s; whether open orders of others are cancelled."""

    every_s: float
    grace_s: float
    cancels_external: bool


class Reconciler:
    """Compares an account with what the run has of it.

    Args:
        memory: of the account; look: asks the venue; booked: what the run's executions come to.
        policy: how; prefix: of our client ids.
        ask: finds out about an order; tell: gives compiled code a FACT; report: takes one line about what differs.
    """

    def __init__(
        self,
        memory: AccountMemory,
        look: AccountLook,
        booked: Booked,
        policy: Policy,
        prefix: bytes,
        ask: Callable[[Question], None],
        tell: Callable[[np.ndarray], None],
        report: Callable[[str], None],
    ) -> None:
        self._memory, self._look, self._booked, self._policy, self._prefix = memory, look, booked, policy, prefix
        self._ask, self._tell, self._report = ask, tell, report
        self._orders, self._executed = AccountOrders(memory), ExecutedReader(memory.account, memory.executed)
        self._start: Mapping[str, int | None] = {}
        self._start_ns = self._since_ns = self._active_ns = 0
        #: Instruments whose executions are still to be compared, with the time from which on; missed executions that are being booked.
        self._due, self._awaited = dict[int, int](), dict[Execution, int]()
        self._epoch = -1
        self._done_ns, self._failures, self._is_overdue, self._is_blind = 0, 0, False, False
        #: What was said, by kind and which one: once each, as long as it is remembered; amounts, by how much they differ.
        self._told, self._told_off = OrderedDict[tuple[str, object], None](), dict[int, int]()
        self._errands, self._over = Errands("orders-reconcile", report), threading.Event()

    # When.

    def begin(self, had_left: bool) -> None:
        """Before the first order: what the account holds is where the run starts from. Raises RestError.

        Args:
            had_left: orders of an earlier run were open until a moment ago.
        """
        self._start_ns = self._since_ns = self._venue_ns()
        self._active_ns = self._done_ns = steady_ns()
        self._look.gives_way = False
        self._mind_external(self._look.open_orders())
        if had_left or self._memory.reconcile["external_cancels"][0]:
            # They may have been executed in their last moment, and what the venue says of holdings may be older.
            self._wait(LAG_NS / 1e9)
        self._start = self._look.holdings()
        self._look.gives_way = True
        for line in self._booked.lines:
            if held := self._start.get(line.name):
                self._report(
                    f"orders: at the start the account has {_text(held, line)} {line.name}: counted from there"
                )

    def open(self) -> None:
        """Compare every so often from now on."""
        self._errands.start()
        self._errands.ask(self._round, self._policy.every_s)

    def close(self) -> None:
        """Compare nothing more."""
        self._over.set()
        self._errands.end()

    def _round(self) -> None:
        if self._over.is_set() or self._is_blind:
            return
        again_s = self._policy.every_s
        try:
            # First of all: it is read in time though the venue may not answer.
            self._take()
            self._compare()
            self._count("compared")
            self._done_ns, self._failures, self._is_overdue = steady_ns(), 0, False
        except PutOff:
            self._count("put_off")
            again_s = PUT_OFF_S
        except NoSession:
            again_s = PUT_OFF_S
        except OverflowError as wrong:
            self._is_blind = True
            self._count("blind")
            self._report(f"orders: nothing more is compared with the venue: {wrong}")
        except OSError as wrong:
            self._count("unanswered")
            self._failures += 1
            if self._failures == 1:
                self._report(f"orders: a comparison with the venue had no answer: {wrong}")
            again_s = min(again_s, AGAIN_S)
        self._mind_overdue()
        self._errands.ask(self._round, again_s)

    def _mind_overdue(self) -> None:
        if (
            not self._is_overdue
            and self._done_ns
            and steady_ns() - self._done_ns > OVERDUE * self._policy.every_s * 1e9
        ):
            self._is_overdue = True
            self._count("overdue")

    def _count(self, name: str) -> None:
        self._memory.reconcile[name] += 1

    def _venue_ns(self) -> int:
        return steady_ns() + int(self._memory.account["wall_offset_ns"][0])

    def _session(self) -> int:
        """Which session there is. Raises NoSession."""
        account = self._memory.account
        if not account["session"][0] or not account["has_been_up"][0] or self._over.is_set():
            raise NoSession("no session")
        return int(account["outages"][0])

    def _wait(self, seconds: float) -> None:
        self._over.wait(seconds)

    def _compare(self) -> None:
        session, active_ns, until_ns = self._session(), steady_ns(), self._venue_ns() - LATE_NS
        # (A strategy's later ids count on into what would be the next epochs.)
        self._epoch = self._epoch if self._epoch >= 0 else newest_epoch(self._memory.table)

        def has_changed() -> None:
            if self._session() != session:
                raise NoSession("another session")

        self._compare_orders(has_changed)
        off = self._holdings_off()
        has_changed()
        differing = {at for line in off for at in self._booked.lines[line].instruments}
        for one in self._orders.active(self._active_ns) | differing:
            self._due.setdefault(one, self._since_ns)
        self._active_ns, self._since_ns = active_ns, max(self._since_ns, until_ns)
        self._compare_executions(differing, until_ns, has_changed)
        for _ in range(LOOKS - 1):
            if off:
                self._wait(PAUSE_S)
                off = lasting(off, self._holdings_off())
                has_changed()
        self._deal_with_holdings(off)
        self._compare_due(until_ns, has_changed)

    def _compare_due(self, until_ns: int, has_changed: Callable[[], None]) -> None:
        """Executions of all that was traded, the longest due first and some at a time: what is put off goes on where it was."""
        due, at_once = sorted(self._due, key=self._due.__getitem__), self._look.most_at_once
        for at in range(0, len(due), at_once):
            self._compare_executions({*due[at : at + at_once]}, until_ns, has_changed)
        self._booked.forget(min([until_ns, *self._due.values()]) - KEPT_NS)

    # Differences.

    def _is_news(self, kind: str, key: object) -> bool:
        """Whether a difference was not told before; it is from now on."""
        is_news = (kind, key) not in self._told
        self._told[kind, key] = None
        self._told.move_to_end((kind, key))
        if len(self._told) > REMEMBERED:
            self._told.popitem(last=False)
        return is_news

    def _say(self, kind: str, what: str, number: int = 1) -> None:
        """Count and say so many differences of a kind, of which ``what`` is one."""
        self._memory.reconcile[DEALT[kind].counter] += number
        policy = "it is cancelled" if self._policy.cancels_external else "it is left alone"
        more = f" (and {number - 1} more)" if number > 1 else ""
        self._report(f"orders: compared with the venue: {DEALT[kind].said.format(what=what, policy=policy)}{more}")

    def _say_news(self, kind: str, key: object, what: str) -> None:
        """Count and say a difference, unless it was told before."""
        if self._is_news(kind, key):
            self._say(kind, what)

    # Open orders.

    def _compare_orders(self, has_changed: Callable[[], None]) -> None:
        off, listed = OrdersOff(frozenset(), frozenset()), list[ListedOrder]()
        for look in range(LOOKS):
            before = self._orders.now()
            listed = self._look.open_orders()
            has_changed()
            found = orders_off(before, {one.id for one in listed if one.id}, self._orders.now())
            off = found if look == 0 else off & found
            if not off:
                break
            self._wait(max(PAUSE_S, self._policy.grace_s))
        self._mind_external(listed)
        if off:
            self._deal_with_orders(off, {one.id: one for one in listed})

    def _deal_with_orders(self, off: OrdersOff, listed: Mapping[int, ListedOrder]) -> None:
        for id_ in off.unlisted:
            self._say_news("unlisted", id_, client_text(self._prefix, id_))
            self._ask(self._orders.question(id_, 0, 0))
        for id_ in off.unknown:
            order = listed[id_]
            self._say_news("unknown", id_, order.name)
            if not self._orders.has(id_):
                self._tell(_that_it_rests(order))
                continue
            self._ask(self._orders.question(id_, order.instrument, order.venue_id))
            self._look.cancel_listed(order)

    def _mind_external(self, listed: Iterable[ListedOrder]) -> None:
        """Orders of others are counted, and cancelled where that is the policy."""
        others = [one for one in listed if not one.id and one.instrument >= 0]
        news = [one for one in others if self._is_news("external", (one.instrument, one.venue_id))]
        if news:
            self._say("external", news[0].name, len(news))
        for order in others if self._policy.cancels_external else ():
            answer = self._look.cancel_listed(order)
            if answer.outcome is Outcome.OK:
                self._count("external_cancels")
            elif not self._look.has_ended(answer):
                self._report(f"orders: {order.name} of somebody else is not cancelled: {answer.message}; again")

    # Executions.

    def _take(self) -> None:
        for key in self._booked.take(self._executed.take()):
            self._awaited.pop(key, None)

    def _compare_executions(self, instruments: set[int], until_ns: int, has_changed: Callable[[], None]) -> None:
        if not instruments:
            return
        since_ns = min(self._due[one] for one in instruments)
        self._take()
        own = self._booked.times(instruments)
        listed = {one.key: one for one in self._look.executions(instruments, since_ns) if one.ts_ns >= self._start_ns}
        self._deal_with_missed(listed)
        absent = unshown(own, listed.keys(), since_ns, until_ns)
        for _ in range(LOOKS - 1):
            if absent:
                self._wait(PAUSE_S)
                absent &= unshown(own, self._shown(instruments, since_ns), since_ns, until_ns)
        has_changed()
        for key in absent:
            self._say_news("unshown", key, self._name(key))
        for one in instruments:
            del self._due[one]

    def _shown(self, instruments: set[int], since_ns: int) -> set[Execution]:
        return {one.key for one in self._look.executions(instruments, since_ns)}

    def _not_had(self, listed: Mapping[Execution, ListedExecution]) -> frozenset[Execution]:
        self._take()
        return missed(listed, self._booked.times({key.instrument for key in listed}).keys())

    def _deal_with_missed(self, listed: Mapping[Execution, ListedExecution]) -> None:
        """Have what was missed booked: the orders of these executions are asked about."""
        absent = self._not_had(listed)
        if absent:
            self._wait(self._policy.grace_s)
            absent = self._not_had(listed)
        orders = {key: self._look.owner(listed[key]) for key in sorted(absent)}
        # Of an earlier run nothing is booked: it ended before this one began.
        ours = {key: id_ for key, id_ in orders.items() if id_ and 0 <= self._epoch <= epoch_of(id_)}
        for key, id_ in ours.items():
            self._say_news("missed", key, f"{self._name(key)} of order {client_text(self._prefix, id_)}")
        for id_, key in {id_: key for key, id_ in ours.items()}.items():
            self._ask(self._orders.question(id_, key.instrument, listed[key].venue_id))
        for key in ours:
            self._awaited.setdefault(key, steady_ns())
        until = steady_ns() + int(BOOKED_S * 1e9)
        while ours and steady_ns() < until and ours.keys() & self._not_had(listed):
            self._wait(LOOK_S)

    def _name(self, key: Execution) -> str:
        return f"{key.trade_id} ({'buy' if key.is_buy else 'sell'}, {self._booked.instruments.symbols[key.instrument]})"

    # Holdings.

    def _holdings_off(self) -> dict[int, int]:
        """Lines that differ, and by how much."""
        self._take()
        mark, since_ns = self._booked.count, self._venue_ns() - LAG_NS
        unsettled, listed = self._orders.unsettled(), self._look.holdings()
        off = self._judged(listed, since_ns, mark)
        if off:
            # What is on its way comes meanwhile.
            self._wait(self._policy.grace_s)
            off = self._judged(listed, since_ns, mark)
            unsettled |= self._orders.unsettled() | self._being_booked()
        for line in [one for one in off if unsettled & set(self._booked.lines[one].instruments)]:
            del off[line]
            self._count("unsettled")
        return off

    def _being_booked(self) -> set[int]:
        """Instruments of which an execution was found that is not booked yet."""
        latest = steady_ns() - AWAITED_NS
        return {key.instrument for key, since in self._awaited.items() if since > latest}

    def _judged(self, listed: Mapping[str, int | None], since_ns: int, mark: int) -> dict[int, int]:
        self._take()
        off = {}
        for at, line in enumerate(self._booked.lines):
            start, now = self._start.get(line.name, 0), listed.get(line.name, 0)
            if start is None or now is None or at in self._booked.unread:
                continue
            path, slack, told = self._booked.path(at, since_ns, mark), self._booked.slack(at), self._told_off.get(at, 0)
            if by := amount_off(start, path, now, slack):
                # What was told explains it still, at some moment of the path.
                off[at] = told if told and not amount_off(start + told, path, now, slack) else by
        return off

    def _deal_with_holdings(self, off: Mapping[int, int]) -> None:
        for at in self._told_off.keys() - off.keys():
            del self._told_off[at]
            self._report(f"orders: compared with the venue: {self._booked.lines[at].name} agrees again")
        for at, by in off.items():
            if self._told_off.get(at) == by:
                continue
            self._told_off[at] = by
            line = self._booked.lines[at]
            kind = "balance" if line.tolerance is None else "position"
            what = f"the account has {_text(by, line)} {line.name} more than the run (below 0: less)"
            self._say(kind, what)
            if is_beyond(by, line.tolerance):
                self._end_trading(line, by)

    def _end_trading(self, line: Line, by: int) -> None:
        """Have the gateway halt: nobody knows what the account holds."""
        account = self._memory.account
        if account["fault"][0]:
            return
        most = 2**63 - 1
        account["fault_id"], account["fault_qty"] = line.instruments[0], max(-most, min(most, by // line.unit))
        account["fault"] = POSITION_DIFFERS


def _that_it_rests(order: ListedOrder) -> np.ndarray:
    """The FACT that an order rests which nobody here has."""
    made = np.zeros(1, FACT)
    made["kind"], made["state"], made["cum"] = STATE, LIVE, -1
    made["id"], made["revision"], made["venue_id"] = order.id, order.revision, order.venue_id
    made["instrument"] = order.instrument + 1
    return made


def _text(amount: int, line: Line) -> str:
    """An amount of a line as people write it."""
    whole, part = divmod(abs(amount), 10**line.places)
    digits = f"{part:0{line.places}d}".rstrip("0")
    return f"{'-' if amount < 0 else ''}{whole}{'.' if digits else ''}{digits}"
