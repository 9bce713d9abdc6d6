"""What the configuration says, in the form in which the parts take it."""

import numpy as np

from hftpipe.config import Config
from hftpipe.core.schema.instruments import INSTRUMENT, VENUES
from hftpipe.venues.registry import BUILT_IN, installed, unknown

#: What the configuration calls our own venues.
_OWN_NAMES = {"sim": "paper", "udp": "nasdaq"}
_SIMULATED = {"synthetic": "paper", "replay": "taped"}


def instrument_rows(config: Config) -> np.ndarray:
    """The INSTRUMENT array of a configuration."""
    rows = np.zeros(len(config.instruments), INSTRUMENT)
    for row, item in zip(rows, config.instruments, strict=True):
        row["symbol"], row["venue"] = item.symbol.encode(), VENUES[item.venue]
        row["tick"], row["lot"], row["min_notional"] = item.tick_size, item.lot_size, item.min_notional
        row["maker_fee"], row["taker_fee"] = item.maker_fee_e8, item.taker_fee_e8
        row["reference_price"] = item.reference_price
    return rows


def market_venue(config: Config) -> str:
    """The venue whose feed this is: that of ``pipeline.venue``; with ``sim`` the embedded market or the recording.

    Raises:
        VenueError: there is no such venue.
    """
    name = config.pipeline.venue
    if name in BUILT_IN or (name not in _OWN_NAMES and name not in installed()):
        raise unknown(name)
    return _SIMULATED[config.market.source] if name == "sim" else _OWN_NAMES.get(name, name)


def source_of(config: Config) -> str:
    """Where the market data comes from, as text."""
    played = config.market.replay or config.market.source
    if config.pipeline.venue != "udp":
        return played if config.pipeline.venue == "sim" else config.pipeline.venue
    lines = f"multicast {config.udp.group_a}, {config.udp.group_b}"
    return f"{lines} ({played})" if config.udp.embedded else lines


def orders_to(config: Config) -> str:
    """Where orders go, as text: ``paper`` where no other party takes them."""
    if config.pipeline.venue == "udp" and not config.udp.embedded:
        return f"orders to {config.udp.order_address}:{config.udp.order_port} ({config.udp.transport})"
    return "paper" if config.pipeline.venue in ("sim", "udp") else f"orders to {config.pipeline.venue}"
