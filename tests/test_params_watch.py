"""What a changed configuration file does to a run: strategy parameters take effect, all else is named and does not."""

import signal
import time
from pathlib import Path

from test_run import REPO, start

from hftpipe.app.params_watch import fixed_changes, leaves
from hftpipe.config import load

BASE = [str(REPO / "configs/paper.toml"), str(REPO / "configs/risk_limits.toml")]
#: Limits are for these; without it those given here for a symbol that is not among the instruments would be refused.
TRADED = ("BTCUSDT", "NEW")


def changes(**overrides: object) -> dict:
    return fixed_changes(
        load(BASE, {}), load(BASE, {}, {name.replace("__", "."): value for name, value in overrides.items()}, TRADED)
    )


def test_every_key_but_a_strategy_parameter_is_fixed_and_named_with_both_values() -> None:
    assert changes() == {}
    assert changes(strategy__params__spread_bps="3") == {}
    assert changes(risk__limits__BTCUSDT__max_position="0.05") == {"risk.limits.BTCUSDT.max_position": ("0.1", "0.05")}
    assert changes(rings__market="4096") == {"rings.market": (65536, 4096)}
    assert changes(risk__limits__default__collar_bps="7") == {"risk.limits.default.collar_bps": ("100", "7")}


def test_a_limit_for_a_new_symbol_and_one_taken_away_are_changes() -> None:
    found = changes(risk__limits__NEW__max_position="1")
    assert found["risk.limits.NEW.max_position"] == (None, "1")


def test_instruments_are_told_by_their_number() -> None:
    assert leaves({"a": [{"b": 1}, {"b": 2}], "c": [1, 2]}) == {"a.0.b": 1, "a.1.b": 2, "c": [1, 2]}


def test_an_edited_risk_limit_is_said_to_be_without_effect_once_for_each_value(tmp_path: Path) -> None:
    mine = tmp_path / "mine.toml"

    def write(position: str, spread: float, more: str = "") -> None:
        mine.write_text(
            f"[strategy]\nreload_s = 0.1\n[strategy.params]\nspread_bps = {spread}\n"
            f'[risk.limits.BTCUSDT]\nmax_position = "{position}"\n{more}'
        )
        time.sleep(0.8)

    write("0.1", 0.5)
    process = start("t-limits", "--config", str(mine))
    write("0.05", 0.5)
    write("0.05", 0.6)
    write("0.04", 0.6, "[rings]\nmarket = 4096\n")
    write("0.1", 0.6)
    process.send_signal(signal.SIGINT)
    _, err = process.communicate(timeout=60)
    lines = [line for line in err.splitlines() if "fixed for the run" in line]
    positions = [line for line in lines if "risk.limits.BTCUSDT.max_position" in line]
    assert len(positions) == 2 and '"running":"0.1","file":"0.05"' in positions[0] and '"file":"0.04"' in positions[1]
    assert "restart to apply" in positions[0] and "risk limits are fixed" in positions[0]
    assert sum("rings.market" in line for line in lines) == 1 and len(lines) == 3
    assert err.count("strategy parameters changed") == 1 and err.count("says again what the run has") == 2
