"""Watching, halting and resuming a pipeline, and checking its host."""

from typing import Annotated

import typer

from hftpipe import config as config_module
from hftpipe.cli.common import app, fail, guarded

VenueOption = Annotated[str | None, typer.Option("--venue", help="Only what is traded at this venue.")]
StrategyOption = Annotated[str | None, typer.Option("--strategy", help="Only this strategy.")]
InstrumentOption = Annotated[
    str | None, typer.Option("--instrument", help="Only this instrument: SYMBOL, or of several venues venue:SYMBOL.")
]
ReduceOption = Annotated[
    bool,
    typer.Option("--reduce", help="Only what could make a position larger: orders that make one smaller still pass."),
]


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
def opportunities(
    name: Annotated[str, typer.Argument(help="Name of the running pipeline.")] = "default",
    json: Annotated[bool, typer.Option("--json", help="Print them once, as one line of JSON, and leave.")] = False,
    once: Annotated[bool, typer.Option("--once", help="Print one screen and leave.")] = False,
) -> None:
    """Watch what the same thing would earn between the venues of a running pipeline, net of fees (attaches read-only)."""

    def action() -> None:
        from hftpipe.core.shared.shm import Segment
        from hftpipe.monitor import opportunities as module

        if json:
            typer.echo(module.as_json(module.look(Segment.attach(name))))
        else:
            module.watch(name, once)

    raise typer.Exit(guarded(action))


@app.command()
def halt(
    name: Annotated[str, typer.Argument(help="Name of the pipeline.")],
    reason: Annotated[str, typer.Option(help="Why; kept with the halt.")] = "",
    venue: VenueOption = None,
    strategy: StrategyOption = None,
    instrument: InstrumentOption = None,
    reduce: ReduceOption = False,
) -> None:
    """Halt a pipeline's trading at once: orders are cancelled, and it stays halted, restarts too, until resumed."""

    def action() -> int:
        from hftpipe.app import halt_command
        from hftpipe.app.halt_scope import Scope

        scope = Scope.of(reduce, venue=venue, strategy=strategy, instrument=instrument)
        return halt_command.halt(name, scope, reason, typer.echo)

    raise typer.Exit(guarded(action))


@app.command()
def resume(
    name: Annotated[str, typer.Argument(help="Name of the pipeline.")],
    yes: Annotated[bool, typer.Option("--yes", help="Do not ask.")] = False,
    venue: VenueOption = None,
    strategy: StrategyOption = None,
    instrument: InstrumentOption = None,
    reduce: ReduceOption = False,
) -> None:
    """Show why a pipeline is halted and, if agreed, clear it: what a person halted trades on at once, what else did with the next start."""

    def action() -> int:
        from hftpipe.app import halt_command
        from hftpipe.app.halt_scope import Scope

        scope = Scope.of(reduce, venue=venue, strategy=strategy, instrument=instrument)
        return halt_command.resume(name, scope, lambda question: yes or typer.confirm(question), typer.echo)

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
