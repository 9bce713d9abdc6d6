"""Why an order or cancel was refused or ended: one table for all stages.

Numbers are part of the record schema: never reused, never renumbered.
"""

from typing import NamedTuple


class Reason(NamedTuple):
    """One reason code.

    Attributes:
        code: the uint8 in a report's ``flags``.
        name: the key in summaries and metrics.
        text: one line for people.
    """

    code: int
    name: str
    text: str


NONE = 0
# Risk, in the order checked.
HALTED = 1
UNKNOWN_INSTRUMENT = 2
INVALID_VALUE = 3
NO_LIMIT = 4
TICK_FILTER = 5
LOT_FILTER = 6
MIN_NOTIONAL = 7
MAX_ORDER_QTY = 8
MAX_MARKET_QTY = 9
MAX_ORDER_NOTIONAL = 10
MAX_POSITION = 11
BOOK_INVALID = 12
BOOK_STALE = 13
PRICE_COLLAR = 14
RATE_PER_S = 15
RATE_PER_MIN = 16
DUPLICATE_ID = 17
UNKNOWN_ORDER = 18
ORDERS_RING_FULL = 19
# Strategy stage.
INTENTS_RING_FULL = 20
TOO_MANY_ACTIONS = 21
TOO_MANY_OPEN_ORDERS = 22
CHANGE_IN_FLIGHT = 24
# Risk, and the gateway's last look.
INTENT_STALE = 23
# Risk, limits of a strategy.
STRATEGY_POSITION = 25
STRATEGY_RATE = 26
# Risk, limits of several instruments together.
NET_LIMIT = 27
GROUP_RATE = 28
# Risk, while only orders that make a position smaller pass.
REDUCING = 29
# Gateway.
GATEWAY_TABLE_FULL = 30
ILLEGAL_TRANSITION = 31
JOURNAL_UNWRITABLE = 32
# Risk, controls of the whole run.
RESTRICTED = 33
GROSS_NOTIONAL = 34
STRATEGY_NOTIONAL = 35
SELF_MATCH = 36
REPEATED_EXECUTIONS = 37
DUPLICATE_ORDER = 38
# Venue (real or simulated).
POST_ONLY_WOULD_TAKE = 40
IOC_REMAINDER = 41
FOK_UNFILLABLE = 42
NO_LIQUIDITY = 43
VENUE_UNKNOWN_ORDER = 44
VENUE_FILTER = 45
REDUCE_ONLY_REJECT = 46
SELF_TRADE = 47
AMEND_BELOW_FILLED = 48
USER_REQUEST = 49
VENUE_BUSY = 50
VENUE_NUMBERS_USED_UP = 51
DISCONNECTED = 52
DEAD_WHEN_REPLACED = 53
VENUE_ENDED = 54
VENUE_REFUSED = 55
INSUFFICIENT_BALANCE = 56

