"""Tapes: what a stage consumed, in the order it consumed it, for the recorder.

A tape is a ring of RECORDs from a stage to the recorder process. Everything that determines the stage's output goes on
it: the records it read, the top of book and halt state it looked at, changed parameters. A tape never holds its stage
up: when it is full the record is dropped and counted, and the next record that fits is preceded by a TAPE_GAP that says
how many are missing.

What a stage does may also depend on how far another process has got, by the room it finds in a ring:

======== ======== ==================================================================================================
stage    full     how a replay knows
======== ======== ==================================================================================================
strategy intents  INTENTS_FULL behind the record: which of its questions for room were answered with no
risk     updates  a record that would need room is left unread, and is on the tape when it is taken
risk     orders   a NEW or REPLACE is refused: RING_FULL behind it; a CANCEL is left unread
gateway  reports  a NEW or REPLACE is left unread; a CANCEL is on the tape when it is sent; the paper venue's market
                  waits until there is room for what it may cause
market   any      what was conflated is not published, and only what is published is on any tape
======== ======== ==================================================================================================
"""

import numpy as np

from hftpipe.core.machine.jit import jit
from hftpipe.core.machine.mem import U64, ZERO, copy_bytes, view
from hftpipe.core.schema.cells import TOP_CELL
from hftpipe.core.schema.records import ASK, BID, RECORD
from hftpipe.core.schema.ring import RING
from hftpipe.core.shared.ring import ring_claim, ring_has_space, ring_publish, ring_push

# Kinds that exist on tapes only (see the table in records.py for the others):
#: ``id`` records are missing here.
TAPE_GAP = 80
#: What an order was checked against: the top of book, side BID then ASK; price, qty; flags = book state; id = update id;
#: local_ts = event time up to which it is known to stand; exchange_ts = the event time at which it was checked.
TOP_SEEN = 81
#: The halt state a stage looked at, when it changed: flags = 1 or 0; id: 0 for the whole pipeline, else 1 + the place of a
#: venue's, strategy's or instrument's word (core/schema/halts.py).
HALT_SEEN = 82
#: Bit of HALT_SEEN's flags: it is about the record before only.
WITH_RECORD = 2
#: Bit of HALT_SEEN's flags: it is about reducing, whether that is so now; with WITH_RECORD the record before was judged while it was.
REDUCING = 8
#: Bit of HALT_SEEN's flags: the ring that the record before was to go out on was full.
RING_FULL = 4
#: New parameters of strategy ``instrument``: ``id`` = version, ``qty`` = bytes; followed by PARAMS_DATA records of 48 bytes each.
PARAMS = 83
#: 48 bytes of parameters in origin_tsc .. id (offset 8 to 56).
PARAMS_DATA = 84
PARAMS_BYTES_PER_RECORD = 48
# What a venue of flesh and blood answered (the paper venue's answers follow from the market). Its reports go on the tape as
# they are, and:
# 85 is retired: a fill has its number with it.
#: The venue did not take the request before.
VENUE_BUSY_SEEN = 86
#: The venue took a cancel of order ``id`` that a halt has caused (paper venue or not: the clock decides when it is due).
HALT_CANCEL = 87
#: Order ``id`` has waited too long for its answer.
NO_ANSWER_SEEN = 88
#: The order before was too old to be sent.
TOO_OLD_SEEN = 89
#: The NEW or REPLACE before was refused, as the journal could not be written.
UNJOURNALED_SEEN = 90
#: A stopped gateway has let the paper venue's time go on to ``local_ts``, as its market said nothing any more.
CLOCK_RAN_ON = 92
#: Risk looked at instrument ``instrument``, which is held, at event time ``local_ts``: its mid was ``price``.
MID_SEEN = 97
#: A limit of risk's changed: word at ``id`` bytes of area ``instrument`` (risk/changes.py) is ``qty`` from now on.
LIMIT_SEEN = 98
#: The intents ring was full for the record before: from the ``id``-th time that the strategy's engine asked for room in it
#: (from 0), ``qty`` times in a row.
INTENTS_FULL = 96


@jit
def _mark_gap(tape, lost):
    slot = ring_claim(tape)
    r = view(slot, RECORD)
    r.kind, r.id, r.instrument, r.side, r.strategy, r.flags = TAPE_GAP, lost, 0, 0, 0, 0
    r.price, r.qty, r.origin_tsc, r.exchange_ts, r.local_ts = 0, 0, ZERO, 0, 0
    ring_publish(tape)


@jit
def tape_room(tape, count):
    """Whether ``count`` records fit (with a gap mark if one is due); otherwise they are counted as lost."""
    r = view(tape, RING)
    if not ring_has_space(tape, count + (1 if r.lost_pending != ZERO else 0)):
        r.lost_pending += U64(count)
        r.lost += U64(count)
        return False
    if r.lost_pending != ZERO:
        _mark_gap(tape, r.lost_pending)
        r.lost_pending = ZERO
    return True


