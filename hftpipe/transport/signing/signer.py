"""What signs requests in compiled code: a secret by HMAC-SHA256, or a private key."""

import numpy as np

from hftpipe.core.machine.jit import jit
from hftpipe.core.machine.mem import view
from hftpipe.core.schema.layout import offset_of
from hftpipe.transport.signing import hmac_sha256
from hftpipe.transport.signing.hmac_sha256 import sign_hex
from hftpipe.transport.signing.keys import HMAC, Key
from hftpipe.transport.signing.private_key import BASE64_BYTES, PRIVATE_SIGNER, private_signer_init, sign_base64

#: Of the two the one that the key is of; the first one stands at the beginning, so that what signs by HMAC alone takes it as its own.
SIGNER = np.dtype([("hmac", hmac_sha256.SIGNER), ("private", PRIVATE_SIGNER), ("is_private", "i8")], align=True)
assert offset_of(SIGNER, "hmac") == 0
_PRIVATE = np.uint64(offset_of(SIGNER, "private"))
#: Characters of the longest signature.
SIGNATURE_BYTES = BASE64_BYTES


@jit
def sign(signer, text, length, target):
    """Write the signature of ``length`` bytes at ``text`` by a SIGNER to ``target``, as the venue reads it; its end address."""
    if view(signer, SIGNER).is_private != 0:
        return sign_base64(signer + _PRIVATE, text, length, target)
    return sign_hex(signer, text, length, target)


def signer_init(signer: np.ndarray, key: Key) -> None:
    """Make a SIGNER array (length 1) sign with a key. Raises TlsError: OpenSSL cannot be reached, or does not sign as it should."""
    signer["is_private"] = key.kind != HMAC
    if key.kind == HMAC:
        hmac_sha256.signer_init(signer["hmac"], key.secret)
    else:
        private_signer_init(signer["private"], key)
