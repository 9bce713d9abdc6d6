"""Checks each setting by itself: is its key known, is its value of that key's kind, is it no secret."""

import dataclasses
import difflib
import re
import tomllib
from collections.abc import Iterator, Mapping
from decimal import Decimal
from typing import Any

from hftpipe.config.fields import Table, keys_of
from hftpipe.config.instruments import SYMBOL_KEYS, Instrument, Universe
from hftpipe.config.kinds import SCALAR, SYMBOL, VENUE_NAME, Kind
from hftpipe.config.layers import CHANGED, KeyPath, Setting, toml_float
from hftpipe.config.network import ENDPOINTS, endpoint_kinds, nets_of
from hftpipe.config.presets import demo_overrides
from hftpipe.config.schema import (
    SECTIONS,
    VENUE_SECTIONS,
    Config,
    LimitGroup,
    Limits,
    Strategy,
    StrategyEntry,
    VenueEntry,
)
from hftpipe.config.secrets import SECRET_PREFIX, looks_secret
from hftpipe.core.schema.halts import MAX_STRATEGIES
from hftpipe.core.schema.instruments import MAX_INSTRUMENTS, MAX_VENUES

#: Tables of [[universe]] and [[limit_groups]] at most.
MAX_RULES = 64
#: Lists of tables.
_LISTS = ("instruments", "limit_groups", "strategies", "universe", "venues")
_TABLES = {"strategy": ("params", "profiles"), "risk": ("limits",)}


def _kind_of(path: KeyPath) -> Kind | None:
    match path:
        case ("strategy", "params", _) | ("strategy", "profiles", _, _):
            return SCALAR
        case ("network", venue, net, name):
            found = endpoint_kinds(venue, net).get(name)
            return found.metadata["kind"] if found else None
        case ("risk", "limits", table, name) if _is_limits_table(table):
            section: type = Limits
        case (head, name) if head in SECTIONS:
            section = SECTIONS[head]
        case _:
            return None
    one = keys_of(section).get(name)
    return one.metadata["kind"] if one else None


def _is_limits_table(name: str) -> bool:
    """default, SYMBOL or venue:SYMBOL."""
    venue, _, symbol = name.rpartition(":")
    return name == "default" or (_accepts(SYMBOL, symbol) and (not venue or _accepts(VENUE_NAME, venue)))


def _accepts(kind: Kind, value: Any) -> bool:
    try:
        kind.parse(value)
    except ValueError:
        return False
    return True


def _read(setting: Setting, kind: Kind) -> Any:
    """The value of `setting` by `kind`, text being read as TOML where the kind asks for it."""
    value = setting.value
    if setting.is_text and kind.literal:
        value = _literal(value)
        if kind is SCALAR and not isinstance(value, bool | int | Decimal):
            value = setting.value  # free parameters may be plain words
    return kind.parse(value)


def _literal(written: str) -> Any:
    try:
        tree = tomllib.loads(f"value = {written.strip()}", parse_float=toml_float)
    except (ValueError, RecursionError):
        return written
    return tree["value"] if len(tree) == 1 else written


def _is_table(path: KeyPath) -> bool:
    match path:
        case (head,):
            return head in SECTIONS or head in ("risk", "network")
        case ("network", venue):
            return venue in ENDPOINTS
        case ("network", venue, net):
            return net in nets_of(venue)
        case (head, name):
            return name in _TABLES.get(head, ())
        case ("strategy", "profiles", _):
            return True
        case ("risk", "limits", table):
            return _is_limits_table(table)
    return False


