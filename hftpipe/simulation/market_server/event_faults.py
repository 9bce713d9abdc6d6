"""What befalls the next events of a market's book streams: left out, doubled, overtaken, or without one of their levels."""

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any, Protocol


class Told(Protocol):
    """A stream.

    Attributes:
        name: of it, among all of its market.
    """

    name: str

    def tell(self, message: Any) -> None:
        """Send a message to everyone who listens."""


@dataclass(slots=True)
class EventFaults:
    """What befalls the next events.

    Attributes:
        what: as the keys of a request name these events (``drop_next_<what>``).
        drop, double, reorder, omit: how many more; symbol: of whom, empty: of all.
    """

    what: str
    drop: int = 0
    double: int = 0
    reorder: int = 0
    omit: int = 0
    symbol: str = ""
    _held: dict[str, tuple[Told, Any]] = field(default_factory=dict)

    def ask(self, asked: Mapping[str, Any]) -> None:
        """Take what a request asks; it replaces what was left of an earlier one."""
        keys = {name: f"{name}_next_{self.what}" for name in ("drop", "double", "reorder", "omit")}
        if any(key in asked for key in keys.values()):
            for name, key in keys.items():
                setattr(self, name, asked.get(key, 0))
            self.symbol = asked.get("symbol", "")

    def is_omitted(self, symbol: str) -> bool:
        """Whether one level of the next event is not told: no number says so. One of those is used up."""
        is_due = self.omit > 0 and self.symbol in ("", symbol)
        self.omit -= is_due
        return is_due

    def pass_on(self, stream: Told, symbol: str, message: Any) -> None:
        """Send an event, or what has become of it."""
        held = self._held.pop(stream.name, None)
        if held is None and self.symbol in ("", symbol):
            if self.drop:
                self.drop -= 1
                return
            if self.double:
                self.double -= 1
                stream.tell(message)
            elif self.reorder:
                self.reorder -= 1
                self._held[stream.name] = stream, message
                return
        stream.tell(message)
        if held is not None:
            held[0].tell(held[1])
