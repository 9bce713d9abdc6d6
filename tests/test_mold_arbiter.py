"""Two lossy lines and a re-request server: every message once, in order, or the books are not VALID."""

import random

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from itch_reference import packet
from itch_rig import RETRY, SESSION, WAIT, data
from itch_rig import MoldRig as Rig

from hftpipe.core.schema.records import INVALID, SYNCING, VALID
from hftpipe.venues.nasdaq.itch.arbiter import (
    BUSY,
    DUPLICATE,
    IDLE,
    READY,
    REFUSED,
    TOO_EARLY,
    mold_next,
    mold_packet,
    mold_take_reset,
)
from hftpipe.venues.nasdaq.itch.arbiter_state import arbiter_bytes, arbiter_init
from hftpipe.venues.nasdaq.itch.election import LINE_A, LINE_B, LINE_RETRANSMIT
from hftpipe.venues.nasdaq.itch.mold import END_OF_SESSION


def test_the_second_copy_is_a_duplicate_of_its_line():
    rig = Rig()
    assert rig.send(data(1, 3), LINE_A) == READY
    assert rig.send(data(1, 3), LINE_B) == DUPLICATE
    assert rig.delivered == [1, 2, 3] and list(rig.state["duplicates"]) == [0, 1, 0]


def test_a_packet_that_overlaps_brings_only_what_is_new():
    rig = Rig()
    rig.send(data(1, 3))
    assert rig.send(data(2, 4), LINE_B) == READY
    assert rig.delivered == [1, 2, 3, 4, 5]


def test_a_gap_is_noticed_at_the_first_later_packet_and_filled_by_the_other_line():
    rig = Rig()
    rig.send(data(1))
    assert rig.send(data(3)) == TOO_EARLY
    assert rig.state["holes"] == 1 and rig.delivered == [1] and rig.book_state == VALID
    rig.send(data(2), LINE_B)
    assert rig.delivered == [1, 2, 3] and rig.poll(10 * WAIT) is None
    assert rig.state["gaps"] == 0


def test_a_gap_that_outlives_the_wait_is_syncing_and_asked_for():
    rig = Rig()
    rig.send(data(1))
    rig.send(data(5))
    assert rig.poll(WAIT - 1) is None and rig.book_state == VALID
    assert rig.poll(1) == (2, 3) and rig.book_state == SYNCING
    rig.send(data(2, 3), LINE_RETRANSMIT)
    rig.poll()
    assert rig.delivered == [1, 2, 3, 4, 5] and rig.book_state == VALID and rig.state["recovered"] == 1


def test_a_heartbeat_shows_the_loss_of_the_last_packet():
    rig = Rig()
    rig.send(data(1))
    assert rig.send(packet(SESSION, 4, [])) == IDLE
    assert rig.poll(WAIT) == (2, 2)


def test_requests_back_off_and_give_up_but_go_on():
    rig = Rig()
    rig.send(data(1))
    rig.send(data(3))
    assert rig.poll(WAIT) == (2, 1)
    for wait in (RETRY, 2 * RETRY):
        assert rig.poll(wait - 1) is None
        assert rig.poll(1) == (2, 1) and rig.book_state == SYNCING
    assert rig.poll(4 * RETRY) == (2, 1) and rig.book_state == INVALID and rig.state["give_ups"] == 1
    for _ in range(3):
        assert rig.poll(8 * RETRY) == (2, 1)
    rig.send(data(2), LINE_RETRANSMIT)
    rig.poll()
    assert rig.delivered == [1, 2, 3] and rig.book_state == VALID


def test_a_partial_answer_is_followed_up_at_once():
    rig = Rig(request_limit=10)
    rig.send(data(101))
    assert rig.poll(WAIT) == (1, 10)
    rig.send(data(1, 4), LINE_RETRANSMIT)
    assert rig.poll() == (5, 10)


def test_a_full_window_is_invalid_until_caught_up():
    rig = Rig(slots=2)
    for sequence in (2, 3, 4, 5):
        rig.send(data(sequence))
    assert rig.state["overflows"] == 2 and rig.book_state == INVALID
    rig.send(data(1), LINE_B)
    rig.poll()
    assert rig.delivered == [1, 2, 3]
    assert rig.poll(WAIT) == (4, 2)
    rig.send(data(4, 2), LINE_RETRANSMIT)
    rig.poll()
    assert rig.delivered == [1, 2, 3, 4, 5] and rig.book_state == VALID


def test_a_packet_too_long_for_the_window_is_asked_for_again():
    rig = Rig(packet_bytes=64)
    rig.send(data(2, 40))
    assert rig.state["too_long"] == 1
    assert rig.poll(WAIT) == (1, 41)


