"""How long to wait before something that failed is tried again."""

import random

#: Failures in a row after which it is said again, each time.
ALARM_AFTER = 5


def pause_s(failures: int, first: float, longest: float) -> float:
    """How long to wait after so many failures in a row (1 or more)."""
    return min(first * 2.0 ** (failures - 1), longest) * (1.0 + random.random() / 2)
