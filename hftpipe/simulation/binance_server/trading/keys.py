"""Who asks: API keys, signatures, and the time of a request.

A request counts if ``timestamp < server time + 1 s`` and ``server time - timestamp <= recvWindow``.

========================================== ==================== =====
what is wrong                              code                 HTTP
========================================== ==================== =====
no key, or one that cannot be one          -2014                401
a key that nobody has, or has no more      -2015                401
timestamp or signature missing             -1102                400
a signature that does not fit              -1022                400
too old, or more than 1 s ahead            -1021                400
========================================== ==================== =====
"""

import re
from collections.abc import Mapping

from hftpipe.simulation.binance_server.answers import Refused
from hftpipe.simulation.binance_server.trading.refused import UNAUTHORISED, illegal, missing
from hftpipe.simulation.market_server.trading.key_ring import Key, KeyRing

_KEY = re.compile(r"[A-Za-z0-9_.-]{1,128}")
_WINDOW = re.compile(r"\d{1,5}(\.\d{1,3})?")
_DEFAULT_WINDOW_US, _MOST_WINDOW_US, _AHEAD_US = 5_000_000, 60_000_000, 1_000_000
#: A time with so many digits is in microseconds.
_US_DIGITS = 16


class Keys(KeyRing):
    """The API keys of a Binance venue."""

    def known(self, name: str) -> Key:
        """The key of this name.

        Raises:
            Refused: it opens nothing.
        """
        if not _KEY.fullmatch(name):
            raise Refused(-2014, "API-key format invalid.", UNAUTHORISED)
        key = self.find(name)
        if key is None:
            raise Refused(-2015, "Invalid API-key, IP, or permissions for action.", UNAUTHORISED)
        return key

    def signed(self, name: str, payload: str, signature: str | None, params: Mapping[str, str], now_us: int) -> Key:
        """The key that a request was signed with.

        Args:
            name: the key's; payload: what was signed; params: of the request; now_us: the venue's time.

        Raises:
            Refused: it was not, or not now.
        """
        key = self.known(name)
        if not params.get("timestamp"):
            raise missing("timestamp")
        if not params.get("signature"):
            raise missing("signature")
        if signature is None or not key.fits(payload, signature):
            raise Refused(-1022, "Signature for this request is not valid.")
        check_time(params, now_us)
        return key


def check_time(params: Mapping[str, str], now_us: int) -> None:
    """Refuse a request that is not of now.

    Raises:
        Refused: its time is missing, not a time, or another one.
    """
    text = params.get("timestamp", "")
    if not text:
        raise missing("timestamp")
    if not re.fullmatch(r"\d{1,18}", text):
        raise illegal("timestamp", "^[0-9]{1,20}$")
    sent_us = int(text) if len(text) >= _US_DIGITS else int(text) * 1000
    window_us = _window_us(params)
    if sent_us >= now_us + _AHEAD_US:
        raise Refused(-1021, "Timestamp for this request was 1000ms ahead of the server's time.")
    if now_us - sent_us > window_us:
        raise Refused(-1021, "Timestamp for this request is outside of the recvWindow.")


def _window_us(params: Mapping[str, str]) -> int:
    text = params.get("recvWindow")
    if text is None:
        return _DEFAULT_WINDOW_US
    if not _WINDOW.fullmatch(text):
        raise illegal("recvWindow", "^[0-9]{1,5}(\\.[0-9]{1,3})?$")
    whole, _, part = text.partition(".")
    window_us = int(whole) * 1000 + int(part.ljust(3, "0"))
    if window_us > _MOST_WINDOW_US:
        raise Refused(-1131, "recvWindow must be less than 60000.")
    return window_us
