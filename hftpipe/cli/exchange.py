"""``hftpipe sim-exchange``."""

import os
from typing import Annotated, Any

import typer

from hftpipe.cli.common import Duration, Files, app, fail, guarded_network, load_settings
from hftpipe.config import Config

Port = typer.Option(min=0, max=65_535)
TruthFile = Annotated[str, typer.Option(help="Keep orders and executions of every account in this file (JSON).")]


def _line(loss: float, duplicate: float, reorder: float, delay_us: float) -> dict[str, float]:
    """How bad one multicast line is."""
    return {"loss": loss, "duplicate": duplicate, "reorder": reorder, "delay_us": delay_us}


def _parties(settings: Config, files: list[str], overrides: dict[str, str]) -> dict[str, Any]:
    """What is traded, by whom, and in which market."""
    from hftpipe.app.run import match_capture
    from hftpipe.simulation.exchange_server.settings import Account
    from hftpipe.topology.configured import instrument_rows
    from hftpipe.venues.nasdaq.account import ouch_password
    from hftpipe.venues.paper.demo import demo_market

    rows = instrument_rows(match_capture(settings, files, dict(os.environ), overrides))
    accounts = (Account(settings.udp.user, ouch_password()),)
    return {"instruments": rows, "accounts": accounts, "market": demo_market(settings.market)}


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
        raise fail(f"--protocol {protocol}: there is only itch (ITCH 5.0 multicast out, OUCH 5.0 orders in)")
    if replay and rate is not None:
        raise fail(f"--rate {rate}: a capture has its own; --speed plays it faster")
    overrides = {"market.replay": replay} if replay else {"market.source": "synthetic"}
    settings = load_settings(config or [], overrides)
    udp, market = settings.udp, settings.market
    given = {"group_a": group_a, "port_a": port_a, "group_b": group_b, "port_b": port_b, "interface": interface}
    fields = {name: getattr(udp, name) if value is None else value for name, value in given.items()}
    fields |= {"order_port": order_port, "tcp_port": tcp_port, "request_port": request_port, "speed": speed}
    fields |= {"rate_per_s": market.event_rate_per_s if rate is None else rate}
    fields |= {"seed": market.seed if seed is None else seed, "replay": replay or ""}
    fields |= {} if store_messages is None else {"store_messages": store_messages}
    line_a = _line(udp.loss_a if loss_a is None else loss_a, dup_a, reorder_a, delay_a_us)
    line_b = _line(udp.loss_b if loss_b is None else loss_b, dup_b, reorder_b, delay_b_us)

    def action() -> int:
        from hftpipe.simulation.exchange_server.command import exchange_options, run_exchange

        who = _parties(settings, config or [], overrides)
        figures = run_exchange(
            exchange_options(who | fields, line_a, line_b, cpu, ports_file, truth), duration, typer.echo
        )
        typer.echo(" ".join(f"{name}={value}" for name, value in figures.items()))
        return int(figures["damages"] > 0)

    raise typer.Exit(guarded_network(action))
