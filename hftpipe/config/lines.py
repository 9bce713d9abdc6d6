"""What the keys of a multicast venue must agree on; several of ``[[venues]]`` may be such venues, each with its own."""

from collections.abc import Callable, Iterator

from hftpipe.config.checks import Checked
from hftpipe.config.layers import Setting
from hftpipe.config.schema import Config
from hftpipe.config.venue_sections import Market, Udp

#: ``refused(section, key, reason, allowed)``: the problem line for a key of a venue.
_Refused = Callable[[str, str, str, str], str]


def _multicast_venues(config: Config, checked: Checked) -> Iterator[tuple[Udp, Market, _Refused]]:
    if not config.venues:
        if config.pipeline.venue == "udp":
            yield config.udp, config.market, lambda section, key, *said: checked.given(section, key).refused(*said)
        return
    origin = checked.given("venues").origin
    for at, one in enumerate(config.venues):
        if one.kind != "nasdaq":
            continue

        def refused(section: str, key: str, *said: str, at: int = at, one: object = one) -> str:
            value = getattr(getattr(one, section), key)
            return Setting((f"venues[{at}]", section, key), value, origin).refused(*said)

        yield one.udp, one.market, refused


def line_problems(config: Config, checked: Checked) -> Iterator[str]:
    """Keys of multicast venues that are each fine alone."""
    for udp, market, refused in _multicast_venues(config, checked):
        if not udp.embedded and not udp.order_port:
            yield refused("udp", "order_port", "an exchange elsewhere has one", "a port number in 1..65535")
        if udp.embedded and not market.speed_e8:
            yield refused("market", "speed", "a multicast feed cannot hold back", "a multiple such as 10")
        if not udp.embedded and market.source == "replay":
            reason = "an exchange elsewhere plays its own market"
            yield refused("market", "replay", reason, "udp.embedded = true, or no recording")
    yield from _pack_problems(config, checked)


def _pack_problems(config: Config, checked: Checked) -> Iterator[str]:
    """Shares are counted one by one on a multicast venue; an embedded one trades in whatever unit we do."""
    outside = {one.name for one in config.venues if one.kind == "nasdaq" and not one.udp.embedded}
    is_outside = not config.venues and config.pipeline.venue == "udp" and not config.udp.embedded
    for at, item in enumerate(config.instruments):
        if item.pack != 1 and (is_outside or item.venue in outside):
            given = Setting((f"instruments[{at}]", "pack"), item.pack, checked.given("instruments").origin)
            yield given.refused("a share on a multicast venue is one unit", "1")
