"""What ``venue-check`` says of a key at Bybit: what its permissions say, of the category that it is to trade."""

from decimal import Decimal
from typing import Any

import pytest
from rest_venue import ASSETS, BOTH, KEY, PREFIX, serving

from hftpipe.transport.websocket.connect import ConnectError
from hftpipe.venues.bybit.orders.account import BybitAccount
from hftpipe.venues.bybit.orders.exam import BybitExam
from hftpipe.venues.bybit.orders.market import LINEAR, SPOT

NONE: dict[str, Any] = {"ContractTrade": [], "Spot": [], "Wallet": ["AccountTransfer"], "Derivatives": []}
CONTRACTS, DERIVATIVES, COINS = (
    {"ContractTrade": ["Order", "Position"]},
    {"Derivatives": ["DerivativesTrade"]},
    {"Spot": ["SpotTrade"]},
)
MAY = [
    ("linear", CONTRACTS, ""), ("linear", DERIVATIVES, ""), ("spot", COINS, ""), ("linear", COINS, "ContractTrade Order"),
    ("spot", CONTRACTS | DERIVATIVES, "Spot SpotTrade"), ("linear", {"ContractTrade": ["Position"]}, "may not trade linear"),
    ("linear", {}, "may not trade linear"), ("spot", {"Spot": None}, "may not trade spot"),
]  # fmt: skip


def well(result: Any) -> tuple[int, Any]:
    return 200, {"retCode": 0, "retMsg": "OK", "result": result}


@pytest.mark.parametrize(("category", "given", "why"), MAY)
@pytest.mark.parametrize("read_only", [0, 1])
def test_a_key_may_trade_only_what_its_permissions_name(category: str, given: Any, why: str, read_only: int) -> None:
    result = {"readOnly": read_only, "permissions": NONE | given, "uta": 1}
    market = {"spot": SPOT, "linear": LINEAR}[category]
    with serving(
        lambda method, path, params: well({"list": []} if path.endswith("position/list") else result)
    ) as venue:
        exam = BybitExam(market, BybitAccount(market, KEY, venue.client, "", "", BOTH, PREFIX, ASSETS))
        said = exam.may_trade("BTCUSDT", Decimal(1), Decimal(1))
    assert said == "it may only read" if read_only else (why in said and bool(said) == bool(why))


def at_two_sides(method: str, path: str, params: dict[str, str]) -> tuple[int, Any]:
    return well({"list": [{"symbol": params.get("symbol"), "positionIdx": at, "size": "0"} for at in (1, 2)]})


def test_an_account_in_hedge_mode_is_named_before_anything_is_sent() -> None:
    """The venue would refuse each order as a wrong parameter (10001)."""
    with serving(at_two_sides) as venue:
        account = BybitAccount(LINEAR, KEY, venue.client, "", "", BOTH, PREFIX, ASSETS)
        with pytest.raises(ConnectError, match="BTCUSDT: the account is in hedge mode; allowed: one-way"):
            account.connect()
        with pytest.raises(ConnectError, match="ETHUSDT: the account is in hedge mode"):
            BybitExam(LINEAR, account).may_trade("ETHUSDT", Decimal(1), Decimal(1))


RECEIVED = [
    (["New"], ""), ([None, "New"], ""), (["Rejected"], "Rejected: EC_Others"), (["Cancelled"], "Cancelled: EC_Others"), ([None], "not listed"),
]  # fmt: skip


@pytest.mark.parametrize(("states", "why"), RECEIVED)
def test_a_test_order_stands_when_it_is_listed_and_not_by_its_receipt(
    monkeypatch: pytest.MonkeyPatch, states: list[str | None], why: str
) -> None:
    monkeypatch.setattr("hftpipe.venues.bybit.orders.exam._SHOWN_NS", 600_000_000)
    left = list(states)

    def answer(method: str, path: str, params: dict[str, str]) -> tuple[int, Any]:
        if method == "POST":
            return well({"orderId": "1", "orderLinkId": params["orderLinkId"]})
        state = left[0] if params["openOnly"] == "0" or len(left) == 1 else left.pop(0)
        return well({"list": [{"orderStatus": state, "rejectReason": "EC_Others"}] if state else []})

    with serving(answer) as venue:
        exam = BybitExam(LINEAR, BybitAccount(LINEAR, KEY, venue.client, "", "", BOTH, PREFIX, ASSETS))
        said = exam.place("BTCUSDT", "cm_t1_1", Decimal(50_000), Decimal(1))
    assert why in said and bool(said) == bool(why)


@pytest.mark.parametrize(
    ("state", "why"), [("Cancelled", ""), ("Filled", "Filled: EC_NoError"), ("New", "New 1 s after")]
)
def test_a_cancelled_test_order_is_gone_when_it_is_listed_so(
    monkeypatch: pytest.MonkeyPatch, state: str, why: str
) -> None:
    monkeypatch.setattr("hftpipe.venues.bybit.orders.exam._SHOWN_NS", 600_000_000)

    def answer(method: str, path: str, params: dict[str, str]) -> tuple[int, Any]:
        return well({} if method == "POST" else {"list": [{"orderStatus": state, "rejectReason": "EC_NoError"}]})

    with serving(answer) as venue:
        exam = BybitExam(LINEAR, BybitAccount(LINEAR, KEY, venue.client, "", "", BOTH, PREFIX, ASSETS))
        said = exam.take_back("BTCUSDT", "cm_t1_1")
    assert why in said and bool(said) == bool(why)
