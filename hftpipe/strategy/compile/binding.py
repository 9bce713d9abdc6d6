"""From a strategy class to C functions: jit its hooks, the methods and the module functions they call.

A hook is compiled together with everything it reaches, inside one cached entry point. Warm starts load that entry and
compile nothing, so the cache key must cover all that was compiled in: the entry's source is a generated file named by
a hash of the strategy's file, of every other file its functions come from, and of every constant they use. The
package's own sources are covered by the cache directory (core/machine/jit.py).
"""

import hashlib
import inspect
import os
import sys
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from types import CodeType, FunctionType, ModuleType
from typing import Any

import numpy as np
from numba import njit
from numba.core.registry import CPUDispatcher
from numba.extending import overload_attribute

from hftpipe.core.machine.jit import CACHE_DIR, entry
from hftpipe.strategy.api.declare import HOOKS, Param, State, Strategy, StrategyError
from hftpipe.strategy.api.methods import CONTEXT_TYPE, view_context
from hftpipe.strategy.api.views import BOOK_TYPE, FILL_TYPE, TRADE_TYPE, view_book, view_fill, view_trade
from hftpipe.strategy.compile.errors import COMPILE_ERRORS
from hftpipe.strategy.compile.located import LocatedCompiler, caught_2, caught_3
from hftpipe.strategy.compile.record_types import IN_CALLER, StrategyRecord, method_of, record_type, viewer

#: No cache of their own: numba would key it by one file only. Bounds are checked: a bad index must not write memory. Python's
#: error model: a division by zero is a fault of the author's, not a number to trade on.
USER_OPTIONS: dict[str, Any] = {
    **IN_CALLER, "boundscheck": True, "error_model": "python", "pipeline_class": LocatedCompiler,
}  # fmt: skip
HOOK_SIGNATURE = "int64(uint64, uint64, uint64)"
#: Type and viewer of the third argument of the hooks that have one.
_ARGUMENTS = {
    "on_book": (BOOK_TYPE, view_book),
    "on_trade": (TRADE_TYPE, view_trade),
    "on_fill": (FILL_TYPE, view_fill),
}
_FOREIGN = frozenset(sys.stdlib_module_names) | {"numpy", "numba", "llvmlite", "hftpipe"}

_ENTRY = '''
@entry("{signature}")
def {hook}_entry(self_address, ctx_address, argument):
    """0, or the address of what the hook raised."""
    return caught_{count}({hook}, {arguments})
'''


def class_functions(cls: type[Strategy]) -> dict[str, FunctionType]:
    """The functions of a strategy class by name, base classes first."""
    found: dict[str, FunctionType] = {}
    for base in reversed(cls.__mro__):
        found.update({name: value for name, value in vars(base).items() if isinstance(value, FunctionType)})
    return found


def class_constants(cls: type[Strategy]) -> dict[str, int | float | bool]:
    """Plain numbers of a strategy class: ``self.NAME`` is a constant in compiled code."""
    found: dict[str, Any] = {}
    for base in reversed(cls.__mro__):
        found.update({n: v for n, v in vars(base).items() if not n.startswith("__") and isinstance(v, int | float)})
        for name, value in vars(base).items():
            if isinstance(value, Param | State):
                found.pop(name, None)
    return found


def state_names(cls: type[Strategy]) -> set[str]:
    """Fields of ``self`` that the class may assign to; a later class overrides."""
    found: dict[str, Any] = {}
    for base in reversed(cls.__mro__):
        found.update(vars(base))
    return {name for name, value in found.items() if isinstance(value, State)}


# --- the functions a hook reaches ------------------------------------------------------------------


def _is_users(function: FunctionType, home: dict[str, Any]) -> bool:
    """Whether a plain function is the strategy author's (not a library's)."""
    return function.__globals__ is home or (function.__module__ or "").partition(".")[0] not in _FOREIGN


