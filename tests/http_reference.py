"""Answers over HTTP/1.1 read slowly and plainly, and a writer of them: the twin of what compiled code reads."""

import re
from dataclasses import dataclass

LONGEST_HEAD, LONGEST_BODY = 8192, 1 << 15
_STATUS = re.compile(rb"HTTP/1\.([01]) ([1-5]\d\d)( .*)?", re.DOTALL)
_HEADER = re.compile(rb"([!#$%&'*+.^_`|~0-9A-Za-z-]+):(.*)", re.DOTALL)
_SIZE = re.compile(rb"([0-9A-Fa-f]{1,8})[ \t]*(;.*)?", re.DOTALL)
_BLANKS = b" \t"


class More(Exception):
    """It is not all there."""


class Broken(Exception):
    """It is none."""


@dataclass
class Plain:
    """An answer: as the head says it, its body, how many bytes it took, and whether the connection stays."""

    status: int
    headers: list[tuple[str, bytes]]
    body: bytes
    length: int
    keeps: bool

    def number(self, name: str) -> int:
        """Of the last header of that name; -1: none, or no number."""
        said = [value for key, value in self.headers if key == name]
        return int(said[-1]) if said and re.fullmatch(rb"[0-9]{1,18}", said[-1]) else -1


def _line(data: bytes, at: int) -> tuple[bytes, int]:
    """The line at ``at`` and where the next one begins."""
    found = re.search(rb"[\r\n]", data[at:])
    size = found.start() if found else len(data) - at
    if size > LONGEST_HEAD:
        raise Broken
    if not found:
        raise More
    stop = at + size
    if data[stop : stop + 1] == b"\n":
        raise Broken
    if stop + 1 == len(data):
        raise More
    if data[stop + 1 : stop + 2] != b"\n":
        raise Broken
    return data[at:stop], stop + 2


def _head(data: bytes, start: int) -> tuple[int, int, list[tuple[str, bytes]], int]:
    line, at = _line(data, start)
    status = _STATUS.fullmatch(line)
    if not status:
        raise Broken
    headers: list[tuple[str, bytes]] = []
    while True:
        line, after = _line(data, at)
        if at + len(line) - start > LONGEST_HEAD:
            raise Broken
        at = after
        if not line:
            return int(status[2]), int(status[1]), headers, at
        header = _HEADER.fullmatch(line)
        if not header:
            raise Broken
        headers.append((header[1].decode().lower(), header[2].strip(_BLANKS)))
        _framing(headers)


def _framing(headers: list[tuple[str, bytes]]) -> tuple[set[int], list[bytes]]:
    """Lengths of the body, and how it is coded, as they are said so far."""
    lengths = {value for key, value in headers if key == "content-length"}
    codings = [value.lower() for key, value in headers if key == "transfer-encoding"]
    if any(not re.fullmatch(rb"[0-9]{1,18}", one) for one in lengths):
        raise Broken
    numbers = {int(one) for one in lengths}
    if len(numbers) > 1 or codings not in ([], [b"chunked"]):
        raise Broken
    return numbers, codings


def _length(headers: list[tuple[str, bytes]], minor: int) -> int | None:
    """Of the body; -1: in chunks; None: not said."""
    lengths, codings = _framing(headers)
    if codings and (lengths or minor == 0):
        raise Broken
    return -1 if codings else lengths.pop() if lengths else None


def _chunks(data: bytes, at: int) -> tuple[bytes, int]:
    body = b""
    while True:
        line, at = _line(data, at)
        size = _SIZE.fullmatch(line)
        if not size:
            raise Broken
        count = int(size[1], 16)
        if count == 0:
            break
        if len(body) + count > LONGEST_BODY:
            raise Broken
        if len(data) - at < count + 2:
            raise More
        if data[at + count : at + count + 2] != b"\r\n":
            raise Broken
        body, at = body + data[at : at + count], at + count + 2
    while line:
        line, at = _line(data, at)
    return body, at


def read(data: bytes) -> Plain:
    """The answer at the beginning of ``data``. Raises More or Broken."""
    at = 0
    while True:
        status, minor, headers, at = _head(data, at)
        length = _length(headers, minor)
        if status >= 200:
            break
        if status == 101:
            raise Broken
    words = [word.strip(_BLANKS).lower() for key, value in headers if key == "connection" for word in value.split(b",")]
    keeps = b"close" not in words and (minor == 1 or b"keep-alive" in words)
    if status in (204, 304):
        return Plain(status, headers, b"", at, keeps)
    if length is None:
        return Plain(status, headers, b"", len(data), False)
    if length == -1:
        body, at = _chunks(data, at)
        return Plain(status, headers, body, at, keeps)
    if length > LONGEST_BODY:
        raise Broken
    if len(data) - at < length:
        raise More
    return Plain(status, headers, data[at : at + length], at + length, keeps)


def written(status: int, body: bytes, chunks: list[int] | None = None, **headers: str) -> bytes:
    """An answer as a server writes it; ``chunks``: sizes that its body is cut into, None: its length is said."""
    named = {name.replace("_", "-"): text for name, text in headers.items()}
    head = [f"HTTP/1.1 {status} X", *(f"{name}: {text}" for name, text in named.items())]
    if chunks is None:
        return "\r\n".join([*head, f"Content-Length: {len(body)}", "", ""]).encode() + body
    parts, at = b"", 0
    for size in [*chunks, len(body)]:
        if part := body[at : at + size]:
            parts += b"%x;x=1\r\n%s\r\n" % (len(part), part)
        at += size
    return "\r\n".join([*head, "Transfer-Encoding: chunked", "", ""]).encode() + parts + b"0\r\n\r\n"
