"""Who asks: API keys, signatures, and the time of a request.

========================================================== ======
what is wrong                                              code
========================================================== ======
no key, or one that nobody has, or has no more             10003
too old, or 1 s or more ahead                              10002
a signature that does not fit                              10004
========================================================== ======

REST signs ``timestamp + key + recvWindow + payload``: the raw query of a GET, the raw body of a POST, to the byte. A connection signs
``GET/realtime`` and the time at which that is no longer good.
"""

import re
from collections.abc import Mapping
from typing import Any

from hftpipe.simulation.bybit_server.answers import PARAMETER, Refused
from hftpipe.simulation.bybit_server.trading.refused import KEY, SIGN, TIME
from hftpipe.simulation.bybit_server.trading.settings import AHEAD_MS, WINDOW_MS
from hftpipe.simulation.market_server.trading.accounts import AccountSettings
from hftpipe.simulation.market_server.trading.key_ring import Key, KeyRing

_MS = re.compile(r"\d{1,16}", re.ASCII)
_WINDOW = re.compile(r"\d{1,6}", re.ASCII)
_REALTIME = "GET/realtime"


def check_time(sent: str, window: str, now_ms: int) -> None:
    """Refuse a request that is not of now.

    Args:
        sent: its time, ms; window: how old it may be, ms, empty: the default; now_ms: the venue's time.

    Raises:
        Refused: 10002.
    """
    window = window or str(WINDOW_MS)
    if _MS.fullmatch(sent) and _WINDOW.fullmatch(window) and now_ms - int(window) <= int(sent) < now_ms + AHEAD_MS:
        return
    raise Refused(
        TIME, "invalid request, please check your server timestamp or recv_window param. "
        f"req_timestamp[{sent[:20]}],server_timestamp[{now_ms}],recv_window[{window[:20]}]",
    )  # fmt: skip


class Keys(KeyRing):
    """The API keys of a Bybit venue.

    Raises:
        ValueError: as :class:`KeyRing`, or an Ed25519 key: the venue has none.
    """

    def __init__(self, accounts: tuple[AccountSettings, ...]) -> None:
        super().__init__(accounts)
        for one in accounts:
            key = self.find(one.public_key_id) if one.public_key_id else None
            if key is not None and key.is_ed25519:
                raise ValueError("public key: Ed25519; allowed: RSA")

    def known(self, name: str) -> Key:
        """The key of this name.

        Raises:
            Refused: it opens nothing.
        """
        key = self.find(name)
        if key is None:
            raise Refused(KEY, "API key is invalid.")
        return key

    def of_request(self, headers: Mapping[str, str], payload: str, now_ms: int) -> Key:
        """The key that a REST request was signed with.

        Args:
            headers: of the request; payload: its query or its body, as it was sent; now_ms: the venue's time.

        Raises:
            Refused: it was not, or not now.
        """
        sent, window = headers.get("X-BAPI-TIMESTAMP", ""), headers.get("X-BAPI-RECV-WINDOW", "")
        key = self.known(headers.get("X-BAPI-API-KEY", ""))
        check_time(sent, window, now_ms)
        if not key.fits(f"{sent}{key.name}{window}{payload}", headers.get("X-BAPI-SIGN", "")):
            raise Refused(SIGN, "error sign! please check your signature generation algorithm.")
        return key

    def of_connection(self, args: Any, now_ms: int) -> Key:
        """The key that a connection is authorised with: ``args`` are its name, a time to come (ms) and the signature.

        Raises:
            Refused: it is not.
        """
        if not isinstance(args, list) or len(args) != 3 or not isinstance(args[0], str) or not isinstance(args[2], str):
            raise Refused(PARAMETER, "Param error")
        key, expires = self.known(args[0]), str(args[1])
        if not _MS.fullmatch(expires):
            raise Refused(PARAMETER, "Param error")
        if int(expires) <= now_ms:
            raise Refused(SIGN, "Request expired.")
        if not key.fits(_REALTIME + expires, args[2]):
            raise Refused(SIGN, "Invalid sign.")
        return key
