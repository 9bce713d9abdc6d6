"""Requests promise: an exact word on what became of each, no more weight than is allowed, and no secret in any text."""

import logging
import socket
import ssl
import threading
from collections.abc import Callable, Iterator
from typing import Any

import orjson
import pytest
import requests
from hypothesis import given
from hypothesis import strategies as st
from rest_rig import Server, serving
from urllib3.exceptions import MaxRetryError
from urllib3.exceptions import SSLError as TlsError

from hftpipe.config import Secret
from hftpipe.transport.http.answer import Manners, Outcome, read_answer
from hftpipe.transport.http.rest import RestClient, _was_sent
from hftpipe.transport.http.weights import SHARE, Weights

MANNERS = Manners(
    counts=("x-mbx-used-weight", "x-mbx-order-count"), used="x-mbx-used-weight-1m", unsure=frozenset({-1007})
)
QUIET_S = 0.3
BUY = {"symbol": "BTCUSDT", "signature": "hunter2"}


@pytest.fixture
def server() -> Iterator[Server]:
    with serving() as made:
        yield made


def client_of(server: Server, weights: Weights | None = None, address: str = "", **more: Any) -> RestClient:
    more = {"timeouts_s": (1.0, QUIET_S), "patience_s": 0.0, **more}
    return RestClient(address or server.address, weights or Weights(6000), MANNERS, **more)


class Clock:
    """Time that goes on by waiting alone."""

    def __init__(self) -> None:
        self.ns = 10**18
        self.waited: list[float] = []

    def now(self) -> int:
        return self.ns

    def wait(self, seconds: float) -> None:
        self.waited.append(seconds)
        self.ns += round(seconds * 1e9)

    def weights(self, limit: int) -> Weights:
        return Weights(limit, self.now, self.wait)


# --- what becomes of a request ---------------------------------------------------------------------


def test_an_answer_is_its_json_value_with_the_weights_of_its_headers(server: Server) -> None:
    headers = {"X-MBX-USED-WEIGHT-1M": "20", "X-MBX-ORDER-COUNT-10S": "3", "X-MBX-UUID": "7"}
    server.answers["/api/v3/time"] = (200, headers, b'{"serverTime":1790000000000}')
    answer = client_of(server).get("/api/v3/time", {"symbols": '["A","B"]', "limit": 5})
    assert (answer.outcome, answer.status, answer.body) == (Outcome.OK, 200, {"serverTime": 1790000000000})
    assert answer.weights == {"x-mbx-used-weight-1m": 20, "x-mbx-order-count-10s": 3}
    assert server.asked[0][:2] == ("GET", "/api/v3/time?symbols=%5B%22A%22%2C%22B%22%5D&limit=5")


def test_requests_share_one_kept_connection(server: Server) -> None:
    server.answers["/time"] = (200, {}, b"{}")
    client = client_of(server)
    assert [client.get("/time").outcome for _ in range(5)] == [Outcome.OK] * 5 and len(server.connections) == 1


CASES: list[tuple[Any, Outcome, Outcome, int, str]] = [
    ((400, {}, b'{"code":-1121,"msg":"Invalid symbol."}'), Outcome.REFUSED, Outcome.REFUSED, -1121, "Invalid symbol."),
    ((403, {}, b"<html>"), Outcome.REFUSED, Outcome.REFUSED, 0, "HTTP 403, not JSON"),
    ((400, {}, b'{"code":-1007,"msg":"Timeout."}'), Outcome.REFUSED, Outcome.UNKNOWN, -1007, "Timeout."),
    ((408, {}, b""), Outcome.FAILED, Outcome.UNKNOWN, 0, "HTTP 408, not JSON"),
    ((409, {}, b'{"code":-2021,"msg":"Partly."}'), Outcome.FAILED, Outcome.UNKNOWN, -2021, "Partly."),
    ((500, {}, b'{"code":-1000,"msg":"Oh."}'), Outcome.FAILED, Outcome.UNKNOWN, -1000, "Oh."),
    ((503, {}, b"gone"), Outcome.FAILED, Outcome.UNKNOWN, 0, "HTTP 503, not JSON"),
    ((200, {}, b"<html>"), Outcome.FAILED, Outcome.UNKNOWN, 0, "HTTP 200, not JSON"),
    ((302, {"Location": "http://127.0.0.1:9/"}, b""), Outcome.FAILED, Outcome.UNKNOWN, 0, "HTTP 302, not JSON"),
    ((429, {"Retry-After": "7"}, b'{"code":-1003,"msg":"Slow."}'), Outcome.LIMITED, Outcome.LIMITED, -1003, "Slow."),
    ((418, {}, b"{}"), Outcome.LIMITED, Outcome.LIMITED, 0, "HTTP 418"),
    (None, Outcome.FAILED, Outcome.UNKNOWN, 0, "ConnectionError"),
    (2 * QUIET_S, Outcome.FAILED, Outcome.UNKNOWN, 0, "ReadTimeout"),
]  # fmt: skip


