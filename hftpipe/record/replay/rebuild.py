"""The recorded pipeline again: its configuration from session.json, and the stages laid out in private memory."""

import dataclasses
from collections.abc import Sequence
from decimal import Decimal
from typing import Any

from hftpipe.config import (
    PAPER_MODE,
    Config,
    Instrument,
    Journal,
    LimitGroup,
    Limits,
    Live,
    Log,
    Market,
    Record,
    Rings,
    Risk,
    Sim,
    Strategy,
    StrategyEntry,
    Table,
    Udp,
    Universe,
    VenueEntry,
    network_of,
)
from hftpipe.config import Pipeline as PipelineConfig
from hftpipe.config.operator_sections import Alerts, KillSwitch, Store
from hftpipe.config.schema import Controls
from hftpipe.core.machine.clock import calibrate_once
from hftpipe.core.shared.private import PrivateSegment
from hftpipe.record.tape.format import RecordError
from hftpipe.strategy.compile.loader import LoadedStrategy
from hftpipe.topology.pipeline import Pipeline


def _section(section: type, facts: dict[str, Any]) -> Any:
    """A section from its JSON form, which has lists where we have tuples; amounts are in units of 1e-8 already."""
    values = dict(facts)
    for one in dataclasses.fields(section):
        if one.name in values and one.type is Decimal:
            values[one.name] = Decimal(values[one.name])
        elif isinstance(values.get(one.name), list):
            values[one.name] = tuple(values[one.name])
    return section(**values)


def _venue(facts: dict[str, Any]) -> VenueEntry:
    sections = {"market": Market, "sim": Sim, "udp": Udp, "live": Live}
    own = {head: _section(section, facts[head]) for head, section in sections.items()}
    return VenueEntry(**{**facts, **own})


def _universe(facts: dict[str, Any]) -> Universe:
    return Universe(**{**facts, "symbols": tuple(facts["symbols"]), "exclude": tuple(facts["exclude"])})


def _strategy(facts: dict[str, Any]) -> StrategyEntry:
    own = {name: tuple(facts[name]) for name in ("instruments", "restricted")} | {"params": Table.of(facts["params"])}
    return StrategyEntry(**{**facts, **own})


def _limit_group(facts: dict[str, Any]) -> LimitGroup:
    return LimitGroup(**{**facts, "instruments": tuple(facts["instruments"])})


def config_from(facts: dict[str, Any]) -> Config:
    """The configuration whose :meth:`Config.as_dict` is ``facts``.

    Raises:
        RecordError: a key is missing or unknown.
    """
    try:
        pipeline = {**facts["pipeline"], "processes": tuple(map(tuple, facts["pipeline"]["processes"]))}
        strategy = {**facts["strategy"], "params": Table.of(facts["strategy"]["params"])}
        strategy["profiles"] = Table.of({name: Table.of(one) for name, one in facts["strategy"]["profiles"].items()})
        limits = {}
        for name, table in facts["risk"]["limits"].items():
            values = {key: Decimal(one) if key.endswith("_bps") else one for key, one in table.items()}
            _section(Limits, values)
            limits[name] = Table.of(values)
        return Config(
            pipeline=_section(PipelineConfig, pipeline),
            rings=_section(Rings, facts["rings"]),
            market=_section(Market, facts["market"]),
            venues=tuple(_venue(one) for one in facts["venues"]),
            instruments=tuple(_section(Instrument, one) for one in facts["instruments"]),
            universe=tuple(_universe(one) for one in facts["universe"]),
            strategy=Strategy(**strategy),
            strategies=tuple(_strategy(one) for one in facts["strategies"]),
            limit_groups=tuple(_limit_group(one) for one in facts["limit_groups"]),
            risk=Risk(Table.of(limits)),
            controls=_section(Controls, facts["controls"]),
            sim=_section(Sim, facts["sim"]),
            udp=_section(Udp, facts["udp"]),
            live=_section(Live, facts["live"]),
            network=network_of(facts["network"]),
            record=_section(Record, facts["record"]),
            journal=_section(Journal, facts["journal"]),
            kill_switch=_section(KillSwitch, facts["kill_switch"]),
            store=_section(Store, facts["store"]),
            alerts=_section(Alerts, facts["alerts"]),
            log=_section(Log, facts["log"]),
        )
    except (KeyError, TypeError, ArithmeticError) as error:
        raise RecordError(f"the recorded configuration is not one of this build: {error!r}") from error


def build(config: Config, strategies: Sequence[LoadedStrategy], epoch: int, start_ts: int) -> Pipeline:
    """The pipeline in private memory, without tapes or sockets, and with no source of its own.

    Its rings are never full: they need not be as large as the recorded ones, for each is emptied after every step.
    """
    market = dataclasses.replace(config.market, source="replay", replay="the tape")
    paper = dataclasses.replace(config.pipeline, venue="sim", mode=PAPER_MODE)
    venues = tuple(dataclasses.replace(one, kind="taped", mode=PAPER_MODE) for one in config.venues)
    config = dataclasses.replace(
        config, pipeline=paper, market=market, venues=venues, rings=Rings(), record=Record(), journal=Journal(orders="none")
    )  # fmt: skip
    return Pipeline(config, strategies, epoch, start_ts, PrivateSegment, calibrate_once)
