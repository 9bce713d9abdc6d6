"""``hftpipe sim-exchange``."""

import inspect
import os
from collections.abc import Collection
from importlib.util import find_spec
from typing import Annotated, Any

import typer

from hftpipe.cli.common import Duration, Files, app, fail, guarded_network, load_settings
from hftpipe.config import Config, load

Port = typer.Option(min=0, max=65_535)
Share = Annotated[float, typer.Option(help="Share of the line's datagrams that this happens to.")]
DelayUs = Annotated[float, typer.Option(help="Delay of the line, microseconds.")]
Loss = Annotated[float | None, typer.Option(help="Share of the line's datagrams lost (default: udp.loss_a, loss_b).")]
Group = Annotated[str | None, typer.Option(help="Multicast group of the line (default: udp.group_a, group_b).")]
TruthFile = Annotated[str, typer.Option(help="Keep orders and executions of every account in this file (JSON).")]
Listed = Annotated[int | None, typer.Option(min=1, help="List so many symbols of the embedded universe.")]
Weight = Annotated[int, typer.Option(min=0, help="Request weight allowed in a minute (default: as the venue has it).")]

PublicKey = Annotated[str, typer.Option(help="binance: Ed25519 or RSA public key of the account (PEM file).")]
Balance = Annotated[list[str] | None, typer.Option(help="binance: what the account has of an asset, ASSET=AMOUNT.")]

PROTOCOLS = ("itch", "binance", "bybit")
#: What --market can be.
MARKETS = {"binance": ("spot", "usdm", "both"), "bybit": ("spot", "linear", "both")}
#: Options that not all protocols have.
_OWN = {
    "itch": (
        "group_a", "port_a", "group_b", "port_b", "interface", "order_port", "tcp_port", "request_port", "replay",
        "loss_a", "loss_b", "dup_a", "dup_b", "reorder_a", "reorder_b", "delay_a_us", "delay_b_us", "store_messages",
        "truth", "cpu",
    ),
    "binance": ("market", "port", "tls", "cert_file", "listed", "weight_limit", "public_key", "balance"),
    "bybit": ("market", "port", "tls", "cert_file", "listed", "public_key", "balance"),
}  # fmt: skip


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

    def load_again(traded: Collection[str], **more: Any) -> Config:
        return load(files, os.environ, {**overrides, **more}, traded)

    rows = instrument_rows(match_capture(settings, load_again))
    accounts = (Account(settings.udp.user, ouch_password()),)
    return {"instruments": rows, "accounts": accounts, "market": demo_market(settings.market)}


def _refuse_options_of_others(given: dict[str, Any]) -> None:
    """Whoever gives an option that his protocol does not have, wants something else than he would get."""
    defaults = inspect.signature(sim_exchange).parameters
    for name in sorted({name for names in _OWN.values() for name in names} - set(_OWN[given["protocol"]])):
        if given[name] != defaults[name].default:
            option, having = f"--{name.replace('_', '-')}", [one for one, names in _OWN.items() if name in names]
            raise fail(
                f"{option} {given[name]}: only --protocol {' and '.join(having)} has it, this is {given['protocol']}"
            )


def _serve_itch(given: dict[str, Any]) -> int:
    files, replay, rate, seed = (given[name] for name in ("config", "replay", "rate", "seed"))
    if replay and rate is not None:
        raise fail(f"--rate {rate}: a capture has its own; --speed plays it faster")
    overrides = {"market.replay": replay} if replay else {"market.source": "synthetic"}
    settings = load_settings(files, overrides)
    udp, market = settings.udp, settings.market
    lines = ("group_a", "port_a", "group_b", "port_b", "interface")
    fields = {name: getattr(udp, name) if given[name] is None else given[name] for name in lines}
    fields |= {name: given[name] for name in ("order_port", "tcp_port", "request_port", "speed")}
    fields |= {"rate_per_s": market.event_rate_per_s if rate is None else rate}
    fields |= {"seed": market.seed if seed is None else seed, "replay": replay or ""}
    if given["store_messages"] is not None:
        fields["store_messages"] = given["store_messages"]
    bad = [
        _line(
            getattr(udp, f"loss_{at}") if given[f"loss_{at}"] is None else given[f"loss_{at}"],
            given[f"dup_{at}"], given[f"reorder_{at}"], given[f"delay_{at}_us"],
        )
        for at in "ab"
    ]  # fmt: skip

    def action() -> int:
        from hftpipe.simulation.exchange_server.command import exchange_options, run_exchange

        who = _parties(settings, files, overrides)
        options = exchange_options(who | fields, bad[0], bad[1], given["cpu"], given["ports_file"], given["truth"])
        figures = run_exchange(options, given["duration"], typer.echo)
        typer.echo(" ".join(f"{name}={value}" for name, value in figures.items()))
        return int(figures["damages"] > 0)

    return guarded_network(action)


def _listed(settings: Config, given: dict[str, Any], rules_of: dict[Any, Any]) -> tuple[Any, ...]:
    """What each market lists: the instruments of its rules; all of them where there are none of those."""
    import numpy as np

    from hftpipe.core.schema.instruments import VENUES
    from hftpipe.simulation.market_server.listing import Listing
    from hftpipe.topology.configured import instrument_rows
    from hftpipe.topology.universe import with_universe
    from hftpipe.venues.paper.flows import flow_rates

    settings = with_universe(settings, typer.echo)
    rows = instrument_rows(settings)
    rates = flow_rates(settings) if given["rate"] is None else np.full(len(rows), given["rate"])
    found = []
    for name, rules in rules_of.items():
        if given["market"] in (name, "both"):
            own = rows["venue"] == VENUES[f"{given['protocol']}_{name}"]
            own = own if own.any() else np.ones(len(rows), bool)
            found.append(Listing(rules, rows[own], rates[own]))
    return tuple(found)


