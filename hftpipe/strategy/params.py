"""Parameters: their types and ranges, the ``self`` record they live in, and changing them while running.

``self`` record: word 0 marks the class, then one 8-byte word per parameter, then the state. The shared parameter
area is one cache line with a version (odd while being written) and the same parameter words: the supervisor writes
it, the strategy stage copies it over its own when the version has changed.
"""

import hashlib
import math
import typing
from dataclasses import dataclass
from decimal import Decimal
from typing import Any

import numpy as np

from hftpipe.core.machine.fixed import INT64_MAX, FixedError, format_fixed, to_fixed
from hftpipe.strategy.api.declare import OrderId, Param, Price, Qty, State, Strategy, StrategyError

MAX_PARAMS = 64
#: Every process of the pipeline maps the state whole, and it is in memory before the start.
MAX_STATE_WORDS, MAX_DIMENSIONS = 1 << 23, 8
#: Shared parameter area: this header, then ``count`` 8-byte words.
PARAMS_CELL = np.dtype([("version", "u8"), ("count", "i8"), ("_pad", "u8", 6)], align=True)
PARAMS_HEADER_BYTES = 64

_FORMATS = {float: "f8", int: "i8", bool: "i8", Price: "i8", Qty: "i8", OrderId: "i8"}
_NAMES = {float: "float", int: "int", bool: "bool", Price: "Price", Qty: "Qty", OrderId: "OrderId"}
_BOUNDS = (("gt", "above"), ("ge", "at least"), ("lt", "below"), ("le", "at most"))
_FAILS = {
    "gt": lambda value, bound: value <= bound,
    "ge": lambda value, bound: value < bound,
    "lt": lambda value, bound: value >= bound,
    "le": lambda value, bound: value > bound,
}
_TRUE, _FALSE = ("true", "1", "yes", "on"), ("false", "0", "no", "off")


def _to_float(value: Any) -> float:
    if isinstance(value, bool) or not isinstance(value, str | int | float | Decimal):
        raise ValueError("not a number")
    number = float(value)
    if not math.isfinite(number):
        raise ValueError("not finite")
    return number


def _to_int(value: Any) -> int:
    if isinstance(value, bool) or not isinstance(value, str | int):
        raise ValueError("not an integer")
    number = int(value)
    if abs(number) > INT64_MAX:
        raise ValueError("too large")
    return number


def _to_bool(value: Any) -> int:
    if isinstance(value, bool):
        return int(value)
    text = value.strip().lower() if isinstance(value, str) else ""
    if text not in _TRUE + _FALSE:
        raise ValueError("not true or false")
    return int(text in _TRUE)


def _to_units(value: Any) -> int:
    if isinstance(value, bool) or not isinstance(value, str | int | float | Decimal):
        raise ValueError("not a decimal number")
    return to_fixed(repr(value) if isinstance(value, float) else value)


_CONVERT = {float: _to_float, int: _to_int, bool: _to_bool, Price: _to_units, Qty: _to_units}
_WHAT = {
    float: "a number",
    int: "an integer",
    bool: "true or false",
    Price: 'a decimal such as "60000.5" with at most 8 decimals',
    Qty: 'a decimal such as "0.001" with at most 8 decimals',
}


@dataclass(frozen=True)
class Parameter:
    """One parameter of a loaded strategy.

    Attributes:
        name: as in the class.
        kind: float, int, bool, Price or Qty.
        default: in the record's units (Price and Qty: 1e-8).
        bounds: (``gt`` / ``ge`` / ``lt`` / ``le``, bound in the record's units).
    """

    name: str
    kind: Any
    default: int | float
    bounds: tuple[tuple[str, int | float], ...]

    @property
    def type_name(self) -> str:
        """The type as written in the class."""
        return _NAMES[self.kind]

    def show(self, value: int | float) -> str:
        """A value in the notation of the configuration."""
        if self.kind is bool:
            return "true" if value else "false"
        return format_fixed(int(value)) if self.kind in (Price, Qty) else str(value)

    @property
    def allowed(self) -> str:
        """What may be given, in words."""
        words = dict(_BOUNDS)
        limits = " and ".join(f"{words[op]} {self.show(bound)}" for op, bound in self.bounds)
        return f"{_WHAT[self.kind]} {limits}".rstrip()

    def convert(self, value: Any) -> int | float:
        """Check ``value`` and give it in the record's units; StrategyError names what is allowed."""
        try:
            number = _CONVERT[self.kind](value)
        except (ValueError, OverflowError) as error:
            raise StrategyError(f"{self.name} = {value!r}: must be {self.allowed}") from error
        if any(_FAILS[op](number, bound) for op, bound in self.bounds):
            raise StrategyError(f"{self.name} = {value!r}: must be {self.allowed}")
        return number


