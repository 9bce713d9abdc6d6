"""Watching, halting and resuming a pipeline, and checking its host."""

from typing import Annotated

import typer

from hftpipe import config as config_module
from hftpipe.cli.common import app, fail, guarded


@app.command()
def top(
    name: Annotated[str, typer.Option(help="Name of the running pipeline.")] = "default",
    once: Annotated[bool, typer.Option("--once", help="Print one screen and leave.")] = False,
) -> None:
    """Watch a running pipeline (attaches read-only)."""

    def action() -> None:
        from hftpipe.monitor.top import watch

        watch(name, once)

    raise typer.Exit(guarded(action))


@app.command()
def halt(
    name: Annotated[str, typer.Argument(help="Name of the pipeline.")],
    reason: Annotated[str, typer.Option(help="Why; kept with the halt.")] = "",
) -> None:
    """Halt a pipeline's trading at once: orders are cancelled, and it stays halted, restarts too, until resumed."""

    def action() -> int:
        from hftpipe.app import halt_command

        return halt_command.halt(name, reason, typer.echo)

    raise typer.Exit(guarded(action))


@app.command()
def resume(
    name: Annotated[str, typer.Argument(help="Name of the pipeline.")],
    yes: Annotated[bool, typer.Option("--yes", help="Do not ask.")] = False,
) -> None:
    """Show why a pipeline is halted and, if agreed, clear it: the next start trades again."""

    def action() -> int:
        from hftpipe.app import halt_command

        return halt_command.resume(name, lambda question: yes or typer.confirm(question), typer.echo)

    raise typer.Exit(guarded(action))


@app.command()
def doctor(
    cpus: Annotated[str, typer.Option(help="CPUs the pipeline shall have.")] = "0-3",
) -> None:
    """Check this host (CPUs, isolation, clock, memory, network buffers) and say what to do about each finding."""
    from rich.console import Console

    from hftpipe.app.doctor import diagnose, render

    try:
        wanted = config_module.parse_cpus(cpus)
    except ValueError as error:
        raise fail(f"--cpus {cpus}: {error}") from error
    findings = diagnose(wanted)
    render(findings, Console())
    raise typer.Exit(1 if any(finding.status == "fail" for finding in findings) else 0)
