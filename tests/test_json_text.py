"""Keys are told apart by all of their letters, and amounts are exact or rounded up."""

from decimal import ROUND_CEILING, Decimal

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from memory import address

from hftpipe.core.machine.json_text import (
    key_code,
    next_member,
    read_decimal,
    read_decimal_up,
    text_code,
)
from hftpipe.transport.http.response import header_code

_TEXT = """category symbol orderId orderLinkId blockTradeId side positionIdx orderStatus createType cancelType rejectReason timeInForce
isLeverage price qty avgPrice leavesQty leavesValue cumExecQty cumExecValue cumExecFee cumFeeDetail closedPnl orderType stopOrderType
triggerPrice triggerBy triggerDirection lastPriceOnCreated closeOnTrigger reduceOnly smpGroup smpType smpOrderId createdTime updatedTime
execId execPrice execQty execValue execFee execFeeV2 execType execTime execPnl orderPrice orderQty orderIv markPrice indexPrice
CancelByUser CancelByReduceOnly CancelByPrepareLiq CancelAllBeforeLiq CancelByPrepareAdl CancelAllBeforeAdl CancelByAdmin CancelBySettle
CancelByTpSlTsClear CancelBySmp CancelByDCP CancelByRebalance EC_NoError EC_Others EC_PerCancelRequest EC_ReachMaxTradeNum
EC_ReachRiskPriceLimit EC_ReachMarketPriceLimit newOrderResponse newOrderResult cancelResponse cancelResult executedQty
cummulativeQuoteQty origQty origQuoteOrderQty clientOrderId origClientOrderId listClientOrderId transactTime updateTime
EXPIRED EXPIRED_IN_MATCH PARTIALLY_FILLED PENDING_NEW PENDING_CANCEL executionReport ORDER_TRADE_UPDATE listenKeyExpired
takeProfit stopLoss tpTriggerBy slTriggerBy placeType slLimitPrice tpLimitPrice tpslMode marketUnit parentOrderLinkId rpiMatchedQty feeRate
feeCurrency isMaker tradeIv markIv underlyingPrice closedSize seq extraFees Trade Funding AdlTrade BustTrade BlockTrade Delivery Settle
MovePosition FutureSpread CorporateAction New PartiallyFilled Untriggered Triggered Filled Cancelled PartiallyFilledCanceled Deactivated
Rejected UNKNOWN EC_UnknownMessageType EC_BrokerCancel EC_NoImmediateQtyToFill EC_CancelForNoFullFill EC_PostOnlyWillTakeLiquidity
EC_BySelfMatch EC_InCallAuctionStatus EC_UnknownOrder EC_UnknownSide EC_OrderNotExist EC_MissingClOrdID EC_MissingOrigClOrdID
EC_ClOrdIDOrigClOrdIDAreTheSame EC_OrigClOrdIDDoesNotExist EC_TooLateToCancel EC_IncorrectQty EC_DuplicatedClOrdID EC_QtyCannotBeZero
EC_PriceCannotBeZero EC_PostOnlyWithIncorrectTimeInForce reqId retCode retMsg retExtInfo op data header topic creationTime connId id status
result error event e o order order.spot order.linear execution execution.spot execution.linear X-Bapi-Limit X-Bapi-Limit-Status
X-Bapi-Limit-Reset-Timestamp Traceid Timenow code msg retryAfter serverTime rateLimits subscriptionId orderId price type orderListId
workingTime selfTradePreventionMode preventedMatchId preventedQuantity fills timeInForce cumQty cumQuote avgPrice stopPrice positionSide
closePosition workingType priceProtect origType priceMatch goodTillDate SUCCESS FAILURE NOT_ATTEMPTED eventStreamTerminated
outboundAccountPosition balanceUpdate listStatus externalLockUpdate ACCOUNT_UPDATE ACCOUNT_CONFIG_UPDATE MARGIN_CALL TRADE_LITE
TRADE CALCULATED AMENDMENT CANCELED REPLACED REJECTED TRADE_PREVENTION NEW FILLED MARKET INSURANCE_FUND ADL USDT USDC BTC ETH BNB FDUSD"""
WORDS = sorted(set(_TEXT.split()))


def test_no_two_words_of_the_venues_have_one_code() -> None:
    """Whatever is known by its code: keys, states, reasons, topics, coins."""
    assert len({int(key_code(word)) for word in WORDS}) == len(WORDS)
    assert len({int(header_code(word)) for word in WORDS}) == len({word.lower() for word in WORDS})


@settings(max_examples=200, deadline=None)
@given(st.one_of(st.sampled_from(WORDS), st.text("abcXYZ_019", max_size=300)))
def test_a_text_has_the_code_that_its_key_has(word: str) -> None:
    raw = np.frombuffer(f'{{"{word}":"{word}"}}'.encode(), np.uint8).copy()
    start, end = address(raw) + np.uint64(1), address(raw) + np.uint64(len(raw))
    code, value, after, _ = next_member(start, end)
    assert int(code) == int(text_code(value, after)) == int(key_code(word))
    # The length stands in the highest byte, whatever the rest is.
    assert int(code) >> 56 == min(len(word), 255)


@settings(max_examples=300, deadline=None)
@given(st.integers(-(10**18), 10**18), st.integers(0, 20), st.booleans())
def test_a_decimal_is_read_exactly_or_rounded_up(digits: int, places: int, is_text: bool) -> None:
    number = Decimal(digits).scaleb(-places)
    plain = format(number, "f")
    raw = np.frombuffer((f'"{plain}"' if is_text else plain).encode(), np.uint8).copy()
    span = address(raw), address(raw) + np.uint64(len(raw))
    exact = number.scaleb(8)
    up = int(exact.to_integral_value(ROUND_CEILING))
    fits = abs(up) < 2**63 and abs(int(exact)) < 2**63
    is_read, value = read_decimal_up(*span, np.int64(8))
    assert (bool(is_read), int(value)) == ((True, up) if fits else (False, 0))
    is_exact, value = read_decimal(*span, np.int64(8))
    assert (bool(is_exact), int(value)) == ((True, up) if fits and exact == up else (False, 0))


@pytest.mark.parametrize(
    "text", ["", ".", "-", ".5", "1.2.3", "1e3", "0x1", "--1", "+1", " 1", "1 ", "9" * 30, "null", "NaN"]
)
def test_what_is_no_plain_decimal_is_none(text: str) -> None:
    raw = np.frombuffer(f'"{text}"'.encode(), np.uint8).copy()
    span = address(raw), address(raw) + np.uint64(len(raw))
    assert not read_decimal(*span, np.int64(8))[0] and not read_decimal_up(*span, np.int64(8))[0]
