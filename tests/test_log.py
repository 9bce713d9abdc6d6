"""The logging promises: one parseable line per record, and no route by which a secret gets out."""

import copy
import io
import json
import logging
import pickle

import numpy as np
import pytest

from hftpipe import log
from hftpipe.config import Secret

TEXT = 'sw0rd "fish"\\é'
# One stands alone: pytest's own handlers, on every registered logger, raise on a wrong format string.
logger = logging.Logger("hftpipe.test_log")
registered = logging.getLogger("hftpipe.test_log")


class Terminal(io.StringIO):
    def isatty(self) -> bool:
        return True


@pytest.fixture
def root():
    """Leaves the root logger as it was."""
    logger_root = logging.getLogger()
    handlers, level = list(logger_root.handlers), logger_root.level
    yield logger_root
    logger_root.handlers[:] = handlers
    logger_root.setLevel(level)


@pytest.fixture
def alone(root, monkeypatch):
    """Adds a handler to the logger that stands alone, for one test."""
    monkeypatch.setattr(logger, "handlers", [])
    return logger.addHandler


@pytest.fixture(params=["json", "pretty"])
def out(request, alone):
    stream = io.StringIO()
    alone(log.setup(request.param, "debug", stream))
    return stream


@pytest.fixture
def lines(alone):
    """A function that gives the JSON lines written so far."""
    stream = io.StringIO()
    alone(log.setup("json", "debug", stream))
    return lambda: [json.loads(line) for line in stream.getvalue().splitlines()]


def raise_and_log(error: Exception) -> None:
    try:
        raise error
    except type(error):
        logger.exception("failed")


ROUTES = {
    "message": lambda: logger.info(f"key is {TEXT}"),
    "argument": lambda: logger.info("key is %s", TEXT),
    "argument repr": lambda: logger.info("key is %r", TEXT),
    "argument in a list": lambda: logger.info("keys are %s", [TEXT]),
    "secret argument": lambda: logger.info("key is %s %r", Secret(TEXT), Secret(TEXT)),
    "mapping argument": lambda: logger.info("key is %(a)s", {"a": TEXT}),
    "nested argument": lambda: logger.info("body %s", {"a": {"b": [TEXT]}}),
    "wrong format": lambda: logger.info("key is %d", TEXT),
    "missing argument": lambda: logger.info("key is %s %s", TEXT),
    "extra": lambda: logger.info("x", extra={"header": TEXT}),
    "field": lambda: log.event(logger, "info", "x", header=TEXT),
    "nested field": lambda: log.event(logger, "info", "x", headers={"h": [TEXT, {TEXT: 1}]}),
    "secret field": lambda: log.event(logger, "info", "x", header=Secret(TEXT)),
    "bytes field": lambda: log.event(logger, "info", "x", body=f"a{TEXT}b".encode()),
    "json in a message": lambda: logger.info(json.dumps({"h": TEXT})),
    "traceback": lambda: raise_and_log(ValueError(f"bad key {TEXT}")),
    "repr traceback": lambda: raise_and_log(KeyError(TEXT)),
    "exception group": lambda: raise_and_log(ExceptionGroup("g", [ValueError(TEXT)])),
    "span": lambda: log_in_span(TEXT),
    "logger name": lambda: logging.getLogger(TEXT).warning("x"),
}


def log_in_span(name: str) -> None:
    with log.span(logger, name):
        logger.info("x")


@pytest.mark.parametrize("route", ROUTES)
def test_a_secret_never_appears_by_any_route(out, route):
    Secret(TEXT)
    ROUTES[route]()
    written = out.getvalue()
    assert written
    for part in ("sw0rd", "fish"):
        assert part not in written, written


def test_each_line_of_a_long_secret_is_hidden_when_indented(out):
    Secret("-----BEGIN-----\nMIIBVgIBADANBg\n-----END-----")
    logger.info("pem:\n    MIIBVgIBADANBg")
    assert "MIIBVgIBADANBg" not in out.getvalue()


def test_a_secret_in_a_url_is_hidden(out):
    Secret("a+b/c=d&e")
    logger.info("GET /order?signature=a%2Bb%2Fc%3Dd%26e")
    assert "a%2Bb" not in out.getvalue()


def test_a_secret_of_digits_is_hidden_in_a_number(out):
    Secret("9081726354")
    log.event(logger, "info", "x", number=9081726354)
    assert "9081726354" not in out.getvalue()


@pytest.mark.parametrize("name", ["api_key", "apiKey", "secret", "password", "auth_token", "private_key"])
def test_a_field_named_like_a_secret_shows_no_value(out, name):
    log.event(logger, "info", "x", **{name: "hunter2"})
    logger.info("y", extra={name: "hunter2"})
    logger.info("%s", {name: "hunter2"})
    assert "hunter2" not in out.getvalue() and name in out.getvalue()


