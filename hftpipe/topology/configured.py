"""What the configuration says, in the form in which the parts take it."""

import re
from collections.abc import Iterable
from dataclasses import replace
from fnmatch import translate
from operator import attrgetter
from typing import Any

import numpy as np

from hftpipe.config import LIVE_MODE, Config, ConfigError, Limits, StrategyEntry, Table, VenueEntry
from hftpipe.core.schema.instruments import CONTRACTS, DEPTHS, INSTRUMENT, MAX_POWER, VENUES, is_reckoned
from hftpipe.core.schema.records import MAX_FEE_ASSETS
from hftpipe.topology.graph import Graph
from hftpipe.venues.contract import Venue
from hftpipe.venues.registry import BUILT_IN, LIVE, VenueError, find, installed, unknown

#: Fields of an INSTRUMENT row that are keys of the configuration as they are.
_FIELDS = {
    "symbol": "symbol", "tick": "tick_size", "lot": "lot_size", "min_notional": "min_notional",
    "reference_price": "reference_price", "multiplier": "multiplier",
}  # fmt: skip
_CONTRACT, _DEPTH = ({name: index for index, name in enumerate(names)} for names in (CONTRACTS, DEPTHS))
_POWER = {10**power: power for power in range(MAX_POWER + 1)}
#: What ``pipeline.venue`` calls our own venues, and the embedded market or a recording by ``market.source``.
_OWN_NAMES = {"sim": "paper", "udp": "nasdaq"} | {name: name for name in LIVE}
_SIMULATED = {"synthetic": "paper", "replay": "taped"}


def venues_of(config: Config) -> tuple[VenueEntry, ...]:
    """The venues: those of ``[[venues]]``, else the one of ``pipeline.venue``.

    Raises:
        VenueError: there is no such venue.
    """
    if config.venues:
        return config.venues
    name = config.pipeline.venue
    if name not in _OWN_NAMES and (name in BUILT_IN or name not in installed()):
        raise unknown(name)
    kind = _SIMULATED[config.market.source] if name == "sim" else _OWN_NAMES.get(name, name)
    return (
        VenueEntry(
            name, kind, config.pipeline.mode, VenueEntry.rules, None, config.market, config.sim, config.udp, config.live
        ),
    )


def strategies_of(config: Config) -> tuple[StrategyEntry, ...]:
    """The strategies: those of ``[[strategies]]``, else the one of ``[strategy]``, which has no name of its own."""
    if config.strategies:
        return config.strategies
    one = config.strategy
    return (StrategyEntry("", one.name, ("*",), one.on_fault, params=Table.of(one.effective_params())),)


def graph_of(config: Config) -> Graph:
    """The map of this configuration."""
    strategies = tuple(one.name for one in config.strategies) or ("",)
    return Graph(tuple(one.name for one in venues_of(config)), strategies)


def fee_assets_of(config: Config) -> tuple[str, ...]:
    """What fees may be paid in besides the quote currency, at any venue; n of a fill's FEE_ASSET is the n-th.

    Raises:
        ConfigError: there are more than MAX_FEE_ASSETS.
    """
    halves = [(found(entry).orders, at_venue(config, entry)) for entry in venues_of(config)]
    assets = tuple(dict.fromkeys(asset for orders, own in halves if orders for asset in orders.fee_assets(own)))
    if len(assets) > MAX_FEE_ASSETS:
        raise ConfigError(f"venues: fees in {len(assets)} assets; allowed: at most {MAX_FEE_ASSETS} of all venues")
    return assets


def at_venue(config: Config, venue: VenueEntry) -> Config:
    """The configuration as one of its venues sees it: its own instruments, market, latencies and lines."""
    if not config.venues:
        return config
    own = tuple(replace(one, venue=venue.rules) for one in config.instruments if one.venue == venue.name)
    pipeline = replace(config.pipeline, mode=venue.mode)
    return replace(
        config, pipeline=pipeline, market=venue.market, sim=venue.sim, udp=venue.udp, live=venue.live, instruments=own
    )


def with_venue(config: Config, venue: VenueEntry, own: Config) -> Config:
    """The configuration in which a venue has the market, latencies and lines of ``own``."""
    if not config.venues:
        return own
    changed = replace(venue, market=own.market, sim=own.sim, udp=own.udp, live=own.live)
    return replace(config, venues=tuple(changed if one is venue else one for one in config.venues))


def processes_of(config: Config) -> list[list[str]]:
    """The stages of each process.

    Raises:
        ConfigError: they are not the stages of these venues.
    """
    try:
        return graph_of(config).processes(config.pipeline.processes)
    except ValueError as wrong:
        raise ConfigError(
            f"pipeline.processes = {[list(one) for one in config.pipeline.processes]}: {wrong}"
        ) from wrong


