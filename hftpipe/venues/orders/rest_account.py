"""An account that is asked over REST: what is the same at every venue. A venue's own account adds how it is asked, and how it answers."""

from abc import ABC, abstractmethod
from collections.abc import Iterable, Mapping
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress
from typing import Any

import numpy as np

from hftpipe.core.schema import reasons
from hftpipe.transport.http.answer import Answer, Outcome
from hftpipe.transport.http.rest import PATIENCE_S, RestClient
from hftpipe.transport.http.weights import Weights
from hftpipe.transport.signing.keys import Key
from hftpipe.venues.orders.account_look import ListedOrder, give_way
from hftpipe.venues.orders.client_text import client_id_of, epoch_of
from hftpipe.venues.orders.errors import ASK, PAUSE, UNLISTED, Row
from hftpipe.venues.orders.facts import CANCEL_ASKED, REFUSED
from hftpipe.venues.orders.fees import put_fee
from hftpipe.venues.orders.keeper import NotNow, Question
from hftpipe.venues.orders.numbers import Instruments
from hftpipe.venues.orders.rest_error import RestError
from hftpipe.venues.orders.rest_facts import LATER_S, fact_about
from hftpipe.venues.orders.venue_clock import VenueClock

#: Cancels under way at once; how often one is sent that the venue counts as too many, and the rest before that, s.
_AT_ONCE, _TRIES, _REST_S = 4, 5, 1.0


