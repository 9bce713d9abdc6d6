"""What Binance lists promises: each instrument exact to the last unit, or left out and counted by its reason."""

from collections.abc import Mapping
from decimal import Decimal
from fractions import Fraction
from typing import Any

import numpy as np
import pytest
from hypothesis import example, given
from hypothesis import strategies as st
from listing_rig import MARKETS, SMALLEST, TICKER, entry, ticker

from hftpipe.core.schema.catalogue import LISTED
from hftpipe.core.schema.instruments import CONTRACTS, LINEAR, MAX_POWER, SPOT, VENUES, is_reckoned
from hftpipe.venues.binance.listing import listing_of
from hftpipe.venues.binance.markets import BINANCE_SPOT, BINANCE_USDM, Market
from hftpipe.venues.listing import INT64_MAX, ROOM, power_of


def one_row(market: Market, found: Mapping[str, Any], day: Mapping[str, Any]) -> np.void:
    listing = listing_of([found], [day], market)
    assert not listing.left_out
    (row,) = listing.rows
    return row  # type: ignore[no-any-return]


def reason(market: Market, found: Any, *days: Any) -> str:
    listing = listing_of([found], days or [ticker()], market)
    assert not len(listing.rows)
    ((why, symbols),) = listing.left_out.items()
    assert len(symbols) == 1
    return why


# --- exact -----------------------------------------------------------------------------------------


@MARKETS
def test_an_instrument_has_the_venues_filters_to_the_last_unit(market: Market) -> None:
    row = one_row(market, entry(market), ticker())
    assert (row["symbol"], row["base"], row["quote"]) == (b"AUSDT", b"A", b"USDT")
    assert (row["tick"], row["lot"], row["min_notional"], row["power"]) == (1_000_000, 100_000, 5 * 10**8, 0)
    assert (row["reference_price"], row["volume_24h"], row["multiplier"]) == (100 * 10**8, 50005025000000, 10**8)
    assert CONTRACTS[row["contract"]] == market.contract == {"binance_spot": SPOT}.get(market.name, LINEAR)
    fees = {"binance_spot": (100_000, 100_000), "binance_usdm": (20_000, 50_000)}
    assert (row["maker_fee"], row["taker_fee"]) == fees[market.name] and market.name in VENUES


@pytest.mark.parametrize(
    ("last", "rounded"), [("100.004", "100"), ("100.005", "100.01"), ("100.01", "100.01"), ("0.001", "0.01")]
)
def test_the_reference_price_is_the_last_price_at_the_nearest_tick_and_never_0(last: str, rounded: str) -> None:
    row = one_row(BINANCE_SPOT, entry(BINANCE_SPOT), ticker(lastPrice=last))
    assert row["reference_price"] == int(Decimal(rounded) * 10**8)


def test_a_coin_that_trades_by_the_trillion_is_in_packs() -> None:
    coin = entry(BINANCE_SPOT, tickSize="0.00000001", stepSize="1.00", minQty="1.00", maxQty="8888888888888.00")
    row = one_row(BINANCE_SPOT, coin, ticker(lastPrice="0.00000046", volume="99000000000000", quoteVolume="45540000"))
    # 99 trillion, tenfold, is 9.9e22 units of 1e-8: five digits too many for an int64.
    assert row["power"] == 5 and 99 * 10**13 * 10**8 // 10**5 <= INT64_MAX < 99 * 10**13 * 10**8 // 10**4
    assert (row["tick"], row["lot"], row["reference_price"]) == (10**5, 1_000, 46 * 10**5)
    assert row["volume_24h"] == 45_540_000 * 10**8 and row["min_notional"] == 5 * 10**8


def test_a_tick_finer_than_a_unit_is_whole_in_packs() -> None:
    row = one_row(
        BINANCE_SPOT, entry(BINANCE_SPOT, tickSize="0.0000000001"), ticker(lastPrice="0.0000001234")
    )  # fmt: skip
    assert (row["power"], row["tick"], row["reference_price"], row["lot"]) == (2, 1, 1234, 1_000)