def test_a_failing_log_call_shows_neither_argument_nor_secret(out, capsys):
    class Broken:
        def __str__(self) -> str:
            raise RuntimeError(TEXT)

    Secret(TEXT)
    logger.info("%s %s", Broken(), TEXT)
    shown = capsys.readouterr().err
    assert "log record lost (RuntimeError)" in shown and "sw0rd" not in shown + out.getvalue()


@pytest.mark.parametrize("show", [str, repr, ascii, "{}".format, "{!r:>30}".format, "{:>30}".format])
def test_a_secret_shows_itself_only_when_asked(show):
    assert "hunter2" not in show(Secret("hunter2"))
    assert Secret("hunter2").reveal() == "hunter2"


@pytest.mark.parametrize("protocol", range(pickle.HIGHEST_PROTOCOL + 1))
def test_a_secret_cannot_be_pickled(protocol):
    with pytest.raises(TypeError, match="cannot be pickled") as caught:
        pickle.dumps({"a": Secret("hunter2")}, protocol)
    assert "hunter2" not in str(caught.value)


def test_a_copied_secret_is_still_a_secret():
    one = Secret("hunter2")
    assert copy.deepcopy([one]) == [one] == [copy.copy(one)]
    assert not hasattr(one, "__dict__") and hash(one) == hash(Secret("hunter2"))


def test_a_json_line_has_the_standard_fields_and_ours(lines):
    log.event(logger, "warning", "ring full", ring="market", dropped=3, rate_per_s=np.float64(0.5))
    (line,) = lines()
    assert {
        "level": "warning",
        "module": "hftpipe.test_log",
        "span": "",
        "message": "ring full",
    }.items() <= line.items()
    assert (line["ring"], line["dropped"], line["rate_per_s"]) == ("market", 3, 0.5)
    assert isinstance(line["ts_ns"], int)


def test_a_time_stamp_is_the_record_s_own(lines):
    record = logging.makeLogRecord({"created": 1.5, "msg": "x", "name": "a"})
    assert json.loads(log.JsonFormatter().format(record))["ts_ns"] == 1_500_000_000


def test_a_field_never_replaces_a_standard_one(lines):
    log.event(logger, "info", "real", message="field", ts_ns=1, level="x", name="n")
    (line,) = lines()
    assert (line["message"], line["field_message"], line["level"]) == ("real", "field", "info")
    assert (line["field_ts_ns"], line["field_level"], line["name"]) == (1, "x", "n")


def test_odd_values_are_written_not_lost(lines):
    log.event(logger, "info", "x", big=2**70, nan=float("nan"), path=io, half="\ud800", n=np.int64(7), none=None)
    (line,) = lines()
    assert (line["big"], line["nan"], line["half"], line["n"], line["none"]) == (
        str(2**70),
        None,
        "?",
        7,
        None,
    )


def test_a_wrong_format_string_loses_nothing(lines):
    logger.info("got %d", "text")
    assert lines()[0]["message"] == "got %d ('text',)"


def test_a_span_names_its_records_and_logs_its_elapsed_ns(lines):
    with log.span(logger, "start"), log.span(logger, "rings"):
        logger.info("inside")
    logger.info("after")
    inside, inner, outer, after = lines()
    assert [one["span"] for one in (inside, inner, outer, after)] == [
        "start/rings",
        "start/rings",
        "start",
        "",
    ]
    assert inner["elapsed_ns"] >= 0 and inner["level"] == "debug"


def test_a_span_that_fails_still_ends_and_passes_the_error_on(lines):
    with pytest.raises(KeyError), log.span(logger, "start"):
        raise KeyError("x")
    logger.info("after")
    assert [one["span"] for one in lines()] == ["start", ""]


def test_a_second_setup_replaces_the_first(root):
    first, second = io.StringIO(), io.StringIO()
    log.setup("json", "info", first)
    log.setup("json", "warning", second)
    registered.info("quiet")
    registered.warning("loud")
    assert first.getvalue() == "" and second.getvalue().count("\n") == 1


def test_auto_is_pretty_on_a_terminal_and_json_elsewhere(root):
    terminal, file = Terminal(), io.StringIO()
    log.setup("auto", "info", terminal)
    registered.info("hello")
    log.setup("auto", "info", file)
    registered.info("hello")
    assert "\x1b[32mINFO" in terminal.getvalue()
    assert json.loads(file.getvalue())["message"] == "hello"


def test_foreign_text_cannot_drive_the_terminal(root):
    stream = io.StringIO()
    log.setup("pretty", "info", stream)
    log.event(registered, "info", "from venue: \x1b[2J\nINFO forged", note="a\rb")
    assert stream.getvalue().count("\n") == 1
    assert "\x1b" not in stream.getvalue() and "\r" not in stream.getvalue()


@pytest.mark.parametrize(("format", "level"), [("xml", "info"), ("json", "loud")])
def test_setup_refuses_unknown_names_and_says_what_is_allowed(format, level):
    with pytest.raises(ValueError, match="allowed: auto, json, pretty; debug, info"):
        log.setup(format, level)
