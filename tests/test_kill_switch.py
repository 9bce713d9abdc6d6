"""The kill switch by itself, over real sockets: who may do what, and what a client cannot do to it."""

import http.client
import json
import logging
import socket
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from statistics import median
from typing import Any

import pytest

from hftpipe.app import halt_command
from hftpipe.app.halt_latch import Latch, read_latch, write_latch
from hftpipe.app.settings.file_store import FileStore
from hftpipe.app.settings.sources import Sources
from hftpipe.config import load
from hftpipe.config.fields import ConfigError
from hftpipe.config.secrets import Secret
from hftpipe.core.shared.shm import segment_path
from hftpipe.kill_switch import server as server_module
from hftpipe.kill_switch.process import AddressTaken, FileWatch, KillSwitch
from hftpipe.kill_switch.server import MOST_BODY, MOST_CLIENTS, MOST_HEAD, Server
from hftpipe.kill_switch.switch import KILL_TOKEN, RESET_TOKEN, Switch, tokens_from

NAME = "t-kill"
RESET, KILL = "reset-token-of-the-test", "kill-token-of-the-test"
JSON = {"Content-Type": "application/json"}
MINE = Latch("operator", "2026-11-28T18:00:00.000+00:00", 7, "looks wrong")


@contextmanager
def serving(file: str = "", **tokens: str) -> Iterator[tuple[str, int]]:
    """A kill switch on a free port: its address."""
    made = Server(("127.0.0.1", 0), Switch(NAME, file, {name: Secret(one) for name, one in tokens.items()}))
    over = threading.Event()

    def serve() -> None:
        while not over.is_set():
            made.serve_once(0.01)

    thread = threading.Thread(target=serve)
    thread.start()
    try:
        yield made.server_address[:2]  # type: ignore[misc]
    finally:
        over.set()
        thread.join()
        made.server_close()


Ask = Callable[..., tuple[int, dict[str, Any]]]


def asking(address: tuple[str, int]) -> Ask:
    def ask(method: str, path: str, body: bytes | None = None, **headers: str) -> tuple[int, dict[str, Any]]:
        connection = http.client.HTTPConnection(*address, timeout=10)
        connection.request(method, path, body, {name.replace("_", "-"): value for name, value in headers.items()})
        got = connection.getresponse()
        text = got.read()
        assert got.headers["Content-Type"] == "application/json" and got.headers["Connection"] == "close"
        connection.close()
        return got.status, json.loads(text)

    return ask


@pytest.fixture
def ask() -> Iterator[Ask]:
    with serving() as address:
        yield asking(address)


def said(address: tuple[str, int], *pieces: bytes) -> bytes:
    """What comes back for these bytes, whatever they are."""
    with socket.create_connection(address, timeout=10) as client:
        for piece in pieces:
            client.sendall(piece)
        answer = b""
        while more := client.recv(65536):
            answer += more
    return answer


# --- killing --------------------------------------------------------------------------------------------


def test_a_kill_halts_every_later_start_and_says_who_and_why(ask: Ask) -> None:
    code, told = ask("POST", "/kill", b'{"reason": "looks wrong"}', **JSON)
    assert code == 200 and told["killed"] and told["is_latched"] and not told["is_running"]
    latch = read_latch(NAME)
    assert latch and latch.cause == "operator" and "HTTP from 127.0.0.1: looks wrong" in latch.what
    code, status = ask("GET", "/status")
    assert (
        code == 200 and status["state"] == "HALTED" and status["halt"]["what"] == latch.what and not status["running"]
    )


def test_a_second_kill_is_answered_like_the_first(ask: Ask) -> None:
    assert ask("POST", "/kill")[0] == ask("POST", "/kill")[0] == 200
    assert ask("GET", "/status")[1]["kill_switch"]["kills"] == 2 and read_latch(NAME)


@pytest.mark.parametrize(
    "body", [b"", b"{", b"[1]", b'{"reason": 7}', b"\xff\x00", b'{"reason": "' + b"x" * 2000 + b'"}']
)
def test_whatever_the_body_says_it_kills(ask: Ask, body: bytes) -> None:
    assert ask("POST", "/kill", body)[0] == 200
    latch = read_latch(NAME)
    assert latch and latch.cause == "operator" and len(latch.what) < 300


