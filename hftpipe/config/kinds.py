"""Values of configuration keys: exact reading of numbers and lists, and what each kind of key accepts."""

import ipaddress
import math
import re
from collections.abc import Callable
from dataclasses import dataclass
from decimal import Context, Decimal, InvalidOperation
from typing import Any

from hftpipe.core.schema.instruments import CONTRACTS, INVERSE, MAX_POWER, RECKONED_CONTRACTS, RECKONED_MULTIPLIER
from hftpipe.topology.graph import STAGE_KINDS, kind_of

INT64_MAX = 2**63 - 1
_DECIMAL = re.compile(r"[+-]?(\d+(\.\d*)?|\.\d+)([eE][+-]?\d{1,6})?", re.ASCII)
_SYMBOL = re.compile(r"[A-Z0-9_-]{1,24}")
_PATTERN = re.compile(r"([a-z][a-z0-9_]{0,31}:)?[A-Z0-9_*?-]{1,24}", re.ASCII)
_CPU_RANGE = re.compile(r"(\d{1,4})(?:-(\d{1,4})(?::(\d{1,4}))?)?", re.ASCII)
_EXACT = Context(prec=60)


# --- values --------------------------------------------------------------------------------------


def to_decimal(value: Any) -> Decimal:
    """The exact decimal of a text, int, Decimal or float (by its repr). ValueError if it is none of these."""
    if isinstance(value, bool) or not isinstance(value, str | int | float | Decimal):
        raise ValueError("not a decimal number")
    text = repr(value) if isinstance(value, float) else str(value)
    if not _DECIMAL.fullmatch(text):
        raise ValueError("not a decimal number")
    try:
        return Decimal(text)
    except InvalidOperation as bad:
        raise ValueError("not a decimal number") from bad


def to_e8(value: Any, decimals: int = 8) -> int:
    """`value` in units of 1e-8, exactly. ValueError on more than `decimals` decimals or beyond int64."""
    number = to_decimal(value)
    if int(number.as_tuple().exponent) < -decimals:
        raise ValueError(f"more than {decimals} decimals")
    if not number:
        return 0
    # The exponent is looked at first: 1e999999 must not become an integer of a million digits.
    units = int(number.scaleb(8, _EXACT)) if number.adjusted() <= 10 else INT64_MAX + 1
    if not -INT64_MAX <= units <= INT64_MAX:
        raise ValueError("too large for int64 in units of 1e-8")
    return units


def parse_cpus(text: str) -> tuple[int, ...]:
    """CPUs of a taskset-like list ("0-3", "0,2", "0-6:2"), in the order written. ValueError if malformed."""
    cpus: list[int] = []
    for part in text.split(","):
        match = _CPU_RANGE.fullmatch(part.strip())
        if not match:
            raise ValueError("not a CPU list")
        first, last, step = int(match[1]), int(match[2] or match[1]), int(match[3] or 1)
        if last < first or step == 0:
            raise ValueError("a range runs backwards or has step 0")
        cpus.extend(range(first, last + 1, step))
    if len(set(cpus)) != len(cpus):
        raise ValueError("a CPU is named twice")
    return tuple(cpus)


def plain_text(number: Decimal) -> str:
    """One spelling per number: "10.0" and "1e1" are both "10"."""
    return format(number.normalize(_EXACT), "f")


# --- kinds of value ------------------------------------------------------------------------------


@dataclass(frozen=True)
class Kind:
    """What a key accepts: `allowed` in words; `parse` checks and converts, its ValueError says what is wrong.

    `literal`: text from the environment or the command line is read as a TOML value (12, true, [..]). `is_amount`: a decimal
    number that is kept in units of 1e-8.
    """

    allowed: str
    parse: Callable[[Any], Any]
    literal: bool = True
    is_amount: bool = False


def integer(low: int, high: int, unit: str = "") -> Kind:
    """A whole number in low..high."""

    def parse(value: Any) -> int:
        if isinstance(value, bool) or not isinstance(value, int):
            raise ValueError("not an integer")
        if not low <= value <= high:
            raise ValueError("out of range")
        return value

    return Kind(f"an integer{unit and ' of ' + unit} in {low}..{high}", parse)


def power_of_two(low: int, high: int) -> Kind:
    """A power of two in low..high."""
    whole = integer(low, high)

    def parse(value: Any) -> int:
        number: int = whole.parse(value)
        if number & (number - 1):
            raise ValueError("not a power of two")
        return number

    return Kind(f"a power of two in {low}..{high}", parse)


