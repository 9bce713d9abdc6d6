"""What a person must know or do after a run, beyond its figures: nothing where all went well. Sections like the others."""

from typing import Any

from rich.console import Group, RenderableType
from rich.text import Text

from hftpipe.monitor.figures import BAD, WARN

Summary = dict[str, Any]


def line(name: str, value: str | Text, style: str = "") -> Text:
    """One fact: its name, then what it is."""
    value = Text(value, style=style) if isinstance(value, str) else value
    return Text.assemble(f"  {name:<18} ", value)


def _still_open(stop: dict[str, Any]) -> list[Text]:
    lines = [
        line(
            "STILL OPEN",
            f"{one['id']} {one['instrument']} {one['side']} {one['price']}, {one['filled']} of {one['qty']} filled, {one['state']}",
            BAD,
        )
        for one in stop["still_open"]
    ]
    if lines and stop["venue_ended"]:
        lines.append(line("", "the venue was part of this run: they have ended with it"))
    return lines


def stop(summary: Summary) -> RenderableType | None:
    """What became of the orders that were open at the end."""
    facts = summary.get("stop")
    if not facts:
        return None
    again = f" ({facts['cancels_again']:,} sent again)" if facts["cancels_again"] else ""
    left = len(facts["still_open"])
    text = (
        f"{facts['open_at_stop']:,} open, cancels {facts['cancels_sent']:,} sent{again}, "
        f"{facts['cancels_confirmed']:,} confirmed, {facts['fills_meanwhile']:,} fills meanwhile, "
        f"{left:,} still open after {facts['waited_s']:.3f} s"
    )
    unknown = [line("NOT KNOWN", f"fills and position: {why}", BAD) for why in facts["unknown_because"]]
    return Group(line("stop", text, BAD if left else ""), *_still_open(facts), *unknown)


def _latched(halt: dict[str, Any], scope: str = "") -> Text:
    stored = "" if halt["stored"] else "; NOT STORED: a restart would trade"
    if scope:
        return line("halt latched", f"{scope.replace('.', ' ', 1)}, {halt['cause']}: {halt['what']}{stored}", BAD)
    return line("halt latched", f"{halt['cause']}: {halt['what']}; `hftpipe resume` clears it{stored}", BAD)


def _journal(venue: str, facts: dict[str, Any]) -> list[Text]:
    """What the run before has left in the journal of a venue."""
    lines = [line("journal", f"{venue}: {note}", WARN) for note in facts["cut"]]
    if count := len(facts["open_before"]):
        lines.append(line("journal", f"{venue}: {count} orders were open or unknown when the last run ended", WARN))
    return lines


def warnings(summary: Summary) -> RenderableType | None:
    """Halts that outlive the run, positions that are not the account's, and what was lost or left."""
    lines = [_latched(halt)] if (halt := summary.get("latched_halt")) else []
    lines += [_latched(halt, scope) for scope, halt in summary.get("latched_scopes", {}).items()]
    if summary.get("positions_from") == "zero":
        lines.append(line("positions", "counted from 0, whatever the account holds at the venue", WARN))
    if before := summary.get("previous_run_not_ended"):
        lines.append(line("run before", f"did not end in order ({before['file']})", WARN))
    lines += [part for venue, one in summary.get("journals", {}).items() for part in _journal(venue, one)]
    if lost := sum(summary.get("lost_output", {}).values()):
        lines.append(line("output lost", f"{lost:,} writes to the log or the terminal", WARN))
    lines += [
        line("failed", f"{work}, {times:,} times (see the log)", WARN)
        for work, times in summary.get("failed_beside", {}).items()
    ]
    lines += [line("STAGE FAULT", text, BAD) for text in summary.get("stage_faults", {}).values()]
    lines += [line("LEFT BEHIND", text, BAD) for text in summary.get("left_behind", ())]
    return Group(*lines) if lines else None
