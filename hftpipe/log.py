"""Structured logging for cold paths: JSON lines for machines, one coloured line for people.

Every text passes `redact` on its way out, after formatting, so that no route (message, arguments, fields,
traceback, a failing log call) can show the value of a Secret. Nothing between a tick and its order logs.
"""

import json
import logging
import re
import sys
import time
import traceback
from collections.abc import Iterator, Mapping
from contextlib import contextmanager, suppress
from contextvars import ContextVar
from numbers import Integral, Real
from typing import Any, TextIO

import orjson

from hftpipe.config import looks_secret, redact

LEVELS = {"debug": 10, "info": 20, "warning": 30, "error": 40}
_STANDARD = {*vars(logging.makeLogRecord({})), "message", "asctime", "_fields"}
_CONTROL = re.compile(r"[\x00-\x1f\x7f-\x9f]")
_COLOURS = {"DEBUG": "2", "INFO": "32", "WARNING": "33", "ERROR": "31", "CRITICAL": "1;31"}
_span: ContextVar[str] = ContextVar("hftpipe_span", default="")


def setup(format: str = "auto", level: str = "info", stream: TextIO | None = None) -> logging.Handler:
    """Send all logging to `stream` (default stderr) and return the handler; a second call replaces the first.

    `format` is auto (pretty on a terminal, else JSON), json or pretty; `level` debug, info, warning or error.
    Raises ValueError for any other name.
    """
    if format not in ("auto", "json", "pretty") or level not in LEVELS:
        raise ValueError(f"log {format!r}, {level!r}: allowed: auto, json, pretty; {', '.join(LEVELS)}")
    target = stream or sys.stderr
    is_terminal = target.isatty()
    pretty = format == "pretty" or (format == "auto" and is_terminal)
    handler = _Handler(target)
    handler.setFormatter(PrettyFormatter(colour=is_terminal) if pretty else JsonFormatter())
    root = logging.getLogger()
    for old in [one for one in root.handlers if isinstance(one, _Handler)]:
        root.removeHandler(old)
    root.addHandler(handler)
    root.setLevel(LEVELS[level])
    return handler


def event(logger: logging.Logger, level: str | int, message: str, /, **fields: Any) -> None:
    """Log `message` with named fields, e.g. `event(log, "info", "ring full", ring="market", dropped=3)`."""
    number = level if isinstance(level, int) else LEVELS[level]
    logger.log(number, message, extra={"_fields": fields}, stacklevel=2)


@contextmanager
def span(logger: logging.Logger, name: str) -> Iterator[None]:
    """Name what is going on in every record logged inside, and log its elapsed_ns at debug when it ends."""
    outer = _span.get()
    token = _span.set(f"{outer}/{name}" if outer else name)
    start_ns = time.monotonic_ns()
    try:
        yield
    finally:
        event(logger, "debug", "span ended", elapsed_ns=time.monotonic_ns() - start_ns)
        _span.reset(token)


def clean(value: Any) -> Any:
    """`value` as JSON types with every secret taken out: by its value, and by the name of its key."""
    if isinstance(value, Mapping):
        return {_safe(str(name)): _clean_field(str(name), one) for name, one in value.items()}
    if isinstance(value, list | tuple | set | frozenset):
        return [clean(one) for one in value]
    if isinstance(value, bytes | bytearray):
        value = value.decode("utf-8", "replace")
    shown = _safe(str(value))
    keeps_type = shown == str(value) and (value is None or isinstance(value, bool | Real))
    return _number(value) if keeps_type else shown


def _clean_field(name: str, value: Any) -> Any:
    return "***" if looks_secret(name) else clean(value)


def _number(value: Any) -> Any:
    if value is None or isinstance(value, bool):
        return value
    if not isinstance(value, Integral):
        return float(value)
    whole = int(value)
    return whole if -(2**63) <= whole < 2**64 else str(value)


def _safe(text: str) -> str:
    """`text` without secrets, then as valid Unicode: a lone surrogate cannot be written as UTF-8."""
    return redact(text).encode("utf-8", "replace").decode("utf-8")


