"""``errno`` for compiled code."""

import ctypes

from numba import types

from hftpipe.core.machine.jit import jit
from hftpipe.core.machine.mem import load_i64

_errno_location = types.ExternalFunction("__errno_location", types.uint64())
# A missing symbol would be a crash at the first call.
if not hasattr(ctypes.CDLL(None), "__errno_location"):
    raise ImportError("libc has no __errno_location: hftpipe needs Linux")


@jit
def last_errno():
    """``errno`` of this thread."""
    return load_i64(_errno_location()) & 0xFFFFFFFF