def power_of_ten(high: int) -> Kind:
    """1, or a power of ten up to ``high``."""
    whole = integer(1, high)

    def parse(value: Any) -> int:
        number: int = whole.parse(value)
        if number != 10 ** (len(str(number)) - 1):
            raise ValueError("not a power of ten")
        return number

    return Kind(f"1 or a power of ten up to {high}", parse)


def real(low: float, high: float, *, above: bool, allowed: str) -> Kind:
    """A finite float in low..high; `above` leaves `low` itself out."""

    def parse(value: Any) -> float:
        number = float(to_decimal(value)) if not isinstance(value, str) else math.nan
        if math.isnan(number):
            raise ValueError("not a number")
        if not low <= number <= high or (above and number == low) or math.isinf(number):
            raise ValueError("out of range")
        return number

    return Kind(allowed, parse)


def between(low: float, high: float, unit: str) -> Kind:
    """A finite float of this unit (a plural) in low..high."""
    return real(low, high, above=False, allowed=f"a number of {unit} in {low}..{high}")


def amount(low: int, allowed: str) -> Kind:
    """A price or quantity of at least `low` (units of 1e-8), kept as int64 in units of 1e-8."""

    def parse(value: Any) -> int:
        units = to_e8(value)
        if units < low:
            raise ValueError("out of range")
        return units

    return Kind(f"{allowed} with at most 8 decimals, below 92233720368", parse, literal=False, is_amount=True)


def basis_points(low: int, high: int, *, above: bool = False) -> Kind:
    """A decimal number of basis points in low..high; 4 decimals, so that it is a whole number of 1e-8."""

    def parse(value: Any) -> Decimal:
        to_e8(value, decimals=4)
        number = to_decimal(value)
        if not low <= number <= high or (above and number == low):
            raise ValueError("out of range")
        return number.normalize(_EXACT)

    span = f"above {low} and up to {high}" if above else f"in {low}..{high}"
    return Kind(f"a decimal number of basis points {span}, at most 4 decimals", parse, literal=False)


def text(pattern: str, allowed: str) -> Kind:
    """A string that matches `pattern` in full."""
    compiled = re.compile(pattern, re.ASCII)

    def parse(value: Any) -> str:
        if not isinstance(value, str):
            raise ValueError("not a string")
        if "\0" in value or not compiled.fullmatch(value):
            raise ValueError("not in the allowed form")
        return value

    return Kind(allowed, parse, literal=False)


def _contract(value: Any) -> str:
    if value == INVERSE:
        raise ValueError(
            "its value is in the base currency, and notional, PnL and limits are reckoned as price x quantity in the quote one"
        )
    made: str = choice(*CONTRACTS).parse(value)
    return made


def _multiplier(value: Any) -> int:
    units = to_e8(value)
    if units != RECKONED_MULTIPLIER:
        raise ValueError("notional, position, PnL and limits are reckoned in units of the base currency")
    return units


def _address(allowed: str, is_one: Callable[[ipaddress.IPv4Address], bool]) -> Kind:
    """Four numbers of 0..255."""

    def parse(value: Any) -> str:
        if not isinstance(value, str):
            raise ValueError("not a string")
        try:
            address = ipaddress.IPv4Address(value)
        except ipaddress.AddressValueError as bad:
            raise ValueError("not an IPv4 address") from bad
        if not is_one(address):
            raise ValueError("not such an address")
        return value

    return Kind(allowed, parse, literal=False)


def _listen(value: Any) -> str:
    if not isinstance(value, str):
        raise ValueError("not a string")
    host, _, port = value.rpartition(":")
    ADDRESS.parse(host)
    if not (port.isascii() and port.isdigit() and len(port) <= 5):
        raise ValueError("not a port")
    PORT.parse(int(port))
    return value


def choice(*names: str) -> Kind:
    """One of `names`."""
    return text("|".join(map(re.escape, names)), " or ".join(f'"{name}"' for name in names))


def _boolean(value: Any) -> bool:
    if not isinstance(value, bool):
        raise ValueError("not a boolean")
    return value


def _cpu_list(value: Any) -> str:
    if not isinstance(value, str):
        raise ValueError("not a string")
    parse_cpus(value)
    return value


def _speed(value: Any) -> str:
    if value == "max":
        return "max"
    if to_e8(value) <= 0:
        raise ValueError("out of range")
    return plain_text(to_decimal(value))


