"""One ITCH message onto orders and books, and out as market records.

=========== ======================================= ====================================================
type        effect on the book                      records, in this order
=========== ======================================= ====================================================
A F         the order rests                         LEVEL
E           the order shrinks or leaves             TRADE at the order's price, LEVEL
C           the order shrinks or leaves             TRADE at the message's price if printable, LEVEL
X D         the order shrinks or leaves             LEVEL
U           the old order leaves, the new one rests LEVEL of the old price, LEVEL of the new (one if equal)
P           none (the resting order was hidden)     TRADE
R           names the instrument of a locate        BOOK_STATE when that makes the book usable
S           none                                    none; the event code is kept in ``system_event``
others      none                                    none
=========== ======================================= ====================================================

LEVEL carries the absolute quantity after the message, and LAST on the final one. A TRADE's side is the taker's, the
opposite of the resting order's; its id is the match number. Since July 2014 the venue sends side B in every P, so
the side of a hidden trade means nothing. Shares of a non-printable C are printed again by the cross (Q), which is
counted and not sent: an auction has no taker.

Messages about unlisted instruments end after one table look-up. A message about a listed one that cannot be applied
(wrong length, unknown order, more shares than rest, ...) changes nothing, is counted by kind and leaves the book
INVALID. Unknown types are counted and harmless: the venue adds types over the years. Nothing outside
``[text, text + length)`` is ever read.
"""

import numpy as np

from hftpipe.core.machine.jit import jit
from hftpipe.core.machine.mem import ONE, U64, ZERO, load_u8, view
from hftpipe.core.schema.records import ASK, BID, LAST, LEVEL, TRADE
from hftpipe.core.trading.book import BOOK, book_commit, book_qty_at, book_set
from hftpipe.core.trading.symbols import find_symbol
from hftpipe.venues.nasdaq.itch import messages as itch
from hftpipe.venues.nasdaq.itch.feed import FEED, feed_book, feed_damage, feed_refresh, listing_of, put_record
from hftpipe.venues.nasdaq.itch.messages import (
    ACTIONS,
    ADD_PRICE_AT,
    ADD_SHARES_AT,
    ADDS,
    BODY_AT,
    EXECUTED_PRICE_AT,
    LENGTHS,
    LISTS,
    LOCATE_AT,
    MATCH_AT,
    NEW_REF_AT,
    PRICE_UNIT,
    PRINTABLE_AT,
    REDUCES,
    REF_AT,
    REPLACE_PRICE_AT,
    REPLACE_SHARES_AT,
    REPLACES,
    SHARES_AT,
    SIDE_AT,
    STOCK_BYTES,
    SYSTEM_EVENTS,
    TIME_AT,
    TRADE_MATCH_AT,
    TRADES,
)
from hftpipe.venues.nasdaq.itch.orders import ORDER, orders_locate, orders_put, orders_remove
from hftpipe.venues.nasdaq.itch.wire import be16, be32, be48, be64

_EXECUTED_PRICE, _CANCEL, _DELETE = itch.EXECUTED_PRICE, itch.CANCEL, itch.DELETE
_SIDE_BUY, _SIDE_SELL, _PRINTABLE = itch.SIDE_BUY, itch.SIDE_SELL, itch.PRINTABLE
_BLANK = 32
_LOCATE = np.dtype([("instrument", "i2")])


@jit
def _locate(feed, locate):
    """The slot of a stock locate in the table (instrument -1: not one of ours)."""
    return view(view(feed, FEED).locates + U64(2) * locate, _LOCATE)


@jit
def _apply_change(feed, instrument, index, flags, out, at):
    """Bring one level to its new quantity and write its LEVEL record; returns the next free index of ``out``."""
    f = view(feed, FEED)
    book = feed_book(feed, instrument)
    b = view(book, BOOK)
    side, price, evicted = f.change_side, f.change_price[index], b.evicted
    after = book_qty_at(book, side, price) + f.change_qty[index]
    sound = after >= 0
    if not sound:
        f.level_overflow += 1
        after = np.int64(0)
    book_set(book, side, price, after)
    put_record(feed, out, at, np.int64(LEVEL), side, flags, instrument, price, after, f.sequence)
    if b.evicted != evicted:
        f.book_full += 1
        sound = False
    return at + 1 if sound else feed_damage(feed, instrument, out, at + 1)


