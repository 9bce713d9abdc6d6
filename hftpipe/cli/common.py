"""What the commands share: the application, reading of settings, and how a refusal is said."""

import os
from typing import Annotated, Any

import typer

from hftpipe import config as config_module
from hftpipe.core.schema.refusal import Refusal, refused_network

app = typer.Typer(
    name="hftpipe",
    help="High-frequency trading pipeline: market data, strategy, risk and gateway on pinned CPUs.",
    no_args_is_help=True,
    add_completion=False,
    pretty_exceptions_enable=False,
)

EXIT_USAGE = 2
Files = Annotated[list[str] | None, typer.Option("--config", "-c", help="TOML file; repeat it, later files win.")]


def fail(message: str) -> "typer.Exit":
    typer.echo(f"error: {message}", err=True)
    return typer.Exit(EXIT_USAGE)


def overrides_of(pairs: dict[str, Any], assignments: list[str]) -> dict[str, Any]:
    given = {key: value for key, value in pairs.items() if value is not None}
    for text in assignments:
        key, separator, value = text.partition("=")
        if not separator:
            raise fail(f"--set {text!r}: write it as KEY=VALUE, for example --set risk.limits.BTCUSDT.orders_per_s=20")
        given[key.strip()] = value.strip()
    return given


def load_settings(files: list[str], overrides: dict[str, Any]) -> config_module.Config:
    try:
        return config_module.load(files, os.environ, overrides)
    except config_module.ConfigError as error:
        raise fail(str(error)) from error


def guarded(action: Any) -> int:
    """Turn every refusal into its message and exit code 2."""
    try:
        return int(action() or 0)
    except Refusal as error:
        raise fail(str(error)) from error


def guarded_network(action: Any) -> int:
    """As :func:`guarded`, for what opens sockets: a port taken or an address that is none is one line, too."""

    def opened() -> Any:
        with refused_network():
            return action()

    return guarded(opened)


Duration = Annotated[float | None, typer.Option(min=0, help="Stop after this many seconds (default: Ctrl-C).")]
