"""What a seed of the feed campaign stands for: how bad the lines are, what else goes wrong, and how the feed is set.

============ ======================================================================================================
kind         the rule beyond those that always hold
============ ======================================================================================================
one_line     30 % loss on one line, the other whole: no gap, and once VALID, always VALID
both_lines   5 % loss on both: every gap is recovered by re-request
swarm        anything, drawn per seed: losses to 30 %, doubling, overtaking, delay and skew, dead lines, session rolls,
             a venue that fails back to its earlier session, late joins, small windows, damaged datagrams, strays, a
             re-request server that loses what it gets and sends
============ ======================================================================================================
"""

import random
from dataclasses import dataclass, field
from typing import TypedDict

from hftpipe.simulation.exchange_server.impair import Impairment

US, MS = 1_000, 1_000_000
STEPS = 600
ONE_LINE, BOTH_LINES, SWARM = "one_line", "both_lines", "swarm"
#: Chances per datagram: cut short, followed by junk, far too long, preceded by noise, by a header that cannot be,
#: by another session's packet, or by one of this session that is far ahead.
DAMAGES = ("cut", "trailing", "huge", "noise", "bad_header", "stray", "far")
#: Those of them that are whole packets, and speak of another place than the one that the feed is at.
STRAYS = ("stray", "far")


class ArbiterSettings(TypedDict):
    """Settings of :func:`hftpipe.venues.nasdaq.itch.arbiter_state.arbiter_init`."""

    wait_ns: int
    retry_ns: int
    retry_max_ns: int
    max_retries: int
    request_limit: int
    silence_ns: int
    session_votes: int
    takeover_ns: int
    slots: int
    packet_bytes: int


@dataclass(frozen=True)
class FeedPlan:
    """Everything about a run but its chance events, which come from ``random.Random(seed)`` too.

    Attributes:
        lines: A, B, requests, answers.
        step_ns: least and most simulated time between two steps; join: step at which the feed is there.
        dead: (line, first step, last step) in which it carries nothing.
        rolls: steps at which another session begins; marks: whether the old one is ended with a packet that says so.
        backs: steps at which the venue goes back to the session before; the market stands still since the roll.
        batch: most datagrams a line brings between two looks of the feed (a socket holds ten, some come with junk);
            out_records: room for what a look brings; flush: chance a step that a packet goes out before it is full.
        arbiter: its settings.
    """

    seed: int
    kind: str
    steps: int
    lines: tuple[Impairment, Impairment, Impairment, Impairment]
    arbiter: ArbiterSettings
    rate_per_s: float = 10_000.0
    step_ns: tuple[int, int] = (20 * US, 150 * US)
    heartbeat_ns: int = 2 * MS
    join: int = 0
    dead: tuple[tuple[int, int, int], ...] = ()
    rolls: tuple[int, ...] = ()
    backs: tuple[int, ...] = ()
    marks: bool = True
    batch: int = 8
    out_records: int = 4096
    flush: float = 1.0
    damages: dict[str, float] = field(default_factory=dict)

    @property
    def settle_ns(self) -> int:
        """Simulated time after the last fault within which a feed must be VALID and whole again (I15)."""
        return 200 * MS + 4 * self.arbiter["retry_max_ns"]


def _arbiter(rng: random.Random) -> ArbiterSettings:
    retry = rng.choice((300 * US, 1 * MS, 3 * MS))
    return {
        "wait_ns": rng.choice((100 * US, 300 * US, 1 * MS)), "retry_ns": retry,
        "retry_max_ns": retry * rng.choice((1, 4, 16)), "max_retries": rng.choice((2, 4, 8)),
        "request_limit": rng.choice((20, 200, 1000)), "silence_ns": rng.choice((0, 6 * MS, 20 * MS)),
        "session_votes": 3, "takeover_ns": 10 * MS,
        "slots": rng.choice((8, 64, 1024)), "packet_bytes": 1500,
    }  # fmt: skip


