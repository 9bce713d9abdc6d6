"""The venues there are, by name: those of this package, and those that installed packages bring.

A package brings one with an entry point of the group ``hftpipe.venues``: its name is the venue's, its value an object
:class:`hftpipe.venues.contract.Venue`.
"""

from importlib import import_module
from importlib.metadata import entry_points
from typing import Any

from hftpipe.core.schema.refusal import Refusal

GROUP = "hftpipe.venues"
#: Module and object by name; imported (and compiled) only where it is used.
BUILT_IN = {
    "paper": "hftpipe.venues.paper.wiring:VENUE",
    "taped": "hftpipe.venues.taped.wiring:VENUE",
    "nasdaq": "hftpipe.venues.nasdaq.wiring:VENUE",
    "binance_usdm": "hftpipe.venues.binance.wiring:USDM",
    "binance_spot": "hftpipe.venues.binance.wiring:SPOT",
    "bybit_linear": "hftpipe.venues.bybit.wiring:LINEAR",
    "bybit_spot": "hftpipe.venues.bybit.wiring:SPOT",
}
#: Those of them that ``pipeline.venue`` calls by their own name.
LIVE = ("binance_usdm", "binance_spot", "bybit_linear", "bybit_spot")
#: Modules whose import compiles what a venue needs, in groups that share code: one process each on a cold start.
COMPILED = {
    "paper": (("hftpipe.venues.paper.wiring",),),
    "taped": (("hftpipe.venues.taped.wiring", "hftpipe.venues.binance.codec"), ("hftpipe.venues.bybit.codec",)),
    "nasdaq": (
        ("hftpipe.simulation.exchange_server.process",),
        ("hftpipe.venues.nasdaq.itch.wiring", "hftpipe.venues.nasdaq.source"),
        ("hftpipe.venues.nasdaq.ouch.venue",),
    ),
    "binance_usdm": (("hftpipe.venues.binance.wiring",),),
    "binance_spot": (("hftpipe.venues.binance.wiring",),),
    "bybit_linear": (("hftpipe.venues.bybit.wiring",),),
    "bybit_spot": (("hftpipe.venues.bybit.wiring",),),
}


class VenueError(Refusal, ValueError):
    """There is no venue of that name, or it is none; the message names it and those there are."""


def installed() -> list[str]:
    """Names of the venues that are not of this package."""
    return sorted({one.name for one in entry_points(group=GROUP)})


def compiled_by(name: str) -> tuple[tuple[str, ...], ...]:
    """What compiles a venue, without importing it; for one that is not of this package nothing is known beforehand."""
    return COMPILED.get(name, ())


def find(name: str) -> Any:
    """The :class:`hftpipe.venues.contract.Venue` called ``name``.

    Raises:
        VenueError: there is none.
    """
    if name in BUILT_IN:
        module, _, attribute = BUILT_IN[name].partition(":")
        return getattr(import_module(module), attribute)
    for one in entry_points(group=GROUP):
        if one.name == name:
            return one.load()
    raise unknown(name)


def unknown(name: str) -> VenueError:
    """The refusal of a ``pipeline.venue`` that is none."""
    brought = ", ".join(installed()) or "none is installed"
    return VenueError(
        f"pipeline.venue = {name}: no such venue; allowed: sim, udp, {', '.join(LIVE)}, or one that a package "
        f"brings ({brought})"
    )
