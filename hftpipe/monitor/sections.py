"""What the summary and the live view show, what matters first: small functions from the summary's keys to one block each.

:data:`SECTIONS` is the order on the page. A section takes the dictionary of :func:`hftpipe.monitor.summary.summarise` and
returns something that rich can print, or None when it has nothing to say. The live view has no ``facts`` yet (how the run
ended, memory, recording): sections that need those are only in the summary.
"""

from collections.abc import Callable

from rich.console import Group, RenderableType
from rich.table import Table
from rich.text import Text

from hftpipe.core.schema.fault import describe_fault
from hftpipe.monitor.figures import (
    BAD,
    HEAD,
    QUIET,
    WARN,
    basis_points,
    counts,
    microseconds,
    money,
    plain,
    price,
    share,
    split_symbol,
)
from hftpipe.monitor.sections_end import Summary, line, stop, warnings

Section = Callable[[Summary], RenderableType | None]


def quote_of(summary: Summary) -> str:
    """The currency all instruments are quoted in, with a space before it; "" if there is not one."""
    quotes = {split_symbol(symbol)[1] for symbol in summary["positions"]}
    return f" {quotes.pop()}" if len(quotes) == 1 and quotes != {""} else ""


def columns(*names: str, left: int = 1) -> Table:
    """A table without lines, its first ``left`` columns to the left."""
    table = Table(box=None, pad_edge=False, header_style=QUIET, padding=(0, 2, 0, 0))
    for index, name in enumerate(names):
        table.add_column(name, justify="left" if index < left else "right", no_wrap=True)
    return table


# --- money ---------------------------------------------------------------------------------------


def profit(summary: Summary) -> RenderableType:
    """Net profit, and what it is made of: the parts add up to it exactly."""
    parts, unit = summary["pnl_parts"], quote_of(summary)
    head = Text.assemble(("net PnL ", HEAD), money(parts["net"]), unit, style=HEAD)
    fees = f" (maker {plain(parts['maker_fees'], 4)}, taker {plain(parts['taker_fees'], 4)})"
    made = Text.assemble(
        "  = spread captured ", money(parts["captured"]), "  + inventory ", money(parts["inventory"]),
        "  - fees ", plain(parts["fees"], 4), (fees, QUIET),
    )  # fmt: skip
    return Group(head, made)


def positions(summary: Summary) -> RenderableType:
    """One row an instrument."""
    table = columns("", "position", "avg price", "mid", "exposure", "working buy/sell", "realised", "unrealised", "net")
    for symbol, row in summary["instruments"].items():
        base, quote = split_symbol(symbol)
        table.add_row(
            symbol, f"{plain(row['position'])} {base}".strip(), price(row["average"]), price(row["mid"]),
            f"{plain(row['exposure'], 2)} {quote}".strip(), f"{plain(row['working_buy'])}/{plain(row['working_sell'])}",
            money(row["realised"]), money(row["unrealised"]), money(row["net"]),
        )  # fmt: skip
    return table


# --- trading -------------------------------------------------------------------------------------


def _fills(summary: Summary) -> Text:
    parts, volume = summary["pnl_parts"], summary["volume"]
    text = f"{summary['fills']:,} ({summary['maker_fills']:,} maker, {summary['taker_fills']:,} taker)"
    if volume:
        text += f", volume {plain(volume, 2)}{quote_of(summary)}, edge {basis_points(parts['captured'], volume)}"
        text += f", net {basis_points(parts['net'], volume)}"
    return line("fills", text)


def _orders(summary: Summary) -> Text:
    sent, fills = summary["orders"], summary["fills"]
    text = f"{sent:,} new, {summary['replaces']:,} replaced, {summary['cancels']:,} cancelled"
    if fills:
        messages = (sent + summary["replaces"] + summary["cancels"]) / fills
        text += f"; fills per order {share(fills, sent)}, messages per fill {messages:,.1f}"
    return line("orders", text)


def _rejects(summary: Summary) -> Text:
    """Rejects are ours to mend; a few are a warning, more than one in a hundred is wrong."""
    total, intents = sum(summary["rejects"].values()), summary["intents"]
    text = counts(summary["rejects"]) + (f" ({share(total, intents)} of {intents:,} requests)" if total else "")
    return line("rejects", text, BAD if total > intents / 100 else WARN if total else "")


def trading(summary: Summary) -> RenderableType:
    """Fills, orders, and what was refused: by us or the venue (rejects), or outrun by the market (races)."""
    races = f"{counts(summary['races'])}"
    return Group(_fills(summary), _orders(summary), _rejects(summary), line("races", races))


