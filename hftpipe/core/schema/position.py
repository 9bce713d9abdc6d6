"""A position: what is held, what it cost, and where the profit came from (:mod:`hftpipe.core.trading.position`)."""

import numpy as np

#: All quantities and amounts are int64 in 1e-8; ``qty`` and ``cost`` are signed (short: negative).
POSITION = np.dtype(
    [
        ("qty", "i8"), ("cost", "i8"), ("realised", "i8"), ("fees", "i8"),
        ("bought_qty", "i8"), ("sold_qty", "i8"), ("turnover", "i8"), ("fills", "i8"),
        # Risk's view of what may still fill: remaining quantity of working orders, a side.
        ("working_buy", "i8"), ("working_sell", "i8"),
        # The last mid known (0: none yet), set by whoever books.
        ("mark", "i8"), ("overflows", "i8"),
        # Value of all fills at their mids (buys positive), and how much of fees, fills and turnover was taking.
        ("at_mid", "i8"), ("taker_fees", "i8"), ("taker_fills", "i8"), ("taker_turnover", "i8"),
    ],
    align=True,
)  # fmt: skip
