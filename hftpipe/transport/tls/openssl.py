"""The OpenSSL behind Python's ``ssl``, reached from compiled code: its functions, and the SSL* of a connected socket.

The pointer is taken from CPython's object, whose layout is no promise: it is believed only after three checks (the word behind it
is the context, OpenSSL's application data leads back to the object, its descriptor is the socket's). Where they fail
:class:`TlsError` says so, and nothing has been touched.
"""

import ctypes
import re
import socket
import ssl
import sys
from functools import cache
from pathlib import Path
from typing import Any

import numpy as np

from hftpipe.core.schema.refusal import Refusal
from hftpipe.transport.tls.reading import TLS

#: A TLS record is at most 16 kB; more of them at once save system calls.
CIPHER_BYTES = 256 << 10
# Words of CPython's PySSLSocket: its SSL*, the context.
_SSL_WORD, _CONTEXT_WORD = 3, 4
_BIO_CTRL_EOF_RETURN = 130

_FUNCTIONS: dict[str, dict[str, tuple[Any, ...]]] = {
    "ssl": {
        "SSL_read": (ctypes.c_int, ctypes.c_void_p, ctypes.c_void_p, ctypes.c_int),
        "SSL_write": (ctypes.c_int, ctypes.c_void_p, ctypes.c_void_p, ctypes.c_int),
        "SSL_get_error": (ctypes.c_int, ctypes.c_void_p, ctypes.c_int),
        "SSL_get_fd": (ctypes.c_int, ctypes.c_void_p),
        "SSL_get_ex_data": (ctypes.c_void_p, ctypes.c_void_p, ctypes.c_int),
        "SSL_set0_rbio": (None, ctypes.c_void_p, ctypes.c_void_p),
    },
    "crypto": {
        "BIO_s_mem": (ctypes.c_void_p,),
        "BIO_new": (ctypes.c_void_p, ctypes.c_void_p),
        "BIO_ctrl": (ctypes.c_long, ctypes.c_void_p, ctypes.c_int, ctypes.c_long, ctypes.c_void_p),
        "BIO_write": (ctypes.c_int, ctypes.c_void_p, ctypes.c_void_p, ctypes.c_int),
        "ERR_clear_error": (None,),
        "SHA256_Init": (ctypes.c_int, ctypes.c_void_p),
        "SHA256_Update": (ctypes.c_int, ctypes.c_void_p, ctypes.c_void_p, ctypes.c_size_t),
        "SHA256_Final": (ctypes.c_int, ctypes.c_void_p, ctypes.c_void_p),
        "BIO_new_mem_buf": (ctypes.c_void_p, ctypes.c_char_p, ctypes.c_int),
        "BIO_free": (ctypes.c_int, ctypes.c_void_p),
        "PEM_read_bio_PrivateKey": (
            ctypes.c_void_p,
            ctypes.c_void_p,
            ctypes.c_void_p,
            ctypes.c_void_p,
            ctypes.c_void_p,
        ),
        "EVP_sha256": (ctypes.c_void_p,),
        "EVP_MD_CTX_new": (ctypes.c_void_p,),
        "EVP_MD_CTX_copy_ex": (ctypes.c_int, ctypes.c_void_p, ctypes.c_void_p),
        "EVP_DigestSignInit": (ctypes.c_int, *(ctypes.c_void_p,) * 5),
        "EVP_DigestSign": (
            ctypes.c_int,
            ctypes.c_void_p,
            ctypes.c_void_p,
            ctypes.c_void_p,
            ctypes.c_void_p,
            ctypes.c_size_t,
        ),
    },
}


class TlsError(Refusal, RuntimeError):
    """This Python's OpenSSL cannot be reached from compiled code; the message says what is not as expected."""


def _mapped(name: str) -> str:
    """Path of the library of that name that this process has mapped."""
    pattern = re.compile(rf"/lib{name}[^/]*\.so[^/]*$")
    for line in Path("/proc/self/maps").read_text().splitlines():
        path = line.split()[-1]
        if pattern.search(path):
            return path
    raise TlsError(f"TLS: Python's ssl has no lib{name} of its own mapped ({ssl.OPENSSL_VERSION})")


@cache
def functions() -> dict[str, ctypes._CFuncPtr]:  # type: ignore[name-defined]  # private, but what ctypes calls it
    """OpenSSL's functions by name.

    Raises:
        TlsError: they are not where this Python's ssl should have them.
    """
    found = {}
    for library, wanted in _FUNCTIONS.items():
        loaded = ctypes.CDLL(_mapped(library))
        for name, (result, *arguments) in wanted.items():
            found[name] = getattr(loaded, name)
            found[name].restype, found[name].argtypes = result, arguments
    return found


def function_address(name: str) -> int:
    """Where one of OpenSSL's :func:`functions` is.

    Raises:
        TlsError: as :func:`functions`.
    """
    return ctypes.cast(functions()[name], ctypes.c_void_p).value or 0


def _pointer(sock: ssl.SSLSocket) -> int:
    """The SSL* of a connected socket."""
    owner = sock._sslobj  # type: ignore[attr-defined]  # CPython's own; checked below
    at = id(owner)
    words = [ctypes.c_uint64.from_address(at + 8 * index).value for index in range(_CONTEXT_WORD + 1)]
    pointer = words[_SSL_WORD]
    call = functions()
    if (
        words[_CONTEXT_WORD] != id(sock.context)
        or call["SSL_get_ex_data"](pointer, 0) != at
        or call["SSL_get_fd"](pointer) != sock.fileno()
    ):
        raise TlsError(f"TLS: the ssl module of Python {sys.version.split()[0]} is not laid out as expected")
    return pointer


class TlsReader:
    """A connected TLS socket that compiled code reads and writes from now on; keep it as long as it does.

    Attributes:
        record: TLS array of length 1.

    Raises:
        TlsError: OpenSSL cannot be reached.
    """

    def __init__(self, sock: ssl.SSLSocket) -> None:
        call = functions()
        pointer = _pointer(sock)
        bio = call["BIO_new"](call["BIO_s_mem"]())
        # An empty memory is no end: more will come.
        call["BIO_ctrl"](bio, _BIO_CTRL_EOF_RETURN, -1, None)
        # Its own reading ends here: OpenSSL has whole records only, so that none is cut in two. Writing stays on the socket.
        call["SSL_set0_rbio"](pointer, bio)
        self._sock, self._object = sock, sock._sslobj  # type: ignore[attr-defined]
        self._cipher = np.zeros(CIPHER_BYTES, np.uint8)
        self.record = np.zeros(1, TLS)
        row = self.record[0]
        row["ssl"], row["bio"], row["cipher"], row["cipher_bytes"] = (
            pointer,
            bio,
            self._cipher.ctypes.data,
            CIPHER_BYTES,
        )
        row["read"], row["write"], row["error"] = map(function_address, ("SSL_read", "SSL_write", "SSL_get_error"))
        row["bio_write"], row["clear"] = function_address("BIO_write"), function_address("ERR_clear_error")
        # A record may have brought more than was read of it.
        row["pending"] = 1

    @property
    def address(self) -> int:
        """Address of the TLS record."""
        return self.record.ctypes.data


def handed_over(sock: socket.socket) -> tuple[int, TlsReader | None]:
    """Descriptor (non-blocking) of a connected socket that only compiled code uses from now on, and its TLS, None: it is plain.

    Raises:
        TlsError: as :class:`TlsReader`.
    """
    sock.setblocking(False)
    return sock.fileno(), TlsReader(sock) if isinstance(sock, ssl.SSLSocket) else None
