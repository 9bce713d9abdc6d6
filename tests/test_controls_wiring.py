"""The controls of the whole run as they are configured: what a start takes over, and what it refuses."""

from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest

from hftpipe.config import Config, load
from hftpipe.config.fields import ConfigError
from hftpipe.risk.worth import TOTAL
from hftpipe.topology.controls import controls_sizes, fill_controls, permitted, quotes_of

E8 = 10**8


def seats(count: int) -> Any:
    return [SimpleNamespace(own=None) for _ in range(count)]


def totals(config: Config, count: int) -> list[int]:
    sizes = controls_sizes(len(config.instruments), 1, count, len(quotes_of(config)))
    regions = {name.removeprefix("risk."): np.zeros(size, np.uint8) for name, size in sizes.items()}
    fill_controls(config, seats(count), regions)
    return [int(one) for one in regions["totals"].view(TOTAL)["max_gross"]]


def strategies(*most: str) -> dict[str, Any]:
    made = [{"name": f"s{at}", "strategy": "market_making", "max_gross_notional": one} for at, one in enumerate(most)]
    return {"strategies": made}


def test_the_gross_limit_of_a_sole_strategy_is_that_of_the_run() -> None:
    config = load([], {}, {**strategies("5000"), "controls.max_gross_notional": "90000"})
    assert totals(config, 1)[0] == 5000 * E8
    assert totals(load([], {}, {**strategies("5000", "6000")}), 2)[0] == 1_000_000 * E8


@pytest.mark.parametrize("pattern", ["BTCUSD", "nowhere:BTCUSDT"])
def test_a_restriction_of_what_there_is_not_refuses_the_start(pattern: str) -> None:
    config = load([], {}, {"controls.restricted": [pattern]})
    with pytest.raises(ConfigError, match=f"restricted = '{pattern}': there is no such instrument.*BTCUSDT"):
        permitted(config, seats(1))


def test_what_is_restricted_may_not_be_traded() -> None:
    config = load([], {}, {"controls.restricted": ["BTC*"]})
    symbols = [one.symbol for one in config.instruments]
    assert permitted(config, seats(1))[0].tolist() == [not one.startswith("BTC") for one in symbols]
    assert not permitted(load([], {}, {"controls.restricted": ["*"]}), seats(1)).any()
