"""CRC-32C in plain Python, for the few bytes of a header: what the CPU's instruction does for entries, bit by bit in a table."""

from functools import cache

_POLYNOMIAL = 0x82F63B78


@cache
def _table() -> tuple[int, ...]:
    made = []
    for byte in range(256):
        for _ in range(8):
            byte = byte >> 1 ^ (_POLYNOMIAL if byte & 1 else 0)
        made.append(byte)
    return tuple(made)


def crc32c(data: bytes, crc: int = 0) -> int:
    """The running remainder of :mod:`hftpipe.core.machine.crc32c`, carried on from ``crc`` over ``data``."""
    table = _table()
    for byte in data:
        crc = crc >> 8 ^ table[(crc ^ byte) & 0xFF]
    return crc
