"""Spreads as a strategy sees them: the engine follows them with each book, whatever the strategy does."""

import numpy as np

from hftpipe.core.machine.jit import jit
from hftpipe.core.machine.mem import ZERO, view
from hftpipe.core.schema.layout import offset_of
from hftpipe.core.trading import spreads
from hftpipe.core.trading.book import BOOK, book_tradable
from hftpipe.strategy.context import CONTEXT, is_own

_NO_SPREAD = np.uint64(offset_of(CONTEXT, "no_spread"))


@jit
def follow_book(ctx, book):
    """The top of a book is another: judge its instrument's spreads by it."""
    c, b = view(ctx, CONTEXT), view(book, BOOK)
    if c.spreads == ZERO:
        return
    if book_tradable(book):
        spreads.spreads_update(c.spreads, b.instrument, b.bid, b.bid_qty, b.ask, b.ask_qty, b.local_ts, c.now)
    else:
        spreads.spreads_lost(c.spreads, b.instrument, c.now)


@jit
def lose_book(ctx, book):
    """A book begins anew: its spreads count again with its next update, which is when the hook is called."""
    c = view(ctx, CONTEXT)
    if c.spreads != ZERO:
        spreads.spreads_lost(c.spreads, view(book, BOOK).instrument, c.now)


@jit
def counterparts(ctx):
    """How many other instruments are the same thing as the current one (int64)."""
    c = view(ctx, CONTEXT)
    return spreads.counterpart_count(c.spreads, c.instrument) if c.spreads != ZERO else np.int64(0)


@jit
def counterpart(ctx, index):
    """Id of one of them; -1 if there are not so many."""
    c = view(ctx, CONTEXT)
    return spreads.counterpart(c.spreads, c.instrument, index) if c.spreads != ZERO else np.int64(-1)


@jit
def units(ctx):
    """How many of the current instrument make one of the common unit (int64)."""
    c = view(ctx, CONTEXT)
    return view(spreads.leg_at(c.spreads, c.instrument), spreads.LEG).units if c.spreads != ZERO else np.int64(1)


@jit
def spread(ctx, buy, sell):
    """Address of the SPREAD between two instruments; one with ``buy`` -1 if they are no counterparts."""
    c = view(ctx, CONTEXT)
    if c.spreads == ZERO or not is_own(ctx, buy):
        return ctx + _NO_SPREAD
    row = spreads.find_spread(c.spreads, buy, sell)
    return row if row != ZERO else ctx + _NO_SPREAD


@jit
def crossing(ctx):
    """Address of the next SPREAD that this book update made an opportunity, each once; one with ``buy`` -1 if there is none."""
    c = view(ctx, CONTEXT)
    row = spreads.take_crossed(c.spreads) if c.spreads != ZERO else ZERO
    return row if row != ZERO else ctx + _NO_SPREAD


@jit
def watch(ctx, threshold, hysteresis, max_age):
    """What counts as an opportunity from now on (1e-8, 1e-8, ns)."""
    c = view(ctx, CONTEXT)
    if c.spreads != ZERO:
        spreads.watch_spreads(c.spreads, threshold, hysteresis, max_age)
