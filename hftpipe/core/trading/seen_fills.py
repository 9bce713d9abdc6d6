"""The executions that were heard of last: one that is reported again is told from one that is new.

Each order has a chain of its own, newest first: the caller keeps its head (0: none yet) in the order. An execution is a client
order id and the venue's number (both sides of a trade between two of our own orders may have one number), and is compared
whole, so a new one is never taken for an old one, whatever its number and whatever came before. The last ``limit`` of all
orders are remembered; one forgotten would count as new, and :func:`seen_is_sure` says whether one may be.

A number above all of its chain is new without a look at the others, which is the rule; any other costs a walk of the chain.

::

    base | SEEN (64 bytes) | SEEN_FILL[limit], a ring
"""

import numpy as np

from hftpipe.core.machine.jit import jit
from hftpipe.core.machine.mem import ONE, U64, ZERO, view

#: ``count``: executions ever noted; ``strays``: head of the chain of those whose orders are not known.
SEEN = np.dtype([("limit", "u8"), ("count", "u8"), ("strays", "u8"), ("_pad", "u8", 5)])
SEEN_HEADER_BYTES = 64
#: ``most``: largest number of the chain so far; ``before``: the one before in the chain. A place is counted from 1, for ever.
SEEN_FILL = np.dtype([("id", "u8"), ("number", "u8"), ("most", "u8"), ("before", "u8")])
MIN_LIMIT = 16
_FILLS, _SHIFT = np.uint64(SEEN_HEADER_BYTES), np.uint64(5)


def seen_bytes(limit: int) -> int:
    """Memory that remembers ``limit`` executions.

    Raises:
        ValueError: limit is not a power of two of at least MIN_LIMIT.
    """
    if limit < MIN_LIMIT or limit & (limit - 1):
        raise ValueError(f"{limit} executions to remember is not a power of two of at least {MIN_LIMIT}")
    return SEEN_HEADER_BYTES + limit * SEEN_FILL.itemsize


def seen_init(memory: np.ndarray, limit: int) -> None:
    """Remember nothing, in ``memory`` (uint8 array of :func:`seen_bytes`)."""
    memory[: seen_bytes(limit)] = 0
    memory[:SEEN_HEADER_BYTES].view(SEEN)["limit"] = limit


@jit
def _at(seen, place):
    return view(seen + _FILLS + (((place - ONE) & (view(seen, SEEN).limit - ONE)) << _SHIFT), SEEN_FILL)


@jit
def _is_remembered(s, place):
    return place != ZERO and s.count - place < s.limit


@jit
def _is_in_chain(seen, head, id_, number):
    s, place = view(seen, SEEN), head
    while _is_remembered(s, place):
        fill = _at(seen, place)
        if fill.number == number and fill.id == id_:
            return True
        place = fill.before
    return False


@jit
def seen_is_sure(seen, head, number):
    """Whether the chain that begins at ``head`` tells for sure if it has had the execution ``number``.

    It does if it has forgotten none, and of a number above all of them.
    """
    if _is_remembered(view(seen, SEEN), head) and number > _at(seen, head).most:
        return True
    s, place = view(seen, SEEN), head
    while _is_remembered(s, place):
        place = _at(seen, place).before
    return place == ZERO


@jit
def seen_add(seen, head, id_, number):
    """Note the execution ``number`` of order ``id_`` in the chain that begins at ``head`` (all uint64).

    Returns:
        The chain's new head (uint64); 0 if the execution is known already.
    """
    s, most = view(seen, SEEN), number
    if _is_remembered(s, head):
        newest = _at(seen, head)
        if number <= newest.most:
            if _is_in_chain(seen, head, id_, number):
                return ZERO
            most = newest.most
    s.count += ONE
    fill = _at(seen, s.count)
    fill.id, fill.number, fill.most, fill.before = id_, number, most, head
    return s.count


@jit
def _is_remembered_at_all(seen, id_, number):
    """Whether an execution is among those of any order: its chain is gone with the order. Looks at all of them."""
    s = view(seen, SEEN)
    for back in range(min(s.count, s.limit - ONE)):
        fill = _at(seen, s.count - U64(back))
        if fill.number == number and fill.id == id_:
            return True
    return False


@jit
def seen_stray(seen, id_, number):
    """Note an execution of an order that is not known (any more): False if it was noted before, as a stray or of the order."""
    s = view(seen, SEEN)
    if _is_remembered_at_all(seen, id_, number):
        return False
    head = seen_add(seen, s.strays, id_, number)
    s.strays = head if head != ZERO else s.strays
    return head != ZERO