@jit
def _publish(feed, instrument, out, at):
    """Apply the level changes that a message has caused, and end the update; returns the number of records."""
    f = view(feed, FEED)
    for index in range(f.changes):
        flags = np.int64(LAST) if index == f.changes - 1 else np.int64(0)
        at = _apply_change(feed, instrument, index, flags, out, at)
    if f.changes > 0:
        book_commit(feed_book(feed, instrument), f.sequence, f.exchange_ts, f.local_ts)
    return at


@jit
def _change(feed, price, qty):
    """Note that a level of ``change_side`` changes by ``qty``."""
    f = view(feed, FEED)
    f.change_price[f.changes], f.change_qty[f.changes] = price, qty
    f.changes += 1


@jit
def _book_side(mark):
    """The side of a B or S byte; -1 for any other."""
    if mark == _SIDE_BUY:
        return np.int64(BID)
    return np.int64(ASK) if mark == _SIDE_SELL else np.int64(-1)


@jit
def _rest(feed, instrument, ref, raw_price, shares):
    """Enter an order of ``change_side``; False (counted) if it cannot rest."""
    f = view(feed, FEED)
    slot = orders_locate(f.orders, ref)
    if shares == ZERO:
        f.zero_shares += 1
    elif raw_price == ZERO:
        f.zero_price += 1
    elif view(slot, ORDER).qty != 0:
        f.duplicate_order += 1
    else:
        price, qty = np.int64(raw_price) * PRICE_UNIT, np.int64(shares) * listing_of(feed, instrument).lot
        if orders_put(f.orders, slot, ref, instrument, f.change_side, price, qty):
            _change(feed, price, qty)
            return True
        f.table_full += 1
    return False


@jit
def _add(feed, instrument, text):
    """A, F. Like all handlers below: the number of records written so far, or -1 when the message cannot be applied."""
    f = view(feed, FEED)
    f.change_side = _book_side(load_u8(text + SIDE_AT))
    if f.change_side < 0:
        f.bad_side += 1
        return np.int64(-1)
    if not _rest(feed, instrument, be64(text + REF_AT), be32(text + ADD_PRICE_AT), be32(text + ADD_SHARES_AT)):
        return np.int64(-1)
    f.adds += 1
    return np.int64(0)


@jit
def _resting(feed, instrument, text):
    """Slot of the order that the message names; 0 (counted) if there is none of this instrument."""
    f = view(feed, FEED)
    slot = orders_locate(f.orders, be64(text + REF_AT))
    order = view(slot, ORDER)
    if order.qty == 0:
        f.unknown_order += 1
        return ZERO
    if order.instrument != instrument:
        f.wrong_instrument += 1
        return ZERO
    return slot


@jit
def _taken(feed, instrument, kind, text, slot):
    """How much an E, C, X or D takes off the order in ``slot``; 0 (counted) if that cannot be."""
    f = view(feed, FEED)
    if kind == _DELETE:
        f.deletes += 1
        return view(slot, ORDER).qty
    qty = np.int64(be32(text + SHARES_AT)) * listing_of(feed, instrument).lot
    if qty > view(slot, ORDER).qty:
        f.too_many_shares += 1
        return np.int64(0)
    f.zero_shares += 1 if qty == 0 else 0
    return qty


@jit
def _put_trade(feed, instrument, resting_side, price, qty, match, out):
    """Write a TRADE at ``out[0]``; returns 1, or 0 for a trade at no price (counted)."""
    f = view(feed, FEED)
    if price == 0:
        f.zero_price += 1
        return np.int64(0)
    f.trades += 1
    put_record(feed, out, np.int64(0), np.int64(TRADE), 1 - resting_side, np.int64(0), instrument, price, qty, match)
    return np.int64(1)