@dataclass(frozen=True)
class Layout:
    """The ``self`` record of one strategy class.

    Attributes:
        dtype: marker word, parameters, state; every field a multiple of 8 bytes.
        parameters: in record order.
        initial: array of length 1 with every default.
    """

    dtype: np.dtype
    parameters: tuple[Parameter, ...]
    initial: np.ndarray


def _declared(cls: type) -> dict[str, Any]:
    """Parameters and state by name, base classes first; a later class overrides."""
    found: dict[str, Any] = {}
    for base in reversed(cls.__mro__):
        found.update({name: value for name, value in vars(base).items() if isinstance(value, Param | State)})
    return found


def _kind_of(cls: type, name: str, value: Param | State, hints: dict[str, Any], allowed: tuple[Any, ...]) -> Any:
    kind = hints.get(name, type(value.default))
    if kind not in allowed:
        names = ", ".join(_NAMES[k] for k in allowed)
        shown = getattr(kind, "__name__", repr(kind))
        raise StrategyError(f"{cls.__name__}.{name}: type {shown} is not allowed; annotate it with one of {names}")
    return kind


def _parameter(cls: type, name: str, value: Param, hints: dict[str, Any]) -> Parameter:
    kind = _kind_of(cls, name, value, hints, (float, int, bool, Price, Qty))
    bare = Parameter(name, kind, 0, ())
    try:
        given = [(op, getattr(value, op)) for op, _ in _BOUNDS if getattr(value, op) is not None]
        bounds = tuple((op, bare.convert(bound)) for op, bound in given)
        checked = Parameter(name, kind, 0, bounds)
        return Parameter(name, kind, checked.convert(value.default), bounds)
    except StrategyError as error:
        raise StrategyError(f"{cls.__name__}: declaration of {error}") from error


def _state_default(cls: type, name: str, value: State, kind: Any) -> int | float:
    try:
        if kind is bool:
            return int(bool(value.default))
        return _to_float(value.default) if kind is float else _to_int(value.default)
    except (ValueError, FixedError) as error:
        raise StrategyError(f"{cls.__name__}.{name}: state default {value.default!r} is {error}") from error


def _shape(cls: type, name: str, value: State) -> tuple[int, ...]:
    """The dimensions of a state field; none for a single value."""
    if value.shape is None:
        return ()
    # Whatever the author wrote: nobody has looked at it before.
    shape: tuple[Any, ...] = value.shape if isinstance(value.shape, tuple) else (value.shape,)
    whole = all(isinstance(one, int | np.integer) and not isinstance(one, bool) and one >= 1 for one in shape)
    if not whole or not 1 <= len(shape) <= MAX_DIMENSIONS or math.prod(map(int, shape)) > MAX_STATE_WORDS:
        raise StrategyError(
            f"{cls.__name__}.{name}: state(shape={value.shape!r}): must be a number of elements, or a tuple of 1 to "
            f"{MAX_DIMENSIONS} such, each at least 1, together at most {MAX_STATE_WORDS:,}"
        )
    return tuple(map(int, shape))


def _check_total(cls: type, shapes: dict[str, tuple[int, ...]]) -> None:
    words = {name: math.prod(shape) for name, shape in shapes.items()}
    if sum(words.values()) > MAX_STATE_WORDS:
        largest = max(words, key=words.__getitem__)
        raise StrategyError(
            f"{cls.__name__}: its state has {sum(words.values()):,} elements, {words[largest]:,} of them in {largest!r}; "
            f"at most {MAX_STATE_WORDS:,} ({8 * MAX_STATE_WORDS >> 20} MB) are possible"
        )


def _hints(cls: type) -> dict[str, Any]:
    try:
        return typing.get_type_hints(cls)
    except (NameError, TypeError) as error:
        raise StrategyError(f"{cls.__name__}: an annotation cannot be read: {error}") from error


