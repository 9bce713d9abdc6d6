"""Sections for whoever runs a pipeline: kill switch, settings that are changed while it runs, alerts, log."""

from dataclasses import dataclass

from hftpipe.config.fields import key
from hftpipe.config.kinds import BOOLEAN, LISTEN, between, choice, integer, text


@dataclass(frozen=True)
class KillSwitch:
    """The kill switch: a process beside the run, or one by itself, that halts everything when it is told to."""

    enabled: bool = key(False, BOOLEAN, "Whether a run starts it beside itself; `hftpipe kill-switch` starts it alone.")
    address: str = key(
        "127.0.0.1:8080",
        LISTEN,
        "Where it serves HTTP: POST /kill, GET /status, ...; any other than 127.0.0.1 lets other machines kill. Port 0 = a free one.",
    )
    file: str = key("", text(r"[\s\S]*", "a path"), 'A file that kills when it appears; "" = none does.')


@dataclass(frozen=True)
class Store:
    """Where limits and parameters are kept that are set while a pipeline runs."""

    kind: str = key("file", choice("file", "redis"), "NAME.params in the state folder, or Redis.")
    redis: str = key(
        "127.0.0.1:6379",
        text(r"[^\s:]+:\d{1,5}", "a host and a port such as 127.0.0.1:6379"),
        "Where Redis is; a password is taken from HFTPIPE_SECRET_REDIS_PASSWORD.",
    )
    redis_db: int = key(0, integer(0, 65_535), "Number of the database.")
    poll_s: float = key(1.0, between(0.1, 5, "seconds"), "How often Redis is asked.")


@dataclass(frozen=True)
class Alerts:
    """Who is told that trading was halted."""

    webhook: str = key(
        "none",
        choice("none", "json", "slack", "pagerduty"),
        "What is sent when trading is halted, to the address in HFTPIPE_SECRET_ALERT_URL; pagerduty: with HFTPIPE_SECRET_PAGERDUTY_KEY.",
    )


@dataclass(frozen=True)
class Log:
    """Logging of the cold paths."""

    format: str = key("auto", choice("auto", "json", "pretty"), "With auto: pretty on a terminal, else JSON lines.")
    level: str = key("info", choice("debug", "info", "warning", "error"), "Least severe level written.")
