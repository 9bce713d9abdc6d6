"""The machine code of every stage, strategy hook and loop: no allocation, no exception, no call that is not listed."""

import json
import os
import subprocess
import sys
from pathlib import Path
from typing import Any

import machine_code
import numpy as np
import pytest
from machine_code import plain_name, problems
from numba import njit, types
from numba.core.errors import NumbaError

from hftpipe.core.machine.jit import _OPTIONS
from hftpipe.core.machine.mem import U64, call_step, copy_bytes, div_wide, load_i64, rdtsc, sched_yield, store_i64

#: Hot code of the product. Entries (functions with a C address) are found by themselves in these packages.
TABLE: dict[str, Any] = {
    "packages": [
        "hftpipe.core", "hftpipe.market", "hftpipe.strategy", "hftpipe.risk", "hftpipe.gateway", "hftpipe.simulation",
        "hftpipe.venues", "hftpipe.transport",
    ],
    # Hot functions that Python calls by name, and their signatures.
    "python_roots": {
        "hftpipe.core.shared.stage.duty_loop": "(uint64, int64)",
        "hftpipe.core.machine.fixed.parse_decimal": "(uint64, uint64)",
        "hftpipe.core.trading.amounts.write_price": "(uint64, int64, int64, uint64)",
        "hftpipe.core.trading.amounts.write_qty": "(uint64, int64, int64, uint64)",
        "hftpipe.venues.nasdaq.itch.receive.receive_step": "(uint64, int64)",
        "hftpipe.simulation.exchange_server.itch_exchange.serve": "(uint64, uint64, uint64, int64, int64)",
    },
    "strategies": ["arbitrage", "market_making", "momentum"],
    # Every C function that hot code may call, by root.
    "libc": {
        "hftpipe.core.shared.stage.duty_loop": ["sched_yield", "usleep"],
        # Where every order is to be on the disk before it is sent.
        "hftpipe.gateway.stage.step_entry": ["msync", "__errno_location"],
        "hftpipe.venues.taped.source.source_entry": ["memchr"],
        "hftpipe.venues.live.source.live_entry": ["recv", "send", "__errno_location"],
        "hftpipe.venues.live.source.say_entry": ["send"],
        "hftpipe.venues.paper.exchange.market_entry": ["pow"],
        "hftpipe.simulation.flow.entries.step_entry": ["sqrt"],
        "hftpipe.simulation.world.venue.market_entry": ["pow"],
        "hftpipe.simulation.exchange_server.itch_exchange.serve": [
            "sqrt", "sched_yield", "usleep",
            "send", "sendto", "recv", "recvfrom", "accept4", "setsockopt", "close", "__errno_location",
        ],
        "hftpipe.simulation.exchange_server.captured.play_entry": ["memchr", "send", "__errno_location"],
        "hftpipe.venues.nasdaq.itch.receive.receive_step": ["recvfrom", "recvmsg", "send", "__errno_location", "clock_gettime"],
        "hftpipe.venues.nasdaq.itch.wiring.receive_entry": ["recvfrom", "recvmsg", "send", "__errno_location", "clock_gettime"],
        "hftpipe.venues.orders.venue.submit_entry": ["send", "recv", "__errno_location"],
        "hftpipe.venues.orders.venue.poll_entry": ["send", "recv", "__errno_location"],
        "hftpipe.venues.nasdaq.ouch.venue.submit_entry": ["send", "close", "__errno_location"],
        "hftpipe.venues.nasdaq.ouch.venue.poll_entry": [
            "send", "recv", "socket", "connect", "setsockopt", "close", "__errno_location",
        ],
    },
    # Modules whose functions call a stage, a hook, a source, a venue or a codec by its address.
    "by_address": [
        "hftpipe.core.shared.stage", "hftpipe.strategy.stage", "hftpipe.gateway.stage", "hftpipe.gateway.stopping",
        "hftpipe.venues.paper.source",
        "hftpipe.venues.nasdaq.source", "hftpipe.market.stage", "hftpipe.venues.nasdaq.itch.receive",
        "hftpipe.simulation.exchange_server.itch_exchange",
        # Whoever reads a capture calls its codec.
        "hftpipe.venues.taped.cursor", "hftpipe.venues.taped.publish", "hftpipe.venues.live.source",
        "hftpipe.simulation.exchange_server.captured",
        # OpenSSL, as Python's ssl has loaded it.
        "hftpipe.transport.tls.reading", "hftpipe.transport.websocket.link", "hftpipe.transport.websocket.sending",
        "hftpipe.transport.signing.hmac_sha256", "hftpipe.transport.signing.private_key",
        # Whoever reads a venue's answers calls its scan.
        "hftpipe.venues.orders.venue", "hftpipe.venues.orders.calls",
        # The world stands before any venue.
        "hftpipe.simulation.world.venue",
    ],
    # Code of users is compiled with its bounds and its arithmetic checked. A small hook is inlined into its entry, which hands on
    # what it raised and raises nothing itself.
    "may_raise": r"hftpipe\.strategy\.library\.(arbitrage\.Arbitrage|market_making\.MarketMaking|momentum\.Momentum)\.|"
    r"hftpipe_\w+\.on_\w+_entry$",
}  # fmt: skip

