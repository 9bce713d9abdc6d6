"""Memory laid out as a pipeline's segment is, without a name: for one process, and gone with it however that ends."""

import mmap
from typing import Any

import numpy as np

from hftpipe.core.shared.shm import ALIGN


class PrivateSegment:
    """Memory laid out as a pipeline's segment is, for this process only."""

    def __init__(self, name: str, sizes: dict[str, int], meta: dict[str, Any], epoch: int) -> None:
        self.name, self.meta, self.epoch, self.replaced = name, meta, epoch, False
        self._places: dict[str, tuple[int, int]] = {}
        at = 0
        for region, size in sizes.items():
            self._places[region] = (at, size)
            at += (size + ALIGN - 1) // ALIGN * ALIGN
        self._bytes = np.frombuffer(mmap.mmap(-1, at), np.uint8)

    def region(self, name: str) -> np.ndarray:
        """The region as a uint8 array."""
        at, size = self._places[name]
        return self._bytes[at : at + size]

    def record(self, name: str, dtype: np.dtype) -> np.ndarray:
        """The region's start as an array of length 1 of ``dtype``."""
        return self.region(name)[: dtype.itemsize].view(dtype)

    def address(self, name: str) -> int:
        """The region's address."""
        return self._bytes.ctypes.data + self._places[name][0]

    def regions(self) -> list[str]:
        """Names of all regions."""
        return list(self._places)

    def unlink(self) -> None:
        """Nothing of it has a name; it goes with this object."""
