"""Whether the worst case of a position stays within its limit, exactly."""

from hftpipe.core.machine.jit import jit
from hftpipe.core.machine.mem import U64


@jit
def room_holds(held, working, growth, limit):
    """``held + working + growth <= limit`` for int64 in 1e-8 (growth uint64): what is held the order's way, what may still fill
    that way, and what an order adds; False while ``held`` alone is beyond the limit."""
    if held > limit or working < 0:
        return False
    # The room is below 2**64 and working below 2**63: exact in uint64 where int64 could wrap.
    room = U64(limit) - U64(held)
    return U64(working) <= room and growth <= room - U64(working)
