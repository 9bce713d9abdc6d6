"""The live terminal view: what ``hftpipe run`` shows and ``hftpipe top`` attaches to.

It is the summary while it is being made: the same sections, with the top of book, rates and the stages' beat added.
"""

from rich.console import Group, RenderableType
from rich.panel import Panel
from rich.table import Table
from rich.text import Text

from hftpipe.core.schema.cells import HALT_CAUSES, STOPPING
from hftpipe.core.schema.halts import REDUCE
from hftpipe.monitor.figures import plain, price
from hftpipe.monitor.instruments import InstrumentView
from hftpipe.monitor.metrics import Snapshot, totals
from hftpipe.monitor.sections import (
    Section,
    blocks,
    columns,
    data,
    faults,
    latency,
    notices,
    positions,
    profit,
    strategies,
    trading,
)
from hftpipe.monitor.summary import summarise
from hftpipe.monitor.tickers import table_of

_RATES = {"events": "events", "book_updates": "book updates", "intents": "requests", "orders": "orders",
          "fills": "fills", "cancels": "cancels"}  # fmt: skip
_SECTIONS: tuple[tuple[Section, ...], ...] = (
    (profit,),
    (strategies,),
    (positions,),
    (trading, faults, notices, data),
    (latency,),
)
_ONE = 10**8


class View:
    """Turns snapshots into screens; keeps the last one for rates."""

    def __init__(self, title: str, orders_to: str) -> None:
        self._title, self._orders_to = title, orders_to
        self._last: Snapshot | None = None

    def render(self, look: Snapshot) -> Group:
        """One screen."""
        tickers: list[RenderableType] = [Text(), table_of(look.tickers)] if look.tickers else []
        shown: list[RenderableType] = [
            self._header(look),
            _books(look),
            *tickers,
            Text(),
            *blocks(summarise(look, {}), _SECTIONS),
        ]
        shown += [Text(), self._rates(look), Text(), _stages(look)]
        self._last = look
        return Group(*shown)

    def _header(self, look: Snapshot) -> Panel:
        if look.halted == HALT_CAUSES[STOPPING]:
            return Panel(Text("stopping: open orders are being cancelled", style="yellow"), title=self._title)
        if look.halted:
            text = f"HALTED: {look.halted.replace('_', ' ')}"
            return Panel(Text(text, style="bold white on red"), title=self._title, border_style="red")
        if look.halted_scopes:
            parts = [
                f"{scope.replace('.', ' ', 1)}: {cause.replace('_', ' ')}"
                for scope, cause in look.halted_scopes.items()
            ]
            text = f"HALTED: {', '.join(parts)}; the rest trades, {self._orders_to}"
            if REDUCE in look.halted_scopes:
                text = f"REDUCING: only orders that make a position smaller pass ({', '.join(parts)})"
            return Panel(Text(text, style="bold yellow"), title=self._title, border_style="yellow")
        return Panel(Text(f"trading, {self._orders_to}", style="green"), title=self._title)

    def _rates(self, look: Snapshot) -> RenderableType:
        """How much a second, since the last screen."""
        now, last = totals(look), totals(self._last) if self._last else None
        seconds = (look.tsc - self._last.tsc) * look.ns_per_tick / 1e9 if self._last else 0.0
        table = columns("a second", *_RATES.values())
        if last and seconds > 0:
            table.add_row("", *(f"{(now[name] - last[name]) / seconds:,.0f}" for name in _RATES))
        else:
            table.add_row("", *("-" for _ in _RATES))
        return table


def _spread(view: InstrumentView) -> str:
    return f"{10_000 * (view.ask - view.bid) / view.mid:.2f}" if view.bid and view.ask else "-"


def _books(look: Snapshot) -> Table:
    """The top of each book; a book that is not VALID is not traded on."""
    table = columns("", "book", "bid size", "bid", "ask", "ask size", "spread bps", left=2)
    for view in look.instruments.shown:
        state = Text(view.state, style="green" if view.state == "VALID" else "bold red")
        bid, ask = (price(value / _ONE) for value in (view.bid, view.ask))
        sizes = (plain(view.bid_qty / _ONE), plain(view.ask_qty / _ONE))
        table.add_row(view.symbol, state, sizes[0], bid, ask, sizes[1], _spread(view))
    return table


def _stages(look: Snapshot) -> Table:
    """Whether every stage moves, and how much is waiting for it."""
    graph = look.graph
    unread = {ring: facts["depth"] for ring, facts in look.rings.items()}
    table = columns("stage", "pid", "CPU", "records", "beat, ms ago", "waiting")
    for stage, row in look.status.items():
        rings = ", ".join(f"{spec.name} {unread[spec.name]:,}" for spec in graph.rings if spec.reader == stage)
        table.add_row(
            stage.replace("_", " "), f"{row['pid']:.0f}", f"{row['cpu']:.0f}", f"{row['work']:,.0f}",
            f"{row['age_ns'] / 1e6:,.1f}", rings or "-",
        )  # fmt: skip
    return table
