"""Nasdaq TotalView-ITCH 5.0: the message types, their lengths and where their fields lie.

Every message starts with type (1 byte), stock locate (2), tracking number (2) and timestamp (6: ns since midnight).
Integers are big-endian and unsigned, prices have 4 decimals in 4 bytes (V: 8 decimals in 8 bytes), text is padded on
the right with blanks. Source: "Nasdaq TotalView-ITCH 5.0", sections 1.1 to 1.8.

==== ====== ============================= ==================================================================
type length what                          fields after the first 11 bytes, as name@offset:bytes
==== ====== ============================= ==================================================================
S        12 system event                  code@11:1
R        39 stock directory               stock@11:8 category@19:1 financial@20:1 round_lot@21:4 lots_only@25:1
                                          class@26:1 subtype@27:2 authenticity@29:1 short_sale@30:1 ipo@31:1
                                          luld_tier@32:1 etp@33:1 leverage@34:4 inverse@38:1
H        25 trading action                stock@11:8 state@19:1 reserved@20:1 reason@21:4
Y        20 Reg SHO restriction           stock@11:8 action@19:1
L        26 market participant position   mpid@11:4 stock@15:8 primary@23:1 mode@24:1 state@25:1
V        35 circuit-breaker levels        level_1@11:8 level_2@19:8 level_3@27:8
W        12 circuit breaker breached      level@11:1
K        28 IPO quoting period            stock@11:8 release_time@19:4 qualifier@23:1 price@24:4
J        35 LULD auction collar           stock@11:8 reference@19:4 upper@23:4 lower@27:4 extension@31:4
h        21 operational halt              stock@11:8 market@19:1 action@20:1
A        36 add order                     ref@11:8 side@19:1 shares@20:4 stock@24:8 price@32:4
F        40 add order, attributed         as A, mpid@36:4
E        31 order executed                ref@11:8 shares@19:4 match@23:8
C        36 executed at another price     as E, printable@31:1 price@32:4
X        23 order cancelled in part       ref@11:8 shares@19:4
D        19 order deleted                 ref@11:8
U        35 order replaced                ref@11:8 new_ref@19:8 shares@27:4 price@31:4
P        44 trade with a hidden order     ref@11:8 side@19:1 shares@20:4 stock@24:8 price@32:4 match@36:8
Q        40 cross trade                   shares@11:8 stock@19:8 price@27:4 match@31:8 cross@39:1
B        19 broken trade                  match@11:8
I        50 net order imbalance           paired@11:8 imbalance@19:8 direction@27:1 stock@28:8 far@36:4
                                          near@40:4 reference@44:4 cross@48:1 variation@49:1
N        20 retail interest               stock@11:8 flag@19:1
O        48 direct listing price range    stock@11:8 open@19:1 minimum@20:4 maximum@24:4 near@28:4
                                          near_time@32:8 lower@40:4 upper@44:4
==== ====== ============================= ==================================================================
"""

import numpy as np

#: Length in bytes, type byte included, of every message type.
MESSAGE_LENGTHS: dict[str, int] = {
    "S": 12, "R": 39, "H": 25, "Y": 20, "L": 26, "V": 35, "W": 12, "K": 28, "J": 35, "h": 21, "A": 36, "F": 40,
    "E": 31, "C": 36, "X": 23, "D": 19, "U": 35, "P": 44, "Q": 40, "B": 19, "I": 50, "N": 20, "O": 48,
}  # fmt: skip
MESSAGE_BYTES_MAX = max(MESSAGE_LENGTHS.values())
MESSAGE_NAMES: dict[str, str] = {
    "S": "system_event", "R": "stock_directory", "H": "trading_action", "Y": "reg_sho", "L": "participant_position",
    "V": "mwcb_levels", "W": "mwcb_breach", "K": "ipo_quoting", "J": "luld_collar", "h": "operational_halt",
    "A": "add", "F": "add_attributed", "E": "executed", "C": "executed_price", "X": "cancel", "D": "delete",
    "U": "replace", "P": "trade", "Q": "cross_trade", "B": "broken_trade", "I": "imbalance", "N": "retail_interest",
    "O": "direct_listing",
}  # fmt: skip


def _length_table() -> np.ndarray:
    table = np.zeros(256, np.uint8)
    for name, length in MESSAGE_LENGTHS.items():
        table[ord(name)] = length
    return table


# What a message does, by type byte in ACTIONS.
IGNORES, SYSTEM_EVENTS, LISTS, ADDS, REDUCES, REPLACES, TRADES = range(7)


def _action_table() -> np.ndarray:
    table = np.full(256, IGNORES, np.uint8)
    for names, action in (("S", SYSTEM_EVENTS), ("R", LISTS), ("AF", ADDS), ("ECXD", REDUCES), ("U", REPLACES)):
        for name in names:
            table[ord(name)] = action
    table[ord("P")] = TRADES
    return table


ACTIONS = _action_table()
#: Length by type byte; 0 for a type that is not in the specification.
LENGTHS = _length_table()

# Type bytes.
SYSTEM, DIRECTORY, ADD, ADD_ATTRIBUTED, EXECUTED, EXECUTED_PRICE, CANCEL, DELETE, REPLACE, TRADE = b"SRAFECXDUP"
SIDE_BUY, SIDE_SELL, PRINTABLE = b"BSY"

# Offsets of the fields that are read or written, named after their type where types differ.
LOCATE_AT, TRACKING_AT, TIME_AT, BODY_AT = (np.uint64(n) for n in (1, 3, 5, 11))
REF_AT, STOCK_OF_DIRECTORY_AT = np.uint64(11), np.uint64(11)
# A, F and P.
SIDE_AT, ADD_SHARES_AT, STOCK_AT, ADD_PRICE_AT, TRADE_MATCH_AT = (np.uint64(n) for n in (19, 20, 24, 32, 36))
# E, C and X.
SHARES_AT, MATCH_AT, PRINTABLE_AT, EXECUTED_PRICE_AT = (np.uint64(n) for n in (19, 23, 31, 32))
# U.
NEW_REF_AT, REPLACE_SHARES_AT, REPLACE_PRICE_AT = (np.uint64(n) for n in (19, 27, 31))

STOCK_BYTES = 8
#: A price of 4 decimals in units of 1e-8.
PRICE_UNIT = 10_000
#: Largest number in a field of shares or price.
FIELD_MAX = 2**32 - 1
LOCATES = 65_536
