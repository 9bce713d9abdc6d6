"""The summary at the end of a run: one dictionary, written as JSON and as text for people."""

import io
from decimal import Decimal
from typing import Any

from rich.console import Console, Group

from hftpipe.core.schema.cells import HALT_CAUSES, STOPPING
from hftpipe.core.schema.histogram import Summary
from hftpipe.monitor.metrics import InstrumentView, Snapshot, totals
from hftpipe.monitor.sections import blocks

#: Columns of a summary that is not for a terminal.
PLAIN_WIDTH = 160
_E8 = Decimal(10) ** 8


def _money(value: int) -> float:
    return float(Decimal(value) / _E8)


def _positions(look: Snapshot) -> dict[str, float]:
    return {view.symbol: _money(view.qty) for view in look.instruments}


def _latency(hop: Summary) -> dict[str, float | int]:
    rounded = {key: round(value, 1) for key, value in hop.as_dict().items()}
    return rounded | {"count": hop.count, "negative": hop.negative}


def _parts(views: list[InstrumentView]) -> dict[str, float]:
    """Net profit and its parts: net = captured + inventory - fees, fees = maker + taker."""
    captured, inventory = sum(v.captured for v in views), sum(v.inventory for v in views)
    fees, taker = sum(v.fees for v in views), sum(v.taker_fees for v in views)
    parts = {
        "net": captured + inventory - fees, "captured": captured, "inventory": inventory, "fees": fees,
        "maker_fees": fees - taker, "taker_fees": taker,
    }  # fmt: skip
    return {name: _money(value) for name, value in parts.items()}


def _instrument(view: InstrumentView) -> dict[str, float | int | str]:
    values = {
        "position": view.qty, "average": view.average, "mid": view.mid, "exposure": view.qty * view.mid // 10**8,
        "working_buy": view.working_buy, "working_sell": view.working_sell, "realised": view.realised,
        "unrealised": view.unrealised, "fees": view.fees, "net": view.realised + view.unrealised - view.fees,
        "captured": view.captured, "inventory": view.inventory, "turnover": view.turnover,
    }  # fmt: skip
    return {name: _money(value) for name, value in values.items()} | {"fills": view.fills, "state": view.state}


def summarise(look: Snapshot, facts: dict[str, Any]) -> dict[str, Any]:
    """Build the summary.

    Args:
        look: the last snapshot.
        facts: what the supervisor knows: ``reason exit_code startup_s pss_mb context_switches run_s ...``.

    Returns:
        The documented keys. ``position`` is a number when there is one instrument, else a table by symbol; latencies
        are ns, money and quantities decimal numbers. ``rejects`` are without ``races`` (core/schema/reasons.py).
    """
    positions = _positions(look)
    views = look.instruments
    return {
        **(counts := totals(look)),
        "faults": counts["faults"] | dict.fromkeys(facts.get("stage_faults", ()), 1),
        "position": next(iter(positions.values())) if len(positions) == 1 else positions,
        "positions": positions,
        "pnl": {
            "realised": _money(sum(v.realised for v in views)),
            "unrealised": _money(sum(v.unrealised for v in views)),
            "fees": _money(sum(v.fees for v in views)),
        },
        "pnl_parts": _parts(views),
        "volume": _money(sum(v.turnover for v in views)),
        "maker_fills": sum(v.fills - v.taker_fills for v in views),
        "taker_fills": sum(v.taker_fills for v in views),
        "instruments": {view.symbol: _instrument(view) for view in views},
        "latency_ns": {hop: _latency(values) for hop, values in look.latency.items()},
        "clock": {"skew_ns": round(look.skew_ns, 1), "skew_bound_ns": round(look.skew_bound_ns, 1)},
        # That it stops at its end is no news.
        "halted": None if look.halted == HALT_CAUSES[STOPPING] else look.halted,
        "strategy_fault": look.strategy_fault,
        "counters": look.counters,
        "rings": look.rings,
        **facts,
    }


def render(summary: dict[str, Any], width: int = 0) -> str:
    """The summary for people.

    Args:
        width: columns of the terminal it is for, with colours; 0: plain text for a file or a pipe, without control
            characters and lines as long as they are.
    """
    out = io.StringIO()
    console = Console(
        file=out, width=width or PLAIN_WIDTH, force_terminal=bool(width), color_system="standard" if width else None,
        highlight=False, markup=False, emoji=False, soft_wrap=not width,
    )  # fmt: skip
    console.print(Group(*blocks(summary)))
    return "\n".join(row.rstrip() for row in out.getvalue().rstrip().split("\n"))
