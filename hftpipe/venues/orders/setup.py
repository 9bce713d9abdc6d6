"""An account's memory, laid out before the processes are forked; and what is private, made in the gateway's own process."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np

from hftpipe.core.machine.json_text import key_code
from hftpipe.core.schema.amounts import amounts_table
from hftpipe.core.schema.layout import aligned
from hftpipe.core.trading.order_table import TABLE_HEADER_BYTES, table_init
from hftpipe.core.trading.seen_fills import seen_init
from hftpipe.transport.http.response import header_code
from hftpipe.transport.signing.keys import Key
from hftpipe.transport.signing.signer import SIGNER, signer_init
from hftpipe.venues.orders.errors import Row, error_table
from hftpipe.venues.orders.facts import queue_init
from hftpipe.venues.orders.keeper import AccountMemory
from hftpipe.venues.orders.requests import TEXT_ROOM
from hftpipe.venues.orders.state import ORDERS, SEEN_FILLS, WINDOWS, account_layout
from hftpipe.venues.orders.template import VALUE, VALUES, Piece, Templates

#: Memory for a request, and for what of it is signed.
_REQUEST_ROOM = 4096


@dataclass(frozen=True)
class Terms:
    """How an account is dealt with.

    Attributes:
        links: its connections that speak of their own accord, that for requests first; calls: connections over REST that requests
            go over instead, 0: none do; is_revised: whether a change makes a new order; answer_s: an unanswered request counts as unknown;
        login_s: how long we may be without a session; silence_s: a connection without a word.
        windows: orders the venue takes, by length in ms.
    """

    links: int
    is_revised: bool
    answer_s: float
    login_s: float
    silence_s: float
    windows: Mapping[int, int]
    calls: int = 0


@dataclass(frozen=True)
class Speech:
    """How a venue is spoken to.

    Attributes:
        templates: of its requests; variants: which one each variant of a request is (int64); errors: what its codes mean.
        scan: address of the C function that reads its messages, ``int64 f(uint64 account, uint64 text, uint64 end, uint64 fact)``;
            scan_bytes: memory for what that notes.
        reply: as ``scan``, for the answer to a request over REST (``reply`` of an ACCOUNT); headers: names of those whose numbers
            it is given, up to VALUES of a RESPONSE.
        fees_in_received: whether a fee that names no coin is in what an execution has brought, not in the quote currency.
        alive: what is said on every connection every ``alive_every_s``; empty: nothing.
    """

    templates: Sequence[Sequence[Piece]]
    variants: np.ndarray
    errors: Sequence[Row]
    scan: int
    scan_bytes: int
    reply: int = 0
    headers: Sequence[str] = ()
    alive: bytes = b""
    alive_every_s: float = 0.0
    fees_in_received: bool = False

    def __repr__(self) -> str:
        return f"Speech({len(self.templates)} templates)"


def account_bytes() -> int:
    """Memory of an account."""
    return account_layout().size


def account_init(
    memory: np.ndarray, instruments: int, clock: int, terms: Terms, halts: int = 0, venue_index: int = 0
) -> AccountMemory:
    """Lay out an account in ``memory`` (uint8 array of :func:`account_bytes`); nothing is connected yet.

    Args:
        instruments: how many there are; clock: address of a CLOCK record; halts: address of HALTS, 0: nobody is told whether orders are taken; venue_index: the venue's number there.

    Raises:
        ValueError: more windows than are kept.
    """
    layout = account_layout()
    memory[: layout.size] = 0
    part = {name: layout.view(memory, name) for name in layout.parts}
    account = part["account"]
    table_init(part["table"], ORDERS)
    seen_init(part["seen"], SEEN_FILLS)
    for name, slots in (("questions", "question_slots"), ("facts", "fact_slots"), ("reports", "report_slots")):
        queue_init(part[name], part[slots])
    for name in (
        "table",
        "seen",
        "links",
        "call_links",
        "calls",
        "questions",
        "facts",
        "reports",
        "extras",
        "executed",
    ):
        account[name] = part[name].ctypes.data
    account["orders"] = part["table"].ctypes.data + TABLE_HEADER_BYTES
    if len(terms.windows) > WINDOWS:
        raise ValueError(f"{len(terms.windows)} windows of orders; allowed: at most {WINDOWS}")
    for index, (length_ms, limit) in enumerate(terms.windows.items()):
        account["windows"][0][index]["length_ms"], account["windows"][0][index]["limit"] = length_ms, limit
    account["n_links"], account["n_instruments"], account["clock"] = terms.links, instruments, clock
    account["n_calls"] = terms.calls
    account["halts"], account["venue_index"], account["is_revised"] = halts, venue_index, terms.is_revised
    for name, seconds in (("answer_ns", terms.answer_s), ("login_ns", terms.login_s), ("silence_ns", terms.silence_s)):
        account[name] = int(seconds * 1e9)
    return AccountMemory(
        account, part["links"][: terms.links], part["call_links"][: terms.calls], part["calls"][: terms.calls],
        part["questions"].ctypes.data, part["facts"].ctypes.data, part["table"],
        part["extras"], part["executed"], part["reconcile"],
    )  # fmt: skip


@dataclass
class Private:
    """What holds the key or signatures: memory of this process alone, to be kept as long as it is used."""

    keep: dict[str, Any] = field(default_factory=dict, repr=False)

    def make(self, name: str, content: np.ndarray) -> np.ndarray:
        """Keep an array under a name."""
        self.keep[name] = content
        return content


def open_private(
    account: np.ndarray, instruments: np.ndarray, key: Key, prefix: bytes, speech: Speech, assets: Sequence[str]
) -> Private:
    """Make what compiled code needs beside the segment, and put its addresses into the ACCOUNT array (length 1).

    Args:
        instruments: INSTRUMENT array; key: of the account; prefix: of our client ids; speech: how the venue is spoken to.
        assets: what fees may be paid in besides the quote currency; the first one has number 1.

    Raises:
        TlsError: OpenSSL cannot be reached, or does not sign as it should.
    """
    private = Private()
    templates, variants = Templates(speech.templates), private.make("variants", speech.variants.copy())
    private.keep["templates"] = templates
    signer = private.make("signer", np.zeros(1, SIGNER))
    signer_init(signer, key)
    symbols = private.make("symbols", np.zeros(len(instruments), VALUE))
    texts = private.make("symbol_texts", instruments["symbol"].copy())
    symbols["at"] = texts.ctypes.data + np.arange(len(texts), dtype=np.uint64) * texts.itemsize
    symbols["length"] = np.char.str_len(texts)
    values, room = private.make("values", np.zeros(VALUES, VALUE)), private.make("texts", aligned(VALUES * TEXT_ROOM))
    values["at"] = room.ctypes.data + np.arange(VALUES, dtype=np.uint64) * TEXT_ROOM
    pieces = {
        "amounts": amounts_table(instruments), "templates": templates.table, "variants": variants, "signer": signer,
        "symbols": symbols, "values": values, "signed": aligned(_REQUEST_ROOM), "text": aligned(_REQUEST_ROOM),
        "errors": error_table(speech.errors), "prefix": np.frombuffer(prefix.ljust(64, b"\0"), np.uint8).copy(),
        "assets": np.array([key_code(one) for one in assets], np.uint64), "powers": instruments["power"].copy(),
        "quotes": np.array([key_code(bytes(one).decode()) for one in instruments["quote"]], np.uint64),
        "bases": np.array([key_code(bytes(one).decode()) if speech.fees_in_received else 0 for one in instruments["base"]], np.uint64),
        "spots": aligned(speech.scan_bytes), "headers": np.array([header_code(one) for one in speech.headers], np.uint64),
    }  # fmt: skip
    for name, piece in pieces.items():
        account[name] = private.make(f"at_{name}", piece).ctypes.data
    account["scan"], account["alive_every_ns"] = speech.scan, int(speech.alive_every_s * 1e9)
    account["reply"], account["n_headers"] = speech.reply, len(speech.headers)
    account["alive"] = private.make("alive", np.frombuffer(speech.alive.ljust(64), np.uint8).copy()).ctypes.data
    account["alive_bytes"] = len(speech.alive)
    account["n_errors"], account["prefix_bytes"], account["n_assets"] = len(pieces["errors"]), len(prefix), len(assets)
    return private
