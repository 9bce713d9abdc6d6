"""Looks at a venue and the account there: what a person wants to know before trading begins."""

from collections.abc import Callable, Iterator, Sequence
from decimal import Decimal
from typing import Protocol

import numpy as np

from hftpipe.config import Config, Instrument
from hftpipe.core.machine.fixed import format_fixed
from hftpipe.core.machine.system_clock import steady_ns
from hftpipe.core.schema.finding import NOTHING_TO_DO, Finding, Status
from hftpipe.core.schema.instruments import split_symbol
from hftpipe.core.schema.refusal import Refusal
from hftpipe.transport.http.weights import Weights
from hftpipe.transport.websocket.connect import Connection
from hftpipe.venues.orders.client_text import client_text

_LOOKS = 20
#: A clock that is further off than this makes the venue refuse requests before long.
_CLOCK_WARN_MS, _CLOCK_FAIL_MS = 300, 1000
#: The test order stands so far below the best bid, in per cent of it.
_AWAY_PER_CENT = 3
#: A number no run gives out: epochs begin at 2**16 seconds.
_TEST_ID = 0xFFFF_0000_0000_0000

Found = tuple[Status, str, str]


class Examined(Protocol):
    """An account as it is looked at; each call may raise OSError (also ConnectError) or Refusal.

    Attributes:
        weights: what may be asked; prefix: of our client ids; kind: of the key.
    """

    weights: Weights
    prefix: bytes
    kind: str

    def trip(self) -> None:
        """One public request."""

    def clock_ns(self) -> int:
        """The venue's clock less ours."""

    def connect(self) -> list[Connection]:
        """All connections of a session, that for requests first."""

    def ping(self, connection: Connection, times: int) -> list[int]:
        """Round trips of that, ns; none where nothing is answered on it."""

    def listed(self) -> np.ndarray:
        """What the market lists (LISTED)."""

    def best_bid(self, symbol: str) -> Decimal:
        """The best bid."""

    def fees(self, symbol: str) -> tuple[int, int]:
        """What the account pays as maker and as taker, 1e-8 of the notional."""

    def may_trade(self, symbol: str, price: Decimal, qty: Decimal) -> str:
        """Why it may not; empty: it may."""

    def place(self, symbol: str, text: str, price: Decimal, qty: Decimal) -> str:
        """Place an order to buy under a client id: why that was refused; empty: it stands."""

    def take_back(self, symbol: str, text: str) -> str:
        """Cancel it, in the same way."""


def refuse_real(config: Config, with_order: bool) -> None:
    """Refuse an order that would cost money (Refusal)."""
    if with_order and config.live.net == "main" and not config.live.server:
        raise Refusal("--order places a real order: allowed with live.net = test, or a simulated venue (live.server)")


def _graded(is_good: bool, found: str, advice: str, otherwise: Status = "fail") -> Found:
    return ("ok", found, NOTHING_TO_DO) if is_good else (otherwise, found, advice)


def _percentiles(ns: list[int]) -> str:
    p50, p99, most = (float(np.percentile(ns, share)) / 1e6 for share in (50, 99, 100))
    return f"p50 {p50:.2f} ms, p99 {p99:.2f} ms, max {most:.2f} ms of {len(ns)}"


