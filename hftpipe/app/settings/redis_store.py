"""Redis as the store: one hash an instrument, one for the controls of the run, one a strategy.

========================== =====================================================================================================
hash                       its fields
========================== =====================================================================================================
``risk:params:SYMBOL``     keys of ``risk.limits.SYMBOL``; SYMBOL may be ``default``
``risk:params:controls``   keys of ``controls``
``strategy:params:NAME``   keys of ``strategy.params``, where the pipeline's strategy has that name; ``profile``: strategy.profile
========================== =====================================================================================================

They are asked for in a thread of their own, every ``store.poll_s``. While Redis is away the last known ones hold, and that is said; they
are kept in ``NAME.params`` too, so that a start without Redis has them; one that has neither is refused. A Redis that has none at all any
more has lost them (a restart, a replica that was never filled): what is known holds. Hashes of instruments that the run does not trade
are those of other runs.
"""

import importlib
import logging
import threading
from collections.abc import Hashable, Mapping
from types import ModuleType
from typing import Any

from hftpipe.app.settings.file_store import FileStore
from hftpipe.app.state import StateError
from hftpipe.config import Config
from hftpipe.config.secrets import Secret
from hftpipe.log import event

LOG = logging.getLogger("hftpipe.app.settings")
PASSWORD = "redis_password"
#: How long an answer is waited for, s.
_ANSWER_S = 2.0
_LIMITS, _CONTROLS, _STRATEGY = "risk:params:", "risk:params:controls", "strategy:params:"
#: There once something was set or taken back from here: no settings at all are then meant so.
_WRITTEN = "hftpipe:settings:written"
_OF_LIMITS, _OF_CONTROLS, _OF_PARAMETERS, _PROFILE = "risk.limits.", "controls.", "strategy.params.", "strategy.profile"


class _Lost(Exception):
    """Redis has none of the settings that it had."""


def _library() -> ModuleType:
    try:
        return importlib.import_module("redis")
    except ImportError as error:
        raise StateError("store.kind = redis: its client is not installed; pip install 'hftpipe[redis]'") from error


def _symbols(config: Config) -> frozenset[str] | None:
    """What hashes of limits may be called that are this run's; None: whatever is traded is chosen later."""
    if config.universe or config.market.source == "replay":
        return None
    names = {one.symbol for one in config.instruments} | {f"{one.venue}:{one.symbol}" for one in config.instruments}
    return frozenset({*names, "default", _CONTROLS.removeprefix(_LIMITS)})


