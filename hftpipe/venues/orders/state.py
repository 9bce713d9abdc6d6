"""What an account's orders are kept by: one ACCOUNT record, a table of orders, queues; and what is private to the gateway's process.

::

    region   ACCOUNT | LINK[n] | LINK[m], CALL[m] over REST | order table | executions seen | questions | facts | reports | EXECUTED[n] | RECONCILE
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
from hftpipe.transport.http.response import RESPONSE
from hftpipe.transport.websocket.link import LINK
from hftpipe.venues.orders.executed import EXECUTED, EXECUTED_SLOTS
from hftpipe.venues.orders.facts import FACT, QUESTION, QUEUE
from hftpipe.venues.orders.reconcile_counts import RECONCILE

REVISION = np.int64(0xFF)
#: The last revision there is: a text is never used again.
LAST_REVISION = 0xFF
#: Beside each row of the order table: numbers of the last request about it and of its last change, and when the venue made that; when
#: the order was sent, and when it was last asked about of our own accord (ns).
EXTRA = np.dtype(
    [("last_no", "i8"), ("change_no", "i8"), ("changed_ts", "i8"), ("sent_ns", "i8"), ("looked_ns", "i8"), ("left_ns", "i8"), ("asked_ns", "i8"), ("_pad", "i8")]
)  # fmt: skip
_EXTRA_SHIFT, _ORDER_SHIFT = np.uint64(6), np.uint64(7)
assert EXTRA.itemsize == 64 and ORDER_BYTES == 128
#: Of an order: the venue has it; a question about it is out; its cancel waits for that; the gateway is to hear that nothing is
#: known; it has been told so, and is to hear when something is; a cancel of ours may have been carried out that is not waited for;
#: its end has been told, and it lives all the same; it was entered for what the venue says, as nobody here knew it;
#: that it does rest has been said as a fault; the venue has given a receipt for it; the threads beside are at its cancel.
ACKED, ASKED, WANTS_CANCEL, UNTOLD, TOLD_UNKNOWN, MAYBE_CANCELLED, END_TOLD, STRAY, SAID, RECEIVED, CANCEL_OUT = (
    np.int64(1 << bit) for bit in range(8, 19)
)
#: No more of an order's cancels are waited for: one that goes out beside them is answered here.
MOST_CANCELS = 64
#: At most this many windows in which a venue counts orders.
WINDOWS = 4
#: A connection over REST: whether a request is under way on it, the order it is about, what was asked (PLACE and so on), its number,
#: and since when.
CALL = np.dtype([("busy", "i8"), ("id", "u8"), ("what", "i8"), ("number", "i8"), ("sent_ns", "i8"), ("_pad", "i8", 3)])
CALL_BYTES = CALL.itemsize
assert CALL_BYTES == 64
WINDOW = np.dtype([("length_ms", "i8"), ("limit", "i8"), ("began_ms", "i8"), ("count", "i8")])

ACCOUNT = np.dtype(
    [
        # Wiring. ``scan``: C function int64 f(uint64 account, uint64 text, uint64 end, uint64 fact): 1 if the text is a FACT; with
        # ``more`` set there is another one from there on.
        ("table", "u8"), ("seen", "u8"), ("links", "u8"), ("n_links", "i8"), ("clock", "u8"), ("scan", "u8"),
        ("questions", "u8"), ("facts", "u8"), ("reports", "u8"), ("extras", "u8"), ("orders", "u8"), ("executed", "u8"),
        ("n_instruments", "i8"), ("halts", "u8"), ("venue_index", "i8"),
        # Orders over REST: a LINK and a CALL of each connection (0 connections: requests go over the first one of ``links``).
        # ``reply``: C function int64 f(uint64 account, uint64 call, uint64 response, uint64 fact), as ``scan`` for an answer;
        # codes of the headers whose numbers it is given.
        ("call_links", "u8"), ("calls", "u8"), ("n_calls", "i8"), ("reply", "u8"), ("headers", "u8"), ("n_headers", "i8"),
        # Of this process alone: AMOUNTS and VALUE (its symbol) of each instrument; TEMPLATEs, and which one a request is
        # (int64 by variant, -1: it cannot be said); SIGNER, VALUEs, what is signed, the message; ERROR rows; the ids' prefix.
        ("amounts", "u8"), ("symbols", "u8"), ("templates", "u8"), ("variants", "u8"), ("signer", "u8"), ("values", "u8"),
        ("signed", "u8"), ("text", "u8"), ("errors", "u8"), ("n_errors", "i8"), ("prefix", "u8"), ("prefix_bytes", "i8"),
        # Codes of the assets that fees may be paid in, by number; codes of the instruments' quote currencies (number 0), and of their
        # base currencies where a fee that names no coin is in what was received (0: it is not); powers of their packs (a byte each);
        # where a scan notes what it has found.
        ("assets", "u8"), ("n_assets", "i8"), ("quotes", "u8"), ("bases", "u8"), ("powers", "u8"), ("spots", "u8"),
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
        # Until when nothing may be sent over REST (monotonic ns), as answers here say, and as those to the threads beside do; the
        # request weight that the venue has counted last; when to look at connections that nothing was asked on.
        ("rest_ns", "i8"), ("told_rest_ns", "i8"), ("weight_used", "i8"), ("idle_ns", "i8"),
        # When to look for unanswered requests, at quiet sockets, and at the session; requests so far; the
        # monotonic time of the poll under way.
        ("check_ns", "i8"), ("read_ns", "i8"), ("presence_ns", "i8"), ("requests", "i8"), ("now_ns", "i8"),
        # When an event last told of an order of ours, or the session began; when to ask about the next order that rests.
        ("heard_ns", "i8"), ("look_ns", "i8"),
        # Since when there is no session (ns; 0: there is one), when that was looked at, whether there ever was one, and whether its
        # absence was told; a fault that is to be told (a cause; 0: none), what it is about (mostly an order), and a quantity.
        ("down_ns", "i8"), ("looked_ns", "i8"), ("has_been_up", "i8"), ("told_down", "i8"), ("fault", "i8"), ("fault_id", "u8"), ("fault_qty", "i8"),
        # Executions told so far: that many EXECUTED have been written at ``executed``, round and round.
        ("n_executed", "u8"),
        # Counters.
        ("placed", "i8"), ("changed", "i8"), ("cancels", "i8"), ("not_ready", "i8"), ("limited", "i8"), ("unsendable", "i8"),
        ("sent_lost", "i8"), ("messages", "i8"), ("facts_told", "i8"), ("unread", "i8"), ("external", "i8"), ("external_fills", "i8"),
        ("crossed", "i8"), ("repeated", "i8"), ("missed_fills", "i8"), ("unanswered", "i8"), ("questions_asked", "i8"),
        ("gone", "i8"), ("unknown_fees", "i8"), ("unread_fees", "i8"), ("wrong_symbols", "i8"), ("outages", "i8"), ("revived", "i8"),
        ("crowded", "i8"), ("calls_lost", "i8"), ("quiet", "i8"), ("wrong_times", "i8"),
        # Memory for one fact, one report, one question and one answer over REST.
        ("fact", FACT), ("report", REPORT), ("question", QUESTION), ("response", RESPONSE),
    ],
    align=True,
)  # fmt: skip
COUNTERS = table("""
  placed           orders sent
  changed          changes sent
  cancels          cancels sent
  not_ready        requests refused here, for want of a session
