"""Parameters of a request, read: amounts, choices, ids. What cannot be read is refused with the venue's codes."""

import re
from collections.abc import Mapping

from hftpipe.simulation.binance_server.answers import Refused, number_in
from hftpipe.simulation.binance_server.trading.refused import illegal, missing

Params = Mapping[str, str]
_DECIMALS, _SCALE = 8, 10**8
_AMOUNT = re.compile(r"(\d{1,12})(?:\.(\d{0,20}))?")
_LEGAL_AMOUNT = "^([0-9]{1,20})(\\.[0-9]{1,20})?$"
_TRUE = {"true": True, "false": False}


def amount_in(params: Params, name: str, decimals: int = _DECIMALS) -> int | None:
    """An amount, 1e-8; None: it is not there.

    Raises:
        Refused: it is no number, or has more decimals than this one may.
    """
    text = params.get(name)
    if text is None or text == "":
        return None
    found = _AMOUNT.fullmatch(text)
    if not found:
        raise illegal(name, _LEGAL_AMOUNT)
    part = (found[2] or "").rstrip("0")
    if len(part) > decimals:
        raise Refused(-1111, f"Parameter '{name}' has too much precision.")
    return int(found[1]) * _SCALE + int(part.ljust(_DECIMALS, "0"))


def needed_amount(params: Params, name: str, decimals: int = _DECIMALS) -> int:
    """An amount that must be there, 1e-8.

    Raises:
        Refused: as :func:`amount_in`, or it is not there.
    """
    found = amount_in(params, name, decimals)
    if found is None:
        raise missing(name)
    return found


def choice_in(params: Params, name: str, among: tuple[str, ...], code: int, text: str, default: str = "") -> str:
    """One of several words; ``default`` if it is not there (empty: it must be).

    Raises:
        Refused: another word (``code`` and ``text``), or none.
    """
    given = params.get(name) or default
    if not given:
        raise missing(name)
    if given not in among:
        raise Refused(code, text)
    return given


def flag_in(params: Params, name: str) -> bool:
    """``true`` or ``false``; false if it is not there.

    Raises:
        Refused: another word.
    """
    text = params.get(name, "false").lower()
    if text not in _TRUE:
        raise illegal(name, "true|false")
    return _TRUE[text]


def client_id_in(params: Params, name: str, pattern: str) -> str:
    """A client's id, empty if it is not there.

    Raises:
        Refused: it has characters that it may not have.
    """
    given = params.get(name, "")
    if given and not re.fullmatch(pattern, given):
        raise illegal(name, pattern)
    return given


def limit_in(params: Params, default: int, most: int) -> int:
    """How many rows are asked for.

    Raises:
        Refused: none, or no number.
    """
    count = number_in(params, "limit", default) or 0
    if not count:
        raise Refused(-1130, "Data sent for parameter 'limit' is not valid.")
    return min(count, most)