class RedisStore:
    """Changed settings of a pipeline in Redis.

    Args:
        config: the pipeline's, with ``[store]``; password: where one is needed.

    Raises:
        StateError: the client library is not installed.
    """

    def __init__(self, config: Config, password: Secret | None = None) -> None:
        self._redis, own = _library(), config.store
        host, _, port = own.redis.rpartition(":")
        self._address, self._strategy, self._poll_s = own.redis, config.strategy.name, own.poll_s
        self._client: Any = self._redis.Redis(
            host.strip("[]"), int(port), own.redis_db, password.reveal() if password else None,
            socket_timeout=_ANSWER_S, socket_connect_timeout=_ANSWER_S, decode_responses=True,
            # Whoever asks again is our own thread, after a while.
            retry=importlib.import_module("redis.retry").Retry(importlib.import_module("redis.backoff").NoBackoff(), 0),
        )  # fmt: skip
        self._copy, self._version, self._is_away = FileStore(config.pipeline.name), 0, False
        #: None: nothing was ever known.
        self._known: dict[str, str] | None = self._copy.read() or None
        self._symbols = _symbols(config)
        self._over = threading.Event()
        self._thread: threading.Thread | None = None

    def _place(self, key: str) -> tuple[str, str]:
        """Hash and field of a dotted key."""
        if key == _PROFILE:
            return _STRATEGY + self._strategy, "profile"
        if key.startswith(_OF_PARAMETERS):
            return _STRATEGY + self._strategy, key.removeprefix(_OF_PARAMETERS)
        if key.startswith(_OF_CONTROLS):
            return _CONTROLS, key.removeprefix(_OF_CONTROLS)
        symbol, _, field = key.removeprefix(_OF_LIMITS).rpartition(".")
        return _LIMITS + symbol, field

    def _ask(self) -> dict[str, str]:
        """Everything, from Redis. Raises redis.RedisError."""
        names = [*sorted(self._client.scan_iter(match=_LIMITS + "*", count=1000)), _STRATEGY + self._strategy]
        # All at one moment: whoever sets several at once is never heard by halves.
        with self._client.pipeline(transaction=True) as batch:
            for name in names:
                batch.hgetall(name)
            batch.exists(_WRITTEN)
            *hashes, is_written = batch.execute()
        found = {
            self._key(name, field): value
            for name, fields in zip(names, hashes, strict=True)
            for field, value in fields.items()
            if self._symbols is None or not name.startswith(_LIMITS) or name.removeprefix(_LIMITS) in self._symbols
        }
        if self._known and not found and not is_written:
            raise _Lost("there are none at all any more; set one, or take one back by PUT")
        return found

    def _key(self, name: str, field: str) -> str:
        """The dotted key of a hash's field."""
        if name.startswith(_STRATEGY):
            return _PROFILE if field == "profile" else _OF_PARAMETERS + field
        if name == _CONTROLS:
            return _OF_CONTROLS + field
        return f"{_OF_LIMITS}{name.removeprefix(_LIMITS)}.{field}"

    def _refresh(self) -> None:
        """Ask anew; while nobody answers, or with what makes no sense, what is known stays."""
        try:
            found = self._ask()
        except (self._redis.RedisError, OSError, ValueError, _Lost) as error:
            # The next answer may be sound: an odd value is one as well.
            if not self._is_away:
                event(
                    LOG, logging.WARNING, "Redis does not answer, or not well: the last known limits and parameters hold",
                    address=self._address, reason=str(error),
                )  # fmt: skip
            self._is_away = True
            return
        if self._is_away:
            event(LOG, logging.INFO, "Redis answers again", address=self._address)
        self._is_away = False
        self._know(found)

    def _know(self, found: dict[str, str]) -> None:
        if found != self._known:
            self._known = found
            self._version += 1
            self._keep(found)

    def _keep(self, found: Mapping[str, str]) -> None:
        try:
            self._copy.keep(found)
        except StateError as error:
            event(LOG, logging.WARNING, "a start without Redis would not know these settings", reason=str(error))

    def read(self) -> dict[str, str]:
        """See :class:`hftpipe.app.settings.contract.Store`; asks when it has not yet been asked, and is not followed."""
        if self._thread is None:
            self._refresh()
        if self._known is None:
            raise StateError(
                f"Redis at {self._address} does not answer, and nothing that was set is known; store.kind = file does without"
            )
        return dict(self._known)

    def write(self, changes: Mapping[str, str | None]) -> None:
        """See :class:`hftpipe.app.settings.contract.Store`."""
        try:
            with self._client.pipeline(transaction=True) as batch:
                for key, value in changes.items():
                    name, field = self._place(key)
                    if value is None:
                        batch.hdel(name, field)
                    else:
                        batch.hset(name, field, value)
                batch.incr(_WRITTEN)
                batch.execute()
        except self._redis.RedisError as error:
            raise StateError(f"Redis at {self._address}: {error}") from error
        # Whoever takes the last one back means it.
        kept = {**(self._known or {}), **changes}
        self._know({key: value for key, value in kept.items() if value is not None})

    def look(self) -> Hashable:
        """See :class:`hftpipe.app.settings.contract.Store`; from the first time on Redis is asked every ``store.poll_s``."""
        if self._thread is None:
            self._thread = threading.Thread(target=self._follow, name="settings", daemon=True)
            self._thread.start()
        return self._version

    def _follow(self) -> None:
        while not self._over.wait(self._poll_s):
            self._refresh()

    def close(self) -> None:
        """See :class:`hftpipe.app.settings.contract.Store`."""
        self._over.set()
        if self._thread:
            self._thread.join(_ANSWER_S + 1)
        self._client.close()
