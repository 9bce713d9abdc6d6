"""Where venues are reached: of each venue the addresses of its nets: main, test, and demo where there is one. Data here, as text in configs/network.toml.

Which addresses there are is Binance's and Bybit's documentation of 2026 (of the test net of USD-M futures: what their own
libraries connect to). Any of them can be given anew in a file, as ``HFTPIPE_NETWORK__BINANCE_SPOT__TEST__REST`` in the
environment, or on the command line: a simulated venue is one with other addresses.
"""

import dataclasses
import json
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any, Generic, TypeVar
from urllib.parse import urlsplit

from hftpipe.config.fields import ConfigError, keys_of
from hftpipe.config.kinds import Kind

_E = TypeVar("_E")


def _address(*schemes: str) -> Kind:
    """The address of a server: scheme, host, port and path; no user, password, query or last slash."""
    example = f"{schemes[-1]}://host, {schemes[0]}://127.0.0.1:8080/path"
    allowed = f'an address such as "{example.replace(", ", chr(34) + " or " + chr(34))}"'

    def parse(value: Any) -> str:
        if not isinstance(value, str):
            raise ValueError("not a string")
        try:
            parts = urlsplit(value)
            port = parts.port
        except ValueError as bad:
            raise ValueError("not an address") from bad
        if parts.scheme not in schemes:
            raise ValueError(f"not of {' or '.join(schemes)}")
        if "@" in parts.netloc or parts.query or parts.fragment or value.endswith(("/", "?", "#")):
            raise ValueError("a user, a query or a last slash is no part of it")
        is_plain = value.isascii() and value.isprintable() and not set(value) & set(' "\\<>^`{|}')
        if not parts.hostname or port == 0 or not is_plain:
            raise ValueError("not an address")
        return value

    return Kind(allowed, parse, literal=False)


HTTP, WEBSOCKET = _address("http", "https"), _address("ws", "wss")
OPTIONAL_HTTP = Kind(f'{HTTP.allowed}, or ""', lambda value: value if value == "" else HTTP.parse(value), literal=False)


def _endpoint(kind: Kind, doc: str) -> Any:
    """A field for an address; its value is of a net, so there is no default here."""
    return field(metadata={"kind": kind, "doc": doc})


@dataclass(frozen=True)
class BinanceSpot:
    """Binance spot on one net."""

    rest: str = _endpoint(HTTP, "Requests; paths such as /api/v3/exchangeInfo follow.")
    market_streams: str = _endpoint(WEBSOCKET, "Public market data; /ws or /stream follows.")
    websocket_api: str = _endpoint(WEBSOCKET, "Orders, queries and the account's own events.")


@dataclass(frozen=True)
class BinanceUsdm:
    """Binance USD-M futures on one net; since April 2026 each stream is served on one of three routes alone."""

    rest: str = _endpoint(HTTP, "Requests; paths such as /fapi/v1/exchangeInfo follow.")
    public_streams: str = _endpoint(WEBSOCKET, "Books, best prices and trades; /ws or /stream follows.")
    market_streams: str = _endpoint(WEBSOCKET, "Aggregated trades, mark prices, statistics, liquidations.")
    private_streams: str = _endpoint(WEBSOCKET, "The account's own events.")
    websocket_api: str = _endpoint(WEBSOCKET, "Orders and queries.")


@dataclass(frozen=True)
class Bybit:
    """Bybit v5 on one net; a connection for public data is of one category alone."""

    rest: str = _endpoint(HTTP, "Requests; paths such as /v5/market/instruments-info follow.")
    spot_streams: str = _endpoint(WEBSOCKET, "Public market data of spot.")
    linear_streams: str = _endpoint(WEBSOCKET, "Public market data of linear contracts.")
    private_streams: str = _endpoint(WEBSOCKET, "The account's own events.")
    websocket_api: str = _endpoint(WEBSOCKET, "Orders.")


@dataclass(frozen=True)
class Nets(Generic[_E]):
    """The nets of a venue: ``main`` trades with money, ``test`` with none; ``demo``: the markets of main without its money."""

    main: _E
    test: _E
    demo: _E | None = None

    def of(self, net: str) -> _E:
        """The addresses of one net.

        Raises:
            ConfigError: there is no net of this name.
        """
        found: _E | None = getattr(self, net, None) if net in NETS else None
        if found is None:
            having = [name for name in NETS if getattr(self, name) is not None]
            raise ConfigError(f"net = {net!r}: no such net; allowed: {', '.join(having)}")
        return found


