"""The 64-byte record: ring slot, tape entry and backtest input in one layout.

Bytes 8 to 32 hold what each family of kinds has of its own, under its own names; the rest is the same in all:

====== ===== ============== ============== ============== ============== =============================================
offset type  RECORD         REQUEST        REPORT         EXECUTION      what it is
====== ===== ============== ============== ============== ============== =============================================
0      u64   seq            seq            seq            seq            ring sequence; stored last, with release
8      u64   origin_tsc     origin_tsc                                   time-stamp counter when the causing market
                                                                         event was received (0: none)
8      u64                                 venue_id                      the venue's own number of the order; 0: not told
8      u64                                                trade_id       the venue's number of the execution; 0: none
16     i64   exchange_ts                   exchange_ts    exchange_ts    ns, the venue's clock
16     u64                  sent_tsc                                     time-stamp counter when the last stage sent it
24     i64   local_ts       local_ts       local_ts                      ns, event time on our clock (``ctx.now``)
24     i64                                                fee            1e-8 of the fee's asset; negative: a rebate
32     i64   price                                                       1e-8 units
40     i64   qty                                                         1e-8 units
48     u64   id                                                          update id, trade id or client order id
56     u32   instrument                                                  dense instrument id
60     u8    kind                                                        one of the kinds below
61     u8    side                                                        BUY or SELL (of a level, of the taker in a
                                                                         trade, of an order)
62     u8    strategy                                                    strategy id inside the strategy stage
63     u8    flags                                                       bits below, by kind
====== ===== ============== ============== ============== ============== =============================================

RECORD is the layout of market data, and of code that looks only at what is the same in all.

============== ========= ====================== ========= ============== ========== ==================================
kind           layout    price                  qty       id             side       flags
============== ========= ====================== ========= ============== ========== ==================================
LEVEL          RECORD    level price            absolute  update id      book side  LAST ends one book update
TOP            RECORD    best price             best qty  update id      book side  bid then ask; LAST on the ask
TRADE          RECORD    price                  qty       trade id       taker side
BOOK_RESET     RECORD    0                      0         update id      -          the levels that follow replace all
BOOK_STATE     RECORD    0                      0         -              -          flags = INVALID, SYNCING or VALID
TIMER          RECORD    0                      0         tick number    -          no instrument
NEW            REQUEST   limit price (0 market) qty       client id      order side order flags
CANCEL         REQUEST   0                      0         client id      order side
REPLACE        REQUEST   new price              new total client id      order side order flags
ACK            REPORT    price                  qty       client id      order side order flags
REPLACED       REPORT    new price              new total client id      order side UNASKED where no request caused it
FILL           EXECUTION fill price             fill qty  client id      order side FILL_MAKER or 0; bits 1 to 7: the fee's
                                                                                    asset (see FEE_ASSET)
CANCELED       REPORT    price                  remaining client id      order side reason code
EXPIRED        REPORT    price                  remaining client id      order side reason code
REJECT         REPORT    price                  qty       client id      order side reason code (risk, gateway, venue)
CANCEL_REJECT  REPORT    0                      0         client id      order side reason code
VENUE_FAULT    EXECUTION of the execution, or 0 likewise  the venue's    -          flags = cause in HALT_CAUSES; never in a
                                                          of WRONG_TERMS:           ring
                                                          client id; price,
                                                          qty claimed
============== ========= ====================== ========= ============== ========== ==================================

A venue whose numbers are longer than 64 bits gives 64 bits of them. The venue's number of an order comes with its ACK (and with a
REPLACED that changed it) and stands in its row of every order table, so it is at hand with each of its fills. Reject reasons are
in :mod:`hftpipe.core.schema.reasons`. ``venue_id`` of other reports is 0, but see OWN_CANCEL.
"""

import numpy as np


def _layout(at_8: str, at_16: tuple[str, str], at_24: str) -> np.dtype:
    return np.dtype(
        [
            ("seq", "u8"), (at_8, "u8"), at_16, (at_24, "i8"),
            ("price", "i8"), ("qty", "i8"), ("id", "u8"),
            ("instrument", "u4"), ("kind", "u1"), ("side", "u1"), ("strategy", "u1"), ("flags", "u1"),
        ],
        align=True,
    )  # fmt: skip


RECORD = _layout("origin_tsc", ("exchange_ts", "i8"), "local_ts")
REQUEST = _layout("origin_tsc", ("sent_tsc", "u8"), "local_ts")
REPORT = _layout("venue_id", ("exchange_ts", "i8"), "local_ts")
EXECUTION = _layout("trade_id", ("exchange_ts", "i8"), "fee")
RECORD_BYTES = 64
#: Raised whenever a field or a kind changes its meaning; retired numbers are never used again.
SCHEMA_VERSION = 3

