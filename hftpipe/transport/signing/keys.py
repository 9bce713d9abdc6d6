"""An account's key, and how it signs what is sent over REST: HMAC-SHA256, Ed25519 or RSA (PKCS #1 v1.5, SHA-256).

Which it is follows from what the environment has: a secret text, or a private key in PEM. Neither is ever part of a text that
describes it.
"""

import base64
import hashlib
import hmac
from collections.abc import Mapping
from typing import Any

from hftpipe.config import Secret, secrets_from_env
from hftpipe.core.schema.refusal import Refusal

HMAC, ED25519, RSA = "HMAC-SHA256", "Ed25519", "RSA"


class Key:
    """A key of an account.

    Attributes:
        name: the public half, sent with each request; kind: HMAC, ED25519 or RSA.
    """

    def __init__(self, name: Secret, secret: Secret | None = None, private_key: Secret | None = None) -> None:
        """Exactly one of ``secret`` and ``private_key``, a PEM text.

        Raises:
            Refusal: neither, both, no private key, or one of another kind.
        """
        if (secret is None) == (private_key is None):
            raise Refusal("an account's key has either a secret or a private key")
        self.name, self._secret = name, secret
        self._private: Any = _loaded(private_key) if private_key else None
        self.kind = HMAC if secret else _kind_of(self._private)

    def __repr__(self) -> str:
        return f"Key({self.kind})"

    @property
    def secret(self) -> bytes:
        """The secret of an HMAC key. Raises Refusal for another one."""
        if self._secret is None:
            raise Refusal(f"a key of kind {self.kind} has no secret")
        return self._secret.reveal().encode()

    @property
    def private_pem(self) -> bytes:
        """The private key in PEM (PKCS #8). Raises Refusal for an HMAC key."""
        if self._private is None:
            raise Refusal(f"a key of kind {self.kind} has no private key")
        from cryptography.hazmat.primitives.serialization import Encoding, NoEncryption, PrivateFormat

        pem: bytes = self._private.private_bytes(Encoding.PEM, PrivateFormat.PKCS8, NoEncryption())
        return pem

    def sign(self, text: bytes) -> str:
        """The signature of a text as the venue reads it: hexadecimal of HMAC, else base64."""
        if self._secret is not None:
            return hmac.new(self.secret, text, hashlib.sha256).hexdigest()
        if self.kind == ED25519:
            return base64.b64encode(self._private.sign(text)).decode()
        from cryptography.hazmat.primitives import hashes
        from cryptography.hazmat.primitives.asymmetric import padding

        return base64.b64encode(self._private.sign(text, padding.PKCS1v15(), hashes.SHA256())).decode()


def _loaded(private_key: Secret) -> Any:
    try:
        from cryptography.hazmat.primitives.serialization import load_pem_private_key
    except ImportError as missing:
        raise Refusal("a private key needs the package cryptography: pip install 'hftpipe[live]'") from missing
    try:
        return load_pem_private_key(private_key.reveal().encode(), None)
    except (ValueError, TypeError) as wrong:
        raise Refusal("the private key is no PEM text without a password") from wrong


def _kind_of(private: Any) -> str:
    from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey
    from cryptography.hazmat.primitives.asymmetric.rsa import RSAPrivateKey

    for kind, one in ((ED25519, Ed25519PrivateKey), (RSA, RSAPrivateKey)):
        if isinstance(private, one):
            return kind
    raise Refusal(f"a private key of kind {type(private).__name__}; allowed: {ED25519}, {RSA}")


def key_of(venue: str, env: Mapping[str, str]) -> Key:
    """The key of the account at a venue, from HFTPIPE_SECRET_<VENUE>_API_KEY and _API_SECRET or _PRIVATE_KEY.

    Raises:
        Refusal: they are not there; names those that are asked for.
    """
    secrets = secrets_from_env(env)
    name, secret, private = (secrets.get(f"{venue}_{part}") for part in ("api_key", "api_secret", "private_key"))
    head = f"HFTPIPE_SECRET_{venue.upper()}"
    if name is None or (secret is None) == (private is None):
        raise Refusal(
            f"venue {venue}: mode = live needs {head}_API_KEY in the environment, and either {head}_API_SECRET or "
            f"{head}_PRIVATE_KEY (a private key in PEM)"
        )
    return Key(name, secret, private)
