"""What an account's orders are kept by: one ACCOUNT record, a table of orders, queues; and what is private to the gateway's process.

::

    region   ACCOUNT | LINK[n] | order table | executions seen | questions | facts | reports
    private  templates, SIGNER, texts, buffers of the connections: they hold the key, or signatures

In the order table of a venue ``user`` holds an order's revision (the low 8 bits) and the flags below, ``cancels`` how many of our
cancels are unanswered, ``created_ts`` when something about it last left or came in, ``quote`` its newest execution. Of an end that
waits for executions ``own_cancels`` is the state and 256 times the reason, ``cancel_due_ns`` what has filled as the venue says.
"""

import numpy as np

from hftpipe.core.machine.jit import jit
from hftpipe.core.machine.mem import view
from hftpipe.core.schema.counters import table
from hftpipe.core.schema.layout import Content, Layout, lay_out, offset_of
from hftpipe.core.schema.records import REPORT
from hftpipe.core.trading.order_table import ORDER_BYTES, table_bytes
from hftpipe.core.trading.seen_fills import seen_bytes
from hftpipe.transport.websocket.link import LINK
from hftpipe.venues.orders.facts import FACT, QUESTION, QUEUE

REVISION = np.int64(0xFF)
#: The last revision there is: a text is never used again.
LAST_REVISION = 0xFF
#: Beside each row of the order table: numbers of the last request about it and of its last change, and when the venue made that.
EXTRA = np.dtype([("last_no", "i8"), ("change_no", "i8"), ("changed_ts", "i8"), ("_pad", "i8")])
_EXTRA_SHIFT, _ORDER_SHIFT = np.uint64(5), np.uint64(7)
assert EXTRA.itemsize == 32 and ORDER_BYTES == 128
#: Of an order: the venue has it; a question about it is out; its cancel waits for that; the gateway is to hear that nothing is
#: known; it has been told so, and is to hear when something is.
ACKED, ASKED, WANTS_CANCEL, UNTOLD, TOLD_UNKNOWN = (np.int64(1 << bit) for bit in range(8, 13))
#: At most this many windows in which a venue counts orders.
WINDOWS = 4
WINDOW = np.dtype([("length_ms", "i8"), ("limit", "i8"), ("began_ms", "i8"), ("count", "i8")])

