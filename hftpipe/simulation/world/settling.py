"""The end of a run: faults off, everything comes to rest, and trading is shown to be possible wherever nothing is halted or dead."""

from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np

from hftpipe.core.schema.cells import STOPPING
from hftpipe.core.schema.records import BUY, SELL
from hftpipe.core.trading.order_table import ORDER, TABLE, TABLE_HEADER_BYTES, UNKNOWN
from hftpipe.simulation.world.port import Port
from hftpipe.simulation.world.stages import SETTLE_NS, World
from hftpipe.simulation.world.strategies import PROBE, WITHDRAW
from hftpipe.strategy.quotes import LONGEST_PAUSE_NS

#: A probe is worth about so much, 1e-8; a little more room than that is asked for.
_WORTH, _MORE_LOTS = 10**9, 3
#: Steps of a long wait: short enough for the stages to keep up with any plan's feeds.
_PATIENT_STEP_NS = 200_000
#: Rings that never run dry.
_MARKETS = ("market", "sim")


@dataclass(frozen=True)
class Target:
    """One of these strategies is to have an order accepted at a venue, in one of these instruments."""

    strategies: tuple[int, ...]
    port: Port
    instruments: tuple[int, ...]

    def __str__(self) -> str:
        return f"strategies {self.strategies} at venue {self.port.name}, instruments {self.instruments}"


