"""Writes the built-in defaults as the commented TOML file configs/default.toml."""

import dataclasses
import json

from hftpipe.config.fields import keys_of
from hftpipe.config.instruments import SYMBOL_KEYS, Instrument, Universe
from hftpipe.config.schema import (
    SECTIONS,
    VENUE_SECTIONS,
    Config,
    LimitGroup,
    Limits,
    StrategyEntry,
    VenueEntry,
)
from hftpipe.core.schema.instruments import MAX_INSTRUMENTS

_TOML_NOTES = {
    "instruments": [
        f"# One table per instrument, at most {MAX_INSTRUMENTS}; a file that has any replaces those before it.",
        f"# For any symbol but {Instrument.symbol}, these must be given: {', '.join(SYMBOL_KEYS)}.",
    ],
    "risk": ["# Limits for every symbol; [risk.limits.SYMBOL] is laid over them key by key."],
}
#: Lists of tables of which there are none by default, and what stands above each.
_LISTS: dict[str, tuple[type, tuple[str, ...]]] = {
    "universe": (Universe, (
        "Instruments chosen from what the venues list, beside those of [[instruments]] (which need not be there then). A symbol",
        "belongs to the first table that takes it. A file that has any replaces those before it.",
    )),
    "venues": (VenueEntry, (
        "Several venues: a table for each, its instruments naming it. A file that has any replaces those before it.",
        f"A venue's own {', '.join(f'[venues.{head}]' for head in VENUE_SECTIONS)} are laid over the common sections.",
    )),
    "strategies": (StrategyEntry, (
        "Several strategies: a table for each, each with its own orders, positions and parameters ([strategies.params]).",
        "A file that has any replaces those before it, and [strategy].name and params.",
    )),
    "limit_groups": (LimitGroup, (
        "Limits of several instruments together, besides those of each: of a venue, of one base currency at all venues.",
        "A file that has any replaces those before it.",
    )),
}  # fmt: skip
_TOML_TAIL = {
    "strategy": [
        "",
        "[strategy.params]",
        "# Parameters of the strategy, by name. Allowed: whatever the strategy declares.",
        "",
        "[strategy.profiles]",
        "# [strategy.profiles.NAME] is laid over params when profile = NAME.",
    ]
}


def _toml_lines(section: type) -> list[str]:
    lines = []
    for name, one in keys_of(section).items():
        raw = one.metadata["raw"]
        shown = f'# {name} = "..."' if raw is None else f"{name} = {json.dumps(raw)}"
        unset = (
            "" if raw is not None else " Not set: no order passes." if section is Limits else " Not set: no such limit."
        )
        lines += [f"# {one.metadata['doc']}{unset}", f"#   Allowed: {one.metadata['kind'].allowed}.", shown]
    return lines


def defaults_toml() -> str:
    """The text of configs/default.toml: every key, its meaning, what is allowed, and its default."""
    lines = [
        "# Every key of hftpipe with its built-in default; hftpipe runs the same without this file.",
        "# Later files, then HFTPIPE_SECTION__KEY in the environment, then the command line override it.",
        "# Prices and quantities are decimal strings. Secrets go in HFTPIPE_SECRET_<NAME>, never in a file.",
        "# The addresses of venues are in network.toml.",
    ]
    for name in (one.name for one in dataclasses.fields(Config) if one.name not in (*_LISTS, "network")):
        head, section = {
            "instruments": ("[[instruments]]", Instrument),
            "risk": ("[risk.limits.default]", Limits),
        }.get(name) or (f"[{name}]", SECTIONS[name])
        lines += ["", head, *_TOML_NOTES.get(name, ()), *_toml_lines(section)]
        lines += _TOML_TAIL.get(name, ())
    for head, (section, notes) in _LISTS.items():
        lines += ["", *(f"# {note}" for note in notes), f"# [[{head}]]"]
        lines += [f"# {line.removeprefix('# ')}" for line in _toml_lines(section)]
    return "\n".join(lines) + "\n"
