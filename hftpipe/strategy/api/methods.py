"""The methods of ``ctx`` that strategy code calls, as numba sees them; their meaning is in context.py.

The selectors below carry no annotations: numba wants their signature equal to that of the function they return.
"""

import math
from typing import Any

import numpy as np
from numba import types
from numba.core.errors import TypingError
from numba.extending import overload

from hftpipe.core.machine.fixed import INT64_MAX, OVERFLOW, ceil_to, floor_to, notional
from hftpipe.core.machine.jit import jit
from hftpipe.core.machine.mem import address_of, view
from hftpipe.core.schema.records import BUY, GTC, POST_ONLY, SELL
from hftpipe.core.trading.book import book_tradable
from hftpipe.core.trading.order_table import is_open, open_count
from hftpipe.core.trading.position import average_price, unrealised
from hftpipe.strategy import context, quotes, spreads
from hftpipe.strategy.api.views import mid_price, view_book, view_order, view_spread
from hftpipe.strategy.compile.record_types import IN_CALLER, MARK, method_of, need_int, record_type, viewer
from hftpipe.strategy.context import CONTEXT_VIEW, current_book, current_position, instrument_row

CONTEXT_TYPE = record_type("ctx", CONTEXT_VIEW)
view_context = viewer(CONTEXT_TYPE)
#: Beyond this a float is not certain to fit an int64.
_FLOAT_LIMIT = 9.2e18
_INT64_MAX = np.uint64(INT64_MAX)


def as_units(value: Any) -> tuple[int, bool]:
    """``(int64, is a number)`` of what a strategy passes as price or quantity.

    A float is taken in units of 1e-8 and rounded to the nearest; NaN, infinity and what does not fit are "no number".
    Compiled code only.
    """
    raise NotImplementedError("only compiled strategies call this")


# numba's stubs do not know all of its options.
@overload(as_units, jit_options=IN_CALLER)  # type: ignore[arg-type]
def _as_units(value):
    if isinstance(value, types.Float):

        def from_float(value):
            # False for NaN too; casting before checking would be undefined.
            if not abs(value) < _FLOAT_LIMIT:
                return np.int64(0), np.bool_(False)
            return np.int64(math.floor(value + 0.5)), np.bool_(True)

        return from_float
    if isinstance(value, types.Integer) and not value.signed:

        def from_unsigned(value):
            if np.uint64(value) > _INT64_MAX:
                return np.int64(0), np.bool_(False)
            return np.int64(value), np.bool_(True)

        return from_unsigned
    if isinstance(value, types.Integer):
        return lambda value: (np.int64(value), np.bool_(True))
    return None


def _need_number(where: str, **arguments: Any) -> None:
    for name, kind in arguments.items():
        if not isinstance(kind, types.Integer | types.Float):
            raise TypingError(f"{MARK}{where}: {name} must be a number, not {kind}")


def _need_id(where: str, kind: Any) -> None:
    if not isinstance(kind, types.Integer):
        raise TypingError(
            f"{MARK}{where}: the order id must be an integer, not {kind} (a float does not hold every id)"
        )


@method_of(CONTEXT_TYPE, "buy")
def _buy(ctx, price, qty, flags=GTC):
    _need_number("ctx.buy", price=price, qty=qty)
    need_int("ctx.buy", flags=flags)

    def buy(ctx, price, qty, flags=GTC):
        units, price_ok = as_units(price)
        amount, qty_ok = as_units(qty)
        return context.submit(address_of(ctx), np.int64(BUY), units, amount, np.int64(flags), price_ok & qty_ok)

    return buy


@method_of(CONTEXT_TYPE, "sell")
def _sell(ctx, price, qty, flags=GTC):
    _need_number("ctx.sell", price=price, qty=qty)
    need_int("ctx.sell", flags=flags)

    def sell(ctx, price, qty, flags=GTC):
        units, price_ok = as_units(price)
        amount, qty_ok = as_units(qty)
        return context.submit(address_of(ctx), np.int64(SELL), units, amount, np.int64(flags), price_ok & qty_ok)

    return sell


@method_of(CONTEXT_TYPE, "replace")
def _replace(ctx, id_, price, qty):
    _need_id("ctx.replace", id_)
    _need_number("ctx.replace", price=price, qty=qty)

    def replace(ctx, id_, price, qty):
        units, price_ok = as_units(price)
        amount, qty_ok = as_units(qty)
        return context.replace(address_of(ctx), np.int64(id_), units, amount, price_ok & qty_ok)

    return replace