def test_more_volume_than_fits_is_as_much_as_fits_and_hides_no_instrument() -> None:
    assert one_row(BINANCE_USDM, entry(BINANCE_USDM), ticker(quoteVolume="93000000000.5"))["volume_24h"] == INT64_MAX


NUMBERS = st.builds(
    lambda whole, decimals: str(whole) + (f".{decimals}" if decimals else ""),
    st.one_of(st.integers(0, 100), st.integers(0, 10**18)),
    st.one_of(st.just(""), st.integers(1, 10).map(lambda n: "0" * n), st.text("0123456789", max_size=18)),
)
STEPS = st.one_of(
    st.integers(-12, 12).map(lambda n: f"{Decimal(10) ** n:f}"), NUMBERS, st.sampled_from(["5", "0.25", "0.5"])
)  # fmt: skip


@MARKETS
@given(
    tick=STEPS, lot=STEPS, least=st.tuples(STEPS, STEPS), most=NUMBERS, last=NUMBERS, day=st.tuples(NUMBERS, NUMBERS), notional=NUMBERS
)  # fmt: skip
@example("0.01", "0.001", ("0.01", "0.001"), "1000", "7.5", ("1", "1"), "5")
@example("0.00000001", "1", ("0.00000001", "1"), "92141578000", "0.00000046", ("99000000000000", "1"), "5")
@example("0.01", "100000000000", ("0.01", "100000000000"), "1000", "7.5", ("1", "1"), "5")
@example("100000000000", "1", ("100000000000", "1"), "1000", "7.5", ("1", "1"), "5")
def test_whatever_the_numbers_an_instrument_is_exact_or_left_out_and_counted(
    market: Market, tick: str, lot: str, least: tuple[str, str], most: str, last: str, day: tuple[str, str], notional: str
) -> None:  # fmt: skip
    found = entry(
        market, notional=notional, tickSize=tick, minPrice=least[0], stepSize=lot, minQty=least[1], maxQty=most
    )
    listing = listing_of([found], [ticker(lastPrice=last, volume=day[0], quoteVolume=day[1])], market)
    assert len(listing.rows) + sum(map(len, listing.left_out.values())) == 1
    price, step, size = Fraction(last), Fraction(tick), Fraction(lot)
    if not len(listing.rows):
        assert not _could_be_listed(market, found, price, max(Fraction(most), Fraction(day[0])))
        return
    row = {name: listing.rows[0][name].item() for name in LISTED.names or ()}
    pack = 10 ** row["power"]
    assert Fraction(row["tick"], 10**8) / pack == step > 0 and Fraction(row["lot"], 10**8) * pack == size > 0
    rounded = Fraction(row["reference_price"], 10**8) / pack
    assert rounded % step == 0 and (abs(rounded - price) <= step / 2 or rounded == step > price > 0)
    assert Fraction(row["min_notional"], 10**8) == Fraction(notional)
    assert row["volume_24h"] == min(int(Fraction(day[1]) * 10**8), INT64_MAX)
    assert is_reckoned(listing.rows).all() and 0 <= row["power"] <= MAX_POWER
    assert max(Fraction(most), Fraction(day[0])) * ROOM * 10**8 / pack <= INT64_MAX + 1


def _could_be_listed(market: Market, found: Mapping[str, Any], price: Fraction, largest: Fraction) -> bool:
    """Slow and obvious: whether any power of ten holds this instrument exactly."""
    rules, sizes, values = found["filters"]
    tick, lot = Fraction(rules["tickSize"]), Fraction(sizes["stepSize"])
    if not (tick and lot and price) or Fraction(price * 10**16).denominator != 1:
        return False
    if market.steps_from_least and (Fraction(rules["minPrice"]) % tick or Fraction(sizes["minQty"]) % lot):
        return False
    notional = Fraction(values.get("notional", values.get("minNotional"))) * 10**8
    if notional.denominator != 1 or notional > INT64_MAX:
        return False
    for pack in (10**power for power in range(MAX_POWER + 1)):
        steps = (tick * pack * 10**8, lot / pack * 10**8)
        rounded = max((price / tick + Fraction(1, 2)).__floor__(), 1) * tick * pack * 10**8
        largest_here = largest * ROOM / pack * 10**8
        if all(one.denominator == 1 for one in steps) and max(*steps, rounded, largest_here) <= INT64_MAX:
            return True
    return False


