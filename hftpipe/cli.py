"""The command line. Each command reads its flags and calls one function; compiled code is imported only when needed."""

import os
import sys
from typing import Annotated, Any

import typer

from hftpipe import config as config_module
from hftpipe import log, outputs
from hftpipe.summary_file import why_not_writable

app = typer.Typer(
    name="hftpipe",
    help="High-frequency trading pipeline: market data, strategy, risk and gateway on pinned CPUs.",
    no_args_is_help=True,
    add_completion=False,
    pretty_exceptions_enable=False,
)

EXIT_USAGE = 2
Files = Annotated[list[str] | None, typer.Option("--config", "-c", help="TOML file; repeat it, later files win.")]


def _fail(message: str) -> "typer.Exit":
    typer.echo(f"error: {message}", err=True)
    return typer.Exit(EXIT_USAGE)


def _overrides(pairs: dict[str, Any], assignments: list[str]) -> dict[str, Any]:
    given = {key: value for key, value in pairs.items() if value is not None}
    for text in assignments:
        key, separator, value = text.partition("=")
        if not separator:
            raise _fail(f"--set {text!r}: write it as KEY=VALUE, for example --set risk.limits.BTCUSDT.orders_per_s=20")
        given[key.strip()] = value.strip()
    return given


def _load(files: list[str], overrides: dict[str, Any]) -> config_module.Config:
    try:
        return config_module.load(files, os.environ, overrides)
    except config_module.ConfigError as error:
        raise _fail(str(error)) from error


def _processes(count: int | None) -> int | None:
    if count not in (None, 1, 2, 4):
        raise _fail(f"--processes {count}: allowed are 4 (one stage each), 2 (two stages each) and 1 (all in one)")
    return count


@app.command()
def run(
    config: Files = None,
    cpus: Annotated[str | None, typer.Option(help="CPUs to pin to, in stage order, e.g. 0-3 or 0,2.")] = None,
    duration: Annotated[float | None, typer.Option(help="Stop after this many seconds (default: Ctrl-C).")] = None,
    replay: Annotated[str | None, typer.Option(help="Play a recorded capture (.gz or plain).")] = None,
    speed: Annotated[str | None, typer.Option(help="Multiple of recorded time, or max.")] = None,
    venue: Annotated[
        str | None, typer.Option(help="sim (embedded, or --replay), or udp (ITCH multicast in, OUCH out).")
    ] = None,
    strategy: Annotated[str | None, typer.Option(help="Registered name, or path.py:ClassName.")] = None,
    json: Annotated[str | None, typer.Option(help="Write the summary to this file as JSON.")] = None,
    processes: Annotated[int | None, typer.Option(help="4, 2 (two stages per process) or 1.")] = None,
    name: Annotated[str | None, typer.Option(help="Pipeline name: names the shared-memory segment.")] = None,
    seed: Annotated[int | None, typer.Option(help="Seed of the synthetic market.")] = None,
    record: Annotated[str | None, typer.Option(help="Record the run to a session in this folder.")] = None,
    assign: Annotated[
        list[str] | None, typer.Option("--set", help="Any configuration key: KEY=VALUE; repeatable.")
    ] = None,
) -> None:
    """Run the whole pipeline in paper mode until Ctrl-C, --duration, or the end of a recording."""
    outputs.guard()
    pairs = {
        "pipeline.cpus": cpus, "pipeline.duration_s": duration, "pipeline.name": name,
        "pipeline.processes": _processes(processes), "market.replay": replay, "market.speed": speed,
        "market.source": "replay" if replay else None, "pipeline.venue": venue, "market.seed": seed, "strategy.name": strategy,
        "record.folder": record,
    }  # fmt: skip
    files, notice = config or [], ""
    overrides = _overrides(pairs, assign or [])
    if not files:
        overrides = {**config_module.demo_overrides(strategy), **overrides}
        notice = "no --config given: using the demonstration limits of configs/paper.toml and configs/risk_limits.toml"
    settings = _load(files, overrides)
    _check_target(json)
    log.setup(settings.log.format, settings.log.level, sys.stderr)
    if notice:
        typer.echo(notice, err=True)
    os.environ["HFTPIPE_PIPELINE__METRICS"] = "true" if settings.pipeline.metrics else "false"
    raise typer.Exit(_guarded(lambda: _run(settings, files, overrides, json)))


