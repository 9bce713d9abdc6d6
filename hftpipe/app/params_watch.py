"""Configuration files that change during a run: strategy parameters take effect, all else is named and does not."""

import logging
import os
import re
import stat
from pathlib import Path
from typing import Any

from hftpipe.config import Config, ConfigError, amount_keys, load
from hftpipe.core.machine.fixed import format_fixed
from hftpipe.core.machine.system_clock import steady_ns
from hftpipe.log import event
from hftpipe.strategy.api.declare import StrategyError
from hftpipe.strategy.compile.loader import publish_params
from hftpipe.strategy.params import resolve
from hftpipe.topology.configured import strategies_of
from hftpipe.topology.pipeline import Pipeline

LOG = logging.getLogger("hftpipe.app.run")
#: Their effect is that of the parameters they give.
_PARAMETERS = re.compile(r"strategy\.(params|profiles|profile)(\.|$)|strategies\.\d+\.params\.")
#: Keys that say how much may be traded.
_LIMITS = re.compile(r"risk\.|limit_groups\.|strategies\.\d+\.(max_position|orders_per_)")
#: Kept in units of 1e-8, shown as they are written.
_AMOUNTS = amount_keys()

Look = tuple[int, int, int] | None


def leaves(node: Any, path: str = "") -> dict[str, Any]:
    """Every value of a configuration as JSON types, by dotted key; an instrument's table has its number for a name."""
    if isinstance(node, list) and any(isinstance(one, dict) for one in node):
        node = {str(number): one for number, one in enumerate(node)}
    if not isinstance(node, dict):
        return {path: node}
    return {
        key: value
        for name, one in node.items()
        for key, value in leaves(one, f"{path}.{name}" if path else name).items()
    }


def _shown(key: str, value: Any) -> Any:
    return format_fixed(value) if key.rpartition(".")[2] in _AMOUNTS and value is not None else value


def fixed_changes(running: Config, found: Config) -> dict[str, tuple[Any, Any]]:
    """Keys, strategy parameters apart, that a run's files now say otherwise: (running, found), None for "not set"."""
    old, new = leaves(running.as_dict()), leaves(found.as_dict())
    return {
        key: (_shown(key, old.get(key)), _shown(key, new.get(key)))
        for key in sorted(old.keys() | new.keys())
        if old.get(key) != new.get(key) and not _PARAMETERS.match(key)
    }


def _params_of(config: Config) -> dict[str, dict[str, Any]]:
    """The parameters that are given, by the name of the strategy ("" where there is only one)."""
    return {one.name: dict(one.params) for one in strategies_of(config)}


def _shown_as(strategy: str, param: str) -> str:
    return f"{strategy}.{param}" if strategy else param


def look_at(file: str) -> Look:
    """What tells one content of a file from another without reading it: time of change, size, inode.

    None for what is not there, and for what is no file: a pipe has been read at the start, and reading it again would wait.
    """
    try:
        found = os.stat(file)
    except OSError:
        return None
    return (found.st_mtime_ns, found.st_size, found.st_ino) if stat.S_ISREG(found.st_mode) else None


def unfinished(files: list[str]) -> str:
    """Why one of the files looks as if it were still being written: its last line has no end; empty if none does."""
    for file in files:
        data = Path(file).read_bytes()
        if data and not data.endswith(b"\n"):
            last = data.rpartition(b"\n")[2].decode(errors="replace")
            return f"{file}: the last line has no end, it may not be written yet: {last[:80]!r}"
    return ""


