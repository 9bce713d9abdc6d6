"""The simulated world: every invariant holds on healthy code, and every planted bug is caught."""

from dataclasses import replace

import pytest

from hftpipe.config.schema import Risk, Table
from hftpipe.core.schema.reasons import RATE_PER_MIN
from hftpipe.simulation.world import run as world
from hftpipe.simulation.world.mutants import MUTANTS
from hftpipe.simulation.world.plan import Plan, plan_of
from hftpipe.simulation.world.run import describe, run_seed
from hftpipe.simulation.world.stages import World
from hftpipe.simulation.world.truth import Reference, Truth, bytes_of, fields_of

HEALTHY_SEEDS = range(1, 13)
STEPS = 1500
#: A planted bug is caught within so many seeds; those that need a rare fault are looked for where that is.
MUTANT_SEEDS = 12
FIRST_SEED = {
    "gateway_looks_at_no_clock": 44, "risk_trusts_any_book": 18, "reports_overwrite": 14, "restart_keeps_epoch": 22,
    "restart_forgets_halt": 39, "gateway_stands_still": 33, "gateway_cancels_once": 36, "risk_forgets_replace": 8,
}  # fmt: skip


@pytest.mark.parametrize("seed", HEALTHY_SEEDS)
def test_every_invariant_holds(seed):
    result = run_seed(seed, STEPS)
    assert not result.violation, describe(result)


def test_a_seed_is_a_run_byte_for_byte():
    once, again, other = run_seed(5, STEPS), run_seed(5, STEPS), run_seed(6, STEPS)
    assert once == again
    assert once.digest != other.digest and once.sent > 0


@pytest.mark.parametrize("name", MUTANTS)
def test_a_planted_bug_is_caught_by_its_checker(name):
    first = FIRST_SEED.get(name, 1)
    for seed in range(first, first + MUTANT_SEEDS):
        result = run_seed(seed, STEPS, name)
        if result.violation:
            break
    assert result.violation, f"{name} survived {MUTANT_SEEDS} seeds"
    assert result.violation.partition(":")[0] in MUTANTS[name].caught_by, describe(result)


def test_a_failing_seed_prints_one_line_and_fails_again_the_same_way(capsys):
    assert world.main(["--seed", "1", "--steps", "400", "--mutant", "ring_tears"]) == 0
    first = capsys.readouterr().out.splitlines()
    world.main(["--seed", "1", "--steps", "400", "--mutant", "ring_tears"])
    assert first == capsys.readouterr().out.splitlines()
    assert first[0].startswith("seed 1 step ") and " ring: orders: " in first[0] and len(first) == 2


def test_the_faults_do_happen():
    """Over some seeds: rings fill, books are lost and come back, fills repeat, venues refuse, stages die."""
    seen = {}
    for seed in range(1, 9):
        one = World(plan_of(seed, STEPS))
        one.disturb()
        market, gateway, risk = (one.state(name) for name in ("market_data", "gateway", "risk"))
        for name, value in (
            ("market ring full", market["conflations"][0]),
            ("book lost", market["invalidations"][0]),
            ("repeated fill", gateway["duplicate_fills"][0]),
            ("refused by the venue", gateway["rejected"][0]),
            ("cancel refused", one.venue.refused_cancels),
            ("changed by the venue", one.venue.shrunk),
            ("reports or orders held back", gateway["reports_held"][0] + risk["orders_held"][0] + risk["updates_held"][0]),
            ("refused by risk", risk["rejects"][0].sum()),
            ("filled", gateway["fills"][0]),
            ("halted or dead", one.is_halted or bool(one.dead)),
        ):  # fmt: skip
            seen[name] = seen.get(name, 0) + int(value)
    assert all(seen.values()), seen


def test_truth_counts_what_may_still_fill():
    truth = Truth(1)
    base = fields_of(bytes(64))
    new = base._replace(kind=16, id=7, qty=10, price=100, side=0)
    truth.send(new, True)
    assert truth.worst(0) == 10
    truth.send(new._replace(kind=18, qty=25), True)
    assert truth.worst(0) == 25
    truth.execute(base._replace(kind=32, id=7))
    truth.execute(base._replace(kind=34, id=7, qty=4, price=100))
    assert (truth.worst(0), truth.balances[0].qty) == (25, 4)
    truth.execute(base._replace(kind=38, id=7))
    assert truth.worst(0) == 10
    truth.execute(base._replace(kind=35, id=7))
    assert (truth.worst(0), truth.open_orders()) == (4, [])
    truth.send(new, True)
    assert truth.repeated_ids == [7]


def test_reference_gives_the_book_of_any_update():
    book = Reference(5, [(0, 99, 1), (1, 101, 2)])
    book.update(6, [(0, 100, 3), (1, 101, 0), (1, 102, 4)])
    assert book.at(6) == ([(100, 3), (99, 1)], [(102, 4)])
    assert book.at(5) == ([(99, 1)], [(101, 2)])
    assert book.at(7) is None
    assert book.tops == {5: (99, 1, 101, 2), 6: (100, 3, 102, 4)}


def test_record_bytes_and_fields_are_the_same_thing():
    raw = bytes(range(64))
    assert bytes_of(fields_of(raw)) == raw


def with_orders_per_min(seed: int, count: int) -> Plan:
    plan = plan_of(seed, STEPS)
    for row in plan.limits:
        row["orders_per_min"] = count
    tables = {item.symbol: Table.of(row) for item, row in zip(plan.instruments, plan.limits, strict=True)}
    return replace(plan, config=replace(plan.config, risk=Risk(Table.of(tables))), halt_at=-1, dies="")


def test_orders_of_a_minute_that_are_spent_are_not_taken_for_a_standstill():
    """No run lasts a minute: with one order in it, none can be accepted once the faults have ended."""
    spent = 0
    for seed in range(1, 7):
        few = World(with_orders_per_min(seed, 1))
        few.disturb()
        few.settle()
        spent += few.accepted_since_faults == 0 and int(few.state("risk")["rejects"][0][RATE_PER_MIN]) > 0
    assert spent
