"""The multicast venue: ITCH 5.0 over MoldUDP64 in, OUCH 5.0 out."""

from collections.abc import Callable
from dataclasses import fields
from typing import Any

import numpy as np

from hftpipe.config import Config
from hftpipe.core.machine.system_clock import midnight_ns, steady_ns
from hftpipe.core.schema.counters import Place, places
from hftpipe.core.schema.event_time import REAL_TIME_MULT
from hftpipe.core.schema.halts import CLOSED_SCOPE, set_scope
from hftpipe.venues.contract import About, Beside, Feed, Orders, Site, Venue, Wired
from hftpipe.venues.nasdaq.account import ouch_password
from hftpipe.venues.nasdaq.itch.arbiter_state import ARBITER
from hftpipe.venues.nasdaq.itch.arbiter_state import COUNTERS as ARBITER_COUNTERS
from hftpipe.venues.nasdaq.itch.feed import COUNTERS as FEED_COUNTERS
from hftpipe.venues.nasdaq.itch.feed import FEED
from hftpipe.venues.nasdaq.itch.wiring import Lines, itch_layout, join, out_records, receive_entry
from hftpipe.venues.nasdaq.ouch import venue
from hftpipe.venues.nasdaq.ouch.link import TCP, UDP
from hftpipe.venues.nasdaq.ouch.state import draw_session, venue_bytes, venue_counters
from hftpipe.venues.nasdaq.source import RECEIVE, source_entry, udp_sink_entry


def _feed_sizes(config: Config) -> dict[str, int]:
    size = itch_layout(len(config.instruments), np.array(config.levels())).size
    return {"market.source": RECEIVE.itemsize, "itch": size}


def _lines(config: Config, is_alone: bool) -> Lines:
    udp = config.udp
    settings = {one.name: getattr(udp, one.name) for one in fields(Lines) if hasattr(udp, one.name)}
    if udp.embedded and settings["receive"] == "auto" and not udp.interface.startswith("127."):
        # A packet ring does not see a sender on this machine but on the loopback interface.
        settings["receive"] = "socket"
    # Stages in the same process wait for the end of the step: it ends with the first datagram.
    return Lines(**settings, max_datagrams=64 if is_alone else 1)


def _wire_feed(site: Site, state: np.ndarray) -> Wired:
    """The lines are joined here, before the processes are forked."""
    memory = site.memory
    feed = join(
        memory.region("itch"), site.instruments, np.array(site.config.levels()), _lines(site.config, site.is_alone), midnight_ns(site.start_ts),
        udp_sink_entry.address, memory.address("state.market_data"), memory.address("hist.kernel_to_market"),
        memory.address("clock"), memory.address("time"),
    )  # fmt: skip
    source = memory.region("market.source")[: RECEIVE.itemsize].view(RECEIVE)
    source["receive"], source["receiver"], source["out"] = receive_entry.address, feed.receiver, feed.out
    state["source_step"], state["source"] = source_entry.address, memory.address("market.source")
    state["hold_back"], state["inverse_speed"], state["speed_mult"] = 0, 1.0, REAL_TIME_MULT
    state["books"] = feed.books
    return Wired(facts=tuple(feed.facts), keep=(feed,))


def _feed_counters(config: Config) -> list[Place]:
    layout = itch_layout(len(config.instruments), np.array(config.levels()))
    arbiter = places("feed", "itch", ARBITER, ARBITER_COUNTERS, layout.at("arbiter"))
    return arbiter + places("feed", "itch", FEED, FEED_COUNTERS, layout.at("feed"))


def _order_sizes(config: Config) -> dict[str, int]:
    return {"ouch": venue_bytes(len(config.instruments))}


def _order_counters(config: Config) -> list[Place]:
    return venue_counters("ouch", len(config.instruments))


def _wire_orders(site: Site, state: np.ndarray) -> Wired:
    udp, memory = site.config.udp, site.memory.region("ouch")
    index = int(state["venue_index"][0])
    # Until the log-in is through nobody quotes.
    set_scope(site.memory.region("halts"), CLOSED_SCOPE + index, 1, steady_ns())
    venue.warm()
    venue.venue_init(
        memory, site.instruments, site.memory.address("clock"),
        server=udp.order_address, port=udp.order_port, transport=TCP if udp.transport == "tcp" else UDP,
        user=udp.user, password=ouch_password(), session=draw_session(), midnight_ns=midnight_ns(site.start_ts),
        login_ns=int(udp.login_timeout_s * 1e9), cancel_after_ms=udp.cancel_after_ms,
        halts=site.memory.address("halts"), venue_index=index,
    )  # fmt: skip
    state["venue"], state["venue_submit"] = site.memory.address("ouch"), venue.submit_entry.address
    state["venue_poll"], state["venue_unanswered"] = venue.poll_entry.address, venue.unanswered_entry.address
    opened: list[Any] = []
    return Wired(
        opened=lambda: opened.append(venue.open_venue(memory)),
        closed=lambda: venue.close(memory, opened.pop(), steady_ns()),
    )


def _about(config: Config) -> About:
    udp, market = config.udp, config.market
    lines, server = f"multicast {udp.group_a}, {udp.group_b}", f"{udp.order_address}:{udp.order_port}"
    if udp.embedded:
        return About(f"{lines} ({market.replay or market.source})", server=server, user=udp.user)
    return About(lines, f"orders to {server} ({udp.transport})", ends_with_run=False, server=server, user=udp.user)


def _beside(config: Config, rows: np.ndarray, report: Callable[[str], None]) -> tuple[Beside | None, Config]:
    if not config.udp.embedded:
        return None, config
    # An exchange is compiled only where one is run.
    from hftpipe.venues.nasdaq.embedded import embedded_exchange

    return embedded_exchange(config, rows, report)


VENUE = Venue(
    about=_about,
    beside=_beside,
    feed=Feed(_feed_sizes, lambda config: out_records(len(config.instruments)), _wire_feed, _feed_counters),
    orders=Orders(_order_sizes, _wire_orders, counters=_order_counters),
)
