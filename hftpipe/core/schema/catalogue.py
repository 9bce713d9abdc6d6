"""What a venue says it lists: facts of each instrument, from which those to trade are chosen."""

import numpy as np

#: Sizes, notional and prices in 1e-8; fees in 1e-8 of the notional; ``volume_24h``: traded in a day, 1e-8 of the quote currency
#: (0: not known); ``contract``: index in CONTRACTS; ``power``: prices and quantities are of packs of 10**power of the venue's units.
LISTED = np.dtype(
    [
        ("symbol", "S24"), ("base", "S16"), ("quote", "S8"), ("contract", "i8"), ("multiplier", "i8"), ("power", "i8"),
        ("tick", "i8"), ("lot", "i8"), ("min_notional", "i8"), ("maker_fee", "i8"), ("taker_fee", "i8"),
        ("reference_price", "i8"), ("volume_24h", "i8"),
    ],
    align=True,
)  # fmt: skip