# --- trouble -------------------------------------------------------------------------------------


def halts(summary: Summary) -> RenderableType | None:
    """Trading was stopped, and why."""
    if not summary["halted"]:
        return None
    return line("HALTED", summary["halted"].replace("_", " "), BAD)


def faults(summary: Summary) -> RenderableType:
    """What should not have happened."""
    return line("faults", counts(summary["faults"]), BAD if any(summary["faults"].values()) else "")


def notices(summary: Summary) -> RenderableType | None:
    """Trouble from outside that was dealt with, and books that may not be traded on."""
    lines = [line("noticed", counts(summary["notices"]), WARN)] if summary["notices"] else []
    for symbol, one in summary["instruments"].items():
        if one["state"] != "VALID":
            lines.append(line("book", f"{symbol} is {one['state']}: not traded on, and not marked by", BAD))
    return Group(*lines) if lines else None


def strategy_fault(summary: Summary) -> RenderableType | None:
    """What a hook raised, and where."""
    fault = summary["strategy_fault"]
    return line("STRATEGY FAULT", describe_fault(fault), BAD) if fault else None


def source_errors(summary: Summary) -> RenderableType | None:
    """What was wrong with the market data."""
    errors = summary.get("source_errors", ())
    return Group(*(line("source", text, BAD) for text in errors)) if errors else None


# --- the machine ---------------------------------------------------------------------------------


def latency(summary: Summary) -> RenderableType | None:
    """How long each hop took."""
    table = columns("latency, us", "p50", "p99", "p99.9", "max", "count")
    for hop, row in summary["latency_ns"].items():
        if row["count"]:
            values = (microseconds(row[name]) for name in ("p50", "p99", "p99_9", "max"))
            table.add_row(hop.replace("_", " "), *values, f"{row['count']:,}")
    return table if table.row_count else None


def data(summary: Summary) -> RenderableType:
    """What came in, and what of it was lost or put together."""
    rate = f" ({summary['events_per_s']:,.0f}/s)" if "events_per_s" in summary else ""
    events = f"{summary['events']:,}{rate}, book updates {summary['book_updates']:,}"
    lost = sum(summary["drops"].values())
    late = f"drops {counts(summary['drops'])}; conflated {summary['conflations']:,}"
    return Group(line("events", events), line("lost or late", late, BAD if lost else ""))


def recording(summary: Summary) -> RenderableType | None:
    """What was recorded, and whether all of it is there."""
    if "recording" not in summary:
        return None
    facts = summary["recording"]
    stored, lost, untaken = (sum(facts[name].values()) for name in ("records", "lost", "untaken"))
    cause = facts.get("cause") or "the recorder died or could not write"
    end = "" if facts["complete"] else f"; INCOMPLETE: {cause}"
    text = f"{facts['session']}: {stored:,} records, {lost:,} lost, {untaken:,} not stored{end}"
    return line("recording", text, "" if facts["complete"] and not lost else BAD)


def system(summary: Summary) -> RenderableType:
    """What the run took of the machine."""
    switches = ", ".join(
        f"{name} {c['voluntary']:,}+{c['involuntary']:,}" for name, c in summary["context_switches"].items()
    )
    clock = summary["clock"]
    return Group(
        line("start", f"{summary['startup_s']:.2f} s to the first event; memory {summary['pss_mb']:,.0f} MB"),
        line("clock", f"skew between CPUs {clock['skew_ns']} ns, bound {clock['skew_bound_ns']} ns"),
        line("switches", f"{switches} (voluntary+involuntary)"),
    )


def how_it_ended(summary: Summary) -> RenderableType:
    """The first line: why the run ended, and what ran."""
    is_well = summary["exit_code"] == 0 and not summary["halted"]
    about = f"  {summary['strategy']} on {summary['source']}, {summary['orders_to']}, {summary['run_s']:,.1f} s"
    return Text.assemble((f"run ended: {summary['reason']}", HEAD if is_well else BAD), (about, QUIET))


#: The page: blocks with an empty line between them.
SECTIONS: tuple[tuple[Section, ...], ...] = (
    (how_it_ended, halts, strategy_fault, stop, warnings),
    (profit,),
    (positions,),
    (trading, faults, notices, source_errors),
    (latency,),
    (data, recording, system),
)


def blocks(summary: Summary, sections: tuple[tuple[Section, ...], ...] = SECTIONS) -> list[RenderableType]:
    """What ``sections`` have to say, an empty line between blocks."""
    page: list[RenderableType] = []
    for group in sections:
        block = [shown for section in group if (shown := section(summary)) is not None]
        page += [*([Text()] if page and block else []), *block]
    return page
