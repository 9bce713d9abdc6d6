"""Load a strategy by name or by ``path.py:ClassName`` and have all of it compiled before any process starts."""

import difflib
import importlib
import inspect
import linecache
import sys
from dataclasses import dataclass
from pathlib import Path
from types import FunctionType, ModuleType
from typing import Any

import numpy as np

from hftpipe.strategy.api.declare import HOOKS, Param, State, Strategy, StrategyError
from hftpipe.strategy.compile.binding import Bound, bind, class_functions, fingerprint
from hftpipe.strategy.compile.errors import explain
from hftpipe.strategy.params import Layout, Parameter, class_marker, layout_of, resolve, write_params

#: Strategies that come with the package: name in the configuration -> (module, class).
REGISTERED: dict[str, tuple[str, str]] = {
    "arbitrage": ("hftpipe.strategy.library.arbitrage", "Arbitrage"),
    "market_making": ("hftpipe.strategy.library.market_making", "MarketMaking"),
    "momentum": ("hftpipe.strategy.library.momentum", "Momentum"),
}  #: What running a user's file is expected to raise; anything else is shown as it is.
IMPORT_ERRORS = (
    ImportError, NameError, AttributeError, TypeError, ValueError, LookupError, ArithmeticError, OSError, RuntimeError,
    AssertionError,
)  # fmt: skip


@dataclass(frozen=True)
class LoadedStrategy:
    """A strategy ready to run.

    Attributes:
        name: registered name, or the class name of a file's strategy.
        source: the file it came from.
        dtype: the ``self`` record.
        hooks: C address (``int64(uint64 self, uint64 ctx, uint64 argument)``) by hook name; absent hooks missing.
        schema: the parameters, in record order.
        defaults: every parameter's value, as the class declares it, in configuration notation.
        initial: ``self`` record array of length 1: defaults, with the given parameters laid over.
        bound: keeps the compiled code alive.
    """

    name: str
    source: Path
    dtype: np.dtype
    hooks: dict[str, int]
    schema: tuple[Parameter, ...]
    defaults: dict[str, str]
    initial: np.ndarray
    bound: Bound


def load(spec: str, params: dict[str, Any] | None = None) -> LoadedStrategy:
    """Load, check and compile a strategy.

    Args:
        spec: a registered name, or ``path.py:ClassName``.
        params: values over the class's defaults, in configuration notation (Price and Qty as decimals).

    Raises:
        StrategyError: with file, line and reason; nothing has been started.
    """
    cls, source, name = _find_class(spec)
    _check_class(cls, source)
    text = source.read_bytes()
    try:
        layout = layout_of(cls, class_marker(cls.__name__, text + str(source).encode()))
    except StrategyError as error:
        raise StrategyError(f"{source}:{_line_of(cls)}: {error}") from error
    _check_names(cls, layout, source)
    initial = layout.initial.copy()
    for key, value in resolve(layout.parameters, params or {}, f"strategy {name}").items():
        initial[key] = value
    bound = _compile(cls, source, text, layout)
    defaults = {p.name: p.show(p.default) for p in layout.parameters}
    return LoadedStrategy(name, source, layout.dtype, bound.hooks, layout.parameters, defaults, initial, bound)


def publish_params(area: np.ndarray, loaded: LoadedStrategy, params: dict[str, Any]) -> None:
    """Change parameters of a running strategy through the shared area (uint8 array).

    Names not given keep their value; ``{**loaded.defaults, **params}`` resets them.

    Raises:
        StrategyError: unknown name, wrong type or out of range; nothing is written then.
    """
    values = resolve(loaded.schema, params, f"strategy {loaded.name}")
    write_params(area, loaded.dtype, values)


# --- finding the class -----------------------------------------------------------------------------


def _find_class(spec: str) -> tuple[type[Strategy], Path, str]:
    path_text, colon, class_name = spec.rpartition(":")
    if not colon:
        if spec not in REGISTERED:
            allowed = ", ".join(REGISTERED)
            raise StrategyError(f'unknown strategy {spec!r}: allowed are {allowed}, or "path.py:ClassName"')
        module_name, class_name = REGISTERED[spec]
        module = importlib.import_module(module_name)
        return getattr(module, class_name), Path(str(module.__file__)), spec
    path = Path(path_text).expanduser().resolve()
    if not path.is_file():
        raise StrategyError(f"strategy file {path} does not exist")
    module = _import_file(path)
    cls = getattr(module, class_name, None)
    if not (isinstance(cls, type) and issubclass(cls, Strategy)):
        found = [n for n, v in vars(module).items() if isinstance(v, type) and issubclass(v, Strategy)]
        names = ", ".join(n for n in found if n != "Strategy") or "none"
        raise StrategyError(f"{path}: no strategy class {class_name!r}; strategy classes in this file: {names}")
    return cls, path, class_name


