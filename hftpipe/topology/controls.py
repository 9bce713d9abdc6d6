"""The controls of the whole run, as risk takes them: sums by quote currency, permissions, what is compared with what."""

from collections.abc import Sequence

import numpy as np

from hftpipe.config import Config, ConfigError
from hftpipe.core.machine.fixed import INT64_MAX
from hftpipe.risk.crossing import TOUCH
from hftpipe.risk.losses import LOSS, loss_rows
from hftpipe.risk.repeats import REPEATS, REPEATS_BYTES
from hftpipe.risk.standings import STANDING
from hftpipe.risk.worth import TOTAL, WORTH
from hftpipe.strategy.wiring import Seat
from hftpipe.topology.configured import instrument_rows, instruments_like, strategies_of, venues_of

_NS_PER_MS = 1_000_000


def quotes_of(config: Config) -> list[str]:
    """The quote currencies, in the order in which the instruments name them; each has sums of its own."""
    return list(dict.fromkeys(bytes(one).decode() for one in instrument_rows(config)["quote"].tolist()))


def controls_sizes(n: int, n_venues: int, n_strategies: int, n_quotes: int) -> dict[str, int]:
    """Bytes of the regions that the controls of the run need."""
    owned = n_strategies if n_strategies > 1 else 0
    return {
        "risk.worths": n * WORTH.itemsize,
        "risk.own_worths": max(owned * n * WORTH.itemsize, 64),
        "risk.totals": (1 + n_venues + n_strategies) * n_quotes * TOTAL.itemsize,
        "risk.losses": n_quotes * LOSS.itemsize,
        "risk.standings": n_strategies * n * STANDING.itemsize,
        "risk.repeats": REPEATS_BYTES,
        "risk.touches": n * TOUCH.itemsize,
    }


def fill_controls(config: Config, seats: Sequence[Seat], regions: dict[str, np.ndarray]) -> None:
    """Write what is configured into the regions of :func:`controls_sizes` (by name, without ``risk.``)."""
    quotes, rows = quotes_of(config), instrument_rows(config)
    numbers = {quote: number for number, quote in enumerate(quotes)}
    regions["worths"].view(WORTH)["quote"] = [numbers[bytes(one).decode()] for one in rows["quote"].tolist()]
    most = [config.controls.max_gross_notional]
    most += [INT64_MAX if one.max_gross_notional is None else one.max_gross_notional for one in venues_of(config)]
    most += [INT64_MAX if one.max_gross_notional is None else one.max_gross_notional for one in strategies_of(config)]
    if len(seats) == 1:
        # It has no sums apart: its limit is the run's.
        most[0] = min(most[0], most[-1])
    regions["totals"].view(TOTAL)["max_gross"] = np.repeat(most, len(quotes))
    regions["losses"].view(LOSS)[:] = loss_rows(config.controls, len(quotes))
    regions["repeats"][: REPEATS.itemsize].view(REPEATS)["window_ns"] = config.controls.duplicate_window_ms * _NS_PER_MS
    regions["touches"].view(TOUCH)["lowest_sell"] = INT64_MAX
    standings = regions["standings"].view(STANDING).reshape(len(seats), len(rows))
    standings["most"] = config.controls.executions_per_min
    standings["is_allowed"] = permitted(config, seats)


def permitted(config: Config, seats: Sequence[Seat]) -> np.ndarray:
    """Which strategy may trade which instrument: its own, less what is restricted for it or for all; bool[strategies, n]."""
    found = np.ones((len(seats), len(config.instruments)), bool)
    for row, seat, entry in zip(found, seats, strategies_of(config), strict=True):
        if seat.own is not None:
            row &= seat.own
        for pattern in (*config.controls.restricted, *entry.restricted):
            row &= ~_restricted(config, pattern)
    return found


def _restricted(config: Config, pattern: str) -> np.ndarray:
    """Which instruments a pattern restricts; bool[n].

    Raises:
        ConfigError: none: who meant to restrict one is not to trade it for a slip of the pen.
    """
    found = instruments_like(config, (pattern,))
    if found is None:
        return np.ones(len(config.instruments), bool)
    if not found.any():
        known = ", ".join(one.symbol for one in config.instruments[:10])
        raise ConfigError(f"restricted = {pattern!r}: there is no such instrument; the run's are {known}")
    return found
