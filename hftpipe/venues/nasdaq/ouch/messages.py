"""Nasdaq OUCH 5.0: the messages that are sent or understood here, their lengths and where their fields lie.

Integers are big-endian and unsigned, prices have 4 decimals in 8 bytes, text is padded on the right with blanks.
UserRefNum rises strictly within an account and a day; the venue ignores a number it has seen, so that every inbound
message may be sent again. Source: "OUCH 5.0 Order Entry Specification", revision 1.05, sections 2 and 3, appendices A to D,
checked against captures of Nasdaq's order ports (docs/decisions/0006-ouch-layouts.md, with the messages not used here).

To the venue:

==== ====== =================== ==================================================================================
type length what                fields, as name@offset:bytes
==== ====== =================== ==================================================================================
O    47 +   enter order         ref@1:4 side@5:1 quantity@6:4 symbol@10:8 price@18:8 tif@26:1 display@27:1
                                capacity@28:1 iso@29:1 cross@30:1 cl_ord_id@31:14 appendage_length@45:2
U    40 +   replace order       old_ref@1:4 ref@5:4 quantity@9:4 price@13:8 tif@21:1 display@22:1 iso@23:1
                                cl_ord_id@24:14 appendage_length@38:2; quantity counts what is executed already
X     9 +   cancel order        ref@1:4 quantity@5:4 (what may execute in all from now on; 0: cancel)
Q     1 +   account query
==== ====== =================== ==================================================================================

From the venue, all with the time (ns since midnight) at 1:8:

==== ====== =================== ==================================================================================
S    10     system event        code@9:1 (S start, E end of day)
A    64 +   accepted            ref@9:4 side@13:1 quantity@14:4 symbol@18:8 price@26:8 tif@34:1 display@35:1
                                order@36:8 capacity@44:1 iso@45:1 cross@46:1 state@47:1 (L, D) cl_ord_id@48:14
                                appendage_length@62:2
U    68 +   replaced            old_ref@9:4 ref@13:4 side@17:1 quantity@18:4 symbol@22:8 price@30:8 tif@38:1
                                display@39:1 order@40:8 capacity@48:1 iso@49:1 cross@50:1 state@51:1
                                cl_ord_id@52:14 appendage_length@66:2; quantity is what is left to execute
C    18 +   cancelled           ref@9:4 quantity@13:4 (taken away) reason@17:1
D    32 +   self-match (AIQ)    as C, then more that is not read
E    36 +   executed            ref@9:4 quantity@13:4 price@17:8 liquidity@25:1 match@26:8 appendage_length@34:2
B    36 +   broken trade        ref@9:4 match@13:8 reason@21:1, then more that is not read
J    29 +   rejected            ref@9:4 reason@13:2 cl_ord_id@15:14
P    13 +   cancel pending      ref@9:4
I    13 +   cancel reject       ref@9:4
Q    13 +   account query       next_ref@9:4
==== ====== =================== ==================================================================================

``+``: an appendage may follow, elements of length (1, tag included), tag (1) and value. Used here: MinQty (tag 3,
4 bytes), which makes an immediate order fill-or-kill, and PostOnly (tag 12, ``P`` or ``N``).

What OUCH leaves to the venue, as the simulated one does it: a price of MARKET_PRICE on an immediate order is a market
order; a reject reason from VENUE_REASONS on is that plus a code of :mod:`hftpipe.core.schema.reasons`.
"""

import numpy as np

from hftpipe.core.schema import reasons

ENTER, REPLACE, CANCEL, QUERY = b"OUXQ"
SYSTEM, ACCEPTED, REPLACED, CANCELED, SELF_MATCH, EXECUTED, BROKEN, REJECTED, CANCEL_PENDING, CANCEL_REJECT, ACCOUNT = (
    b"SAUCDEBJPIQ"
)

#: Shortest legal length by type; what may be longer carries an appendage.
REQUEST_LENGTHS = {"O": 47, "U": 40, "X": 9, "Q": 1}
REPORT_LENGTHS = {"S": 10, "A": 64, "U": 68, "C": 18, "D": 32, "E": 36, "B": 36, "J": 29, "P": 13, "I": 13, "Q": 13}
#: Reports that say nothing about an order's fate: known, counted, not used.
IGNORED_REPORTS = "KMRTGX"
#: Longest message that is sent or taken, appendage included.
MESSAGE_BYTES_MAX = 128


