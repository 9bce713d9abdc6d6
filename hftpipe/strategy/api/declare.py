"""What a strategy author writes: a class with parameters, state and up to five hooks.

The class is never instantiated. The loader turns its parameters and state into one structured record (``self``) and
compiles its functions as they stand, so only what numba can compile without allocating may stand in them.
"""

from dataclasses import dataclass
from typing import Any, NewType

from hftpipe.core.schema.refusal import Refusal

#: int64 in units of 1e-8. As a parameter it is written as a decimal: "60000.5".
Price = NewType("Price", int)
#: int64 in units of 1e-8. As a parameter it is written as a decimal: "0.001".
Qty = NewType("Qty", int)
#: A client order id as int64; 0 is "no order". Never a float: a float cannot hold every id.
OrderId = NewType("OrderId", int)

#: The hooks and their arguments. There are no others.
HOOKS: dict[str, tuple[str, ...]] = {
    "on_book": ("self", "ctx", "book"),
    "on_trade": ("self", "ctx", "trade"),
    "on_fill": ("self", "ctx", "fill"),
    "on_timer": ("self", "ctx"),
    "on_params": ("self", "ctx"),
}


class StrategyError(Refusal, ValueError):
    """A strategy or its parameters cannot be used; the text names file, line and what to change."""


@dataclass(frozen=True)
class Param:
    """A declared parameter; made by :func:`param`."""

    default: Any
    gt: Any = None
    ge: Any = None
    lt: Any = None
    le: Any = None


@dataclass(frozen=True)
class State:
    """A declared piece of state; made by :func:`state`."""

    default: Any = 0
    shape: int | tuple[int, ...] | None = None


def param(default: Any, *, gt: Any = None, ge: Any = None, lt: Any = None, le: Any = None) -> Any:
    """Declare a parameter: set from the configuration, checked, and changeable while running.

    Args:
        default: used when the configuration does not name it. Price and Qty are decimal strings.
        gt, ge, lt, le: open and closed bounds, in the notation of the default.

    The annotation gives the type: float, int, bool, Price or Qty; without one it is the default's.
    """
    return Param(default, gt, ge, lt, le)


def state(default: Any = 0, *, shape: int | tuple[int, ...] | None = None) -> Any:
    """Declare a value that lives from event to event, in shared memory.

    Args:
        default: the value at start; Price and Qty in units of 1e-8.
        shape: makes it a fixed array of that shape, every element starting at ``default``.

    The annotation gives the type: float, int, bool, Price, Qty or OrderId; without one it is the default's.
    """
    return State(default, shape)


class Strategy:
    """Base of every strategy; see docs/writing-a-strategy.md.

    Hooks, all optional but at least one: ``on_book(self, ctx, book)``, ``on_trade(self, ctx, trade)``,
    ``on_fill(self, ctx, fill)``, ``on_timer(self, ctx)``, ``on_params(self, ctx)``.
    """