class Binder:
    """Copies of the user's functions whose global functions are compiled ones."""

    def __init__(self, home: dict[str, Any]) -> None:
        self._home = home
        self._globals: dict[int, dict[str, Any]] = {}

    def rebind(self, function: FunctionType) -> FunctionType:
        """The same function, seeing compiled versions of the module functions it calls."""
        copy = FunctionType(
            function.__code__,
            self._compiled_globals(function.__globals__),
            function.__name__,
            function.__defaults__,
            function.__closure__,
        )
        copy.__kwdefaults__ = function.__kwdefaults__
        copy.__module__ = function.__module__
        copy.__qualname__ = function.__qualname__
        return copy

    def jit(self, function: FunctionType) -> Any:
        """A dispatcher of the rebound function; compiled at its first use."""
        return njit(**USER_OPTIONS)(self.rebind(function))

    def _compiled_globals(self, source: dict[str, Any]) -> dict[str, Any]:
        known = self._globals.get(id(source))
        if known is not None:
            return known
        target = self._globals[id(source)] = dict(source)
        for name, value in source.items():
            # One that the author has compiled is compiled again: his has no check of its indices.
            plain = value.py_func if type(value) is CPUDispatcher else value
            if isinstance(plain, FunctionType) and _is_users(plain, self._home):
                target[name] = self.jit(plain)
        return target


def _names(code: CodeType) -> Iterator[str]:
    yield from code.co_names
    for constant in code.co_consts:
        if isinstance(constant, CodeType):
            yield from _names(constant)


def _value_bytes(value: Any) -> bytes:
    if isinstance(value, np.ndarray):
        return f"{value.dtype.str}{value.shape!r}".encode() + value.tobytes()
    if isinstance(value, int | float | str | bytes | tuple | np.generic | type(None)):
        return repr(value).encode()
    return getattr(value, "__qualname__", type(value).__qualname__).encode()


def _file_bytes(holder: Any) -> bytes:
    path = getattr(holder, "__file__", None)
    return Path(path).read_bytes() if path and Path(path).is_file() else b""


def _reached(functions: list[FunctionType], home: dict[str, Any]) -> Iterator[tuple[str, bytes]]:
    """Name and content of everything that gets compiled into, or frozen by, the given functions."""
    pending, seen = list(functions), set()
    while pending:
        function = pending.pop()
        if id(function) in seen:
            continue
        seen.add(id(function))
        module = sys.modules.get(function.__module__ or "")
        yield function.__qualname__, _file_bytes(module) if function.__globals__ is not home else b""
        for cell in function.__closure__ or ():
            yield "closure", _value_bytes(cell.cell_contents)
        for name in _names(function.__code__):
            value = function.__globals__.get(name)
            if value is None:
                continue
            if isinstance(value, ModuleType):
                foreign = value.__name__.partition(".")[0] in _FOREIGN
                yield name, b"" if foreign else _file_bytes(value)
            elif isinstance(value, FunctionType) and _is_users(value, home):
                pending.append(value)
            elif hasattr(value, "py_func"):
                pending.append(value.py_func)
            else:
                yield name, _value_bytes(value)


def fingerprint(cls: type[Strategy], source: bytes, dtype: np.dtype) -> str:
    """Hash of all that decides the machine code of a strategy's hooks."""
    home = sys.modules[cls.__module__].__dict__
    digest = hashlib.sha256(source)
    digest.update(f"{cls.__qualname__} {dtype.descr}".encode())
    for name, value in sorted(class_constants(cls).items()):
        digest.update(f"{name}={value!r};".encode())
    functions = list(class_functions(cls).values())
    for name, content in sorted(_reached(functions, home)):
        digest.update(name.encode() + b"\0" + content + b"\0")
    return digest.hexdigest()[:24]


# --- self.method(...) and self.CONSTANT ------------------------------------------------------------


def _register_method(record: StrategyRecord, name: str, function: FunctionType) -> None:
    def choose(*arguments: Any) -> Any:
        return function

    choose.__signature__ = inspect.signature(function)  # type: ignore[attr-defined]
    choose.__name__ = f"choose_{name}"
    method_of(record, name, strict=False, options=USER_OPTIONS)(choose)


