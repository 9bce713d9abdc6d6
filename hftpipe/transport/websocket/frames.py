"""Frames as a client sends them (RFC 6455, 5.2): whole, and masked. Cold code."""

import struct

_WHOLE_TEXT, _MASKED = 0x81, 0x80
_SHORT, _LONG = 126, 1 << 16


def text_frame(text: bytes, mask: bytes) -> bytes:
    """A text message in one frame.

    Args:
        mask: four bytes that nobody foresees.

    Raises:
        ValueError: the mask is of another size.
    """
    if len(mask) != 4:
        raise ValueError(f"a mask of {len(mask)} bytes; allowed: 4")
    size = len(text)
    if size < _SHORT:
        head = struct.pack(">BB", _WHOLE_TEXT, _MASKED | size)
    elif size < _LONG:
        head = struct.pack(">BBH", _WHOLE_TEXT, _MASKED | 126, size)
    else:
        head = struct.pack(">BBQ", _WHOLE_TEXT, _MASKED | 127, size)
    return head + mask + bytes(byte ^ mask[at & 3] for at, byte in enumerate(text))
