"""What compiled strategy code may use of Python, numpy and numba: all else is refused by its name.

numba compiles more than a strategy may do: some of it reaches memory without looking at a length (``.flat``, ``carray``,
``reshape``), runs Python in the middle of a hook (``objmode``, ``print``), or gives another result when a recording is
replayed (``random``, ``time``, ``hash``). So this is a list of what is known to be safe, not of what is known not to be.
"""

import builtins
import cmath
import enum
import math
from types import FunctionType, ModuleType
from typing import Any

import numpy as np
from numba import types
from numba.core.dispatcher import Dispatcher
from numba.core.types.common import Buffer

_BUILTINS = "abs bool complex divmod enumerate float int isinstance len max min pow range round slice sum tuple zip"
#: Of one array or of scalars; each either stays inside its array or needs memory, which compiling refuses.
_NUMPY = (
    "all amax amin any argmax argmin around finfo iinfo isclose isscalar max mean min nan_to_num nanargmax nanargmin nanmean "
    "nanprod nanstd nansum nanvar ndenumerate prod round searchsorted shape size std sum trunc var"
)
_ARRAY = "T all any argmax argmin dtype fill itemsize mean nbytes ndim prod shape size std sum var"
#: Attributes of an array that neither reach outside it nor make another one.
ARRAY_ATTRIBUTES = frozenset(_ARRAY.split())
#: Types whose attributes are values of their own: numbers and what is made of them, and what compiling refuses for its memory.
PLAIN_TYPES = (
    types.Number, types.Boolean, types.BaseTuple, types.NumberClass, types.DType, types.EnumMember, types.EnumClass,
    types.List, types.ListType, types.Set, types.DictType, types.UnicodeType,
)  # fmt: skip

_NUMBERS = (bool, int, float, complex, np.generic, str, bytes, type(None))
_CLASSES = (*_NUMBERS[:4], np.generic, BaseException, enum.Enum)
_FUNCTIONS = {
    id(getattr(holder, name))
    for holder, names in ((builtins, _BUILTINS.split()), (np, _NUMPY.split()), (math, dir(math)), (cmath, dir(cmath)))
    for name in names
    if not name.startswith("_")
}

_HIDDEN = "its result comes from hidden state, so that a recording would not replay"
_CLOCK = "there is no clock in a hook, so that a recording replays: time is ctx.now"
_UNCHECKED = "it reaches memory without a check of its bounds; index the array: a[i]"
_PYTHON = "it runs Python in the middle of a hook"
_DIVIDES = "it goes on with a number where it divides by zero; write a / b, a // b or a % b, which raise"
#: Divisions under the name of a function. A module may have some of them too (``math.fmod``), which numba does not compile.
_DIVISIONS = frozenset({np.divide, np.true_divide, np.floor_divide, np.remainder, np.fmod, np.divmod, np.reciprocal})
#: By the module that a function is from, innermost first.
_WHY_MODULE = {
    "random": f"{_HIDDEN}; keep a generator of your own in state()",
    "secrets": _HIDDEN,
    "uuid": _HIDDEN,
    "time": _CLOCK,
    "datetime": _CLOCK,
}
_WHY_NAME = {
    "print": f"{_PYTHON}; keep what you want to see in state()",
    "objmode": _PYTHON,
    "hash": _HIDDEN,
    "id": _HIDDEN,
    "carray": _UNCHECKED,
    "farray": _UNCHECKED,
    "as_strided": _UNCHECKED,
    "frombuffer": _UNCHECKED,
    "nditer": _UNCHECKED,
    "take": _UNCHECKED,
}
_LIBRARIES = ("numpy", "numba", "hftpipe")
_WHY = "it allocates memory, reaches memory unchecked, waits, or is not known to do none of these (docs/writing-a-strategy.md)"


def is_checked(value: Any) -> bool:
    """Whether a compiled function is one of the author's, compiled with our checks (:mod:`.located`)."""
    pipeline: object = getattr(getattr(value, "_compiler", None), "pipeline_class", None)
    return isinstance(pipeline, type) and pipeline.__name__ == "LocatedCompiler"


def _is_data(value: Any) -> bool:
    """Numbers, and arrays and tuples of them."""
    if isinstance(value, np.ndarray):
        return value.dtype.kind in "biufc"
    if isinstance(value, tuple):
        return all(map(_is_data, value))
    return isinstance(value, (*_NUMBERS, enum.Enum, np.dtype))


def _is_allowed(value: Any) -> bool:
    if isinstance(value, np.ufunc):
        return value not in _DIVISIONS
    if id(value) in _FUNCTIONS:
        return True
    if isinstance(value, type):
        return issubclass(value, _CLASSES) or (issubclass(value, tuple) and hasattr(value, "_fields"))
    if isinstance(value, Dispatcher):
        return is_checked(value)
    if isinstance(value, types.Type):
        return isinstance(value, types.Number | types.Boolean)
    return _is_data(value) or isinstance(value, ModuleType)


def _why(path: str, value: Any) -> str:
    if isinstance(value, np.ufunc):
        return _DIVIDES
    owner = type(getattr(value, "__self__", None)).__module__
    home = f"{owner}.{getattr(value, '__module__', None) or ''}.{path}".split(".")
    name = getattr(value, "__name__", "") or path.rpartition(".")[2]
    if type(value).__module__ == "numba.core.withcontexts":
        name = "objmode"
    for known, why in _WHY_NAME.items():
        if name == known:
            return why
    return next((why for module, why in _WHY_MODULE.items() if module in home), _WHY)


def refusal(path: str, value: Any) -> str | None:
    """Why strategy code cannot use ``value``, which it has under the name ``path``; None if it can."""
    if _is_allowed(value):
        return None
    if isinstance(value, Dispatcher):
        return f"'{path}' cannot be used: it is compiled without a check of its indices; import a plain function by its name"
    if isinstance(value, FunctionType) and "." in path and not value.__module__.startswith(_LIBRARIES):
        return f"'{path}' cannot be used: import the function by its name"
    return f"'{path}' cannot be used: {_why(path, value)}"


def attribute_refusal(kind: types.Type, name: str) -> str | None:
    """Why strategy code cannot use an attribute of a value of this type; None if it can."""
    if isinstance(kind, Buffer):
        if name in ARRAY_ATTRIBUTES:
            return None
        unchecked = name in ("flat", "ctypes", "view", "reshape", "data", "take", "strides", "ravel", "item", "itemset")
        others = f"an array has: {', '.join(sorted(ARRAY_ATTRIBUTES))}"
        return (
            f"'.{name}' of an array cannot be used: {_UNCHECKED if unchecked else f'it may allocate memory; {others}'}"
        )
    if isinstance(kind, types.Module):
        value = getattr(kind.pymod, name, None)
        return None if value is None else refusal(f"{kind.pymod.__name__}.{name}", value)
    return None if isinstance(kind, PLAIN_TYPES) else f"'.{name}' of a {kind} cannot be used"
