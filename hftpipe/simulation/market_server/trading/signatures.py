"""Whether a text was signed with an account's key: HMAC-SHA256 (hexadecimal), RSA (PKCS#1 v1.5, SHA-256) or Ed25519 (base64)."""

import base64
import binascii
import hashlib
import hmac
from typing import Any


def _bytes(text: str) -> bytes:
    """UTF-8; what is no character at all (half of a surrogate pair) fits nothing."""
    return text.encode(errors="replace")


def hmac_fits(secret: str, payload: str, signature: str) -> bool:
    """Whether a payload was signed with this secret; the case of the digits does not matter."""
    expected = hmac.new(secret.encode(), _bytes(payload), hashlib.sha256).hexdigest()
    return hmac.compare_digest(expected.encode(), _bytes(signature.lower()))


class PublicKey:
    """An Ed25519 or RSA public key.

    Attributes:
        is_ed25519: which of the two.

    Args:
        pem: its text.

    Raises:
        ValueError: it is neither; ImportError: the package ``cryptography`` is not installed.
    """

    def __init__(self, pem: str) -> None:
        from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PublicKey
        from cryptography.hazmat.primitives.asymmetric.rsa import RSAPublicKey
        from cryptography.hazmat.primitives.serialization import load_pem_public_key

        try:
            key: Any = load_pem_public_key(pem.encode())
        except ValueError as wrong:
            raise ValueError("public key: not the PEM text of one; allowed: Ed25519 or RSA") from wrong
        self.is_ed25519 = isinstance(key, Ed25519PublicKey)
        if not self.is_ed25519 and not isinstance(key, RSAPublicKey):
            raise ValueError(f"public key: {type(key).__name__}; allowed: Ed25519 or RSA")
        self._key = key

    def fits(self, payload: str, signature: str) -> bool:
        """Whether a payload was signed with its private half."""
        from cryptography.exceptions import InvalidSignature
        from cryptography.hazmat.primitives.asymmetric.padding import PKCS1v15
        from cryptography.hazmat.primitives.hashes import SHA256

        try:
            raw = base64.b64decode(signature, validate=True)
            if self.is_ed25519:
                self._key.verify(raw, _bytes(payload))
            else:
                self._key.verify(raw, _bytes(payload), PKCS1v15(), SHA256())
        except (binascii.Error, ValueError, InvalidSignature):
            return False
        return True
