"""Instruments chosen by what venues list: patterns of symbols, exclusions and volume, made into instruments.

The tables of ``[[universe]]`` are gone through in order; a symbol belongs to the first that takes it, which says how much of its
book is followed. Instruments that are written out come before those that are chosen, and are not chosen again.
"""

from collections.abc import Callable, Iterable, Iterator
from dataclasses import fields, replace
from decimal import Decimal
from functools import cache
from itertools import repeat
from typing import Any

import numpy as np

from hftpipe.config import Config, ConfigError, Instrument, Universe, VenueEntry
from hftpipe.core.schema.instruments import CONTRACTS, MAX_INSTRUMENTS, is_reckoned
from hftpipe.topology.configured import at_venue, find_venue, pattern_of, venues_of

_COLUMNS = {
    "symbol": "symbol", "base": "base", "quote": "quote", "tick_size": "tick", "lot_size": "lot", "multiplier": "multiplier",
    "min_notional": "min_notional", "reference_price": "reference_price", "volume_24h": "volume_24h",
}  # fmt: skip
_WHY_LEFT_OUT = "inverse contracts and multipliers other than 1 are not reckoned here"


def _say_nothing(line: str) -> None:
    return None


def choose(listed: np.ndarray, rule: Universe, venue: str, taken: np.ndarray) -> np.ndarray:
    """Indices (int64) of the LISTED rows of a venue that a rule takes, the most traded first; those of ``taken`` are left out."""
    wanted, unwanted = pattern_of(rule.symbols, venue), pattern_of(rule.exclude, venue)
    if wanted is None:
        return np.empty(0, np.int64)
    is_left = ~taken & (listed["volume_24h"] >= rule.min_volume_24h)
    left, symbols = np.flatnonzero(is_left), listed["symbol"][is_left].astype(str).tolist()
    is_wanted = np.fromiter((wanted.match(one) is not None for one in symbols), bool, len(symbols))
    if unwanted:
        is_wanted &= np.fromiter((unwanted.match(one) is None for one in symbols), bool, len(symbols))
    by_volume = left[is_wanted]
    by_volume = by_volume[np.argsort(-listed["volume_24h"][by_volume], kind="stable")]
    made: np.ndarray = by_volume[: rule.most] if rule.most else by_volume
    return made


@cache
def _bps(fee: int) -> Decimal:
    return (Decimal(fee) / 10_000).normalize()


def _instruments(rows: np.ndarray, depth: str, venue: str) -> Iterator[Instrument]:
    """LISTED rows as instruments."""
    columns: dict[str, Iterable[Any]] = {"venue": repeat(venue), "depth": repeat(depth)}
    columns["position_tolerance"] = repeat(Instrument().position_tolerance)
    for field, column in _COLUMNS.items():
        values = rows[column].tolist()
        columns[field] = [text.decode() for text in values] if rows.dtype[column].kind == "S" else values
    columns["maker_fee_bps"], columns["taker_fee_bps"] = (
        map(_bps, rows[name].tolist()) for name in ("maker_fee", "taker_fee")
    )
    columns["pack"] = (10**power for power in rows["power"].tolist())
    columns["contract"] = map(CONTRACTS.__getitem__, rows["contract"].tolist())
    # In the order of the fields: by position it is quicker than by name.
    return map(Instrument, *(columns[one.name] for one in fields(Instrument)))


def _leave_out(listed: np.ndarray, rules: list[Universe], venue: str, taken: np.ndarray) -> int:
    """Mark what the rules would take and cannot be traded here (:func:`is_reckoned`) as taken; how many those are."""
    left_out = ~is_reckoned(listed) & ~taken
    wanted = {at for rule in rules for at in choose(listed, replace(rule, most=0), venue, ~left_out).tolist()}
    taken |= left_out
    return len(wanted)


def _of_venue(
    config: Config, entry: VenueEntry, given: list[Instrument], notice: Callable[[str], None]
) -> Iterator[Instrument]:
    """The instruments of one venue: those given, then those that the rules choose."""
    yield from given
    rules = [one for one in config.universe if pattern_of(one.symbols, entry.name)]
    if not rules:
        return
    venue = find_venue(entry)
    if venue.catalogue is None:
        raise ConfigError(
            f"universe: venue {entry.name} ({entry.kind}) does not say what it lists: name its [[instruments]]"
        )
    listed = venue.catalogue(at_venue(config, entry))
    taken = np.isin(listed["symbol"], np.array([one.symbol.encode() for one in given], "S24"))
    if count := _leave_out(listed, rules, entry.name, taken):
        notice(f"universe: {count} symbols of venue {entry.name} are left out: {_WHY_LEFT_OUT}")
    # Without [[venues]] an instrument's venue says whose rules it has.
    name = entry.name if config.venues else entry.rules
    for rule in rules:
        chosen = choose(listed, rule, entry.name, taken)
        taken[chosen] = True
        yield from _instruments(listed[chosen], rule.depth, name)


def with_universe(config: Config, notice: Callable[[str], None] = _say_nothing) -> Config:
    """The configuration with its instruments chosen; as it is where there is no ``[[universe]]``.

    Args:
        notice: takes a line about symbols that the rules would take and that cannot be traded here.

    Raises:
        ConfigError: a rule of no venue that there is, one that takes nothing, or more instruments than there can be.
    """
    if not config.universe:
        return config
    venues = venues_of(config)
    names = [one.name for one in venues]
    for rule in config.universe:
        for pattern in (*rule.symbols, *rule.exclude):
            venue = pattern.rpartition(":")[0]
            if venue and venue not in names:
                raise ConfigError(f"universe: {pattern}: no such venue; allowed: {', '.join(names)}")
    found: list[Instrument] = []
    for entry in venues:
        given = [one for one in config.instruments if not config.venues or one.venue == entry.name]
        own = list(_of_venue(config, entry, given, notice))
        if not own:
            raise ConfigError(f"universe: no instrument of venue {entry.name} is chosen")
        found += own
    if len(found) > MAX_INSTRUMENTS:
        raise ConfigError(f"universe: {len(found)} instruments are chosen; allowed: at most {MAX_INSTRUMENTS}")
    return replace(config, instruments=tuple(found))
