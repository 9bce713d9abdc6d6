"""State of the arbiter: its record, and how it begins. What it does with it: :mod:`hftpipe.venues.nasdaq.itch.arbiter`.

::

    base | ARBITER | window of packets that came too early | window of packets of a session that is being voted for
"""

import numpy as np

from hftpipe.core.schema.counters import table
from hftpipe.core.schema.layout import Layout, lay_out, offset_of, whole
from hftpipe.venues.nasdaq.itch.election import ELECTION, LINES, election_init
from hftpipe.venues.nasdaq.itch.mold import END_OF_SESSION
from hftpipe.venues.nasdaq.itch.window import window_bytes, window_init

#: First sequence number that is refused.
SEQUENCE_LIMIT = 1 << 63

ARBITER = np.dtype(
    [
        # Settings; see :func:`arbiter_init`.
        ("first_sequence", "u8"), ("wait_ns", "i8"), ("retry_ns", "i8"), ("retry_max_ns", "i8"), ("max_retries", "i8"),
        ("request_limit", "i8"), ("silence_ns", "i8"), ("hold_at", "u8"),
        # The session that is followed, how many there have been, and whether the books of another are to be forgotten.
        ("session_low", "u8"), ("session_high", "u8"), ("sessions", "i8"), ("reset_due", "i8"),
        # Position.
        ("expected", "u8"), ("high", "u8"), ("ended", "i8"), ("last_packet_ns", "i8"), ("near_ns", "i8"),
        # By line: one past its latest message. ``ahead``: a packet far ahead of all has come, and none near since.
        ("line_high", "u8", LINES), ("ahead", "i8"),
        # The hole in front of ``expected``.
        ("hole", "i8"), ("hole_at", "u8"), ("hole_since_ns", "i8"), ("refilled", "i8"), ("gap", "i8"),
        ("next_request_ns", "i8"), ("backoff_ns", "i8"), ("retries", "i8"), ("given_up", "i8"), ("overflowed", "i8"),
        # The packet being delivered, and its message under way.
        ("at", "u8"), ("left", "i8"), ("local_ts", "i8"), ("origin_tsc", "u8"), ("held", "i8"),
        ("message", "u8"), ("length", "i8"), ("sequence", "u8"),
        # Counters. By line:
        ("packets", "i8", LINES), ("duplicates", "i8", LINES), ("malformed", "i8", LINES), ("used", "i8", LINES),
        # Altogether:
        ("delivered", "i8"), ("heartbeats", "i8"), ("trailing", "i8"), ("bad_sequence", "i8"), ("foreign_session", "i8"),
        ("strangers", "i8"), ("far_ahead", "i8"), ("retracted", "i8"), ("session_changes", "i8"), ("restarts", "i8"),
        ("holes", "i8"), ("gaps", "i8"), ("recovered", "i8"), ("requests", "i8"), ("give_ups", "i8"), ("overflows", "i8"),
        ("too_long", "i8"),
        ("election", ELECTION),
    ],
    align=True,
)  # fmt: skip
COUNTERS = table("""
  packets          packets of both lines
  duplicates       copies of what the other line had brought
  used             packets that brought something
  delivered        messages delivered in order
  heartbeats       heartbeats
  requests         re-requests sent
  recovered        holes that the re-request server filled
  retracted        places far ahead that did not come true
~ malformed        packets that are none
~ trailing         packets with bytes behind their last message
~ bad_sequence     packets with a place that cannot be
~ foreign_session  packets of another session
~ strangers        packets from another address
~ far_ahead        packets too far ahead to be believed
* session_changes  sessions that followed another
* restarts         sessions begun again under their own name
~ holes            places where both lines lacked something
~ gaps             holes that the other line did not fill in time
~ give_ups         holes given up
~ overflows        packets too many to be kept until a hole is filled
~ too_long         packets too long to be kept
""")
WINDOW = np.uint64(whole(ARBITER.itemsize))
ELECTION_AT = np.uint64(offset_of(ARBITER, "election"))
DEFAULT_SLOTS, DEFAULT_PACKET_BYTES = 1024, 1500
#: Packets of a session that is being voted for, at most.
_HOLD_SLOTS = 64


def arbiter_bytes(slots: int = DEFAULT_SLOTS, packet_bytes: int = DEFAULT_PACKET_BYTES) -> int:
    """Memory of an arbiter with its window of ``slots`` packets of at most ``packet_bytes``."""
    return _layout(slots, packet_bytes).size


def _layout(slots: int, packet_bytes: int) -> Layout:
    windows = {"window": slots, "hold": min(slots, _HOLD_SLOTS)}
    return lay_out({"arbiter": (ARBITER, 1)} | {name: window_bytes(n, packet_bytes) for name, n in windows.items()})


def arbiter_init(
    memory: np.ndarray,
    *,
    slots: int = DEFAULT_SLOTS,
    packet_bytes: int = DEFAULT_PACKET_BYTES,
    first_sequence: int = 1,
    wait_ns: int = 200_000,
    retry_ns: int = 2_000_000,
    retry_max_ns: int = 1_000_000_000,
    max_retries: int = 8,
    request_limit: int = 1000,
    silence_ns: int = 3_000_000_000,
    session_votes: int = 3,
    takeover_ns: int = 3_000_000_000,
    senders: tuple[int, int] = (0, 0),
) -> None:
    """Make an arbiter that waits for its first packet.

    Args:
        memory: uint8 array of :func:`arbiter_bytes`, 64-byte aligned.
        first_sequence: where a session is read from; whoever joins late asks for all since then.
        wait_ns: how long the other line may take to fill a hole; max_retries: requests without answer until it is given up.
        retry_ns: wait after a first request; doubles with every one that brings nothing, up to ``retry_max_ns``.
        request_limit: most messages in one request.
        silence_ns: silence on all lines after which the books are not VALID; 0 turns that off.
        session_votes, takeover_ns, senders: as for :func:`hftpipe.venues.nasdaq.itch.election.election_init`.

    Raises:
        ValueError: a setting that makes no arbiter.
    """
    if not 1 <= first_sequence < SEQUENCE_LIMIT or not 1 <= request_limit < END_OF_SESSION:
        raise ValueError(f"first_sequence {first_sequence} or request_limit {request_limit} is out of range")
    if wait_ns < 0 or not 0 < retry_ns <= retry_max_ns or max_retries < 1 or silence_ns < 0:
        raise ValueError("wait_ns and silence_ns must be >= 0, 0 < retry_ns <= retry_max_ns, max_retries >= 1")
    layout = _layout(slots, packet_bytes)
    memory[: layout.at("window")] = 0
    header = layout.view(memory, "arbiter")
    header["first_sequence"], header["expected"], header["high"] = first_sequence, first_sequence, first_sequence
    header["wait_ns"], header["retry_ns"], header["retry_max_ns"] = wait_ns, retry_ns, retry_max_ns
    header["max_retries"], header["request_limit"] = max_retries, request_limit
    header["silence_ns"], header["hold_at"] = silence_ns, layout.at("hold")
    election_init(header["election"], session_votes, takeover_ns, senders)
    window_init(layout.view(memory, "window"), slots, packet_bytes)
    window_init(layout.view(memory, "hold"), min(slots, _HOLD_SLOTS), packet_bytes)
