"""Which session the arbiter follows: strays, strangers, rolls and fail-back, and a slow twin that follows the same rules."""

from dataclasses import dataclass, field

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from itch_reference import packet
from itch_rig import WAIT, MoldRig, texts_of

from hftpipe.core.schema.records import SYNCING, VALID
from hftpipe.venues.nasdaq.itch.arbiter import REFUSED, mold_poll, mold_take_reset
from hftpipe.venues.nasdaq.itch.arbiter_state import arbiter_init
from hftpipe.venues.nasdaq.itch.election import AHEAD, LINE_A, LINE_B, LINE_RETRANSMIT, REORDER
from hftpipe.venues.nasdaq.itch.mold import END_OF_SESSION, session_words

VOTES, TAKEOVER = 3, 1_000_000
#: Senders (address and port) as numbers: two publishers, somebody else, and a process beside the first publisher.
OURS, BACKUP, STRANGER, UNKNOWN = 0x0A000001_1000, 0x0A000002_1000, 0x0A0000FF_1000, 0
BESIDE = OURS + 1
ADDRESS_OF = {OURS: OURS >> 16, BACKUP: BACKUP >> 16}


class Rig(MoldRig):
    """An arbiter whose books are forgotten when it says so."""

    def __init__(self, **given):
        super().__init__(**({"session_votes": VOTES, "takeover_ns": TAKEOVER} | given))

    def put(
        self, session: str, first: int, count: int = 1, line: int = LINE_A, sender: int = OURS, end: bool = False
    ) -> int:
        """One packet; ``end`` makes it the end of the session."""
        body = packet(session, first, [], END_OF_SESSION) if end else packet(session, first, texts_of(first, count))
        return self.send(body, line, sender=sender)

    def taken(self) -> None:
        if mold_take_reset(self.address):
            self.delivered.clear()

    def pass_ns(self, passed: int, step: int = TAKEOVER // 4) -> None:
        """Let time pass, looking all the while."""
        for _ in range(passed // step):
            self.poll(step)

    def poll(self, passed: int = 0) -> None:
        """Requests are nobody's business here."""
        self.now += passed
        mold_poll(self.address, np.int64(self.now), np.uint64(self.request.ctypes.data))

    @property
    def session(self) -> tuple[int, int]:
        return int(self.state["session_low"]), int(self.state["session_high"])

    def follows(self, session: str) -> bool:
        return self.session == session_words(session)


def following(session: str = "S1", sender: int = OURS, last: int = 10) -> Rig:
    """A rig in the middle of a session on both lines."""
    rig = Rig()
    for number in range(1, last + 1):
        rig.put(session, number, sender=sender)
        rig.put(session, number, line=LINE_B, sender=sender)
    return rig


@pytest.mark.parametrize("sender", [OURS, STRANGER, UNKNOWN])
@pytest.mark.parametrize("first", [1, 2, 77, 2**40])
def test_one_packet_of_another_session_changes_nothing_and_is_counted(sender, first):
    rig = following()
    assert rig.put("XX", first, sender=sender) == REFUSED
    assert rig.follows("S1") and rig.state["foreign_session"] == 1 and rig.state["session_changes"] == 0
    rig.put("S1", 11)
    assert rig.delivered[-1] == 11 and rig.book_state == VALID


def test_copies_of_one_packet_are_one_vote():
    rig = following()
    rig.put("S1", 11, end=True)
    for line in (LINE_A, LINE_B) * 5:
        rig.put("XX", 1, line=line, sender=UNKNOWN)
    assert rig.follows("S1")


def test_a_stray_between_sessions_decides_nothing():
    rig = following()
    rig.put("S1", 11, end=True)
    rig.put("XX", 1)
    for number in range(1, 4):
        rig.put("S2", number)
    assert rig.follows("S2") and rig.delivered == [1, 2, 3]


def test_the_next_session_is_followed_from_its_first_message_and_loses_none():
    rig = following()
    rig.put("S1", 11, end=True)
    rig.put("S2", 1, 5, sender=UNKNOWN)
    rig.put("S2", 6, 5, sender=UNKNOWN)
    assert rig.follows("S1") and rig.delivered[-1] == 10
    rig.put("S2", 11, sender=UNKNOWN)
    assert rig.follows("S2") and rig.delivered == list(range(1, 12)) and rig.book_state == VALID


def test_a_new_session_from_the_lines_own_address_needs_no_end_of_the_one_before():
    rig = following()
    for number in (1, 2, 3):
        rig.put("S2", number, line=LINE_B)
    assert rig.follows("S2") and rig.delivered == [1, 2, 3]


@pytest.mark.parametrize("sender", [STRANGER, UNKNOWN, BESIDE])
def test_whoever_else_sends_another_session_has_no_vote_while_ours_lives(sender):
    rig = following()
    for number in range(1, 200):
        rig.put("XX", number, sender=sender)
        if number % 20 == 0:
            rig.pass_ns(TAKEOVER // 2)
            rig.put("S1", 10 + number // 20)
    assert rig.follows("S1") and rig.delivered == list(range(1, 20))


def test_a_stranger_has_no_vote_after_the_end_of_a_session_either_until_it_is_silent():
    rig = following()
    rig.put("S1", 11, end=True)
    for number in range(1, 10):
        rig.put("XX", number, sender=STRANGER)
    assert rig.follows("S1")
    rig.pass_ns(TAKEOVER)
    for number in range(10, 13):
        rig.put("XX", number, sender=STRANGER)
    assert rig.follows("XX")


def test_a_venue_that_fails_over_to_another_address_is_followed_when_ours_is_silent():
    rig = following()
    rig.pass_ns(TAKEOVER)
    for number in (1, 2, 3):
        rig.put("S2", number, sender=BACKUP)
    assert rig.follows("S2") and rig.delivered == [1, 2, 3]
    # And from there on that is the line's own address.
    for number in (1, 2, 3):
        rig.put("S3", number, sender=BACKUP)
    assert rig.follows("S3")


def test_a_venue_that_fails_back_to_its_earlier_session_is_followed_when_the_later_is_silent():
    rig = following()
    for number in (1, 2, 3):
        rig.put("S2", number)
    assert rig.follows("S2")
    for number in range(11, 30):
        rig.put("S1", number)
    assert rig.follows("S2"), "late copies of the session before"
    rig.pass_ns(TAKEOVER)
    for number in (30, 31, 32):
        rig.put("S1", number)
    assert rig.follows("S1") and rig.state["high"] == 33


def test_whatever_a_stray_did_the_true_feed_is_back_in_bounded_time():
    """The session of a stray that won (three packets, while ours was silent) gives way to ours as any other would."""
    rig = following()
    rig.pass_ns(TAKEOVER)
    for number in (1, 2, 3):
        rig.put("XX", number, sender=STRANGER)
    assert rig.follows("XX")
    for number in range(11, 40):
        rig.pass_ns(TAKEOVER // 4)
        rig.put("S1", number)
    assert rig.follows("S1")


def test_a_stray_that_comes_first_is_no_session_to_defend():
    rig = Rig()
    rig.put("XX", 1, sender=STRANGER)
    for number in (1, 2, 3):
        rig.put("S1", number, sender=OURS)
    assert rig.follows("S1") and rig.delivered == [1, 2, 3]


def test_answers_of_the_re_request_server_elect_nobody():
    rig = following()
    rig.put("S1", 11, end=True)
    for number in range(1, 9):
        rig.put("S2", number, line=LINE_RETRANSMIT)
    assert rig.follows("S1")


def test_a_strangers_packets_under_our_sessions_name_are_not_taken_while_ours_lives():
    rig = following()
    assert rig.put("S1", 11, sender=STRANGER) == REFUSED
    assert rig.state["strangers"] == 1 and rig.delivered[-1] == 10
    # One line may move to another address while the other goes on.
    rig.pass_ns(TAKEOVER // 2)
    rig.put("S1", 11, line=LINE_B)
    rig.pass_ns(TAKEOVER)
    rig.put("S1", 12, sender=BACKUP)
    assert rig.delivered[-1] == 12


def test_another_process_of_the_same_host_is_followed_once_the_session_has_ended():
    """A publisher that is started again has another port."""
    rig = following(last=10)
    rig.put("S1", 11, end=True)
    for number in range(1, VOTES + 1):
        rig.put("S2", number, sender=BESIDE)
    rig.taken()
    assert rig.follows("S2") and rig.delivered == [1, 2, 3]


def test_a_second_publisher_of_the_same_host_is_not_followed_while_the_first_speaks():
    """Two exchanges on one machine, on the same groups: each is heard as often as the other."""
    rig = following()
    for number in range(11, 200):
        rig.put("XX", number, sender=BESIDE)
        rig.put("XX", number, line=LINE_B, sender=BESIDE)
        rig.put("S1", number)
        rig.put("S1", number, line=LINE_B)
    assert rig.follows("S1") and rig.delivered[-1] == 199 and rig.state["session_changes"] == 0


def test_with_addresses_given_nobody_else_is_ever_heard():
    rig = Rig(senders=(ADDRESS_OF[OURS], ADDRESS_OF[BACKUP]))
    for number in range(1, 9):
        rig.put("XX", number, sender=STRANGER)
        rig.put("XX", number, sender=UNKNOWN)
    assert rig.state["sessions"] == 0 and rig.state["strangers"] == 16
    rig.put("S1", 1, sender=OURS)
    rig.put("S1", 2, line=LINE_B, sender=BACKUP)
    rig.pass_ns(2 * TAKEOVER)
    assert rig.put("S1", 3, sender=BACKUP) == REFUSED
    assert rig.delivered == [1, 2]


@pytest.mark.parametrize("first", [AHEAD + 12, 2**40, 2**62])
def test_a_sequence_number_far_ahead_is_not_believed_of_one_packet(first):
    rig = following()
    assert rig.put("S1", first) == REFUSED
    assert rig.state["far_ahead"] == 1 and rig.state["high"] == 11 and rig.book_state == SYNCING
    rig.put("S1", 11, line=LINE_B)
    assert rig.delivered[-1] == 11 and rig.book_state == VALID


def test_a_feed_that_comes_back_far_ahead_is_believed():
    rig = following()
    for number in (2**30, 2**30 + 1, 2**30 + 2):
        rig.put("S1", number)
    rig.poll(WAIT)
    assert rig.state["high"] == 2**30 + 3 and rig.book_state == SYNCING


def test_a_claim_far_ahead_is_forgotten_with_its_votes_also_by_a_packet_some_way_behind():
    rig = Rig()
    for first in (1, 1, 1, AHEAD + 50, AHEAD + 51, AHEAD + 52, REORDER + 9_000, 1):
        rig.put("S1", first, 0)
    assert rig.state["high"] == AHEAD + 52 and rig.state["far_ahead"] == 3 and rig.state["ahead"] == 0


def test_what_strays_have_agreed_on_is_forgotten_when_it_does_not_come_true():
    rig = following()
    for number in (2**40, 2**40 + 1, 2**40 + 2):
        rig.put("S1", number)
    rig.pass_ns(TAKEOVER)
    for number in (11, 12, 13):
        rig.put("S1", number)
    rig.poll()
    assert rig.state["retracted"] == 1 and rig.book_state == VALID and rig.delivered[-1] == 13


def test_an_answer_far_ahead_is_none():
    rig = following()
    assert rig.put("S1", 2**40, line=LINE_RETRANSMIT) == REFUSED
    assert rig.state["high"] == 11 and rig.book_state == VALID


@pytest.mark.parametrize("line", [LINE_A, LINE_B])
def test_a_first_packet_far_ahead_blinds_nobody(line):
    rig = Rig()
    rig.put("S1", 2**40)
    for number in range(1, 6):
        rig.put("S1", number, line=line)
    assert rig.state["high"] == 6 and rig.state["restarts"] == 1


def test_copies_of_one_old_packet_do_not_begin_the_session_again():
    rig = following(last=3)
    rig.put("S1", 4, 60_000)
    rig.put("S1", 60_004, 10_000)
    for _ in range(9):
        rig.put("S1", 1)
    assert rig.state["restarts"] == 0


def test_an_end_of_session_that_was_none_does_not_hold():
    rig = following()
    rig.put("S1", 11, end=True)
    assert rig.book_state != VALID
    rig.put("S1", 11)
    assert rig.book_state == VALID and rig.delivered[-1] == 11
    rig.put("S1", 12, end=True)
    rig.put("S1", 12, 0)
    assert rig.book_state == VALID


def test_what_waits_for_one_candidate_is_not_taken_for_anothers():
    rig = following()
    rig.put("S1", 11, end=True)
    rig.put("XX", 1, 3)
    rig.put("S2", 1, 0)
    rig.put("S2", 2)
    rig.put("S2", 3)
    assert rig.follows("S2") and rig.delivered == [] and rig.state["expected"] == 1


@pytest.mark.parametrize("place", [0, 1, 2])
def test_a_stray_far_ahead_among_the_votes_for_a_session_moves_nothing_but_the_vote(place):
    rig = following()
    rig.put("S1", 11, end=True)
    firsts = [1, 2, 3]
    firsts.insert(place, 20_000)
    for first in firsts:
        rig.put("S2", first)
    assert rig.state["high"] < 100
    rig.pass_ns(TAKEOVER)
    for first in (4, 5, 6, 7):
        rig.put("S2", first)
    assert rig.follows("S2") and rig.state["high"] == 8


def test_what_was_not_listened_to_is_no_silence():
    """A process that stood still finds a backlog: the late copies in front of it elect nobody."""
    rig = following()
    for number in (1, 2, 3):
        rig.put("S2", number)
    rig.now += 10 * TAKEOVER
    for number in range(11, 20):
        rig.put("S1", number, line=LINE_B)
    rig.put("S2", 4)
    assert rig.follows("S2") and rig.delivered == [1, 2, 3, 4]


@pytest.mark.parametrize("setting", [{"session_votes": 0}, {"takeover_ns": 0}])
def test_settings_that_make_no_election_are_refused(setting):
    with pytest.raises(ValueError, match="session_votes"):
        arbiter_init(Rig().memory, **setting)


# --- the slow twin ---------------------------------------------------------------------------------


@dataclass
class Packet:
    """A datagram, and how long after the one before it came."""

    session: str
    first: int
    count: int
    line: int
    sender: int
    ends: bool
    passed: int

    @property
    def end(self) -> int:
        return self.first + (0 if self.ends else self.count)


@dataclass
class Twin:
    """The rules of the election and of the sequence, on sets and lists that are never thrown away."""

    session: str = ""
    past: list[str] = field(default_factory=list)
    have: set[int] = field(default_factory=set)
    high: int = 1
    ended: bool = False
    voices: int = 0
    life_ns: int = 0
    near_ns: int = 0
    looked_ns: int = 0
    awake_ns: int = 0
    votes: dict[str, list[list[tuple[int, int]]]] = field(default_factory=dict)
    waiting: dict[str, list[Packet]] = field(default_factory=dict)
    own: dict[int, tuple[int, int]] = field(default_factory=dict)
    line_high: dict[int, int] = field(default_factory=dict)

    @property
    def expected(self) -> int:
        number = 1
        while number in self.have:
            number += 1
        return number

    def silent(self, since: int, now: int) -> bool:
        return now - max(since, self.awake_ns) >= TAKEOVER

    def look(self, now: int) -> None:
        if now - self.looked_ns > TAKEOVER // 2:
            self.awake_ns = now
        self.looked_ns = now

    def take(self, p: Packet, now: int) -> None:
        self.look(now)
        if self.session == "":
            self.session = p.session
        if p.session != self.session:
            if self.may_vote(p, now) and self.vote(p, now):
                self.follow(p, now)
                self.accept(p, now)
        elif self.admits(p, now):
            self.accept(p, now)

    def admits(self, p: Packet, now: int) -> bool:
        sender, heard = self.own.get(p.line, (0, 0))
        if 0 not in (p.sender, sender) and p.sender != sender and self.voices >= VOTES and not self.silent(heard, now):
            return False
        self.own[p.line] = (p.sender or sender, now)
        return True

    def may_vote(self, p: Packet, now: int) -> bool:
        if p.line == LINE_RETRANSMIT:
            return False
        if self.voices < VOTES or self.silent(self.life_ns, now):
            return True
        if p.session in self.past:
            return False
        sender = self.own.get(p.line, (0, 0))[0]
        if sender and p.sender == sender:
            return True
        is_over = self.ended and self.expected >= self.high
        return is_over and (0 in (p.sender, sender) or p.sender >> 16 == sender >> 16)

    def vote(self, p: Packet, now: int) -> bool:
        counts = self.votes.setdefault(p.session, [])
        near = [one for one in counts if p.first <= one[-1][0] + AHEAD and one[-1][0] <= p.end + AHEAD]
        if not near:
            counts.append([])
        cast = near[0] if near else counts[-1]
        if not cast or p.end > cast[-1][0] or now - cast[-1][1] >= TAKEOVER // VOTES:
            cast.append((p.end, now))
        self.waiting.setdefault(p.session, []).append(p)
        return cast[-1] == (p.end, now) and len(cast) >= VOTES

    def follow(self, p: Packet, now: int) -> None:
        self.past, self.session = [*self.past, self.session][-4:], p.session
        heard = self.own.get(p.line, (0, 0))
        if p.sender and p.sender != heard[0]:
            self.own = {line: (0, ns) for line, (_, ns) in self.own.items()}
        self.own[p.line] = (p.sender or heard[0], heard[1])
        self.begin()
        self.high, self.voices, self.votes = max(self.high, p.end), VOTES, {}

    def begin(self) -> None:
        self.have, self.high, self.ended, self.line_high = set(), 1, False, {}

    def accept(self, p: Packet, now: int) -> None:
        is_line, settled = p.line != LINE_RETRANSMIT, self.voices >= VOTES
        if p.end > self.high + AHEAD and (not is_line or (self.voices > 0 and not self.vote(p, now))):
            return
        if (
            is_line
            and self.is_behind(p, settled)
            and (not self.ended or self.silent(self.life_ns, now))
            and self.vote(p, now)
        ):
            self.begin()
        if p.end >= self.expected:
            self.life_ns = now
            if p.end + AHEAD >= self.high:
                self.voices, self.votes, self.near_ns = min(self.voices + 1, VOTES), {}, now
            elif is_line and self.silent(self.near_ns, now):
                if self.vote(p, now):
                    self.high, self.line_high = p.end, {}
            elif self.voices >= VOTES and p.end + REORDER >= self.high:
                self.votes = {}
        if p.end > self.high or (p.count == 0 and not p.ends):
            self.ended = False
        self.high = max(self.high, p.end)
        self.ended |= p.ends
        self.have |= set(range(p.first, p.end))

    def is_behind(self, p: Packet, settled: bool) -> bool:
        before = self.line_high.get(p.line, 0)
        if p.end + REORDER < before:
            return p.end < self.expected or not settled
        self.line_high[p.line] = max(before, p.end)
        return not settled and p.end + AHEAD < self.high


def packets(sessions: tuple[str, ...] = ("S1", "S2", "XX")) -> st.SearchStrategy[Packet]:
    near = st.integers(1, 12)
    return st.builds(
        Packet, st.sampled_from(sessions), near | st.sampled_from([AHEAD + 50, AHEAD + 51, REORDER + 50, REORDER + 51, REORDER + 52]),
        st.integers(0, 3), st.sampled_from([LINE_A, LINE_A, LINE_B, LINE_RETRANSMIT]),
        st.sampled_from([UNKNOWN, OURS, OURS, BESIDE, STRANGER]), st.sampled_from([False] * 7 + [True]),
        st.sampled_from([0, 1, 100, TAKEOVER // 3, TAKEOVER // 2, TAKEOVER]),
    )  # fmt: skip


def play(rig: Rig, twin: Twin | None, p: Packet) -> None:
    rig.now += p.passed
    rig.put(p.session, p.first, p.count, p.line, p.sender, p.ends)
    if twin:
        twin.take(p, rig.now)


@given(st.lists(packets(), max_size=60))
@settings(max_examples=400, deadline=None)
def test_the_same_session_is_followed_as_by_the_twin(sent):
    rig, twin = Rig(), Twin()
    for p in sent:
        changes = int(rig.state["session_changes"])
        play(rig, twin, p)
        assert rig.follows(twin.session)
        if rig.state["session_changes"] != changes:
            # What waited for the election and was handed on depends on how much could wait: all that is asked is no gap.
            twin.have |= set(rig.delivered)
            twin.high = max(twin.high, int(rig.state["high"]))
        assert rig.delivered == list(range(1, len(rig.delivered) + 1))
        twin.have |= set(range(1, int(rig.state["expected"])))
        assert int(rig.state["high"]) == twin.high and int(rig.state["expected"]) == twin.expected


@given(st.lists(packets(), max_size=60), st.sampled_from(["S1", "S2", "S9"]), st.sampled_from([UNKNOWN, OURS, BACKUP]),
       st.sampled_from([LINE_A, LINE_B]), st.booleans())  # fmt: skip
@settings(max_examples=400, deadline=None)
def test_nothing_that_has_happened_shuts_the_true_feed_out(sent, session, sender, line, is_idle):
    """Alone on the lines, it is followed after a silence and a few packets, whatever it is called and comes from."""
    rig = Rig()
    for p in sent:
        play(rig, None, p)
    for number in range(100, 100 + 8 * VOTES):
        rig.pass_ns(TAKEOVER // 2)
        rig.put(session, 100 if is_idle else number, 0 if is_idle else 1, line, sender)
    assert rig.follows(session)
    # A stray under the session's own name may have promised a little more; nobody believes in much.
    true = 100 if is_idle else 100 + 8 * VOTES
    assert true <= int(rig.state["high"]) < true + REORDER
    while (first := int(rig.state["expected"])) < (high := int(rig.state["high"])):
        rig.put(session, first, min(high - first, 9_000), LINE_RETRANSMIT, UNKNOWN)
    rig.put(session, int(rig.state["high"]), 1, line, sender)
    rig.poll()
    assert rig.book_state == VALID and int(rig.state["expected"]) == int(rig.state["high"])


@given(
    st.lists(st.lists(packets(("S2", "XX", "YY")), max_size=VOTES - 1), max_size=30), st.sampled_from([UNKNOWN, OURS])
)
@settings(max_examples=200, deadline=None)
def test_fewer_strays_than_votes_between_ours_change_nothing_whoever_sends_them(strays, sender):
    rig = following(sender=sender)
    for number, batch in enumerate(strays, 11):
        for p in batch:
            p.passed = min(p.passed, TAKEOVER // 4)
            play(rig, None, p)
        rig.put("S1", number, sender=sender)
        assert rig.book_state == VALID and rig.delivered[-1] == number
    assert rig.state["session_changes"] == 0 and rig.state["foreign_session"] == sum(map(len, strays))


@given(st.lists(packets(("S2", "XX", "YY")), max_size=80))
@settings(max_examples=200, deadline=None)
def test_a_stranger_changes_nothing_while_ours_lives_however_much_it_sends(strays):
    rig = following()
    for number, p in enumerate(strays, 11):
        p.sender, p.passed = STRANGER, min(p.passed, TAKEOVER // 4)
        play(rig, None, p)
        if number % 3 == 0:
            rig.put("S1", rig.delivered[-1] + 1)
    assert rig.state["session_changes"] == 0 and rig.follows("S1")
