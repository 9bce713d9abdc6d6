"""A configuration key by key, for whoever compares two of them."""

from typing import Any

from hftpipe.config import amount_keys
from hftpipe.core.machine.fixed import format_fixed

#: Kept in units of 1e-8, shown as they are written.
_AMOUNTS = amount_keys()


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


def shown(key: str, value: Any) -> Any:
    """A value of :func:`leaves` as it is written in a file."""
    return format_fixed(value) if key.rpartition(".")[2] in _AMOUNTS and value is not None else value
