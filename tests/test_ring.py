"""The ring against a deque, across processes, at the end of its counters, and after a death (invariant I9)."""

import os
import signal
from collections import deque

import numpy as np
import pytest
from hypothesis import settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, initialize, invariant, rule
from memory import address, aligned, fork, join, record, shared

from hftpipe.core.machine.jit import jit
from hftpipe.core.machine.mem import U64, load_i64, rdtsc, sched_yield, store_i64
from hftpipe.core.schema.records import RECORD, RECORD_BYTES
from hftpipe.core.schema.ring import RING, RING_HEADER_BYTES, ring_bytes
from hftpipe.core.shared.ring import (
    ring_claim,
    ring_consumed,
    ring_depth,
    ring_has_space,
    ring_init,
    ring_peek,
    ring_pop,
    ring_produced,
    ring_publish,
    ring_push,
    ring_resume,
    ring_space,
)

MESSAGES = 5_000_000
#: Time-stamp counter ticks after which a loop of this test gives up (tens of seconds on any CPU).
PATIENCE_TICKS = 100_000_000_000
DONE, TORN, LOST, TIMED_OUT = 0, 1, 2, 3


def new_ring(capacity: int, start: int = 0) -> tuple[np.ndarray, np.uint64]:
    memory = aligned(ring_bytes(capacity))
    ring_init(memory, capacity)
    header = memory[:RING_HEADER_BYTES].view(RING)
    for counter in ("next_in", "known_out", "next_out"):
        header[counter] = start
    return memory, address(memory)


def header_of(memory: np.ndarray) -> np.ndarray:
    return memory[:RING_HEADER_BYTES].view(RING)[0]


def slot_at(memory: np.ndarray, slot: np.uint64) -> np.ndarray:
    at = int(slot) - memory.ctypes.data
    return memory[at : at + RECORD_BYTES].view(RECORD)


def put(memory: np.ndarray, value: int) -> bool:
    slot = ring_claim(address(memory))
    if not slot:
        return False
    slot_at(memory, slot)["price"] = value
    ring_publish(address(memory))
    return True


def take(memory: np.ndarray) -> int | None:
    slot = ring_peek(address(memory))
    if not slot:
        return None
    value = int(slot_at(memory, slot)["price"][0])
    ring_pop(address(memory))
    return value


class RingAgainstDeque(RuleBasedStateMachine):
    """Every call of the ring, beside the same call on a bounded deque."""

    @initialize(bits=st.integers(1, 4), start=st.sampled_from([0, 2**32 - 3, 2**63 - 3, 2**63]))
    def make(self, bits: int, start: int) -> None:
        self.capacity, self.start = 1 << bits, start
        self.memory, self.ring = new_ring(self.capacity, start)
        self.twin: deque[int] = deque()
        self.pushed = self.popped = self.refused = 0

    @rule()
    def claim_and_publish(self) -> None:
        went_in = put(self.memory, self.pushed)
        assert went_in == (len(self.twin) < self.capacity)
        self._count(went_in)

    @rule()
    def push_a_copy(self) -> None:
        source = record(RECORD)
        source["price"] = self.pushed
        went_in = bool(ring_push(self.ring, address(source)))
        assert went_in == (len(self.twin) < self.capacity)
        self._count(went_in)

    def _count(self, went_in: bool) -> None:
        if went_in:
            self.twin.append(self.pushed)
            self.pushed += 1
        else:
            self.refused += 1

    @rule()
    def claim_and_think_better_of_it(self) -> None:
        slot = ring_claim(self.ring)
        if slot:
            slot_at(self.memory, slot)["price"] = -1
        else:
            self.refused += 1

    @rule()
    def peek_twice(self) -> None:
        first, second = ring_peek(self.ring), ring_peek(self.ring)
        assert first == second
        assert bool(first) == bool(self.twin)

    @rule()
    def pop(self) -> None:
        expected = self.twin.popleft() if self.twin else None
        self.popped += expected is not None
        assert take(self.memory) == expected

    @rule(count=st.integers(1, 20))
    def ask_for_space(self, count: int) -> None:
        assert bool(ring_has_space(self.ring, np.int64(count))) == (len(self.twin) + count <= self.capacity)

    @invariant()
    def counters_agree(self) -> None:
        assert int(ring_depth(self.ring)) == len(self.twin)
        assert int(ring_produced(self.ring)) == self.start + self.pushed
        assert int(ring_consumed(self.ring)) == self.start + self.popped
        assert int(header_of(self.memory)["refused"]) == self.refused
        assert int(ring_space(self.ring)) <= self.capacity - len(self.twin)


TestRingAgainstDeque = RingAgainstDeque.TestCase
TestRingAgainstDeque.settings = settings(max_examples=40, stateful_step_count=40, deadline=None)


@pytest.mark.parametrize("capacity", [0, 1, 3, 6, 1000, -8])
def test_a_capacity_that_is_not_a_power_of_two_is_refused(capacity: int) -> None:
    with pytest.raises(ValueError, match=f"ring capacity {capacity} is not a power of two"):
        ring_bytes(capacity)


@pytest.mark.parametrize("last", [2**31, 2**32, 2**63])
def test_counters_pass_every_power_of_two_that_could_wrap(last: int) -> None:
    memory, ring = new_ring(4, last - 6)
    for value in range(12):
        assert put(memory, value) and put(memory, value + 100)
        assert take(memory) == value and take(memory) == value + 100
    assert take(memory) is None
    assert int(ring_produced(ring)) == last - 6 + 24
    assert [put(memory, i) for i in range(5)] == [True] * 4 + [False]


def test_old_content_of_a_slot_is_never_taken_for_a_new_record() -> None:
    memory, ring = new_ring(2)
    for value in range(9):
        assert put(memory, value) and take(memory) == value
        assert ring_peek(ring) == 0


