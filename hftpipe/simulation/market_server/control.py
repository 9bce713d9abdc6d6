"""What the control endpoint of a simulated venue may be asked: which keys there are, and what each of them may be.

These every venue has, beside those of :mod:`hftpipe.simulation.market_server.trading.faults`:

============ =================================================================================================================
key          what it does
============ =================================================================================================================
disconnect   ``"all"``, ``"one"`` (the oldest) or those of a kind that the venue has: cut connections in the middle of their next message
half_open    as disconnect: nothing is said or heard on connections any more, and nobody closes them
refuse_ms    no WebSocket connection is taken for so long
symbol       only the book events of this symbol (``BTCUSDT``) are meant by this request's
stall_ms     nothing is sent on any WebSocket for so long, pings and pongs included; then all of it
freeze       ``true``: nothing happens in the market any more; ``false``: it goes on
clock_stands ``true``: the venue's clock stands still, and what is due by it waits; ``false``: it goes on from there
============ =================================================================================================================
"""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from hftpipe.simulation.market_server import rule_changes
from hftpipe.simulation.market_server.trading import faults

_COUNTS, _FLAGS = ("stall_ms", "refuse_ms", *faults.COUNTS), ("freeze", "clock_stands", *faults.FLAGS)
_NAMES = {"symbol": "the name of a symbol", "revoke_key": "the name of a key"}
_MOST = 1_000_000


class BadOrder(ValueError):
    """A request to the control endpoint that means nothing; the text says what is allowed."""


def _is_whole(value: Any, least: int) -> bool:
    return type(value) is int and least <= value <= _MOST


@dataclass(frozen=True)
class Keys:
    """The keys that one venue has of its own.

    Attributes:
        counts: of whole numbers from 0; flags: of true and false; choices: what each of the others may be.
        kinds: of connections that may be lost, beside all and one.
    """

    counts: tuple[str, ...]
    flags: tuple[str, ...]
    choices: Mapping[str, tuple[str, ...]]
    kinds: tuple[str, ...] = ()

    def checked(self, asked: object) -> Mapping[str, Any]:
        """The request as it was, if all of it means something.

        Raises:
            BadOrder: it does not.
        """
        if not isinstance(asked, dict):
            raise BadOrder(f"control: {asked!r}; allowed: one JSON object")
        which = ("all", "one", *self.kinds)
        choices = {"disconnect": which, "half_open": which, **self.choices}
        kinds = (
            ((*self.counts, *_COUNTS), lambda value: _is_whole(value, 0), f"a whole number from 0 to {_MOST}"),
            (faults.SIGNED, lambda value: _is_whole(value, -_MOST), f"a whole number from -{_MOST} to {_MOST}"),
            ((*self.flags, *_FLAGS), lambda value: type(value) is bool, "true or false"),
            *(((key,), lambda value: isinstance(value, str), what) for key, what in _NAMES.items()),
            (rule_changes.TEXTS, lambda value: isinstance(value, str), "a text"),
            *(((key,), lambda value, among=of: value in among, " or ".join(of)) for key, of in choices.items()),
        )
        for key, value in asked.items():
            found = next(((fits, allowed) for keys, fits, allowed in kinds if key in keys), None)
            if found is None:
                known = ", ".join(sorted(one for keys, _, _ in kinds for one in keys))
                raise BadOrder(f"control: {key}: no such key; allowed: {known}")
            if not found[0](value):
                raise BadOrder(f"control: {key} = {value!r}; allowed: {found[1]}")
        return asked