def _bad_line(rng: random.Random, swarm: random.Random) -> Impairment:
    def on(value: float) -> float:
        return value if swarm.random() < 0.5 else 0.0

    return Impairment(
        loss=on(rng.uniform(0.0, 0.3)), duplicate=on(rng.uniform(0.0, 0.3)), reorder=on(rng.uniform(0.0, 0.3)),
        delay_us=on(rng.choice((30.0, 200.0, 2_000.0))), reorder_us=rng.choice((50.0, 500.0, 5_000.0)),
    )  # fmt: skip


def _spans(rng: random.Random, steps: int) -> tuple[tuple[int, int, int], ...]:
    """A line is dead for a while, now and then the other one in the middle of that."""
    first, line = rng.randrange(steps), rng.randrange(2)
    spans = [(line, first, first + rng.randrange(10, steps // 2))]
    if rng.random() < 0.5:
        first += rng.randrange(10)
        spans.append((1 - line, first, first + rng.randrange(5, steps // 2)))
    return tuple(spans)


def _swarm(seed: int, steps: int, rng: random.Random) -> FeedPlan:
    swarm = random.Random(seed ^ 0x5EED)

    def on() -> bool:
        return swarm.random() < 0.4

    damages = {name: rng.uniform(0.0, 0.1) for name in DAMAGES if on()}
    # What can be asked for again is kept for so long; a whole session fits.
    step_ns, rate = rng.choice(
        (((1 * US, 30 * US), 30_000.0), ((20 * US, 150 * US), 30_000.0), ((50 * US, 1 * MS), 10_000.0))
    )
    # One roll: sessions follow each other within a day nowhere.
    rolls = (swarm.randrange(steps // 2, steps),) if on() else ()
    backs = (swarm.randrange(rolls[0] + 1, steps + 1),) if rolls and on() else ()
    a, b, requests, answers = (_bad_line(rng, swarm) for _ in range(4))
    return FeedPlan(
        seed, SWARM, steps, (a, b, requests, answers), _arbiter(rng),
        rate_per_s=rng.choice((2_000.0, rate)), step_ns=step_ns,
        heartbeat_ns=rng.choice((1, 3)) * MS, join=rng.randrange(1, steps // 3) if on() else 0,
        dead=_spans(rng, steps) if on() else (), rolls=rolls, backs=backs,
        marks=rng.random() < 0.5, batch=rng.choice((1, 2) if damages else (1, 3, 8)),
        out_records=rng.choice((256, 4096)), flush=rng.choice((0.1, 0.5, 1.0)), damages=damages,
    )  # fmt: skip


def plan_of(seed: int, steps: int = STEPS) -> FeedPlan:
    """The plan of a seed: every fourth one is ``one_line``, every fourth ``both_lines``."""
    rng = random.Random(seed)
    arbiter = _arbiter(rng) | {"slots": 1024, "silence_ns": 0}
    whole = Impairment(delay_us=rng.choice((0.0, 20.0)))
    if seed % 4 == 0:
        # The other line fills a hole before the wait is over: skew and the longest step stay below it.
        worse = Impairment(loss=0.3, duplicate=rng.choice((0.0, 0.1)), delay_us=rng.choice((0.0, 20.0)))
        lines = (worse, whole) if rng.random() < 0.5 else (whole, worse)
        flush = rng.choice((0.3, 1.0))
        return FeedPlan(
            seed, ONE_LINE, steps, (*lines, whole, whole), arbiter, step_ns=(5 * US, 40 * US), flush=flush
        )  # fmt: skip
    if seed % 4 == 1:
        bad = Impairment(loss=0.05, delay_us=whole.delay_us)
        return FeedPlan(seed, BOTH_LINES, steps, (bad, bad, whole, whole), arbiter, flush=rng.choice((0.3, 1.0)))
    return _swarm(seed, steps, rng)