def test_depth_is_never_negative_between_visible_and_counted() -> None:
    """The consumer may pop a record before the producer has counted it."""
    memory, ring = new_ring(4)
    put(memory, 7)
    assert take(memory) == 7
    header_of(memory)["next_in"] = 0
    assert int(ring_depth(ring)) == 0


@jit
def word_of(number, index):
    """Payload word ``index`` (1..7) of message ``number``: any mix of two messages shows."""
    mixed = (U64(number) + U64(index)) * U64(0x9E3779B97F4A7C15)
    return np.int64(mixed ^ (mixed >> U64(29)))


@jit
def produce(ring, count, deadline_tsc):
    spins = 0
    number = np.int64(0)
    while number < count:
        slot = ring_claim(ring)
        if slot == U64(0):
            spins += 1
            if spins % 64 == 0:
                sched_yield()
                if rdtsc() > deadline_tsc:
                    return np.int64(TIMED_OUT)
            continue
        for index in range(1, 8):
            store_i64(slot + U64(8 * index), word_of(number, index))
        ring_publish(ring)
        number += 1
    return np.int64(DONE)


@jit
def consume(ring, count, deadline_tsc):
    """Read messages 0..count-1 in order; DONE, or what was wrong first."""
    spins = 0
    number = np.int64(0)
    while number < count:
        slot = ring_peek(ring)
        if slot == U64(0):
            spins += 1
            if spins % 64 == 0:
                sched_yield()
                if rdtsc() > deadline_tsc:
                    return np.int64(TIMED_OUT)
            continue
        matching = 0
        for index in range(1, 8):
            matching += load_i64(slot + U64(8 * index)) == word_of(number, index)
        if matching != 7:
            return np.int64(LOST) if matching == 0 else np.int64(TORN)
        ring_pop(ring)
        number += 1
    return np.int64(DONE)


@jit
def deadline(ticks):
    return rdtsc() + ticks


def exchange(capacity: int, messages: int, cpus: set[int]) -> tuple[int, int]:
    """Run producer (child) and consumer (here) on ``cpus``: exit code of the child and verdict of the consumer."""
    memory = shared(ring_bytes(capacity))
    ring_init(memory, capacity)
    ring, until = address(memory), deadline(np.uint64(PATIENCE_TICKS))
    for compiled in (produce, consume):
        assert compiled(ring, np.int64(0), until) == DONE  # before the fork, so that nobody waits for a compiler
    before = os.sched_getaffinity(0)
    pinned = sorted(cpus)

    def child() -> bool:
        os.sched_setaffinity(0, {pinned[0]})
        return bool(produce(ring, np.int64(messages), until) == DONE)

    pid = fork(child)
    os.sched_setaffinity(0, {pinned[-1]})
    try:
        verdict = int(consume(ring, np.int64(messages), until))
    finally:
        os.sched_setaffinity(0, before)
        code = join(pid)
    assert ring_peek(ring) == 0 or verdict != DONE
    return code, verdict


@pytest.mark.parametrize(("capacity", "messages"), [(8, 1_000_000), (16, 1_000_000), (64, 3_000_000)])
def test_five_million_records_cross_processes_without_tear_loss_or_duplicate(capacity: int, messages: int) -> None:
    assert exchange(capacity, messages, os.sched_getaffinity(0)) == (0, DONE)


def test_two_processes_on_one_cpu_make_progress() -> None:
    assert exchange(8, 50_000, {min(os.sched_getaffinity(0))}) == (0, DONE)


def test_the_exchange_can_fail() -> None:
    """The checks above are worth something: a changed, a missing and a repeated record are each noticed."""
    until = deadline(np.uint64(PATIENCE_TICKS))
    for break_it, verdict in (
        (lambda slots: slots[3:4]["qty"].__iadd__(1), TORN),
        (lambda slots: slots[3:7].__setitem__(slice(None), slots[4:8].copy()), LOST),
        (lambda slots: slots[4:8].__setitem__(slice(None), slots[3:7].copy()), LOST),
    ):
        memory, ring = new_ring(8)
        produce(ring, np.int64(8), until)
        slots = memory[RING_HEADER_BYTES:].view(RECORD)
        break_it(slots)
        slots["seq"] = np.arange(1, 9)
        assert consume(ring, np.int64(8), until) == verdict


def die_after_claim(memory: np.ndarray) -> None:
    slot = ring_claim(address(memory))
    slot_at(memory, slot)["price"] = 666
    os.kill(os.getpid(), signal.SIGKILL)


def test_a_record_claimed_by_a_dead_producer_is_never_seen() -> None:
    memory = shared(ring_bytes(4))
    ring_init(memory, 4)
    ring = address(memory)
    for value in range(6):  # the slot that will be claimed has been used before
        assert put(memory, value) and take(memory) == value
    assert put(memory, 6)
    assert join(fork(lambda: die_after_claim(memory))) == -signal.SIGKILL
    assert take(memory) == 6
    assert ring_peek(ring) == 0
    assert not ring_resume(ring)
    assert put(memory, 7)
    assert take(memory) == 7 and take(memory) is None


def test_a_record_already_visible_survives_its_producers_death() -> None:
    """Dead between the two stores of publish: the record is out, and the next producer must not overwrite it."""
    memory, ring = new_ring(4)
    put(memory, 1)
    slot = ring_claim(ring)
    slot_at(memory, slot)["price"] = 2
    slot_at(memory, slot)["seq"] = 2
    assert ring_resume(ring)
    assert put(memory, 3)
    assert [take(memory), take(memory), take(memory), take(memory)] == [1, 2, 3, None]
