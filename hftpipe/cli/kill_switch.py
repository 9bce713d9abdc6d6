"""``hftpipe kill`` and ``hftpipe kill-switch``."""

import os
import sys
from typing import Annotated, Any

import typer

from hftpipe import log
from hftpipe.cli.common import Files, app, fail, guarded, load_settings, overrides_of


@app.command()
def kill(
    name: Annotated[str, typer.Argument(help="Name of the pipeline.")] = "default",
    reason: Annotated[str, typer.Option(help="Why; kept with the halt.")] = "",
    wait: Annotated[
        float,
        typer.Option(
            min=0, max=600, help="How long to wait for the venues to confirm that all orders have ended, in seconds."
        ),
    ] = 5.0,
) -> None:
    """Kill: halt everything at once, cancel every order, and say what of it is confirmed. `hftpipe resume` clears it."""

    def action() -> int:
        from hftpipe.kill_switch.look import Attachment
        from hftpipe.kill_switch.switch import kill as kill_now

        said = kill_now(name, f"hftpipe kill: {reason or 'no reason given'}", Attachment(name), wait)
        if not said.problem:
            typer.echo(f"{name}: {'trading is halted' if said.is_running else 'not running; it will start halted'}")
        if said.orders:
            words = "cancels sent {cancels_sent}, confirmed {cancels_confirmed}; orders open before {open_before}, now {open}"
            typer.echo(f"{name}: " + words.format(**said.orders))
        if said.problem:
            raise fail(said.problem)
        return int(said.orders.get("open", 0) > 0)

    raise typer.Exit(guarded(action))


@app.command("kill-switch")
def kill_switch(
    config: Files = None,
    name: Annotated[str | None, typer.Option(help="Name of the pipeline that it kills.")] = None,
    address: Annotated[str | None, typer.Option(help="Where to serve HTTP, such as 127.0.0.1:8080.")] = None,
    file: Annotated[str | None, typer.Option(help="A file that kills when it appears.")] = None,
    assign: Annotated[
        list[str] | None, typer.Option("--set", help="Any configuration key: KEY=VALUE; repeatable.")
    ] = None,
) -> None:
    """Serve the kill switch by itself, whether or not the pipeline runs: POST /kill, GET /status, SIGUSR2, a file."""
    pairs: dict[str, Any] = {"pipeline.name": name, "kill_switch.address": address, "kill_switch.file": file}
    files, overrides = config or [], overrides_of(pairs, assign or [])
    settings = load_settings(files, overrides)
    log.setup(settings.log.format, settings.log.level, sys.stderr)
    os.environ["HFTPIPE_PIPELINE__METRICS"] = "true" if settings.pipeline.metrics else "false"

    def action() -> int:
        from hftpipe.app.settings.sources import Sources
        from hftpipe.app.settings.stores import store_of
        from hftpipe.kill_switch.process import serve_alone

        sources = Sources(files, dict(os.environ), overrides, store_of(settings, os.environ))
        return serve_alone(settings, sources)

    raise typer.Exit(guarded(action))
