"""Fees in another asset than the quote currency: added up by asset, of the account and of each strategy, and no part of any PnL."""

from typing import Any

import numpy as np
import pytest
from demo_rig import paper_run
from memory import address, aligned
from risk_rig import E8, N_STRATEGIES, RiskRig

from hftpipe.config import ConfigError, load
from hftpipe.core.schema.records import ACK, FEE_ASSET, FILL, FILL_MAKER
from hftpipe.monitor.sections import profit
from hftpipe.risk.fees import fees_bytes
from hftpipe.topology.configured import fee_assets_of

TWO = [
    {"symbol": symbol, "tick_size": "0.1", "lot_size": "0.001", "min_notional": "5", "reference_price": "60000"}
    for symbol in ("BTCUSDT", "ETHUSDT")
]


@pytest.fixture
def rig() -> RiskRig:
    """Risk with two assets that fees may be paid in."""
    made = RiskRig()
    made.fees = aligned(fees_bytes(N_STRATEGIES, 2))
    made.state["fees"], made.state["n_fee_assets"] = address(made.fees), 2
    return made


def sums(rig: Any) -> np.ndarray:
    """Fees by strategy (row 0: the account) and asset."""
    rows: np.ndarray = rig.fees[: 16 * (1 + N_STRATEGIES)].view(np.int64).reshape(-1, 2)
    return rows


def fill(rig: Any, number: int, fee: int, asset: int) -> None:
    rig.report(kind=FILL, id=7, qty=E8 // 4, fee=fee, trade_id=number, flags=FILL_MAKER | asset << FEE_ASSET)
    rig.step()


def working(rig: Any) -> None:
    rig.intend(id=7, strategy=1)
    rig.step()
    rig.report(kind=ACK, id=7)
    rig.step()


def test_a_fee_in_another_asset_is_added_up_apart_and_not_in_the_position(rig: Any) -> None:
    working(rig)
    for number, (fee, asset) in enumerate(((5, 0), (7, 1), (-2, 1), (11, 2)), 1):
        fill(rig, number, fee, asset)
    assert rig.position("fees") == 5 and rig.position("fills") == 4
    assert sums(rig)[0].tolist() == [5, 11] == sums(rig)[2].tolist() and not sums(rig)[1].any()
    assert rig.count("unknown_fees") == 0


def test_a_fee_in_an_asset_nobody_knows_is_counted_and_its_fill_booked(rig: Any) -> None:
    working(rig)
    fill(rig, 1, 9, 3)
    fill(rig, 2, 9, 127)
    assert rig.count("unknown_fees") == 2 and rig.position("fills") == 2 and rig.position() == E8 // 2
    assert not sums(rig).any() and rig.count("tripped") == 0


def test_a_paper_run_pays_in_the_asset_what_it_would_have_paid_in_quote_currency() -> None:
    plain, paid = (paper_run(3, 20, **more) for more in ({}, {"sim.fee_asset": "BNB", "sim.fee_asset_price": "600"}))
    assert plain["fills"] == paid["fills"] > 10 and plain["fees_by_asset"] == {}
    assert paid["pnl_parts"]["fees"] == 0 < plain["pnl_parts"]["fees"]
    assert paid["pnl_parts"]["captured"] == plain["pnl_parts"]["captured"]
    # A unit of 1e-8 may be rounded up at each fill.
    assert 0 <= paid["fees_by_asset"]["BNB"] * 600 - plain["pnl_parts"]["fees"] <= 600e-8 * (plain["fills"] + 1)
    shown = "\n".join(str(text) for text in profit(paid).renderables)  # type: ignore[attr-defined]
    assert f"fees {paid['fees_by_asset']['BNB']:.8f} BNB, not part of the net PnL" in shown


def test_the_fees_of_several_strategies_add_up_to_the_account_s() -> None:
    several = [
        {"name": f"maker_{at}", "strategy": "market_making", "instruments": [one["symbol"]]}
        for at, one in enumerate(TWO)
    ]
    made = paper_run(
        5, 20, instruments=TWO, strategies=several, **{"sim.fee_asset": "BNB", "sim.fee_asset_price": "600"}
    )
    own = [one["fees_by_asset"]["BNB"] for one in made["strategies"].values()]
    assert len(own) == 2 and min(own) > 0 and sum(own) == pytest.approx(made["fees_by_asset"]["BNB"], abs=1e-12)


@pytest.mark.parametrize(
    ("settings", "named"),
    [
        ({"sim.fee_asset": "BNB"}, "it has no price; allowed: one with fee_asset_price above 0"),
        ({"sim.fee_asset_price": "600"}, "the price of nothing; allowed: 0, or a fee_asset too"),
        ({"sim.fee_asset": "USDT", "sim.fee_asset_price": "1"}, "the instruments are in USDT"),
        ({"sim.fee_asset": "bnb"}, "allowed: at most 16 of A-Z and 0-9"),
        (
            {
                "sim.fee_asset": "BNB",
                "sim.fee_asset_price": "600",
                "instruments": [TWO[0], {**TWO[1], "symbol": "ETHBTC"}],
            },
            "the instruments are in BTC, USDT; allowed: another asset than the one quote currency",
        ),
    ],
)
def test_a_fee_asset_that_cannot_be_reckoned_is_refused_by_name(settings: dict[str, Any], named: str) -> None:
    with pytest.raises(ConfigError) as refused:
        fee_assets_of(load([], {}, settings))
    assert named in str(refused.value)
