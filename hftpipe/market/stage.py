"""PROCESS 1, market data: bytes -> decoded message -> book -> market ring.

A step publishes what is left of the last update, sends resets that are due, then takes events that are due from its
source: the embedded synthetic flow, or a recorded capture.
"""

import queue
import threading
from collections.abc import Callable, Iterator

import numpy as np

from hftpipe.core.jit import entry, jit
from hftpipe.core.mem import view
from hftpipe.core.stage import FINISHED, SERVICE
from hftpipe.market.capture import CaptureError, CaptureReader
from hftpipe.market.pacing import drained
from hftpipe.market.publish import flush, resume_conflated
from hftpipe.market.replay import replay_step
from hftpipe.market.state import NEED_CHUNK, NEED_DECODE, NEED_NOTHING, REPLAY, STATE, UDP
from hftpipe.market.synthetic import synthetic_step
from hftpipe.market.udp import udp_step
from hftpipe.venues.binance.fallback import decode

EVENTS_PER_STEP = 32
CHUNKS_AHEAD = 4


@jit
def step(state, now_ns):
    """One turn of the market-data stage; see :mod:`hftpipe.core.stage`."""
    s = view(state, STATE)
    if s.pending_n > 0 and not flush(state):
        return np.int64(0)
    work = np.int64(resume_conflated(state)) if s.hold_back == 0 else np.int64(0)
    if s.source == UDP:
        return work + udp_step(state, now_ns)
    if s.source != REPLAY:
        return work + synthetic_step(state, now_ns, np.int64(EVENTS_PER_STEP))
    work += replay_step(state, now_ns, np.int64(EVENTS_PER_STEP))
    if s.need != NEED_NOTHING:
        return np.int64(SERVICE)
    if s.ended == 1 and work == 0 and s.pending_n == 0 and s.line_ready == 0 and drained(state, now_ns):
        s.ended = 2
        return np.int64(FINISHED)
    return work


@entry("int64(uint64, int64)")
def step_entry(state, now_ns):
    return step(state, now_ns)


class ReplaySource:
    """The Python half of the replay: reads chunks ahead in a thread, decodes what the scanner passes on.

    Args:
        path: capture file.
        state: the stage's STATE array (length 1).
        symbols: instrument ids by symbol.
        message: the stage's message memory (uint8).
        report: called with one line for each problem with the file.
    """

    def __init__(
        self, path: str, state: np.ndarray, symbols: dict[str, int], message: np.ndarray, report: Callable[[str], None]
    ):
        self._path, self._state, self._symbols, self._message, self._report = path, state, symbols, message, report
        self._chunks: queue.Queue[np.ndarray | None] = queue.Queue(CHUNKS_AHEAD)
        self._chunk: np.ndarray | None = None
        self._closing = threading.Event()
        self._thread: threading.Thread | None = None

    def open(self) -> None:
        """Start reading ahead (in the stage's own process: threads do not survive a fork)."""
        self._thread = threading.Thread(target=self._read_ahead, name="capture-reader", daemon=True)
        self._thread.start()

    def close(self) -> None:
        """Stop the reader."""
        self._closing.set()

    def _chunks_of(self) -> Iterator[np.ndarray]:
        try:
            yield from CaptureReader(self._path)
        except CaptureError as error:
            self._report(str(error))

    def _read_ahead(self) -> None:
        for chunk in self._chunks_of():
            if not self._put(chunk):
                return
        self._put(None)

    def _put(self, item: np.ndarray | None) -> bool:
        while not self._closing.is_set():
            try:
                self._chunks.put(item, timeout=0.2)
            except queue.Full:
                continue
            return True
        return False

    def service(self) -> bool:
        """Bring what the step asked for; False at the end of the recording."""
        need = int(self._state["need"][0])
        if need == NEED_CHUNK:
            self._next_chunk()
        elif need == NEED_DECODE:
            self._decode_line()
        return need != NEED_NOTHING

    def _next_chunk(self) -> None:
        try:
            chunk = self._chunks.get(timeout=0.01)
        except queue.Empty:
            return
        if chunk is None:
            self._state["ended"] = 1
            return
        self._chunk = chunk
        self._state["text_at"] = chunk.ctypes.data
        self._state["text_end"] = chunk.ctypes.data + chunk.nbytes

    def _decode_line(self) -> None:
        assert self._chunk is not None
        start = int(self._state["json_at"][0]) - self._chunk.ctypes.data
        end = int(self._state["json_end"][0]) - self._chunk.ctypes.data
        reason = decode(self._chunk[start:end].tobytes(), self._symbols, self._message)
        self._state["slow_decodes"] += 1
        self._state["message_ready"] = 1 if reason is None else -1


def symbol_ids(instruments: np.ndarray) -> dict[str, int]:
    """Instrument ids by symbol, for the slow decoder."""
    return {bytes(row["symbol"]).decode(): index for index, row in enumerate(instruments)}
