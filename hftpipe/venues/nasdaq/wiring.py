"""The multicast venue: ITCH 5.0 over MoldUDP64 in, OUCH 5.0 out."""

from dataclasses import fields
from typing import Any

import numpy as np

from hftpipe.config import Config
from hftpipe.core.machine.system_clock import midnight_ns, steady_ns
from hftpipe.core.schema.counters import Place, places
from hftpipe.core.schema.instruments import INSTRUMENT
from hftpipe.core.shared.event_time import REAL_TIME_MULT
from hftpipe.venues.contract import Feed, Orders, Site, Venue, Wired
from hftpipe.venues.nasdaq.account import ouch_password
from hftpipe.venues.nasdaq.itch.arbiter_state import ARBITER
from hftpipe.venues.nasdaq.itch.arbiter_state import COUNTERS as ARBITER_COUNTERS
from hftpipe.venues.nasdaq.itch.feed import COUNTERS as FEED_COUNTERS
from hftpipe.venues.nasdaq.itch.feed import FEED
from hftpipe.venues.nasdaq.itch.receive import OUT_ROOM
from hftpipe.venues.nasdaq.itch.wiring import Lines, itch_bytes, join, part_offsets, receive_entry
from hftpipe.venues.nasdaq.ouch import venue
from hftpipe.venues.nasdaq.ouch.link import TCP, UDP
from hftpipe.venues.nasdaq.ouch.state import draw_session, venue_bytes, venue_counters
from hftpipe.venues.nasdaq.source import RECEIVE, source_entry, udp_sink_entry


def _feed_sizes(config: Config) -> dict[str, int]:
    size = itch_bytes(len(config.instruments), config.market.book_levels)
    return {"market.source": RECEIVE.itemsize, "itch": size}


def _lines(config: Config) -> Lines:
    udp = config.udp
    settings = {one.name: getattr(udp, one.name) for one in fields(Lines) if hasattr(udp, one.name)}
    if udp.embedded and settings["receive"] == "auto" and not udp.interface.startswith("127."):
        # A packet ring does not see a sender on this machine but on the loopback interface.
        settings["receive"] = "socket"
    # Stages in the same process wait for the end of the step: it ends with the first datagram.
    is_alone = ("market_data",) in config.pipeline.processes
    return Lines(**settings, max_datagrams=64 if is_alone else 1)


def _wire_feed(site: Site, state: np.ndarray) -> Wired:
    """The lines are joined here, before the processes are forked."""
    memory = site.memory
    feed = join(
        memory.region("itch"), site.instruments, site.config.market.book_levels, _lines(site.config), midnight_ns(site.start_ts),
        udp_sink_entry.address, memory.address("state.market_data"), memory.address("hist.kernel_to_market"),
        memory.address("clock"), memory.address("time"),
    )  # fmt: skip
    source = memory.region("market.source")[: RECEIVE.itemsize].view(RECEIVE)
    source["receive"], source["receiver"], source["out"] = receive_entry.address, feed.receiver, feed.out
    state["source_step"], state["source"] = source_entry.address, memory.address("market.source")
    state["hold_back"], state["inverse_speed"], state["speed_mult"] = 0, 1.0, REAL_TIME_MULT
    state["books"], state["book_stride"] = feed.books, feed.book_stride
    return Wired(facts=tuple(feed.facts), keep=(feed,))


def _feed_counters(config: Config) -> list[Place]:
    at = part_offsets(len(config.instruments), config.market.book_levels)
    arbiter = places("feed", "itch", ARBITER, ARBITER_COUNTERS, at["arbiter"])
    return arbiter + places("feed", "itch", FEED, FEED_COUNTERS, at["feed"])


def _order_sizes(config: Config) -> dict[str, int]:
    return {"ouch": venue_bytes(len(config.instruments))}


def _order_counters(config: Config) -> list[Place]:
    return venue_counters("ouch", len(config.instruments))


def _wire_orders(site: Site, state: np.ndarray) -> Wired:
    udp, memory = site.config.udp, site.memory.region("ouch")
    venue.warm()
    venue.venue_init(
        memory, site.memory.region("instruments").view(INSTRUMENT), site.memory.address("clock"),
        server=udp.order_address, port=udp.order_port, transport=TCP if udp.transport == "tcp" else UDP,
        user=udp.user, password=ouch_password(), session=draw_session(), midnight_ns=midnight_ns(site.start_ts),
        login_ns=int(udp.login_timeout_s * 1e9), cancel_after_ms=udp.cancel_after_ms,
    )  # fmt: skip
    state["venue"], state["venue_submit"] = site.memory.address("ouch"), venue.submit_entry.address
    state["venue_poll"], state["venue_unanswered"] = venue.poll_entry.address, venue.unanswered_entry.address
    opened: list[Any] = []
    return Wired(
        opened=lambda: opened.append(venue.open_venue(memory)),
        closed=lambda: venue.close(memory, opened.pop(), steady_ns()),
    )


VENUE = Venue(
    feed=Feed(_feed_sizes, lambda config: 2 * OUT_ROOM, _wire_feed, _feed_counters),
    orders=Orders(_order_sizes, _wire_orders, counters=_order_counters),
)
