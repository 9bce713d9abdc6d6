"""What a stage shows of itself."""

import numpy as np

#: SERVING: in its Python service, between two steps.
STARTING, RUNNING, ENDED, SERVING = 0, 1, 2, 3
#: What a stage shows of itself; one cache line each, written by its own process only.
STATUS = np.dtype(
    [
        ("state", "u8"), ("heartbeat_tsc", "u8"), ("loops", "u8"), ("work", "u8"),
        ("pid", "i8"), ("cpu", "i8"), ("finished", "u8"), ("first_work_tsc", "u8"),
    ],
    align=True,
)  # fmt: skip
