"""What executions have made of each amount on the account: the run's side of a comparison.

A :class:`Line` is one amount that the venue tells: of contracts the position in each, of spot the balance of each asset. What the run
has added to it is the sum of what its executions did, and the path of that sum is kept for as long as it may be compared.
"""

from collections import deque
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass

import numpy as np

from hftpipe.core.schema.records import BUY, UNKNOWN_FEE_ASSET
from hftpipe.venues.orders.compare import Execution
from hftpipe.venues.orders.numbers import Instruments

#: Decimals of a line: of a position in units of the instrument, of a balance (a price times a quantity, exactly).
POSITION_PLACES, BALANCE_PLACES = 8, 16
_E8 = 10**8


@dataclass(frozen=True)
class Line:
    """An amount on the account.

    Attributes:
        name: what the venue calls it: a symbol, or an asset.
        instruments: of the run, that change it; places: its decimals.
        tolerance: how much it may differ by before trading ends, in its own units; None: however much, that is only said.
        unit: of it that are 1e-8 of a unit of the first instrument.
    """

    name: str
    instruments: tuple[int, ...]
    places: int
    tolerance: int | None
    unit: int = 1


def position_lines(instruments: Instruments, tolerances: Sequence[int]) -> tuple[Line, ...]:
    """Of contracts: one an instrument; tolerances: 1e-8 of each instrument's units."""
    return tuple(Line(symbol, (at,), POSITION_PLACES, tolerances[at]) for at, symbol in enumerate(instruments.symbols))


def balance_lines(instruments: Instruments, tolerances: Sequence[int], fee_assets: Iterable[str]) -> tuple[Line, ...]:
    """Of spot: one an asset that is traded, or that fees are paid in. The one that is bought and sold has the least tolerance of its
    instruments, any other has none."""
    made = []
    for asset in dict.fromkeys((*instruments.bases, *instruments.quotes, *fee_assets)):
        of_base = [at for at, base in enumerate(instruments.bases) if base == asset]
        others = [at for at, quote in enumerate(instruments.quotes) if quote == asset and at not in of_base]
        units = {at: _E8 * 10 ** instruments.powers[at] for at in of_base}
        tolerance = min((tolerances[at] * unit for at, unit in units.items()), default=None)
        unit = units[of_base[0]] if of_base else 1
        made.append(Line(asset, (*of_base, *others), BALANCE_PLACES, tolerance, unit))
    return tuple(made)


@dataclass(frozen=True)
class _Row:
    ts_ns: int
    key: Execution
    effects: Mapping[int, int]


class Booked:
    """Executions of the run, and what they come to.

    Args:
        lines: what they change; instruments: of the run; is_spot: whether assets change hands.
        fee_assets: what fees may be paid in besides the quote currency; the first one has number 1.

    Attributes:
        lines, instruments: as given; unread: lines of which it is not known any more what they come to, for a fee could not be read.
    """

    def __init__(
        self, lines: Sequence[Line], instruments: Instruments, is_spot: bool, fee_assets: Sequence[str]
    ) -> None:
        self.lines, self.unread, self.instruments = lines, set[int](), instruments
        self._is_spot, self._fee_assets = is_spot, fee_assets
        self._at = {line.name: at for at, line in enumerate(lines)}
        self._rows = deque[_Row]()
        self._forgotten = 0
        self._sums, self._slacks = [0] * len(lines), [0] * len(lines)

    @property
    def count(self) -> int:
        """Executions so far."""
        return self._forgotten + len(self._rows)

    def take(self, executed: np.ndarray) -> list[Execution]:
        """Add executions: an EXECUTED array, in the order in which they were told. Which they are."""
        taken = []
        for one in executed:
            effects = self._effects(one)
            for line, amount in effects.items():
                self._sums[line] += amount
            key = Execution(int(one["instrument"]), int(one["trade_id"]), int(one["side"]) == BUY)
            self._rows.append(_Row(int(one["ts"]), key, effects))
            taken.append(key)
        return taken

    def _effects(self, one: np.void) -> dict[int, int]:
        instrument, signed = int(one["instrument"]), int(one["qty"]) if int(one["side"]) == BUY else -int(one["qty"])
        if not self._is_spot:
            return {self._at[self.instruments.symbols[instrument]]: signed}
        own = self.instruments
        base, quote = self._at[own.bases[instrument]], self._at[own.quotes[instrument]]
        effects = {base: signed * _E8 * 10 ** own.powers[instrument], quote: -signed * int(one["price"])}
        # A venue rounds what is paid to its own decimals.
        self._slacks[quote] += _E8
        self._take_fee(one, base, quote, effects)
        return effects

    def _take_fee(self, one: np.void, base: int, quote: int, effects: dict[int, int]) -> None:
        number = int(one["fee_asset"])
        if int(one["fee_is_unread"]):
            self.unread |= {base, quote}
        elif number != UNKNOWN_FEE_ASSET:
            paid = self._at[self._fee_assets[number - 1]] if number else quote
            effects[paid] = effects.get(paid, 0) - int(one["fee"]) * _E8
            # More decimals than 8 are rounded up here.
            self._slacks[paid] += _E8

    def slack(self, line: int) -> int:
        """What rounding may have come to in a line."""
        return self._slacks[line]

    def path(self, line: int, since_ns: int, mark: int) -> list[int]:
        """What the run had added to a line, the newest first: from before the first execution on that came after the first ``mark``, or
        that is of ``since_ns`` (the venue's time) or later."""
        rows, first = self._rows, len(self._rows)
        for at, row in enumerate(rows):
            if row.ts_ns >= since_ns or self._forgotten + at >= mark:
                first = at
                break
        path = [self._sums[line]]
        for at in range(len(rows) - 1, first - 1, -1):
            if amount := rows[at].effects.get(line):
                path.append(path[-1] - amount)
        return path

    def times(self, instruments: Iterable[int]) -> dict[Execution, int]:
        """Executions in some instruments that are still kept, with the venue's times, ns."""
        asked = set(instruments)
        return {row.key: row.ts_ns for row in self._rows if row.key.instrument in asked}

    def forget(self, before_ns: int) -> None:
        """Keep none that came before one of ``before_ns`` or later; the sums stay."""
        while self._rows and self._rows[0].ts_ns < before_ns:
            self._rows.popleft()
            self._forgotten += 1