def _children(path: KeyPath) -> list[str]:
    """Names allowed directly under the table `path`."""
    match path:
        case ():
            return [one.name for one in dataclasses.fields(Config)]
        case ("network",):
            return list(ENDPOINTS)
        case ("network", venue) if venue in ENDPOINTS:
            return list(nets_of(venue))
        case ("network", venue, net) if endpoint_kinds(venue, net):
            return list(endpoint_kinds(venue, net))
        case ("risk", "limits", _):
            return list(keys_of(Limits))
        case ("risk", "limits"):
            return ["default", "a symbol", "venue:symbol"]
        case ("strategy", "params" | "profiles", *_):
            return ["names with one value each"]
        case (head,) if head in SECTIONS or head in _TABLES:
            return [*(keys_of(SECTIONS[head]) if head in SECTIONS else ()), *_TABLES.get(head, ())]
    return _children(path[:-1])


def known_keys() -> list[str]:
    """The dotted names of all keys, limits as those of the table "default"."""
    plain = [f"{head}.{name}" for head, section in SECTIONS.items() for name in keys_of(section)]
    limits = [f"risk.limits.default.{name}" for name in keys_of(Limits)]
    addresses = [
        f"network.{at}.{net}.{name}" for at in ENDPOINTS for net in nets_of(at) for name in endpoint_kinds(at, net)
    ]
    return [*plain, *limits, *addresses, *_LISTS]


def _suggestion(path: KeyPath) -> str:
    """The known key most like `path`: by its whole spelling, or by its last name if the place is wrong."""
    asked = ".".join((*path[:2], "default", *path[3:]) if path[:2] == ("risk", "limits") else path)
    known = {name.rpartition(".")[2]: name for name in known_keys()}
    whole = difflib.get_close_matches(asked, known_keys(), 1, 0.8)
    last = difflib.get_close_matches(path[-1], known, 1, 0.7)
    best = (*whole, *(known[name] for name in last))
    if not best:
        return ""
    table = path[2] if path[:2] == ("risk", "limits") and len(path) > 3 else "default"
    return f", did you mean {best[0].replace('limits.default.', f'limits.{table}.')}?"


def _unknown(setting: Setting) -> str:
    path = setting.path
    if _is_table(path):
        return setting.refused("this is a table, not a value", ", ".join(_children(path)))
    return setting.refused(f"unknown key{_suggestion(path)}", ", ".join(_children(path[:-1])))


def _secret_problems(setting: Setting) -> list[str]:
    """Problem lines for keys of `setting` that would hold a secret; the value is not repeated."""
    names = [part for part in setting.path if looks_secret(part)] or list(_secret_names(setting.value))
    key_name = ".".join(setting.path)
    return [
        f"{setting.origin}: {key_name} ({name}): a secret is never part of the configuration; "
        f"allowed: the environment variable {SECRET_PREFIX}{re.sub(r'[^A-Z0-9]', '_', name.upper())}"
        for name in names
    ]


def _secret_names(value: Any) -> Iterator[str]:
    if isinstance(value, Mapping):
        yield from (name for name in value if looks_secret(name))
    for one in value.values() if isinstance(value, Mapping) else value if isinstance(value, list) else ():
        yield from _secret_names(one)


STRATEGY_NAME = ("strategy", "name")
STRATEGY_PARAMS = {("strategy", "params"), ("strategy", "profile"), ("strategy", "profiles")}


