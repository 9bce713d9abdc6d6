"""Memory of the OUCH venue: orders by reference number, our own answers, counters; and how it is laid out.

::

    base | VENUE | LINK | SESSION | SOUP | datagram | templates | REF[refs] | order table | executions seen
    | REPORT[LOCAL_SLOTS]

An order is found by its client id in a table of :mod:`hftpipe.core.trading.order_table`; its ``venue_id`` holds the reference
number it has at the venue (low 32 bits: after 2**32 - 1 there is none, and no order), ANSWERED, and LOST once the venue
has forgotten it. UNTOLD: it is not known any more what became of it, and the gateway is to hear so. CANCELING while a cancel
of it is to be answered, OWED while the gateway waits for what becomes of a cancel of an ended one;
``user`` the number it will have once a replace is accepted,
``created_ts`` when the last request about it went out. REF leads back from a reference number to the client id.
"""

import secrets

import numpy as np

from hftpipe.core.machine.jit import jit
from hftpipe.core.machine.mem import ONE, U64, ZERO, view
from hftpipe.core.schema.counters import Place, places, table
from hftpipe.core.schema.instruments import INSTRUMENT, INSTRUMENT_BYTES
from hftpipe.core.schema.layout import LINE_PAIR, Content, Layout, lay_out, offset_of
from hftpipe.core.schema.records import EXECUTION, RECORD_BYTES, REPORT, VENUE_FAULT
from hftpipe.core.trading.order_table import ORDER, open_count, open_order, order_find, table_bytes, table_init
from hftpipe.core.trading.seen_fills import seen_bytes, seen_init
from hftpipe.venues.nasdaq.ouch.decode import WIRE
from hftpipe.venues.nasdaq.ouch.encode import templates_bytes, templates_init
from hftpipe.venues.nasdaq.ouch.link import DATA_BYTES, LINK, TCP, UDP
from hftpipe.venues.nasdaq.ouch.messages import SHARES_MAX
from hftpipe.venues.nasdaq.ouch.session import CLIENT, SESSION, session_bytes, session_init
from hftpipe.venues.nasdaq.ouch.sockets import socket_address
from hftpipe.venues.nasdaq.ouch.soup import SOUP, soup_bytes, soup_init

#: Answers of our own (what the wire cannot say, say), until polled.
LOCAL_SLOTS = 64
ANSWERED, LOST, UNTOLD, OWED, CANCELING = (np.uint64(1 << bit) for bit in (32, 33, 34, 35, 36))
REF_MASK = np.uint64(0xFFFFFFFF)

