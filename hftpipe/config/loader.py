"""Reads the configuration layers, checks every value where it stands, and builds the frozen tree.

Nothing is corrected or skipped in silence: an unknown key, a wrong type or a value out of range is a problem,
and all problems are reported together. Secrets come from the environment only and never enter the tree.
"""

import os
from collections.abc import Collection, Iterable, Iterator, Mapping
from typing import Any

from hftpipe.config.checks import Checked
from hftpipe.config.layers import from_env, from_file, from_overrides
from hftpipe.config.limits import limit_problems, stray_limits
from hftpipe.config.schema import SECTIONS, Config, ConfigError, Risk, Strategy, Table


def load(
    files: Iterable[str | os.PathLike[str]],
    env: Mapping[str, str],
    overrides: Mapping[str, Any] | None = None,
    traded: Collection[str] | None = None,
) -> Config:
    """The configuration of these layers: defaults < `files` in order < `env` < `overrides`.

    `env` is usually os.environ; only HFTPIPE_* is looked at. `overrides` maps dotted keys to values: text is
    read by the key's type, None means "not given". In `env` or `overrides`, `market.replay` implies
    `market.source` = "replay" unless the same layer sets a source. `traded`: symbols that limits may be given for, where
    they are known better than from `instruments`.
    Raises ConfigError with one line for every problem in any layer.
    """
    checked = Checked()
    for name in files:
        for setting in from_file(name, checked.problems):
            checked.add(setting)
    for setting in (*from_env(env), *from_overrides(overrides or {})):
        checked.add(setting)
    config = _build(checked)
    problems = [*checked.problems, *_agreement_problems(config, checked, traded)]
    if problems:
        raise ConfigError(*dict.fromkeys(problems))
    return config


def _build(checked: Checked) -> Config:
    sections: dict[str, Any] = {head: section(**checked.under(head)) for head, section in SECTIONS.items()}
    names = checked.tables_under("strategy", "profiles")
    profiles = {name: Table.of(checked.under("strategy", "profiles", name)) for name in names}
    params = Table.of(checked.under("strategy", "params"))
    sections["strategy"] = Strategy(**checked.under("strategy"), params=params, profiles=Table.of(profiles))
    instruments = checked.values.get(("instruments",), Config().instruments)
    return Config(**sections, instruments=instruments, risk=_risk(checked))


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
    if config.pipeline.venue == "udp" and config.udp.embedded and not market.speed_e8:
        yield checked.given("market", "speed").refused("a multicast feed cannot hold back", "a multiple such as 10")
    if config.pipeline.venue == "udp" and not config.udp.embedded and market.source == "replay":
        reason = "an exchange elsewhere plays its own market"
        yield checked.given("market", "replay").refused(reason, "udp.embedded = true, or no recording")
    symbols = [one.symbol for one in config.instruments]
    if len(set(symbols)) != len(symbols) and ("instruments",) in checked.settings:
        twice = ", ".join(sorted({one for one in symbols if symbols.count(one) > 1}))
        origin = checked.settings[("instruments",)].origin
        yield f"{origin}: instruments: symbol {twice} stands twice; allowed: each symbol once"
    yield from limit_problems(config.risk, checked)
    # What a recording trades is known when it has been looked at.
    if traded is not None or market.source != "replay":
        yield from stray_limits(checked, symbols if traded is None else traded)
