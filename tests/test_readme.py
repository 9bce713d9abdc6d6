"""The README says nothing that is not so."""

import re
from pathlib import Path

import pytest
from typer.testing import CliRunner

from hftpipe.cli import app
from hftpipe.core.schema import reasons
from hftpipe.risk.checks import CHECKS
from hftpipe.strategy.compile.loader import load

REPO = Path(__file__).resolve().parents[1]
README = (REPO / "README.md").read_text()


def test_the_strategy_in_the_readme_compiles_as_it_stands(tmp_path):
    code = next(block for block in re.findall(r"```python\n(.*?)```", README, re.DOTALL) if "class Quoter" in block)
    file = tmp_path / "quoter.py"
    file.write_text(code)
    loaded = load(f"{file}:Quoter")
    assert loaded.defaults["size"] == "0.001" and set(loaded.hooks) == {"on_book"}


@pytest.mark.parametrize("command", sorted(set(re.findall(r"`hftpipe ([a-z-]+)", README))))
def test_every_command_named_exists(command):
    assert CliRunner().invoke(app, [command, "--help"]).exit_code == 0


def test_every_make_variable_and_target_named_exists():
    makefile = (REPO / "Makefile").read_text()
    for variable in set(re.findall(r"\b([A-Z]{4,})=", README)) - {"HFTPIPE"}:
        assert re.search(rf"^{variable}\b", makefile, re.MULTILINE), variable
    for target in set(re.findall(r"make ([a-z]+)\b", README)):
        assert re.search(rf"^{target}:", makefile, re.MULTILINE), target


def test_every_folder_and_document_named_exists():
    for folder in re.findall(r"^\| `([a-z]+)/` \|", README, re.MULTILINE):
        assert (REPO / "hftpipe" / folder).is_dir(), folder
    for link in re.findall(r"\]\(([^)]+)\)", README):
        assert (REPO / link).exists(), link


def test_the_checks_are_listed_in_the_order_they_run():
    listed = README.partition("### Checks before every order, in order")[2].strip().partition("\n\n")[0]
    words = {
        "HALTED": "halted", "RESTRICTED": "restricted instrument", "UNKNOWN_INSTRUMENT": "unknown instrument", "UNKNOWN_ORDER": "unknown order", "INVALID_VALUE": "invalid",
        "NO_LIMIT": "no limit", "TICK_FILTER": "tick", "LOT_FILTER": "lot", "MIN_NOTIONAL": "minimum notional",
        "MAX_ORDER_QTY": "largest order", "MAX_MARKET_QTY": "tighter", "MAX_ORDER_NOTIONAL": "order value",
        "REDUCING": "only reducing", "MAX_POSITION": "largest position", "STRATEGY_POSITION": "strategy's own", "NET_LIMIT": "net position",
        "BOOK_INVALID": "VALID", "BOOK_STALE": "not stale", "INTENT_STALE": "not too old", "PRICE_COLLAR": "collar",
        "GROSS_NOTIONAL": "gross notional", "STRATEGY_NOTIONAL": "the strategy · own", "SELF_MATCH": "would meet",
        "RATE_PER_S": "orders a second", "RATE_PER_MIN": "a minute", "STRATEGY_RATE": "those of the strategy",
        "GROUP_RATE": "those of each", "REPEATED_EXECUTIONS": "repeated executions", "DUPLICATE_ORDER": "like one just sent",
        "DUPLICATE_ID": "duplicate id", "ILLEGAL_TRANSITION": "under way",
    }  # fmt: skip
    text = " ".join(listed.split())
    at = [text.index(words[reasons.NAMES[check.reason].upper()]) for check in CHECKS]
    assert at == sorted(at) and len(set(at)) == len(words)
