"""HMAC-SHA256 in compiled code: OpenSSL's SHA-256, by address, from where the key's two blocks have been hashed already.

RFC 2104: ``H(key ^ opad | H(key ^ ipad | text))``. What the key makes of the hash's state is computed once, so that a signature
costs the blocks of its text and two more. That state signs as well as the key does: it is memory of this process alone, never of a
segment that others can open.
"""

import ctypes
import hashlib
import hmac

import numpy as np

from hftpipe.core.machine.digits import hex_word, store_text
from hftpipe.core.machine.jit import jit
from hftpipe.core.machine.mem import U64, call_words, copy_bytes, load_u32, view
from hftpipe.core.schema.layout import offset_of
from hftpipe.transport.tls.openssl import TlsError, function_address

#: OpenSSL's SHA256_CTX; its layout has been the same since SHA-256 is in it, and is checked when a key is taken.
_SHA = np.dtype(
    [("h", "u4", 8), ("nl", "u4"), ("nh", "u4"), ("data", "u4", 16), ("num", "u4"), ("md_len", "u4")], align=True
)
_SHA_BYTES = _SHA.itemsize
#: A key as its two states (``inner``, ``outer``), where it is worked, the digest, and OpenSSL's functions.
SIGNER = np.dtype(
    [("inner", _SHA), ("outer", _SHA), ("work", _SHA), ("digest", "u1", 32), ("update", "u8"), ("final", "u8")],
    align=True,
)
assert _SHA_BYTES == 112
#: Characters of a signature.
HEX_BYTES = 64
_OUTER, _WORK, _DIGEST = (np.uint64(offset_of(SIGNER, name)) for name in ("outer", "work", "digest"))
_DIGEST_BYTES = np.uint64(32)
_BLOCK = 64
_PROBE = b"hftpipe signs this once, to see that OpenSSL's state is where it should be: longer than one block of it"


@jit
def sign_hex(signer, text, length, target):
    """Write the signature (64 hexadecimal digits, lower case) of ``length`` bytes at ``text`` to ``target``; its end address."""
    s = view(signer, SIGNER)
    work, digest = signer + _WORK, signer + _DIGEST
    copy_bytes(work, signer, np.int64(_SHA_BYTES))
    call_words(s.update, (work, text, U64(length)))
    call_words(s.final, (digest, work))
    copy_bytes(work, signer + _OUTER, np.int64(_SHA_BYTES))
    call_words(s.update, (work, digest, _DIGEST_BYTES))
    call_words(s.final, (digest, work))
    for word in range(8):
        raw = U64(load_u32(digest + U64(4 * word)))
        # The digest is a row of bytes: its first one is the lowest here.
        swapped = (
            (raw >> U64(24)) | ((raw >> U64(8)) & U64(0xFF00)) | ((raw << U64(8)) & U64(0xFF0000)) | (raw << U64(24))
        )
        store_text(target + U64(8 * word), hex_word(swapped))
    return target + U64(HEX_BYTES)


def _state_of(block: bytes) -> np.ndarray:
    """OpenSSL's state after one block."""
    state = np.zeros(1, _SHA)
    call = {
        name: ctypes.CFUNCTYPE(ctypes.c_int, *kinds)(function_address(name))
        for name, kinds in (
            ("SHA256_Init", (ctypes.c_void_p,)),
            ("SHA256_Update", (ctypes.c_void_p, ctypes.c_char_p, ctypes.c_size_t)),
        )
    }
    call["SHA256_Init"](state.ctypes.data)
    call["SHA256_Update"](state.ctypes.data, block, len(block))
    return state


def signer_init(signer: np.ndarray, secret: bytes) -> None:
    """Make a SIGNER array (length 1) sign with a key.

    Raises:
        TlsError: OpenSSL's SHA-256 cannot be reached, or its state is not laid out as expected.
    """
    key = (hashlib.sha256(secret).digest() if len(secret) > _BLOCK else secret).ljust(_BLOCK, b"\0")
    signer[:] = 0
    signer["inner"] = _state_of(bytes(byte ^ 0x36 for byte in key))
    signer["outer"] = _state_of(bytes(byte ^ 0x5C for byte in key))
    signer["update"], signer["final"] = function_address("SHA256_Update"), function_address("SHA256_Final")
    if signature(signer, _PROBE) != hmac.new(secret, _PROBE, hashlib.sha256).hexdigest():
        raise TlsError("signing: OpenSSL's SHA-256 does not keep its state as expected")


def signature(signer: np.ndarray, text: bytes) -> str:
    """The signature of a text by a SIGNER array (length 1), for cold code."""
    source, target = np.frombuffer(text or b"\0", np.uint8), np.zeros(HEX_BYTES, np.uint8)
    sign_hex(
        np.uint64(signer.ctypes.data), np.uint64(source.ctypes.data), np.int64(len(text)), np.uint64(target.ctypes.data)
    )
    return target.tobytes().decode()