#: Roots that must be there, and one function each that must have been looked at.
EXPECTED = {
    "hftpipe.venues.taped.source.source_entry": "hftpipe.venues.taped.publish.on_message",
    "hftpipe.venues.live.source.live_entry": "hftpipe.transport.websocket.link.next_message",
    "hftpipe.venues.binance.codec.scan_entry": "hftpipe.venues.binance.scanner.scan",
    "hftpipe.venues.orders.venue.submit_entry": "hftpipe.venues.orders.requests.send_request",
    "hftpipe.venues.orders.venue.poll_entry": "hftpipe.venues.orders.apply.apply_fact",
    "hftpipe.venues.binance.orders.reply.reply_entry": "hftpipe.venues.binance.orders.answers.read_outcome",
    "hftpipe.venues.bybit.orders.reply.reply_entry": "hftpipe.venues.bybit.orders.answers.read_outcome",
    "hftpipe.venues.bybit.orders.scan.scan_entry": "hftpipe.core.machine.json_text.next_member",
    "hftpipe.venues.binance.orders.scan.scan_entry": "hftpipe.core.machine.json_text.next_member",
    "hftpipe.venues.bybit.codec.scan_entry": "hftpipe.venues.bybit.scanner.scan",
    "hftpipe.venues.bybit.codec.follow_entry": "hftpipe.venues.bybit.sync.feed",
    "hftpipe.strategy.stage.step_entry": "hftpipe.core.trading.book.book_clear",
    "hftpipe.risk.stage.step_entry": "hftpipe.risk.checks.evaluate",
    "hftpipe.gateway.stage.step_entry": "hftpipe.gateway.orders.apply_report",
    "hftpipe.venues.paper.exchange.submit_entry": "hftpipe.venues.paper.exchange.submit_entry",
    "hftpipe.venues.paper.exchange.market_entry": "hftpipe.venues.paper.feed.apply_record",
    "hftpipe.venues.paper.exchange.poll_entry": "hftpipe.venues.paper.exchange.poll_entry",
    "hftpipe.simulation.flow.entries.step_entry": "hftpipe.simulation.flow.flow.flow_step",
    "hftpipe.core.shared.stage.duty_loop": "hftpipe.core.shared.stage.duty_loop",
    "hftpipe.simulation.exchange_server.captured.play_entry": "hftpipe.simulation.exchange_server.captured.play",
}


@pytest.fixture(scope="module")
def compiled(tmp_path_factory: pytest.TempPathFactory) -> dict[str, dict[str, list[str]]]:
    """Everything compiled from nothing: code loaded from a cache cannot be read."""
    environment = os.environ | {"HFTPIPE_CACHE_DIR": str(tmp_path_factory.mktemp("cache"))}
    result = subprocess.run(
        [sys.executable, machine_code.__file__],
        input=json.dumps(TABLE), capture_output=True, text=True, env=environment, timeout=900,
    )  # fmt: skip
    assert result.returncode == 0, result.stderr[-4000:]
    return json.loads(result.stdout)