VENUE = np.dtype(
    [
        # Wiring (addresses); ``clock`` is a CLOCK record.
        ("link", "u8"), ("templates", "u8"), ("instruments", "u8"), ("n_instruments", "i8"), ("table", "u8"),
        ("refs", "u8"), ("refs_mask", "u8"), ("clock", "u8"), ("local", "u8"), ("seen", "u8"),
        # HALTS, where strategies see whether orders are taken now (0: nobody looks), and which venue of the pipeline this is.
        ("halts", "u8"), ("venue_index", "i8"),
        # Settings: midnight on the clock of ``exchange_ts``; when an unanswered order counts as unknown; reads a poll;
        # how long we may be without a session.
        ("midnight_ns", "i8"), ("answer_ns", "i8"), ("max_reads", "i8"), ("login_ns", "i8"),
        # Position: next reference number (known once ``ready``), own answers, next look for unanswered orders and at
        # the socket when nothing is owed.
        ("next_ref", "u8"), ("ready", "i8"), ("local_in", "u8"), ("local_out", "u8"), ("check_ns", "i8"),
        ("read_ns", "i8"), ("day_ended", "i8"),
        # Highest number the venue has ever answered about; 1: requests without answer are to be sent again.
        ("answered_ref", "u8"), ("resend", "i8"),
        # Of logging in: since when we have no session (ns; 0: we have one), when that was last looked at, whether there ever
        # was one, refusals before it, and whether its absence has been told. Ends of sessions noted so far; whether it has
        # been told that a message does not come through; when it is next looked at whether the session is there.
        ("down_ns", "i8"), ("looked_ns", "i8"), ("has_logged_in", "i8"), ("refusals", "i8"), ("told_login", "i8"),
        ("ends", "i8"), ("told_stuck", "i8"), ("presence_ns", "i8"),
        # Requests: sent by kind, refused here.
        ("entered", "i8"), ("replaces", "i8"), ("cancels", "i8"), ("not_ready", "i8"), ("unsendable", "i8"),
        ("again", "i8"),
        # Reports: taken, and what was odd about them: not readable, of a number that is not ours, of an order that has ended
        # or does not wait for that (``crossed``: as happens when a change and an end cross), the same execution again,
        # terms we did not ask for.
        ("reports", "i8"), ("ignored", "i8"), ("refused", "i8"), ("unknown_ref", "i8"), ("stale", "i8"),
        ("orphan_fills", "i8"), ("system_events", "i8"), ("unanswered", "i8"), ("broken_trades", "i8"), ("forgotten", "i8"),
        ("crossed", "i8"), ("duplicate_fills", "i8"), ("wrong_terms", "i8"),
        ("wire", WIRE),
    ],
    align=True,
)  # fmt: skip
COUNTERS = table("""
  entered          orders sent
  replaces         replaces sent
  cancels          cancels sent
  not_ready        requests refused here, for want of a session
  unsendable       requests refused here, for the wire cannot say them
  again            requests sent once more
  reports          messages taken
  ignored          messages without a meaning for us
  system_events    events of the venue's day
  unanswered       orders that waited too long for their answer
~ crossed          answers that crossed with an end or another change
! refused          messages that cannot be read
! unknown_ref      messages about a number that is not ours
! stale            messages about an order that does not wait for them
! duplicate_fills  executions told twice
! wrong_terms      orders held on other terms than asked for
! orphan_fills     executions of orders that are not ours
! broken_trades    executions taken back
! forgotten        times that the venue had lost our orders
""")
LINK_COUNTERS = table("""
* outages       times that the order session was not there any more
~ ends          order sessions that the venue has ended
~ send_errors   sends that the system refused
~ read_errors   reads that the system refused
""")
SESSION_COUNTERS = table("""
~ malformed  datagrams that are none
~ bad_ack    acknowledgements of what was not sent
~ too_far    messages too far ahead to be kept until their turn
""")
WIRE_AT = np.uint64(offset_of(VENUE, "wire"))
REF = np.dtype([("ref", "u8"), ("id", "u8")], align=True)
_REF_SHIFT = np.uint64(4)
#: Longest time between two signs of life of a client that asks for cancel on disconnect.
BEAT_NS = 200_000_000
DEFAULT_REFS, DEFAULT_ORDERS, DEFAULT_WINDOW = 1 << 16, 1024, 256
#: Executions that a repetition is told of.
SEEN_FILLS = 8192


def draw_session() -> int:
    """A number for a new UDP session: 31 random bits, so that no start takes one the venue knows already."""
    return 1 + secrets.randbelow((1 << 31) - 1)


def _layout(n_instruments: int, refs: int, orders: int, window: int) -> Layout:
    parts: dict[str, Content] = {
        "venue": (VENUE, 1), "link": (LINK, 1), "session": session_bytes(window), "soup": soup_bytes(),
        "data": DATA_BYTES, "templates": templates_bytes(n_instruments), "refs": (REF, refs),
        "table": table_bytes(orders), "seen": seen_bytes(SEEN_FILLS), "local": (REPORT, LOCAL_SLOTS),
    }  # fmt: skip
    return lay_out(parts, LINE_PAIR)


def venue_counters(region: str, n_instruments: int) -> list[Place]:
    """Where the counters of a venue lie whose memory is ``region``."""
    layout = _layout(n_instruments, DEFAULT_REFS, DEFAULT_ORDERS, DEFAULT_WINDOW)
    parts = (("venue", VENUE, COUNTERS), ("link", LINK, LINK_COUNTERS), ("session", SESSION, SESSION_COUNTERS))
    return [
        place
        for name, record, counters in parts
        for place in places("orders", region, record, counters, layout.at(name))
    ]


