"""Tells a person, wherever that is, that the breaker has tripped: an HTTP POST to an address of the user's.

From a thread of its own that nothing waits for while the run goes on. What cannot be delivered is tried again a few times, then
given up and counted.
"""

import contextlib
import http.client
import logging
import queue
import socket
import threading
import urllib.error
import urllib.request
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any
from urllib.parse import urlsplit

import orjson

from hftpipe.app.halt_latch import Latch
from hftpipe.config import Config
from hftpipe.config.fields import ConfigError
from hftpipe.config.secrets import SECRET_PREFIX, Secret, secrets_from_env
from hftpipe.core.schema.halts import HALTED, REDUCE, REDUCING
from hftpipe.log import clean, event

LOG = logging.getLogger("hftpipe.alerts")
URL, ROUTING_KEY = "alert_url", "pagerduty_key"
PAGERDUTY_URL = "https://events.pagerduty.com/v2/enqueue"
#: An attempt takes at most so long; the waits between attempts. The first is at once: a person is to know within 5 s.
ATTEMPT_S, WAITS_S = 2.0, (0.5, 1.0, 2.0, 5.0)
#: Alerts that may wait for their turn. At the end of the run the last ones are waited for so long.
MOST_WAITING, LAST_S = 64, 5.0
#: Longest text of a summary that PagerDuty takes.
_MOST_SUMMARY = 1024


@dataclass(frozen=True)
class Trip:
    """A halt, as it is told: of which pipeline, on which machine."""

    pipeline: str
    host: str
    scope: str
    latch: Latch

    @property
    def state(self) -> str:
        """What the breaker is tripped to."""
        return REDUCING if self.scope == REDUCE else HALTED

    @property
    def text(self) -> str:
        """One line for people."""
        part = f" ({self.scope.replace('.', ' ', 1)})" if self.scope and self.scope != REDUCE else ""
        return f"hftpipe {self.pipeline} on {self.host} is {self.state}{part}: {self.latch.cause}: {self.latch.what}"

    @property
    def facts(self) -> dict[str, Any]:
        """Everything."""
        return {
            "source": "hftpipe", "event": "tripped", "pipeline": self.pipeline, "host": self.host, "state": self.state,
            "scope": self.scope, "cause": self.latch.cause, "what": self.latch.what, "time": self.latch.time,
            "run": self.latch.epoch,
        }  # fmt: skip


def _json(trip: Trip, _key: str) -> dict[str, Any]:
    return {**trip.facts, "text": trip.text}


def _slack(trip: Trip, _key: str) -> dict[str, Any]:
    return {"text": trip.text}


def _pagerduty(trip: Trip, key: str) -> dict[str, Any]:
    """Events API v2. The same halt told twice is one incident."""
    return {
        "routing_key": key,
        "event_action": "trigger",
        "dedup_key": f"hftpipe/{trip.host}/{trip.pipeline}/{trip.scope or 'all'}/{trip.latch.time}"[:255],
        "payload": {
            "summary": trip.text[:_MOST_SUMMARY], "source": trip.host, "severity": "critical", "timestamp": trip.latch.time,
            "component": trip.pipeline, "class": trip.latch.cause, "custom_details": trip.facts,
        },
    }  # fmt: skip


FORMATS: dict[str, Callable[[Trip, str], dict[str, Any]]] = {"json": _json, "slack": _slack, "pagerduty": _pagerduty}


class _Undelivered(Exception):
    """Why, in words that say nothing of the address. ``is_final``: another attempt would not help."""

    def __init__(self, text: str, is_final: bool = False) -> None:
        super().__init__(text)
        self.is_final = is_final


class _NoRedirect(urllib.request.HTTPRedirectHandler):
    def redirect_request(self, *_: Any, **__: Any) -> None:
        """What is told goes to the address that was given and to no other."""


