"""The flows of the embedded market: which instrument has which, how much memory, how fast, and who is next."""

import numpy as np

from hftpipe.config import Config
from hftpipe.core.feed.agenda import agenda_bytes, agenda_init
from hftpipe.core.schema.instruments import DEPTHS, TOP_ONLY
from hftpipe.core.schema.layout import offset_of
from hftpipe.simulation.flow import entries, flow, top_flow
from hftpipe.simulation.flow.state import FLOW, flow_bytes
from hftpipe.simulation.flow.top_flow import TOP_FLOW, TOP_FLOW_BYTES
from hftpipe.venues.contract import Site
from hftpipe.venues.paper.demo import demo_market
from hftpipe.venues.paper.source import FLOWS, PLACE

_TOP_ONLY = DEPTHS.index(TOP_ONLY)
_FASTEST, _SLOWEST = 1e6, 1e-3


def flow_sizes(config: Config) -> dict[str, int]:
    """Bytes of the embedded market's regions."""
    n = len(config.instruments)
    n_light = sum(one.depth == TOP_ONLY for one in config.instruments)
    return {
        "market.source": FLOWS.itemsize,
        "market.flows": (n - n_light) * flow_bytes() + n_light * TOP_FLOW_BYTES,
        "market.flow_places": n * PLACE.itemsize,
        "market.agenda": agenda_bytes(n),
    }


def flow_rates(config: Config) -> np.ndarray:
    """Mean events a second of each instrument, float64[n].

    Each has ``event_rate_per_s``; or ``total_rate_per_s`` is shared out by the square root of what is traded of each in a day.
    """
    n, market = len(config.instruments), config.market
    if not market.total_rate_per_s:
        return np.full(n, market.event_rate_per_s)
    weights = np.sqrt(np.array([max(one.volume_24h, 1) for one in config.instruments], float))
    rates: np.ndarray = np.clip(market.total_rate_per_s * weights / weights.sum(), _SLOWEST, _FASTEST)
    return rates


def wire_flows(site: Site) -> None:
    """Make every flow, and the agenda of their events."""
    config, rows, memory = site.config, site.instruments, site.memory.region("market.flows")
    rates, is_light = flow_rates(config), rows["depth"] == _TOP_ONLY
    places = site.memory.region("market.flow_places").view(PLACE)
    whole, light = np.flatnonzero(~is_light), np.flatnonzero(is_light)
    stride, demo = flow_bytes(), demo_market(config.market)
    for at, index in enumerate(whole.tolist()):
        part = memory[at * stride : (at + 1) * stride]
        flow.flow_init(part, rows[index], index, config.market.seed + index, float(rates[index]), site.start_ts, demo)
    lights = memory[len(whole) * stride :]
    top_flow.top_flows_init(
        lights, rows[light], light, config.market.seed, rates[light], site.start_ts, config.market.spread_bps
    )
    places["flow"][whole] = memory.ctypes.data + stride * np.arange(len(whole))
    places["flow"][light] = memory.ctypes.data + stride * len(whole) + TOP_FLOW_BYTES * np.arange(len(light))
    places["step"] = np.where(is_light, top_flow.top_step_entry.address, entries.step_entry.address)
    places["snapshot"] = np.where(is_light, top_flow.top_snapshot_entry.address, entries.snapshot_entry.address)
    places["next_ts"] = places["flow"] + np.where(is_light, *(_next_ts_at(one) for one in (TOP_FLOW, FLOW)))
    agenda_init(site.memory.region("market.agenda"), np.full(len(rows), site.start_ts))


def _next_ts_at(dtype: np.dtype) -> np.uint64:
    assert dtype.fields is not None
    return np.uint64(offset_of(dtype, "next_ts"))
