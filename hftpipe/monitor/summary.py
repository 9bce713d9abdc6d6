"""The summary at the end of a run: one dictionary, written as JSON and as text for people."""

from decimal import Decimal
from typing import Any

from hftpipe.core.cell import HALT_CAUSES, STOPPING
from hftpipe.core.hist import Summary
from hftpipe.monitor.metrics import Snapshot, totals
from hftpipe.strategy.faults import describe_fault

_E8 = Decimal(10) ** 8


def _money(value: int) -> float:
    return float(Decimal(value) / _E8)


def _positions(look: Snapshot) -> dict[str, float]:
    return {view.symbol: _money(view.qty) for view in look.instruments}


def _latency(hop: Summary) -> dict[str, float | int]:
    rounded = {key: round(value, 1) for key, value in hop.as_dict().items()}
    return rounded | {"count": hop.count, "negative": hop.negative}


def summarise(look: Snapshot, facts: dict[str, Any]) -> dict[str, Any]:
    """Build the summary.

    Args:
        look: the last snapshot.
        facts: what the supervisor knows: ``reason exit_code startup_s pss_mb context_switches run_s ...``.

    Returns:
        The documented keys. ``position`` is a number when there is one instrument, else a table by symbol; latencies
        are ns, money and quantities decimal numbers.
    """
    positions = _positions(look)
    views = look.instruments
    return {
        **totals(look),
        "position": next(iter(positions.values())) if len(positions) == 1 else positions,
        "positions": positions,
        "pnl": {
            "realised": _money(sum(v.realised for v in views)),
            "unrealised": _money(sum(v.unrealised for v in views)),
            "fees": _money(sum(v.fees for v in views)),
        },
        "latency_ns": {hop: _latency(values) for hop, values in look.latency.items()},
        "clock": {"skew_ns": round(look.skew_ns, 1), "skew_bound_ns": round(look.skew_bound_ns, 1)},
        # That it stops at its end is no news.
        "halted": None if look.halted == HALT_CAUSES[STOPPING] else look.halted,
        "strategy_fault": look.strategy_fault,
        "counters": look.counters,
        "rings": look.rings,
        **facts,
    }


def _line(name: str, value: str) -> str:
    return f"  {name:<18} {value}"


def _table(summary: dict[str, Any]) -> list[str]:
    head = f"  {'latency (us)':<20}{'p50':>12}{'p99':>12}{'p99.9':>12}{'p99.99':>12}{'max':>12}{'count':>12}"
    rows = [head]
    for hop, row in summary["latency_ns"].items():
        if row["count"] == 0:
            continue
        cells = "".join(f"{row[key] / 1000:>12.3f}" for key in ("p50", "p99", "p99_9", "p99_99"))
        rows.append(f"  {hop:<20}{cells}{row['max'] / 1000:>12.1f}{row['count']:>12,}")
    return rows


def _counts(table: dict[str, int]) -> str:
    return ", ".join(f"{name} {count:,}" for name, count in table.items()) or "none"


def _recording(facts: dict[str, Any]) -> str:
    stored, lost, untaken = (sum(facts[name].values()) for name in ("records", "lost", "untaken"))
    end = "" if facts["complete"] else f"; INCOMPLETE: {facts['cause']}"
    return f"{facts['session']}: {stored:,} records, {lost:,} lost, {untaken:,} not stored{end}"


def _warnings(summary: dict[str, Any]) -> list[tuple[str, str]]:
    """What a person has to know or do beyond the figures; nothing after a run where all went well."""
    found, halt = [], summary.get("latched_halt")
    if halt:
        stored = "" if halt["stored"] else "; NOT STORED: a restart would trade"
        found.append(("halt latched", f"{halt['cause']}: {halt['what']}; `hftpipe resume` clears it{stored}"))
    if summary.get("positions_from") == "zero":
        found.append(("positions", "counted from 0, whatever the account holds at the venue"))
    if before := summary.get("previous_run_not_ended"):
        found.append(("run before", f"did not end in order ({before['file']})"))
    if lost := sum(summary.get("lost_output", {}).values()):
        found.append(("output lost", f"{lost:,} writes to the log or the terminal"))
    return found + [("LEFT BEHIND", text) for text in summary.get("left_behind", [])]


def _stop(stop: dict[str, Any]) -> list[str]:
    """What became of the orders that were open at the end."""
    again = f" ({stop['cancels_again']:,} sent again)" if stop["cancels_again"] else ""
    lines = [
        _line(
            "stop",
            f"{stop['open_at_stop']:,} open, cancels {stop['cancels_sent']:,} sent{again}, "
            f"{stop['cancels_confirmed']:,} confirmed, {stop['fills_meanwhile']:,} fills meanwhile, "
            f"{len(stop['still_open']):,} still open after {stop['waited_s']:.3f} s",
        )
    ]
    for one in stop["still_open"]:
        filled = f"{one['filled']} of {one['qty']} filled"
        lines.append(
            _line(
                "STILL OPEN",
                f"{one['id']} {one['instrument']} {one['side']} {one['price']}, {filled}, {one['state']}",
            )
        )
    if stop["still_open"] and stop["venue_ended"]:
        lines.append(_line("", "the venue was part of this run: they have ended with it"))
    return lines + [_line("NOT KNOWN", f"fills and position: {why}") for why in stop["unknown_because"]]


def render(summary: dict[str, Any]) -> str:
    """The summary for people."""
    pnl = summary["pnl"]
    switches = (f"{name} {c['voluntary']}+{c['involuntary']}" for name, c in summary["context_switches"].items())
    lines = [
        f"run ended: {summary['reason']}",
        _line(
            "events",
            f"{summary['events']:,} ({summary['events_per_s']:,.0f}/s), book updates {summary['book_updates']:,}",
        ),
        _line(
            "intents",
            f"{summary['intents']:,}, orders {summary['orders']:,}, replaces {summary['replaces']:,}, cancels {summary['cancels']:,}",
        ),
        _line("fills", f"{summary['fills']:,}"),
        _line("rejects", _counts(summary["rejects"])),
        _line("drops", _counts(summary["drops"])),
        _line("conflations", f"{summary['conflations']:,}"),
        _line("faults", _counts(summary["faults"])),
        _line("position", ", ".join(f"{symbol} {qty:.8g}" for symbol, qty in summary["positions"].items())),
        _line("pnl", f"realised {pnl['realised']:.4f}, unrealised {pnl['unrealised']:.4f}, fees {pnl['fees']:.4f}"),
        *_table(summary),
        _line("context switches", ", ".join(switches) + " (voluntary+involuntary)"),
        _line("start-up", f"{summary['startup_s']:.2f} s to the first event; memory {summary['pss_mb']:.0f} MB PSS"),
        _line("clock", f"skew {summary['clock']['skew_ns']} ns, bound {summary['clock']['skew_bound_ns']} ns"),
    ]
    if "recording" in summary:
        lines.append(_line("recording", _recording(summary["recording"])))
    if summary["strategy_fault"]:
        lines.append(_line("STRATEGY FAULT", describe_fault(summary["strategy_fault"])))
    if summary.get("stop"):
        lines += _stop(summary["stop"])
    if summary["halted"]:
        lines.append(_line("HALTED", summary["halted"]))
    lines += [_line(name, text) for name, text in _warnings(summary)]
    lines += [_line("source", text) for text in summary["source_errors"]]
    return "\n".join(lines)
