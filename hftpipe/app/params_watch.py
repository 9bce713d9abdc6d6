"""Configuration files that change during a run: strategy parameters and risk limits take effect, all else is named and does not."""

import logging
import re
from collections.abc import Hashable
from pathlib import Path
from typing import Any

from hftpipe.app.limit_changes import LimitChanges
from hftpipe.app.settings.contract import SettingError, number_of
from hftpipe.app.settings.file_look import look_at
from hftpipe.app.settings.leaves import leaves, shown
from hftpipe.app.settings.sources import Sources
from hftpipe.app.state import StateError
from hftpipe.config import Config, ConfigError
from hftpipe.core.machine.system_clock import steady_ns
from hftpipe.core.schema.settings import LONGEST_REASON, SETTINGS
from hftpipe.log import event
from hftpipe.strategy.api.declare import StrategyError
from hftpipe.strategy.compile.loader import publish_params
from hftpipe.strategy.params import resolve
from hftpipe.topology.configured import strategies_of
from hftpipe.topology.limit_words import may_change
from hftpipe.topology.pipeline import Pipeline

LOG = logging.getLogger("hftpipe.app.run")
#: Their effect is that of the parameters they give.
_PARAMETERS = re.compile(r"strategy\.(params|profiles|profile)(\.|$)|strategies\.\d+\.params\.")
#: Keys that say how much may be traded, and stay as they are.
_LIMITS = re.compile(r"risk\.|controls\.|limit_groups\.")


def fixed_changes(running: Config, found: Config) -> dict[str, tuple[Any, Any]]:
    """Keys that a run's files now say otherwise and that stay as they are: (running, found), None for "not set"."""
    old, new = leaves(running.as_dict()), leaves(found.as_dict())
    return {
        key: (shown(key, old.get(key)), shown(key, new.get(key)))
        for key in sorted(old.keys() | new.keys())
        if old.get(key) != new.get(key) and not _PARAMETERS.match(key) and not may_change(key)
    }


def _params_of(config: Config) -> dict[str, dict[str, Any]]:
    """The parameters that are given, by the name of the strategy ("" where there is only one)."""
    return {one.name: dict(one.params) for one in strategies_of(config)}


def _shown_as(strategy: str, param: str) -> str:
    return f"{strategy}.{param}" if strategy else param


def unfinished(files: list[str]) -> str:
    """Why one of the files looks as if it were still being written: its last line has no end; empty if none does."""
    for file in files:
        data = Path(file).read_bytes()
        if data and not data.endswith(b"\n"):
            last = data.rpartition(b"\n")[2].decode(errors="replace")
            return f"{file}: the last line has no end, it may not be written yet: {last[:80]!r}"
    return ""