~ limited          requests refused here, for the venue counts orders
~ crowded          requests refused here, for every REST connection had one under way
  unsendable       requests refused here, for the venue cannot be told them
~ wrong_times      requests that the venue refused for their time; its clock is measured at once
~ sent_lost        requests of which the connection broke
~ calls_lost       requests over REST that were sent and never answered
  messages         messages read
  facts_told       of these, about our orders
~ unread           messages about orders that could not be read
~ external         events of orders that are not of this instance
? external_fills   executions of orders that are not of this instance: the position is not what it is thought to be
~ crossed          answers that crossed with an end
~ repeated         executions told more than once
~ missed_fills     executions that were found out by asking
~ unanswered       requests that waited too long for their answer
  questions_asked  questions about orders, over REST
! gone             orders that the venue does not know any more
! revived          orders that lived on after their end, or that nobody here knew; they are cancelled
! wrong_symbols    told under an id of ours of another instrument; not booked, and asked about
* unknown_fees     fees in an asset that the run does not know: they are in no sum
* unread_fees      fees that could not be read: costs are higher than they are said to be
~ quiet            sessions ended here, for events did not tell what asking did
* outages          times that the session was not there any more
""")
FACT_AT, REPORT_AT, QUESTION_AT, RESPONSE_AT = (
    np.uint64(offset_of(ACCOUNT, name)) for name in ("fact", "report", "question", "response")
)
#: What the memory of an account is called in the segment.
REGION = "live.account"
ORDERS, SEEN_FILLS, QUESTIONS, FACTS, REPORTS = 1024, 65536, 4096, 4096, 256
MOST_LINKS, MOST_CALLS = 2, 16


def _parts(orders: int) -> dict[str, Content]:
    return {
        "account": (ACCOUNT, 1), "links": (LINK, MOST_LINKS), "call_links": (LINK, MOST_CALLS), "calls": (CALL, MOST_CALLS), "table": table_bytes(orders), "seen": seen_bytes(SEEN_FILLS),
        "questions": (QUEUE, 1), "question_slots": (QUESTION, QUESTIONS), "facts": (QUEUE, 1), "fact_slots": (FACT, FACTS),
        "reports": (QUEUE, 1), "report_slots": (REPORT, REPORTS), "extras": (EXTRA, orders),
        "executed": (EXECUTED, EXECUTED_SLOTS), "reconcile": (RECONCILE, 1),
    }  # fmt: skip


def account_layout(orders: int = ORDERS) -> Layout:
    """How the memory of an account is laid out; ``orders``: slots of its table, a power of two."""
    return lay_out(_parts(orders))


@jit
def extra_of(a, slot):
    """The EXTRA row of the order at ``slot``."""
    return view(a.extras + (((slot - a.orders) >> _ORDER_SHIFT) << _EXTRA_SHIFT), EXTRA)
