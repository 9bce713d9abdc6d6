"""Configuration files that change during a run: strategy parameters take effect, all else is named and does not."""

import logging
from pathlib import Path
from typing import Any

from hftpipe.config import Config, ConfigError, load
from hftpipe.core.machine.fixed import format_fixed
from hftpipe.core.machine.system_clock import steady_ns
from hftpipe.log import event
from hftpipe.strategy.compile.loader import StrategyError, publish_params
from hftpipe.topology.pipeline import Pipeline

LOG = logging.getLogger("hftpipe.app.run")
#: Their effect is that of the parameters they give.
_PARAMETERS = ("strategy.params.", "strategy.profiles.", "strategy.profile")
#: Kept in units of 1e-8, shown as they are written.
_AMOUNTS = frozenset({
    "max_order_qty", "max_market_order_qty", "max_order_notional", "max_position",
    "tick_size", "lot_size", "min_notional", "reference_price",
})  # fmt: skip


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
        if old.get(key) != new.get(key) and not key.startswith(_PARAMETERS)
    }


class ParamsWatch:
    """Looks at the configuration files and publishes changed strategy parameters; a bad file changes nothing.

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
        self._seen = self._stamps()
        self._asked, self._told = asked, {}
        self._params = pipeline.config.strategy.effective_params()

    def _stamps(self) -> list[int]:
        return [Path(file).stat().st_mtime_ns if Path(file).exists() else 0 for file in self._files]

    def poll(self) -> None:
        """Act on what changed since the last look, at most every ``strategy.reload_s``."""
        if not self._period_ns or steady_ns() < self._next_ns:
            return
        self._next_ns = steady_ns() + self._period_ns
        stamps = self._stamps()
        if stamps == self._seen:
            return
        self._seen = stamps
        try:
            found = load(self._files, self._env, self._overrides)
            self._tell_fixed(found)
            self._publish(found.strategy.effective_params())
        except (ConfigError, StrategyError) as error:
            event(LOG, logging.ERROR, "strategy parameters not changed", reason=str(error))

    def _publish(self, params: dict[str, Any]) -> None:
        if params == self._params:
            return
        strategy = self._pipeline.strategy
        area = self._pipeline.segment.region("strategy.params")
        publish_params(area, strategy, {**strategy.defaults, **params})
        event(LOG, logging.INFO, "strategy parameters changed", old=self._params, new=params)
        self._params = params

    def _tell_fixed(self, found: Config) -> None:
        changes = fixed_changes(self._asked, found)
        for key, (old, new) in changes.items():
            if self._told.get(key) != (old, new):
                what = "risk limits are" if key.startswith("risk.") else "this key is"
                event(
                    LOG, logging.WARNING, f"not changed: {what} fixed for the run, restart to apply",
                    key=key, running=old, file=new,
                )  # fmt: skip
        for key in self._told.keys() - changes.keys():
            event(LOG, logging.INFO, "the file says again what the run has", key=key)
        self._told = changes