def _check_target(json: str | None) -> None:
    if json and (problem := why_not_writable(json)):
        raise _fail(f"--json {json}: {problem}")


def _run(settings: config_module.Config, files: list[str], overrides: dict[str, Any], json: str | None) -> int:
    from hftpipe.precompile import is_warm, precompile

    if not is_warm(settings.pipeline.venue):
        typer.echo("first start of this build: compiling (once)", err=True)
        precompile(settings.strategy.name, settings.pipeline.venue)
    from hftpipe.run import run as run_pipeline

    return run_pipeline(settings, files, dict(os.environ), overrides, json)


def _guarded(action: Any) -> int:
    """Turn every refusal that has a message of its own into that message and exit code 2."""
    from hftpipe.core.shm import SegmentError
    from hftpipe.market.capture import CaptureError
    from hftpipe.record.format import RecordError
    from hftpipe.state import StateError
    from hftpipe.strategy.loader import StrategyError

    try:
        return int(action() or 0)
    except (config_module.ConfigError, CaptureError, SegmentError, StrategyError, RecordError, StateError) as error:
        raise _fail(str(error)) from error


@app.command()
def replay(
    session: Annotated[str, typer.Argument(help="Folder of a recorded session.")],
    verify: Annotated[bool, typer.Option("--verify", help="Compare every output with the recording.")] = False,
    strategy: Annotated[str | None, typer.Option(help="Replay the market through this strategy instead.")] = None,
    assign: Annotated[
        list[str] | None, typer.Option("--set", help="strategy.params.KEY=VALUE to replay with; repeatable.")
    ] = None,
    force: Annotated[bool, typer.Option("--force", help="Replay although build or recording do not allow it.")] = False,
) -> None:
    """Run a recorded session again: --verify proves it the same, --strategy or --set show what would have changed."""
    assignments = _overrides({}, assign or [])
    log.setup("auto", "info", sys.stderr)

    def action() -> int:
        from hftpipe.record.replay import replay_main

        return replay_main(session, verify, strategy, assignments, force)

    raise typer.Exit(_guarded(action))


@app.command()
def top(
    name: Annotated[str, typer.Option(help="Name of the running pipeline.")] = "default",
    once: Annotated[bool, typer.Option("--once", help="Print one screen and leave.")] = False,
) -> None:
    """Watch a running pipeline (attaches read-only)."""

    def action() -> None:
        from hftpipe.monitor.top import watch

        watch(name, once)

    raise typer.Exit(_guarded(action))


@app.command()
def halt(
    name: Annotated[str, typer.Argument(help="Name of the pipeline.")],
    reason: Annotated[str, typer.Option(help="Why; kept with the halt.")] = "",
) -> None:
    """Halt a pipeline's trading at once: orders are cancelled, and it stays halted, restarts too, until resumed."""

    def action() -> int:
        from hftpipe import halt_command

        return halt_command.halt(name, reason, typer.echo)

    raise typer.Exit(_guarded(action))


@app.command()
def resume(
    name: Annotated[str, typer.Argument(help="Name of the pipeline.")],
    yes: Annotated[bool, typer.Option("--yes", help="Do not ask.")] = False,
) -> None:
    """Show why a pipeline is halted and, if agreed, clear it: the next start trades again."""

    def action() -> int:
        from hftpipe import halt_command

        return halt_command.resume(name, lambda question: yes or typer.confirm(question), typer.echo)

    raise typer.Exit(_guarded(action))


