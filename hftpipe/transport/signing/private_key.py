"""Signatures of a private key (RSA: PKCS #1 v1.5 with SHA-256; Ed25519) in compiled code, by OpenSSL: base64, as venues read them.

A signature of RSA takes OpenSSL about a millisecond, whoever asks for it. What it needs of the key is prepared once, and copied
for each text; it signs as well as the key does, and is memory of this process alone.
"""

import ctypes
from typing import Any

import numpy as np

from hftpipe.core.machine.jit import jit
from hftpipe.core.machine.mem import U64, call_words, load_u8, store_i64, store_u8, view
from hftpipe.core.schema.layout import offset_of
from hftpipe.transport.signing.keys import RSA, Key
from hftpipe.transport.tls.openssl import TlsError, function_address, functions

#: Bytes of the longest signature, one of RSA with 8192 bits; characters of it.
_MOST_BYTES = 1024
BASE64_BYTES = (_MOST_BYTES + 2) // 3 * 4
#: OpenSSL's contexts of a key, prepared and at work; its functions; the signature's length and bytes.
PRIVATE_SIGNER = np.dtype(
    [("prepared", "u8"), ("work", "u8"), ("copy", "u8"), ("sign", "u8"), ("length", "i8"), ("raw", "u1", _MOST_BYTES)],
    align=True,
)
_LENGTH, _RAW = (np.uint64(offset_of(PRIVATE_SIGNER, name)) for name in ("length", "raw"))
_ALPHABET = np.frombuffer(b"ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789+/", np.uint8).copy()
_PAD = np.uint8(ord("="))
_INT = np.int64(0xFFFFFFFF)
_PROBE = b"hftpipe signs this once, to see that OpenSSL and the key agree"


@jit
def write_base64(target, at, length):
    """Write ``length`` bytes at ``at`` in base64 (RFC 4648, padded) to ``target``; the end address."""
    for start in range(0, length, 3):
        word = np.int64(0)
        for index in range(3):
            word = word << 8 | (np.int64(load_u8(at + U64(start + index))) if start + index < length else 0)
        for index in range(4):
            letter = _ALPHABET[(word >> (18 - 6 * index)) & 63] if start + index <= length else _PAD
            store_u8(target + U64(index), letter)
        target += U64(4)
    return target


@jit
def sign_base64(signer, text, length, target):
    """Write the signature of ``length`` bytes at ``text`` by a PRIVATE_SIGNER to ``target``; its end address, ``target`` if OpenSSL fails."""
    s = view(signer, PRIVATE_SIGNER)
    call_words(s.copy, (s.work, s.prepared))
    store_i64(signer + _LENGTH, np.int64(_MOST_BYTES))
    done = call_words(s.sign, (s.work, signer + _RAW, signer + _LENGTH, text, U64(length)))
    if done & _INT != 1:
        return target
    return write_base64(target, signer + _RAW, s.length)


def _loaded(pem: bytes) -> Any:
    """OpenSSL's key of a PEM text."""
    call = functions()
    source = call["BIO_new_mem_buf"](pem, len(pem))
    key = call["PEM_read_bio_PrivateKey"](source, None, None, None)
    call["BIO_free"](source)
    if not key:
        call["ERR_clear_error"]()
        raise TlsError("signing: OpenSSL does not read the private key")
    return key


def private_signer_init(signer: np.ndarray, key: Key) -> None:
    """Make a PRIVATE_SIGNER array (length 1) sign with a private key; what OpenSSL holds of it lives as long as this process.

    Raises:
        TlsError: OpenSSL cannot be reached, or does not sign as it should.
    """
    call = functions()
    prepared, work = call["EVP_MD_CTX_new"](), call["EVP_MD_CTX_new"]()
    digest = call["EVP_sha256"]() if key.kind == RSA else None
    signer[:] = 0
    is_ready = call["EVP_DigestSignInit"](prepared, None, digest, None, ctypes.c_void_p(_loaded(key.private_pem)))
    signer["prepared"], signer["work"] = prepared, work
    signer["copy"], signer["sign"] = function_address("EVP_MD_CTX_copy_ex"), function_address("EVP_DigestSign")
    if is_ready != 1 or private_signature(signer, _PROBE) != key.sign(_PROBE):
        raise TlsError("signing: OpenSSL does not sign with the private key as it should")


def private_signature(signer: np.ndarray, text: bytes) -> str:
    """The signature of a text by a PRIVATE_SIGNER array (length 1), for cold code."""
    source, target = np.frombuffer(text or b"\0", np.uint8), np.zeros(BASE64_BYTES, np.uint8)
    start = target.ctypes.data
    end = sign_base64(
        np.uint64(signer.ctypes.data), np.uint64(source.ctypes.data), np.int64(len(text)), np.uint64(start)
    )
    return target[: int(end) - start].tobytes().decode()