ACCOUNT = np.dtype(
    [
        # Wiring. ``scan``: C function int64 f(uint64 account, uint64 text, uint64 end, uint64 fact): 1 if the text is a FACT; with
        # ``more`` set there is another one from there on.
        ("table", "u8"), ("seen", "u8"), ("links", "u8"), ("n_links", "i8"), ("clock", "u8"), ("scan", "u8"),
        ("questions", "u8"), ("facts", "u8"), ("reports", "u8"), ("extras", "u8"), ("orders", "u8"),
        ("n_instruments", "i8"), ("halts", "u8"), ("venue_index", "i8"),
        # Of this process alone: AMOUNTS and VALUE (its symbol) of each instrument; TEMPLATEs, and which one a request is
        # (int64 by variant, -1: it cannot be said); SIGNER, VALUEs, what is signed, the message; ERROR rows; the ids' prefix.
        ("amounts", "u8"), ("symbols", "u8"), ("templates", "u8"), ("variants", "u8"), ("signer", "u8"), ("values", "u8"),
        ("signed", "u8"), ("text", "u8"), ("errors", "u8"), ("n_errors", "i8"), ("prefix", "u8"), ("prefix_bytes", "i8"),
        # Codes of the assets that fees may be paid in, by number; codes of the instruments' quote currencies (number 0); powers of
        # their packs (a byte each); where a scan
        # notes what it has found.
        ("assets", "u8"), ("n_assets", "i8"), ("quotes", "u8"), ("powers", "u8"), ("spots", "u8"),
        # Settings: whether a change makes a new order there; when an unanswered request counts as unknown; how long we may be
        # without a session, and a connection without a word.
        ("is_revised", "i8"), ("answer_ns", "i8"), ("login_ns", "i8"), ("silence_ns", "i8"),
        # Where the rest of a message that tells more than one fact begins (0: there is none), where it ends, and what kind it is of.
        ("more", "u8"), ("more_end", "u8"), ("more_kind", "i8"),
        # What is said on every connection so often that the venue knows us there (bytes 0: nothing), and when next.
        ("alive", "u8"), ("alive_bytes", "i8"), ("alive_every_ns", "i8"), ("alive_ns", "i8"),
        # By the threads beside: whether the session is up; the venue's wall clock less our monotonic one, ns; log-ins refused.
        ("session", "u8"), ("wall_offset_ns", "i8"), ("refused_logins", "i8"),
        # Orders counted by the venue's windows; nothing new is sent before this time (ms of its clock).
        ("windows", WINDOW, WINDOWS), ("paused_ms", "i8"),
        # When to look for unanswered requests, at quiet sockets, and at the session; requests so far; the
        # monotonic time of the poll under way.
        ("check_ns", "i8"), ("read_ns", "i8"), ("presence_ns", "i8"), ("requests", "i8"), ("now_ns", "i8"),
        # Since when there is no session (ns; 0: there is one), when that was looked at, whether there ever was one, and whether its
        # absence was told; a fault that is to be told (a cause; 0: none), and the order it is about.
        ("down_ns", "i8"), ("looked_ns", "i8"), ("has_been_up", "i8"), ("told_down", "i8"), ("fault", "i8"), ("fault_id", "u8"),
        # Counters.
        ("placed", "i8"), ("changed", "i8"), ("cancels", "i8"), ("not_ready", "i8"), ("limited", "i8"), ("unsendable", "i8"),
        ("sent_lost", "i8"), ("messages", "i8"), ("facts_told", "i8"), ("unread", "i8"), ("external", "i8"), ("external_fills", "i8"),
        ("crossed", "i8"), ("repeated", "i8"), ("missed_fills", "i8"), ("unanswered", "i8"), ("questions_asked", "i8"),
        ("gone", "i8"), ("unknown_fees", "i8"), ("outages", "i8"), ("revived", "i8"),
        # Memory for one fact, one report and one question.
        ("fact", FACT), ("report", REPORT), ("question", QUESTION),
    ],
    align=True,
)  # fmt: skip
COUNTERS = table("""
  placed           orders sent
  changed          changes sent
  cancels          cancels sent
  not_ready        requests refused here, for want of a session
~ limited          requests refused here, for the venue counts orders
  unsendable       requests refused here, for the venue cannot be told them
~ sent_lost        requests of which the connection broke
  messages         messages read
  facts_told       of these, about our orders
~ unread           messages about orders that could not be read
~ external         events of orders that are not of this instance
! external_fills   executions of orders that are not of this instance: the position is not what it is thought to be
~ crossed          answers that crossed with an end
~ repeated         executions told more than once
~ missed_fills     executions that were found out by asking
~ unanswered       requests that waited too long for their answer
  questions_asked  questions about orders, over REST
! gone             orders that the venue does not know any more
! revived          orders that lived on after their end; they are cancelled
~ unknown_fees     fees in an asset that the run does not know
* outages          times that the session was not there any more
""")
FACT_AT, REPORT_AT, QUESTION_AT = (np.uint64(offset_of(ACCOUNT, name)) for name in ("fact", "report", "question"))
#: What the memory of an account is called in the segment.
REGION = "live.account"
ORDERS, SEEN_FILLS, QUESTIONS, FACTS, REPORTS = 1024, 65536, 4096, 4096, 256
MOST_LINKS = 2


def _parts(orders: int) -> dict[str, Content]:
    return {
        "account": (ACCOUNT, 1), "links": (LINK, MOST_LINKS), "table": table_bytes(orders), "seen": seen_bytes(SEEN_FILLS),
        "questions": (QUEUE, 1), "question_slots": (QUESTION, QUESTIONS), "facts": (QUEUE, 1), "fact_slots": (FACT, FACTS),
        "reports": (QUEUE, 1), "report_slots": (REPORT, REPORTS), "extras": (EXTRA, orders),
    }  # fmt: skip


def account_layout(orders: int = ORDERS) -> Layout:
    """How the memory of an account is laid out; ``orders``: slots of its table, a power of two."""
    return lay_out(_parts(orders))


@jit
def extra_of(a, slot):
    """The EXTRA row of the order at ``slot``."""
    return view(a.extras + (((slot - a.orders) >> _ORDER_SHIFT) << _EXTRA_SHIFT), EXTRA)