@jit
def _print(feed, instrument, kind, text, slot, qty, out):
    """The trade of an E or C; returns the number of records written."""
    f = view(feed, FEED)
    order = view(slot, ORDER)
    f.executions += 1
    price = order.price
    if kind == _EXECUTED_PRICE:
        price = np.int64(be32(text + EXECUTED_PRICE_AT)) * PRICE_UNIT
        if load_u8(text + PRINTABLE_AT) != _PRINTABLE:
            f.non_printable += 1
            return np.int64(0)
    return _put_trade(feed, instrument, np.int64(order.side), price, qty, be64(text + MATCH_AT), out)


@jit
def _reduce(feed, instrument, kind, text, out):
    """E, C, X, D: an order shrinks or leaves."""
    f = view(feed, FEED)
    slot = _resting(feed, instrument, text)
    if slot == ZERO:
        return np.int64(-1)
    qty = _taken(feed, instrument, kind, text, slot)
    if qty == 0:
        return np.int64(-1)
    at = np.int64(0)
    if kind == _CANCEL:
        f.cancels += 1
    elif kind != _DELETE:
        at = _print(feed, instrument, kind, text, slot, qty, out)
    order = view(slot, ORDER)
    f.change_side = np.int64(order.side)
    _change(feed, order.price, -qty)
    order.qty -= qty
    if order.qty == 0:
        orders_remove(f.orders, slot)
    return at


@jit
def _replaceable(feed, ref, new_ref, raw_price, shares):
    """Whether the order of a replace may come back so; its number may stay the same."""
    f = view(feed, FEED)
    if shares == ZERO:
        f.zero_shares += 1
    elif raw_price == ZERO:
        f.zero_price += 1
    elif new_ref != ref and view(orders_locate(f.orders, new_ref), ORDER).qty != 0:
        f.duplicate_order += 1
    else:
        return True
    return False


@jit
def _replace(feed, instrument, text):
    """U: one order leaves and another comes, of the same side."""
    f = view(feed, FEED)
    slot = _resting(feed, instrument, text)
    new_ref = be64(text + NEW_REF_AT)
    raw, shares = be32(text + REPLACE_PRICE_AT), be32(text + REPLACE_SHARES_AT)
    if slot == ZERO or not _replaceable(feed, view(slot, ORDER).ref, new_ref, raw, shares):
        return np.int64(-1)
    order = view(slot, ORDER)
    f.replaces += 1
    f.change_side = np.int64(order.side)
    _change(feed, order.price, -order.qty)
    orders_remove(f.orders, slot)
    # One has left, so there is room for one.
    _rest(feed, instrument, new_ref, raw, shares)
    if f.change_price[0] == f.change_price[1]:
        f.change_qty[0] += f.change_qty[1]
        f.changes = 1
    return np.int64(0)


@jit
def _hidden_trade(feed, instrument, text, out):
    """P: nothing in the book changes, so nothing about it can damage the book."""
    f = view(feed, FEED)
    shares, side = be32(text + ADD_SHARES_AT), _book_side(load_u8(text + SIDE_AT))
    if shares == ZERO:
        f.zero_shares += 1
        return np.int64(0)
    if side < 0:
        f.bad_side += 1
        return np.int64(0)
    price, qty = np.int64(be32(text + ADD_PRICE_AT)) * PRICE_UNIT, np.int64(shares) * listing_of(feed, instrument).lot
    return _put_trade(feed, instrument, side, price, qty, be64(text + TRADE_MATCH_AT), out)


@jit
def _directory(feed, text, out):
    """Stock directory: the locate now means this symbol, for as long as the session lasts."""
    f = view(feed, FEED)
    f.directory += 1
    length = np.int64(STOCK_BYTES)
    while length > 0 and load_u8(text + BODY_AT + U64(length - 1)) == _BLANK:
        length -= 1
    instrument = find_symbol(f.symbols, text + BODY_AT, length)
    entry = _locate(feed, be16(text + LOCATE_AT))
    at = np.int64(0)
    if entry.instrument >= 0 and entry.instrument != instrument:
        f.relisted += 1
        at = feed_damage(feed, np.int64(entry.instrument), out, at)
    entry.instrument = instrument
    if instrument < 0:
        return at
    listing_of(feed, np.int64(instrument)).listed = 1
    return feed_refresh(feed, instrument, out, at)