@jit
def tape_record(tape, record):
    """Put a copy of the RECORD at address ``record`` on the tape; nothing when ``tape`` is 0 (not recording)."""
    if tape != ZERO and tape_room(tape, np.int64(1)):
        ring_push(tape, record)


@jit
def _fields(tape, kind, side, flags, instrument, price, qty, local_ts, id_, exchange_ts):
    slot = ring_claim(tape)
    r = view(slot, RECORD)
    r.kind, r.side, r.flags, r.instrument, r.strategy = kind, side, flags, instrument, 0
    r.price, r.qty, r.local_ts, r.id = price, qty, local_ts, id_
    r.origin_tsc, r.exchange_ts = ZERO, exchange_ts
    ring_publish(tape)


@jit
def tape_top(tape, instrument, top, now):
    """Put the TOP_CELL copy at address ``top`` on the tape as a TOP_SEEN pair, with the event time it was looked at."""
    if tape != ZERO and tape_room(tape, np.int64(2)):
        t = view(top, TOP_CELL)
        state = np.uint8(t.state)
        _fields(tape, TOP_SEEN, BID, state, instrument, t.bid, t.bid_qty, t.local_ts, t.update_id, now)
        _fields(tape, TOP_SEEN, ASK, state, instrument, t.ask, t.ask_qty, t.local_ts, t.update_id, now)


@jit
def tape_halt(tape, halted):
    """Put a change of the halt state that the stage has seen on the tape."""
    if tape != ZERO and tape_room(tape, np.int64(1)):
        _fields(tape, HALT_SEEN, 0, np.uint8(halted), 0, np.int64(0), np.int64(0), np.int64(0), ZERO, np.int64(0))


@jit
def tape_scope(tape, place, halted):
    """Put a change of the halt of a venue, strategy or instrument, that the stage has seen, on the tape."""
    if tape != ZERO and tape_room(tape, np.int64(1)):
        id_ = U64(place) + U64(1)
        _fields(tape, HALT_SEEN, 0, np.uint8(halted), 0, np.int64(0), np.int64(0), np.int64(0), id_, np.int64(0))


@jit
def tape_mark(tape, kind, id_):
    """Put a record of ``kind`` that says nothing but ``id`` on the tape."""
    if tape != ZERO and tape_room(tape, np.int64(1)):
        _fields(tape, kind, 0, np.uint8(0), 0, np.int64(0), np.int64(0), np.int64(0), id_, np.int64(0))


@jit
def tape_mid(tape, instrument, mid, now):
    """Put on the tape that risk has valued what is held of an instrument at another mid, at event time ``now``."""
    if tape != ZERO and tape_room(tape, np.int64(1)):
        _fields(tape, MID_SEEN, 0, np.uint8(0), instrument, mid, np.int64(0), now, ZERO, np.int64(0))


@jit
def tape_limit(tape, area, offset, value):
    """Put on the tape that a word of risk's limits is another from now on."""
    if tape != ZERO and tape_room(tape, np.int64(1)):
        _fields(
            tape, LIMIT_SEEN, 0, np.uint8(0), np.uint32(area), np.int64(0), value, np.int64(0), U64(offset), np.int64(0)
        )


@jit
def tape_time(tape, kind, local_ts):
    """Put a record of ``kind`` that says nothing but a time on the tape."""
    if tape != ZERO and tape_room(tape, np.int64(1)):
        _fields(tape, kind, 0, np.uint8(0), 0, np.int64(0), np.int64(0), local_ts, ZERO, np.int64(0))


@jit
def tape_full(tape, first, count):
    """Put on the tape that there was no room: the ``first``-th time it was asked for, and ``count`` times in all."""
    if tape != ZERO and tape_room(tape, np.int64(1)):
        _fields(tape, INTENTS_FULL, 0, np.uint8(0), 0, np.int64(0), count, np.int64(0), U64(first), np.int64(0))


@jit
def tape_params(tape, strategy, version, source, count):
    """Put ``count`` bytes of a strategy's parameters at address ``source`` on the tape: PARAMS, then PARAMS_DATA records."""
    pieces = (count + PARAMS_BYTES_PER_RECORD - 1) // PARAMS_BYTES_PER_RECORD
    if tape == ZERO or not tape_room(tape, pieces + 1):
        return
    _fields(tape, PARAMS, 0, 0, np.uint32(strategy), np.int64(0), count, np.int64(0), version, np.int64(0))
    for piece in range(pieces):
        at = piece * PARAMS_BYTES_PER_RECORD
        slot = ring_claim(tape)
        view(slot, RECORD).kind = PARAMS_DATA
        copy_bytes(slot + U64(8), source + U64(at), min(count - at, np.int64(PARAMS_BYTES_PER_RECORD)))
        ring_publish(tape)
