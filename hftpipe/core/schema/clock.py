"""How the time-stamp counter is read: one record in shared memory, written once at the start."""

import numpy as np

#: tsc0/mono0_ns/wall0_ns: one simultaneous reading. ``mult`` is ns per tick in 32.32 fixed point.
CLOCK = np.dtype(
    [
        ("tsc0", "u8"), ("mono0_ns", "i8"), ("wall0_ns", "i8"), ("mult", "u8"),
        ("ns_per_tick", "f8"), ("skew_ns", "f8"), ("skew_bound_ns", "f8"), ("_pad", "u8"),
    ],
    align=True,
)  # fmt: skip