@app.command()
def doctor(
    cpus: Annotated[str, typer.Option(help="CPUs the pipeline shall have.")] = "0-3",
) -> None:
    """Check this host (CPUs, isolation, clock, memory, network buffers) and say what to do about each finding."""
    from rich.console import Console

    from hftpipe.doctor import diagnose, render

    try:
        wanted = config_module.parse_cpus(cpus)
    except ValueError as error:
        raise _fail(f"--cpus {cpus}: {error}") from error
    findings = diagnose(wanted)
    render(findings, Console())
    raise typer.Exit(1 if any(finding.status == "fail" for finding in findings) else 0)


@app.command("check-book")
def check_book(file: Annotated[str, typer.Argument(help="Capture: lines of <local_ns> <json>, .gz or plain.")]) -> None:
    """Rebuild the book of a capture from its depth stream and compare it with its bookTicker stream."""

    def action() -> int:
        from hftpipe.market import check_book as module

        result = module.check_book(file)
        typer.echo(module.render(result))
        return 0 if result.ok else 1

    raise typer.Exit(_guarded(action))


def _network(action: Any) -> int:
    """As :func:`_guarded`, for what opens sockets: a port taken or an address that is none is one line, too."""
    try:
        return _guarded(action)
    except OSError as error:
        raise _fail(
            f"{error.filename or ''}: {error.strerror}".removeprefix(": ") if error.strerror else str(error)
        ) from error
    except ValueError as error:
        raise _fail(str(error)) from error


Port = typer.Option(min=0, max=65_535)
TruthFile = Annotated[str, typer.Option(help="Keep orders and executions of every account in this file (JSON).")]
Duration = Annotated[float | None, typer.Option(min=0, help="Stop after this many seconds (default: Ctrl-C).")]


