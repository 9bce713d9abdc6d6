"""Writes the built-in defaults as the commented TOML file configs/default.toml."""

import dataclasses
import json

from hftpipe.config.schema import SECTIONS, SYMBOL_KEYS, Config, Instrument, Limits, keys_of

_TOML_NOTES = {
    "instruments": [
        "# One table per instrument, at most 64; a file that has any replaces those before it.",
        f"# For any symbol but {Instrument.symbol}, these must be given: {', '.join(SYMBOL_KEYS)}.",
    ],
    "risk": ["# Limits for every symbol; [risk.limits.SYMBOL] is laid over them key by key."],
}
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
        unset = " Not set: no order passes." if raw is None else ""
        lines += [f"# {one.metadata['doc']}{unset}", f"#   Allowed: {one.metadata['kind'].allowed}.", shown]
    return lines


def defaults_toml() -> str:
    """The text of configs/default.toml: every key, its meaning, what is allowed, and its default."""
    lines = [
        "# Every key of hftpipe with its built-in default; hftpipe runs the same without this file.",
        "# Later files, then HFTPIPE_SECTION__KEY in the environment, then the command line override it.",
        "# Prices and quantities are decimal strings. Secrets go in HFTPIPE_SECRET_<NAME>, never in a file.",
    ]
    for name in (one.name for one in dataclasses.fields(Config)):
        head, section = {
            "instruments": ("[[instruments]]", Instrument),
            "risk": ("[risk.limits.default]", Limits),
        }.get(name) or (f"[{name}]", SECTIONS[name])
        lines += ["", head, *_TOML_NOTES.get(name, ()), *_toml_lines(section)]
        lines += _TOML_TAIL.get(name, ())
    return "\n".join(lines) + "\n"