class ParamsWatch:
    """Looks at the configuration files and publishes changed strategy parameters; a bad file changes nothing.

    A file is not believed while it is being written: it is read when two looks, a period apart, have found it the same, and
    refused when its last line has no end or a parameter that was given before is gone (whoever wants the default back writes
    it down). The first read is made for what changed while the run was starting.

    Risk limits and every other key are fixed for the run: that a file says otherwise is logged once for each new value.

    Args:
        asked: the configuration as the files gave it at the start.
    """

    def __init__(
        self, pipeline: Pipeline, asked: Config, files: list[str], env: dict[str, str], overrides: dict[str, Any]
    ) -> None:
        self._pipeline, self._files, self._env, self._overrides = pipeline, files, env, overrides
        self._period_ns = int(pipeline.config.strategy.reload_s * 1e9)
        self._next_ns = steady_ns() + self._period_ns
        self._found = self._looks()
        self._read: list[Look] | None = None if files else []
        self._asked = asked
        self._told: dict[str, tuple[Any, Any]] = {}
        self._params = _params_of(pipeline.config)

    def _looks(self) -> list[Look]:
        return [look_at(file) for file in self._files]

    def poll(self) -> None:
        """Act on what changed and has stayed as it is since the last look; looks at most every ``strategy.reload_s``."""
        if not self._period_ns or steady_ns() < self._next_ns:
            return
        self._next_ns = steady_ns() + self._period_ns
        before, self._found = self._found, self._looks()
        if self._found == self._read or self._found != before:
            return
        self._read = self._found
        try:
            found, why = self._load(), ""
        except (ConfigError, StrategyError, OSError) as error:
            found, why = None, str(error)
        if self._looks() != self._read:
            # It changed under our hands: what was read may be half of each. The next looks decide.
            self._read = None
        elif found is None:
            event(LOG, logging.ERROR, "strategy parameters not changed", reason=why)
        else:
            self._act(found)

    def _load(self) -> Config:
        """The configuration of the files, if it can be taken for whole.

        Raises:
            ConfigError, StrategyError, OSError: it cannot.
        """
        if absent := [file for file, look in zip(self._files, self._found, strict=True) if look is None]:
            raise StrategyError(f"not there, or no file: {', '.join(absent)}")
        found = load(self._files, self._env, self._overrides)
        if why := unfinished(self._files):
            raise StrategyError(why)
        now = _params_of(found)
        if now.keys() != self._params.keys():
            others = ", ".join(sorted(now.keys() ^ self._params.keys()))
            raise StrategyError(f"not the strategies of the run: {others}; restart to change which there are")
        gone = sorted(
            _shown_as(name, one) for name, params in self._params.items() for one in params.keys() - now[name].keys()
        )
        if gone:
            raise StrategyError(f"no longer given: {', '.join(gone)}; to have a default back, write it down")
        return found

    def _act(self, found: Config) -> None:
        self._tell_fixed(found)
        try:
            self._publish(_params_of(found))
        except StrategyError as error:
            event(LOG, logging.ERROR, "strategy parameters not changed", reason=str(error))

    def _publish(self, params: dict[str, dict[str, Any]]) -> None:
        """Hand each strategy its changed parameters, once those of all are found to be legal.

        Raises:
            StrategyError: those of one are not; nothing has changed.
        """
        changed = [(at, name) for at, name in enumerate(self._params) if params[name] != self._params[name]]
        for at, name in changed:
            strategy, which = self._pipeline.strategies[at], self._pipeline.names[at]
            resolve(strategy.schema, {**strategy.defaults, **params[name]}, f"strategy {which}")
        for at, name in changed:
            strategy, which = self._pipeline.strategies[at], self._pipeline.names[at]
            area = self._pipeline.segment.region(self._pipeline.of_strategy("params", at))
            publish_params(area, strategy, {**strategy.defaults, **params[name]})
            event(
                LOG, logging.INFO, "strategy parameters changed", strategy=which, old=self._params[name], new=params[name]
            )  # fmt: skip
            self._params[name] = params[name]

    def _tell_fixed(self, found: Config) -> None:
        changes = fixed_changes(self._asked, found)
        for key, (old, new) in changes.items():
            if self._told.get(key) != (old, new):
                what = "risk limits are" if _LIMITS.match(key) else "this key is"
                event(
                    LOG, logging.WARNING, f"not changed: {what} fixed for the run, restart to apply",
                    key=key, running=old, file=new,
                )  # fmt: skip
        for key in self._told.keys() - changes.keys():
            event(LOG, logging.INFO, "the file says again what the run has", key=key)
        self._told = changes
