"""What the slow, forgiving decoders of venues have in common: values of a parsed object, exact or refused.

orjson does the parsing and Python integers do the arithmetic, so that the result is exact and independent of the scanners'
tricks. Every function raises :class:`Refused`, whose text is a short reason: one broken message must not stop a feed.
"""

import json
import re
from collections.abc import Callable, Mapping
from typing import Any

import numpy as np
import orjson

from hftpipe.core.machine.fixed import INT64_MAX
from hftpipe.venues.message import MAX_LEVELS, MESSAGE, MESSAGE_BYTES
from hftpipe.venues.scan.values import MAX_TIME_MS, MAX_TIME_US, MICROSECONDS_FROM

_PLAIN_DECIMAL = re.compile(r"([0-9]{1,40})(?:\.([0-9]{1,40}))?", re.ASCII)
#: Longest text looked at: a snapshot of 5,000 levels a side takes about 400 kB.
MAX_BYTES = 8 << 20


class Refused(ValueError):
    """Why a message is not decoded."""


def _check_once(pairs: list[tuple[str, Any]], once: frozenset[str]) -> None:
    keys = [key for key, _ in pairs]
    for key in keys:
        if key in once and keys.count(key) > 1:
            raise Refused(f"key {key!r} appears more than once")


def _parse(text: bytes, once: frozenset[str]) -> dict[str, Any]:
    if len(text) > MAX_BYTES:
        raise Refused(f"longer than {MAX_BYTES} bytes")
    try:
        payload = orjson.loads(text)
        # orjson keeps the last of several equal keys; json shows them all.
        json.loads(text, object_pairs_hook=lambda pairs: _check_once(pairs, once))
    except Refused:
        raise
    except ValueError as error:
        # Both parsers' errors, and an integer with more digits than Python converts.
        raise Refused(f"not valid JSON: {error}") from error
    if not isinstance(payload, dict):
        raise Refused(f"a JSON object is expected, not {type(payload).__name__}")
    return payload


def take(data: Mapping[str, Any], key: str) -> Any:
    """What a key has."""
    if key not in data:
        raise Refused(f"key {key!r} is missing")
    return data[key]


def integer(data: Mapping[str, Any], key: str) -> int:
    """An integer of 0 to 2**63 - 1."""
    value = take(data, key)
    if type(value) is not int or not 0 <= value <= INT64_MAX:
        raise Refused(f"{key!r} is not an integer between 0 and 2**63 - 1: {value!r:.40}")
    return value


def time_ns(data: Mapping[str, Any], key: str) -> int:
    """A time in ns; 0 where there is none."""
    if key not in data:
        return 0
    value = integer(data, key)
    if value < MICROSECONDS_FROM:
        if value <= MAX_TIME_MS:
            return value * 1_000_000
    elif value <= MAX_TIME_US:
        return value * 1_000
    raise Refused(f"{key!r} is not a time in ms or us: {value}")


def fixed(value: Any, name: str, places: int) -> int:
    """Units of 10**-places."""
    match = _PLAIN_DECIMAL.fullmatch(value) if isinstance(value, str) else None
    if match is None:
        raise Refused(f"{name!r} is not a plain non-negative decimal string: {value!r:.40}")
    whole, decimals = match[1], (match[2] or "").rstrip("0")
    if len(decimals) > places:
        raise Refused(f"{name!r} has more than {places} decimals: {value!r}")
    result = int(whole + decimals.ljust(places, "0"))
    if result > INT64_MAX:
        raise Refused(f"{name!r} is too large: {value!r}")
    return result


def side(data: Mapping[str, Any], key: str, places: tuple[int, int]) -> list[tuple[int, int]]:
    """Levels, with as many decimal places of a price and of a quantity."""
    rows = take(data, key)
    if not isinstance(rows, list) or not all(isinstance(row, list) and len(row) == 2 for row in rows):
        raise Refused(f"{key!r} is not a list of [price, quantity] pairs")
    of_price, of_qty = places
    return [(fixed(price, key, of_price), fixed(qty, key, of_qty)) for price, qty in rows]


def header(memory: np.ndarray) -> np.void:
    """The MESSAGE at the start of ``memory``."""
    found: np.void = memory[:MESSAGE_BYTES].view(MESSAGE)[0]
    return found


def put_levels(memory: np.ndarray, bids: list[tuple[int, int]], asks: list[tuple[int, int]]) -> None:
    """Put the levels of both sides behind the MESSAGE, and their numbers into it."""
    total = len(bids) + len(asks)
    if total > MAX_LEVELS:
        raise Refused(f"{total} levels are more than {MAX_LEVELS}")
    target = memory[MESSAGE_BYTES : MESSAGE_BYTES + 16 * total].view(np.int64)
    target[:] = np.array(bids + asks, np.int64).reshape(-1)
    h = header(memory)
    h["n_bids"], h["n_asks"] = len(bids), len(asks)


def decode_with(
    dispatch: Callable[[dict[str, Any]], None], text: bytes, once: frozenset[str], memory: np.ndarray
) -> str | None:
    """Parse one JSON text and have ``dispatch`` make a MESSAGE of the object in ``memory``, zeroed.

    Args:
        once: keys whose repetition would make the meaning depend on the parser.

    Returns:
        None, or in a few words why the text was refused (``memory`` then holds nothing of use).
    """
    memory[:MESSAGE_BYTES] = 0
    try:
        dispatch(_parse(text, once))
    except Refused as reason:
        return str(reason)
    except RecursionError:
        return "not valid JSON: nested too deeply"
    return None
