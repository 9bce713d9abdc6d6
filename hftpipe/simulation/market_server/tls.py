"""A certificate for 127.0.0.1 and localhost, signed by itself and made anew at each start (ECDSA on P-256, X.509 v3).

The standard library speaks TLS but makes no certificates. What is needed for one is small: numbers on one curve (SEC 1, FIPS
186-4) and a few types of DER (X.690). It is made once, for a simulated venue on this machine: it is neither fast nor hardened
against who measures it.
"""

import base64
import hashlib
import secrets
import ssl
import tempfile
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from pathlib import Path

# The curve P-256: y^2 = x^3 - 3 x + b (mod p), its base point and that one's order.
_P = 2**256 - 2**224 + 2**192 + 2**96 - 1
_N = 0xFFFFFFFF00000000FFFFFFFFFFFFFFFFBCE6FAADA7179E84F3B9CAC2FC632551
_G = (
    0x6B17D1F2E12C4247F8BCE6E563A440F277037D812DEB33A0F4A13945D898C296,
    0x4FE342E2FE1A7F9B8EE7EB4A7C0F9E162BCE33576B315ECECBB6406837BF51F5,
)
_BYTES = 32
_DAYS = 30

_EC_PUBLIC_KEY, _P256, _ECDSA_SHA256 = "1.2.840.10045.2.1", "1.2.840.10045.3.1.7", "1.2.840.10045.4.3.2"
_COMMON_NAME, _ALT_NAME, _CONSTRAINTS = "2.5.4.3", "2.5.29.17", "2.5.29.19"
_NAME = "localhost"
_ADDRESS = bytes((127, 0, 0, 1))

_Point = tuple[int, int] | None


def _add(a: _Point, b: _Point) -> _Point:
    """The sum of two points; None is the point at infinity."""
    if a is None or b is None:
        return a or b
    if a[0] == b[0]:
        if (a[1] + b[1]) % _P == 0:
            return None
        slope = (3 * a[0] * a[0] - 3) * pow(2 * a[1], -1, _P)
    else:
        slope = (b[1] - a[1]) * pow(b[0] - a[0], -1, _P)
    x = (slope * slope - a[0] - b[0]) % _P
    return x, (slope * (a[0] - x) - a[1]) % _P


def _times(number: int, point: _Point = _G) -> tuple[int, int]:
    """``number`` (1 to the order less one) times a point."""
    made: _Point = None
    while number:
        if number & 1:
            made = _add(made, point)
        point, number = _add(point, point), number >> 1
    assert made is not None
    return made


def _der(tag: int, *parts: bytes) -> bytes:
    body = b"".join(parts)
    size = len(body)
    if size < 128:
        return bytes((tag, size)) + body
    length = size.to_bytes((size.bit_length() + 7) // 8, "big")
    return bytes((tag, 128 | len(length))) + length + body


def _sequence(*parts: bytes) -> bytes:
    return _der(0x30, *parts)


def _integer(value: int) -> bytes:
    return _der(0x02, value.to_bytes(value.bit_length() // 8 + 1, "big"))


def _bits(data: bytes) -> bytes:
    return _der(0x03, b"\0", data)


def _octets(data: bytes) -> bytes:
    return _der(0x04, data)


def _object(dotted: str) -> bytes:
    first, second, *others = (int(part) for part in dotted.split("."))
    body = bytearray([40 * first + second])
    for number in others:
        groups = [number & 127]
        while number := number >> 7:
            groups.append(number & 127 | 128)
        body += bytes(reversed(groups))
    return _der(0x06, bytes(body))


def _time(at: datetime) -> bytes:
    return _der(0x17, at.strftime("%y%m%d%H%M%SZ").encode())


def _sign(key: int, data: bytes) -> bytes:
    digest = int.from_bytes(hashlib.sha256(data).digest(), "big")
    while True:
        once = secrets.randbelow(_N - 1) + 1
        r = _times(once)[0] % _N
        s = pow(once, -1, _N) * (digest + r * key) % _N
        if r and s:
            return _sequence(_integer(r), _integer(s))


def _certificate(key: int, public: bytes, now: datetime) -> bytes:
    signature = _sequence(_object(_ECDSA_SHA256))
    name = _sequence(_der(0x31, _sequence(_object(_COMMON_NAME), _der(0x0C, _NAME.encode()))))
    key_info = _sequence(_sequence(_object(_EC_PUBLIC_KEY), _object(_P256)), _bits(public))
    names = _sequence(_der(0x82, _NAME.encode()), _der(0x87, _ADDRESS))
    true = _der(0x01, b"\xff")
    extensions = _sequence(
        _sequence(_object(_ALT_NAME), _octets(names)),
        # An authority, so that a client may be told to trust it as one.
        _sequence(_object(_CONSTRAINTS), true, _octets(_sequence(true))),
    )
    body = _sequence(
        _der(0xA0, _integer(2)),
        _integer(secrets.randbits(120) + 1),
        signature,
        name,
        _sequence(_time(now - timedelta(days=1)), _time(now + timedelta(days=_DAYS))),
        name,
        key_info,
        _der(0xA3, extensions),
    )
    return _sequence(body, signature, _bits(_sign(key, body)))


def _pem(label: str, data: bytes) -> str:
    text = base64.encodebytes(data).decode().replace("\n", "")
    lines = [text[at : at + 64] for at in range(0, len(text), 64)]
    return "\n".join([f"-----BEGIN {label}-----", *lines, f"-----END {label}-----", ""])


@dataclass(frozen=True)
class Identity:
    """A certificate and its key, as PEM text."""

    certificate: str
    key: str

    def server_context(self) -> ssl.SSLContext:
        """TLS as a server with this identity. The key is in a file only while the library reads it."""
        context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
        with tempfile.TemporaryDirectory(prefix="hftpipe-tls-") as folder:
            file = Path(folder) / "identity.pem"
            file.touch(mode=0o600)
            file.write_text(self.key + self.certificate)
            context.load_cert_chain(file)
        return context


def new_identity(now_ns: int) -> Identity:
    """A certificate from the day before ``now_ns`` (wall clock) on, good for 30 days."""
    key = secrets.randbelow(_N - 1) + 1
    x, y = _times(key)
    public = b"\x04" + x.to_bytes(_BYTES, "big") + y.to_bytes(_BYTES, "big")
    private = _sequence(
        _integer(1), _octets(key.to_bytes(_BYTES, "big")), _der(0xA0, _object(_P256)), _der(0xA1, _bits(public))
    )
    certificate = _certificate(key, public, datetime.fromtimestamp(now_ns // 10**9, UTC))
    return Identity(_pem("CERTIFICATE", certificate), _pem("EC PRIVATE KEY", private))