class ParamsWatch:
    """Looks at the sources of a run's settings and publishes changed strategy parameters and limits; a bad file changes nothing.

    A file is not believed while it is being written: it is read when two looks, a period apart, have found it the same, and
    refused when its last line has no end or a parameter that was given before is gone (whoever wants the default back writes
    it down). The first read is made for what changed while the run was starting.

    Every other key is fixed for the run: that a file says otherwise is logged once for each new value.

    Args:
        limits: of the pipeline; asked: the configuration as its sources gave it at the start; sources: looked at, and read again.
    """

    def __init__(self, pipeline: Pipeline, limits: LimitChanges, asked: Config, sources: Sources) -> None:
        self._pipeline, self._limits, self._sources, self._files = pipeline, limits, sources, sources.files
        self._period_ns = int(pipeline.config.strategy.reload_s * 1e9)
        self._next_ns = steady_ns() + self._period_ns
        self._found: list[Hashable] = []
        self._read: list[Hashable] | None = None
        self._asked = asked
        self._told: dict[str, tuple[Any, Any]] = {}
        self._params = _params_of(pipeline.config)
        #: What was set while a pipeline ran: as it is in force, and as it was found last.
        self._set = self._kept = sources.store.read()
        #: What is given without that, and the keys that are given with it; of both what is in force, and what was found last.
        self._plain = self._found_plain = sources.load(kept={}) if self._set else asked
        self._given = self._found_given = sources.given(self._set)
        self._told_set = pipeline.segment.record("settings", SETTINGS)
        self._told_set["in_force"] = number_of(self._set)

    def _looks(self) -> list[Hashable]:
        return [*(look_at(file) for file in self._files), self._sources.store.look()]

    def poll(self) -> None:
        """Act on what changed and has stayed as it is since the last look; looks at most every ``strategy.reload_s``."""
        if not self._period_ns or steady_ns() < self._next_ns:
            return
        self._next_ns = steady_ns() + self._period_ns
        self._limits.flush()
        before, self._found = self._found, self._looks()
        # What a store gives is whole at every look; a file may be half written.
        if self._found == self._read or self._found[:-1] != before[:-1]:
            return
        self._read = self._found
        try:
            found, why = self._load(), ""
        except (ConfigError, StrategyError, SettingError, StateError, OSError) as error:
            found, why = None, str(error)
        if self._looks() != self._read:
            # It changed under our hands: what was read may be half of each. The next looks decide.
            self._read = None
        elif found is None:
            self._refuse(why)
        else:
            self._act(found)

    def _refuse(self, why: str) -> None:
        event(LOG, logging.ERROR, "parameters and limits not changed", reason=why)
        self._told_set["reason"] = why.encode()[:LONGEST_REASON]
        self._told_set["refused"] = number_of(self._kept)

    def _load(self) -> Config:
        """The configuration of the files, if it can be taken for whole.

        Raises:
            ConfigError, StrategyError, SettingError, StateError, OSError: it cannot.
        """
        if absent := [file for file, look in zip(self._files, self._found, strict=False) if look is None]:
            raise StrategyError(f"not there, or no file: {', '.join(absent)}")
        self._kept = self._sources.store.read()
        self._found_plain = self._sources.load(kept={})
        if self._found_plain != self._plain and (why := unfinished(self._files)):
            raise StrategyError(why)
        found = self._sources.load(kept=self._kept)
        self._found_given = self._sources.given(self._kept)
        self._check_given(found)
        return found

    def _check_given(self, found: Config) -> None:
        """Raises StrategyError: other strategies, or something that was given is so no longer and nobody has taken it back."""
        now = _params_of(found)
        if now.keys() != self._params.keys():
            others = ", ".join(sorted(now.keys() ^ self._params.keys()))
            raise StrategyError(f"not the strategies of the run: {others}; restart to change which there are")
        taken_back = self._set.keys() - self._kept.keys()
        gone = {key for key in self._given - self._found_given - taken_back if may_change(key)}
        # Another profile gives other parameters.
        if self._set.get("strategy.profile") == self._kept.get("strategy.profile"):
            gone |= {
                _shown_as(name, one)
                for name, params in self._params.items()
                for one in params.keys() - now[name].keys()
                if f"strategy.params.{one}" not in taken_back
            }
        if gone:
            raise StrategyError(f"no longer given: {', '.join(sorted(gone))}; to have a default back, write it down")

    def _act(self, found: Config) -> None:
        self._tell_fixed(found)
        try:
            self._check(_params_of(found))
            self._limits.want(found, self._set.keys() - self._kept.keys())
        except (ConfigError, StrategyError) as error:
            self._refuse(str(error))
        else:
            self._publish(_params_of(found))
            self._tell_covered()
            self._set, self._plain, self._given = self._kept, self._found_plain, self._found_given
            self._told_set["refused"] = 0
            self._told_set["in_force"] = number_of(self._kept)

    def _tell_covered(self) -> None:
        """Say what the files give otherwise now, and what was set is laid over."""
        before, now = leaves(self._plain.as_dict()), leaves(self._found_plain.as_dict())
        for key in self._kept:
            if before.get(key) != now.get(key):
                event(
                    LOG, logging.WARNING, "without effect: another value was set while a pipeline ran; null takes it back",
                    key=key, file=shown(key, now.get(key)), set=self._kept[key],
                )  # fmt: skip

    def _changed(self, params: dict[str, dict[str, Any]]) -> list[tuple[int, str]]:
        """Place and name of each strategy whose parameters are others."""
        return [(at, name) for at, name in enumerate(self._params) if params[name] != self._params[name]]

    def _check(self, params: dict[str, dict[str, Any]]) -> None:
        """Raises StrategyError: those of one are not legal."""
        for at, name in self._changed(params):
            strategy, which = self._pipeline.strategies[at], self._pipeline.names[at]
            resolve(strategy.schema, {**strategy.defaults, **params[name]}, f"strategy {which}")

    def _publish(self, params: dict[str, dict[str, Any]]) -> None:
        """Hand each strategy its changed parameters, which are legal."""
        for at, name in self._changed(params):
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