def venue_bytes(
    n_instruments: int, refs: int = DEFAULT_REFS, orders: int = DEFAULT_ORDERS, window: int = DEFAULT_WINDOW
) -> int:
    """Memory of a venue.

    Args:
        refs: reference numbers remembered, a power of two; orders: slots of the order table, a power of two
            (keep it small enough for the cache: a miss there costs more than all the encoding);
        window: messages in flight each way.

    Raises:
        ValueError: a size that is not a power of two.
    """
    if refs < 2 or refs & (refs - 1):
        raise ValueError(f"refs {refs} is not a power of two")
    return _layout(n_instruments, refs, orders, window).size


def _check_lots(instruments: np.ndarray) -> None:
    for row in instruments:
        if not 0 < int(row["lot"]) <= (2**63 - 1) // SHARES_MAX:
            raise ValueError(f"{bytes(row['symbol']).decode()}: lot {int(row['lot'])} (1e-8) is not in 1..2**31")


def venue_init(
    memory: np.ndarray,
    instruments: np.ndarray,
    clock: int,
    *,
    server: str,
    port: int,
    transport: int = UDP,
    user: str = "",
    password: str = "",
    session: int = 1,
    midnight_ns: int = 0,
    answer_ns: int = 1_000_000_000,
    login_ns: int = 5_000_000_000,
    cancel_after_ms: int = 0,
    refs: int = DEFAULT_REFS,
    orders: int = DEFAULT_ORDERS,
    window: int = DEFAULT_WINDOW,
    max_reads: int = 64,
    halts: int = 0,
    venue_index: int = 0,
    **timing: int,
) -> None:
    """Lay out a venue in ``memory`` (uint8 array of :func:`venue_bytes`, 64-byte aligned); no socket is opened yet.

    Args:
        instruments: INSTRUMENT array that outlives the venue; ``lot`` is the size of one share.
        clock: address of a CLOCK record.
        server, port: the order port; user, password: the account.
        session: number of this UDP session, another one for every start (:func:`draw_session`).
        login_ns: after so long without a session ``poll`` brings a VENUE_FAULT.
        cancel_after_ms: ask the venue to cancel everything once we have been silent for so long, or have gone; 0: no.
        halts: address of HALTS, 0: nobody is told whether orders are taken; venue_index: the venue's number there.
        timing: settings of the session (:func:`hftpipe.venues.nasdaq.ouch.session.session_init`), or ``heartbeat_ns`` and
            ``silence_ns`` of SoupBinTCP.

    Raises:
        ValueError: a setting or an instrument that the wire cannot carry.
    """
    memory[: venue_bytes(len(instruments), refs, orders, window)] = 0
    _check_lots(instruments)
    layout = _layout(len(instruments), refs, orders, window)
    parts = {name: layout.view(memory, name) for name in layout.parts}
    templates_init(parts["templates"], [bytes(row["symbol"]).decode() for row in instruments])
    table_init(parts["table"], orders)
    seen_init(parts["seen"], SEEN_FILLS)
    venue, link = parts["venue"], parts["link"]
    for name in ("link", "templates", "refs", "table", "seen", "local"):
        venue[name] = parts[name].ctypes.data
    venue["instruments"], venue["n_instruments"] = instruments.ctypes.data, len(instruments)
    venue["refs_mask"], venue["clock"], venue["next_ref"] = refs - 1, clock, 1
    venue["midnight_ns"], venue["answer_ns"], venue["max_reads"] = midnight_ns, answer_ns, max_reads
    venue["login_ns"], venue["halts"], venue["venue_index"] = login_ns, halts, venue_index
    assert instruments.dtype == INSTRUMENT
    link["transport"], link["fd"] = transport, -1
    for name in ("data", "session", "soup"):
        link[name] = parts[name].ctypes.data
    link["address"][0] = socket_address(server, port)
    if cancel_after_ms:
        # Five signs of life in the time that the venue waits for one.
        timing.setdefault("heartbeat_ns", min(BEAT_NS, cancel_after_ms * 200_000))
    if transport == TCP:
        soup_init(
            parts["soup"], user=user, password=password, session="", cancel_after_ms=cancel_after_ms, **timing
        )  # fmt: skip
    else:
        session_init(
            parts["session"], CLIENT, window=window, session=session,
            user=user, password=password, cancel_after_ms=cancel_after_ms, **timing,
        )  # fmt: skip


