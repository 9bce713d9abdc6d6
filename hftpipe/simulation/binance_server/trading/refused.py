"""What the venue says no with: codes and texts that several parts use."""

from collections.abc import Mapping
from typing import Any

from hftpipe.simulation.binance_server.answers import Refused

UNAUTHORISED, TOO_MANY, CONFLICT, GONE = 401, 429, 409, 410


def missing(name: str) -> Refused:
    """A mandatory parameter is not there."""
    return Refused(-1102, f"Mandatory parameter '{name}' was not sent, was empty/null, or malformed.")


def illegal(name: str, legal: str) -> Refused:
    """A parameter holds what it may not."""
    return Refused(-1100, f"Illegal characters found in parameter '{name}'; legal range is '{legal}'.")


def unwanted(name: str) -> Refused:
    """A parameter that this request does not have."""
    return Refused(-1106, f"Parameter '{name}' sent when not required.")


def refuse_all(params: Mapping[str, str], names: tuple[str, ...]) -> None:
    """Refuse parameters that the venue has and this one does not: to do without them would be to do something else.

    Raises:
        Refused: one is there.
    """
    for name in names:
        if params.get(name):
            raise Refused(-1106, f"Parameter '{name}' is not served by the simulated venue.")


def filter_failure(name: str) -> Refused:
    """Spot: an order that a filter of its symbol does not let through."""
    return Refused(-1013, f"Filter failure: {name}")


def said(refused: Refused) -> dict[str, Any]:
    """The body of the answer."""
    body: dict[str, Any] = {"code": refused.code, "msg": str(refused)}
    return body if refused.data is None else body | {"data": refused.data}
