"""Reads the configuration layers, checks every value where it stands, and builds the frozen tree.

Nothing is corrected or skipped in silence: an unknown key, a wrong type or a value out of range is a problem,
and all problems are reported together. Secrets come from the environment only and never enter the tree.
"""

import os
from collections import Counter
from collections.abc import Collection, Iterable, Iterator, Mapping
from typing import Any

from hftpipe.config.checks import Checked
from hftpipe.config.fields import ConfigError, Table
from hftpipe.config.instruments import Instrument
from hftpipe.config.kinds import RULES
from hftpipe.config.layers import CHANGED, from_env, from_file, from_overrides
from hftpipe.config.limits import limit_problems, stray_limits
from hftpipe.config.lines import line_problems
from hftpipe.config.network import ENDPOINTS, nets_of, network_of
from hftpipe.config.schema import SECTIONS, VENUE_SECTIONS, Config, Risk, Strategy, VenueEntry


def load(
    files: Iterable[str | os.PathLike[str]],
    env: Mapping[str, str],
    overrides: Mapping[str, Any] | None = None,
    traded: Collection[str] | None = None,
    changed: Mapping[str, Any] | None = None,
) -> Config:
    """The configuration of these layers: defaults < `files` in order < `env` < `overrides` < `changed`.

    `env` is usually os.environ; only HFTPIPE_* is looked at. `overrides` maps dotted keys to values: text is
    read by the key's type, None means "not given". In `env` or `overrides`, `market.replay` implies
    `market.source` = "replay" unless the same layer sets a source. `traded`: symbols that limits may be given for, where
    they are known better than from `instruments`. `changed`: dotted keys that were set while a pipeline ran.
    Raises ConfigError with one line for every problem in any layer.
    """
    checked = Checked()
    for name in files:
        for setting in from_file(name, checked.problems):
            checked.add(setting)
    for setting in (*from_env(env), *from_overrides(overrides or {}), *from_overrides(changed or {}, CHANGED)):
        checked.add(setting)
    config = _build(checked)
    problems = [*checked.problems, *_agreement_problems(config, checked, traded)]
    if problems:
        raise ConfigError(*dict.fromkeys(problems))
    return config


def given_keys(
    files: Iterable[str | os.PathLike[str]],
    env: Mapping[str, str],
    overrides: Mapping[str, Any],
    changed: Mapping[str, Any],
) -> frozenset[str]:
    """Every dotted key that any of these layers gives; an array of tables is one key."""
    settings = [one for name in files for one in from_file(name, [])]
    settings += [*from_env(env), *from_overrides(overrides), *from_overrides(changed, CHANGED)]
    return frozenset(".".join(one.path) for one in settings)


def _build(checked: Checked) -> Config:
    sections: dict[str, Any] = {head: section(**checked.under(head)) for head, section in SECTIONS.items()}
    names = checked.tables_under("strategy", "profiles")
    profiles = {name: Table.of(checked.under("strategy", "profiles", name)) for name in names}
    params = Table.of(checked.under("strategy", "params"))
    sections["strategy"] = Strategy(**checked.under("strategy"), params=params, profiles=Table.of(profiles))
    venues = tuple(_venue(checked, values) for values in checked.values.get(("venues",), ()))
    universe = checked.values.get(("universe",), ())
    strategies, groups = (checked.values.get((name,), ()) for name in ("strategies", "limit_groups"))
    instruments = _instruments(checked, venues, bool(universe))
    return Config(
        **sections,
        venues=venues,
        instruments=instruments,
        universe=universe,
        strategies=strategies,
        limit_groups=groups,
        risk=_risk(checked),
        network=network_of({at: {net: checked.under("network", at, net) for net in nets_of(at)} for at in ENDPOINTS}),
    )


def _venue(checked: Checked, values: Mapping[str, Any]) -> VenueEntry:
    """A venue: its own settings over those that hold for all."""
    own = {head: SECTIONS[head](**{**checked.under(head), **values[head]}) for head in VENUE_SECTIONS}
    return VenueEntry(**{**values, **own})


def _instruments(checked: Checked, venues: tuple[VenueEntry, ...], are_chosen: bool) -> tuple[Instrument, ...]:
    """The instruments, those of one venue together, in the order of the venues; without any the built-in one at each.

    Where instruments are chosen (``[[universe]]``) there need be none here.
    """
    given = checked.values.get(("instruments",))
    if given is None and are_chosen:
        return ()
    if given is None:
        return tuple(Instrument(venue=one.name) for one in venues) or Config().instruments
    names = [one.name for one in venues]
    return tuple(sorted(given, key=lambda item: names.index(item.venue) if item.venue in names else len(names)))


def _risk(checked: Checked) -> Risk:
    tables = {name: checked.under("risk", "limits", name) for name in checked.tables_under("risk", "limits")}
    tables["default"] = {**Risk().limits["default"], **tables.get("default", {})}
    return Risk(Table.of({name: Table.of(limits) for name, limits in tables.items() if limits}))


