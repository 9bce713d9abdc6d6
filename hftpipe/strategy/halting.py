"""What a strategy sees of halts: of the whole pipeline, of a venue, of itself, of an instrument.

The stage looks itself, for risk may be dead by then; what it saw goes on its tape, so that a replay sees it at the same record.
"""

import numpy as np

from hftpipe.core.machine.jit import jit
from hftpipe.core.machine.mem import ZERO, load_acquire, store_relaxed, view
from hftpipe.core.schema.halts import CLOSED_SCOPE, STRATEGY_SCOPE
from hftpipe.core.shared.cell import halted
from hftpipe.core.shared.halts import is_scope_news, next_scope_change, scope_word
from hftpipe.core.shared.tape import tape_halt, tape_scope
from hftpipe.strategy.context import CONTEXT, is_halted
from hftpipe.strategy.quotes import EVERYTHING, halt_quotes
from hftpipe.strategy.stage_state import CTX, STATE, seat_at


@jit
def _halt_seats(s, place):
    """No strategy's wish for a quote survives the halt, or its end, of what it trades."""
    for index in range(s.n_seats):
        halt_quotes(seat_at(s, index) + CTX, place)


@jit
def _watch_scopes(s):
    changed, place = load_acquire(s.halts), np.int64(0)
    while place < s.n_scopes:
        place = next_scope_change(s.halts, s.scopes, place, s.n_scopes)
        if place < s.n_scopes:
            is_now = np.int64(scope_word(s.scopes, place) != ZERO)
            tape_scope(s.tape, place, is_now)
            s.halts_seen += is_now & np.int64(place < CLOSED_SCOPE or place >= STRATEGY_SCOPE)
            _halt_seats(s, place)
            place += 1
    store_relaxed(s.scopes, changed)


@jit
def _halt_all(s, is_all):
    tape_halt(s.tape, is_all)
    s.halted_all = is_all
    s.halts_seen += is_all
    for index in range(s.n_seats):
        view(seat_at(s, index) + CTX, CONTEXT).halted_all = is_all
    _halt_seats(s, np.int64(EVERYTHING))


@jit
def watch_halts(state):
    """See the halts, once per step. No wish for a quote survives one, or its end."""
    s = view(state, STATE)
    is_all = np.int64(halted(s.halt))
    is_news = is_scope_news(s.halts, s.scopes)
    if is_all == s.halted_all and not is_news:
        return
    if is_all != s.halted_all:
        _halt_all(s, is_all)
    if is_news:
        _watch_scopes(s)
    for index in range(s.n_seats):
        ctx = seat_at(s, index) + CTX
        view(ctx, CONTEXT).halted = np.int64(is_halted(ctx, view(ctx, CONTEXT).instrument))
