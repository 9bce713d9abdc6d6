"""The journal: what it says of an order, what was open and held at its end, and whether it is whole."""

import time
from collections.abc import Iterator
from pathlib import Path
from typing import Annotated, Any

import orjson
import typer

from hftpipe.cli.common import Files, app, fail, guarded, load_settings

journal = typer.Typer(
    help="What was asked of the venues and what they said, from the write-ahead journal.", no_args_is_help=True
)
app.add_typer(journal, name="journal")

Name = Annotated[str, typer.Argument(help="Name of the pipeline.")]
Account = Annotated[
    str | None, typer.Option(help="Which journal, where there are several: the beginning of its folder's name.")
]
_FOLLOW_S = 0.1


def _folders(name: str, account: str | None, config: list[str] | None) -> list[Path]:
    from hftpipe.app.journaling import journals_of

    base = journals_of(load_settings(config or [], {}), name)
    found = sorted(path for path in base.iterdir() if path.is_dir()) if base.is_dir() else []
    names = ", ".join(path.name for path in found) or "none"
    chosen = [path for path in found if path.name.startswith(account or "")]
    if not chosen:
        raise fail(f"{base}: no journal{f' of account {account!r}' if account else ''}; there is: {names}")
    return chosen


def _one_folder(name: str, account: str | None, config: list[str] | None) -> Path:
    found = _folders(name, account, config)
    if len(found) > 1:
        raise fail(f"there are journals of several accounts; say --account {' or '.join(path.name for path in found)}")
    return found[0]


def _number(option: str, text: str | None) -> int | None:
    if text is None:
        return None
    try:
        number = int(text, 0)
    except ValueError:
        number = -1
    if not 0 <= number < 1 << 64:
        raise fail(f"{option} {text}: not a number of 64 bits; allowed: decimal, or hexadecimal with 0x")
    return number


def _client_id(text: str | None) -> int | None:
    """The order that a venue knows under this text."""
    if text is None:
        return None
    from hftpipe.journal.query import order_of

    if not (order := order_of(text)):
        raise fail(f"--client-id {text}: not one of ours; allowed: cm_<instance>_<8 digits>_<8 digits>, hexadecimal")
    return order


def _time_ns(option: str, text: str | None) -> int | None:
    from datetime import UTC, datetime

    if text is None:
        return None
    try:
        when = datetime.fromisoformat(text)
    except ValueError as wrong:
        raise fail(
            f"{option} {text}: not a time; allowed: ISO 8601 such as 2026-11-30T09:30:00, UTC unless it says so"
        ) from wrong
    when = when if when.tzinfo else when.replace(tzinfo=UTC)
    return int(when.timestamp()) * 10**9 + when.microsecond * 1000


def _print(parts: Iterator[tuple[Any, Any]], as_json: bool) -> None:
    from hftpipe.journal.query import row_of

    for one, entries in parts:
        if one.is_damaged:
            typer.echo(f"warning: {one.said()}; what follows there is not shown", err=True)
        for entry in entries:
            row = row_of(one, entry)
            typer.echo(
                orjson.dumps(row).decode() if as_json else "  ".join(f"{key}={value}" for key, value in row.items())
            )


def _in_time() -> bool:
    """Until Ctrl-C."""
    try:
        time.sleep(_FOLLOW_S)
    except KeyboardInterrupt:
        return False
    return True


@journal.command()
def show(
    name: Name = "default",
    order: Annotated[str | None, typer.Option(help="Our number of an order, such as 0x10065a10007.")] = None,
    client_id: Annotated[str | None, typer.Option(help="An order by the text under which the venue knows it.")] = None,
    venue_id: Annotated[str | None, typer.Option(help="An order by the venue's number of it.")] = None,
    instrument: Annotated[str | None, typer.Option(help="A symbol.")] = None,
    since: Annotated[str | None, typer.Option(help="From this time on (ISO 8601, UTC).")] = None,
    until: Annotated[str | None, typer.Option(help="Before this time.")] = None,
    run: Annotated[int | None, typer.Option(help="Of this run (its number).")] = None,
    follow: Annotated[bool, typer.Option("--follow", help="What comes from now on, until Ctrl-C.")] = False,
    json: Annotated[bool, typer.Option("--json", help="A line of JSON for each entry.")] = False,
    export: Annotated[Path | None, typer.Option(help="Write them to this file instead: .parquet or .csv.")] = None,
    account: Account = None,
    config: Files = None,
) -> None:
    """Entries of a journal, all or those that are asked for, in order."""
    if order is not None and client_id is not None:
        raise fail("--order and --client-id name the same thing: give one")

    def action() -> None:
        from hftpipe.journal import query

        asked = query.Question(
            order=_number("--order", order) if client_id is None else _client_id(client_id),
            venue_id=_number("--venue-id", venue_id), instrument=instrument,
            since_ns=_time_ns("--since", since), until_ns=_time_ns("--until", until), run=run,
        )  # fmt: skip
        folder = _one_folder(name, account, config)
        if export:
            typer.echo(f"{query.export(query.answer(folder, asked), export)} entries written to {export}")
        else:
            _print(query.follow(folder, asked, _in_time) if follow else query.answer(folder, asked), json)

    raise typer.Exit(guarded(action))


@journal.command()
def verify(name: Name = "default", account: Account = None, config: Files = None) -> None:
    """Whether a journal is whole; exit 1 and the places if it is not. Changes nothing."""

    def action() -> int:
        from hftpipe.journal.verify import verify as look

        code = 0
        for folder in _folders(name, account, config):
            typer.echo(f"{folder}:")
            found = look(folder, lambda line: typer.echo(f"  {line}"))
            for problem in found.problems:
                typer.echo(f"  PROBLEM {problem}")
            typer.echo(
                f"  {found.entries} entries, {len(found.problems) or 'no'} problem{'s' * (len(found.problems) != 1)}"
            )
            code |= bool(found.problems)
        return code

    raise typer.Exit(guarded(action))


@journal.command()
def state(
    name: Name = "default",
    json: Annotated[bool, typer.Option("--json", help="As one line of JSON.")] = False,
    account: Account = None,
    config: Files = None,
) -> None:
    """What is open and what is held at the end of a journal's last run (or now, while it runs)."""

    def action() -> None:
        from hftpipe.journal.recovery import last_run, standing_now

        folder = _one_folder(name, account, config)
        standing = standing_now(last_run(folder))
        if standing is None:
            raise fail(f"{folder}: no run has written anything")
        rows = {"open": standing.order_rows(), "positions": standing.position_rows()}
        if json:
            typer.echo(orjson.dumps(rows | {"fees": standing.fees}).decode())
            return
        for title, found in rows.items():
            typer.echo(f"{title}: {len(found)}")
            for row in found:
                typer.echo("  " + "  ".join(f"{key}={value}" for key, value in row.items()))

    raise typer.Exit(guarded(action))
