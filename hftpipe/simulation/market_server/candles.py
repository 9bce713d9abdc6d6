"""Candles of any interval the venue has, made from those of a minute or a second; periods without trades are filled in."""

from collections.abc import Iterator
from datetime import UTC, datetime

from hftpipe.simulation.market_server.history import DAY_MINUTES, MINUTE_MS, SECOND_MS, Candle, History

_DAY_MS = DAY_MINUTES * MINUTE_MS
_WEEK_MS = 7 * _DAY_MS
#: Weeks begin on Mondays; the epoch was a Thursday.
_FIRST_MONDAY_MS = 4 * _DAY_MS
_MONTH = 0
#: Length in ms; a month's is its own.
INTERVALS = {
    "1s": SECOND_MS, "1m": MINUTE_MS, "3m": 3 * MINUTE_MS, "5m": 5 * MINUTE_MS, "15m": 15 * MINUTE_MS,
    "30m": 30 * MINUTE_MS, "1h": 60 * MINUTE_MS, "2h": 120 * MINUTE_MS, "4h": 240 * MINUTE_MS, "6h": 360 * MINUTE_MS,
    "8h": 480 * MINUTE_MS, "12h": 720 * MINUTE_MS, "1d": _DAY_MS, "3d": 3 * _DAY_MS, "1w": _WEEK_MS, "1M": _MONTH,
}  # fmt: skip
#: How far back candles go.
_SECONDS_BACK, _MINUTES_BACK = 3600, 3 * DAY_MINUTES


def start_of(ms: int, interval: str) -> int:
    """When the period that ``ms`` is in began."""
    length = INTERVALS[interval]
    if length == _MONTH:
        at = datetime.fromtimestamp(ms // 1000, UTC)
        return int(datetime(at.year, at.month, 1, tzinfo=UTC).timestamp()) * 1000
    shift = _FIRST_MONDAY_MS if length == _WEEK_MS else 0
    return (ms - shift) // length * length + shift


def end_of(start_ms: int, interval: str) -> int:
    """When the period that began at ``start_ms`` is over, and the next one begins."""
    # No month is longer than 31 days, and none shorter than 28.
    return start_of(start_ms + 32 * _DAY_MS, interval) if interval == "1M" else start_ms + INTERVALS[interval]


def _quiet(last: Candle, until_ms: int, interval: str) -> Iterator[Candle]:
    """Candles behind ``last`` up to the period that begins at ``until_ms``, which is left out."""
    at = end_of(last.open_ms, interval)
    while at < until_ms:
        yield last.quiet_at(at)
        at = end_of(at, interval)


def candles_of(history: History, interval: str, now_ms: int) -> list[Candle]:
    """The candles from the first trade still known to now, oldest first.

    Args:
        interval: a key of INTERVALS; now_ms: ms of the wall clock.
    """
    in_seconds = interval == "1s"
    source, unit, back = (
        (history.seconds, SECOND_MS, _SECONDS_BACK) if in_seconds else (history.minutes, MINUTE_MS, _MINUTES_BACK)
    )
    made: list[Candle] = []
    for one in source:
        if one.open_ms < now_ms - back * unit:
            continue
        start = start_of(one.open_ms, interval)
        if made and made[-1].open_ms == start:
            made[-1].join(one)
            continue
        if made:
            made += _quiet(made[-1], start, interval)
        made.append(one.moved_to(start))
    if made:
        made += _quiet(made[-1], now_ms + 1, interval)
    return made