class Checked:
    """The accepted settings, later layers over earlier ones, and the problems met on the way."""

    def __init__(self) -> None:
        self.values: dict[KeyPath, Any] = {}
        self.settings: dict[KeyPath, Setting] = {}
        self.problems: list[str] = []

    def add(self, setting: Setting) -> None:
        """Check one setting and keep it, or note why not."""
        kind = _kind_of(setting.path)
        is_empty_table = setting.value == {} and _is_table(setting.path)
        if secret := _secret_problems(setting):
            self.problems += secret
        elif setting.path[0] in _LISTS and len(setting.path) == 1:
            self._keep(setting, getattr(self, f"_{setting.path[0]}")(setting))
        elif is_empty_table:
            self._keep(setting, {})
        elif kind is None:
            self.problems.append(_unknown(setting))
        else:
            self._add_value(setting, kind)

    def _add_value(self, setting: Setting, kind: Kind) -> None:
        try:
            self._keep(setting, _read(setting, kind))
        except ValueError as bad:
            self.problems.append(setting.refused(str(bad), kind.allowed))

    def _keep(self, setting: Setting, value: Any) -> None:
        if setting.path == STRATEGY_NAME and value != self.values.get(STRATEGY_NAME, Strategy().name):
            self._forget_params(setting.origin)
        self.values[setting.path] = value
        self.settings[setting.path] = setting

    def _forget_params(self, origin: str) -> None:
        """Another strategy: what lower layers said about the former one's parameters is not about this one."""
        for path in [path for path in self.values if path[:2] in STRATEGY_PARAMS]:
            if self.settings[path].origin != origin:
                del self.values[path], self.settings[path]

    def _tables(self, setting: Setting, section: type, most: int) -> list[Mapping[str, Any]]:
        """The tables of a list; none, and why not, if it is not one."""
        tables = _literal(setting.value) if setting.is_text else setting.value
        if secret := _secret_problems(dataclasses.replace(setting, value=tables)):
            self.problems += secret
            return []
        is_list = isinstance(tables, list | tuple) and all(isinstance(one, Mapping) for one in tables)
        if not is_list or not 1 <= len(tables) <= most:
            self.problems.append(setting.refused("not that", f"1 to {most} tables with {_names(section)}"))
            return []
        return list(tables)

    def _fields(self, section: type, place: KeyPath, table: Mapping[str, Any], origin: str) -> dict[str, Any]:
        """The values of a table by the kinds of a section; what is wrong with it is noted."""
        kinds = {name: one.metadata["kind"] for name, one in keys_of(section).items()}
        values: dict[str, Any] = {}
        for name, value in table.items():
            given = Setting((*place, name), value, origin)
            if name not in kinds:
                close = difflib.get_close_matches(name, kinds, 1)
                hint = f", did you mean {close[0]}?" if close else ""
                self.problems.append(given.refused(f"unknown key{hint}", _names(section)))
                continue
            try:
                values[name] = kinds[name].parse(value)
            except ValueError as bad:
                self.problems.append(given.refused(str(bad), kinds[name].allowed))
        return values

    def _instruments(self, setting: Setting) -> tuple[Instrument, ...]:
        tables = self._tables(setting, Instrument, MAX_INSTRUMENTS)
        return tuple(self._instrument(setting, at, table) for at, table in enumerate(tables))

    def _instrument(self, setting: Setting, at: int, table: Mapping[str, Any]) -> Instrument:
        values = self._fields(Instrument, (f"instruments[{at}]",), table, setting.origin)
        for name, reason in _missing(table):
            place, allowed = f"{setting.origin}: instruments[{at}].{name}", keys_of(Instrument)[name].metadata["kind"]
            self.problems.append(f"{place}: {reason}; allowed: {allowed.allowed}")
        return Instrument(**values)

    def _universe(self, setting: Setting) -> tuple[Universe, ...]:
        tables = enumerate(self._tables(setting, Universe, MAX_RULES))
        return tuple(
            Universe(**self._fields(Universe, (f"universe[{at}]",), one, setting.origin)) for at, one in tables
        )

    def _venues(self, setting: Setting) -> tuple[dict[str, Any], ...]:
        """The venues as values by key; their own tables (:data:`VENUE_SECTIONS`) are laid over the common ones later."""
        found = []
        for at, table in enumerate(self._tables(setting, VenueEntry, MAX_VENUES)):
            place = f"venues[{at}]"
            plain = {name: value for name, value in table.items() if name not in VENUE_SECTIONS}
            values = self._fields(VenueEntry, (place,), plain, setting.origin)
            if "name" not in table:
                self.problems.append(self._missing_name(VenueEntry, place, setting.origin))
            for head in VENUE_SECTIONS:
                own = table.get(head, {})
                if isinstance(own, Mapping):
                    values[head] = self._fields(SECTIONS[head], (place, head), own, setting.origin)
                else:
                    given = Setting((place, head), own, setting.origin)
                    self.problems.append(given.refused("this is a table, not a value", _names(SECTIONS[head])))
            found.append(values)
        return tuple(found)

    def _limit_groups(self, setting: Setting) -> tuple[LimitGroup, ...]:
        found = []
        for at, table in enumerate(self._tables(setting, LimitGroup, MAX_RULES)):
            place = f"limit_groups[{at}]"
            if "name" not in table:
                self.problems.append(self._missing_name(LimitGroup, place, setting.origin))
            found.append(LimitGroup(**self._fields(LimitGroup, (place,), table, setting.origin)))
        return tuple(found)

    def _strategies(self, setting: Setting) -> tuple[StrategyEntry, ...]:
        found = []
        for at, table in enumerate(self._tables(setting, StrategyEntry, MAX_STRATEGIES)):
            place = f"strategies[{at}]"
            plain = {name: value for name, value in table.items() if name != "params"}
            values = self._fields(StrategyEntry, (place,), plain, setting.origin)
            if "name" not in table:
                self.problems.append(self._missing_name(StrategyEntry, place, setting.origin))
            params = self._params(table.get("params", {}), (place, "params"), setting.origin)
            found.append(StrategyEntry(**values, params=Table.of(params)))
        return tuple(found)

    def _params(self, params: Any, place: KeyPath, origin: str) -> dict[str, Any]:
        """Parameters as the strategy is given them: a plain value each; what they may be the strategy says."""
        if not isinstance(params, Mapping):
            self.problems.append(
                Setting(place, params, origin).refused("this is a table, not a value", "names with one value each")
            )
            return {}
        values: dict[str, Any] = {}
        for name, value in params.items():
            try:
                values[name] = SCALAR.parse(value)
            except ValueError as bad:
                self.problems.append(Setting((*place, name), value, origin).refused(str(bad), SCALAR.allowed))
        return values

    @staticmethod
    def _missing_name(section: type, place: str, origin: str) -> str:
        return f"{origin}: {place}.name: missing; allowed: {keys_of(section)['name'].metadata['kind'].allowed}"

    def is_of_this_run(self, setting: Setting) -> bool:
        """Whether a setting is meant for this run alone: by the environment or the command line, and not by the demonstration."""
        is_given = setting.origin in ("command line", CHANGED) or setting.origin.startswith("environment variable")
        return is_given and demo_overrides().get(".".join(setting.path)) != setting.value

    def under(self, *path: str) -> dict[str, Any]:
        """Values directly under `path`."""
        return {at[-1]: v for at, v in self.values.items() if at[:-1] == path and v != {}}

    def tables_under(self, *path: str) -> set[str]:
        """Names of the tables under `path`."""
        depth = len(path)
        found = (at for at, v in self.values.items() if at[:depth] == path)
        return {at[depth] for at in found if len(at) > depth}

    def given(self, *path: str) -> Setting:
        """The setting in force for `path`, or the built-in default as one."""
        kind = _kind_of(path)
        default = keys_of(SECTIONS[path[0]])[path[-1]].metadata["raw"] if kind and path[0] in SECTIONS else None
        return self.settings.get(path, Setting(path, default, "built-in default"))


def _missing(table: Mapping[str, Any]) -> Iterator[tuple[str, str]]:
    """Keys an entry of [[instruments]] must have and has not, with the reason."""
    if "symbol" not in table:
        yield "symbol", "missing"
    elif _accepts(SYMBOL, table["symbol"]):
        if table["symbol"] == Instrument.symbol and table.get("venue") != "binance_spot":
            return
        for name in SYMBOL_KEYS:
            if name not in table:
                yield name, f"missing (only {Instrument.symbol} at {Instrument.venue} has a built-in one)"


def _names(section: type) -> str:
    return ", ".join(keys_of(section))
