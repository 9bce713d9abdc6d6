"""What a market of a simulated venue lists."""

from dataclasses import dataclass
from typing import Any

import numpy as np


@dataclass(frozen=True)
class Listing:
    """What one market lists.

    Attributes:
        rules: of the market, whatever its venue asks of them; here are asked ``name``; ``shared_ids``: whether update ids are numbers of
            the whole market, not of one instrument; ``decimals``: how the amounts of a symbol are written, from its tick and its lot
            (1e-8); ``aggregate_ns``: for how long trades at one price and side are told as one, 0: what one taker did at one price.
        instruments: INSTRUMENT array; symbol, tick, lot, base, quote and reference_price must be set.
        rates: mean events a second of each, float64[n].
    """

    rules: Any
    instruments: np.ndarray
    rates: np.ndarray