@pytest.mark.parametrize(("answer", "read", "changed", "code", "message"), CASES)
def test_an_outcome_that_is_not_known_is_never_called_a_refusal_or_a_failure(
    server: Server, answer: Any, read: Outcome, changed: Outcome, code: int, message: str
) -> None:
    server.answers["/order"] = answer
    for method, expected in (("GET", read), ("POST", changed), ("DELETE", changed)):
        found = client_of(server).send(method, "/order", BUY, headers={"X-MBX-APIKEY": "hunter2"})
        assert (found.outcome, found.code) == (expected, code if isinstance(answer, tuple) else 0)
        assert found.message.endswith(message) and "hunter2" not in f"{found} {found.message}"
    assert len(server.asked) == 3, "asked once each: never again by itself, and nowhere else"


def test_what_was_never_sent_has_failed_whatever_it_would_have_changed(server: Server) -> None:
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        nobody = f"http://127.0.0.1:{taken.getsockname()[1]}"
        answer = client_of(server, address=nobody).send("POST", "/order", BUY)
    assert (answer.outcome, answer.status) == (Outcome.FAILED, 0)
    assert answer.message == "POST /order: ConnectionError"
    unresolved = client_of(server, address="http://no-such-host.invalid").send("POST", "/order", BUY)
    assert unresolved.outcome is Outcome.FAILED and "hunter2" not in unresolved.message


def test_a_server_that_cannot_prove_who_it_is_was_sent_nothing() -> None:
    def broken(inner: Exception) -> requests.RequestException:
        return requests.exceptions.SSLError(MaxRetryError(None, "/order", TlsError(inner)))  # type: ignore[arg-type]

    assert not _was_sent(broken(ssl.SSLCertVerificationError()))
    assert _was_sent(broken(ssl.SSLEOFError())) and _was_sent(requests.ReadTimeout()) and _was_sent(requests.Timeout())
    assert not _was_sent(requests.ConnectTimeout())


@given(
    status=st.integers(200, 599),
    content=st.one_of(st.binary(max_size=20), st.sampled_from([b"{}", b"[]", b'{"code":-1007}', b'{"code":true}'])),
    may_change=st.booleans(),
    retry=st.sampled_from(["", "7", "soon", "-1", "9" * 30, "\u0663"]),
)
def test_every_answer_is_classified_and_only_what_the_venue_refused_or_did_is_taken_as_known(
    status: int, content: bytes, may_change: bool, retry: str
) -> None:
    answer = read_answer(status, {"retry-after": retry}, content, may_change, MANNERS)
    if status in (429, 418):
        fallback = {429: 60.0, 418: 120.0}[status]
        assert answer.outcome is Outcome.LIMITED and answer.retry_after_s == (7.0 if retry == "7" else fallback)
    elif answer.outcome is Outcome.OK:
        assert 200 <= status < 300 and answer.body == orjson.loads(content)
    elif answer.outcome is Outcome.REFUSED:
        assert 400 <= status < 500 and not (may_change and (answer.code == -1007 or status in (408, 409)))
    else:
        assert answer.outcome is (Outcome.UNKNOWN if may_change else Outcome.FAILED)


# --- secrets ---------------------------------------------------------------------------------------


def test_no_line_of_any_log_holds_the_query_of_a_request(server: Server, caplog: pytest.LogCaptureFixture) -> None:
    server.answers.update({"/ok": (200, {}, b"{}"), "/cut": None})
    with caplog.at_level(logging.DEBUG):
        for path in ("/ok", "/cut"):
            client_of(server).send("POST", path, BUY)
    assert "hunter2" not in caplog.text


def test_a_secret_that_the_venue_repeats_is_blotted_out(server: Server) -> None:
    Secret("correct-horse-9")
    server.answers["/order"] = (401, {}, b'{"code":-2015,"msg":"Invalid key correct-horse-9"}')
    answer = client_of(server).send("POST", "/order")
    assert answer.message == "Invalid key ***" and "correct-horse" not in repr(answer)


def test_a_password_of_the_users_own_files_is_not_sent(server: Server, tmp_path: Any, monkeypatch: Any) -> None:
    (tmp_path / "netrc").write_text("machine 127.0.0.1 login me password hunter2\n")
    monkeypatch.setenv("NETRC", str(tmp_path / "netrc"))
    server.answers["/ok"] = (200, {}, b"{}")
    assert client_of(server).get("/ok").outcome is Outcome.OK
    assert "Authorization" not in server.asked[0][2]


