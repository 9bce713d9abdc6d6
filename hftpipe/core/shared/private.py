"""Memory laid out as a pipeline's segment is, without a name: for one process, and gone with it however that ends."""

import mmap
from collections.abc import Collection
from typing import Any

import numpy as np

from hftpipe.core.schema.layout import lay_out
from hftpipe.core.shared.shm import ALIGN


class PrivateSegment:
    """Memory laid out as a pipeline's segment is, for this process only; a page takes memory from its first use on."""

    def __init__(
        self, name: str, sizes: dict[str, int], meta: dict[str, Any], epoch: int, sparse: Collection[str] = ()
    ) -> None:
        self.name, self.meta, self.epoch = name, meta, epoch
        self.replaced: dict[str, int] = {}
        self._layout = lay_out(sizes, ALIGN)
        self._bytes = np.frombuffer(mmap.mmap(-1, self._layout.size), np.uint8)

    def region(self, name: str) -> np.ndarray:
        """The region as a uint8 array."""
        return self._layout.view(self._bytes, name)

    def record(self, name: str, dtype: np.dtype) -> np.ndarray:
        """The region's start as an array of length 1 of ``dtype``."""
        return self.region(name)[: dtype.itemsize].view(dtype)

    def address(self, name: str) -> int:
        """The region's address."""
        return self._bytes.ctypes.data + self._layout.at(name)

    def regions(self) -> list[str]:
        """Names of all regions."""
        return list(self._layout.parts)

    def unlink(self) -> None:
        """Nothing of it has a name; it goes with this object."""