class Check:
    """The findings of one market and account, in order.

    Args:
        account: as it trades; instruments: as configured.
    """

    def __init__(self, account: Examined, instruments: Sequence[Instrument]) -> None:
        self._account, self._instruments = account, instruments

    def findings(self, with_order: bool) -> Iterator[Finding]:
        """One after the other; what cannot be looked at is a finding, too."""
        looks: list[tuple[str, Callable[[], Found]]] = [
            ("REST, round trip", self._rest), ("clock", self._clock), ("sockets", self._sockets), ("key", self._key),
            *((f"rules of {one.symbol}", lambda one=one: self._rules(one)) for one in self._instruments),
            ("fees", self._fees), ("request weight", self._weight),
        ]  # fmt: skip
        if with_order:
            looks.append(("order and its cancel", self._order))
        for name, look in looks:
            try:
                yield Finding(name, *look())
            except (OSError, Refusal) as wrong:
                yield Finding(name, "fail", str(wrong), "look at the address, the key and the network")

    @property
    def _symbol(self) -> str:
        return self._instruments[0].symbol

    def _rest(self) -> Found:
        took = []
        for _ in range(_LOOKS):
            began = steady_ns()
            self._account.trip()
            took.append(steady_ns() - began)
        return "ok", _percentiles(took), NOTHING_TO_DO

    def _clock(self) -> Found:
        off_ms = self._account.clock_ns() / 1e6
        found = f"the venue's is {off_ms:+.1f} ms from ours, give or take half a round trip"
        status: Status = "fail" if abs(off_ms) > _CLOCK_FAIL_MS else "warn" if abs(off_ms) > _CLOCK_WARN_MS else "ok"
        return status, found, NOTHING_TO_DO if status == "ok" else "run chrony or another time service"

    def _sockets(self) -> Found:
        began = steady_ns()
        opened = self._account.connect()
        took = steady_ns() - began
        try:
            trips = self._account.ping(opened[0], _LOOKS)
        finally:
            for one in opened:
                one.close()
        found = f"{len(opened)} connected and logged in within {took / 1e6:.0f} ms"
        return "ok", f"{found}; {_percentiles(trips)}" if trips else found, NOTHING_TO_DO

    def _key(self) -> Found:
        price, qty = self._far_below()
        why = self._account.may_trade(self._symbol, price, qty)
        return _graded(
            not why, f"{self._account.kind} key, {why or 'may trade'}", "see what the key is allowed at the venue"
        )

    def _rules(self, item: Instrument) -> Found:
        rows = self._account.listed()
        found = rows[rows["symbol"] == item.symbol.encode()]
        if not len(found):
            return "fail", "not listed, or left out", "take it out of the configuration"
        row, wrong = found[0], []
        for key, column in (("tick_size", "tick"), ("lot_size", "lot"), ("min_notional", "min_notional")):
            ours, theirs = int(getattr(item, key)), int(row[column])
            # A coarser step of ours is legal; a finer one, or less value, is refused there.
            is_legal = ours >= theirs and (column == "min_notional" or ours % theirs == 0)
            if not is_legal:
                wrong.append(f"{key} is {format_fixed(ours)}, the venue's {format_fixed(theirs)}")
        return _graded(not wrong, "; ".join(wrong) or "as configured", "change it in [[instruments]]")

    def _fees(self) -> Found:
        maker, taker = self._account.fees(self._symbol)
        item = self._instruments[0]
        ours = (item.maker_fee_e8, item.taker_fee_e8)
        # Shares in 1e-8: 2 bps are 20,000.
        found = f"maker {maker / 10_000:g} bps, taker {taker / 10_000:g} bps"
        if ours == (maker, taker):
            return "ok", found, NOTHING_TO_DO
        said = f"{found}; configured {ours[0] / 10_000:g} and {ours[1] / 10_000:g}"
        return "warn", said, "change maker_fee_bps and taker_fee_bps in [[instruments]]"

    def _weight(self) -> Found:
        weights = self._account.weights
        return _graded(
            weights.used < weights.room,
            f"{weights.used} used this minute, {weights.room} of ours to use",
            "wait",
            "warn",
        )

    def _far_below(self) -> tuple[Decimal, Decimal]:
        """A price far below the market, and a quantity just worth enough there."""
        item, bid = self._instruments[0], self._account.best_bid(self._symbol)
        tick, lot, least = (Decimal(value).scaleb(-8) for value in (item.tick_size, item.lot_size, item.min_notional))
        price = bid * (100 - _AWAY_PER_CENT) / 100 // tick * tick
        return price, max(lot, (least / price // lot + 2) * lot)

    def _order(self) -> Found:
        price, qty = self._far_below()
        text = client_text(self._account.prefix, _TEST_ID | steady_ns() & 0xFFFF_FFFF_FFFF)
        began = steady_ns()
        placed = self._account.place(self._symbol, text, price, qty)
        took = steady_ns() - began
        gone = self._account.take_back(self._symbol, text)
        if placed or gone:
            return "fail", placed or gone, f"look for order {text} at the venue"
        base = split_symbol(self._symbol)[0]
        return "ok", f"{qty} {base} at {price}: placed in {took / 1e6:.1f} ms, and cancelled", NOTHING_TO_DO
