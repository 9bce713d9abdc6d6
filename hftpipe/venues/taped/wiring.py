"""A recorded capture as a venue's feed; orders on it go to the paper exchange."""

import numpy as np

from hftpipe.config import Config
from hftpipe.venues.binance.sync import MARKETS, sync_bytes, sync_init
from hftpipe.venues.contract import Feed, Site, Venue, Wired
from hftpipe.venues.message import MAX_LEVELS, message_bytes
from hftpipe.venues.taped.source import source_entry
from hftpipe.venues.taped.state import TEXT
from hftpipe.venues.taped.text import ReplaySource, symbol_ids


def _sizes(config: Config) -> dict[str, int]:
    return {
        "market.source": TEXT.itemsize,
        "market.syncs": len(config.instruments) * sync_bytes(),
        "market.message": message_bytes(),
    }


def _wire(site: Site, state: np.ndarray) -> Wired:
    stride, syncs = sync_bytes(), site.memory.region("market.syncs")
    for index, item in enumerate(site.config.instruments):
        sync_init(syncs[index * stride : (index + 1) * stride], MARKETS[item.venue])
    text = site.memory.region("market.source")[: TEXT.itemsize].view(TEXT)
    text["syncs"], text["sync_stride"] = site.memory.address("market.syncs"), stride
    text["message"], text["symbols"] = site.memory.address("market.message"), site.memory.address("symbols")
    state["source_step"], state["source"] = source_entry.address, site.memory.address("market.source")
    symbols, message = symbol_ids(site.instruments), site.memory.region("market.message")
    source = ReplaySource(site.config.market.replay, text, symbols, message)
    return Wired(opened=lambda: source.open(site.report), closed=source.close, service=source.service)


VENUE = Venue(
    feed=Feed(_sizes, lambda config: MAX_LEVELS, _wire),
)
