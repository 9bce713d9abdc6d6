"""Binance's text as a codec: scanner, slow decoder, sequencing rules, and how its captures are told."""

from collections.abc import Sequence

import numpy as np

from hftpipe.core.machine.jit import entry
from hftpipe.venues.binance.fallback import decode
from hftpipe.venues.binance.peek import peek
from hftpipe.venues.binance.recognise import EVENTS, recognise
from hftpipe.venues.binance.scanner import scan
from hftpipe.venues.binance.sync import MARKETS, feed, sync_lose
from hftpipe.venues.binance.syncs import sync_views, syncs_bytes, syncs_init
from hftpipe.venues.contract import Codec


@entry("int64(uint64, uint64, uint64, uint64)")
def scan_entry(text, end, symbols, message):
    return scan(text, end, symbols, message)


@entry("int64(uint64, uint64, uint64)")
def follow_entry(sync, book, message):
    return feed(sync, book, message)


@entry("int64(uint64, uint64, uint64)")
def peek_entry(text, end, symbols):
    return peek(text, end, symbols)


@entry("int64(uint64, uint64)")
def lose_entry(sync, book):
    return sync_lose(sync, book)


def _syncs_init(memory: np.ndarray, levels: np.ndarray, markets: Sequence[str]) -> None:
    syncs_init(memory, levels, [MARKETS[one] for one in markets])


CODEC = Codec(
    markets=tuple(MARKETS),
    events=EVENTS,
    scan=scan_entry.address,
    decode=decode,
    follow=follow_entry.address,
    peek=peek_entry.address,
    lose=lose_entry.address,
    syncs_bytes=syncs_bytes,
    syncs_init=_syncs_init,
    syncs=sync_views,
    recognise=recognise,
)
