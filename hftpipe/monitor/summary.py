"""The summary at the end of a run: one dictionary, written as JSON and as text for people."""

import io
from dataclasses import asdict
from decimal import Decimal
from typing import Any

import numpy as np
from rich.console import Console, Group

from hftpipe.core.schema.cells import HALT_CAUSES, STOPPING
from hftpipe.core.schema.halts import breaker_state
from hftpipe.core.schema.histogram import Summary
from hftpipe.monitor.instruments import InstrumentView
from hftpipe.monitor.metrics import Snapshot, totals
from hftpipe.monitor.sections import blocks
from hftpipe.monitor.strategies import StrategyView

#: Columns of a summary that is not for a terminal.
PLAIN_WIDTH = 160
_E8 = Decimal(10) ** 8


def _money(value: int) -> float:
    return float(Decimal(value) / _E8)


def _positions(look: Snapshot) -> dict[str, float]:
    return {symbol: _money(qty) for symbol, qty in look.instruments.held.items()}


def _latency(hop: Summary) -> dict[str, float | int]:
    rounded = {key: round(value, 1) for key, value in hop.as_dict().items()}
    return rounded | {"count": hop.count, "negative": hop.negative}


def _parts(sums: dict[str, int]) -> dict[str, float]:
    """Net profit and its parts: net = captured + inventory - fees, fees = maker + taker."""
    captured, inventory, fees, taker = (sums[name] for name in ("captured", "inventory", "fees", "taker_fees"))
    parts = {
        "net": captured + inventory - fees, "captured": captured, "inventory": inventory, "fees": fees,
        "maker_fees": fees - taker, "taker_fees": taker,
    }  # fmt: skip
    return {name: _money(value) for name, value in parts.items()}


def _amounts(by_asset: dict[str, int]) -> dict[str, float]:
    return {asset: _money(amount) for asset, amount in by_asset.items()}


def _earned(sums: dict[str, dict[str, int]]) -> dict[str, Any]:
    """Profit and volume by quote currency; ``pnl``, ``pnl_parts`` and ``volume`` where there is one, for currencies do not add up."""
    by_quote = {
        quote: {
            "pnl": {name: _money(one[name]) for name in ("realised", "unrealised", "fees")},
            "pnl_parts": _parts(one),
            "volume": _money(one["turnover"]),
        }
        for quote, one in sums.items()
    }
    only = next(iter(by_quote.values())) if len(by_quote) == 1 else dict.fromkeys(("pnl", "pnl_parts", "volume"))
    return {**only, "by_quote": by_quote}


def _instrument(view: InstrumentView) -> dict[str, float | int | str]:
    values = {
        "position": view.qty, "average": view.average, "mid": view.mid, "exposure": view.qty * view.mid // 10**8,
        "working_buy": view.working_buy, "working_sell": view.working_sell, "realised": view.realised,
        "unrealised": view.unrealised, "fees": view.fees, "net": view.realised + view.unrealised - view.fees,
        "captured": view.captured, "inventory": view.inventory, "turnover": view.turnover,
    }  # fmt: skip
    figures = {name: _money(value) for name, value in values.items()}
    return {**figures, "fills": view.fills, "state": view.state, "pack": view.pack}


def summarise(look: Snapshot, facts: dict[str, Any]) -> dict[str, Any]:
    """Build the summary.

    Args:
        look: the last snapshot.
        facts: what the supervisor knows: ``reason exit_code startup_s pss_mb context_switches run_s ...``.

    Returns:
        The documented keys. ``position`` is a number when there is one instrument, else a table by symbol; latencies
        are ns, money and quantities decimal numbers; of several quote currencies ``by_quote`` has each, and ``pnl``, ``pnl_parts``
        and ``volume`` are None. ``rejects`` are without ``races`` (core/schema/reasons.py). Of many
        instruments ``instruments`` has the most active, and ``instruments_more`` says how many more there are;
        ``positions`` has all that are held.
    """
    positions = _positions(look)
    views = look.instruments.shown
    fills, taker_fills = (sum(one[name] for one in look.instruments.sums.values()) for name in ("fills", "taker_fills"))
    return {
        **(counts := totals(look)),
        "faults": counts["faults"] | dict.fromkeys(facts.get("stage_faults", ()), 1),
        "position": next(iter(positions.values())) if len(positions) == 1 else positions,
        "positions": positions,
        **_earned(look.instruments.sums),
        "fees_by_asset": _amounts(look.fees),
        "net_by_base": {base: _money(qty) for base, (qty, _) in look.instruments.net.items()},
        "bases_held_apart": [base for base, (_, count) in look.instruments.net.items() if count > 1],
        "maker_fills": fills - taker_fills,
        "taker_fills": taker_fills,
        "instruments": {view.symbol: _instrument(view) for view in views},
        "instruments_more": look.instruments.more,
        "tickers": {one.symbol: asdict(one) for one in look.tickers},
        "books_not_valid": look.instruments.not_valid,
        "latency_ns": {hop: _latency(values) for hop, values in look.latency.items()},
        "clock": {"skew_ns": round(look.skew_ns, 1), "skew_bound_ns": round(look.skew_bound_ns, 1)},
        # That it stops at its end is no news.
        "halted": None if look.halted == HALT_CAUSES[STOPPING] else look.halted,
        "halted_scopes": look.halted_scopes,
        "breaker": breaker_state(look.halted not in (None, HALT_CAUSES[STOPPING]), look.halted_scopes),
        "limit_groups": {name: _group(one) for name, one in look.groups.items()},
        "strategies": {name: _strategy(one) for name, one in look.strategies.items()},
        "counters": look.counters,
        "rings": look.rings,
        **facts,
    }


def _strategy(one: StrategyView) -> dict[str, Any]:
    return {
        **one.counters,
        "positions": {symbol: _money(qty) for symbol, qty in one.held.items()},
        **_earned(one.sums),
        "fees_by_asset": _amounts(one.fees),
        "fault": one.fault,
    }


def _group(one: dict[str, int]) -> dict[str, float | None]:
    """What a limit group holds net, what may still fill, and its limit (None: only its orders are limited)."""
    shown: dict[str, float | None] = {"net": _money(one["qty"])}
    shown |= {name: _money(one[name]) for name in ("working_buy", "working_sell")}
    return shown | {"max_net": None if one["max_net"] == np.iinfo(np.int64).max else _money(one["max_net"])}


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
