"""``hftpipe run`` on simulated venues in other processes, and a look into its segment: books, positions."""

import contextlib
import json
import os
import signal
import subprocess
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np

from hftpipe.core.schema.instruments import INSTRUMENT
from hftpipe.core.schema.position import POSITION
from hftpipe.core.schema.records import ASK, BID
from hftpipe.core.shared.shm import Segment
from hftpipe.core.trading.book import BOOK, BOOK_HEADER_BYTES
from hftpipe.core.trading.book_sides import read_side
from hftpipe.core.trading.books import book_offsets
from hftpipe.simulation.live_campaign.venue import KEY, SECRET, SimulatedVenue
from hftpipe.simulation.processes import COMMAND, CampaignError, until

START_S, END_S = 600.0, 90.0
MOST_LEVELS = 4096
_READS = 100

#: Rules of the venue by (protocol, market).
RULES = {("binance", "usdm"): "binance_usdm", ("bybit", "linear"): "bybit_linear"}
_VENUE = """
[[venues]]
name = "{name}"
kind = "{rules}"
rules = "{rules}"
mode = "{mode}"
[venues.live]
server = "http://{address}"
connections = {connections}
silence_s = {silence_s}
"""
_TRADED = """
[[instruments]]
symbol = "BTCUSDT"
venue = "{name}"
depth = "{depth}"
maker_fee_bps = "0"
"""
_LISTED = """
[[instruments]]
symbol = "{one.symbol}"
venue = "{name}"
depth = "{depth}"
base = "{one.base}"
quote = "{one.quote}"
tick_size = "{one.tick}"
lot_size = "{one.lot}"
min_notional = "{one.min_notional}"
reference_price = "{one.price}"
maker_fee_bps = "0"
"""
_FLOODED = """
[[instruments]]
symbol = "{symbol}"
venue = "binance"
depth = "shallow"
tick_size = "0.10"
lot_size = "0.001"
min_notional = "5"
reference_price = "60000"
"""
_MAKER = """
[pipeline]
idle = "sleep"

[[strategies]]
name = "maker"
strategy = "market_making"
instruments = [{traded}]
[strategies.params]
spread_bps = 8.0
order_size = 0.001
reprice_threshold = 0.5
max_inventory = 0.005

[risk.limits.default]
orders_per_s = 100
orders_per_min = 6000

[risk.limits.BTCUSDT]
max_order_qty = "0.01"
max_market_order_qty = "0.005"
max_order_notional = "2000"
max_position = "0.1"
"""


def config_text(venues: Sequence[SimulatedVenue], mode: str, depth: str, connections: int, silence_s: float) -> str:
    """The configuration of a run on these venues: all their symbols, BTCUSDT of each quoted by a market maker.

    They are written out: of symbols that have not traded yet a venue tells no last price, and the run would not choose them.
    """
    parts = [
        _VENUE.format(
            name=one.protocol, rules=RULES[one.protocol, one.market], mode=mode, address=one.address,
            connections=connections, silence_s=silence_s,
        )
        for one in venues
    ]  # fmt: skip
    parts += [_LISTED.format(one=rules, name=one.protocol, depth=depth) for one in venues for rules in one.rules()]
    traded = ", ".join(f'"{one.protocol}:BTCUSDT"' for one in venues)
    return "".join(parts) + _MAKER.format(traded=traded)


def soak_config(flood: str, names: Sequence[str], bybit: SimulatedVenue) -> str:
    """The configuration of a run on a flood at an address, with these symbols and orders on paper, and on a simulated Bybit for real."""
    text = _VENUE.format(name="binance", rules="binance_usdm", mode="paper", address=flood, connections=2, silence_s=10)
    text += _TRADED.format(name="binance", depth="full")
    text += "".join(_FLOODED.format(symbol=one) for one in names if one != "BTCUSDT")
    text += _VENUE.format(
        name="bybit",
        rules="bybit_linear",
        mode="live",
        address=bybit.address,
        connections=1,
        silence_s=10,
    )
    text += _TRADED.format(name="bybit", depth="full")
    traded = '"binance:BTCUSDT", "bybit:BTCUSDT"'
    return text + _MAKER.format(traded=traded)


