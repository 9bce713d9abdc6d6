"""A kept connection over which one request at a time is answered: a LINK of bytes whose answers are read as HTTP/1.1.

While nothing has been asked the other side may close it, which is no fault; that it says something is one.
"""

import numpy as np

from hftpipe.core.machine.jit import jit
from hftpipe.core.machine.mem import view
from hftpipe.transport.http.response import BROKEN, MORE, RESPONSE, WHOLE, read_response
from hftpipe.transport.websocket.link import BROKEN_PROTOCOL, LINK, OPEN, PEER_CLOSED, end_link, receive

#: Of each connection: status line, headers and body of an answer, and as much again while it is read.
BUFFER_BYTES = 1 << 17


@jit
def next_response(link, response, wanted, n_wanted):
    """The answer to the request under way on a connection, ended or not: WHOLE, and it is at ``response``; else MORE or BROKEN.

    An answer that says so ends its connection, and so does one that more comes behind of than was asked for. Arguments as
    :func:`hftpipe.transport.http.response.read_response`.
    """
    k, r = view(link, LINK), view(response, RESPONSE)
    if k.start == k.end:
        return MORE
    found = read_response(k.start, k.end, wanted, n_wanted, response)
    if found == WHOLE:
        k.messages += 1
        if r.next != k.end:
            end_link(link, BROKEN_PROTOCOL, np.int64(r.status))
        elif r.keeps == 0:
            end_link(link, PEER_CLOSED, np.int64(0))
        k.start = k.end
    elif found == BROKEN:
        end_link(link, BROKEN_PROTOCOL, np.int64(0))
        k.start = k.end
    return found


@jit
def is_still_there(link, now_ns):
    """Look at a connection that nothing was asked on: whether a request can be sent on it."""
    k = view(link, LINK)
    if k.state == OPEN and receive(link, now_ns) > 0:
        # Nobody has asked: what is said here is about something else, and would be taken for the next answer.
        end_link(link, BROKEN_PROTOCOL, np.int64(0))
    return k.state == OPEN
