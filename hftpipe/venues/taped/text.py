"""The Python half of playing a capture: text read ahead in a thread, and what the scanner passes on decoded."""

import queue
import threading
from collections.abc import Callable, Iterator

import numpy as np

from hftpipe.capture.reader import CaptureError, CaptureReader
from hftpipe.venues.binance.fallback import decode
from hftpipe.venues.taped.state import NEED_CHUNK, NEED_DECODE, NEED_NOTHING

CHUNKS_AHEAD = 4


class ReplaySource:
    """The Python half of the replay: reads chunks ahead in a thread, decodes what the scanner passes on.

    Args:
        path: capture file.
        state: array of length 1 with the fields of STATE about text, line, need and end.
        symbols: instrument ids by symbol.
        message: memory of the decoded message (uint8).
    """

    def __init__(self, path: str, state: np.ndarray, symbols: dict[str, int], message: np.ndarray) -> None:
        self._path, self._state, self._symbols, self._message = path, state, symbols, message
        self._chunks: queue.Queue[np.ndarray | None] = queue.Queue(CHUNKS_AHEAD)
        self._chunk: np.ndarray | None = None
        self._closing = threading.Event()
        self._thread: threading.Thread | None = None

    def open(self, report: Callable[[str], None]) -> None:
        """Start reading ahead (in the process that plays it: threads do not survive a fork).

        ``report`` is called with one line for each problem with the file.
        """
        self._thread = threading.Thread(target=self._read_ahead, args=(report,), name="capture-reader", daemon=True)
        self._thread.start()

    def close(self) -> None:
        """Stop the reader."""
        self._closing.set()

    def _chunks_of(self, report: Callable[[str], None]) -> Iterator[np.ndarray]:
        try:
            yield from CaptureReader(self._path)
        except CaptureError as error:
            report(str(error))

    def _read_ahead(self, report: Callable[[str], None]) -> None:
        for chunk in self._chunks_of(report):
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