BUY, SELL = 0, 1
BID, ASK = 0, 1

# Kinds. Market data:
LEVEL, TOP, TRADE, BOOK_RESET, BOOK_STATE, TIMER = 1, 2, 3, 4, 5, 6
# Strategy to risk to gateway:
NEW, CANCEL, REPLACE = 16, 17, 18
# Back from the gateway, and from risk:
ACK, REPLACED, FILL, CANCELED, EXPIRED, REJECT, CANCEL_REJECT = 32, 33, 34, 35, 36, 37, 38
# 48 is retired: a halt is seen in its cell, and on tapes as HALT_SEEN.
#: From a venue to the gateway alone: what it said cannot be booked, or shows that it has lost our orders.
VENUE_FAULT = 49

KIND_NAMES = {
    LEVEL: "level", TOP: "top", TRADE: "trade", BOOK_RESET: "book_reset", BOOK_STATE: "book_state", TIMER: "timer",
    NEW: "new", CANCEL: "cancel", REPLACE: "replace", ACK: "ack", REPLACED: "replaced", FILL: "fill",
    CANCELED: "canceled", EXPIRED: "expired", REJECT: "reject", CANCEL_REJECT: "cancel_reject",
    VENUE_FAULT: "venue_fault",
}  # fmt: skip

# Flags of LEVEL and TOP.
LAST = 1

# States of a book, as flags of BOOK_STATE.
INVALID, SYNCING, VALID = 0, 1, 2
BOOK_STATE_NAMES = {INVALID: "INVALID", SYNCING: "SYNCING", VALID: "VALID"}

# Flags of NEW, REPLACE and ACK: time in force in the low bits, then attributes.
GTC, IOC, FOK, POST_ONLY, MARKET = 0, 1, 2, 3, 4
TIF_MASK = 7
REDUCE_ONLY = 8
#: Set by risk alone, and kept from the venue: approved while only reducing is allowed, for it makes the position smaller.
REDUCES = 16
#: The strategy handed over a number that is not a price or quantity (NaN, infinity, out of range).
NOT_A_NUMBER = 128
TIF_NAMES = {GTC: "GTC", IOC: "IOC", FOK: "FOK", POST_ONLY: "POST_ONLY", MARKET: "MARKET"}

#: ``venue_id`` of a CANCEL_REJECT: the gateway has cancelled by itself, and this may be the answer to that.
OWN_CANCEL = np.uint64(1)

# Flags of FILL.
FILL_MAKER = 1
#: Shift of the asset that the fee of a FILL is in: 0 is the instrument's quote currency, n the n-th of the run's other assets.
FEE_ASSET = 1
MAX_FEE_ASSETS = 126
#: In the place of such a number: an asset that the run does not have, or a fee that could not be read (which is 0 then).
UNKNOWN_FEE_ASSET = 127

#: What a venue says to a request: it cannot be taken now, it is on its way, or it is answered without leaving the machine.
NOT_TAKEN, LEFT, ANSWERED_HERE = 0, 1, 2

#: Flag of REPLACED: the venue changed the order of its own accord; a replace under way is still to be answered.
UNASKED = 64

# Client order id: venue (8 bits) | strategy (8) | number (48). A run's numbers begin at its epoch, a second of the wall
# clock, times 2**16: they never meet those of an earlier run, for which it would have had to send 65,536 orders a second.
ID_EPOCH_BITS = 16
#: Numbers above the last run's that a run gets when the clock does not say later: 2**28 ids lie between.
EPOCH_STEP = 1 << 12
#: 2**32 ids fit above the largest epoch.
EPOCH_MAX = 2**32 - 2**16 - 1


def client_id(venue: int, strategy: int, epoch: int, sequence: int) -> int:
    """Build a client order id from its parts: ``epoch`` in 0..EPOCH_MAX, ``sequence`` below 2**32."""
    return (venue & 0xFF) << 56 | (strategy & 0xFF) << 48 | (epoch << ID_EPOCH_BITS) + sequence


def layout_of(kind: int) -> np.dtype:
    """The layout of records of a kind; RECORD for one that there is not."""
    if NEW <= kind <= REPLACE:
        return REQUEST
    if kind in (FILL, VENUE_FAULT):
        return EXECUTION
    return REPORT if ACK <= kind <= CANCEL_REJECT else RECORD
