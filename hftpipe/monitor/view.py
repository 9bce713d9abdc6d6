"""The live terminal view: what ``hftpipe run`` shows and ``hftpipe top`` attaches to."""

from rich.console import Group
from rich.panel import Panel
from rich.table import Table
from rich.text import Text

from hftpipe.core.cell import HALT_CAUSES, STOPPING
from hftpipe.core.fixed import format_fixed
from hftpipe.monitor.metrics import Snapshot, drops, totals

_RATES = ("events", "book_updates", "intents", "orders", "fills", "cancels")


class View:
    """Turns snapshots into screens; keeps the last one for rates."""

    def __init__(self, title: str) -> None:
        self._title, self._last = title, None

    def render(self, look: Snapshot) -> Group:
        """One screen."""
        parts = [
            self._header(look),
            self._rates(look),
            self._instruments(look),
            self._latency(look),
            self._stages(look),
        ]
        self._last = look
        return Group(*parts)

    def _header(self, look: Snapshot) -> Panel:
        if look.halted == HALT_CAUSES[STOPPING]:
            return Panel(Text("stopping: open orders are being cancelled", style="yellow"), title=self._title)
        if look.halted:
            return Panel(Text(f"HALTED: {look.halted}", style="bold white on red"), title=self._title)
        return Panel(Text("trading (paper)", style="green"), title=self._title)

    def _rates(self, look: Snapshot) -> Table:
        now, last = totals(look), totals(self._last) if self._last else None
        seconds = (look.tsc - self._last.tsc) * look.ns_per_tick / 1e9 if self._last else 0.0
        table = Table(box=None, pad_edge=False, expand=False)
        table.add_column("")
        for name in _RATES:
            table.add_column(name.replace("_", " "), justify="right")
        table.add_column("conflations", justify="right")
        table.add_column("drops", justify="right")
        table.add_row(
            "total", *(f"{now[n]:,}" for n in _RATES), f"{now['conflations']:,}", f"{sum(drops(look).values()):,}"
        )
        if last and seconds > 0:
            table.add_row("per s", *(f"{(now[n] - last[n]) / seconds:,.0f}" for n in _RATES), "", "")
        rejects = ", ".join(f"{name} {count:,}" for name, count in look.rejects.items()) or "none"
        odd = ", ".join(f"{name} {count:,}" for name, count in now["faults"].items()) or "none"
        table.caption, table.caption_justify = f"rejects: {rejects}\nfaults: {odd}", "left"
        return table

    def _instruments(self, look: Snapshot) -> Table:
        table = Table(box=None, pad_edge=False)
        for name in (
            "symbol",
            "book",
            "bid qty",
            "bid",
            "ask",
            "ask qty",
            "position",
            "avg",
            "realised",
            "unreal.",
            "fees",
        ):
            table.add_column(name, justify="left" if name in ("symbol", "book") else "right")
        for v in look.instruments:
            style = "green" if v.state == "VALID" else "red"
            numbers = (v.bid_qty, v.bid, v.ask, v.ask_qty, v.qty, v.average)
            money = (v.realised, v.unrealised, v.fees)
            table.add_row(
                v.symbol, Text(v.state, style=style), *map(format_fixed, numbers), *(f"{m / 1e8:,.4f}" for m in money)
            )  # fmt: skip
        return table

    def _latency(self, look: Snapshot) -> Table:
        table = Table(box=None, pad_edge=False)
        table.add_column("latency (us)")
        for name in ("p50", "p99", "p99.9", "max", "count"):
            table.add_column(name, justify="right")
        for hop, s in look.latency.items():
            values = (s.p50, s.p99, s.p99_9, s.max)
            table.add_row(hop, *(f"{value / 1000:,.3f}" for value in values), f"{s.count:,}")
        return table

    def _stages(self, look: Snapshot) -> Table:
        table = Table(box=None, pad_edge=False)
        for name in ("stage", "pid", "cpu", "work", "beat ms", "ring", "unread", "capacity"):
            table.add_column(name, justify="left" if name in ("stage", "ring") else "right")
        rings = list(look.rings.items())
        stages = list(look.status.items())
        for index in range(max(len(rings), len(stages))):
            stage, row = stages[index] if index < len(stages) else ("", None)
            ring, facts = rings[index] if index < len(rings) else ("", None)
            left = (
                (f"{row['pid']:.0f}", f"{row['cpu']:.0f}", f"{row['work']:,.0f}", f"{row['age_ns'] / 1e6:.1f}")
                if row
                else ("",) * 4
            )
            right = (f"{facts['depth']:,}", f"{facts['capacity']:,}") if facts else ("", "")
            table.add_row(stage, *left, ring, *right)
        return table
