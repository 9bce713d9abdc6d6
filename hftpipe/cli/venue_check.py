"""Looking at a venue and the account there before trading begins."""

from typing import Annotated

import typer

from hftpipe.cli.common import Files, app, guarded_network, load_settings, overrides_of


@app.command("venue-check")
def venue_check(
    name: Annotated[str, typer.Argument(help="The venue: one of [[venues]], or as pipeline.venue names it.")],
    config: Files = None,
    order: Annotated[
        bool,
        typer.Option("--order", help="Also place an order far from the market, and cancel it (not on a main net)."),
    ] = False,
    set_: Annotated[
        list[str] | None, typer.Option("--set", help="Any configuration key: KEY=VALUE; repeatable.")
    ] = None,
) -> None:
    """Check connection, clock, key, rules, fees and request weight of a venue, as configured."""
    overrides = overrides_of({}, set_ or [])

    def action() -> int:
        from rich.console import Console

        from hftpipe.app.doctor import render
        from hftpipe.topology.configured import at_venue, found, venues_of
        from hftpipe.venues.registry import VenueError

        settings = load_settings(config or [], overrides)
        if not settings.venues:
            settings = load_settings(config or [], {"pipeline.venue": name, **overrides})
        entry = next((one for one in venues_of(settings) if name in (one.name, one.kind)), None)
        if entry is None:
            raise VenueError(f"venue {name}: not configured; allowed: {', '.join(one.name for one in settings.venues)}")
        check = found(entry).check
        if check is None:
            raise VenueError(f"venue {name}: there is nothing to look at: no orders leave this machine")
        findings = list(check(at_venue(settings, entry), order))
        render(findings, Console(), f"hftpipe venue-check {name}")
        return 1 if any(one.status == "fail" for one in findings) else 0

    raise typer.Exit(guarded_network(action))