def _last_line_in(path: Path, error: BaseException) -> int:
    """The deepest line of the user's file in a traceback."""
    line, step = 1, error.__traceback__
    while step is not None:
        if step.tb_frame.f_code.co_filename == str(path):
            line = step.tb_lineno
        step = step.tb_next
    return line


def _import_file(path: Path) -> ModuleType:
    """Run a user's file as a module of its own; never from stale byte code."""
    source = path.read_bytes()
    name = class_marker(path.stem, source + str(path).encode()).lstrip("_")
    linecache.checkcache(str(path))
    try:
        code = compile(source, str(path), "exec")
    except (SyntaxError, ValueError) as error:
        line, text = getattr(error, "lineno", None) or 1, getattr(error, "msg", str(error))
        raise StrategyError(f"{path}:{line}: syntax error: {text}") from None
    module = ModuleType(name)
    module.__file__ = str(path)
    sys.modules[name] = module
    sys.path.insert(0, str(path.parent))
    try:
        exec(code, module.__dict__)
    except IMPORT_ERRORS as error:
        del sys.modules[name]
        raise StrategyError(f"{path}:{_last_line_in(path, error)}: {type(error).__name__}: {error}") from None
    finally:
        sys.path.remove(str(path.parent))
    return module


# --- checks before compiling -----------------------------------------------------------------------


def _line_of(cls: type) -> int:
    try:
        return inspect.getsourcelines(cls)[1]
    except (OSError, TypeError):
        return 1


def _shape_of(function: FunctionType) -> tuple[str, ...]:
    return tuple(inspect.signature(function).parameters)


def _check_class(cls: type[Strategy], source: Path) -> None:
    functions = class_functions(cls)
    allowed = ", ".join(f"{hook}({', '.join(arguments)})" for hook, arguments in HOOKS.items())
    for name, function in functions.items():
        line = function.__code__.co_firstlineno
        if name.startswith("on_") and name not in HOOKS:
            close = difflib.get_close_matches(name, HOOKS, n=1)
            hint = f"did you mean {close[0]}? " if close else ""
            raise StrategyError(f"{source}:{line}: {name} is not a hook; {hint}the five hooks are {allowed}")
        if name in HOOKS:
            _check_hook(source, line, name, function)
    if not any(hook in functions for hook in HOOKS):
        raise StrategyError(f"{source}:{_line_of(cls)}: {cls.__name__} has no hook; it needs at least one of {allowed}")


def _check_hook(source: Path, line: int, name: str, function: FunctionType) -> None:
    wanted, found = HOOKS[name], _shape_of(function)
    kinds = {p.kind for p in inspect.signature(function).parameters.values()}
    if len(found) != len(wanted) or kinds != {inspect.Parameter.POSITIONAL_OR_KEYWORD}:
        raise StrategyError(f"{source}:{line}: {name}({', '.join(found)}) must be {name}({', '.join(wanted)})")
    if inspect.isgeneratorfunction(function) or inspect.iscoroutinefunction(function):
        raise StrategyError(f"{source}:{line}: {name} must be a plain function, without yield or async")


def _check_names(cls: type[Strategy], layout: Layout, source: Path) -> None:
    """A field and a method of the same name would hide one another."""
    functions = class_functions(cls)
    for name in layout.dtype.names or ():
        if name in functions:
            line = functions[name].__code__.co_firstlineno
            raise StrategyError(f"{source}:{line}: {cls.__name__}.{name} is both a field and a function")


# --- compiling -------------------------------------------------------------------------------------


def _undeclared(cls: type[Strategy]) -> dict[str, Any]:
    """Class attributes that are neither declared nor plain numbers: ``self.name`` cannot see them."""
    plain = (FunctionType, Param, State, int, float)
    return {n: v for n, v in vars(cls).items() if not n.startswith("__") and not isinstance(v, plain)}


def _compile(cls: type[Strategy], source: Path, text: bytes, layout: Layout) -> Bound:
    functions = class_functions(cls)

    def failed(hook: str, error: BaseException) -> StrategyError:
        message = explain(error, functions[hook], source, text.decode(errors="replace"))
        hidden = [name for name in _undeclared(cls) if f"'{name}'" in message]
        if hidden:
            message += f"\n    declare {hidden[0]} with param() or state(), or move it out of the class"
        return StrategyError(message)

    return bind(cls, layout.dtype, fingerprint(cls, text, layout.dtype), failed)
