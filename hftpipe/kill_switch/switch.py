"""What the kill switch does, whoever asks: kill, reset, and say how things stand."""

import hmac
import logging
import os
import re
import threading
import time
from collections.abc import Mapping
from dataclasses import asdict, dataclass
from typing import Any

from hftpipe.app.halt_command import halt, resume
from hftpipe.app.halt_latch import latched_scopes, read_latch
from hftpipe.app.halt_scope import Scope
from hftpipe.app.settings.contract import checked_changes, number_of
from hftpipe.app.settings.sources import Sources
from hftpipe.app.state import StateError
from hftpipe.config.fields import ConfigError
from hftpipe.config.secrets import SECRET_PREFIX, Secret, secrets_from_env
from hftpipe.core.machine.system_clock import steady_ns
from hftpipe.core.schema.cells import HALT_CAUSES, STOPPING
from hftpipe.core.schema.halts import ACTIVE, HALTED, REDUCING, breaker_state, halted_scopes
from hftpipe.core.schema.settings import SETTINGS
from hftpipe.core.shared.shm import Segment, live_pid
from hftpipe.kill_switch.look import Attachment, Orders, exchanges_of, halt_of, limits_in, orders_of
from hftpipe.log import clean, event

LOG = logging.getLogger("hftpipe.kill_switch")
KILL_TOKEN, RESET_TOKEN = "kill_token", "reset_token"
#: A token that is guessed in less than an age is none.
LEAST_TOKEN = 16
_TOKEN = re.compile(rf"[!-~]{{{LEAST_TOKEN},}}", re.ASCII)
#: Whoever kills hears of the cancels that are confirmed within this time; of the others /status tells.
SOON_S = 0.05
_LOOK_S = 0.001
#: A run takes what was changed within this time, or whoever changed it is told that it is not in force yet.
TAKEN_S, _TAKEN_LOOK_S = 3.0, 0.01
#: Another kill's disk is waited for so long.
_ALONE_LIMIT_S = 1.0
#: Longest reason that is kept.
MOST_REASON = 200


def tokens_from(env: Mapping[str, str]) -> dict[str, Secret]:
    """The tokens of the environment by name (KILL_TOKEN, RESET_TOKEN), those that are set.

    Raises:
        ConfigError: one is too short, or cannot be sent in a header.
    """
    found = {name: one for name, one in secrets_from_env(env).items() if name in (KILL_TOKEN, RESET_TOKEN)}
    odd = [name for name, one in found.items() if not _TOKEN.fullmatch(one.reveal())]
    if odd:
        allowed = f"allowed are {LEAST_TOKEN} and more letters, digits and signs of ASCII, without blanks"
        raise ConfigError(*(f"{SECRET_PREFIX}{name.upper()}: {allowed}" for name in odd))
    return found


@dataclass(frozen=True)
class Killed:
    """What a kill came to.

    Attributes:
        is_running: a pipeline runs.
        is_latched: every later start is halted until it is reset.
        problem: why the running one could not be halted, or why it is not latched; empty if all went well.
        orders: cancels sent and confirmed so far, and open orders; empty where nothing runs.
    """

    is_running: bool
    is_latched: bool
    problem: str
    orders: dict[str, int]


def kill(name: str, reason: str, attach: Attachment, wait_s: float = SOON_S) -> Killed:
    """Halt everything of pipeline ``name``, now and for every later start. The one function behind all ways to ask for it.

    Args:
        reason: who asked, how and why; kept with the halt.
        wait_s: how long to wait, once it is halted, for the venues to confirm the end of all orders.
    """
    segment = attach.get()
    before = orders_of(segment) if segment else Orders()
    said: list[str] = []
    # Whoever is asked later whether to clear it is shown this, on a terminal.
    shown = "".join(one if one.isprintable() else " " for one in str(clean(reason)))[:MOST_REASON]
    try:
        code = halt(name, Scope(), shown, said.append, attach)
    except StateError as error:
        # It is halted as far as it runs: the cell comes before the file.
        return Killed(bool(live_pid(name)), False, str(error), _so_far(attach, segment, before, 0.0))
    problem = next((line for line in said if "NOT halted" in line), "") if code else ""
    is_running = bool(live_pid(name)) or bool(problem)
    return Killed(is_running, True, problem, _so_far(attach, segment, before, wait_s))


