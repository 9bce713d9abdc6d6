"""Client order ids as a venue sees them: ``cm_<instance>_<epoch>_<counter>[_<revision>]``, all hexadecimal but the instance.

``epoch`` is the high half of the id's number (a second of the wall clock, so ids never repeat across runs), ``counter`` its low
half with the ids of venue and strategy, 8 digits each. A venue where an order cannot be changed replaces it by another one, whose
text has the number of the replacement (2 digits) as its ``revision``; our own id stays. With an instance of up to 12 characters a
text has at most 36, the most that Binance (1.7, 2.4) and Bybit (4.1) take.
"""

import re

import numpy as np

from hftpipe.core.machine.digits import hex_word, read_hex, store_text
from hftpipe.core.machine.jit import jit
from hftpipe.core.machine.mem import ONE, U64, ZERO, copy_bytes, load_u8, store_u8
from hftpipe.core.schema.refusal import Refusal

LONGEST_INSTANCE = 12
#: Bytes that a text may take, and be written over.
CLIENT_TEXT_BYTES = 48
_INSTANCE = re.compile(rf"[A-Za-z0-9-]{{1,{LONGEST_INSTANCE}}}")
_BAR = np.uint8(ord("_"))
_HALF = np.uint64(32)
_LOW, _IDS = np.uint64(0xFFFF), np.uint64(0xFFFF0000)
_DIGITS = np.int64(8)
#: Digits of epoch and counter with the bar between; of a revision with the bar before.
_BODY, _REVISION = np.int64(17), np.int64(3)


def prefix_of(instance: str) -> bytes:
    """What every id of an instance begins with.

    Raises:
        Refusal: it is not 1 to 12 letters, digits and hyphens.
    """
    if not _INSTANCE.fullmatch(instance):
        raise Refusal(f"instance = {instance!r}; allowed: 1 to {LONGEST_INSTANCE} of A-Z, a-z, 0-9 and -")
    return f"cm_{instance}_".encode()


@jit
def write_client_text(prefix, prefix_bytes, id_, revision, target):
    """Write the text of a client id and its revision (0: none is written); the end address."""
    copy_bytes(target, prefix, prefix_bytes)
    at = target + U64(prefix_bytes)
    # The id: venue, strategy, 32 bits of epoch, 16 of counter; as text the epoch, then counter with the other two above it.
    store_text(at, hex_word(id_ >> U64(16)))
    store_u8(at + U64(8), _BAR)
    store_text(at + U64(9), hex_word((id_ & _LOW) | ((id_ >> _HALF) & _IDS)))
    at += U64(_BODY)
    if revision == 0:
        return at
    store_u8(at, _BAR)
    word = hex_word(U64(revision))
    store_u8(at + ONE, np.uint8((word >> U64(48)) & U64(0xFF)))
    store_u8(at + U64(2), np.uint8(word >> U64(56)))
    return at + U64(_REVISION)


@jit
def _is_prefix(prefix, prefix_bytes, at):
    other = np.uint8(0)
    for index in range(prefix_bytes):
        other |= load_u8(prefix + U64(index)) ^ load_u8(at + U64(index))
    return other == 0


@jit
def read_client_text(prefix, prefix_bytes, at, length):
    """The client id that a text of ``length`` bytes names: (id, revision); (0, 0): it is not one of this instance."""
    has_revision = length == prefix_bytes + _BODY + _REVISION
    if (length != prefix_bytes + _BODY and not has_revision) or not _is_prefix(prefix, prefix_bytes, at):
        return ZERO, np.int64(0)
    at += U64(prefix_bytes)
    is_epoch, epoch = read_hex(at, _DIGITS)
    is_counter, counter = read_hex(at + U64(9), _DIGITS)
    is_revision, revision = True, ZERO
    if has_revision:
        is_revision, revision = read_hex(at + U64(18), np.int64(2))
        is_revision = is_revision and load_u8(at + U64(17)) == _BAR
    if not (is_epoch and is_counter and is_revision) or load_u8(at + U64(8)) != _BAR:
        return ZERO, np.int64(0)
    return ((counter & _IDS) << _HALF) | (epoch << U64(16)) | (counter & _LOW), np.int64(revision)


def client_text(prefix: bytes, id_: int, revision: int = 0) -> str:
    """The text of a client id, for cold code."""
    tail = f"_{revision:02x}" if revision else ""
    return f"{prefix.decode()}{id_ >> 16 & 0xFFFFFFFF:08x}_{id_ >> 48:04x}{id_ & 0xFFFF:04x}{tail}"


def epoch_of(id_: int) -> int:
    """The epoch in a client id; that of a later run is larger."""
    return id_ >> 16 & 0xFFFFFFFF


def client_id_of(prefix: bytes, text: str) -> tuple[int, int]:
    """What :func:`read_client_text` reads, for cold code."""
    raw = text.encode(errors="replace")
    memory, start = np.frombuffer(raw.ljust(CLIENT_TEXT_BYTES), np.uint8), np.frombuffer(prefix, np.uint8)
    id_, revision = read_client_text(
        np.uint64(start.ctypes.data), np.int64(len(prefix)), np.uint64(memory.ctypes.data), np.int64(len(raw))
    )
    return int(id_), int(revision)