def layout_of(cls: type[Strategy], marker: str) -> Layout:
    """Build the ``self`` record of a class.

    Args:
        marker: name of the first field; what makes the records of two classes different types.

    Raises:
        StrategyError: an unusable type, default, bound or shape, more than MAX_PARAMS parameters, or too much state.
    """
    hints, declared = _hints(cls), _declared(cls)
    params = [_parameter(cls, n, v, hints) for n, v in declared.items() if isinstance(v, Param)]
    if len(params) > MAX_PARAMS:
        raise StrategyError(f"{cls.__name__}: {len(params)} parameters, at most {MAX_PARAMS} are possible")
    fields: list[tuple[str, str] | tuple[str, str, tuple[int, ...]]] = [
        (marker, "u8"),
        *((p.name, _FORMATS[p.kind]) for p in params),
    ]
    defaults: dict[str, int | float] = {p.name: p.default for p in params}
    shapes: dict[str, tuple[int, ...]] = {}
    for name, value in declared.items():
        if isinstance(value, State):
            kind = _kind_of(cls, name, value, hints, tuple(_FORMATS))
            shape = shapes[name] = _shape(cls, name, value)
            fields.append((name, _FORMATS[kind], shape) if shape else (name, _FORMATS[kind]))
            defaults[name] = _state_default(cls, name, value, kind)
    _check_total(cls, shapes)
    dtype = np.dtype(fields, align=True)
    initial = np.zeros(1, dtype)
    for name, default in defaults.items():
        initial[name] = default
    return Layout(dtype, tuple(params), initial)


def class_marker(name: str, salt: bytes) -> str:
    """A field name that no other class has."""
    return f"_{name}_{hashlib.sha256(salt).hexdigest()[:12]}"


def resolve(parameters: tuple[Parameter, ...], given: dict[str, Any], owner: str) -> dict[str, int | float]:
    """Check every given value; all problems are reported at once, each on its own line.

    Returns:
        Value by name in the record's units, only for the names given.
    """
    by_name = {p.name: p for p in parameters}
    known = ", ".join(by_name) or "none, the strategy declares no parameters"
    problems, values = [], {}
    for name, value in given.items():
        if name not in by_name:
            problems.append(f"{owner}: unknown parameter {name!r}; allowed: {known}")
            continue
        try:
            values[name] = by_name[name].convert(value)
        except StrategyError as error:
            problems.append(f"{owner}: parameter {error}")
    if problems:
        raise StrategyError("\n".join(problems))
    return values


# --- the shared parameter area ---------------------------------------------------------------------


def params_bytes(count: int) -> int:
    """Memory of the shared area for ``count`` parameters."""
    return PARAMS_HEADER_BYTES + 8 * max(count, 1)


def param_words(record: np.ndarray, count: int) -> np.ndarray:
    """The parameter words (uint64) inside a ``self`` record array of length 1; a view."""
    return record.view(np.uint8).reshape(-1)[8 : 8 + 8 * count].view(np.uint64)


def params_init(area: np.ndarray, record: np.ndarray, count: int) -> None:
    """Fill a fresh area (uint8 array) with the parameters of ``record``, as version 0."""
    area[: params_bytes(count)] = 0
    area[:PARAMS_HEADER_BYTES].view(PARAMS_CELL)["count"] = count
    area[PARAMS_HEADER_BYTES : PARAMS_HEADER_BYTES + 8 * count].view(np.uint64)[:] = param_words(record, count)


def write_params(area: np.ndarray, dtype: np.dtype, values: dict[str, int | float]) -> None:
    """Publish values (record's units) in the shared area; names not given keep theirs. One writer at a time."""
    header = area[:PARAMS_HEADER_BYTES].view(PARAMS_CELL)
    count = int(header["count"][0])
    record = np.zeros(1, dtype)
    words = area[PARAMS_HEADER_BYTES : PARAMS_HEADER_BYTES + 8 * count].view(np.uint64)
    param_words(record, count)[:] = words
    for name, value in values.items():
        record[name] = value
    # An odd version left by a writer that died is made even again by the next one.
    version = int(header["version"][0]) | 1
    header["version"] = version
    words[:] = param_words(record, count)
    header["version"] = version + 1
