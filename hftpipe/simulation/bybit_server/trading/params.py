"""Parameters of a request, read. Queries have texts; bodies are JSON, in which amounts and ids are texts, too."""

import re
from collections.abc import Mapping
from typing import Any

from hftpipe.simulation.bybit_server.trading.refused import not_served, wrong

Params = Mapping[str, Any]
_SCALE, _DECIMALS = 10**8, 8
_AMOUNT = re.compile(r"(\d{1,10})(?:\.(\d{1,20}))?", re.ASCII)
_LINK = re.compile(r"[A-Za-z0-9_-]{1,36}")
_NUMBER = re.compile(r"\d{1,15}", re.ASCII)


def text_in(params: Params, name: str, default: str = "") -> str:
    """A text; ``default`` if it is not there.

    Raises:
        Refused: something else.
    """
    given = params.get(name)
    if given is None or given == "":
        return default
    if not isinstance(given, str):
        raise wrong(name, "a string")
    return given


def choice_in(params: Params, name: str, among: tuple[str, ...], default: str = "") -> str:
    """One of several words; ``default`` if it is not there (empty: it must be).

    Raises:
        Refused: another word, or none.
    """
    given = text_in(params, name, default)
    if given not in among:
        raise wrong(name, ", ".join(among))
    return given


def amount_in(params: Params, name: str) -> int | None:
    """An amount, 1e-8; None: it is not there.

    Raises:
        Refused: it is none, or has more decimals than any here.
    """
    text = text_in(params, name)
    if not text:
        return None
    found = _AMOUNT.fullmatch(text)
    part = (found[2] or "").rstrip("0") if found else ""
    if not found or len(part) > _DECIMALS:
        raise wrong(name)
    return int(found[1]) * _SCALE + int(part.ljust(_DECIMALS, "0"))


def flag_in(params: Params, name: str) -> bool:
    """A truth value; false if it is not there.

    Raises:
        Refused: something else.
    """
    given = params.get(name)
    if given is None:
        return False
    if type(given) is not bool:
        raise wrong(name, "true, false")
    return given


def number_in(params: Params, name: str, default: int, most: int = 10**15) -> int:
    """A whole number, as such or as text.

    Raises:
        Refused: it is none, or above ``most``.
    """
    given = params.get(name)
    if given is None or given == "":
        return default
    text = str(given)
    if isinstance(given, bool) or not _NUMBER.fullmatch(text) or int(text) > most:
        raise wrong(name, f"a whole number up to {most}")
    return int(text)


def link_in(params: Params) -> str:
    """The client's id of an order, empty if it is not there.

    Raises:
        Refused: it cannot be one.
    """
    given = text_in(params, "orderLinkId")
    if given and not _LINK.fullmatch(given):
        raise wrong("orderLinkId", "1 to 36 letters, digits, - and _")
    return given


def refuse_all(params: Params, names: tuple[str, ...]) -> None:
    """Refuse parameters that the venue has and this one does not.

    Raises:
        Refused: one is there.
    """
    for name in names:
        if params.get(name) not in (None, "", "0", 0, False):
            raise not_served(name)
