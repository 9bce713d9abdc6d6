"""A venue's REST interface on loopback whose answers are made by a test: ``answer(method, path, parameters)`` gives status and body."""

import json
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any
from urllib.parse import parse_qsl

import numpy as np
import pytest

from hftpipe.config import Secret
from hftpipe.core.machine.system_clock import steady_ns
from hftpipe.transport.http.rest import RestClient
from hftpipe.transport.http.weights import Weights
from hftpipe.transport.signing.keys import Key
from hftpipe.venues.orders.client_text import prefix_of
from hftpipe.venues.orders.facts import ASK_STATE
from hftpipe.venues.orders.keeper import Question
from hftpipe.venues.orders.numbers import Instruments

PREFIX, ID = prefix_of("t1"), 0x0102_0000_65A1_0007
KEY = Key(Secret("the-api-key"), Secret("the-secret"))
BOTH = Instruments(("BTCUSDT", "ETHUSDT"), ("USDT", "USDT"), (0, 0))
ASSETS = {"BNB": 1, "BTC": 2}
Answering = Callable[[str, str, dict[str, str]], tuple[int, Any]]


class RestVenue:
    """The venue.

    Attributes:
        asked: method, path and parameters of each request so far; headers: of each; address: where it is; answer: makes the answers.
    """

    def __init__(self, answer: Answering) -> None:
        self.answer, self.asked = answer, list[tuple[str, str, dict[str, str]]]()
        self.headers: list[dict[str, str]] = []
        venue = self

        class Handler(BaseHTTPRequestHandler):
            protocol_version = "HTTP/1.1"

            def _serve(self) -> None:
                path, _, query = self.path.partition("?")
                raw = self.rfile.read(int(self.headers.get("Content-Length") or 0))
                given = dict(parse_qsl(query)) if query or not raw else json.loads(raw)
                venue.asked.append((self.command, path, given))
                venue.headers.append({name.upper(): text for name, text in self.headers.items()})
                status, body = venue.answer(self.command, path, given)
                text = json.dumps(body).encode()
                self.send_response(status)
                self.send_header("Content-Length", str(len(text)))
                self.end_headers()
                self.wfile.write(text)

            do_GET = do_POST = do_PUT = do_DELETE = _serve

            def log_message(self, *_: object) -> None:
                return None

        self._http = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        self._http.daemon_threads = True
        threading.Thread(target=self._http.serve_forever, args=(0.02,), daemon=True).start()
        self.address = f"http://127.0.0.1:{self._http.server_port}"
        self.client = RestClient(self.address, Weights(1_000_000))

    def close(self) -> None:
        self.client.close()
        self._http.shutdown()
        self._http.server_close()

    def paths(self) -> list[str]:
        return [path for _, path, _ in self.asked]


@contextmanager
def serving(answer: Answering) -> Iterator[RestVenue]:
    """A venue that is asked directly, whatever proxies the environment names."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("NO_PROXY", "*")
        made = RestVenue(answer)
        try:
            yield made
        finally:
            made.close()


def question(what: int = ASK_STATE, waited_s: float = 0.0, **fields: int) -> Question:
    """About the order of ID, asked so long ago."""
    given = {"venue_id": 9001, "instrument": 0, "revision": 0, "number": 7} | fields
    flags = {name: bool(given.pop(name, 0)) for name in ("was_changed", "is_changing")}
    return Question(id=ID, what=what, since_ns=steady_ns() - int(waited_s * 1e9), **given, **flags)


def told(facts: list[np.ndarray], *names: str) -> list[tuple[int, ...]]:
    """Some fields of each fact."""
    return [tuple(int(fact[name][0]) for name in names) for fact in facts]