class Settlement:
    """The last phase of a world."""

    def __init__(self, world: World) -> None:
        self.world, kinds = world, [one.kind for one in world.plan.strategies]
        self._makers = [index for index, kind in enumerate(kinds) if kind == "market_making"]
        self._hostile = [index for index, kind in enumerate(kinds) if kind == "hostile"]
        self._accepted = [list(truth.accepted_by) for truth in world.truth.truths]

    def run(self) -> None:
        """Faults off; everything must come to rest, after which the checkers look once more."""
        world = self.world
        if world.dead and not world.is_death_known and (world.plan.venues or not world.is_halted):
            world.notice_death()
        for port in world.ports:
            port.end_faults()
        world.unsettled = "books"
        deadline = world.now + SETTLE_NS
        if not world.is_halted:
            world.run_until(world.books_are_valid, deadline)
            self._trade(deadline)
        world.unsettled = "orders"
        # A time of its own: the halt may have come at the end of the time before.
        world.run_until(self._is_quiet, world.now + SETTLE_NS)
        if self._is_quiet():
            world.unsettled = ""
        for checker in world.checkers:
            checker.end()

    # Trading.

    def _trade(self, deadline: int) -> None:
        """Show that trading is possible again, then withdraw: those that quote first, for no other order keeps them from it then."""
        world = self.world
        self._withdraw()
        if self._hostile:
            world.run_until(self._has_withdrawn if self._makers else self._is_quiet, deadline)
        if self._makers:
            self._watch_makers(deadline)
            deadline = world.now + SETTLE_NS
        for index in self._hostile:
            for port in self._open_ports():
                self._probe(index, port, deadline)
                deadline = world.now + SETTLE_NS

    def _withdraw(self) -> None:
        for index in self._hostile:
            self.world.set_params(index, mode=WITHDRAW)

    def _has_withdrawn(self) -> bool:
        """Whether nothing is open of those that do what they are told."""
        ports = [port for port in self.world.ports if self.world.can_cancel(port)]
        return not any(order.strategy in self._hostile for port in ports for order in port.truth.open_orders())

    def _open_ports(self) -> list[Port]:
        return [port for port in self.world.ports if self.world.is_served(port)]

    def _watch_makers(self, deadline: int) -> None:
        world, strategies = self.world, self.world.plan.strategies
        for port in self._open_ports():
            pairs = [(one, at) for one in self._makers for at in self._traded(one, port) if self._is_worth_it(one, at)]
            if pairs:
                who, what = (tuple(sorted(set(part))) for part in zip(*pairs, strict=True))
                self._prove(Target(who, port, what), deadline)
                deadline = world.now + SETTLE_NS
        if len(strategies) == len(self._makers):
            world.halt(STOPPING)
            return
        for index in self._makers:
            world.halt_scope("strategy", index, STOPPING)
        world.run_until(self._is_quiet, world.now + SETTLE_NS)

    def _traded(self, strategy: int, port: Port) -> list[int]:
        """Instruments of a venue that a strategy may trade now."""
        return [
            index for index in self.world.plan.strategies[strategy].own
            if index in port.ids and not self.world.halts.since(strategy, index) and index not in self.world.plan.restricted
        ]  # fmt: skip

    def _is_worth_it(self, strategy: int, index: int) -> bool:
        """Whether the orders of one that quotes are as large as the venue wants them."""
        item, size = self.world.plan.instruments[index], self.world.strategies[strategy].initial["order_size"]
        return int(size[0]) * item.reference_price // 10**8 >= item.min_notional

    def _probe(self, strategy: int, port: Port, deadline: int) -> None:
        """An order of the smallest size, where limits leave room for one."""
        world = self.world
        if len(world.plan.strategies) == len(world.ports) == 1:
            found: tuple[int, int] | None = (0, 0)
        else:
            found = next(self._places(strategy, port), None)
        if found is None:
            return
        world.unsettled = "trading"
        target, side = found
        world.set_params(strategy, mode=PROBE, target=target, side=side)
        self._prove(Target((strategy,), port, (target,)), deadline)
        self._withdraw()
        if len(world.plan.strategies) * len(world.ports) > 1:
            world.run_until(self._is_quiet, world.now + SETTLE_NS)

    def _places(self, strategy: int, port: Port) -> Iterator[tuple[int, int]]:
        """Instruments and sides (1: buy, 2: sell) of a venue in which a strategy has room for a probe."""
        for index in self._traded(strategy, port):
            preferred = SELL if self.world.truth.owned[strategy][index].qty > 0 else BUY
            for side in (preferred, 1 - preferred):
                if self._has_room(strategy, index, side):
                    yield index, side + 1

    def _has_room(self, strategy: int, index: int, side: int) -> bool:
        """Whether limits of position let an order of the smallest size pass."""
        world = self.world
        item, own = world.plan.instruments[index], world.plan.strategies[strategy].max_position
        size = (_WORTH * 10**8 // item.reference_price // item.lot_size + _MORE_LOTS) * item.lot_size
        bounds = [(world.truth.balances[index], world.plan.max_positions[index])]
        if own is not None:
            bounds.append((world.truth.owned[strategy][index], own))
        if self._gross() + 4 * _WORTH > world.plan.config.controls.max_gross_notional:
            return False
        for balance, limit in bounds:
            held = balance.qty if side == BUY else -balance.qty
            if held + balance.working[side] + size > limit:
                return False
        return True

    def _gross(self) -> int:
        """What all positions with all open orders come to, about, 1e-8."""
        items = self.world.plan.instruments
        return sum(
            abs(balance.worst) * item.reference_price // 10**8
            for balance, item in zip(self.world.truth.balances, items, strict=True)
        )

    def _prove(self, target: Target, deadline: int) -> None:
        """Wait until one of them has had an order accepted since the faults ended, or has one open."""
        world, truth = self.world, target.port.truth
        accepted = self._accepted[target.port.index]

        def is_proven() -> bool:
            if any(truth.accepted_by[one] > accepted[one] for one in target.strategies):
                return True
            return any(order.strategy in target.strategies for order in truth.open_orders())

        world.unsettled = "trading"
        world.run_until(is_proven, deadline)
        if not is_proven() and target.strategies[0] in self._makers and len(world.plan.strategies) > 1:
            # What was refused again and again, as by limits that are tight for several, waits for longer each time.
            world.run_until(is_proven, world.now + int(LONGEST_PAUSE_NS), _PATIENT_STEP_NS)
        if not is_proven() and not self._is_crowded(target):
            world.unproven.append(target)

    def _is_crowded(self, target: Target) -> bool:
        """Whether others leave no room to quote both sides in any of the instruments."""
        if len(self.world.plan.strategies) == 1 or target.strategies[0] not in self._makers:
            return False
        return not any(
            all(self._has_room(strategy, index, side) for side in (BUY, SELL))
            for strategy in target.strategies
            for index in target.instruments
        )

    # Rest.

    def _is_quiet(self) -> bool:
        """No order open anywhere, nothing under way between the stages and the venues; what nobody can reach is left out."""
        world = self.world
        reached = [port for port in world.ports if world.can_cancel(port)]
        if any(port.truth.open_orders() for port in reached):
            return False
        heard = [port for port in reached if world.reports_arrive(port)]
        if not heard:
            return True
        if not all(self._is_at_rest(port) for port in heard):
            return False
        if not world.is_halted and not world.books_are_valid():
            return False
        return not self._has_open(heard) and not any(
            ring.unread for ring in world.rings.values() if ring.kind not in _MARKETS and self._is_read(ring.reader)
        )

    def _is_at_rest(self, port: Port) -> bool:
        """Whether a venue has nothing more to say.

        A paper venue whose feed is dead stands still once none of our orders is open: what it never gets to, such as one more cancel,
        is about orders that have ended.
        """
        if self.world.plan.venues and self.world.plan.is_paper and self.world.dead == port.market:
            return port.venue.has_delivered()
        return port.venue.is_quiet()

    def _is_read(self, stage: str) -> bool:
        return stage != self.world.dead

    def _has_open(self, heard: list[Port]) -> bool:
        """Whether any table has an open order of these venues."""
        world = self.world
        for kind in ("strategy", "risk", "gateway"):
            for name, table in world.tables(kind).items():
                if not int(table[:TABLE_HEADER_BYTES].view(TABLE)["n_open"][0]):
                    continue
                if len(heard) == len(world.ports) or (kind != "gateway" and _is_any_of(table, heard)):
                    return True
                if kind == "gateway" and any(port.at("gateway.table") == name for port in heard):
                    return True
        return False


def _is_any_of(table: np.ndarray, ports: list[Port]) -> bool:
    """Whether one of the open orders of a table is one of these venues'."""
    capacity = int(table[:TABLE_HEADER_BYTES].view(TABLE)["capacity"][0])
    orders = table[TABLE_HEADER_BYTES:][: capacity * ORDER.itemsize].view(ORDER)
    is_open = (orders["id"] != 0) & (orders["state"] > 0) & (orders["state"] <= UNKNOWN)
    open_at = set(orders["instrument"][is_open].tolist())
    return any(index in open_at for port in ports for index in port.ids)
