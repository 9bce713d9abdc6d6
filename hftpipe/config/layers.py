"""The layers of the configuration as given: files, environment and command line, one `Setting` per value."""

import os
import re
import tomllib
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from decimal import Decimal
from pathlib import Path
from typing import Any

from hftpipe.config.secrets import is_secret_env, redact

ENV_PREFIX = "HFTPIPE_"
# Where compiled code and run numbers are kept; neither changes anything that is computed.
NOT_KEYS = frozenset({"HFTPIPE_CACHE_DIR", "HFTPIPE_STATE_DIR", "HFTPIPE_SIM_API_KEY", "HFTPIPE_SIM_API_SECRET"})
#: Of an address: who asks, and what for; either may hold a key.
_NOT_SHOWN = re.compile(r"(?<=://).*@|(?<=\?).*")

KeyPath = tuple[str, ...]


@dataclass(frozen=True)
class Setting:
    """One value as given: where (`origin`), which key, and whether it is text still to be read as a value."""

    path: KeyPath
    value: Any
    origin: str
    is_text: bool = False

    def refused(self, reason: str, allowed: str) -> str:
        """The problem line for this setting."""
        shown = _shown(self.value, self.is_text)
        return redact(f"{self.origin}: {'.'.join(self.path)} = {shown}: {reason}; allowed: {allowed}")


def _shown(value: Any, is_text: bool = False) -> str:
    # Tables are not spelled out: a key in them may hold a secret.
    if isinstance(value, dict) or (isinstance(value, list) and any(isinstance(one, dict) for one in value)):
        return "a table"
    shown = str(value) if is_text or isinstance(value, Decimal | bool) else repr(value)
    if "://" in shown:
        shown = _NOT_SHOWN.sub("***", shown)
    return shown if len(shown) <= 100 else shown[:97] + "..."


def _flatten(node: Mapping[str, Any], path: KeyPath = ()) -> Iterator[tuple[KeyPath, Any]]:
    """Every leaf with its path; an empty table is a leaf, so that an unknown one is seen."""
    for name, value in node.items():
        if isinstance(value, Mapping) and value:
            yield from _flatten(value, (*path, str(name)))
        else:
            yield (*path, str(name)), value


def from_file(name: str | os.PathLike[str], problems: list[str]) -> Iterator[Setting]:
    """The settings of a TOML file; why it cannot be read or parsed goes to `problems`."""
    try:
        tree = tomllib.loads(Path(name).read_text("utf-8"), parse_float=toml_float)
    except OSError as bad:
        problems.append(f"{name}: cannot be read ({bad.strerror}); allowed: a readable TOML file")
        return
    except (ValueError, RecursionError) as bad:
        problems.append(redact(f"{name}: not valid TOML: {bad}"))
        return
    for path, value in _flatten(tree):
        yield Setting(path, value, str(name))


def toml_float(written: str) -> Decimal:
    """The float exactly as written; one that Decimal cannot hold becomes NaN, which every key refuses."""
    try:
        return Decimal(written)
    except ArithmeticError:
        return Decimal("NaN")


def from_env(env: Mapping[str, str]) -> list[Setting]:
    """The settings in HFTPIPE_* variables, secrets and NOT_KEYS left out."""
    names = [name for name in sorted(env) if name.startswith(ENV_PREFIX) and not is_secret_env(name)]
    given = [
        Setting(_env_path(name), env[name], f"environment variable {name}", is_text=True)
        for name in names
        if name not in NOT_KEYS
    ]
    return [*given, *_implied(given)]


def _env_path(name: str) -> KeyPath:
    parts = name.removeprefix(ENV_PREFIX).lower().split("__")
    if parts[:2] == ["risk", "limits"] and len(parts) > 2 and parts[2] != "default":
        parts[2] = parts[2].upper()  # symbols are upper case, all other keys lower
    return tuple(parts)


#: Where a setting comes from that was changed while a pipeline ran.
CHANGED = "set while running"


def from_overrides(overrides: Mapping[str, Any], origin: str = "command line") -> list[Setting]:
    """The settings of dotted keys (or nested tables) from the command line; None is "not given"."""
    given = [
        Setting((*name.split("."), *rest), value, origin, is_text=isinstance(value, str))
        for (name, *rest), value in _flatten(overrides)
        if value is not None
    ]
    return [*given, *_implied(given)]


def _implied(layer: list[Setting]) -> Iterator[Setting]:
    """Who names a recording wants it played: `market.source` = "replay", unless the same layer sets a source."""
    by_path = {one.path: one for one in layer}
    replay = by_path.get(("market", "replay"))
    if replay and replay.value and ("market", "source") not in by_path:
        yield Setting(("market", "source"), "replay", replay.origin)