REASONS = (
    Reason(NONE, "none", "no reason"),
    Reason(HALTED, "halted", "trading is halted; only a person re-arms it"),
    Reason(UNKNOWN_INSTRUMENT, "unknown_instrument", "instrument id is not registered"),
    Reason(INVALID_VALUE, "invalid_value", "price, quantity, side or type is not a legal value"),
    Reason(NO_LIMIT, "no_limit", "no limit is configured for this instrument, so no order is allowed"),
    Reason(TICK_FILTER, "tick_filter", "price is not a multiple of the tick size"),
    Reason(LOT_FILTER, "lot_filter", "quantity is not a multiple of the lot size"),
    Reason(MIN_NOTIONAL, "min_notional", "price x quantity is below the venue's minimum"),
    Reason(MAX_ORDER_QTY, "max_order_qty", "quantity above the largest order allowed"),
    Reason(MAX_MARKET_QTY, "max_market_qty", "quantity above the largest market order allowed"),
    Reason(MAX_ORDER_NOTIONAL, "max_order_notional", "order value above the largest allowed"),
    Reason(MAX_POSITION, "max_position", "position with all working orders would pass the limit"),
    Reason(BOOK_INVALID, "book_invalid", "the book is not VALID, or has no mid"),
    Reason(BOOK_STALE, "book_stale", "the top of book is older than allowed"),
    Reason(PRICE_COLLAR, "price_collar", "price too far from the mid"),
    Reason(RATE_PER_S, "rate_per_s", "more orders this second than allowed"),
    Reason(RATE_PER_MIN, "rate_per_min", "more orders this minute than allowed"),
    Reason(DUPLICATE_ID, "duplicate_id", "client order id was used before"),
    Reason(UNKNOWN_ORDER, "unknown_order", "no such working order"),
    Reason(ORDERS_RING_FULL, "orders_ring_full", "the gateway is behind; the order was refused, not queued"),
    Reason(INTENTS_RING_FULL, "intents_ring_full", "risk is behind; the action was refused, not queued"),
    Reason(TOO_MANY_ACTIONS, "too_many_actions", "one callback asked for more actions than the buffer holds"),
    Reason(TOO_MANY_OPEN_ORDERS, "too_many_open_orders", "the open-order table is full"),
    Reason(CHANGE_IN_FLIGHT, "change_in_flight", "an earlier request for the order has not been answered yet"),
    Reason(INTENT_STALE, "intent_stale", "decided longer ago than allowed"),
    Reason(
        STRATEGY_POSITION,
        "strategy_position",
        "the strategy's own position with its working orders would pass its limit",
    ),
    Reason(STRATEGY_RATE, "strategy_rate", "more orders of the strategy this second or minute than allowed"),
    Reason(
        NET_LIMIT,
        "net_limit",
        "the net position of a group of instruments with all working orders would pass its limit",
    ),
    Reason(GROUP_RATE, "group_rate", "more orders of a group of instruments this second or minute than allowed"),
    Reason(REDUCING, "reducing", "only orders that make the position smaller pass until a person re-arms trading"),
    Reason(GATEWAY_TABLE_FULL, "gateway_table_full", "the gateway's order table is full"),
    Reason(ILLEGAL_TRANSITION, "illegal_transition", "the order's state does not allow it"),
    Reason(
        JOURNAL_UNWRITABLE,
        "journal_unwritable",
        "the journal has no room or its disk has failed, and no order is sent that is not in it",
    ),
    Reason(RESTRICTED, "restricted", "the strategy may not trade this instrument"),
    Reason(
        GROSS_NOTIONAL,
        "gross_notional",
        "the value of all positions with all working orders, of the run or the venue, would pass its limit",
    ),
    Reason(
        STRATEGY_NOTIONAL,
        "strategy_notional",
        "the value of all the strategy's positions with its working orders would pass its limit",
    ),
    Reason(SELF_MATCH, "self_match", "the order could trade with an open one of our own"),
    Reason(
        REPEATED_EXECUTIONS,
        "repeated_executions",
        "the strategy was executed too often in this instrument; a person re-arms it",
    ),
    Reason(DUPLICATE_ORDER, "duplicate_order", "the same order was approved a moment ago"),
    Reason(POST_ONLY_WOULD_TAKE, "post_only_would_take", "post-only order would have taken liquidity"),
    Reason(IOC_REMAINDER, "ioc_remainder", "unfilled remainder of an immediate-or-cancel or market order"),
    Reason(FOK_UNFILLABLE, "fok_unfillable", "fill-or-kill order could not be filled whole"),
    Reason(NO_LIQUIDITY, "no_liquidity", "nothing on the opposite side"),
    Reason(VENUE_UNKNOWN_ORDER, "venue_unknown_order", "the venue has no such open order; it may have filled"),
    Reason(VENUE_FILTER, "venue_filter", "the venue's price, quantity or notional filter"),
    Reason(REDUCE_ONLY_REJECT, "reduce_only_reject", "reduce-only order would not reduce the position"),
    Reason(SELF_TRADE, "self_trade", "order would have traded with our own order"),
    Reason(AMEND_BELOW_FILLED, "amend_below_filled", "new quantity is not above what is filled; order ended"),
    Reason(USER_REQUEST, "user_request", "ended by our own cancel"),
    Reason(VENUE_BUSY, "venue_busy", "the venue cannot take the order now"),
    Reason(VENUE_NUMBERS_USED_UP, "venue_numbers_used_up", "no reference number is left at the venue today"),
    Reason(DISCONNECTED, "disconnected", "cancelled by the venue: our session was lost or had ended"),
    Reason(DEAD_WHEN_REPLACED, "dead_when_replaced", "the venue took the replace and ended the order with it"),
    Reason(VENUE_ENDED, "venue_ended", "ended by the venue of its own accord: a halt, a time-out, supervision"),
    Reason(VENUE_REFUSED, "venue_refused", "the venue refused the request, for a reason of its own"),
    Reason(INSUFFICIENT_BALANCE, "insufficient_balance", "the account's balance or margin does not allow the order"),
)

#: Refusals that are nobody's fault, by the stage that counts them: the request was right when it was made, and the market
#: or a fill was faster. All others are faults of ours (or limits at work). The strategy stage has none: whatever it
#: refuses, it knew already.
RACES = {
    "strategy": {},
    "risk": {
        UNKNOWN_ORDER: "the strategy held the order for open: it ended while the change was on its way to risk",
    },
    "gateway": {
        UNKNOWN_ORDER: "risk held the order for open: it ended while the change was on its way to the gateway",
        VENUE_UNKNOWN_ORDER: "the order filled or ended at the venue while the change was on its way there",
        POST_ONLY_WOULD_TAKE: "the market came up to the price while the order was on its way",
    },
}

#: Ends that an order's own terms, or we, have asked for; every other end is the venue's doing.
ASKED_ENDS = (
    USER_REQUEST, IOC_REMAINDER, FOK_UNFILLABLE, NO_LIQUIDITY, POST_ONLY_WOULD_TAKE, SELF_TRADE, REDUCE_ONLY_REJECT,
    AMEND_BELOW_FILLED,
)  # fmt: skip

NAMES = {reason.code: reason.name for reason in REASONS}
REASON_SLOTS = 64
