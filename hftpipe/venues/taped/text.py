"""The Python half of playing a capture: text brought, read ahead in a thread, and what the scanner passes on decoded."""

import ctypes
import queue
import threading
from collections.abc import Callable, Iterator

import numpy as np

from hftpipe.capture.reader import CaptureError, CaptureReader
from hftpipe.venues.contract import Codec
from hftpipe.venues.message import Symbols
from hftpipe.venues.taped.cursor import DECODED, NEED_CHUNK, NEED_DECODE, NEED_NOTHING, REFUSED

CHUNKS_AHEAD = 4


class Page:
    """The text under a cursor.

    Args:
        cursor: CURSOR array of length 1.
        codec: whose text it is; symbols: the instruments; message: memory of the decoded message (uint8).
    """

    def __init__(self, cursor: np.ndarray, codec: Codec, symbols: Symbols, message: np.ndarray) -> None:
        self.cursor, self._codec, self._symbols, self._message = cursor, codec, symbols, message
        self._text = np.zeros(0, np.uint8)

    def give(self, text: np.ndarray) -> None:
        """Whole lines (uint8) to read on with, once those before have been read."""
        self._text = text
        self.cursor["text_at"], self.cursor["text_end"] = text.ctypes.data, text.ctypes.data + text.nbytes

    def text(self) -> bytes:
        """The line under way."""
        start, end = int(self.cursor["json_at"][0]), int(self.cursor["json_end"][0])
        return ctypes.string_at(start, end - start)

    def decode(self) -> str | None:
        """Have the slow decoder read the line under way: None, or why it refused."""
        reason = self._codec.decode(self.text(), self._symbols, self._message)
        self.cursor["slow_decodes"] += 1
        self.cursor["message_ready"] = DECODED if reason is None else REFUSED
        return reason


class ReplaySource:
    """Brings a page the text of a file: reads chunks ahead in a thread, decodes what the scanner passes on.

    Args:
        path: capture file.
    """

    def __init__(self, path: str, page: Page) -> None:
        self._path, self._page = path, page
        self._chunks: queue.Queue[np.ndarray | None] = queue.Queue(CHUNKS_AHEAD)
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
        need = int(self._page.cursor["need"][0])
        if need == NEED_CHUNK:
            self._next_chunk()
        elif need == NEED_DECODE:
            self._page.decode()
        return need != NEED_NOTHING

    def _next_chunk(self) -> None:
        try:
            chunk = self._chunks.get(timeout=0.01)
        except queue.Empty:
            return
        if chunk is None:
            self._page.cursor["ended"] = 1
        else:
            self._page.give(chunk)


def symbols_of(instruments: np.ndarray) -> Symbols:
    """An INSTRUMENT array as the slow decoder looks it up."""
    ids = {symbol.decode(): index for index, symbol in enumerate(instruments["symbol"].tolist())}
    return Symbols(ids, instruments["power"].tolist())
