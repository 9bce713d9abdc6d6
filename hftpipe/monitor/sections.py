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
from hftpipe.core.schema.instruments import split_symbol
from hftpipe.monitor.figures import (
    BAD,
    HEAD,
    QUIET,
    WARN,
    basis_points,
    counts,
    decimals_of,
    microseconds,
    money,
    plain,
    price,
    share,
)
from hftpipe.monitor.sections_end import Summary, line, stop, warnings

Section = Callable[[Summary], RenderableType | None]


def columns(*names: str, left: int = 1) -> Table:
    """A table without lines, its first ``left`` columns to the left."""
    table = Table(box=None, pad_edge=False, header_style=QUIET, padding=(0, 2, 0, 0))
    for index, name in enumerate(names):
        table.add_column(name, justify="left" if index < left else "right", no_wrap=True)
    return table


# --- money ---------------------------------------------------------------------------------------


def profit(summary: Summary) -> RenderableType:
    """Net profit in each currency, and what it is made of: the parts add up to it exactly. Then what was paid in other assets."""
    earned = [text for quote, one in summary["by_quote"].items() for text in _profit(quote, one["pnl_parts"])]
    paid = [
        Text(f"  - fees {plain(amount, decimals_of(asset))} {asset}, not part of the net PnL")
        for asset, amount in summary["fees_by_asset"].items()
    ]
    return Group(*earned, *paid)


def _profit(quote: str, parts: dict[str, float]) -> tuple[Text, Text]:
    unit, places = f" {quote}" if quote else "", decimals_of(quote)
    head = Text.assemble(("net PnL ", HEAD), money(parts["net"], places), unit, style=HEAD)
    fees = f" (maker {plain(parts['maker_fees'], places)}, taker {plain(parts['taker_fees'], places)})"
    made = Text.assemble(
        "  = spread captured ", money(parts["captured"], places), "  + inventory ", money(parts["inventory"], places),
        "  - fees ", plain(parts["fees"], places), (fees, QUIET),
    )  # fmt: skip
    return head, made


def and_more(summary: Summary) -> list[Text]:
    """How many instruments are not shown, where that is not all."""
    more = summary["instruments_more"]
    return [Text(f"and {more:,} more", style=QUIET)] if more else []


def _times(pack: int) -> str:
    """What stands before the currency where a unit is a pack of it."""
    return f"x {pack:,} " if pack > 1 else ""


def positions(summary: Summary) -> RenderableType:
    """One row an instrument, the most active ones."""
    table = columns("", "position", "avg price", "mid", "exposure", "working buy/sell", "realised", "unrealised", "net")
    for symbol, row in summary["instruments"].items():
        base, quote = split_symbol(symbol)
        table.add_row(
            symbol, f"{plain(row['position'])} {_times(row['pack'])}{base}".strip(), price(row["average"]), price(row["mid"]),
            f"{plain(row['exposure'], decimals_of(quote) - 2)} {quote}".strip(), f"{plain(row['working_buy'])}/{plain(row['working_sell'])}",
            money(row["realised"]), money(row["unrealised"]), money(row["net"]),
        )  # fmt: skip
    nets = [
        line("net", f"{plain(summary['net_by_base'][base])} {base} in all positions together")
        for base in summary["bases_held_apart"]
    ]
    groups = [
        line("limit group", f"{name}: net {plain(one['net'])} of {plain(one['max_net'])}")
        for name, one in summary["limit_groups"].items()
        if one["max_net"] is not None
    ]
    return Group(table, *and_more(summary), *nets, *groups)


# --- trading -------------------------------------------------------------------------------------


def _fills(summary: Summary) -> Text:
    text = f"{summary['fills']:,} ({summary['maker_fills']:,} maker, {summary['taker_fills']:,} taker)"
    for quote, one in summary["by_quote"].items():
        if volume := one["volume"]:
            parts, unit = one["pnl_parts"], f" {quote}" if quote else ""
            text += f", volume {plain(volume, decimals_of(quote) - 2)}{unit}, edge {basis_points(parts['captured'], volume)}"
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
    total, asked = sum(summary["rejects"].values()), summary["asked"]
    text = counts(summary["rejects"]) + (f" ({share(total, asked)} of {asked:,} requests)" if total else "")
    return line("rejects", text, BAD if total > asked / 100 else WARN if total else "")


def trading(summary: Summary) -> RenderableType:
    """Fills, orders, those the venue ended itself, and what was refused: by us or the venue, or outrun by the market (races)."""
    races = f"{counts(summary['races'])}"
    ended = summary["ended_by_venue"]
    ends = [line("ended by venue", f"{sum(ended.values()):,} ({counts(ended)})", WARN)] if ended else []
    return Group(_fills(summary), _orders(summary), *ends, _rejects(summary), line("races", races))


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
    others = summary["books_not_valid"] - len(
        [one for one in summary["instruments"].values() if one["state"] != "VALID"]
    )
    if others:
        lines.append(line("books", f"{others:,} more are not VALID", BAD))
    return Group(*lines) if lines else None


def strategy_faults(summary: Summary) -> RenderableType | None:
    """What hooks raised, and where."""
    several, lines = len(summary["strategies"]) > 1, []
    for name, one in summary["strategies"].items():
        if one["fault"]:
            lines.append(line("STRATEGY FAULT", f"{name}: " * several + describe_fault(one["fault"]), BAD))
    return Group(*lines) if lines else None


def strategies(summary: Summary) -> RenderableType | None:
    """What each strategy earned, where there are several."""
    if len(summary["strategies"]) < 2:
        return None
    table = columns("strategy", "net PnL", "captured", "inventory", "fees", "volume", "requests", "fills", "holds")
    rows = [
        (name, quote, one, earned)
        for name, one in summary["strategies"].items()
        for quote, earned in one["by_quote"].items()
    ]
    several, last = len({quote for _, quote, _, _ in rows}) > 1, ""
    for name, quote, one, earned in rows:
        amounts = [earned["pnl_parts"][part] for part in ("net", "captured", "inventory")]
        places = decimals_of(quote)
        holds = ", ".join(f"{symbol} {qty:.8g}" for symbol, qty in one["positions"].items()) or "nothing"
        # What is of the strategy and not of a currency stands once.
        own = [f"{one['intents_sent']:,}", f"{one['fills']:,}", holds] if name != last else ["", "", ""]
        fees, volume = plain(earned["pnl_parts"]["fees"], places), plain(earned["volume"], places - 4)
        table.add_row(
            f"{name} {quote}" if several else name, *(money(one, places) for one in amounts), fees, volume, *own
        )  # fmt: skip
        last = name
    return table


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
    (how_it_ended, halts, strategy_faults, stop, warnings),
    (profit,),
    (strategies,),
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
