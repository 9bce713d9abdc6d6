"""What a configuration is made of: keys with a kind, read-only tables, and the error that names what is wrong."""

import dataclasses
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from typing import Any

from hftpipe.config.kinds import Kind
from hftpipe.core.schema.refusal import Refusal


class ConfigError(Refusal, ValueError):
    """Refused settings; `problems` has one line for each, naming source, key, value and what is allowed."""

    def __init__(self, *problems: str) -> None:
        super().__init__("\n".join(problems))
        self.problems = problems


@dataclass(frozen=True)
class Table(Mapping[str, Any]):
    """A read-only mapping that can be hashed and pickled (a mappingproxy can do neither)."""

    pairs: tuple[tuple[str, Any], ...] = ()

    @classmethod
    def of(cls, source: Mapping[str, Any]) -> "Table":
        """A table of `source`, in key order, so that equal contents are equal tables."""
        return cls(tuple(sorted(source.items())))

    def __getitem__(self, name: str) -> Any:
        for key_name, value in self.pairs:
            if key_name == name:
                return value
        raise KeyError(name)

    def __iter__(self) -> Iterator[str]:
        return (name for name, _ in self.pairs)

    def __len__(self) -> int:
        return len(self.pairs)


def key(default: Any, kind: Kind, doc: str) -> Any:
    """A dataclass field for one configuration key; `default` is written as in TOML, None for "not set"."""
    parsed = None if default is None else kind.parse(default)
    return field(default=parsed, metadata={"kind": kind, "doc": doc, "raw": default})


def keys_of(section: type) -> dict[str, dataclasses.Field[Any]]:
    """The keys of a section that hold a checked value (its free tables are left out)."""
    return {one.name: one for one in dataclasses.fields(section) if "kind" in one.metadata}