def test_hot_code_allocates_nothing_raises_nothing_and_calls_only_what_is_listed(
    compiled: dict[str, dict[str, list[str]]],
) -> None:
    found = {root: facts["problems"] for root, facts in compiled.items() if facts["problems"]}
    assert not found, json.dumps(found, indent=1)


def test_every_stage_was_looked_at(compiled: dict[str, dict[str, list[str]]]) -> None:
    for root, function in EXPECTED.items():
        assert function in compiled[root]["functions"], root
    for strategy in TABLE["strategies"]:
        assert any(root.startswith(f"strategy {strategy}.on_") for root in compiled)


def test_no_leave_is_given_to_a_root_that_is_gone(compiled: dict[str, dict[str, list[str]]]) -> None:
    assert set(TABLE["libc"]) <= set(compiled)


# --- the checker itself: each planted fault is caught --------------------------------------------------

_puts = types.ExternalFunction("puts", types.int32(types.uint64))
_TABLE = np.arange(7)


def allocates(n):
    return np.zeros(n).sum()


def prints(n):
    return _puts(U64(n))


def calls_back(n):
    return call_step(U64(n), U64(n), n)


def raises(n):
    if n < 0:
        raise ValueError("negative")
    return n


def divides_128_bits(n):
    quotient, _ = div_wide(U64(0), U64(n), U64(7))
    return np.int64(quotient)


def remainder_of_floats(n):
    return np.fmod(float(n), 3.0)


def is_clean(n):
    address = U64(n)
    for i in range(n):
        store_i64(address + U64(8 * i), load_i64(address) + np.int64(rdtsc()) + _TABLE[i & 3])
    copy_bytes(address, address + U64(64), n)
    return n


def yields(n):
    return sched_yield()


def look_at(function: Any, libc: frozenset[str] = frozenset(), by_address: frozenset[str] = frozenset()) -> set[str]:
    """Problems of a function compiled here and now with the options of ``function``'s decorator."""
    function.compile("(int64,)")
    library = function.overloads[function.signatures[0]].library
    return problems(library.get_llvm_str(), library.get_asm_str(), libc, by_address)


def as_hot(function: Any) -> Any:
    """The product's options, but no cache: its code can be read."""
    return njit(**{name: value for name, value in _OPTIONS.items() if name not in ("nopython", "cache")})(function)


@pytest.mark.parametrize(
    ("function", "decorate", "complaint"),
    [
        (allocates, njit, "NRT_"),
        (prints, as_hot, "calls puts"),
        (prints, as_hot, "refers to puts"),
        (calls_back, as_hot, "calls through a pointer"),
        (raises, as_hot, "can raise an exception"),
        (remainder_of_floats, as_hot, "fmod"),
        (yields, as_hot, "calls sched_yield"),
    ],
    ids=["allocation", "puts in IR", "puts in assembly", "pointer", "exception", "helper", "unlisted libc"],
)
def test_a_planted_fault_is_caught(function: Any, decorate: Any, complaint: str) -> None:
    found = look_at(decorate(function))
    assert any(complaint in problem and function.__name__ in problem for problem in found), found


def test_clean_code_is_not_complained_about() -> None:
    assert look_at(as_hot(is_clean)) == set()
    assert look_at(as_hot(divides_128_bits)) == set()


def test_what_is_listed_is_allowed() -> None:
    assert look_at(as_hot(yields), libc=frozenset({"sched_yield"})) == set()
    assert look_at(as_hot(calls_back), by_address=frozenset({__name__})) == set()


def test_the_one_decorator_refuses_to_compile_an_allocation() -> None:
    with pytest.raises(NumbaError, match="zeros"):
        as_hot(allocates).compile("(int64,)")


def test_names_are_read_back_from_symbols() -> None:
    symbol = "_ZN7hftpipe4core6shared4ring8ring_popB3v12B52c8tJTIeFIjxB2IKSgI4CrvQCk0Z4yRYcWqCQhqcRsCJNAA_3d_3dEy"
    assert plain_name(symbol) == plain_name("cfunc." + symbol) == "hftpipe.core.shared.ring.ring_pop"
    assert plain_name("memmove") == "memmove"
    assert Path(machine_code.__file__).parent == Path(__file__).parent
