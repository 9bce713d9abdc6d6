"""What REST tells of an order that was asked about, as facts."""

import numpy as np

from hftpipe.core.machine.system_clock import steady_ns
from hftpipe.venues.orders.facts import ASKED_ABOUT, FACT, GONE
from hftpipe.venues.orders.keeper import NotNow, Question

RECV_WINDOW_MS = 5000
#: So long after it was first asked about an order that the venue does not find has never been there: what it answers from may lag.
NOT_FOUND_NS = (RECV_WINDOW_MS + 10_000) * 1_000_000
#: When it is asked again: about what is not there yet; after an answer that was none.
AGAIN_S, LATER_S = 0.5, 2.0


def fact_about(question: Question, kind: int) -> np.ndarray:
    """A FACT array of length 1 that answers a question."""
    made = np.zeros(1, FACT)
    made["id"], made["kind"], made["cum"], made["request"] = question.id, kind, -1, ASKED_ABOUT
    made["revision"] = question.revision
    return made


def wait_for(question: Question, why: str) -> None:
    """What the venue may not show yet is waited for. Raises NotNow as long as that may be."""
    if steady_ns() - question.since_ns < NOT_FOUND_NS:
        raise NotNow(AGAIN_S, why)


def not_found(question: Question) -> list[np.ndarray]:
    """The venue has no such order. Raises NotNow as long as it may not show it yet."""
    wait_for(question, "not found yet")
    return [fact_about(question, GONE)]