def test_the_end_of_the_session_is_invalid_once_all_is_there():
    rig = Rig()
    rig.send(data(1))
    rig.send(packet(SESSION, 3, [], END_OF_SESSION))
    assert rig.book_state == VALID and rig.poll(WAIT) == (2, 1) and rig.book_state == SYNCING
    rig.send(data(2), LINE_RETRANSMIT)
    rig.poll()
    assert rig.book_state == INVALID and rig.delivered == [1, 2]


def test_nothing_heard_is_invalid_and_silence_is_not_valid():
    rig = Rig(silence_ns=5_000)
    assert rig.book_state == INVALID
    rig.send(data(1))
    assert rig.book_state == VALID
    rig.poll(5_001)
    assert rig.book_state == SYNCING
    rig.send(packet(SESSION, 2, []), LINE_B)
    assert rig.book_state == VALID


def run_on(rig: Rig, line: int = LINE_A, last: int = 70_000) -> None:
    """A line's packets 1 to ``last``, a hundred messages each."""
    for first in range(1, last, 100):
        rig.send(data(first, 100), line)
    rig.delivered.clear()


def test_a_session_begun_again_under_its_own_name_is_read_anew():
    rig = Rig(session_votes=3)
    run_on(rig)
    for number in (1, 2):
        assert rig.send(data(number)) == DUPLICATE
    assert rig.send(data(3)) == TOO_EARLY
    assert mold_take_reset(rig.address) and rig.state["restarts"] == 1
    assert rig.poll(WAIT) == (1, 2)
    rig.send(data(1, 2), LINE_RETRANSMIT)
    rig.poll()
    assert rig.delivered == [1, 2, 3] and rig.book_state == VALID
    # The other line has begun again too, and that is the same session.
    for number in (1, 2, 3, 4):
        rig.send(data(number), LINE_B)
    assert rig.delivered == [1, 2, 3, 4] and rig.state["restarts"] == 1


def test_old_packets_are_no_sign_of_life():
    rig = Rig(silence_ns=5_000)
    rig.send(data(1, 100))
    rig.poll(5_001)
    rig.send(data(50))
    assert rig.book_state == SYNCING
    rig.send(packet(SESSION, 101, []), LINE_B)
    assert rig.book_state == VALID


def test_a_line_far_behind_the_other_late_answers_and_strays_restart_nothing():
    rig = Rig(session_votes=3, silence_ns=5_000)
    run_on(rig)
    # After a standstill of ours the slow line is read first.
    rig.poll(10_000)
    for first in range(1, 70_000, 100):
        assert rig.send(data(first, 100), LINE_B) == DUPLICATE
    for number in range(1, 10):
        assert rig.send(data(number), LINE_RETRANSMIT) == DUPLICATE
        assert rig.send(data(number), LINE_A) == DUPLICATE
        rig.send(packet(SESSION, 70_001, []), LINE_A)
    assert rig.state["restarts"] == 0 and rig.state["reset_due"] == 0 and rig.book_state == VALID


def test_late_copies_after_the_end_of_a_session_do_not_begin_it_again():
    rig = Rig(session_votes=3)
    run_on(rig)
    rig.send(packet(SESSION, 70_001, [], END_OF_SESSION))
    for number in range(1, 9):
        rig.send(data(number))
    assert rig.state["restarts"] == 0 and rig.state["reset_due"] == 0


def test_a_packet_while_another_is_being_delivered_is_put_off():
    rig = Rig()
    first = np.frombuffer(data(1, 2), np.uint8).copy()
    now = np.int64(1)
    mold_packet(rig.address, np.int64(0), np.uint64(first.ctypes.data), np.int64(len(first)), now, np.uint64(0))
    assert rig.send(data(3), drain=False) == BUSY
    rig.drain()
    assert rig.delivered == [1, 2]


@pytest.mark.parametrize("sequence", [0, 2**63, 2**64 - 1])
def test_numbers_that_would_wrap_are_refused(sequence):
    rig = Rig()
    assert rig.send(packet(SESSION, sequence, [b"1"])) == REFUSED
    assert rig.state["bad_sequence"] == 1 and rig.book_state == INVALID


def test_the_last_numbers_before_the_limit_are_delivered():
    rig = Rig(first_sequence=2**63 - 2)
    assert rig.send(packet(SESSION, 2**63 - 2, [b"1"]), drain=False) == READY
    assert mold_next(rig.address) and int(rig.state["sequence"]) == 2**63 - 2


def test_every_truncation_is_refused_and_counted():
    whole = data(1, 3)
    for length in range(len(whole)):
        rig = Rig()
        assert rig.send(whole[:length]) == REFUSED
        assert rig.state["malformed"][LINE_A] == 1 and rig.delivered == []


def test_bytes_after_the_last_block_are_counted_and_ignored():
    rig = Rig()
    rig.send(data(1) + b"padding")
    assert rig.delivered == [1] and rig.state["trailing"] == 1


