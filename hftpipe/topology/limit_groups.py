"""The groups of instruments that have limits together, as risk takes them."""

from collections.abc import Sequence

import numpy as np

from hftpipe.config import Config, ConfigError, LimitGroup, Limits
from hftpipe.core.machine.fixed import INT64_MAX
from hftpipe.core.schema.names import base_of
from hftpipe.risk.groups import MOST_GROUPS
from hftpipe.topology.configured import instruments_like, labels


def units_of(config: Config) -> np.ndarray:
    """How many of its base currency one of each instrument is (int64): by its name and by its pack."""
    return np.array([base_of(one.symbol)[1] * one.pack for one in config.instruments], np.int64)


def groups_of(config: Config, limits: Sequence[Limits]) -> list[tuple[LimitGroup, np.ndarray]]:
    """Each group and its instruments (bool by id); ``limits``: those in force, by instrument.

    Raises:
        ConfigError: a group of no instrument; a net limit over several base currencies, or over sums that no number holds; an
            instrument in too many groups.
    """
    found: list[tuple[LimitGroup, np.ndarray]] = []
    for group in config.limit_groups:
        own = instruments_like(config, group.instruments)
        own = np.ones(len(config.instruments), bool) if own is None else own
        if not own.any():
            raise ConfigError(
                f"limit_groups: {group.name}.instruments = {list(group.instruments)}: no instrument is like that"
            )
        if group.max_net is not None:
            _check_net(config, group, np.flatnonzero(own).tolist(), limits)
        found.append((group, own))
    _check_counts(config, found)
    return found


def _check_counts(config: Config, groups: list[tuple[LimitGroup, np.ndarray]]) -> None:
    if not groups:
        return
    counts = np.sum([own for _, own in groups], axis=0)
    most = int(counts.argmax())
    if counts[most] > MOST_GROUPS:
        name = labels(config)[most]
        raise ConfigError(f"limit_groups: {name} is in {counts[most]} groups; allowed: at most {MOST_GROUPS}")


def _check_net(config: Config, group: LimitGroup, own: list[int], limits: Sequence[Limits]) -> None:
    bases = sorted({base_of(one.symbol, one.base)[0] for one in (config.instruments[index] for index in own)})
    if len(bases) > 1:
        shown = ", ".join(bases[:8])
        raise ConfigError(
            f"limit_groups: {group.name}.max_net: its instruments are in {shown}; allowed: those of one base currency"
        )
    units = units_of(config)
    # Positions and working orders of all of them, at worst.
    worst = sum(2 * int(units[index]) * (limits[index].max_position or 0) for index in own)
    if worst > INT64_MAX:
        raise ConfigError(
            f"limit_groups: {group.name}.max_net: the position limits of its instruments come to more than a number holds; "
            "allowed: a lower risk.limits max_position"
        )
