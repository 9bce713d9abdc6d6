"""What became of a request, and how the answers of a venue are read.

======================= ================================ =============================================
answer                  a request that changes nothing   one that may change something
======================= ================================ =============================================
2xx with JSON           OK                               OK
429, 418 (or such)      LIMITED                          LIMITED: the venue took none of it
408, 409, 5xx           FAILED                           UNKNOWN: it may have been done, or half of it
4xx                     REFUSED                          REFUSED, but UNKNOWN for the venue's own "I do not know"
2xx without JSON, 3xx   FAILED                           UNKNOWN
no connection           FAILED                           FAILED: nothing was sent
time-out, broken line   FAILED                           UNKNOWN
======================= ================================ =============================================
"""

import enum
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

import orjson

from hftpipe.config import redact


class Outcome(enum.StrEnum):
    """What became of a request."""

    #: Done, and answered.
    OK = "ok"
    #: The venue says no; nothing was done.
    REFUSED = "refused"
    #: The venue, or our own count, says not now; nothing was done.
    LIMITED = "limited"
    #: No answer that can be used; nothing was done, so it can be asked again.
    FAILED = "failed"
    #: It may have been done or not: ask the venue what is, never just again.
    UNKNOWN = "unknown"


@dataclass(frozen=True)
class Answer:
    """The answer to a request.

    Attributes:
        outcome: what became of it.
        status: the HTTP status; 0 where none came.
        body: the JSON value that came, None where none did.
        code, message: what the venue, or the transport, says against it; a message never holds a query or a secret.
        retry_after_s: of LIMITED: for how long nothing may be asked.
        weights: the venue's own counts, by header in lower case.
    """

    outcome: Outcome
    status: int = 0
    body: Any = field(default=None, repr=False)
    code: int = 0
    message: str = ""
    retry_after_s: float = 0.0
    weights: Mapping[str, int] = field(default_factory=dict)


@dataclass(frozen=True)
class Manners:
    """How a venue words what it says about a request.

    Attributes:
        code, message: names of both in the body of a refusal.
        counts: beginnings (lower case) of the headers that count weight or orders.
        used: the header (lower case) that says what was spent this minute.
        unsure: codes by which the venue says that it does not know whether the request was done.
        rests_s: statuses that ask for a rest, and how long a one, s, where no ``Retry-After`` says it.
    """

    code: str = "code"
    message: str = "msg"
    counts: tuple[str, ...] = ()
    used: str = ""
    unsure: frozenset[int] = frozenset()
    rests_s: Mapping[int, float] = field(default_factory=lambda: {429: 60.0, 418: 120.0})


#: Statuses that leave open what was done: backend time-out, and done in part.
_OPEN = (408, 409)
_LONGEST_MESSAGE = 300


def _rest_s(manners: Manners, status: int, headers: Mapping[str, str]) -> float:
    said = headers.get("retry-after", "").strip()
    return float(said) if said.isascii() and said.isdigit() and len(said) <= 9 else manners.rests_s[status]


def _counts(manners: Manners, headers: Mapping[str, str]) -> dict[str, int]:
    named = {name: text.strip() for name, text in headers.items() if name.startswith(manners.counts)}
    return {name: int(text) for name, text in named.items() if text.isascii() and text.isdigit() and len(text) <= 18}


def _said(manners: Manners, body: Any) -> tuple[int, str]:
    """Code and message of a refusal; 0 and nothing where the body has none."""
    if not isinstance(body, dict):
        return 0, ""
    code, message = body.get(manners.code), body.get(manners.message)
    number = code if isinstance(code, int) and not isinstance(code, bool) else 0
    text = message if isinstance(message, str) else ""
    return number, redact(text)[:_LONGEST_MESSAGE]


def read_answer(status: int, headers: Mapping[str, str], content: bytes, may_change: bool, manners: Manners) -> Answer:
    """The answer that came to a request (the table above).

    Args:
        headers: names in lower case.
        may_change: whether the request may change something at the venue.
    """
    try:
        body, is_json = orjson.loads(content), True
    except orjson.JSONDecodeError:
        body, is_json = None, False
    weights = _counts(manners, headers)
    if 200 <= status < 300 and is_json:
        return Answer(Outcome.OK, status, body, weights=weights)
    code, message = _said(manners, body)
    message = message or f"HTTP {status}" + ("" if is_json else ", not JSON")
    if status in manners.rests_s:
        rest_s = _rest_s(manners, status, headers)
        return Answer(Outcome.LIMITED, status, body, code, message, rest_s, weights)
    is_refusal = 400 <= status < 500 and status not in _OPEN and not (may_change and code in manners.unsure)
    if is_refusal:
        return Answer(Outcome.REFUSED, status, body, code, message, weights=weights)
    return Answer(Outcome.UNKNOWN if may_change else Outcome.FAILED, status, body, code, message, weights=weights)