def _binance(settings: Config, given: dict[str, Any]) -> tuple[Any, Any]:
    """What the venue is told, and what makes it."""
    from hftpipe.simulation.binance_server.server import BinanceServer
    from hftpipe.simulation.binance_server.settings import RULES, BinanceConfig
    from hftpipe.simulation.market_server.trading.accounts import account_from
    from hftpipe.venues.paper.demo import demo_market

    listings, seed = _listed(settings, given, dict(RULES)), _seed(settings, given)
    account = account_from(os.environ, given["public_key"], given["balance"] or ())
    config = BinanceConfig(
        listings, given["port"], given["tls"], seed, given["speed"], demo_market(settings.market), given["weight_limit"],
        (account,),
    )  # fmt: skip
    return config, lambda: BinanceServer(config)


def _bybit(settings: Config, given: dict[str, Any]) -> tuple[Any, Any]:
    """What the venue is told, and what makes it."""
    from hftpipe.simulation.bybit_server.server import BybitServer
    from hftpipe.simulation.bybit_server.settings import RULES, BybitConfig
    from hftpipe.simulation.market_server.trading.accounts import account_from
    from hftpipe.venues.paper.demo import demo_market

    listings, seed = _listed(settings, given, dict(RULES)), _seed(settings, given)
    account = account_from(os.environ, given["public_key"], given["balance"] or ())
    config = BybitConfig(
        listings, given["port"], given["tls"], seed, given["speed"], demo_market(settings.market), (account,)
    )
    return config, lambda: BybitServer(config)


def _seed(settings: Config, given: dict[str, Any]) -> int:
    seed: int = settings.market.seed if given["seed"] is None else given["seed"]
    return seed


#: Venues of REST and WebSocket.
_WEB = {"binance": _binance, "bybit": _bybit}


def _serve_web(given: dict[str, Any]) -> int:
    allowed = MARKETS[given["protocol"]]
    if given["market"] not in allowed:
        raise fail(f"--market {given['market']}: allowed: {', '.join(allowed)}")
    if given["cert_file"] and not given["tls"]:
        raise fail(f"--cert-file {given['cert_file']}: there is a certificate only with --tls")
    if given["public_key"] and find_spec("cryptography") is None:
        raise fail("--public-key needs cryptography: pip install 'hftpipe[sim]'")
    if find_spec("aiohttp") is None:
        raise fail(f"--protocol {given['protocol']} needs aiohttp: pip install 'hftpipe[sim]'")
    overrides: dict[str, Any] = {"market.source": "synthetic"}
    if given["listed"] is not None:
        overrides |= {"market.listed": given["listed"], "universe": [{"symbols": ["*"]}]}
    settings = load_settings(given["config"], overrides)

    def action() -> int:
        from hftpipe.simulation.market_server.command import check, run_server

        config, make = _WEB[given["protocol"]](settings, given)
        check(config.listings, config.speed)
        figures = run_server(make, given["duration"], given["ports_file"], given["cert_file"], typer.echo)
        typer.echo(" ".join(f"{name}={value}" for name, value in figures.items()))
        return 0

    return guarded_network(action)


@app.command("sim-exchange")
def sim_exchange(
    protocol: Annotated[
        str,
        typer.Option(
            help="itch (ITCH multicast out, OUCH orders in), binance or bybit (REST and WebSocket on 127.0.0.1)."
        ),
    ],
    config: Files = None,
    group_a: Group = None,
    port_a: Annotated[int | None, Port] = None,
    group_b: Group = None,
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
    loss_a: Loss = None,
    loss_b: Loss = None,
    dup_a: Share = 0.0,
    dup_b: Share = 0.0,
    reorder_a: Share = 0.0,
    reorder_b: Share = 0.0,
    delay_a_us: DelayUs = 0.0,
    delay_b_us: DelayUs = 0.0,
    store_messages: Annotated[
        int | None, typer.Option(help="Messages kept for who joins late, a power of two (default: 16777216, 1 GiB).")
    ] = None,
    market: Annotated[str, typer.Option(help="binance: spot, usdm or both; bybit: spot, linear or both.")] = "both",
    port: Annotated[int, Port] = 0,
    tls: Annotated[
        bool, typer.Option("--tls", help="binance, bybit: https and wss, with a certificate of its own.")
    ] = False,
    cert_file: Annotated[str, typer.Option(help="Write that certificate (PEM) to this file.")] = "",
    listed: Listed = None,
    weight_limit: Weight = 0,
    public_key: PublicKey = "",
    balance: Balance = None,
    duration: Duration = None,
    ports_file: Annotated[str, typer.Option(help="Write the open ports to this file, name=number.")] = "",
    truth: TruthFile = "",
    cpu: Annotated[int, typer.Option(help="Pin to this CPU.")] = -1,
) -> None:
    """Run a simulated exchange: ITCH over multicast and OUCH, or the REST and WebSocket interfaces of Binance or Bybit."""
    given = dict(locals())
    if protocol not in PROTOCOLS:
        raise fail(f"--protocol {protocol}: allowed: {', '.join(PROTOCOLS)}")
    _refuse_options_of_others(given)
    given["config"] = config or []
    raise typer.Exit((_serve_itch if protocol == "itch" else _serve_web)(given))