def _arguments(args: Any) -> Any:
    """Log arguments with mappings cleaned by key; all else is caught after formatting."""
    if isinstance(args, Mapping):
        return clean(args)
    if isinstance(args, tuple):
        return tuple(clean(one) if isinstance(one, Mapping) else one for one in args)
    return args


def _message(record: logging.LogRecord) -> str:
    args = _arguments(record.args)
    text = str(record.msg)
    try:
        text = text % args if args else text
    except (TypeError, ValueError, KeyError):
        text = f"{text} {args!r}"  # a wrong format string loses nothing
    return _safe(text)


def _fields(record: logging.LogRecord) -> dict[str, Any]:
    extra = {name: value for name, value in vars(record).items() if name not in _STANDARD}
    fields: dict[str, Any] = clean({**extra, **getattr(record, "_fields", {})})
    return fields


def _traceback(record: logging.LogRecord) -> str:
    # record.exc_text is not used as a cache: other handlers would find, or leave, an unredacted text there.
    parts = [record.stack_info or ""]
    if record.exc_info and record.exc_info[0]:
        parts.append("".join(traceback.format_exception(*record.exc_info)))
    elif record.exc_text:
        parts.append(record.exc_text)
    return _safe("\n".join(part.rstrip() for part in parts if part))


class JsonFormatter(logging.Formatter):
    """One JSON object per line: ts_ns (Unix, ns), level, module, span, message, then the fields."""

    def format(self, record: logging.LogRecord) -> str:
        """The line for `record`, without its end."""
        line: dict[str, Any] = {
            "ts_ns": int(record.created * 1e9),
            "level": record.levelname.lower(),
            "module": _safe(record.name),
            "span": _safe(_span.get()),
            "message": _message(record),
        }
        for name, value in _fields(record).items():
            line[f"field_{name}" if name in line else name] = value
        if trace := _traceback(record):
            line["traceback"] = trace
        return orjson.dumps(line).decode()


class PrettyFormatter(logging.Formatter):
    """One line for people, UTC; control characters are escaped: foreign text cannot drive the terminal."""

    converter = staticmethod(time.gmtime)

    def __init__(self, *, colour: bool) -> None:
        super().__init__()
        self._colour = colour

    def format(self, record: logging.LogRecord) -> str:
        """The line for `record`, followed by its traceback if there is one."""
        clock = f"{self.formatTime(record, '%H:%M:%S')}.{int(record.msecs):03d}"
        fields = [f"{name}={_shown(value)}" for name, value in _fields(record).items()]
        where = _safe(f"{record.name}[{_span.get()}]" if _span.get() else record.name)
        line = _one_line(" ".join([where, _message(record), *fields]))
        trace = _traceback(record)
        return f"{clock} {self._level(record)} {line}" + (f"\n{_visible(trace)}" if trace else "")

    def _level(self, record: logging.LogRecord) -> str:
        name = f"{record.levelname:<7}"
        return f"\x1b[{_COLOURS.get(record.levelname, '0')}m{name}\x1b[0m" if self._colour else name


def _shown(value: Any) -> str:
    return value if isinstance(value, str) else json.dumps(value, ensure_ascii=False)


def _one_line(text: str) -> str:
    return _CONTROL.sub(lambda found: repr(found[0])[1:-1], text)


def _visible(text: str) -> str:
    return "\n".join(_one_line(line) for line in text.split("\n"))


class _Handler(logging.StreamHandler[TextIO]):
    """A stream handler whose own errors name the place only (the standard one prints the arguments) and end nothing."""

    lost = 0

    def handleError(self, record: logging.LogRecord) -> None:
        """Count a record that was lost, and say where it was logged if stderr takes it."""
        _Handler.lost += 1
        if not (logging.raiseExceptions and sys.stderr):
            return
        kind = sys.exc_info()[0]
        # Whatever was wrong with the stream of the log may be wrong with stderr too; closed is a ValueError.
        with suppress(OSError, ValueError):
            sys.stderr.write(f"log record lost ({kind and kind.__name__}): {record.pathname}:{record.lineno}\n")


def lost_records() -> int:
    """Log records that could not be formatted or written, in this process."""
    return _Handler.lost