def _register_constant(record: StrategyRecord, name: str, value: int | float | bool) -> None:
    type(record).methods += (name,)

    # No annotation: numba wants the signature of the lambda. Its stubs do not know the options that it passes on.
    @overload_attribute(type(record), name, jit_options=IN_CALLER)  # type: ignore[call-arg]
    def choose(self):
        return lambda self: value


# --- entry points ----------------------------------------------------------------------------------


@dataclass(frozen=True)
class Bound:
    """The hooks of one class, compiled.

    Attributes:
        hooks: C address by hook name, only those the class has.
        keep: what must stay alive as long as the addresses are used.
    """

    hooks: dict[str, int]
    keep: tuple[Any, ...]


def _entry_source(title: str, hooks: list[str]) -> str:
    parts = [f'"""Entry points of {title}: generated, keyed by content, safe to delete."""\n']
    for hook in hooks:
        arguments = ["view_self(self_address)", "view_context(ctx_address)"]
        if hook in _ARGUMENTS:
            arguments.append(f"view_{hook}(argument)")
        parts.append(
            _ENTRY.format(signature=HOOK_SIGNATURE, hook=hook, count=len(arguments), arguments=", ".join(arguments))
        )
    return "\n".join(parts)


def _write_once(path: Path, text: str) -> None:
    """Leave an equal file alone: numba's cache looks at the file's time stamp."""
    if path.is_file() and path.read_text() == text:
        return
    path.parent.mkdir(parents=True, exist_ok=True)
    scratch = path.with_name(f"{path.name}.{os.getpid()}")
    scratch.write_text(text)
    os.replace(scratch, path)


def argument_types(hook: str, record: StrategyRecord) -> tuple[StrategyRecord, ...]:
    """numba types of a hook's arguments."""
    fixed = (record, CONTEXT_TYPE)
    return (*fixed, _ARGUMENTS[hook][0]) if hook in _ARGUMENTS else fixed


def bind(
    cls: type[Strategy], dtype: np.dtype, key: str, failed: Callable[[str, BaseException], StrategyError]
) -> Bound:
    """Compile, or load from the cache, every hook of ``cls``.

    Args:
        dtype: the ``self`` record.
        key: :func:`fingerprint`.
        failed: makes the error to raise from a hook's name and what compiling it raised.

    Raises:
        StrategyError: a hook does not compile.
    """
    binder, record = Binder(sys.modules[cls.__module__].__dict__), record_type("self", dtype, state_names(cls))
    functions = class_functions(cls)
    for name, function in functions.items():
        _register_method(record, name, binder.rebind(function))
    for name, value in class_constants(cls).items():
        _register_constant(record, name, value)
    hooks = [hook for hook in HOOKS if hook in functions]
    path = CACHE_DIR / "strategies" / f"{cls.__name__}_{key}.py"
    # numba's cache looks modules up by name when it loads what it has stored.
    module = sys.modules[f"hftpipe_{path.stem}"] = ModuleType(f"hftpipe_{path.stem}")
    space: dict[str, Any] = module.__dict__
    space |= {"entry": entry, "view_self": viewer(record), "caught_2": caught_2, "caught_3": caught_3}
    space |= {"view_context": view_context, **{f"view_{hook}": view for hook, (_, view) in _ARGUMENTS.items()}}
    space |= {hook: binder.jit(functions[hook]) for hook in hooks}
    text = _entry_source(cls.__name__, hooks)
    _write_once(path, text)
    try:
        exec(compile(text, str(path), "exec"), space)
    except COMPILE_ERRORS as error:
        raise _first_failure(hooks, space, record, failed, error) from None
    entries = {hook: space[f"{hook}_entry"] for hook in hooks}
    return Bound({hook: int(function.address) for hook, function in entries.items()}, tuple(entries.values()))


def _first_failure(
    hooks: list[str],
    space: dict[str, Any],
    record: StrategyRecord,
    failed: Callable[[str, BaseException], StrategyError],
    error: BaseException,
) -> StrategyError:
    """Compile the hooks one by one, outside their entries, so that the message is about the hook itself."""
    for hook in hooks:
        try:
            space[hook].compile(argument_types(hook, record))
        except COMPILE_ERRORS as cause:
            return failed(hook, cause)
    return failed(hooks[0], error)