@given(
    tick=st.integers(-16, 6), lot=st.integers(-10, 14), largest=st.integers(-8, 28), price=st.integers(0, 10**12)
)  # fmt: skip
def test_the_power_is_the_smallest_that_holds_the_instrument(tick: int, lot: int, largest: int, price: int) -> None:
    numbers = (10 ** (16 + tick), 10 ** (16 + lot), 10 ** (16 + largest), price * 10 ** (16 + tick))

    def holds(power: int) -> bool:
        a_tick, a_lot, most, a_price = (Fraction(one, 10**8) for one in numbers)
        scaled = (a_tick * 10**power, a_price * 10**power, a_lot / 10**power)
        return all(one.denominator == 1 and one <= INT64_MAX for one in scaled) and most * ROOM / 10**power <= INT64_MAX

    powers = [power for power in range(MAX_POWER + 1) if holds(power)]
    if powers:
        assert power_of(*numbers) == powers[0]
    else:
        with pytest.raises(ValueError):
            power_of(*numbers)


# --- left out, and why -----------------------------------------------------------------------------

SPOT_CASES: list[tuple[dict[str, Any], dict[str, Any], str]] = [
    ({"status": "BREAK"}, {}, "status BREAK"),
    ({"isSpotTradingAllowed": False}, {}, "spot trading is not allowed"),
    ({"symbol": "币安人生USDT"}, {}, "its symbol is not 1 to 24 of A-Z, 0-9, _ and -"),
    ({"symbol": "A" * 25}, {}, "its symbol is not 1 to 24 of A-Z, 0-9, _ and -"),
    ({"baseAsset": "A" * 17}, {}, "a currency of it is not up to 16 (base) or 8 (quote) of A-Z and 0-9"),
    ({"filters": []}, {}, "it has no PRICE_FILTER"),
    ({"filters": None}, {}, "it has no filters"),
    ({"tickSize": "0.00000000"}, {}, "tickSize is 0"),
    ({"tickSize": 0.01}, {}, "tickSize is not a decimal number of 0 or more"),
    ({"tickSize": "-0.01"}, {}, "tickSize is not a decimal number of 0 or more"),
    ({"tickSize": "1e-2"}, {}, "tickSize is not a decimal number of 0 or more"),
    ({"tickSize": "0.0000000000000000001"}, {}, "tickSize has too many decimals"),
    ({"tickSize": "0.00000000001", "stepSize": "0.000001"}, {}, "its tick has too many decimals, and in packs its lot has too many decimals"),
    ({"stepSize": "0.000000001"}, {}, "its lot has too many decimals"),
    ({"maxQty": "9" * 20}, {}, "its quantities do not fit, and in packs its lot has too many decimals"),
    ({"maxQty": "9" * 30, "stepSize": "1"}, {}, "its quantities do not fit"),
    ({}, {"lastPrice": "92233720369"}, "its prices do not fit"),
    ({"notional": "0.000000001"}, {}, "minNotional has too many decimals"),
    ({"notional": "92233720369"}, {}, "its minimum notional does not fit"),
    ({}, {"symbol": "BUSDT"}, "it has no 24 h ticker"),
    ({}, {"lastPrice": "0.00000000"}, "it has no last price"),
    ({}, {"volume": None}, "volume is not a decimal number of 0 or more"),
]  # fmt: skip


