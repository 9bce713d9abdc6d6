"""Bybit's v5 text as a codec: scanner, slow decoder, sequencing rules, and how its captures are told."""

from hftpipe.core.machine.jit import entry
from hftpipe.venues.bybit.fallback import decode
from hftpipe.venues.bybit.peek import peek
from hftpipe.venues.bybit.recognise import EVENTS, LINEAR, SPOT, recognise
from hftpipe.venues.bybit.scanner import scan
from hftpipe.venues.bybit.sync import feed, sync_lose, sync_views, syncs_bytes, syncs_init
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


CODEC = Codec(
    markets=(LINEAR, SPOT),
    events=EVENTS,
    scan=scan_entry.address,
    decode=decode,
    follow=follow_entry.address,
    peek=peek_entry.address,
    lose=lose_entry.address,
    syncs_bytes=syncs_bytes,
    syncs_init=syncs_init,
    syncs=sync_views,
    recognise=recognise,
)
