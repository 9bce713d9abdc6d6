"""A recorded capture as a source: lines of ``<local_ns> <json>``, decoded, sequenced, booked and published.

Python hands over chunks of whole lines and decodes what the fast scanner passes on; everything else is compiled.
At a paced speed the recording plays like a live feed (it conflates when readers are slow); at full speed it holds
back, so that nothing is dropped however slow the readers are.
"""

import numpy as np

from hftpipe.core.feed.pacing import drained, due, timer_first
from hftpipe.core.feed.publish import may_run_ahead
from hftpipe.core.feed.state import STATE
from hftpipe.core.machine.jit import entry, jit
from hftpipe.core.machine.mem import rdtsc, view
from hftpipe.core.shared.stage import FINISHED, SERVICE
from hftpipe.venues.taped.cursor import CURSOR, NEED_NOTHING, read_line
from hftpipe.venues.taped.publish import consume, show_counts

EVENTS_PER_STEP = 32


@jit
def replay_step(state, now_ns, limit):
    """Up to ``limit`` lines that are due; returns how many (``need`` says what Python must bring)."""
    s = view(state, STATE)
    t = view(s.source, CURSOR)
    done = np.int64(0)
    t.need = NEED_NOTHING
    while done < limit and s.pending_n == 0:
        if (s.hold_back != 0 and not may_run_ahead(state)) or not read_line(s.source):
            break
        if timer_first(state, t.line_ts, now_ns, rdtsc()):
            done += 1
            continue
        if not due(state, t.line_ts, now_ns) or not consume(state, rdtsc()):
            break
        done += 1
    show_counts(state)
    return done


@entry("int64(uint64, int64)")
def source_entry(state, now_ns):
    """A step of the feed: the lines that are due; SERVICE when Python must help, FINISHED once all is played."""
    s = view(state, STATE)
    t = view(s.source, CURSOR)
    done = replay_step(state, now_ns, np.int64(EVENTS_PER_STEP))
    if t.need != NEED_NOTHING:
        return np.int64(SERVICE)
    if t.ended == 1 and done == 0 and s.pending_n == 0 and t.line_ready == 0 and drained(state, now_ns):
        t.ended = 2
        return np.int64(FINISHED)
    return done