@app.command("sim-exchange")
def sim_exchange(
    protocol: Annotated[str, typer.Option(help="What it speaks: itch (ITCH multicast out, OUCH orders in).")],
    config: Files = None,
    group_a: Annotated[str | None, typer.Option(help="Multicast group of line A (default: udp.group_a).")] = None,
    port_a: Annotated[int | None, Port] = None,
    group_b: Annotated[str | None, typer.Option(help="Multicast group of line B (default: udp.group_b).")] = None,
    port_b: Annotated[int | None, Port] = None,
    interface: Annotated[str | None, typer.Option(help="Address the lines go out on (default: udp.interface).")] = None,
    order_port: Annotated[int, Port] = 0,
    tcp_port: Annotated[int, Port] = 0,
    request_port: Annotated[int, Port] = 0,
    replay: Annotated[
        str | None, typer.Option(help="Play a recorded capture (.gz or plain) as the market; ends with it.")
    ] = None,
    rate: Annotated[float | None, typer.Option(help="Events per second and instrument at speed 1.")] = None,
    speed: Annotated[float, typer.Option(help="Multiple of real time; 0: the market stands still.")] = 1.0,
    seed: Annotated[int | None, typer.Option(help="Seed of the market and of the bad lines.")] = None,
    loss_a: Annotated[
        float | None, typer.Option(help="Share of line A's datagrams lost (default: udp.loss_a).")
    ] = None,
    loss_b: Annotated[
        float | None, typer.Option(help="Share of line B's datagrams lost (default: udp.loss_b).")
    ] = None,
    dup_a: Annotated[float, typer.Option(help="Share sent twice.")] = 0.0,
    dup_b: Annotated[float, typer.Option(help="Share sent twice.")] = 0.0,
    reorder_a: Annotated[float, typer.Option(help="Share overtaken by later ones.")] = 0.0,
    reorder_b: Annotated[float, typer.Option(help="Share overtaken by later ones.")] = 0.0,
    delay_a_us: Annotated[float, typer.Option(help="Delay of line A, microseconds.")] = 0.0,
    delay_b_us: Annotated[float, typer.Option(help="Delay of line B, microseconds.")] = 0.0,
    store_messages: Annotated[
        int | None, typer.Option(help="Messages kept for who joins late, a power of two (default: 16777216, 1 GiB).")
    ] = None,
    duration: Duration = None,
    ports_file: Annotated[str, typer.Option(help="Write the open ports to this file, name=number.")] = "",
    truth: TruthFile = "",
    cpu: Annotated[int, typer.Option(help="Pin to this CPU.")] = -1,
) -> None:
    """Run a simulated exchange: market data over multicast, orders over UDP and SoupBinTCP."""
    if protocol != "itch":
        raise _fail(f"--protocol {protocol}: there is only itch (ITCH 5.0 multicast out, OUCH 5.0 orders in)")
    if replay and rate is not None:
        raise _fail(f"--rate {rate}: a capture has its own; --speed plays it faster")
    overrides = {"market.replay": replay} if replay else {"market.source": "synthetic"}
    settings = _load(config or [], overrides)
    udp, market = settings.udp, settings.market
    given = {"group_a": group_a, "port_a": port_a, "group_b": group_b, "port_b": port_b, "interface": interface}
    fields = {name: getattr(udp, name) if value is None else value for name, value in given.items()}
    fields |= {"order_port": order_port, "tcp_port": tcp_port, "request_port": request_port, "speed": speed}
    fields |= {"rate_per_s": market.event_rate_per_s if rate is None else rate}
    fields |= {"seed": market.seed if seed is None else seed}
    fields |= {"replay": replay or ""}
    fields |= {} if store_messages is None else {"store_messages": store_messages}
    names = ("loss", "duplicate", "reorder", "delay_us")
    line_a = (udp.loss_a if loss_a is None else loss_a, dup_a, reorder_a, delay_a_us)
    line_b = (udp.loss_b if loss_b is None else loss_b, dup_b, reorder_b, delay_b_us)
    lines = [dict(zip(names, line, strict=True)) for line in (line_a, line_b)]

    def action() -> int:
        from hftpipe.pipeline import demo_market, instrument_rows, ouch_password
        from hftpipe.run import match_capture
        from hftpipe.sim.servers.command import exchange_options, run_exchange
        from hftpipe.sim.servers.settings import Account

        rows = instrument_rows(match_capture(settings, config or [], dict(os.environ), overrides))
        who = {"instruments": rows, "accounts": (Account(udp.user, ouch_password()),), "market": demo_market(market)}
        figures = run_exchange(exchange_options(who | fields, *lines, cpu, ports_file, truth), duration, typer.echo)
        typer.echo(" ".join(f"{name}={value}" for name, value in figures.items()))
        return int(figures["damages"] > 0)

    raise typer.Exit(_network(action))


@app.command()
def record(
    raw: Annotated[str | None, typer.Option(help="File for every datagram of lines A and B; made new.")] = None,
    config: Files = None,
    duration: Duration = None,
) -> None:
    """Capture the configured multicast lines as they come (--raw); check-raw reads them back."""
    if not raw:
        raise _fail(
            "record: give --raw FILE for the datagrams of the lines; sessions are recorded with `hftpipe run --record DIR`"
        )
    settings = _load(config or [], {})
    log.setup(settings.log.format, settings.log.level, sys.stderr)

    def action() -> int:
        from hftpipe.record.raw_capture import record_raw

        return record_raw(raw, settings.udp, duration, typer.echo)

    raise typer.Exit(_network(action))


@app.command("check-raw")
def check_raw(file: Annotated[str, typer.Argument(help="Raw capture of lines A and B.")], config: Files = None) -> None:
    """Rebuild the books of a raw capture with the production decoder; exit 1 if it is corrupt or has gaps."""
    settings = _load(config or [], {})

    def action() -> int:
        from hftpipe.pipeline import instrument_rows
        from hftpipe.record import raw_capture

        result = raw_capture.check_raw(file, instrument_rows(settings), settings.market.book_levels)
        typer.echo(result.render())
        return 0 if result.ok else 1

    raise typer.Exit(_network(action))


def main() -> None:
    """Entry point of the ``hftpipe`` command."""
    app()
