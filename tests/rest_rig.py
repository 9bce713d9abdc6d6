"""A venue's REST interface on loopback, for tests: answers by path, and remembers what was asked."""

import os
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

import pytest


class Server:
    """A venue on loopback: answers by path, and remembers what was asked."""

    def __init__(self) -> None:
        self.asked: list[tuple[str, str, dict[str, str]]] = []
        self.connections: set[tuple[str, int]] = set()
        #: status, headers, body; None: break the line; a number: stay silent so many seconds.
        self.answers: dict[str, tuple[int, dict[str, str], bytes] | float | None] = {}
        served = self

        class Handler(BaseHTTPRequestHandler):
            protocol_version = "HTTP/1.1"

            def _serve(self) -> None:
                served.asked.append((self.command, self.path, dict(self.headers)))
                served.connections.add(self.client_address)
                answer = served.answers[self.path.partition("?")[0]]
                if isinstance(answer, float):
                    time.sleep(answer)
                if not isinstance(answer, tuple):
                    self.close_connection = True
                    return
                status, headers, body = answer
                self.send_response(status)
                for name, text in {"Content-Length": str(len(body)), **headers}.items():
                    self.send_header(name, text)
                self.end_headers()
                self.wfile.write(body)

            do_GET = do_POST = do_DELETE = _serve

            def log_message(self, *_: object) -> None:
                return None

        self.http = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        self.http.daemon_threads = True
        threading.Thread(target=self.http.serve_forever, args=(0.02,), daemon=True).start()
        self.address = f"http://127.0.0.1:{self.http.server_port}"


@contextmanager
def serving() -> Iterator[Server]:
    """A server that is asked directly, whatever proxies the environment names."""
    with pytest.MonkeyPatch.context() as patch:
        for name in [name for name in os.environ if name.lower().endswith("_proxy")]:
            patch.delenv(name)
        made = Server()
        yield made
        made.http.shutdown()
        made.http.server_close()
