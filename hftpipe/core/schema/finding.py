"""One thing that was looked at: what was found, and what to do about it."""

from dataclasses import dataclass
from typing import Literal

Status = Literal["ok", "warn", "fail"]
NOTHING_TO_DO = "nothing to do"


@dataclass(frozen=True)
class Finding:
    """A finding. ``name``: what was looked at; ``found``: what there is; ``advice``: what to do."""

    name: str
    status: Status
    found: str
    advice: str = NOTHING_TO_DO
