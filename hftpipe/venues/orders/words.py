"""A venue's words for the states of an order, and why one ends that the venue says nothing more about: tables, and how they are read."""

from collections.abc import Mapping

import numpy as np

from hftpipe.core.machine.jit import jit
from hftpipe.core.machine.json_text import key_code
from hftpipe.core.machine.mem import ZERO, view
from hftpipe.core.schema import reasons
from hftpipe.core.schema.records import FOK, GTC, IOC, MARKET, POST_ONLY, TIF_MASK
from hftpipe.core.trading.order_table import ORDER
from hftpipe.venues.orders.facts import UNSAID


def word_table(words: Mapping[str, int]) -> np.ndarray:
    """What words mean: by row the word's code, as ``text_code`` has it, and its meaning (uint64, n x 2)."""
    return np.array([(key_code(text), np.uint64(means)) for text, means in words.items()], np.uint64)


@jit
def meaning(words, code):
    """What a word (its code) means by such a table; UNSAID (0) if it is not in it."""
    for index in range(len(words)):
        if words[index, 0] == code:
            return np.int64(words[index, 1])
    return np.int64(UNSAID)


def lapses(post_only: int) -> np.ndarray:
    """By time in force, why an order expires (uint8); of a post-only one that depends on the venue."""
    made = np.zeros(TIF_MASK + 1, np.uint8)
    for tif, why in (
        (GTC, reasons.VENUE_ENDED), (IOC, reasons.IOC_REMAINDER), (FOK, reasons.FOK_UNFILLABLE), (POST_ONLY, post_only),
        (MARKET, reasons.IOC_REMAINDER),
    ):  # fmt: skip
        made[tif] = why
    return made


@jit
def lapse_of(table, slot):
    """Why the order at ``slot`` expires (0: it is not known), by a table of :func:`lapses`."""
    tif = np.int64(view(slot, ORDER).flags & TIF_MASK) if slot != ZERO else np.int64(GTC)
    return table[tif]
