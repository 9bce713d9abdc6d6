"""Who is told of a trip, how, how soon, and what a dead address costs: nothing that trades waits for it."""

import json
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any

import pytest
from test_halt_tripped import built, trip

from hftpipe.app import webhook as module
from hftpipe.app.halt_latch import Latch
from hftpipe.app.webhook import FORMATS, MOST_WAITING, Trip, Webhook
from hftpipe.config import load
from hftpipe.config.fields import ConfigError
from hftpipe.config.presets import demo_overrides

LATCH = Latch("late_fill", "2026-11-28T18:00:00.000+00:00", 7, "order 0x4d was executed after its end")
KEY = "routing-key-of-the-test"


class Heard:
    """What has come to an address, and how it is answered: a status for each request, the last one for all others."""

    def __init__(self, *statuses: int) -> None:
        self.statuses, self.bodies, self.at = list(statuses), list[dict[str, Any]](), list[float]()


@contextmanager
def listening(*statuses: int, slow_s: float = 0.0) -> Iterator[tuple[str, Heard]]:
    heard = Heard(*statuses)

    class Handler(BaseHTTPRequestHandler):
        def do_POST(self) -> None:
            heard.at.append(time.monotonic())
            heard.bodies.append(json.loads(self.rfile.read(int(self.headers["Content-Length"]))))
            time.sleep(slow_s)
            status = heard.statuses.pop(0) if len(heard.statuses) > 1 else heard.statuses[0]
            self.send_response(status)
            if status == 302:
                self.send_header("Location", "/elsewhere")
            self.send_header("Content-Length", "0")
            self.end_headers()

        def log_message(self, *_: Any) -> None:
            return

    server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    threading.Thread(target=server.serve_forever, daemon=True).start()
    try:
        yield f"http://127.0.0.1:{server.server_port}/secret-path-of-the-test", heard
    finally:
        server.shutdown()
        server.server_close()


def made(form: str, url: str) -> Webhook:
    env = {"HFTPIPE_SECRET_ALERT_URL": url, "HFTPIPE_SECRET_PAGERDUTY_KEY": KEY}
    return Webhook(load([], {}, {"alerts.webhook": form, "pipeline.name": "a"}), env)


def test_each_format_is_what_its_reader_takes() -> None:
    with listening(200) as (url, heard):
        for form in FORMATS:
            one = made(form, url)
            one.tell(LATCH, "venue.alpha")
            assert one.close() == {"told": 1, "tried_again": 0, "given_up": 0, "undelivered_at_end": 0}
    plain, slack, pager = heard.bodies
    assert (
        plain["state"] == "HALTED"
        and plain["scope"] == "venue.alpha"
        and plain["cause"] == "late_fill"
        and plain["run"] == 7
    )
    assert set(slack) == {"text"} and "HALTED (venue alpha): late_fill: order 0x4d" in slack["text"]
    assert pager["routing_key"] == KEY and pager["event_action"] == "trigger" and len(pager["dedup_key"]) <= 255
    assert {"summary", "source", "severity"} <= set(pager["payload"]) and pager["payload"]["severity"] == "critical"
    assert (
        len(FORMATS["pagerduty"](Trip("a", "h", "", Latch("x", "", 0, "y" * 5000)), KEY)["payload"]["summary"]) <= 1024
    )


def test_a_trip_is_told_within_five_seconds_and_the_supervisor_waits_for_nobody() -> None:
    pipeline, supervisor = built("a", [], demo_overrides(None))
    with listening(200, slow_s=1.0) as (url, heard):
        one = made("json", url)
        supervisor._latch.tell = one.tell
        trip(pipeline)
        began = time.monotonic()
        supervisor._halt_if_tripped()
        assert time.monotonic() - began < 0.9, "it has waited for the address"
        while not heard.at and time.monotonic() - began < 5:
            time.sleep(0.01)
        assert heard.at and heard.at[0] - began < 5 and "0x4d" in heard.bodies[0]["what"]
        assert one.close()["told"] == 1


def test_what_cannot_be_delivered_is_tried_again_so_often_and_no_more(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "WAITS_S", (0.01, 0.02))
    with listening(500, 429, 200) as (url, heard):
        one = made("json", url)
        one.tell(LATCH, "")
        assert (
            one.close() == {"told": 1, "tried_again": 2, "given_up": 0, "undelivered_at_end": 0} and len(heard.at) == 3
        )
    with listening(503) as (url, heard):
        one = made("json", url)
        one.tell(LATCH, "")
        assert (
            one.close() == {"told": 0, "tried_again": 2, "given_up": 1, "undelivered_at_end": 0} and len(heard.at) == 3
        )


@pytest.mark.parametrize("status", [302, 400, 403, 404])
def test_an_address_that_says_no_is_not_asked_again_nor_followed_elsewhere(status: int) -> None:
    with listening(status) as (url, heard):
        one = made("json", url)
        one.tell(LATCH, "")
        assert one.close()["given_up"] == 1 and len(heard.at) == 1


def test_an_address_that_nobody_answers_holds_nothing_up_and_is_named_nowhere(
    monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    monkeypatch.setattr(module, "WAITS_S", (0.01,))
    one = made("json", "http://127.0.0.1:1/secret-path-of-the-test")
    began = time.monotonic()
    for _ in range(3 * MOST_WAITING):
        one.tell(LATCH, "")
    assert time.monotonic() - began < 1
    counts = one.close()
    assert counts["told"] == 0 and counts["given_up"] + counts["undelivered_at_end"] == 3 * MOST_WAITING
    assert "could not be delivered" in caplog.text and "secret-path" not in caplog.text and KEY not in caplog.text


def test_an_address_that_takes_and_never_answers_is_given_up_at_the_end(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "LAST_S", 0.2)
    with listening(200, slow_s=3.0) as (url, _):
        one = made("json", url)
        one.tell(LATCH, "")
        began = time.monotonic()
        one.close()
        assert time.monotonic() - began < 2


def test_a_secret_that_a_reason_repeats_is_not_told() -> None:
    with listening(200) as (url, heard):
        one = made("json", url)
        one.tell(Latch("operator", "", 0, f"the key is {KEY}"), "")
        one.close()
    assert KEY not in json.dumps(heard.bodies) and "***" in heard.bodies[0]["what"]


@pytest.mark.parametrize(
    ("form", "env", "said"),
    [
        ("json", {}, "HFTPIPE_SECRET_ALERT_URL must be set"),
        ("slack", {}, "HFTPIPE_SECRET_ALERT_URL must be set"),
        ("pagerduty", {}, "HFTPIPE_SECRET_PAGERDUTY_KEY must be set"),
        ("json", {"HFTPIPE_SECRET_ALERT_URL": "file:///etc/passwd"}, "https:// or http://"),
        ("slack", {"HFTPIPE_SECRET_ALERT_URL": "http://["}, "https:// or http://"),
    ],
)
def test_what_is_missing_is_said_before_anything_starts(form: str, env: dict[str, str], said: str) -> None:
    with pytest.raises(ConfigError, match=said) as refused:
        Webhook(load([], {}, {"alerts.webhook": form}), env)
    assert "passwd" not in str(refused.value)


def test_without_a_webhook_nothing_is_started() -> None:
    before = set(threading.enumerate())
    one = Webhook(load([], {}), {})
    one.tell(LATCH, "")
    assert one.close() == {"told": 0, "tried_again": 0, "given_up": 0, "undelivered_at_end": 0}
    assert not [one for one in set(threading.enumerate()) - before if one.name == "alerts"]
