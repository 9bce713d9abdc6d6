"""The fair value behind a synthetic market: one of its own, or one that several markets have in common.

**Its own** moves with each event, by draws from the flow's one generator, and takers with news push it on
(:mod:`hftpipe.simulation.flow.decide`).

**In common** it is a path of its own generator, a point every STEP_NS from the start of the markets on, as a share of the
reference price. Whoever has the same seed, symbol and start reckons the same path; nobody need tell anybody. A market whose
clock is set back by a lag walks it later. What moves it: diffusion, and news, whose worth (half to one and a half times the mean,
up or down) is not in the price at once but comes in little by little::

    share   += diffusion - share * reversion + pending * comes_in
    pending += -pending * comes_in + news, where there is any in this step

A step that a price takes at once would make the markets differ for as long as each needs to follow, even with no lag.
"""

import math
import zlib

import numpy as np

from hftpipe.core.machine.jit import jit
from hftpipe.core.machine.mem import view
from hftpipe.core.machine.random import random_exponential, random_init, random_normal, random_uniform
from hftpipe.core.schema.layout import offset_of
from hftpipe.core.schema.names import common_name
from hftpipe.simulation.flow.demo_market import DemoMarket
from hftpipe.simulation.flow.state import FLOW

STEP_NS = 1_000_000
#: One basis point per square root of a second; back to the reference price in a quarter of an hour.
_VOLATILITY = 1e-4 * math.sqrt(STEP_NS * 1e-9)
_REVERSION = STEP_NS * 1e-9 / 900
_FAIR = np.uint64(offset_of(FLOW, "fair_random"))
#: Not moving yet.
_NEVER = np.iinfo(np.int64).max


def hold_fair_value(memory: np.ndarray, market: DemoMarket, symbol: bytes) -> None:
    """Give a flow (uint8 array) the fair value that a market asks for, standing still until :func:`release_fair_value`."""
    flow = memory[: FLOW.itemsize].view(FLOW)
    flow["reference"] *= 1 + market.fair_basis_bps * 1e-4
    if not market.fair_seed:
        return
    seed = market.fair_seed ^ zlib.crc32(common_name(symbol.decode())[0].encode()) << 32
    random_init(np.uint64(memory.ctypes.data) + _FAIR, np.uint64(seed & 0xFFFFFFFFFFFFFFFF))
    flow["fair_ts"], flow["fair_news"] = _NEVER, market.fair_news_bps * 1e-4
    flow["fair_comes_in"] = 1.0 / market.fair_news_ms
    flow["fair_news_share"] = market.fair_news_per_s * STEP_NS * 1e-9


def release_fair_value(memory: np.ndarray, market: DemoMarket, start_ts: int) -> None:
    """Let a fair value in common move, from its lag after ``start_ts`` on."""
    if market.fair_seed:
        memory[: FLOW.itemsize].view(FLOW)["fair_ts"] = start_ts + market.fair_lag_ms * 1_000_000 + STEP_NS


@jit
def fair_value(flow):
    """Ticks, float."""
    f = view(flow, FLOW)
    return f.reference + f.deviation


@jit
def _bounded(f, deviation):
    return min(max(deviation, -f.max_deviation), f.max_deviation)


@jit
def push_fair_value(flow, ticks):
    """Move it by so many ticks, float."""
    f = view(flow, FLOW)
    f.deviation = _bounded(f, f.deviation + ticks)


@jit
def _step(flow):
    """One step of a path in common."""
    f = view(flow, FLOW)
    random, comes_in = flow + _FAIR, f.fair_pending * f.fair_comes_in
    f.fair_share += _VOLATILITY * random_normal(random) - f.fair_share * _REVERSION + comes_in
    f.fair_pending -= comes_in
    if random_uniform(random) < f.fair_news_share:
        worth = f.fair_news * (0.5 + random_uniform(random))
        f.fair_pending += worth if random_uniform(random) < 0.5 else -worth
    f.fair_ts += STEP_NS


@jit
def _walk(flow):
    """Follow the path in common up to the time of the next event."""
    f = view(flow, FLOW)
    while f.fair_ts <= f.next_ts:
        _step(flow)
    f.deviation = _bounded(f, f.reference * f.fair_share)


@jit
def _drift(flow, seconds):
    """A value of its own moves on by ``seconds``, float."""
    f = view(flow, FLOW)
    dt = min(seconds, 1.0 / f.reversion)
    moved = f.volatility * math.sqrt(dt) * random_normal(flow) - f.deviation * f.reversion * dt
    if random_uniform(flow) < f.jump_share:
        size = f.jump_ticks * random_exponential(flow)
        moved += size if random_uniform(flow) < 0.5 else -size
    push_fair_value(flow, moved)


@jit
def advance_fair_value(flow, seconds):
    """Bring the fair value to the time of the next event, ``seconds`` (float) after the last one."""
    if view(flow, FLOW).fair_ts != 0:
        _walk(flow)
    else:
        _drift(flow, seconds)