@pytest.mark.parametrize(("more", "day", "why"), SPOT_CASES)
def test_what_cannot_be_exact_is_left_out_by_its_reason(more: dict[str, Any], day: dict[str, Any], why: str) -> None:
    found = entry(BINANCE_SPOT, **more)
    assert reason(BINANCE_SPOT, found, ticker(**{"symbol": found["symbol"], **day})) == why


USDM_CASES: list[tuple[dict[str, Any], str]] = [
    ({"status": "SETTLING"}, "status SETTLING"),
    ({"contractType": "TRADIFI_PERPETUAL"}, "contract type TRADIFI_PERPETUAL"),
    ({"contractType": "CURRENT_MONTH"}, "contract type CURRENT_MONTH"),
    ({"marginAsset": "A"}, "it is margined in another currency than it is quoted in"),
    ({"contractSize": 100}, "a contract is not one unit"),
    ({"minPrice": "0.015"}, "minPrice is no multiple of tickSize, and steps go from there"),
    ({"minQty": "0.0015"}, "minQty is no multiple of stepSize, and steps go from there"),
]


@pytest.mark.parametrize(("more", "why"), USDM_CASES)
def test_contracts_that_are_settled_or_stepped_otherwise_are_left_out(more: dict[str, Any], why: str) -> None:
    assert reason(BINANCE_USDM, entry(BINANCE_USDM, **more)) == why


@pytest.mark.parametrize("kind", ["PERPETUAL", "CURRENT_QUARTER", "NEXT_QUARTER"])
def test_perpetual_and_quarterly_contracts_are_listed(kind: str) -> None:
    quarter = entry(BINANCE_USDM, "BTCUSDT_261225", contractType=kind)
    assert one_row(BINANCE_USDM, quarter, ticker("BTCUSDT_261225"))["symbol"] == b"BTCUSDT_261225"


def test_every_symbol_is_listed_or_counted_and_said_in_lines_the_most_frequent_first() -> None:
    entries = [
        entry(BINANCE_SPOT, "AUSDT"), entry(BINANCE_SPOT, "BUSDT"), entry(BINANCE_SPOT, "AUSDT"), "odd", {"symbol": 7},
        entry(BINANCE_SPOT, "CUSDT", status="BREAK"), entry(BINANCE_SPOT, "DUSDT", status="BREAK"),
    ]  # fmt: skip
    days = [ticker("BUSDT", quoteVolume="9999999"), ticker("AUSDT"), "odd", {"symbol": ["AUSDT"]}]
    listing = listing_of(entries, days, BINANCE_SPOT)
    assert listing.rows["symbol"].tolist() == [b"BUSDT", b"AUSDT"], "the most traded first"
    assert len(listing.rows) + sum(map(len, listing.left_out.values())) == len(entries)
    assert listing.lines()[0] == "2 left out: status BREAK (such as CUSDT)"
    assert "1 left out: it stands there a second time (such as AUSDT)" in listing.lines()


@MARKETS
@given(
    odd=st.recursive(
        st.one_of(st.none(), st.booleans(), st.integers(), st.floats(), st.text(max_size=5)),
        lambda inner: st.one_of(st.lists(inner, max_size=3), st.dictionaries(st.text(max_size=5), inner, max_size=3)),
        max_leaves=4,
    ),
    place=st.sampled_from(
        ["entry", "ticker", "filters", "filter", *SMALLEST, *TICKER, "symbol", "status", "baseAsset"]
    ),
)
def test_no_answer_however_odd_breaks_it_or_goes_uncounted(market: Market, odd: Any, place: str) -> None:
    found: Any = entry(market)
    day: Any = ticker()
    if place in ("entry", "ticker"):
        found, day = (odd, day) if place == "entry" else (found, odd)
    elif place == "filter":
        found["filters"][1] = odd
    elif place in SMALLEST:
        found["filters"]["Price" not in place and place != "tickSize"][place] = odd
    else:
        (day if place in TICKER else found)[place] = odd
    listing = listing_of([found], [day], market)
    assert len(listing.rows) + sum(map(len, listing.left_out.values())) == 1 and len(listing.lines()) <= 1
