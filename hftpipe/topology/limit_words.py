"""Which limits may change while a run goes on, where risk has each of them, and what a changed configuration makes of them.

What is not here is fixed for the run: ages, which gateways judge by too, the drawdown window, groups of limits, and what depends on the
instruments, venues and strategies that there are.
"""

import re
from collections.abc import Mapping, Sequence
from dataclasses import replace
from typing import Any

import numpy as np

from hftpipe.config import Config, Table
from hftpipe.risk.changes import AREAS, CHANGE, CHANGES
from hftpipe.risk.desks import DESK, desk_row
from hftpipe.risk.limits import LIMITS, limits_rows
from hftpipe.risk.losses import LOSS
from hftpipe.risk.repeats import REPEATS
from hftpipe.risk.standings import STANDING
from hftpipe.risk.worth import TOTAL
from hftpipe.strategy.wiring import Seat
from hftpipe.topology.configured import limits_of, strategies_of, venues_of
from hftpipe.topology.controls import controls_sizes, fill_controls, quotes_of

#: By area: the rows, and which of their fields are limits that may change.
WORDS: dict[str, tuple[np.dtype, tuple[str, ...]]] = {
    "limits": (
        LIMITS,
        (
            "max_order_qty", "max_market_qty", "max_order_notional", "max_position", "collar_e8", "post_only_collar_e8",
            "orders_per_s", "orders_per_min",
        ),
    ),
    "totals": (TOTAL, ("max_gross",)),
    "losses": (LOSS, ("max_daily_loss", "max_drawdown")),
    "standings": (STANDING, ("is_allowed", "most")),
    "repeats": (REPEATS, ("window_ns",)),
    "desks": (DESK, ("is_limited", "max_position", "orders_per_s", "orders_per_min")),
}  # fmt: skip
assert tuple(WORDS) == AREAS
#: Keys of the configuration that these words come from.
_OF_LIMITS = (
    "max_order_qty", "max_market_order_qty", "max_order_notional", "max_position", "collar_bps", "post_only_collar_bps",
    "orders_per_s", "orders_per_min",
)  # fmt: skip
_OF_CONTROLS = (
    "max_gross_notional", "max_daily_loss", "max_drawdown", "executions_per_min", "duplicate_window_ms", "restricted",
)  # fmt: skip
_OF_STRATEGIES = ("max_position", "orders_per_s", "orders_per_min", "max_gross_notional", "restricted")
_KEYS = re.compile(
    rf"risk\.limits\..+\.({'|'.join(_OF_LIMITS)})|controls\.({'|'.join(_OF_CONTROLS)})"
    rf"|strategies\.\d+\.({'|'.join(_OF_STRATEGIES)})|venues\.\d+\.max_gross_notional"
)


def may_change(key: str) -> bool:
    """Whether a dotted key is a limit that may change while a run goes on."""
    return _KEYS.fullmatch(key) is not None


def _taken(running: Any, found: Any, names: tuple[str, ...]) -> Any:
    return replace(running, **{name: getattr(found, name) for name in names})


def _each(running: Sequence[Any], found: Sequence[Any], names: tuple[str, ...]) -> tuple[Any, ...]:
    """The parts of a run, each with these limits of the part that is called so; what is not found stays as it is."""
    others = {one.name: one for one in found}
    return tuple(_taken(one, others.get(one.name, one), names) for one in running)


def with_limits_of(running: Config, found: Config) -> Config:
    """The configuration of a run, with what may change of its limits as another configuration of the same parts has it."""
    strategies = _each(running.strategies, found.strategies, _OF_STRATEGIES)
    venues = _each(running.venues, found.venues, ("max_gross_notional",))
    controls = _taken(running.controls, found.controls, _OF_CONTROLS)
    return replace(running, risk=_risk_of(running, found), controls=controls, strategies=strategies, venues=venues)


def _risk_of(running: Config, found: Config) -> Any:
    """Limits of instruments as found, but for what is fixed."""
    tables = {}
    for name, table in found.risk.limits.items():
        ours = running.risk.limits.get(name, {})
        fixed = {key: value for key, value in ours.items() if key not in _OF_LIMITS}
        tables[name] = Table.of({**{key: value for key, value in table.items() if key in _OF_LIMITS}, **fixed})
    return replace(running.risk, limits=Table.of(tables))


def limit_rows(config: Config, seats: Sequence[Seat]) -> dict[str, np.ndarray]:
    """By area of AREAS, risk's rows as a configuration makes them; their words of WORDS are meant, and no others.

    Raises:
        ConfigError: a pattern of ``restricted`` names nothing.
    """
    n, entries = len(config.instruments), strategies_of(config)
    limits = np.zeros(n, LIMITS)
    limits_rows(limits, np.zeros(n, np.int64), limits_of(config))
    sizes = controls_sizes(n, len(venues_of(config)), len(seats), len(quotes_of(config)))
    regions = {name.removeprefix("risk."): np.zeros(size, np.uint8) for name, size in sizes.items()}
    fill_controls(config, seats, regions)
    desks = np.zeros(len(seats), DESK)
    for index, entry in enumerate(entries):
        desks[index] = desk_row(entry, 0)
    return {
        "limits": limits, "desks": desks, "repeats": regions["repeats"][: REPEATS.itemsize].view(REPEATS),
        **{name: regions[name].view(WORDS[name][0]) for name in ("totals", "losses", "standings")},
    }  # fmt: skip


def changed_words(now: Mapping[str, np.ndarray], wanted: Mapping[str, np.ndarray]) -> np.ndarray:
    """The CHANGEs that make of the rows that risk has those that are wanted."""
    found = []
    for number, area in enumerate(AREAS):
        dtype, names = WORDS[area]
        for name in names:
            rows = np.flatnonzero(now[area][name] != wanted[area][name])
            some = np.zeros(len(rows), CHANGE)
            some["area"], some["value"] = number, wanted[area][name][rows]
            some["offset"] = rows * dtype.itemsize + dtype.fields[name][1]  # type: ignore[index]
            found.append(some)
    return np.concatenate(found)


def changes_bytes(n: int, n_venues: int, n_strategies: int, n_quotes: int) -> int:
    """Size of an area that takes every word at once."""
    rows = {
        "limits": n, "totals": (1 + n_venues + n_strategies) * n_quotes, "losses": n_quotes,
        "standings": n_strategies * n, "repeats": 1, "desks": n_strategies,
    }  # fmt: skip
    count = sum(rows[area] * len(names) for area, (_, names) in WORDS.items())
    return CHANGES.itemsize + count * CHANGE.itemsize
