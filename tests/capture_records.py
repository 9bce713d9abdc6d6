"""A capture as the records that the market-data stage makes of it, for tests that play it to a simulated venue."""

import tempfile
from pathlib import Path

import numpy as np

from hftpipe.config import Config, load
from hftpipe.core.machine.jit import jit
from hftpipe.core.machine.mem import call_step
from hftpipe.core.schema.records import RECORD, RECORD_BYTES, TIMER
from hftpipe.core.schema.ring import RING, RING_HEADER_BYTES
from hftpipe.core.shared.stage import FINISHED, SERVICE
from hftpipe.strategy.compile.loader import load as load_strategy
from hftpipe.topology.pipeline import Pipeline

#: What a capture's name begins with: symbol, venue, tick, lot, minimum notional and reference price of its instrument.
INSTRUMENTS = {
    "usdm_btcusdt": ("BTCUSDT", "binance_usdm", "0.10", "0.001", "100", "61800"),
    "bybit_btcusdt": ("BTCUSDT", "bybit_linear", "0.10", "0.001", "5", "61000"),
    "spot_btcusdt": ("BTCUSDT", "binance_spot", "0.01", "0.00001", "5", "61800"),
    "spot_ethusdt": ("ETHUSDT", "binance_spot", "0.01", "0.0001", "5", "2680"),
}
_KEYS = ("symbol", "venue", "tick_size", "lot_size", "min_notional", "reference_price")


def config_for(path: Path) -> Config:
    """The configuration of a run that plays a capture as fast as it can be read."""
    row = next(row for name, row in INSTRUMENTS.items() if path.name.startswith(name))
    settings = {"pipeline.name": f"records-{path.name[:12].replace('_', '-')}", "market.replay": str(path)}
    with tempfile.NamedTemporaryFile("w", suffix=".toml") as file:
        file.write("[[instruments]]\n" + "".join(f'{key} = "{value}"\n' for key, value in zip(_KEYS, row, strict=True)))
        file.flush()
        return load([file.name], {}, settings | {"market.speed": "max"})


@jit
def _step(function, state, now_ns):
    return call_step(function, state, now_ns)


def _drain(ring: np.ndarray) -> np.ndarray:
    """The unread records of a ring, taken out."""
    header = ring[:RING_HEADER_BYTES].view(RING)
    capacity = int(header["capacity"][0])
    at = np.arange(int(header["next_out"][0]), int(header["next_in"][0])) % capacity
    header["next_out"] = header["next_in"]
    return ring[RING_HEADER_BYTES:][: capacity * RECORD_BYTES].view(RECORD)[at]


def records_of(path: Path) -> tuple[np.ndarray, np.ndarray]:
    """The RECORDs of a capture without its timers, in order, and the INSTRUMENT array (of one) that they belong to."""
    pipeline = Pipeline(config_for(path), [load_strategy("market_making")], 1, 0)
    pipeline.segment.unlink()
    stage, rings = pipeline.stages["market_data"], [pipeline.segment.region(f"ring.{n}") for n in ("market", "sim")]
    chunks, code = [], 0
    stage.opened()
    while code != FINISHED:
        code = int(_step(np.uint64(stage.step), np.uint64(stage.state), np.int64(1)))
        if code == SERVICE:
            stage.service()
        chunks.append(_drain(rings[0]))
        _drain(rings[1])
    stage.closed()
    records = np.concatenate(chunks)
    return records[records["kind"] != TIMER], pipeline.instruments.copy()
