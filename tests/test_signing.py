"""Signatures in compiled code are those of the cryptography package and of hmac, whatever is signed, with each kind of key."""

import base64
import hashlib
import hmac

import numpy as np
import pytest
from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.asymmetric import padding, rsa
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey
from cryptography.hazmat.primitives.serialization import Encoding, NoEncryption, PrivateFormat
from memory import address

from hftpipe.config import Secret
from hftpipe.core.schema.refusal import Refusal
from hftpipe.transport.signing.keys import HMAC, RSA, Key
from hftpipe.transport.signing.private_key import write_base64
from hftpipe.transport.signing.signer import SIGNATURE_BYTES, SIGNER, sign, signer_init

TEXTS = [b"", b"a", b"symbol=BTCUSDT&timestamp=1790000000000", b"x" * 63, b"x" * 64, b"x" * 3000]


def key_of(private: object) -> Key:
    pem = private.private_bytes(Encoding.PEM, PrivateFormat.PKCS8, NoEncryption())  # type: ignore[attr-defined]
    return Key(Secret("the-key-of-this-test"), private_key=Secret(pem.decode()))


def signed(key: Key, text: bytes) -> str:
    signer, source = np.zeros(1, SIGNER), np.frombuffer(text or b"\0", np.uint8)
    signer_init(signer, key)
    target = np.zeros(SIGNATURE_BYTES + 16, np.uint8)
    for _ in range(3):
        # One context signs any number of texts.
        target[:] = 0xA5
        end = int(sign(address(signer), address(source), np.int64(len(text)), address(target)))
    length = end - target.ctypes.data
    assert (target[length:] == 0xA5).all()
    return target[:length].tobytes().decode()


@pytest.mark.parametrize("bits", [2048, 3072, 4096])
def test_rsa_signatures_are_verified_by_the_public_key(bits: int) -> None:
    private = rsa.generate_private_key(65537, bits)
    key = key_of(private)
    assert key.kind == RSA
    for text in TEXTS:
        raw = base64.b64decode(signed(key, text), validate=True)
        private.public_key().verify(raw, text, padding.PKCS1v15(), hashes.SHA256())


def test_ed25519_signatures_are_verified_by_the_public_key() -> None:
    private = Ed25519PrivateKey.generate()
    for text in TEXTS:
        private.public_key().verify(base64.b64decode(signed(key_of(private), text), validate=True), text)


@pytest.mark.parametrize("secret", ["a-short-secret-of-a-test", "k" * 64, "k" * 100])
def test_hmac_signatures_are_those_of_the_standard_library(secret: str) -> None:
    key = Key(Secret("the-key-of-this-test"), Secret(secret))
    assert key.kind == HMAC
    for text in TEXTS:
        assert signed(key, text) == hmac.new(secret.encode(), text, hashlib.sha256).hexdigest()


@pytest.mark.parametrize("length", range(12))
def test_base64_is_that_of_the_standard_library(length: int) -> None:
    raw = np.frombuffer(bytes(range(250, 256)) + b"\0\x7f\x80\xff\x01\x02", np.uint8)[:length].copy()
    target = np.zeros(32, np.uint8)
    end = int(write_base64(address(target), address(raw) if length else np.uint64(1), np.int64(length)))
    assert target[: end - target.ctypes.data].tobytes() == base64.b64encode(raw.tobytes())


def test_a_key_says_nothing_of_itself_and_has_one_half_alone() -> None:
    key = key_of(Ed25519PrivateKey.generate())
    assert repr(key) == "Key(Ed25519)" and key.private_pem.startswith(b"-----BEGIN PRIVATE KEY-----")
    with pytest.raises(Refusal, match="no secret"):
        _ = key.secret
    with pytest.raises(Refusal, match="no private key"):
        _ = Key(Secret("the-key-of-this-test"), Secret("a-secret-of-this-test")).private_pem