@pytest.mark.parametrize(
    "setting", [{"first_sequence": 0}, {"request_limit": 0xFFFF}, {"retry_ns": 0}, {"max_retries": 0}, {"slots": 0}]
)
def test_settings_that_make_no_arbiter_are_refused(setting):
    with pytest.raises(ValueError):
        arbiter_init(Rig().memory, **setting)


def test_the_default_memory_is_bounded():
    assert arbiter_bytes() < 2 << 20


class Network:
    """Lines that lose, repeat and reorder, and a server that answers requests with one packet, or not at all."""

    def __init__(self, seed: int, count: int, losses: tuple[float, float], skew: int, answers: float):
        self.rng = random.Random(seed)
        self.losses, self.skew, self.answers = losses, skew, answers
        self.sizes, at = [], 1
        while at <= count:
            size = self.rng.randint(1, min(5, count - at + 1))
            self.sizes.append((at, size))
            at += size
        self.count = count

    def arrivals(self) -> list[tuple[int, bytes]]:
        """(line, packet) in the order of arrival."""
        queue = []
        for line in (LINE_A, LINE_B):
            for place, (first, size) in enumerate(self.sizes):
                copies = 0 if self.rng.random() < self.losses[line] else self.rng.choice([1, 1, 1, 2])
                late = self.skew if line == LINE_B else 0
                for _ in range(copies):
                    jitter = self.rng.choice([0, 0, 0, 0, self.rng.uniform(0, 6)]) if self.skew else 0
                    queue.append((place + late + jitter + 0.1 * line, line, data(first, size)))
        queue.sort(key=lambda entry: entry[:2])
        return [(line, text) for _, line, text in queue]

    def answer(self, sequence: int, count: int) -> bytes | None:
        if self.rng.random() >= self.answers:
            return None
        return data(sequence, min(count, self.rng.randint(1, 20), self.count - sequence + 1))


def run(network: Network, **settings) -> Rig:
    """Send everything, then heartbeats until caught up or 400 polls have passed."""
    rig = Rig(**settings)
    for line, text in network.arrivals():
        rig.send(text, line)
        answer(rig, network, rig.poll(100))
        assert rig.delivered == list(range(1, len(rig.delivered) + 1))
        if rig.book_state == VALID and rig.state["hole"] == 0:
            assert int(rig.state["expected"]) == int(rig.state["high"])
    for _ in range(400):
        rig.send(packet(SESSION, network.count + 1, []))
        answer(rig, network, rig.poll(RETRY))
        if rig.delivered == list(range(1, network.count + 1)):
            break
        assert rig.book_state != VALID or rig.state["hole"] == 1
    rig.poll()
    return rig


def answer(rig: Rig, network: Network, request: tuple[int, int] | None) -> None:
    reply = network.answer(*request) if request else None
    if reply is not None:
        rig.send(reply, LINE_RETRANSMIT)
        rig.poll()


@given(
    st.integers(0, 2**32), st.floats(0, 0.4), st.floats(0, 0.4), st.integers(0, 10), st.sampled_from([0.0, 0.5, 1.0]),
    st.sampled_from([4, 64]),
)  # fmt: skip
@settings(max_examples=120, deadline=None)
def test_every_message_once_in_order_or_the_books_are_not_valid(seed, loss_a, loss_b, skew, answers, slots):
    network = Network(seed, 120, (loss_a, loss_b), skew, answers)
    rig = run(network, slots=slots)
    whole = rig.delivered == list(range(1, 121))
    assert whole == (rig.book_state == VALID)
    assert whole or answers < 1.0


@pytest.mark.parametrize("lossy", [LINE_A, LINE_B])
@pytest.mark.parametrize("skew", [0, 3])
def test_loss_on_one_line_shows_no_gap_while_the_other_is_whole(lossy, skew):
    losses = (0.3, 0.0) if lossy == LINE_A else (0.0, 0.3)
    rig = run(Network(5, 2000, losses, skew, 0.0), wait_ns=4 * WAIT)
    assert rig.delivered == list(range(1, 2001))
    assert rig.state["gaps"] == 0 and rig.state["requests"] == 0 and rig.book_state == VALID


def test_one_line_dead_shows_no_gap():
    rig = run(Network(5, 2000, (1.0, 0.0), 0, 0.0))
    assert rig.delivered == list(range(1, 2001)) and rig.state["holes"] == 0


def test_loss_on_both_lines_is_recovered_in_full():
    rig = run(Network(5, 4000, (0.05, 0.05), 2, 1.0))
    assert rig.delivered == list(range(1, 4001)) and rig.book_state == VALID
    assert rig.state["recovered"] == rig.state["gaps"] > 0
