"""What a client may ask on a market stream: SUBSCRIBE and the like, and what it is answered.

An answer to SUBSCRIBE says that the text was understood, not that such a stream exists. Answers are never wrapped in
``{"stream": ...}``. Ids are numbers, text of up to 36 letters, digits, ``-`` and ``_`` (official clients send UUIDs), or null.
"""

import json
import re
from typing import Any, Protocol

from hftpipe.simulation.binance_server.settings import STREAMS_MOST

_METHODS = ("SUBSCRIBE", "UNSUBSCRIBE", "LIST_SUBSCRIPTIONS", "SET_PROPERTY", "GET_PROPERTY")
_ID = re.compile(r"[A-Za-z0-9_-]{1,36}")
_INT64 = 2**63

Answer = dict[str, Any]


class Subscriber(Protocol):
    """The connection that asks.

    Attributes:
        combined: whether its messages are wrapped with the name of their stream; names: what it has subscribed to.
    """

    combined: bool
    names: dict[str, None]

    def subscribe(self, names: list[str]) -> None:
        """Hear these from now on."""

    def unsubscribe(self, names: list[str]) -> None:
        """No longer."""


class _Wrong(Exception):
    def __init__(self, code: int, text: str) -> None:
        super().__init__(text)
        self.code = code


def _id_of(asked: dict[str, Any]) -> Any:
    given = asked.get("id")
    is_number = type(given) is int and -_INT64 <= given < _INT64
    if given is None or is_number or (isinstance(given, str) and _ID.fullmatch(given)):
        return given
    raise _Wrong(2, "Invalid request: request ID must be an unsigned integer, a string of up to 36 characters or null")


def _names(asked: dict[str, Any]) -> list[str]:
    given = asked.get("params")
    if not isinstance(given, list):
        raise _Wrong(2, "Invalid request: missing field `params`")
    if not all(isinstance(name, str) for name in given):
        raise _Wrong(2, "Invalid request: stream name must be a string")
    return given


def _property(asked: dict[str, Any], count: int) -> list[Any]:
    given = asked.get("params")
    if not isinstance(given, list) or len(given) < count:
        raise _Wrong(2, "Invalid request: missing field `params`")
    if len(given) > count:
        raise _Wrong(2, "Invalid request: too many parameters")
    if not isinstance(given[0], str):
        raise _Wrong(2, "Invalid request: property name must be a string")
    if given[0] != "combined":
        raise _Wrong(0, "Unknown property")
    return given


def _carry_out(asked: dict[str, Any], who: Subscriber) -> Any:
    method = asked.get("method")
    if method is None:
        raise _Wrong(2, "Invalid request: missing field `method`")
    if method not in _METHODS:
        known = ", ".join(f"`{name}`" for name in _METHODS)
        raise _Wrong(2, f"Invalid request: unknown variant `{method}`, expected one of {known}")
    if method == "SUBSCRIBE":
        names = _names(asked)
        if len({*who.names, *names}) > STREAMS_MOST:
            raise _Wrong(2, f"Invalid request: too many streams, a connection may have {STREAMS_MOST}")
        who.subscribe(names)
    elif method == "UNSUBSCRIBE":
        who.unsubscribe(_names(asked))
    elif method == "LIST_SUBSCRIPTIONS":
        return list(who.names)
    elif method == "GET_PROPERTY":
        _property(asked, 1)
        return who.combined
    else:
        _, value = _property(asked, 2)
        if type(value) is not bool:
            raise _Wrong(1, "Invalid value type: expected Boolean")
        who.combined = value
    return None


def answer(text: str, who: Subscriber) -> Answer:
    """Carry out a command and say what it is answered."""
    try:
        asked = json.loads(text)
    except ValueError as wrong:
        at = (wrong.lineno, wrong.colno) if isinstance(wrong, json.JSONDecodeError) else (1, 1)
        return {"code": 3, "msg": f"Invalid JSON: expected value at line {at[0]} column {at[1]}"}
    if not isinstance(asked, dict):
        return {"code": 2, "msg": "Invalid request: an object is expected"}
    id_ = None
    try:
        id_ = _id_of(asked)
        return {"result": _carry_out(asked, who), "id": id_}
    except _Wrong as wrong:
        return {"code": wrong.code, "msg": str(wrong), "id": id_}