# --- weight ----------------------------------------------------------------------------------------


def test_a_request_waits_before_it_would_exceed_the_share_of_the_limit() -> None:
    clock = Clock()
    weights = clock.weights(100)
    assert [weights.take(40, 100.0) for _ in range(2)] == [0.0, 0.0] and clock.waited == []
    assert weights.take(1, 100.0) == 0.0 and clock.waited == [60.0] and weights.used == 1


@given(
    limit=st.integers(2, 200),
    steps=st.lists(st.tuples(st.integers(1, 160), st.integers(0, 70_000)), min_size=1, max_size=40),
)
def test_no_minute_sees_more_than_the_share_of_the_limit_however_requests_come(
    limit: int, steps: list[tuple[int, int]]
) -> None:
    clock = Clock()
    weights = clock.weights(limit)
    spent: list[tuple[int, int]] = []
    for weight, pause_ms in steps:
        if weight > weights.room:
            with pytest.raises(ValueError, match="never fits"):
                weights.take(weight, 0.0)
            continue
        assert weights.take(weight, 61.0) == 0.0
        spent.append((clock.ns, weight))
        in_minute = sum(one for at, one in spent if at > clock.ns - 60 * 10**9)
        assert in_minute == weights.used <= limit * SHARE / 100
        clock.ns += pause_ms * 10**6
    assert all(0 < waited <= 60.0 for waited in clock.waited), "never longer than a minute"


def test_a_limit_lowered_while_a_request_waits_is_kept() -> None:
    clock = Clock()
    weights = Weights(100, clock.now, lambda seconds: (clock.wait(seconds), weights.set_limit(10))[0])
    weights.take(80, 0.0)
    with pytest.raises(ValueError, match="weight 20 never fits; allowed: at most 8"):
        weights.take(20, 61.0)


def test_who_does_not_want_to_wait_is_told_how_long_and_spends_nothing() -> None:
    clock = Clock()
    weights = clock.weights(10)
    assert weights.take(8, 0.0) == 0.0
    clock.ns += 20 * 10**9
    assert weights.take(1, 39.0) == 40.0 and clock.waited == [] and weights.used == 8


def test_what_others_of_this_address_have_spent_is_spent() -> None:
    clock = Clock()
    weights = clock.weights(100)
    weights.take(10, 0.0)
    weights.note(75)
    weights.note(30)
    assert weights.used == 75 and weights.take(5, 0.0) == 0.0 and weights.take(1, 0.0) == 60.0


def test_the_limit_that_the_venue_names_is_kept_and_one_of_nothing_refused() -> None:
    weights = Clock().weights(6000)
    weights.set_limit(2400)
    assert weights.room == 1920
    with pytest.raises(ValueError, match="allowed: 2 or more"):
        Weights(1)


@pytest.mark.parametrize("status", [429, 418])
def test_after_retry_after_no_request_of_anyone_leaves_until_then(server: Server, status: int) -> None:
    server.answers.update({"/order": (status, {"Retry-After": "30"}, b"{}"), "/time": (200, {}, b"{}")})
    clock = Clock()
    weights = clock.weights(6000)
    one, other = client_of(server, weights), client_of(server, weights)
    assert one.send("POST", "/order").retry_after_s == 30.0
    for client in (one, other):
        held = client.get("/time")
        assert (held.outcome, held.retry_after_s, held.status) == (Outcome.LIMITED, 30.0, 0)
    assert len(server.asked) == 1
    assert client_of(server, weights, patience_s=31.0).get("/time").outcome is Outcome.OK
    assert clock.waited == [30.0] and len(server.asked) == 2


def test_a_longer_rest_is_not_cut_short_by_a_shorter_one() -> None:
    clock = Clock()
    weights = clock.weights(100)
    weights.rest(120.0)
    weights.rest(5.0)
    assert weights.take(1, 0.0) == 120.0


def test_the_venues_own_count_holds_the_next_request_back(server: Server) -> None:
    server.answers["/time"] = (200, {"X-MBX-USED-WEIGHT-1M": "4799"}, b"{}")
    weights = Clock().weights(6000)
    client = client_of(server, weights)
    assert client.get("/time", weight=1).outcome is Outcome.OK and weights.used == 4799
    assert client.get("/time", weight=2).outcome is Outcome.LIMITED and len(server.asked) == 1


def test_threads_together_spend_no_more_than_there_is() -> None:
    weights, taken = Weights(1000), []

    def spend(note: Callable[[float], None]) -> None:
        for _ in range(300):
            note(weights.take(1, 0.0))

    threads = [threading.Thread(target=spend, args=(taken.append,)) for _ in range(4)]
    for one in threads:
        one.start()
    for one in threads:
        one.join()
    assert taken.count(0.0) == weights.used == 800