def part(memory: np.ndarray, name: str) -> np.ndarray:
    """The LINK, SESSION or SOUP of a venue's memory as an array of length 1, for counters.

    Raises:
        KeyError: another name.
    """
    dtype = {"link": LINK, "session": SESSION, "soup": SOUP}[name]
    venue = memory[: VENUE.itemsize].view(VENUE)
    address = int(venue["link"][0])
    if name != "link":
        start = address - memory.ctypes.data
        address = int(memory[start : start + LINK.itemsize].view(LINK)[name][0])
    start = address - memory.ctypes.data
    return memory[start : start + dtype.itemsize].view(dtype)


@jit
def remember_ref(venue, ref, id_):
    """From now on ``ref`` means the order ``id_``."""
    v = view(venue, VENUE)
    r = view(v.refs + ((ref & v.refs_mask) << _REF_SHIFT), REF)
    r.ref, r.id = ref, id_


@jit
def ref_of(order):
    """The reference number under which the venue knows an ORDER."""
    return order.venue_id & REF_MASK


@jit
def _open_under(venue, ref):
    """An open ORDER that the venue knows, or will know, as ``ref``; 0 if there is none."""
    v = view(venue, VENUE)
    for index in range(open_count(v.table)):
        slot = open_order(v.table, np.int64(index))
        o = view(slot, ORDER)
        if ref_of(o) == ref or U64(o.user) == ref:
            return slot
    return ZERO


@jit
def order_of_ref(venue, ref):
    """Address of the ORDER that ``ref`` belongs or belonged to; 0 if it is not known any more.

    An order that rests while as many numbers are given out as are remembered is found among the open ones.
    """
    v = view(venue, VENUE)
    r = view(v.refs + ((ref & v.refs_mask) << _REF_SHIFT), REF)
    if ref == ZERO:
        return ZERO
    return order_find(v.table, r.id) if r.ref == ref else _open_under(venue, ref)


@jit
def has_ref(venue):
    """Whether there is a reference number left."""
    return view(venue, VENUE).next_ref <= REF_MASK


@jit
def take_ref(venue, id_):
    """A fresh reference number for the order ``id_``."""
    v = view(venue, VENUE)
    ref = v.next_ref
    v.next_ref += ONE
    remember_ref(venue, ref, id_)
    return ref


@jit
def lot_of(venue, instrument):
    """Size of one share (1e-8)."""
    v = view(venue, VENUE)
    return view(v.instruments + U64(instrument) * U64(INSTRUMENT_BYTES), INSTRUMENT).lot


@jit
def local_room(venue):
    """Whether one more answer of our own fits."""
    v = view(venue, VENUE)
    return v.local_in - v.local_out < U64(LOCAL_SLOTS)


@jit
def local_slot(venue, index):
    """Address of the RECORD of answer number ``index``."""
    return view(venue, VENUE).local + (index % U64(LOCAL_SLOTS)) * U64(RECORD_BYTES)


@jit
def fill_record(record, order, kind, price, qty, reason):
    """Write a report about an ORDER (a view); times, numbers and fee are the caller's to set."""
    r = view(record, REPORT)
    r.seq, r.venue_id, r.exchange_ts, r.local_ts = ZERO, ZERO, 0, 0
    r.price, r.qty, r.id, r.instrument = price, qty, order.id, order.instrument
    r.kind, r.side, r.strategy, r.flags = kind, order.side, order.strategy, reason


@jit
def fault_record(record, cause, id_, price, qty):
    """Write a VENUE_FAULT."""
    r = view(record, EXECUTION)
    r.seq, r.trade_id, r.exchange_ts, r.fee = ZERO, ZERO, 0, 0
    r.price, r.qty, r.id, r.instrument = price, qty, id_, 0
    r.kind, r.side, r.strategy, r.flags = VENUE_FAULT, 0, 0, np.uint8(cause)


def order_view(address: int, memory: np.ndarray) -> np.ndarray:
    """An ORDER of the venue's table as an array of length 1, for tests and displays."""
    start = address - memory.ctypes.data
    return memory[start : start + ORDER.itemsize].view(ORDER)
