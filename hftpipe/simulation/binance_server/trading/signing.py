"""What is signed of a request.

REST signs the raw query and the raw body, one behind the other with nothing between, as they were sent, without the signature
that ends one of them. The WebSocket API signs all parameters but the signature, sorted by name, ``name=value`` joined by ``&``,
not percent-encoded.
"""

import re
from collections.abc import Mapping
from urllib.parse import unquote

_LAST = re.compile(r"(?:^|&)signature=([^&]*)$")


def rest_payload(query: str, body: str) -> tuple[str, str | None]:
    """What was signed and the signature (not percent-encoded any more; None: it is not where it has to be, at the end)."""
    for text in (query, body):
        found = _LAST.search(text)
        if found:
            rest = text[: found.start()]
            return (rest + body if text is query else query + rest), unquote(found[1])
    return query + body, None


def api_payload(params: Mapping[str, str]) -> str:
    """What a request of the WebSocket API signs."""
    return "&".join(f"{name}={params[name]}" for name in sorted(params) if name != "signature")
