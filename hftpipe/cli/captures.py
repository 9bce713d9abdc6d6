"""Captures: checking them, and keeping the datagrams of a feed."""

import sys
from typing import Annotated

import typer

from hftpipe import log
from hftpipe.cli.common import Duration, Files, app, fail, guarded, guarded_network, load_settings


@app.command("check-book")
def check_book(file: Annotated[str, typer.Argument(help="Capture: lines of <local_ns> <json>, .gz or plain.")]) -> None:
    """Rebuild the book of a capture from its depth stream and compare it with its bookTicker stream."""

    def action() -> int:
        from hftpipe.capture import check_book as module

        result = module.check_book(file)
        typer.echo(module.render(result))
        return 0 if result.ok else 1

    raise typer.Exit(guarded(action))


@app.command()
def record(
    raw: Annotated[str | None, typer.Option(help="File for every datagram of lines A and B; made new.")] = None,
    config: Files = None,
    duration: Duration = None,
) -> None:
    """Capture the configured multicast lines as they come (--raw); check-raw reads them back."""
    if not raw:
        raise fail(
            "record: give --raw FILE for the datagrams of the lines; sessions are recorded with `hftpipe run --record DIR`"
        )
    settings = load_settings(config or [], {})
    log.setup(settings.log.format, settings.log.level, sys.stderr)

    def action() -> int:
        from hftpipe.capture.raw_blocks import record_raw

        return record_raw(raw, settings.udp, duration, typer.echo)

    raise typer.Exit(guarded_network(action))


@app.command("check-raw")
def check_raw(file: Annotated[str, typer.Argument(help="Raw capture of lines A and B.")], config: Files = None) -> None:
    """Rebuild the books of a raw capture with the production decoder; exit 1 if it is corrupt or has gaps."""
    settings = load_settings(config or [], {})

    def action() -> int:
        from hftpipe.capture import raw_blocks as raw_capture
        from hftpipe.topology.configured import instrument_rows

        result = raw_capture.check_raw(file, instrument_rows(settings), settings.market.book_levels)
        typer.echo(result.render())
        return 0 if result.ok else 1

    raise typer.Exit(guarded_network(action))
