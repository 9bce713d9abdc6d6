"""Sections of the configuration that each venue can have settings of its own in: its market, its simulated exchange, its lines."""

from dataclasses import dataclass

from hftpipe.config.fields import key
from hftpipe.config.kinds import (
    ADDRESS,
    ASSET,
    BOOLEAN,
    GROUP,
    INT64_MAX,
    LATENCY,
    LINE_PORT,
    PATTERNS,
    PORT,
    SERVER,
    SHARE,
    SPEED,
    amount,
    between,
    choice,
    integer,
    real,
    text,
    to_e8,
)
from hftpipe.config.network import OPTIONAL_HTTP
from hftpipe.core.schema.instruments import MAX_INSTRUMENTS


@dataclass(frozen=True)
class Market:
    """Where market data comes from and how fast."""

    source: str = key("synthetic", choice("synthetic", "replay"), "Generated flow or a recording.")
    replay: str = key(
        "",
        text(r"[\s\S]*", "a readable path"),
        "Path of the recording, needed when source is replay; in the environment or on the command line it implies that.",
    )
    speed: str = key("1", SPEED, "Playing speed as a multiple of recorded time.")
    window_records: int = key(
        1024,
        integer(16, 1_000_000, "records"),
        "How far a full-speed source may run ahead of its slowest reader.",
    )
    timer_ms: int = key(10, integer(1, 10_000, "milliseconds"), "Period of the strategy's timer.")
    book_levels: int = key(
        16384,
        integer(64, 1_000_000, "levels"),
        "Price levels kept per side of a book; about as many ticks around the touch are found without a search.",
    )
    seed: int = key(1, integer(0, INT64_MAX), "Seed of the synthetic flow.")
    event_rate_per_s: float = key(
        2000.0,
        real(0, 1e7, above=True, allowed="a number of events per second above 0 and up to 1e7"),
        "Rate of the synthetic flow at speed 1.",
    )
    total_rate_per_s: float = key(
        0.0,
        real(0, 1e8, above=False, allowed="a number of events per second from 0 to 1e8"),
        "Rate of all instruments of the synthetic market together, shared out by their volume_24h; 0 = each has event_rate_per_s.",
    )
    listed: int = key(
        5000, integer(1, MAX_INSTRUMENTS), "How many symbols the synthetic market lists, for [[universe]]."
    )
    spread_bps: float = key(
        12.0,
        real(0, 100, above=True, allowed="a number of basis points above 0 and up to 100"),
        "Typical spread of the synthetic market (docs/demo-market.md).",
    )
    uninformed_share: float = key(
        0.85,
        SHARE,
        "Share of the synthetic market's takers that know nothing of where the price goes; the others have news.",
    )
    fair_seed: int = key(
        0,
        integer(0, INT64_MAX),
        "Synthetic markets of one such seed have one fair value in common; 0 = this one has its own, from seed.",
    )
    fair_lag_ms: int = key(
        0,
        integer(0, 10_000, "milliseconds"),
        "How much later than others of its fair_seed this market follows the fair value.",
    )
    fair_basis_bps: float = key(
        0.0,
        between(-100, 100, "basis points"),
        "How far above reference_price the fair value stands.",
    )
    fair_news_bps: float = key(
        10.0,
        between(0, 100, "basis points"),
        "Mean worth of the news that moves a fair value in common; the same in all markets of a fair_seed.",
    )
    fair_news_per_s: float = key(
        1.0,
        between(0, 100, "news a second"),
        "How often there is such news; the same in all markets of a fair_seed.",
    )
    fair_news_ms: int = key(
        100,
        integer(1, 10_000, "milliseconds"),
        "How long until two thirds of such news are in the fair value; the same in all markets of a fair_seed.",
    )

    @property
    def speed_e8(self) -> int:
        """Speed in units of 1e-8; 0 means as fast as possible."""
        return 0 if self.speed == "max" else to_e8(self.speed)


@dataclass(frozen=True)
class Sim:
    """The simulated exchange."""

    queue_model: str = key("risk_averse", choice("risk_averse", "power"), "How cancels ahead move a resting order up.")
    power_n: float = key(
        2.0,
        real(0, 10, above=True, allowed="a number above 0 and up to 10"),
        "Exponent of the power queue model.",
    )
    latency_new_us: int = key(500, LATENCY, "New order to the exchange, in microseconds.")
    latency_cancel_us: int = key(500, LATENCY, "Cancel to the exchange, in microseconds.")
    latency_report_us: int = key(500, LATENCY, "Report from the exchange, in microseconds.")
    fee_asset: str = key("", ASSET, 'Asset that fees are paid in, such as BNB; "" = the quote currency.')
    fee_asset_price: int = key("0", amount(0, "a decimal number, 0 or more,"), "Its price, in quote currency.")