NETS = tuple(one.name for one in dataclasses.fields(Nets))
BINANCE_SPOT = Nets(
    main=BinanceSpot(
        rest="https://api.binance.com",
        market_streams="wss://stream.binance.com:9443",
        websocket_api="wss://ws-api.binance.com:443/ws-api/v3",
    ),
    test=BinanceSpot(
        rest="https://testnet.binance.vision",
        market_streams="wss://stream.testnet.binance.vision",
        websocket_api="wss://ws-api.testnet.binance.vision/ws-api/v3",
    ),
)
BINANCE_USDM = Nets(
    main=BinanceUsdm(
        rest="https://fapi.binance.com",
        public_streams="wss://fstream.binance.com/public",
        market_streams="wss://fstream.binance.com/market",
        private_streams="wss://fstream.binance.com/private",
        websocket_api="wss://ws-fapi.binance.com/ws-fapi/v1",
    ),
    test=BinanceUsdm(
        rest="https://demo-fapi.binance.com",
        public_streams="wss://demo-fstream.binance.com/public",
        market_streams="wss://demo-fstream.binance.com/market",
        private_streams="wss://demo-fstream.binance.com/private",
        websocket_api="wss://testnet.binancefuture.com/ws-fapi/v1",
    ),
)
BYBIT = Nets(
    main=Bybit(
        rest="https://api.bybit.com",
        spot_streams="wss://stream.bybit.com/v5/public/spot",
        linear_streams="wss://stream.bybit.com/v5/public/linear",
        private_streams="wss://stream.bybit.com/v5/private",
        websocket_api="wss://stream.bybit.com/v5/trade",
    ),
    test=Bybit(
        rest="https://api-testnet.bybit.com",
        spot_streams="wss://stream-testnet.bybit.com/v5/public/spot",
        linear_streams="wss://stream-testnet.bybit.com/v5/public/linear",
        private_streams="wss://stream-testnet.bybit.com/v5/private",
        websocket_api="wss://stream-testnet.bybit.com/v5/trade",
    ),
    # Public data is that of the main net; orders go by REST alone.
    demo=Bybit(
        rest="https://api-demo.bybit.com",
        spot_streams="wss://stream.bybit.com/v5/public/spot",
        linear_streams="wss://stream.bybit.com/v5/public/linear",
        private_streams="wss://stream-demo.bybit.com/v5/private",
        websocket_api="wss://stream-demo.bybit.com/v5/trade",
    ),
)


@dataclass(frozen=True)
class Network:
    """The addresses of all venues: venue, net, kind of address."""

    binance_spot: Nets[BinanceSpot] = BINANCE_SPOT
    binance_usdm: Nets[BinanceUsdm] = BINANCE_USDM
    bybit: Nets[Bybit] = BYBIT


#: The venues, and what kinds of addresses each has.
ENDPOINTS: dict[str, type] = {"binance_spot": BinanceSpot, "binance_usdm": BinanceUsdm, "bybit": Bybit}


def endpoint_kinds(venue: str, net: str) -> dict[str, dataclasses.Field[Any]]:
    """The addresses that a net of a venue has, by name; none where there is no such venue or net."""
    return keys_of(ENDPOINTS[venue]) if net in nets_of(venue) else {}


def nets_of(venue: str) -> tuple[str, ...]:
    """The nets that a venue has; none where there is no such venue."""
    if venue not in ENDPOINTS:
        return ()
    return tuple(net for net in NETS if getattr(getattr(Network, venue), net) is not None)


def network_of(given: Mapping[str, Mapping[str, Mapping[str, str] | None]]) -> Network:
    """The network with the addresses that are given (venue, net, kind) over the built-in ones; what is given is checked before. A net that
    a venue has not is None.

    Raises:
        TypeError: a venue, net or kind that there is not.
    """
    venues: dict[str, Any] = {}
    for venue, given_nets in given.items():
        nets = {net: own for net, own in given_nets.items() if own is not None}
        if venue not in ENDPOINTS:
            raise TypeError(f"no such venue: {venue}")
        built_in = getattr(Network, venue)
        laid = {
            net: dataclasses.replace(getattr(built_in, net), **own)
            for net, own in nets.items()
            if net in nets_of(venue)
        }
        if len(laid) != len(nets):
            raise TypeError(f"no such net of {venue}: {', '.join(sorted(set(nets) - set(laid)))}")
        venues[venue] = dataclasses.replace(built_in, **laid)
    return Network(**venues)


def network_toml() -> str:
    """The text of configs/network.toml: every address, what it is for, what is allowed, and the built-in one."""
    lines = [
        "# Where venues are reached; hftpipe uses the same addresses without this file.",
        "# Later files, then HFTPIPE_NETWORK__VENUE__NET__KIND in the environment, then the command line override it.",
        "# Keys and passwords are no part of an address: they go in HFTPIPE_SECRET_<NAME>, never in a file.",
    ]
    for venue in ENDPOINTS:
        for net in nets_of(venue):
            lines += ["", f"[network.{venue}.{net}]"]
            for name, one in endpoint_kinds(venue, net).items():
                address = getattr(getattr(getattr(Network, venue), net), name)
                lines += [f"# {one.metadata['doc']}", f"#   Allowed: {one.metadata['kind'].allowed}."]
                lines += [f"{name} = {json.dumps(address)}"]
    return "\n".join(lines) + "\n"