def _table(lengths: dict[str, int]) -> np.ndarray:
    table = np.zeros(256, np.uint8)
    for name, length in lengths.items():
        table[ord(name)] = length
    return table


#: By type byte; 0 for a type that is not in the table above.
REQUEST_LENGTH = _table(REQUEST_LENGTHS)
REPORT_LENGTH = _table(REPORT_LENGTHS)
IS_IGNORED = np.isin(np.arange(256), [ord(name) for name in IGNORED_REPORTS])

SIDE_BUY, SIDE_SELL = b"BS"
TIF_DAY, TIF_IOC = b"03"
POST_ONLY_YES = b"P"[0]
LIQUIDITY_ADDED, LIQUIDITY_REMOVED = b"AR"
STATE_LIVE, STATE_DEAD = b"LD"
START_OF_DAY, END_OF_DAY = b"SE"
TAG_MIN_QTY, TAG_POST_ONLY = 3, 12
MARKET_PRICE = 0x7FFF_FFFF
#: A price of 4 decimals in units of 1e-8.
PRICE_UNIT = 10_000
SHARES_MAX = 2**32 - 1
PRICE_MAX = 2**63 // PRICE_UNIT - 1
VENUE_REASONS = 0x100
CL_ORD_ID_BYTES = 14

# Requests.
(
    ENTER_REF_AT,
    ENTER_SIDE_AT,
    ENTER_QTY_AT,
    ENTER_SYMBOL_AT,
    ENTER_PRICE_AT,
    ENTER_TIF_AT,
    ENTER_ID_AT,
    ENTER_EXTRA_AT,
) = (np.uint64(n) for n in (1, 5, 6, 10, 18, 26, 31, 45))
REPLACE_OLD_AT, REPLACE_REF_AT, REPLACE_QTY_AT, REPLACE_PRICE_AT, REPLACE_TIF_AT, REPLACE_ID_AT, REPLACE_EXTRA_AT = (
    np.uint64(n) for n in (1, 5, 9, 13, 21, 24, 38)
)
CANCEL_REF_AT, CANCEL_QTY_AT = np.uint64(1), np.uint64(5)
# Reports.
TIME_AT, REF_AT, QTY_AT, CODE_AT = (np.uint64(n) for n in (1, 9, 13, 9))
A_SIDE_AT, A_QTY_AT, A_SYMBOL_AT, A_PRICE_AT, A_TIF_AT, A_ORDER_AT, A_STATE_AT, A_ID_AT, A_EXTRA_AT = (
    np.uint64(n) for n in (13, 14, 18, 26, 34, 36, 47, 48, 62)
)
#: In a Replaced all fields after the references lie this much later than in an Accepted.
U_SHIFT = np.uint64(4)
E_PRICE_AT, E_LIQUIDITY_AT, E_MATCH_AT, E_EXTRA_AT = (np.uint64(n) for n in (17, 25, 26, 34))
C_REASON_AT, J_REASON_AT, J_ID_AT = (np.uint64(n) for n in (17, 13, 15))
B_MATCH_AT, B_REASON_AT = np.uint64(13), np.uint64(21)

_CANCEL_REASONS = (
    ("U", reasons.USER_REQUEST), ("I", reasons.IOC_REMAINDER), ("Q", reasons.SELF_TRADE),
    ("F", reasons.POST_ONLY_WOULD_TAKE), ("G", reasons.POST_ONLY_WOULD_TAKE), ("Z", reasons.DISCONNECTED),
)  # fmt: skip
#: CANCEL_REASON[byte]: code of core.reasons; all others (halts, time-outs, supervision) are the venue's doing. Z is Nasdaq's
#: system cancel, which the simulated venue sends for a lost session.
CANCEL_REASON = np.full(256, reasons.VENUE_ENDED, np.uint8)
for _name, _reason in _CANCEL_REASONS:
    CANCEL_REASON[ord(_name)] = _reason
#: CANCEL_BYTE[reason]: the byte the simulated venue sends; IOC for every way an order may not rest.
CANCEL_BYTE = np.full(reasons.REASON_SLOTS, ord("I"), np.uint8)
for _name, _reason in reversed(_CANCEL_REASONS):
    CANCEL_BYTE[_reason] = ord(_name)
