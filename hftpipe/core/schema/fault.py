"""What a strategy's hook raised, as it stands in shared memory: JSON, padded with zero bytes."""

import json
from typing import Any

import numpy as np

#: The fault as JSON, padded with zero bytes.
FAULT_BYTES = 2048


def read_fault(region: np.ndarray) -> dict[str, Any] | None:
    """What :func:`record_fault` has written, if anything."""
    text = bytes(region).rstrip(b"\0")
    return json.loads(text) if text else None


def describe_fault(fault: dict[str, Any]) -> str:
    """One line for people: ``file:line: hook: exception: message``."""
    place = f"{fault['file']}:{fault['line']}" if fault["line"] else fault["file"]
    raised = f"{fault['exception']}: {fault['message']}" if fault["message"] else fault["exception"]
    dropped = f" ({fault['dropped']} actions of this call not sent)" if fault.get("dropped") else ""
    return f"{place}: {fault['hook']}: {raised}{dropped}"