def find_venue(venue: VenueEntry) -> Venue:
    """The venue behind an entry, as it says of itself.

    Raises:
        VenueError: there is no such venue.
    """
    try:
        made: Venue = find(venue.kind)
    except VenueError as wrong:
        allowed = ", ".join([*BUILT_IN, *installed()])
        raise VenueError(f"venues: {venue.name}: kind = {venue.kind}: no such venue; allowed: {allowed}") from wrong
    return made


def found(venue: VenueEntry) -> Venue:
    """What does a venue's work.

    Raises:
        VenueError: there is no such venue, or it has no market data.
    """
    made = find_venue(venue)
    if made.feed is None:
        raise VenueError(f"venue {venue.kind!r} has no market data")
    if venue.mode == LIVE_MODE:
        if made.live_orders is None:
            raise VenueError(f"venue {venue.name}: mode = live: {venue.kind} places no live orders; allowed: paper")
        return replace(made, orders=made.live_orders)
    return made if made.orders else replace(made, orders=find("paper").orders)


def instrument_rows(config: Config) -> np.ndarray:
    """The INSTRUMENT array of a configuration; ids are its indices, those of one venue together.

    Raises:
        ConfigError: the money of one is not reckoned here.
    """
    items = config.instruments
    rows = np.zeros(len(items), INSTRUMENT)

    def column(name: str) -> list[Any]:
        return list(map(attrgetter(name), items))

    for field, name in _FIELDS.items():
        rows[field] = column(name)
    venues = column("venue")
    rules = VENUES | {entry.name: VENUES[entry.rules] for entry in config.venues}
    at = {entry.name: index for index, entry in enumerate(config.venues)}
    rows["venue"], rows["at"] = list(map(rules.__getitem__, venues)), [at.get(one, 0) for one in venues]
    for field in ("maker_fee", "taker_fee"):
        # A few different fees; those of thousands of instruments are the same objects.
        fees = column(f"{field}_bps")
        made = {number: int(fee * 10_000) for number, fee in dict(zip(map(id, fees), fees, strict=True)).items()}
        rows[field] = [made[id(fee)] for fee in fees] if len(made) > 1 else next(iter(made.values()), 0)
    bases, quotes = column("base"), column("quote")
    rows["base"], rows["quote"] = bases, quotes
    for index in [at for at, both in enumerate(zip(bases, quotes, strict=True)) if not all(both)]:
        rows["base"][index], rows["quote"][index] = items[index].currencies
    rows["power"] = list(map(_POWER.__getitem__, column("pack")))
    rows["contract"] = list(map(_CONTRACT.__getitem__, column("contract")))
    if not (reckoned := is_reckoned(rows)).all():
        # The configuration and the universe refuse such ones by name: this is for whatever else makes instruments.
        symbol = items[int(np.argmin(reckoned))].symbol
        raise ConfigError(f"instrument {symbol}: inverse contracts and multipliers other than 1 are not reckoned here")
    rows["depth"], rows["levels"] = list(map(_DEPTH.__getitem__, column("depth"))), config.levels()
    return rows


def limits_of(config: Config) -> list[Limits]:
    """The limits in force of each instrument; instruments without any of their own share one object."""
    tables, made = set(config.risk.limits), {}
    found = []
    for one in config.instruments:
        own = one.symbol in tables or f"{one.venue}:{one.symbol}" in tables
        key = (one.symbol, one.venue) if own else None
        if key not in made:
            made[key] = config.risk.for_symbol(one.symbol, one.venue)
        found.append(made[key])
    return found


def pattern_of(patterns: Iterable[str], venue: str) -> re.Pattern[str] | None:
    """What the patterns (``*USDT``, ``venue:BTC*``) that concern a venue say together; None: none of them does."""
    own = [text for at, _, text in (one.rpartition(":") for one in patterns) if at in ("", venue)]
    return re.compile("|".join(translate(one) for one in own)) if own else None


def instruments_like(config: Config, patterns: Iterable[str]) -> np.ndarray | None:
    """Which instruments (bool by id) are like one of the patterns; None: all are, whatever they are called."""
    patterns = tuple(patterns)
    if "*" in patterns:
        return None
    # Without [[venues]] an instrument's venue says whose rules it has.
    names = [one.name for one in venues_of(config)]
    made = {name: pattern_of(patterns, name) for name in names}
    ats = [one.venue if config.venues else names[0] for one in config.instruments]
    found = [made[at] for at in ats]
    return np.array(
        [
            one is not None and one.match(item.symbol) is not None
            for one, item in zip(found, config.instruments, strict=True)
        ]
    )


def labels(config: Config) -> list[str]:
    """What each instrument is called in what people read: its symbol; of several venues ``venue:SYMBOL``."""
    is_one = len(config.venues) <= 1
    return [item.symbol if is_one else f"{item.venue}:{item.symbol}" for item in config.instruments]