@dataclass(frozen=True)
class Live:
    """Live market data, and live orders, over the venue's own WebSocket and REST interfaces (binance_usdm, binance_spot, bybit_linear, bybit_spot)."""

    net: str = key(
        "main",
        choice("main", "test", "demo"),
        "Which of the venue's nets (demo: Bybit has one); their addresses stand in network.toml.",
    )
    simulated: bool = key(
        False,
        BOOLEAN,
        "Run a simulated venue beside the pipeline, on a free port: no network is needed (hftpipe[sim]).",
    )
    server: str = key(
        "",
        OPTIONAL_HTTP,
        'Where all of the venue\'s interfaces are instead, as of `hftpipe sim-exchange --protocol binance` or `bybit`; "" = those of the net.',
    )
    ca_file: str = key(
        "", text(r"[\s\S]*", "a path"), "Certificates (PEM) to trust instead of the system's, as of a simulated venue."
    )
    instance: str = key(
        "a",
        text(r"[A-Za-z0-9-]{1,12}", "1 to 12 of A-Z, a-z, 0-9 and -"),
        "Live orders: part of every client order id; each engine on one account needs its own.",
    )
    order_entry: str = key(
        "websocket",
        choice("websocket", "rest"),
        "Live orders: how they are sent. What becomes of them is told over WebSocket either way.",
    )
    rest_connections: int = key(
        8,
        integer(2, 16),
        "Live orders by rest: connections that are kept open, a request at a time on each; one is kept for cancels.",
    )
    answer_timeout_s: float = key(
        1.0,
        between(0.1, 60, "seconds"),
        "Live orders: nothing is known of a request without an answer for so long, and the venue is asked.",
    )
    login_timeout_s: float = key(
        10.0,
        between(0.1, 600, "seconds"),
        "Live orders: without a session for this long trading is halted; the run ends if there never was one.",
    )
    dead_man_s: float = key(
        10.0,
        between(0, 600, "seconds"),
        "Live orders: the venue cancels them when nothing is heard of us for so long, where it can; 0 = do not ask.",
    )
    reconcile_s: float = key(
        30.0,
        real(0, 3600, above=False, allowed="a number of seconds in 0..3600"),
        "Live orders: so often, and before the first one, orders, executions and holdings are compared with the venue's; 0 = never.",
    )
    external_orders: str = key(
        "leave",
        choice("leave", "cancel"),
        "Live orders: what becomes of open orders of others in the instruments of the run, when they are found.",
    )
    connections: int = key(1, integer(1, 64), "Connections that the instruments are shared out over.")
    trades: str = key(
        "trade",
        choice("trade", "aggTrade"),
        "Binance: single trades (of USD-M not documented), or what one order took at one price as one trade.",
    )
    tickers: tuple[str, ...] = key(
        [],
        PATTERNS,
        "Instruments whose last price, 24 h volume, mark and index price, funding and open interest are followed for people to see.",
    )
    silence_s: float = key(
        60.0,
        between(1, 3600, "seconds"),
        "A connection on which nothing has come for so long is opened again.",
    )
    book_check_s: float = key(
        10.0,
        real(0, 86_400, above=False, allowed="a number of seconds in 0..86400"),
        "So often a book, one after the other, is compared with the venue's own by REST; 0 = never.",
    )
    listing_check_s: float = key(
        600.0,
        real(0, 86_400, above=False, allowed="a number of seconds in 0..86400"),
        "So often the venue is asked for the rules of the instruments; one whose rules change, or that is delisted, is halted; 0 = never.",
    )


@dataclass(frozen=True)
class Udp:
    """The multicast venue: ITCH 5.0 over MoldUDP64 in, OUCH 5.0 out (pipeline.venue = "udp")."""

    embedded: bool = key(True, BOOLEAN, "Run the simulated exchange beside the pipeline, on free ports.")
    group_a: str = key("239.192.0.1", GROUP, "Multicast group of line A.")
    port_a: int = key(26477, LINE_PORT, "UDP port of line A (embedded: a free one if an exchange speaks there).")
    group_b: str = key("239.192.0.2", GROUP, "Multicast group of line B.")
    port_b: int = key(26478, LINE_PORT, "UDP port of line B (embedded: a free one if an exchange speaks there).")
    interface: str = key("127.0.0.1", ADDRESS, "Address of the interface to join the lines on.")
    request_address: str = key("127.0.0.1", SERVER, "Server for re-requests.")
    request_port: int = key(0, PORT, "Port for re-requests; 0 = none (embedded: a free one).")
    order_address: str = key("127.0.0.1", SERVER, "Server for orders.")
    order_port: int = key(0, PORT, "Port for orders; needed unless embedded.")
    transport: str = key("udp", choice("udp", "tcp"), "Orders in datagrams, or over SoupBinTCP.")
    user: str = key("HFTPIP", text(r"[A-Za-z0-9]{1,6}", "1 to 6 ASCII letters and digits"), "Account at the venue.")
    cancel_after_ms: int = key(
        700,
        integer(0, 60_000, "milliseconds"),
        "Ask at log-in that all orders are cancelled after this silence or a lost connection; 0 = do not ask.",
    )
    login_timeout_s: float = key(
        5.0,
        between(0.1, 600, "seconds"),
        "Without an order session for this long trading is halted; the run ends if there never was one, or it is refused.",
    )
    receive: str = key(
        "auto",
        choice("auto", "packet_ring", "socket"),
        "How the lines are read; auto = packet ring with CAP_NET_RAW and no LD_PRELOAD (datagrams up to 1.9 kB), else socket.",
    )
    kernel_stamps: bool = key(False, BOOLEAN, "Measure how long datagrams lie in the kernel (SO_TIMESTAMPNS).")
    busy_poll_us: int = key(0, integer(0, 1_000_000, "microseconds"), "SO_BUSY_POLL of the lines; 0 = left alone.")
    loss_a: float = key(0.0, SHARE, "Embedded exchange: share of line A's datagrams that are lost.")
    loss_b: float = key(0.0, SHARE, "Embedded exchange: share of line B's datagrams that are lost.")
    truth_file: str = key(
        "",
        text(r"[\s\S]*", "a path"),
        'Embedded exchange: file it keeps with every account\'s resting orders and executions; "" = none.',
    )