@jit
def _wrong_length(feed, kind, text, length, out):
    """Damage the book that the message was about; every book if it does not even say which."""
    f = view(feed, FEED)
    f.wrong_length += 1
    at = np.int64(0)
    action = ACTIONS[kind]
    if action < ADDS or action > REPLACES:
        return at
    if length >= 3:
        instrument = np.int64(_locate(feed, be16(text + LOCATE_AT)).instrument)
        return feed_damage(feed, instrument, out, at) if instrument >= 0 else at
    for instrument in range(f.n_instruments):
        at = feed_damage(feed, np.int64(instrument), out, at)
    return at


@jit
def _unread(feed, kind, text, length, out):
    """A message that is not applied because of its type or length."""
    f = view(feed, FEED)
    if length > 0 and LENGTHS[kind] != 0:
        return _wrong_length(feed, kind, text, length, out)
    f.unknown_type += 1
    return np.int64(0)


@jit
def _apply(feed, instrument, kind, text, out):
    """A message about one of our instruments."""
    f = view(feed, FEED)
    f.changes = 0
    at = np.int64(0)
    action = ACTIONS[kind]
    if action == ADDS:
        at = _add(feed, instrument, text)
    elif action == REDUCES:
        at = _reduce(feed, instrument, kind, text, out)
    elif action == REPLACES:
        at = _replace(feed, instrument, text)
    elif action == TRADES:
        return _hidden_trade(feed, instrument, text, out)
    else:
        f.other += 1
        return at
    if at < 0:
        return feed_damage(feed, instrument, out, np.int64(0))
    return _publish(feed, instrument, out, at)


@jit
def itch_message(feed, text, length, sequence, local_ts, origin_tsc, out):
    """Apply the message in ``[text, text + length)``.

    Args:
        feed: address of a FEED; length: int64; sequence: uint64, becomes the update id.
        local_ts: ns, our time of receipt; origin_tsc: time-stamp counter at receipt, or 0.
        out: address of a RECORD array with :func:`~hftpipe.venues.nasdaq.itch.feed.out_room`.

    Returns:
        The number of records written (int64).
    """
    f = view(feed, FEED)
    f.messages += 1
    kind = np.int64(load_u8(text)) if length > 0 else np.int64(0)
    f.sequence, f.local_ts, f.origin_tsc = sequence, local_ts, origin_tsc
    if length != np.int64(LENGTHS[kind]) or length == 0:
        return _unread(feed, kind, text, length, out)
    f.exchange_ts = f.midnight_ns + np.int64(be48(text + TIME_AT))
    if ACTIONS[kind] == LISTS:
        return _directory(feed, text, out)
    if ACTIONS[kind] == SYSTEM_EVENTS:
        f.system_event = np.int64(load_u8(text + BODY_AT))
        f.other += 1
        return np.int64(0)
    instrument = np.int64(_locate(feed, be16(text + LOCATE_AT)).instrument)
    if instrument < 0:
        f.unlisted += 1
        return np.int64(0)
    return _apply(feed, instrument, kind, text, out)


@jit
def itch_blocks(feed, text, length, sequence, local_ts, out):
    """Apply a run of length-prefixed messages (the venue's file format), without stamps.

    The records of each message overwrite those of the one before: for files, benchmarks and tests.

    Returns:
        ``(bytes consumed, messages, records)``; stops at the first message that is not complete.
    """
    at, count, records = np.int64(0), np.int64(0), np.int64(0)
    while at + 2 <= length:
        size = np.int64(be16(text + U64(at)))
        if at + 2 + size > length:
            break
        records += itch_message(feed, text + U64(at + 2), size, sequence, local_ts, ZERO, out)
        sequence += ONE
        at += 2 + size
        count += 1
    return at, count, records