def _processes(value: Any) -> tuple[tuple[str, ...], ...]:
    if isinstance(value, int) and not isinstance(value, bool):
        if value not in (1, 2, 4):
            raise ValueError("not 1, 2 or 4 processes")
        share = len(STAGE_KINDS) // value
        return tuple(STAGE_KINDS[at : at + share] for at in range(0, len(STAGE_KINDS), share))
    if not isinstance(value, list | tuple) or not all(isinstance(one, list | tuple) and one for one in value):
        raise ValueError("not a list of lists of stages")
    stages = [stage for process in value for stage in process]
    if not all(isinstance(stage, str) and kind_of(stage) in STAGE_KINDS for stage in stages):
        raise ValueError("not a list of lists of stages")
    kinds = {kind_of(stage) for stage in stages}
    if len(set(stages)) != len(stages) or kinds != set(STAGE_KINDS):
        raise ValueError("each of the four stages must stand exactly once")
    return tuple(tuple(process) for process in value)


def _symbol_patterns(value: Any) -> tuple[str, ...]:
    if not isinstance(value, list | tuple) or not all(
        isinstance(one, str) and _PATTERN.fullmatch(one) for one in value
    ):
        raise ValueError("not a list of patterns")
    return tuple(value)


def _scalar(value: Any) -> bool | int | float | str:
    if isinstance(value, bool | str):
        return value
    if isinstance(value, int):
        whole: int = integer(-INT64_MAX - 1, INT64_MAX).parse(value)
        return whole
    number = float(to_decimal(value))
    if math.isinf(number):
        raise ValueError("too large")
    return number


BOOLEAN = Kind("true or false", _boolean)
CPUS = Kind('a CPU list such as "0-3" or "0,2", no CPU twice', _cpu_list, literal=False)
PAPER_MODE, LIVE_MODE = "paper", "live"
MODE = choice(PAPER_MODE, LIVE_MODE)
SPEED = Kind('a positive decimal number or "max"', _speed, literal=False)
PROCESSES = Kind(
    f"lists of stages with each of {', '.join(STAGE_KINDS)} exactly once (and, of several venues, such as "
    '"gateway@NAME"), or 1, 2 or 4',
    _processes,
)
SCALAR = Kind("a string, boolean, 64-bit integer or finite number", _scalar)
SYMBOL = text(_SYMBOL.pattern, "1 to 24 of A-Z, 0-9, _ and -")
BASE, QUOTE, ASSET = (text(rf"[A-Z0-9]{{0,{most}}}", f"at most {most} of A-Z and 0-9") for most in (16, 8, 16))
VENUE_NAME = text(r"[a-z][a-z0-9_]{0,31}", "1 to 32 of a-z, 0-9 and _, beginning with a letter,")
CONTRACT = Kind(choice(*RECKONED_CONTRACTS).allowed, _contract, literal=False)
MULTIPLIER = Kind("1", _multiplier, literal=False)
RULES = choice("binance_spot", "binance_usdm", "bybit_spot", "bybit_linear")
PATTERNS = Kind('a list of symbols such as ["*USDT", "alpha:BTC*"], * and ? standing for any', _symbol_patterns)
PROFILE = text(r"[A-Za-z0-9_-]{0,32}", 'the name of a table under strategy.profiles, or "" for none')
STRATEGY = text(r"[a-z][a-z0-9_]*|.+\.py:[A-Za-z_]\w*", 'a registered name or "path.py:ClassName"')
PACK = power_of_ten(10**MAX_POWER)
RING = power_of_two(8, 2**22)
POSITIVE = amount(1, "a decimal number above 0")
LATENCY = integer(0, 10_000_000, "microseconds")
PORT, LINE_PORT = integer(0, 65_535, "port number"), integer(1, 65_535, "port number")
ADDRESS = _address("an IPv4 address of this machine", lambda one: not one.is_multicast)
LISTEN = Kind('an IPv4 address of this machine and a port such as "127.0.0.1:8080"', _listen, literal=False)
GROUP = _address("a multicast group in 224.0.0.0..239.255.255.255", lambda one: one.is_multicast)
SERVER = _address(
    "the IPv4 address of a server", lambda one: not (one.is_multicast or one.is_reserved or one.is_unspecified)
)
SHARE = real(0.0, 1.0, above=False, allowed="a number from 0 to 1")
