"""Limits of several instruments together: a venue's orders, the net of one base currency wherever it is traded."""

from dataclasses import dataclass
from typing import Any

import numpy as np
import pytest
from demo_rig import paper_run
from hypothesis import given
from hypothesis import strategies as st
from risk_rig import E8, RiskRig

from hftpipe.config import Config, ConfigError, LimitGroup, load
from hftpipe.core.schema import reasons
from hftpipe.core.schema.records import ACK, BUY, CANCELED, FILL, NEW, SELL
from hftpipe.topology.configured import limits_of
from hftpipe.topology.limit_groups import groups_of, units_of

PEPE = [
    {"symbol": name, "tick_size": "0.0000001", "lot_size": "1", "min_notional": "0", "reference_price": "0.00001"}
    for name in ("1000PEPEUSDT", "PEPEUSDC")
]
TWO = [
    {"symbol": "BTCUSDT"},
    {"symbol": "BTCUSDC", "tick_size": "0.10", "lot_size": "0.001", "min_notional": "5", "reference_price": "60000"},
]
ETH_LIKE = {"tick_size": "0.01", "lot_size": "1", "min_notional": "0", "reference_price": "100"}
LIMITS = {f"risk.limits.BTCUSDC.{name}": value for name, value in (
    ("max_order_qty", "0.01"), ("max_market_order_qty", "0.005"), ("max_order_notional", "2000"), ("max_position", "0.1"),
)}  # fmt: skip


@dataclass
class Limit:
    max_net: int | None = None
    orders_per_s: int | None = None
    orders_per_min: int | None = None


def grouped(config: Config) -> list[tuple[LimitGroup, np.ndarray]]:
    return groups_of(config, limits_of(config))


def why(rig: RiskRig) -> list[str]:
    return [reasons.NAMES[int(one["flags"])] for one in rig.pop("updates")]


def test_what_one_instrument_holds_leaves_the_other_less_room_and_a_pack_counts_as_what_is_in_it() -> None:
    rig = RiskRig()
    rig.group((Limit(max_net=3000 * E8), [True, True]), units=(1, 1000))
    rig.intend(id=1, instrument=1, qty=2 * E8)
    rig.intend(id=2, instrument=1, qty=2 * E8)
    rig.intend(id=3, instrument=0, qty=4 * E8)
    rig.step()
    assert [int(one["id"]) for one in rig.pop("orders")] == [1, 3] and why(rig) == ["net_limit"]
    # The way down is free, and what ends or fills counts as what it then is.
    rig.intend(id=4, instrument=1, qty=3 * E8, side=SELL)
    rig.step()
    rig.report(kind=FILL, id=1, instrument=1, qty=2 * E8, fee=0)
    rig.report(kind=CANCELED, id=3)
    rig.step()
    assert int(rig.groups["qty"][0]) == 2000 * E8 and int(rig.groups["working_buy"][0]) == 0
    assert int(rig.groups["working_sell"][0]) == 3000 * E8


def test_the_orders_of_all_instruments_of_a_group_count_together() -> None:
    rig = RiskRig()
    rig.group((Limit(orders_per_s=2), [True, True]), (Limit(orders_per_s=1), [False, True]))
    for number, instrument in enumerate((1, 1, 0, 0), 1):
        rig.intend(id=number, instrument=instrument)
    rig.step()
    assert [int(one["id"]) for one in rig.pop("orders")] == [1, 3] and why(rig) == ["group_rate", "group_rate"]


@given(st.lists(st.tuples(st.integers(0, 1), st.booleans(), st.integers(1, 5), st.sampled_from("afc")), max_size=30))
def test_no_sequence_of_orders_and_answers_takes_the_net_beyond_its_limit(
    steps: list[tuple[int, bool, int, str]],
) -> None:
    rig, limit, units = RiskRig(), 20 * E8, (1, 3)
    rig.limits["max_position"] = 1000 * E8
    rig.group((Limit(max_net=limit), [True, True]), units=units)
    held, working = 0, {True: 0, False: 0}
    for number, (instrument, is_sell, lots, fate) in enumerate(steps, 1):
        order = {"id": number, "instrument": instrument, "side": SELL if is_sell else BUY, "qty": lots * E8}
        rig.intend(kind=NEW, **order)
        rig.step()
        size = lots * E8 * units[instrument]
        if rig.pop("orders"):
            working[is_sell] += size
            if fate == "f":
                held, working[is_sell] = held + (-size if is_sell else size), working[is_sell] - size
                rig.report(kind=FILL, fee=0, price=100 * E8, **order)
            elif fate == "c":
                working[is_sell] -= size
                rig.report(kind=CANCELED, **order)
            else:
                rig.report(kind=ACK, **order)
            rig.step()
        else:
            net = -held if is_sell else held
            assert net + working[is_sell] + size > limit
        row = rig.groups[0]
        assert (int(row["qty"]), int(row["working_buy"]), int(row["working_sell"])) == (
            held,
            working[False],
            working[True],
        )
        assert held + working[False] <= limit and working[True] - held <= limit
        rig.pop("updates")


def test_a_run_of_two_markets_in_one_base_stays_within_the_net_limit() -> None:
    given = LIMITS | {
        "instruments": TWO,
        "limit_groups": [{"name": "btc", "instruments": ["BTC*"], "max_net": "0.003"}],
    }
    summary = paper_run(3, 20, **{key.replace(".", "__"): value for key, value in given.items()})
    assert summary["rejects"]["net_limit"] > 0 < summary["fills"]
    assert abs(summary["net_by_base"].get("BTC", 0)) <= 0.003
    assert set(summary["by_quote"]) == {"USDT", "USDC"}
    group = summary["limit_groups"]["btc"]
    assert group["max_net"] == 0.003 and group["net"] == summary["net_by_base"].get("BTC", 0)


@pytest.mark.parametrize(
    ("groups", "named"),
    [
        ([{"name": "a", "max_net": "1"}, {"name": "a", "max_net": "1"}], "a stands twice"),
        ([{"name": "a", "max_net": "0"}], "limit_groups[0].max_net"),
        ([{"name": "a", "most": 1}], "limit_groups[0].most"),
        ([{"name": "a"}], "limit_groups[0]: a limits nothing"),
        ([{"name": "a", "instruments": ["SOL*"], "orders_per_s": 1}], "no instrument is like that"),
        ([{"name": "a", "max_net": "1"}], "BTC, PEPE"),
        ([{"max_net": "1"}], "limit_groups[0].name: missing"),
        ([{"name": f"g{number}", "orders_per_s": 1} for number in range(9)], "in 9 groups"),
    ],
)
def test_bad_groups_are_refused_by_name(groups: list[dict[str, Any]], named: str) -> None:
    with pytest.raises(ConfigError) as refused:
        grouped(load([], {}, {"limit_groups": groups, "instruments": [*TWO, *PEPE]}))
    assert named in str(refused.value)


def test_names_that_say_no_base_are_none_of_one_base() -> None:
    shares = [ETH_LIKE | {"symbol": name} for name in ("AAPL", "MSFT")]
    given = {"instruments": shares, "limit_groups": [{"name": "a", "max_net": "1"}]}
    with pytest.raises(ConfigError, match="AAPL, MSFT"):
        grouped(load([], {}, given))


def test_a_pack_is_so_many_of_its_base() -> None:
    config = load([], {}, {"instruments": PEPE, "limit_groups": [{"name": "pepe", "max_net": "1"}]})
    assert list(units_of(config)) == [1000, 1] and grouped(config)[0][1].all()
