"""What is traded: instruments as they are written out, and rules by which they are chosen from what venues list."""

# ruff: noqa: RUF009 - key() only wraps dataclasses.field(), so its result is not shared
from dataclasses import dataclass
from decimal import Decimal

from hftpipe.config.fields import key
from hftpipe.config.kinds import (
    BASE,
    CONTRACT,
    MULTIPLIER,
    PACK,
    PATTERNS,
    POSITIVE,
    QUOTE,
    SYMBOL,
    VENUE_NAME,
    amount,
    basis_points,
    choice,
    integer,
)
from hftpipe.core.schema.instruments import DEPTHS, MAX_INSTRUMENTS, split_symbol

# What holds for one symbol only: an entry for another symbol than the built-in one must give these itself.
SYMBOL_KEYS = ("tick_size", "lot_size", "min_notional", "reference_price")


@dataclass(frozen=True)
class Instrument:
    """One traded instrument; prices and quantities in units of 1e-8, fees in basis points."""

    symbol: str = key("BTCUSDT", SYMBOL, "Name at the venue; unique there.")
    venue: str = key(
        "binance_usdm",
        VENUE_NAME,
        "Name of one of [[venues]]; where there are none, whose rules apply: binance_spot, binance_usdm, bybit_spot or bybit_linear.",
    )
    tick_size: int = key("0.10", POSITIVE, "Price step, in quote currency.")
    lot_size: int = key("0.001", POSITIVE, "Quantity step, in base currency.")
    depth: str = key(
        "full", choice(*DEPTHS), "How much of its book is followed: all, the 64 best levels a side, or best prices."
    )
    base: str = key("", BASE, 'Currency that quantities are in; "" = as the symbol says.')
    quote: str = key("", QUOTE, 'Currency that prices are in; "" = as the symbol says.')
    contract: str = key("linear", CONTRACT, "What is traded: linear contracts, or the base itself.")
    multiplier: int = key("1", MULTIPLIER, "Units of the base currency that a quantity of 1 stands for.")
    pack: int = key(
        1, PACK, "Units of the venue that one unit of this entry is; prices, quantities, steps and limits are of packs."
    )
    volume_24h: int = key(
        "0", amount(0, "a decimal number, 0 or more,"), "Traded in a day, in quote currency; 0 = not known."
    )
    min_notional: int = key("5", amount(0, "a decimal number, 0 or more,"), "Smallest order value, in quote currency.")
    maker_fee_bps: Decimal = key("2.0", basis_points(-100, 1000), "Fee on resting fills; negative = rebate.")
    taker_fee_bps: Decimal = key("5.0", basis_points(-100, 1000), "Fee on taking fills; negative = rebate.")
    position_tolerance: int = key(
        "0.001",
        amount(0, "a decimal number, 0 or more,"),
        "Live orders: the venue's position may differ from the run's by so much; beyond it trading is halted.",
    )
    reference_price: int = key("60000", POSITIVE, "Start price of the synthetic flow, in quote currency.")

    @property
    def currencies(self) -> tuple[str, str]:
        """Base and quote; empty where neither the entry nor the symbol says (or not in 16 letters)."""
        if self.base and self.quote:
            return self.base, self.quote
        base, quote = split_symbol(self.symbol)
        return self.base or (base if len(base) <= 16 else ""), self.quote or quote

    @property
    def maker_fee_e8(self) -> int:
        """Maker fee as a share of notional, in units of 1e-8 (1 basis point = 10_000)."""
        return int(self.maker_fee_bps * 10_000)

    @property
    def taker_fee_e8(self) -> int:
        """Taker fee as a share of notional, in units of 1e-8 (1 basis point = 10_000)."""
        return int(self.taker_fee_bps * 10_000)


@dataclass(frozen=True)
class Universe:
    """Instruments chosen from what the venues list; a symbol belongs to the first table that takes it."""

    symbols: tuple[str, ...] = key(
        ["*"], PATTERNS, "Symbols to take: patterns with * and ?, of one venue with its name before them (alpha:*USDT)."
    )
    exclude: tuple[str, ...] = key([], PATTERNS, "Symbols to leave out, in the same form.")
    min_volume_24h: int = key(
        "0", amount(0, "a decimal number, 0 or more,"), "Least traded in a day, in quote currency."
    )
    most: int = key(
        0, integer(0, MAX_INSTRUMENTS), "Most symbols to take at each venue, the most traded first; 0 = all."
    )
    depth: str = key("full", choice(*DEPTHS), "How much of their books is followed: full, shallow or top.")
