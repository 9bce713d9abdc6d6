"""The head of a request, as it is laid out once and sent many times. Cold code."""

import re
from urllib.parse import urlsplit

from hftpipe.core.schema.refusal import Refusal

#: Of every request; what comes back is read as it is.
_COMMON = (("User-Agent", "hftpipe"), ("Accept-Encoding", "identity"))
_VALUE = re.compile(r"[!-~]([ -~]*[!-~])?")


def target_of(address: str) -> tuple[str, str]:
    """The path that every request to an address begins with (empty: none), and what its ``Host`` is."""
    parts = urlsplit(address)
    return parts.path.rstrip("/"), parts.netloc


def head_text(*headers: tuple[str, str]) -> str:
    """Headers as lines.

    Raises:
        Refusal: a value that is no header's, such as a key with a line's end in it; names the header alone.
    """
    for name, value in headers:
        if not _VALUE.fullmatch(value):
            raise Refusal(f"header {name}: its value cannot be sent; allowed: printable ASCII characters")
    return "".join(f"{name}: {value}\r\n" for name, value in (*headers, *_COMMON))
