"""A recorded capture as a venue's feed; orders on it go to the paper exchange."""

import numpy as np

from hftpipe.config import Config
from hftpipe.venues.codecs import codec_of
from hftpipe.venues.contract import About, Codec, Feed, Site, Venue, Wired
from hftpipe.venues.message import MAX_LEVELS, message_bytes
from hftpipe.venues.taped.cursor import CURSOR, wire_cursor
from hftpipe.venues.taped.source import source_entry
from hftpipe.venues.taped.text import Page, ReplaySource, symbols_of


def _codec(config: Config) -> Codec:
    return codec_of(item.venue for item in config.instruments)


def _sizes(config: Config) -> dict[str, int]:
    return {
        "market.source": CURSOR.itemsize,
        "market.syncs": _codec(config).syncs_bytes(np.array(config.levels())),
        "market.message": message_bytes(),
    }


def _wire(site: Site, state: np.ndarray) -> Wired:
    codec, memory = _codec(site.config), site.memory
    markets = [item.venue for item in site.config.instruments]
    codec.syncs_init(memory.region("market.syncs"), site.instruments["levels"], markets)
    cursor = memory.region("market.source")[: CURSOR.itemsize].view(CURSOR)
    symbols, message, syncs = (memory.address(name) for name in ("symbols", "market.message", "market.syncs"))
    wire_cursor(cursor, codec, len(markets), symbols=symbols, message=message, syncs=syncs)
    state["source_step"], state["source"] = source_entry.address, memory.address("market.source")
    page = Page(cursor, codec, symbols_of(site.instruments), memory.region("market.message"))
    source = ReplaySource(site.config.market.replay, page)
    return Wired(opened=lambda: source.open(site.report), closed=source.close, service=source.service)


VENUE = Venue(
    about=lambda config: About(config.market.replay),
    feed=Feed(_sizes, lambda config: MAX_LEVELS, _wire),
)