class RestAccount(ABC):
    """Half of a plan of an account (:class:`hftpipe.venues.orders.wiring.Plan`).

    Args:
        key: of the account; rest: a client of the venue's REST interface.
        instruments: what is traded; prefix: of our client ids; assets: numbers of what fees are paid in.
        errors: what the venue's codes mean; wrong_times: those by which it refuses a request for its time.
        cancels_per_s: how many the venue takes within a second, 0: it counts none.

    Attributes:
        rest, prefix: as given; kind: of the key; gives_way: whether comparisons leave the venue to others that ask it.
    """

    def __init__(
        self,
        key: Key,
        rest: RestClient,
        instruments: Instruments,
        prefix: bytes,
        assets: Mapping[str, int],
        errors: Iterable[Row],
        wrong_times: tuple[int, ...],
        cancels_per_s: int = 0,
    ) -> None:
        self.rest, self.prefix, self.kind, self.gives_way = rest, prefix, key.kind, False
        self._key, self._instruments, self._assets = key, instruments, assets
        self._errors = {row.code: (row.action, row.reason) for row in errors}
        self._wrong_times, self._clock = wrong_times, VenueClock(self._time_ns)
        self._cancels = Weights(cancels_per_s, period_s=1.0) if cancels_per_s else None

    # What a venue adds.

    @abstractmethod
    def _time_ns(self) -> int:
        """The venue's time, as it tells it. Raises RestError."""

    @abstractmethod
    def _open_orders(self, last_epoch: int) -> Iterable[Mapping[str, Any]]:
        """What is open on the account; at least what is ours up to an epoch of client ids. Raises RestError."""

    @abstractmethod
    def _text_of(self, order: Mapping[str, Any]) -> str:
        """The client id of an order, as the venue has it."""

    @abstractmethod
    def _cancel_one(self, order: Mapping[str, Any]) -> Answer:
        """Cancel an open order."""

    @abstractmethod
    def _state(self, question: Question, order: Any) -> np.ndarray:
        """The state of an order as a FACT array of length 1. Raises KeyError, TypeError, ValueError: it cannot be read."""

    @abstractmethod
    def _executions(self, question: Question, order: Any) -> list[np.ndarray]:
        """Its executions, the oldest first, in the same way; also raises RestError and NotNow."""

    # Answers.

    def wanted(self, what: str, answer: Answer) -> Any:
        """What an answer gives. Raises RestError where that is nothing."""
        if answer.outcome is Outcome.OK:
            return answer.body
        code = f" (code {answer.code})" if answer.code else ""
        raise RestError(f"{self.rest.address}: {what}: {answer.outcome}: {answer.message}{code}")

    def clock_offset_ns(self) -> int:
        """Measure the venue's clock: less ours, a little behind it. Raises RestError."""
        return self._clock.measure()

    def _heeded(self, answer: Answer) -> Answer:
        """A request that is refused for its time says that the clock is to be measured; the answer is what it is, also without one."""
        if answer.code in self._wrong_times:
            with suppress(RestError):
                self.clock_offset_ns()
        return answer

    # What became of an order.

    def _told(self, question: Question, order: Any) -> list[np.ndarray]:
        """All that an order of the venue's tells: its executions, then its state. Raises NotNow."""
        try:
            self._check_symbol(question, order)
            state = self._state(question, order)
            executions = self._executions(question, order) if int(state["cum"][0]) else []
        except (KeyError, TypeError, ValueError) as wrong:
            raise NotNow(LATER_S, f"an answer that cannot be read: {type(wrong).__name__}: {wrong}") from wrong
        except RestError as wrong:
            raise NotNow(LATER_S, str(wrong)) from wrong
        for one in executions:
            one["revision"], one["cum"] = state["revision"], state["cum"]
        return [*executions, state]

    def _check_symbol(self, question: Question, row: Mapping[str, Any]) -> None:
        expected = self._instruments.symbols[question.instrument]
        if row["symbol"] != expected:
            raise ValueError(f"told of {row['symbol']!r}, not of {expected}")

    def _listed(self, answer: Answer) -> Any:
        """What an answer to a question about an order gives. Raises NotNow."""
        if answer.outcome is not Outcome.OK:
            raise NotNow(max(answer.retry_after_s, LATER_S), answer.message)
        return answer.body

    def _put_fee(self, made: np.ndarray, question: Question, text: object, asset: str) -> None:
        put_fee(made, text, asset, self._instruments.quotes[question.instrument], self._assets)

    def _cancel_refused(self, question: Question, answer: Answer) -> np.ndarray:
        """The FACT that a cancel over REST was refused, or that nobody knows."""
        made = fact_about(question, REFUSED)
        is_known = answer.outcome is Outcome.REFUSED or answer.code in self._errors
        action, reason = (
            self._errors.get(answer.code, UNLISTED) if is_known and answer.code else (ASK, reasons.VENUE_BUSY)
        )
        made["request"], made["action"], made["reason"], made["code"] = CANCEL_ASKED, action, reason, answer.code
        return made

    # What is asked for a comparison.

    def _listed_order(self, row: Mapping[str, Any], venue_id: int) -> ListedOrder:
        """An open order as the venue lists it. Raises KeyError."""
        (id_, revision), symbol, symbols = (
            client_id_of(self.prefix, self._text_of(row)),
            row["symbol"],
            self._instruments.symbols,
        )
        at = symbols.index(symbol) if symbol in symbols else -1
        return ListedOrder(id_, revision, venue_id, at, f"{symbol} {self._text_of(row) or venue_id}", row)

    def _give_way(self, weight: int) -> None:
        if self.gives_way:
            give_way(self.rest.weights, weight, self.rest.address)

    def cancel_listed(self, order: ListedOrder) -> Answer:
        """Cancel an open order, in its turn."""
        return self._cancel_in_turn(order.row)

    # Cancelling all.

    def cancel_all(self, last_epoch: int) -> int:
        """Cancel every open order under our ids up to an epoch, as fast as the venue takes it; how many there were.

        Raises:
            RestError: an answer that is none, or one of them is not cancelled: refused for another reason than that it has ended.
        """
        try:
            ours = [one for one in self._open_orders(last_epoch) if self._is_ours(self._text_of(one), last_epoch)]
            with ThreadPoolExecutor(_AT_ONCE) as pool:
                answers = list(pool.map(self._cancel_in_turn, ours))
        except (AttributeError, KeyError, TypeError, ValueError) as wrong:
            raise RestError(f"{self.rest.address}: open orders: {type(wrong).__name__}: {wrong}") from wrong
        for answer in answers:
            if answer.outcome is not Outcome.OK and not self.has_ended(answer):
                self.wanted("cancel", answer)
        return len(ours)

    def _take_turn(self) -> None:
        """Wait until the venue takes one more cancel."""
        if self._cancels:
            self._cancels.take(1, PATIENCE_S)

    def _cancel_in_turn(self, order: Mapping[str, Any]) -> Answer:
        self._take_turn()
        answer = self._cancel_one(order)
        for _ in range(_TRIES - 1):
            if not self._cancels or self._errors.get(answer.code, UNLISTED)[0] != PAUSE:
                break
            # Others of the account cancel as well, or what we sent one after the other came at once.
            self._cancels.rest(_REST_S)
            self._take_turn()
            answer = self._cancel_one(order)
        return answer

    def has_ended(self, refused: Answer) -> bool:
        """Whether the venue says of an order that it has none such."""
        return self._errors.get(refused.code, UNLISTED)[1] == reasons.VENUE_UNKNOWN_ORDER

    def _is_ours(self, text: str, last_epoch: int) -> bool:
        id_, _ = client_id_of(self.prefix, text)
        return id_ != 0 and epoch_of(id_) <= last_epoch
