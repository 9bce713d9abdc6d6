"""The strategies of a configuration: what runs, on which instruments, within which limits of its own."""

from collections.abc import Sequence

import numpy as np

from hftpipe.config import Config, ConfigError, StrategyEntry
from hftpipe.strategy.api.declare import StrategyError
from hftpipe.strategy.compile.loader import LoadedStrategy, load
from hftpipe.strategy.wiring import Seat
from hftpipe.topology.configured import instruments_like, labels, strategies_of
from hftpipe.topology.graph import order_slots

_MOST_NAMED = 20
#: As many as a configuration can allow.
_MOST_PER_S = 1_000_000


def load_strategies(config: Config) -> list[LoadedStrategy]:
    """Compile and load every strategy with its parameters.

    Raises:
        StrategyError: one of them cannot be used; where there are several its name stands before.
    """
    return [_loaded(one) for one in strategies_of(config)]


def _loaded(entry: StrategyEntry) -> LoadedStrategy:
    try:
        return load(entry.strategy, dict(entry.params))
    except StrategyError as wrong:
        if not entry.name:
            raise
        raise StrategyError(f"strategies: {entry.name}: {wrong}") from wrong


def names_of(config: Config, strategies: Sequence[LoadedStrategy]) -> list[str]:
    """What each strategy is called in what people read, and by ``--strategy``."""
    return [one.name or loaded.name for one, loaded in zip(strategies_of(config), strategies, strict=True)]


def seats_of(config: Config, strategies: Sequence[LoadedStrategy]) -> list[Seat]:
    """The strategies as the stage takes them.

    Raises:
        ConfigError: one of them trades none of the instruments.
    """
    orders, found = order_slots("strategy", len(config.instruments)), []
    for entry, loaded in zip(strategies_of(config), strategies, strict=True):
        own = instruments_like(config, entry.instruments)
        if own is not None and not own.any():
            known = labels(config)
            shown = ", ".join(known[:_MOST_NAMED]) + (", ..." if len(known) > _MOST_NAMED else "")
            raise ConfigError(
                f"strategies: {entry.name}.instruments = {list(entry.instruments)}: no instrument is like that; "
                f"the instruments are {shown}"
            )
        found.append(Seat(loaded, own, orders, _rate(entry)))
    return found


def _rate(entry: StrategyEntry) -> tuple[int, int] | None:
    """Orders a second and a minute; where only one is given the other is as large as can be."""
    if entry.orders_per_s is None and entry.orders_per_min is None:
        return None
    return entry.orders_per_s or _MOST_PER_S, entry.orders_per_min or 60 * _MOST_PER_S


def trades_of(seats: Sequence[Seat], n_instruments: int) -> np.ndarray:
    """Which strategy trades which instrument: bool[strategies, instruments]."""
    return np.array([np.ones(n_instruments, bool) if one.own is None else one.own for one in seats])
