"""Memory of the pipeline as words: a world looks at some of them after every step, and numpy's fields are slow to read singly."""

import numpy as np

from hftpipe.core.schema.layout import offset_of

WORD_BYTES = 8


def words_of(memory: np.ndarray) -> memoryview:
    """An array's own memory as signed words of 64 bits: what is written there is seen, and the other way round."""
    return memory.view(np.uint8).data.cast("q")


def word_of(record: np.dtype, field: str) -> int:
    """Which word of a record of this layout a field is; it must be one as wide as that."""
    at, whole = offset_of(record, field), record[field]
    assert at % WORD_BYTES == 0 and whole.base.itemsize == WORD_BYTES, f"{field} of {record} is no word"
    return at // WORD_BYTES