def _so_far(attach: Attachment, segment: Segment | None, before: Orders, wait_s: float) -> dict[str, int]:
    """What has become of the orders of a run when all have ended, the run has (its memory keeps what its tables held), or the time is
    up."""
    if segment is None:
        return {}
    deadline = steady_ns() + int(wait_s * 1e9)
    while orders_of(segment).open and steady_ns() < deadline and attach.get() is segment:
        time.sleep(_LOOK_S)
    return orders_of(segment).since(before)


class Refused(Exception):
    """What was asked for is not done; the text says why. ``is_token``: for want of the right token."""

    def __init__(self, text: str, is_token: bool = False) -> None:
        super().__init__(text)
        self.is_token = is_token


class Switch:
    """The kill switch of one pipeline.

    Args:
        name: the pipeline.
        file: its appearance kills; empty: no file does.
        tokens: those that are set (:func:`tokens_from`).
        sources: of the pipeline's settings; None: none can be changed here. reload_s: how often the run looks at them.

    Attributes:
        file: as given.
    """

    def __init__(
        self, name: str, file: str = "", tokens: Mapping[str, Secret] | None = None,
        sources: Sources | None = None, reload_s: float = 0.0,
    ) -> None:  # fmt: skip
        self._name, self.file, self._tokens = name, file, dict(tokens or {})
        self._sources, self._reload_s = sources, reload_s
        self._changing = threading.Lock()
        self._attach = Attachment(name)
        self._lock = threading.Lock()
        self._kills = 0

    def kill(self, reason: str, token: str = "") -> Killed:
        """Kill, whoever asks (:func:`kill`).

        Raises:
            Refused: a token is needed, and this is not it.
        """
        if KILL_TOKEN in self._tokens:
            self._check(KILL_TOKEN, token)
        return self.kill_here(reason)

    def kill_here(self, reason: str) -> Killed:
        """Kill on behalf of somebody on this machine, whom the system has let do so: a signal, a file."""
        # One after the other, so that their files do not meet; but a disk that holds one up does not keep another from the cell.
        is_alone = self._lock.acquire(timeout=_ALONE_LIMIT_S)
        try:
            self._kills += 1
            return kill(self._name, reason, self._attach)
        finally:
            if is_alone:
                self._lock.release()

    def _check(self, which: str, token: str) -> None:
        """Raises Refused unless ``token`` is the one that is set; takes the same time for every wrong one."""
        wanted = self._tokens[which].reveal().encode()
        if not hmac.compare_digest(wanted, token.encode("utf-8", "surrogateescape")):
            raise Refused("a token is needed: Authorization: Bearer ...", is_token=True)

    def reset(self, token: str, who: str, shown: str = "") -> dict[str, Any]:
        """Clear the halt, as ``hftpipe resume`` does: what an operator halted trades on at once.

        Args:
            shown: time of the halt that is to be cleared, as :meth:`status` gives it; empty: whichever it is.

        Raises:
            Refused: without the right token; nothing is halted; it is another halt; what caused it asks for a new start; or
                the file that kills is still there.
        """
        if RESET_TOKEN not in self._tokens:
            raise Refused(
                f"no token is set for a reset ({SECRET_PREFIX}{RESET_TOKEN.upper()}): `hftpipe resume` clears a halt"
            )
        self._check(RESET_TOKEN, token)
        if self.file and os.path.lexists(self.file):
            raise Refused(f"{self.file} is still there; remove it first")
        said: list[str] = []
        try:
            latch = read_latch(self._name)
            if latch and shown not in ("", latch.time):
                raise Refused(f"not cleared: the halt is that of {latch.time}: {latch.what}")
            resume(self._name, Scope(), lambda _: True, said.append, who, self._attach, latch)
        except StateError as error:
            raise Refused(str(error)) from error
        return {"reset": True, "what": said[-1], **self.status()}

    def status(self) -> dict[str, Any]:
        """State of the breaker, why, the orders and what this process has done."""
        segment, latch = self._attach.get(), read_latch(self._name)
        cause = halt_of(segment) if segment else ""
        is_stopping = cause == HALT_CAUSES[STOPPING]
        is_halted = bool(latch or (cause and not is_stopping))
        parts = {scope: asdict(one) for scope, one in latched_scopes(self._name).items()}
        # What is halted is so from the word on, whether or not a disk has taken the file.
        for scope, number in halted_scopes(segment.region("halts"), segment.meta).items() if segment else ():
            parts.setdefault(scope, {"cause": HALT_CAUSES.get(number, "unknown"), "latched": False})
        return {
            "pipeline": self._name,
            "state": breaker_state(is_halted, parts),
            "running": segment is not None or bool(live_pid(self._name)),
            "stopping": is_stopping,
            "run": segment.epoch if segment else None,
            "cause": latch.cause if latch else cause if is_halted else None,
            "halt": asdict(latch) if latch else None,
            "latched": latch is not None,
            "halted_parts": parts,
            "orders": asdict(orders_of(segment)) if segment else None,
            "kill_switch": {"pid": os.getpid(), "kills": self._kills, "can_reset": RESET_TOKEN in self._tokens},
        }

    def health(self) -> dict[str, Any]:
        """Whether it trades, and with whom."""
        segment, status = self._attach.get(), self.status()
        exchanges = exchanges_of(segment) if segment else {}
        serves = any(one["connected"] and not one["halted"] for one in exchanges.values())
        enabled = bool(segment and status["state"] != HALTED and not status["stopping"] and serves)
        words = {HALTED: "halted", REDUCING: "reducing", ACTIVE: "ok" if serves else "no_exchange"}
        return {
            "status": words[status["state"]] if segment else "not_running",
            "trading_enabled": enabled,
            "exchanges": exchanges,
        }

    def limits(self) -> dict[str, Any]:
        """The limits in force.

        Raises:
            Refused: nothing runs, so none are.
        """
        segment = self._attach.get()
        if segment is None:
            raise Refused(f"pipeline {self._name!r} is not running: no limits are in force")
        kept = self._sources.store.read() if self._sources else {}
        return {"pipeline": self._name, "run": segment.epoch, "limits": limits_in(segment), "set": kept}

    def change(self, token: str, who: str, fields: Mapping[str, Any]) -> dict[str, Any]:
        """Change limits and parameters of the run, and of later ones; ``fields``: by dotted key, None takes one back.

        Raises:
            Refused: without the right token, none are read again here, or the run has refused it. ConfigError, SettingError: one is not legal; none has
                changed. StateError: they cannot be kept.
        """
        if RESET_TOKEN not in self._tokens:
            raise Refused(f"no token is set for changes ({SECRET_PREFIX}{RESET_TOKEN.upper()})")
        self._check(RESET_TOKEN, token)
        if self._sources is None or not self._reload_s:
            raise Refused("strategy.reload_s = 0: nothing is read again while the pipeline runs")
        changes = checked_changes(fields)
        with self._changing:
            before = self._sources.store.read()
            self._sources.check(changes)
            self._sources.store.write(changes)
            kept = self._sources.store.read()
            is_in_force = self._is_taken(kept, {key: before.get(key) for key in changes})
        told = {key: {"old": before.get(key), "new": value} for key, value in changes.items()}
        event(LOG, logging.WARNING, "settings changed", by=who, changes=told, in_force=is_in_force)
        return {"changed": told, "set": kept, "in_force": is_in_force}

    def _is_taken(self, kept: Mapping[str, str], before: Mapping[str, str | None]) -> bool:
        """Whether the run has taken what is kept, within TAKEN_S; False: nothing runs, or it has not looked yet.

        Raises:
            Refused: it has refused it, and it is as it was ``before``.
        """
        segment, number, deadline = self._attach.get(), number_of(kept), steady_ns() + int(TAKEN_S * 1e9)
        if segment is None or self._sources is None:
            return False
        told = segment.record("settings", SETTINGS)
        while steady_ns() < deadline and self._attach.get() is segment:
            if int(told["in_force"][0]) == number:
                return True
            if int(told["refused"][0]) == number:
                self._sources.store.write(before)
                raise Refused(
                    f"the run has refused it, and nothing has changed: {bytes(told['reason'][0]).decode(errors='replace')}"
                )
            time.sleep(_TAKEN_LOOK_S)
        return False
