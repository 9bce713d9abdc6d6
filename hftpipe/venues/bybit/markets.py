"""What differs between Bybit's categories for whoever asks what they list or follows them."""

from dataclasses import dataclass

from hftpipe.core.schema.instruments import LINEAR, SPOT

#: 1 basis point, in 1e-8 of the notional.
_BPS = 10_000


@dataclass(frozen=True)
class Market:
    """A category.

    Attributes:
        name: of its rules (:data:`hftpipe.core.schema.instruments.VENUES`); category: its name at the venue.
        contract: what is traded, one of CONTRACTS.
        args_most: topics in one request.
        maker_fee, taker_fee: of an account without volume or discounts, 1e-8 of the notional. What an account really pays only itself
            may ask.
    """

    name: str
    category: str
    contract: str
    args_most: int
    maker_fee: int
    taker_fee: int


#: Linear contracts have no limit of their own: as many topics as make an answer that is not long in coming.
BYBIT_LINEAR = Market("bybit_linear", "linear", LINEAR, 100, 2 * _BPS, 55 * _BPS // 10)
BYBIT_SPOT = Market("bybit_spot", "spot", SPOT, 10, 10 * _BPS, 10 * _BPS)