def _agreement_problems(config: Config, checked: Checked, traded: Collection[str] | None) -> Iterator[str]:
    """Problems between keys that are each fine alone."""
    strategy, market = config.strategy, config.market
    if strategy.profile and strategy.profile not in strategy.profiles:
        allowed = ", ".join(strategy.profiles) or "none is defined under strategy.profiles"
        yield checked.given("strategy", "profile").refused("unknown profile", allowed)
    if market.source == "replay" and not (market.replay and os.access(market.replay, os.R_OK)):
        yield checked.given("market", "replay").refused("no such readable path", "the path of a recording")
    yield from line_problems(config, checked)
    yield from _repeated_names(config, checked)
    yield from _venue_problems(config, checked)
    yield from _strategy_problems(config, checked)
    yield from _fair_value_problems(config, checked)
    yield from _fee_asset_problems(config, checked)
    yield from limit_problems(config.risk, checked)
    yield from _unmet_limits(config, checked)
    # What a recording trades is known when it has been looked at.
    if not config.universe and (traded is not None or market.source != "replay"):
        symbols = {one.symbol for one in config.instruments} | {
            f"{one.venue}:{one.symbol}" for one in config.instruments
        }
        yield from stray_limits(checked, sorted(symbols) if traded is None else traded)


def _venue_problems(config: Config, checked: Checked) -> Iterator[str]:
    """Instruments that stand twice, or are of venues that there are not."""
    names = [one.name for one in config.venues]
    if ("instruments",) not in checked.settings:
        return
    origin = checked.settings[("instruments",)].origin
    places = [(one.venue, one.symbol) if names else ("", one.symbol) for one in config.instruments]
    seen = Counter(places)
    if again := sorted({place for place in places if seen[place] > 1}):
        shown = ", ".join(":".join(filter(None, place)) for place in again)
        yield f"{origin}: instruments: symbol {shown} stands twice; allowed: each symbol once" + " a venue" * bool(
            names
        )
    for at, one in enumerate(config.instruments):
        if one.venue not in names and (names or not _is_rules(one.venue)):
            allowed = ", ".join(names) if names else RULES.allowed
            yield f"{origin}: instruments[{at}].venue = {one.venue}: no such venue; allowed: {allowed}"
    for name in () if config.universe else names:
        if name not in {one.venue for one in config.instruments}:
            yield f"{origin}: instruments: there is none of venue {name}; allowed: at least one of each of [[venues]]"


def _repeated_names(config: Config, checked: Checked) -> Iterator[str]:
    for head in ("venues", "strategies", "limit_groups"):
        seen = Counter(one.name for one in getattr(config, head))
        if again := sorted(name for name, count in seen.items() if count > 1):
            yield f"{checked.settings[(head,)].origin}: {head}: {', '.join(again)} stands twice; allowed: each name once"


def _strategy_problems(config: Config, checked: Checked) -> Iterator[str]:
    """A single strategy that is asked for where there are several."""
    if not config.strategies:
        return
    allowed = f"not given (strategies: {', '.join(one.name for one in config.strategies)})"
    for path, setting in checked.settings.items():
        is_of_one = path[:2] in (("strategy", "name"), ("strategy", "params"), ("strategy", "profile"))
        if is_of_one and checked.is_of_this_run(setting):
            yield setting.refused("there are [[strategies]], which say what runs", allowed)


def _unmet_limits(config: Config, checked: Checked) -> Iterator[str]:
    """Limits that would never be looked at: of a venue that there is not, and groups that limit nothing."""
    names = [one.name for one in config.venues]
    for path, setting in checked.settings.items():
        if names and path[:2] == ("risk", "limits") and ":" in path[2] and path[2].partition(":")[0] not in names:
            yield setting.refused("no such venue", ", ".join(names))
    for at, group in enumerate(config.limit_groups):
        if group.max_net is group.orders_per_s is group.orders_per_min is None:
            origin = checked.settings[("limit_groups",)].origin
            allowed = "at least one of max_net, orders_per_s and orders_per_min"
            yield f"{origin}: limit_groups[{at}]: {group.name} limits nothing; allowed: {allowed}"


def _fair_value_problems(config: Config, checked: Checked) -> Iterator[str]:
    """A lag behind nobody, and markets that would reckon different paths from one seed."""
    markets = {f"venues.{one.name}.market": one.market for one in config.venues} or {"market": config.market}
    origin = checked.given(*(("venues",) if config.venues else ("market", "fair_lag_ms"))).origin
    for place, market in markets.items():
        if market.fair_lag_ms and not market.fair_seed:
            yield f"{origin}: {place}.fair_lag_ms = {market.fair_lag_ms}: behind whom; allowed: 0, or a fair_seed too"
        for name in ("fair_news_bps", "fair_news_per_s", "fair_news_ms"):
            others = {getattr(one, name) for one in markets.values() if one.fair_seed == market.fair_seed != 0}
            if len(others) > 1:
                yield f"{origin}: {place}.{name}: differs among markets of one fair_seed; allowed: the same in each"


def _fee_asset_problems(config: Config, checked: Checked) -> Iterator[str]:
    """Fees in an asset without a price, and a price of nothing."""
    places = {f"venues.{one.name}.sim": one.sim for one in config.venues} or {"sim": config.sim}
    origin = checked.given(*(("venues",) if config.venues else ("sim", "fee_asset"))).origin
    for place, sim in places.items():
        if sim.fee_asset and not sim.fee_asset_price:
            given = f"{origin}: {place}.fee_asset = {sim.fee_asset}"
            yield f"{given}: it has no price; allowed: one with fee_asset_price above 0"
        elif sim.fee_asset_price and not sim.fee_asset:
            yield f"{origin}: {place}.fee_asset_price: the price of nothing; allowed: 0, or a fee_asset too"


def _is_rules(name: str) -> bool:
    try:
        RULES.parse(name)
    except ValueError:
        return False
    return True