def test_a_kill_that_cannot_be_latched_is_no_success(ask: Ask, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "file").write_text("")
    monkeypatch.setenv("HFTPIPE_STATE_DIR", str(tmp_path / "file"))
    code, told = ask("POST", "/kill")
    assert code == 500 and not told["killed"] and not told["is_latched"] and "HFTPIPE_STATE_DIR" in told["problem"]


def test_a_fault_s_halt_is_not_hidden_by_a_kill(ask: Ask) -> None:
    fault = Latch("late_fill", MINE.time, 7, "executed after its end")
    write_latch(NAME, fault)
    assert ask("POST", "/kill")[0] == 200
    assert read_latch(NAME) == fault and ask("GET", "/status")[1]["cause"] == "late_fill"


def test_kills_at_the_same_moment_all_come_through(ask: Ask) -> None:
    codes: list[int] = []
    threads = [threading.Thread(target=lambda: codes.append(ask("POST", "/kill")[0])) for _ in range(20)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert codes == [200] * 20 and read_latch(NAME)


# --- who may --------------------------------------------------------------------------------------------


@pytest.mark.parametrize("method", ["GET", "HEAD", "PUT", "DELETE", "OPTIONS", "PATCH", "BREW"])
def test_nothing_but_a_post_kills(method: str) -> None:
    with serving() as address:
        answer = said(address, f"{method} /kill HTTP/1.1\r\nHost: 127.0.0.1\r\n\r\n".encode())
    assert b" 405 " in answer.splitlines()[0] and b"Allow: POST" in answer and read_latch(NAME) is None


@pytest.mark.parametrize(
    ("method", "path"),
    [("GET", "/"), ("POST", "/kill/"), ("POST", "/KILL"), ("GET", "/status/../kill"), ("POST", "/%6bill")],
)
def test_every_other_path_is_told_not_to_be_there(ask: Ask, method: str, path: str) -> None:
    code, told = ask(method, path)
    assert code == 404 and "/kill" in told["error"] and read_latch(NAME) is None


FOREIGN = [
    {"Origin": "https://elsewhere.example"},
    {"Origin": "null"},
    {"Origin": "http://127.0.0.1:1"},
    {"Sec_Fetch_Site": "cross-site"},
    {"Sec_Fetch_Site": "same-site"},
    {"Host": "elsewhere.example", "Origin": "http://elsewhere.example"},
]


@pytest.mark.parametrize("headers", FOREIGN)
@pytest.mark.parametrize(
    ("method", "path"), [("POST", "/kill"), ("POST", "/reset"), ("GET", "/status"), ("GET", "/risk/params")]
)
def test_a_page_of_another_site_changes_nothing_and_sees_nothing(
    method: str, path: str, headers: dict[str, str]
) -> None:
    with serving(reset_token=RESET) as address:
        code, told = asking(address)(method, path, b"{}", Authorization=f"Bearer {RESET}", **JSON, **headers)
    assert code == 403 and set(told) == {"error"} and read_latch(NAME) is None


def test_a_page_of_its_own_may_kill() -> None:
    with serving() as address:
        origin = "http://{}:{}".format(*address)
        assert asking(address)("POST", "/kill", Origin=origin, Sec_Fetch_Site="same-origin")[0] == 200
    assert read_latch(NAME)


@pytest.mark.parametrize(
    "given", ["", "Bearer", "Bearer wrong", f"Basic {KILL}", KILL, f"Bearer {KILL}x", f"Bearer {RESET}"]
)
def test_where_a_token_for_kills_is_set_it_is_needed(given: str) -> None:
    with serving(kill_token=KILL, reset_token=RESET) as address:
        ask = asking(address)
        code, told = ask("POST", "/kill", **({"Authorization": given} if given else {}))
        assert code == 401 and "token" in told["error"] and read_latch(NAME) is None
        assert ask("POST", "/kill", Authorization=f"bearer {KILL}")[0] == 200
    assert read_latch(NAME)


def test_a_reset_needs_its_token_and_json_and_goes_to_the_history(own_state: Path) -> None:
    write_latch(NAME, MINE)
    with serving(reset_token=RESET) as address:
        ask = asking(address)
        assert ask("POST", "/reset", b"{}", **JSON)[0] == 401
        assert ask("POST", "/reset", b"{}", Authorization=f"Bearer {RESET}x", **JSON)[0] == 401
        for kind in ({}, {"Content_Type": "text/plain"}, {"Content_Type": "application/x-www-form-urlencoded"}):
            assert ask("POST", "/reset", b"{}", Authorization=f"Bearer {RESET}", **kind)[0] == 415
        assert ask("POST", "/reset", b'{"time": 7}', Authorization=f"Bearer {RESET}", **JSON)[0] == 400
        code, told = ask("POST", "/reset", b'{"time": "earlier"}', Authorization=f"Bearer {RESET}", **JSON)
        assert code == 409 and MINE.what in told["error"] and read_latch(NAME) == MINE
        code, told = ask(
            "POST", "/reset", json.dumps({"time": MINE.time}).encode(), Authorization=f"Bearer {RESET}", **JSON
        )
        assert code == 200 and told["reset"] and told["state"] == "ACTIVE" and read_latch(NAME) is None
        code, told = ask("POST", "/reset", b"", Authorization=f"Bearer {RESET}", **JSON)
        assert code == 409 and "not halted" in told["error"]
    last = json.loads((own_state / f"{NAME}.halts").read_text().splitlines()[-1])
    assert last["action"] == "resumed" and last["who"]["how"] == "HTTP from 127.0.0.1"


def test_without_a_token_that_is_set_nothing_is_reset(ask: Ask) -> None:
    write_latch(NAME, MINE)
    for given in ({}, {"Authorization": "Bearer "}, {"Authorization": "Bearer x"}):
        code, told = ask("POST", "/reset", b"{}", **JSON, **given)
        assert code == 409 and "HFTPIPE_SECRET_RESET_TOKEN" in told["error"] and read_latch(NAME) == MINE


def test_while_the_file_that_kills_is_there_nothing_is_reset(tmp_path: Path) -> None:
    file = tmp_path / "KILL"
    file.touch()
    write_latch(NAME, MINE)
    with serving(str(file), reset_token=RESET) as address:
        code, told = asking(address)("POST", "/reset", b"{}", Authorization=f"Bearer {RESET}", **JSON)
        assert code == 409 and str(file) in told["error"] and read_latch(NAME) == MINE
        file.unlink()
        assert asking(address)("POST", "/reset", b"{}", Authorization=f"Bearer {RESET}", **JSON)[0] == 200


def test_a_token_that_could_be_guessed_is_refused_by_name() -> None:
    for odd in ("short", "a-token-with-an-umlaut-ä", "a-token-with-a-line-feed\n", "a token with blanks"):
        with pytest.raises(ConfigError, match="HFTPIPE_SECRET_RESET_TOKEN: allowed are 16"):
            tokens_from({"HFTPIPE_SECRET_RESET_TOKEN": odd, "HFTPIPE_SECRET_KILL_TOKEN": KILL})
    assert set(tokens_from({"HFTPIPE_SECRET_RESET_TOKEN": RESET, "HFTPIPE_SECRET_API_KEY": "key-of-another-part"})) == {
        RESET_TOKEN
    }
    assert set(tokens_from({"HFTPIPE_SECRET_KILL_TOKEN": KILL})) == {KILL_TOKEN}


def test_a_reason_cannot_move_the_cursor_of_who_reads_it(ask: Ask) -> None:
    assert ask("POST", "/kill", json.dumps({"reason": "fine\x1b[2K\rnothing is halted\n"}).encode())[0] == 200
    latch = read_latch(NAME)
    assert latch is not None and latch.what.isprintable() and "fine [2K nothing is halted" in latch.what


def test_a_kill_that_no_run_could_take_is_not_said_to_have_been_one(monkeypatch: pytest.MonkeyPatch, ask: Ask) -> None:
    monkeypatch.setattr(halt_command, "is_foreign", lambda _name: True)
    with shm_file(NAME):
        code, told = ask("POST", "/kill")
    assert code == 500 and not told["killed"] and told["is_running"] and "NOT halted" in told["problem"]


@contextmanager
def shm_file(name: str) -> Iterator[None]:
    """Something under the name of a run's segment that cannot be attached to."""
    path = segment_path(name)
    path.write_bytes(b"x")
    try:
        yield
    finally:
        path.unlink()


def test_no_token_comes_out_again(own_state: Path, caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level(logging.DEBUG)
    out = ""
    with serving(kill_token=KILL, reset_token=RESET) as address:
        ask = asking(address)
        for token in (KILL, RESET):
            bearer = f"Bearer {token}"
            body = json.dumps({"reason": f"it is {token}", "time": token}).encode()
            for path in ("/kill", "/reset", f"/{token}", f"/status?token={token}"):
                for method in ("GET", "POST", "BREW"):
                    out += json.dumps(ask(method, path, body, Authorization=bearer, **JSON)[1])
            out += said(address, f"GET /{token} {token} HTTP/9.9\r\n{token}\r\n\r\n".encode()).decode()
    state = "".join(file.read_text() for file in own_state.iterdir())
    assert "it is ***" in state
    assert KILL not in out + state + caplog.text and RESET not in out + state + caplog.text


# --- what a client cannot do ----------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("request_", "code"),
    [
        (b"POST /kill HTTP/1.1\r\nHost: 127.0.0.1\r\nContent-Length: %d\r\n\r\n" % (MOST_BODY + 1), 413),
        (b"POST /kill HTTP/1.1\r\nHost: 127.0.0.1\r\nContent-Length: 9999999999999\r\n\r\n", 413),
        (b"POST /kill HTTP/1.1\r\nHost: 127.0.0.1\r\nContent-Length: -1\r\n\r\n", 400),
        (b"POST /kill HTTP/1.1\r\nHost: 127.0.0.1\r\nContent-Length: 0\r\nContent-Length: 0\r\n\r\n", 400),
        (b"POST /kill HTTP/1.1\r\nHost: 127.0.0.1\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n", 501),
        (b"POST /kill HTTP/1.1\r\nX: " + b"x" * MOST_HEAD + b"\r\n\r\n", 431),
        (b"POST /kill HTTP/1.1\r\n" + b"X: x\r\n" * 200 + b"\r\n", 431),
        (b"\x16\x03\x01\x02\x00\x01\x00\r\n\r\n", 400),
        (b"POST /kill HTTP/7\r\n\r\n", 400),
        (b"POST\r\n\r\n", 400),
    ],
)
def test_what_is_too_large_or_no_request_is_refused_and_kills_nothing(request_: bytes, code: int) -> None:
    with serving() as address:
        answer = said(address, request_)
        assert f" {code} ".encode() in answer.splitlines()[0] and b'{"error":' in answer, answer
        assert read_latch(NAME) is None and asking(address)("POST", "/kill")[0] == 200


def test_a_body_of_megabytes_is_answered_and_not_kept() -> None:
    with serving() as address, socket.create_connection(address, timeout=10) as client:
        client.sendall(b"POST /kill HTTP/1.1\r\nHost: 127.0.0.1\r\nContent-Length: 900000\r\n\r\n" + b"x" * 900_000)
        assert b" 413 " in client.recv(65536).splitlines()[0]
    assert read_latch(NAME) is None


def test_whoever_is_slow_is_told_so_and_hung_up_on(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(server_module, "LIMIT_S", 0.3)
    with serving() as address, socket.create_connection(address, timeout=10) as client:
        began = time.monotonic()
        client.sendall(b"POST /kill HTTP/1.1\r\n")
        answer = b""
        while time.monotonic() - began < 5 and not answer:
            # A byte now and then does not make more time of it.
            client.sendall(b"X")
            client.settimeout(0.1)
            try:
                answer = client.recv(65536)
            except TimeoutError:
                continue
        assert b" 408 " in answer.splitlines()[0] and time.monotonic() - began < 3
    assert read_latch(NAME) is None


def test_a_kill_is_answered_at_once_while_hundreds_of_clients_drip() -> None:
    """Slow-loris: every place taken by somebody who never comes to an end."""
    with serving() as address:
        ask, slow, over = asking(address), [], threading.Event()

        def drip() -> None:
            while not over.is_set():
                for client in [*slow]:
                    try:
                        client.sendall(b"X-a: b\r\n")
                    except OSError:
                        slow.remove(client)
                time.sleep(0.01)

        for _ in range(3 * MOST_CLIENTS):
            client = socket.create_connection(address, timeout=10)
            client.sendall(b"POST /kill HTTP/1.1\r\n")
            slow.append(client)
            time.sleep(0.001)
        dripping = threading.Thread(target=drip)
        dripping.start()
        took = []
        try:
            time.sleep(2 * server_module.GRACE_S)
            for _ in range(9):
                began = time.monotonic()
                assert ask("POST", "/kill")[0] == 200
                took.append(time.monotonic() - began)
        finally:
            over.set()
            dripping.join()
            for client in slow:
                client.close()
    assert read_latch(NAME) and median(took) <= 0.1, took


def test_threads_are_bounded_however_many_come() -> None:
    with serving() as address:
        clients = [socket.create_connection(address, timeout=10) for _ in range(4 * MOST_CLIENTS)]
        time.sleep(0.3)
        assert threading.active_count() < 2 * MOST_CLIENTS
        for client in clients:
            client.close()
        time.sleep(0.1)
        assert asking(address)("GET", "/status")[0] == 200


# --- the other ways -------------------------------------------------------------------------------------


def test_a_file_kills_once_each_time_it_appears(tmp_path: Path) -> None:
    file, acts = tmp_path / "KILL", list[str]()
    watch = FileWatch(str(file), acts.append)
    watch.look()
    assert acts == []
    file.touch()
    for _ in range(3):
        watch.look()
    assert acts == [f"kill switch, file {file}"]
    file.unlink()
    watch.look()
    file.symlink_to(tmp_path / "nowhere")
    watch.look()
    assert len(acts) == 2, "a link that leads nowhere is there too"
    nothing = FileWatch("", acts.append)
    nothing.look()
    assert len(acts) == 2


def test_an_address_that_is_taken_is_refused_by_name_and_one_that_others_reach_is_warned_of(
    caplog: pytest.LogCaptureFixture,
) -> None:
    caplog.set_level(logging.INFO)
    sources = Sources([], {}, {}, FileStore(NAME))
    first = KillSwitch(load([], {}, {"kill_switch.address": "127.0.0.1:0"}), sources)
    assert not [one for one in caplog.records if one.levelno >= logging.WARNING]
    with pytest.raises(AddressTaken, match=f"kill_switch.address = {first.address}.*in use"):
        KillSwitch(load([], {}, {"kill_switch.address": first.address}), sources)
    first.close()
    KillSwitch(load([], {}, {"kill_switch.address": "0.0.0.0:0"}), sources).close()
    warned = [one for one in caplog.records if one.levelno == logging.WARNING]
    assert len(warned) == 1 and "other machines, without any password" in warned[0].message


@pytest.mark.parametrize(
    "address", ["127.0.0.1", "127.0.0.1:99999", "localhost:80", "224.0.0.1:80", "127.0.0.1:-1", ":80", 8080]
)
def test_an_address_that_is_none_is_refused_by_key(address: Any) -> None:
    with pytest.raises(ConfigError, match=r"kill_switch.address.*127.0.0.1:8080"):
        load([], {}, {"kill_switch.address": address})


def test_what_is_asked_of_a_pipeline_that_does_not_run_is_said(ask: Ask) -> None:
    assert ask("GET", "/health") == (200, {"status": "not_running", "trading_enabled": False, "exchanges": {}})
    code, told = ask("GET", "/risk/params")
    assert code == 409 and "not running" in told["error"]