class LiveRun:
    """One run under way.

    Attributes:
        symbols: names at their venues, by instrument; at: which venue each is traded at; states: of the strategy's books, int64[n]
            as they are now; pids: of its stages.

    Raises:
        CampaignError: it did not start.
    """

    def __init__(self, folder: Path, venues: Sequence[SimulatedVenue], text: str, *flags: str) -> None:
        config, self._log, self._summary = folder / "run.toml", folder / "run.log", folder / "summary.json"
        config.write_text(text)
        self._name = f"live-{os.getpid()}"
        environment = os.environ | {"HFTPIPE_STATE_DIR": str(folder / "state")}
        for one in venues:
            head = f"HFTPIPE_SECRET_{RULES[one.protocol, one.market].upper()}"
            environment |= {f"{head}_API_KEY": KEY, f"{head}_API_SECRET": SECRET}
        with self._log.open("w") as log:
            self.process = subprocess.Popen(
                [*COMMAND, "run", "--config", str(config), "--name", self._name, "--json", str(self._summary),
                 "--set", "log.format=json", *flags],
                stdout=subprocess.DEVNULL, stderr=log, env=environment, start_new_session=True,
            )  # fmt: skip
        with contextlib.ExitStack() as undo:
            undo.callback(self.kill)
            self.pids: list[int] = until(self._started, START_S, "the run")
            self._look_in()
            undo.pop_all()

    def _started(self) -> list[int] | None:
        if self.process.poll() is not None:
            raise CampaignError(f"the run did not start:\n{self.log()[-4000:]}")
        found = [line for line in self.log().splitlines() if '"pipeline started"' in line]
        return list(json.loads(found[0])["processes"]) if found else None

    def _look_in(self) -> None:
        self._segment = Segment.attach(self._name)
        rows = self._segment.region("instruments").view(INSTRUMENT)
        self.symbols = [bytes(one).decode() for one in rows["symbol"]]
        self.at = rows["at"].astype(np.int64)
        offsets = book_offsets(rows["levels"].astype(np.int64))
        books = self._segment.region("strategy.books")
        self._heads = [books[at:][:BOOK_HEADER_BYTES].view(BOOK)[0] for at in offsets.tolist()]
        self._addresses = (np.uint64(self._segment.address("strategy.books")) + offsets.astype(np.uint64)).tolist()
        # The state of every book at once: a word of each head.
        words = books[: len(books) // 8 * 8].view(np.int64)
        state_at = (offsets + BOOK.fields["state"][1]) // 8 if BOOK.fields else offsets
        self._words, self._state_at = words, state_at
        self._out = np.zeros((MOST_LEVELS, 2), np.int64)
        self.stage_names = ["+".join(one) for one in self._segment.meta["processes"]]

    @property
    def states(self) -> np.ndarray:
        """State of every book now."""
        made: np.ndarray = self._words[self._state_at]
        return made

    def head(self, instrument: int) -> np.void:
        """The BOOK of an instrument, as it is while it is looked at."""
        made: np.void = self._heads[instrument]
        return made

    def _side(self, instrument: int, side: int) -> list[list[int]]:
        count = read_side(self._addresses[instrument], side, self._out.ctypes.data, MOST_LEVELS)
        made: list[list[int]] = self._out[:count].tolist()
        return made

    def book(self, instrument: int) -> dict[str, Any] | None:
        """A book that did not change while it was read (``id``, ``bids``, ``asks``, ``top``); None: it always did."""
        head = self._heads[instrument]
        for _ in range(_READS):
            before = int(head["updates"]), int(head["top_id"]), int(head["state"])
            made = {
                "id": int(head["update_id"]), "bids": self._side(instrument, BID), "asks": self._side(instrument, ASK),
                "top": [int(head[name]) for name in ("bid", "bid_qty", "ask", "ask_qty")],
            }  # fmt: skip
            if before == (int(head["updates"]), int(head["top_id"]), int(head["state"])):
                return made
        return None

    def position(self, instrument: int) -> np.void:
        """Risk's POSITION of an instrument."""
        row: np.void = self._segment.region("risk.positions").view(POSITION)[instrument].copy()
        return row

    def log(self) -> str:
        """All it has said."""
        return self._log.read_text()

    def end(self) -> dict[str, Any]:
        """End it as a user does; its summary.

        Raises:
            CampaignError: it did not end, or left none.
        """
        if self.process.poll() is None:
            self.process.send_signal(signal.SIGINT)
        try:
            self.process.wait(END_S)
        except subprocess.TimeoutExpired as error:
            raise CampaignError(f"the run did not end within {END_S:g} s:\n{self.log()[-4000:]}") from error
        finally:
            self.kill()
        if not self._summary.exists():
            raise CampaignError(f"the run left no summary:\n{self.log()[-4000:]}")
        made: dict[str, Any] = json.loads(self._summary.read_bytes())
        return made

    def kill(self) -> None:
        """Leave nothing of it behind, nor of its watchdogs: those outlive it to cancel its orders, at venues that are no more.

        All of them are in the process group that it leads, which has its number for as long as one of them lives.
        """
        with contextlib.suppress(ProcessLookupError):
            os.killpg(self.process.pid, signal.SIGKILL)
        self.process.wait()
        with contextlib.suppress(FileNotFoundError):
            Path(f"/dev/shm/hftpipe-{self._name}").unlink()
