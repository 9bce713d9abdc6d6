"""What a hook raised, by name: kept by the strategy's own process, where the exception can be read, for the supervisor.

A hook that raises leaves the address of its exception in its strategy's seat (:mod:`hftpipe.strategy.compile.located`) and the stage
asks for its Python service. That is :func:`record_faults`: it writes what happened into the strategy's fault region.
"""

import ctypes
import json
import pickle
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np

from hftpipe.core.schema.fault import FAULT_BYTES
from hftpipe.strategy.api.declare import HOOKS
from hftpipe.strategy.compile.loader import LoadedStrategy

#: Longest message of an exception that is kept.
_MESSAGE_CHARACTERS = 400
HOOK_OF_NUMBER = dict(enumerate(HOOKS, 1))


class _Raised(ctypes.Structure):
    """numba's record of an exception: its class, arguments and place, pickled; the rest is for arguments made at run time."""

    _fields_ = (
        ("data", ctypes.c_void_p), ("size", ctypes.c_int32), ("hash", ctypes.c_void_p),
        ("unwrap", ctypes.c_void_p), ("n_dynamic", ctypes.c_int32),
    )  # fmt: skip


def decode(address: int) -> tuple[str, str, str, int]:
    """Class, message, file and line (0 unknown) of the exception at ``address``; only in the process that raised it."""
    raised = _Raised.from_address(address)
    kind, arguments, place = pickle.loads(ctypes.string_at(raised.data, raised.size))
    message = "" if raised.n_dynamic > 0 else ", ".join(map(str, arguments or ()))
    _, file, line = place or ("", "", 0)
    return kind.__name__, message[:_MESSAGE_CHARACTERS], str(file), int(line)


def record_faults(seats: np.ndarray, strategies: Sequence[LoadedStrategy], regions: Sequence[np.ndarray]) -> bool:
    """Write what failed hooks raised into their strategies' fault regions (uint8 arrays): True, for the stage goes on."""
    for seat, loaded, region in zip(seats, strategies, regions, strict=True):
        if seat["failed"] != seat["fault_told"]:
            seat["fault_told"] = seat["failed"]
            record_fault(seat, loaded, region)
    return True


def record_fault(seat: np.void, loaded: LoadedStrategy, region: np.ndarray) -> None:
    """Write what a seat's failed hook raised into its fault region.

    The line is 0 where the exception came from code that is not the strategy's (a library's own ``raise``).
    """
    kind, message, file, line = decode(int(seat["raised"]))
    is_authors = bool(file) and Path(file).suffix == ".py" and "site-packages" not in Path(file).parts
    fault = {
        "hook": HOOK_OF_NUMBER[int(seat["failed"])],
        "file": file if is_authors else str(loaded.source),
        "line": line if is_authors else 0,
        "exception": kind,
        "message": message,
        "count": 1,
        "dropped": int(seat["dropped"]),
    }
    text = _fitting(fault)
    region[: len(text)] = np.frombuffer(text, np.uint8)


def _fitting(fault: dict[str, Any]) -> bytes:
    """The fault as JSON that fits into its region, its texts cut as far as need be."""
    texts = (json.dumps(fault | _cut(fault, keep)).encode() for keep in (400, 200, 100, 50))
    return next(text for text in texts if len(text) <= FAULT_BYTES)


def _cut(fault: dict[str, Any], keep: int) -> dict[str, str]:
    """Its texts with at most ``keep`` characters each (of JSON's 6 bytes at most); of the path the end."""
    return {"exception": fault["exception"][:keep], "message": fault["message"][:keep], "file": fault["file"][-keep:]}