def _post(url: str, body: bytes) -> None:
    """Raises _Undelivered."""
    headers = {"Content-Type": "application/json", "User-Agent": "hftpipe"}
    request = urllib.request.Request(url, body, headers, method="POST")
    try:
        with urllib.request.build_opener(_NoRedirect).open(request, timeout=ATTEMPT_S) as answer:
            answer.read(1024)
    except urllib.error.HTTPError as error:
        # A client's error stays one, but for "too many" and "too slow".
        is_final = 300 <= error.code < 500 and error.code not in (408, 429)
        raise _Undelivered(f"HTTP status {error.code}", is_final) from None
    except (OSError, ValueError, http.client.HTTPException) as error:
        reason = getattr(error, "reason", error)
        raise _Undelivered(type(reason if isinstance(reason, Exception) else error).__name__) from None


class Webhook:
    """Where trips of one pipeline are told, if anywhere.

    Args:
        config: its name, and ``[alerts]``; env: where the address and the key are.

    Raises:
        ConfigError: the format asks for a secret that is not set, or the address is none.
    """

    def __init__(self, config: Config, env: Mapping[str, str]) -> None:
        self._pipeline, self._format = config.pipeline.name, config.alerts.webhook
        secrets = secrets_from_env(env)
        is_paged = self._format == "pagerduty"
        self._url = secrets.get(URL) or (Secret(PAGERDUTY_URL) if is_paged else None)
        self._key = secrets.get(ROUTING_KEY)
        needs = {"json": URL, "slack": URL, "pagerduty": ROUTING_KEY}.get(self._format)
        if needs and needs not in secrets:
            raise ConfigError(
                f"alerts.webhook = {self._format}: {SECRET_PREFIX}{needs.upper()} must be set in the environment"
            )
        if needs and self._url and not _is_address(self._url.reveal()):
            raise ConfigError(
                f"{SECRET_PREFIX}{URL.upper()}: allowed is an address that begins with https:// or http://"
            )
        self._waiting: queue.Queue[Trip | None] = queue.Queue(MOST_WAITING)
        self._thread: threading.Thread | None = None
        self._over = threading.Event()
        self.counts = {"told": 0, "tried_again": 0, "given_up": 0}

    def tell(self, latch: Latch, scope: str) -> None:
        """Have a trip told; never waits. The thread is started by the first one: there is none while processes are forked."""
        if self._format == "none":
            return
        if self._thread is None:
            self._thread = threading.Thread(target=self._serve, name="alerts", daemon=True)
            self._thread.start()
        try:
            self._waiting.put_nowait(Trip(self._pipeline, socket.gethostname(), scope, latch))
        except queue.Full:
            self.counts["given_up"] += 1

    def _serve(self) -> None:
        while trip := self._waiting.get():
            self._deliver(trip)

    def _deliver(self, trip: Trip) -> None:
        key = self._key.reveal() if self._key else ""
        body = orjson.dumps(FORMATS[self._format](_cleaned(trip), key))
        assert self._url is not None
        for wait in (*WAITS_S, None):
            try:
                _post(self._url.reveal(), body)
            except _Undelivered as why:
                if wait is None or why.is_final or self._over.wait(wait):
                    self.counts["given_up"] += 1
                    event(LOG, logging.ERROR, "an alert could not be delivered", reason=str(why), alert=trip.text)
                    return
                self.counts["tried_again"] += 1
            else:
                self.counts["told"] += 1
                return

    def close(self) -> dict[str, int]:
        """The run is over: give what waits a last time, and say what has become of all."""
        unsent = 0
        if self._thread:
            with contextlib.suppress(queue.Full):
                self._waiting.put(None, timeout=LAST_S)
                self._thread.join(LAST_S)
            self._over.set()
            self._thread.join(ATTEMPT_S / 4)
            unsent = sum(one is not None for one in self._waiting.queue)
        return {**self.counts, "undelivered_at_end": unsent}


def _is_address(url: str) -> bool:
    try:
        parts = urlsplit(url)
        return parts.scheme in ("http", "https") and bool(parts.hostname)
    except ValueError:
        return False


def _cleaned(trip: Trip) -> Trip:
    """Without whatever secret a reason may repeat."""
    latch = Latch(trip.latch.cause, trip.latch.time, trip.latch.epoch, str(clean(trip.latch.what)))
    return Trip(trip.pipeline, trip.host, trip.scope, latch)
