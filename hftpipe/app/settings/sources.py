"""Everything that the settings of a run come from: files, environment, command line, and what was set while it went on."""

import logging
import os
from collections.abc import Collection, Mapping
from dataclasses import dataclass, field
from typing import Any

from hftpipe.app.settings.contract import Store, checked_changes
from hftpipe.app.settings.stores import store_of
from hftpipe.app.state import StateError
from hftpipe.config import Config, given_keys, load
from hftpipe.log import event

LOG = logging.getLogger("hftpipe.app.settings")


@dataclass(frozen=True)
class Sources:
    """Where the settings of a run come from, each over the one before.

    Attributes:
        files, env, overrides: as of :func:`hftpipe.config.load`; store: of what is set while it runs.
    """

    files: list[str]
    # Secrets are among it.
    env: Mapping[str, str] = field(repr=False)
    overrides: Mapping[str, Any]
    store: Store

    def load(self, traded: Collection[str] | None = None, kept: Mapping[str, str] | None = None, **more: Any) -> Config:
        """The configuration, as it is now.

        Args:
            traded: symbols that limits may be given for; kept: what is in the store, if it was read already; more: laid over
                the command line.

        Raises:
            ConfigError: a setting is not legal. SettingError: one that is kept may not be changed while a pipeline runs.
            StateError: what is kept cannot be read.
        """
        changed = checked_changes(self.store.read() if kept is None else kept)
        return load(self.files, self.env, {**self.overrides, **more}, traded, changed)

    def check(self, changes: Mapping[str, str | None]) -> None:
        """Raises what :meth:`load` would, once these changes were kept; whatever is traded, limits of it are legal."""
        kept = {**self.store.read(), **changes}
        self.load(kept={key: value for key, value in kept.items() if value is not None})

    def given(self, kept: Mapping[str, str]) -> frozenset[str]:
        """Every dotted key that is given in any of them."""
        return given_keys(self.files, self.env, self.overrides, kept)

    def close(self) -> None:
        """They are read no more."""
        self.store.close()


def sources_of(
    config: Config, files: list[str], env: Mapping[str, str], overrides: Mapping[str, Any]
) -> tuple[Config, Sources]:
    """The configuration with what was set during earlier runs, and not taken back, which is said; and its sources.

    Args:
        config: as :func:`hftpipe.config.load` has made it of the others.

    Raises:
        ConfigError, SettingError, StateError: see :meth:`Sources.load`; or a file can be read only once, and would have to be again.
    """
    sources = Sources(files, env, overrides, store_of(config, env))
    kept = sources.store.read()
    if not kept:
        return config, sources
    event(LOG, logging.WARNING, "in force from earlier: settings changed while a pipeline ran", settings=kept)
    if once := [file for file in files if not os.path.isfile(file)]:
        raise StateError(
            f"{', '.join(once)}: no file that can be read again, and settings are kept that are laid over it"
        )
    return sources.load(kept=kept), sources
