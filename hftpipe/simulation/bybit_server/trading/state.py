"""What the ways into the venue's trading have in common."""

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any

from hftpipe.simulation.bybit_server.answers import Refused
from hftpipe.simulation.bybit_server.faults import RequestFaults
from hftpipe.simulation.bybit_server.trading.account import UnifiedAccount
from hftpipe.simulation.bybit_server.trading.calls import Call
from hftpipe.simulation.bybit_server.trading.keys import Keys
from hftpipe.simulation.bybit_server.trading.limits import Limits, Verdict
from hftpipe.simulation.bybit_server.trading.params import Params
from hftpipe.simulation.bybit_server.trading.refused import TOO_MANY
from hftpipe.simulation.market_server.trading.faults import REQUEST_CUT, UNAVAILABLE, UNKNOWN, Fate, OrderFaults

#: What is said of a request that may or may not have been carried out, and of one that has not been.
_FATES = {UNKNOWN: (10000, "Server Timeout"), UNAVAILABLE: (10429, "System level frequency protection")}


@dataclass(frozen=True)
class Made:
    """An answer.

    Attributes:
        code, text, result, ext: as the envelope has them; verdict: what is left of the limit; fate: what befalls the answer.
    """

    code: int
    text: str
    result: Any
    ext: dict[str, Any]
    verdict: Verdict
    fate: Fate


@dataclass(frozen=True)
class TradingState:
    """Of the venue.

    Attributes:
        now_ms: the venue's time; keys: of all accounts; accounts: by index; limits: theirs.
        faults: what befalls requests about orders, by category; request_faults: what befalls REST requests.
        refresh: brings everything to now.
    """

    now_ms: Callable[[], int]
    keys: Keys
    accounts: list[UnifiedAccount]
    limits: Limits
    faults: Mapping[str, OrderFaults]
    request_faults: Mapping[str, RequestFaults]
    refresh: Callable[[], None]

    def carry_out(self, call: Call, account: UnifiedAccount, params: Params, is_socket: bool) -> Made:
        """Carry a request out, unless a test has asked for something else, and make its answer."""
        category = str(params.get("category", ""))
        verdict = self.limits.charge(account.index, category, call.limit, call.count(params), self.now_ms())
        fate = Fate()
        if verdict.is_too_many:
            return Made(TOO_MANY, "Too many visits. Exceeded the API Rate Limit.", {}, {}, verdict, fate)
        if call.is_entry and category in self.faults:
            fate = self.faults[category].next_fate(is_socket)
        if fate.answer == UNAVAILABLE:
            return Made(*_FATES[UNAVAILABLE], {}, {}, verdict, Fate())
        if fate.cut == REQUEST_CUT:
            return Made(0, "", {}, {}, verdict, fate)
        try:
            code, text, (result, ext) = 0, "OK", call.carry_out(account, params)
        except Refused as refused:
            code, text, result, ext = refused.code, str(refused), {}, {}
        if fate.answer == UNKNOWN:
            code, text, result, ext = *_FATES[UNKNOWN], {}, {}
        return Made(code, text, result, ext, verdict, fate)