@method_of(CONTEXT_TYPE, "cancel")
def _cancel(ctx, id_):
    _need_id("ctx.cancel", id_)
    return lambda ctx, id_: context.cancel(address_of(ctx), np.int64(id_))


@method_of(CONTEXT_TYPE, "cancel_all")
def _cancel_all(ctx):
    return lambda ctx: context.cancel_all(address_of(ctx))


@method_of(CONTEXT_TYPE, "quote")
def _quote(ctx, slot, side, price, qty, flags=POST_ONLY):
    _need_number("ctx.quote", price=price, qty=qty)
    need_int("ctx.quote", slot=slot, side=side, flags=flags)

    def wish(ctx, slot, side, price, qty, flags=POST_ONLY):
        units, price_ok = as_units(price)
        amount, qty_ok = as_units(qty)
        return quotes.quote(
            address_of(ctx), np.int64(slot), np.int64(side), units, amount, np.int64(flags), price_ok & qty_ok
        )

    return wish


@method_of(CONTEXT_TYPE, "withdraw")
def _withdraw(ctx, slot):
    need_int("ctx.withdraw", slot=slot)
    return lambda ctx, slot: quotes.withdraw(address_of(ctx), np.int64(slot))


@method_of(CONTEXT_TYPE, "withdraw_all")
def _withdraw_all(ctx):
    return lambda ctx: quotes.withdraw_all(address_of(ctx))


@method_of(CONTEXT_TYPE, "quoted")
def _quoted(ctx, slot):
    need_int("ctx.quoted", slot=slot)
    return lambda ctx, slot: quotes.quoted(address_of(ctx), np.int64(slot))


@method_of(CONTEXT_TYPE, "quote_id")
def _quote_id(ctx, slot):
    need_int("ctx.quote_id", slot=slot)
    return lambda ctx, slot: quotes.quote_id(address_of(ctx), np.int64(slot))


@method_of(CONTEXT_TYPE, "position")
def _position(ctx):
    return lambda ctx: context.position_qty(address_of(ctx), ctx.instrument)


@method_of(CONTEXT_TYPE, "position_of")
def _position_of(ctx, i):
    need_int("ctx.position_of", i=i)
    return lambda ctx, i: context.position_qty(address_of(ctx), np.int64(i))


@method_of(CONTEXT_TYPE, "average_price")
def _average_price(ctx):
    return lambda ctx: average_price(current_position(address_of(ctx)))


@method_of(CONTEXT_TYPE, "unrealised")
def _unrealised(ctx):
    return lambda ctx: unrealised(current_position(address_of(ctx)), mid_price(current_book(address_of(ctx))))


@method_of(CONTEXT_TYPE, "select")
def _select(ctx, i):
    need_int("ctx.select", i=i)
    return lambda ctx, i: context.select(address_of(ctx), np.int64(i))


@method_of(CONTEXT_TYPE, "book")
def _book(ctx):
    return lambda ctx: view_book(current_book(address_of(ctx)))


@method_of(CONTEXT_TYPE, "tradable")
def _tradable(ctx):
    return lambda ctx: book_tradable(current_book(address_of(ctx)))


@method_of(CONTEXT_TYPE, "open_orders")
def _open_orders(ctx):
    return lambda ctx: open_count(view(address_of(ctx), context.CONTEXT).table)


@method_of(CONTEXT_TYPE, "open_qty")
def _open_qty(ctx, side):
    need_int("ctx.open_qty", side=side)
    return lambda ctx, side: context.open_qty(address_of(ctx), np.int64(side))


@method_of(CONTEXT_TYPE, "order")
def _order(ctx, i):
    need_int("ctx.order", i=i)
    return lambda ctx, i: view_order(context.order_at(address_of(ctx), np.int64(i)))


@method_of(CONTEXT_TYPE, "find")
def _find(ctx, id_):
    _need_id("ctx.find", id_)
    return lambda ctx, id_: view_order(context.find(address_of(ctx), np.int64(id_)))


@jit
def _is_open(ctx, id_):
    return is_open(view_order(context.find(ctx, id_)).state)


@method_of(CONTEXT_TYPE, "is_open")
def _is_open_id(ctx, id_):
    _need_id("ctx.is_open", id_)
    return lambda ctx, id_: _is_open(address_of(ctx), np.int64(id_))


@method_of(CONTEXT_TYPE, "maker_fee")
def _maker_fee(ctx):
    """Share of the value that a resting fill costs, int64 in 1e-8 (2 basis points = 20_000; negative: rebate)."""
    return lambda ctx: instrument_row(address_of(ctx)).maker_fee


@method_of(CONTEXT_TYPE, "taker_fee")
def _taker_fee(ctx):
    """Share of the value that a taking fill costs, int64 in 1e-8 (5 basis points = 50_000)."""
    return lambda ctx: instrument_row(address_of(ctx)).taker_fee


@method_of(CONTEXT_TYPE, "min_notional")
def _min_notional(ctx):
    """Least value of an order, int64 in 1e-8."""
    return lambda ctx: instrument_row(address_of(ctx)).min_notional


@method_of(CONTEXT_TYPE, "counterparts")
def _counterparts(ctx):
    return lambda ctx: spreads.counterparts(address_of(ctx))


@method_of(CONTEXT_TYPE, "counterpart")
def _counterpart(ctx, i):
    need_int("ctx.counterpart", i=i)
    return lambda ctx, i: spreads.counterpart(address_of(ctx), np.int64(i))


@method_of(CONTEXT_TYPE, "units")
def _units(ctx):
    return lambda ctx: spreads.units(address_of(ctx))


@method_of(CONTEXT_TYPE, "spread")
def _spread_of(ctx, buy, sell):
    need_int("ctx.spread", buy=buy, sell=sell)
    return lambda ctx, buy, sell: view_spread(spreads.spread(address_of(ctx), np.int64(buy), np.int64(sell)))


@method_of(CONTEXT_TYPE, "crossing")
def _crossing(ctx):
    return lambda ctx: view_spread(spreads.crossing(address_of(ctx)))


@method_of(CONTEXT_TYPE, "watch_spreads")
def _watch_spreads(ctx, threshold, hysteresis, max_age):
    need_int("ctx.watch_spreads", threshold=threshold, hysteresis=hysteresis, max_age=max_age)
    return lambda ctx, threshold, hysteresis, max_age: spreads.watch(
        address_of(ctx), np.int64(threshold), np.int64(hysteresis), np.int64(max_age)
    )


@jit
def _value(price, qty, is_number):
    """The value, at the end of int64 where it does not fit; of what is no number the largest, which no limit lets pass."""
    value = notional(price, qty)
    if not is_number:
        return np.int64(INT64_MAX)
    if value == OVERFLOW:
        return np.int64(INT64_MAX) if (price < 0) == (qty < 0) else np.int64(-INT64_MAX)
    return value


@method_of(CONTEXT_TYPE, "value")
def _value_method(ctx, price, qty):
    """Price times quantity in 1e-8 of the quote currency, with a product of 128 bits."""
    _need_number("ctx.value", price=price, qty=qty)

    def value(ctx, price, qty):
        units, price_ok = as_units(price)
        amount, qty_ok = as_units(qty)
        return _value(units, amount, price_ok & qty_ok)

    return value


@method_of(CONTEXT_TYPE, "tick")
def _tick(ctx):
    return lambda ctx: instrument_row(address_of(ctx)).tick


@method_of(CONTEXT_TYPE, "lot")
def _lot(ctx):
    return lambda ctx: instrument_row(address_of(ctx)).lot


@jit
def _round_down(ctx, price):
    tick = instrument_row(ctx).tick
    return floor_to(price, tick) if tick > 0 else price


@jit
def _round_up(ctx, price):
    tick = instrument_row(ctx).tick
    return ceil_to(price, tick) if tick > 0 else price


@method_of(CONTEXT_TYPE, "round_down")
def _round_down_method(ctx, price):
    _need_number("ctx.round_down", price=price)
    # What is no number becomes 0, which no check downstream accepts as a price.
    return lambda ctx, price: _round_down(address_of(ctx), as_units(price)[0])


@method_of(CONTEXT_TYPE, "round_up")
def _round_up_method(ctx, price):
    _need_number("ctx.round_up", price=price)
    return lambda ctx, price: _round_up(address_of(ctx), as_units(price)[0])
