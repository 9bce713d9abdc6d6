"""Looks at every function of a strategy while it is compiled: what it uses, and that it does not call itself.

Two looks. Before types are known: every name and every ``module.name``, and the functions that are being compiled further
out (a recursion has no bound, and the stack's end is a death without a name). With types: every attribute of every value,
what came in with closures, and operations on two arrays, whose lengths numba does not compare.
"""

import operator
from collections.abc import Iterator
from contextlib import contextmanager
from types import CodeType, ModuleType
from typing import Any

import numpy as np
from numba import types
from numba.core import ir
from numba.core.compiler_machinery import AnalysisPass, register_pass
from numba.core.dispatcher import Dispatcher
from numba.core.errors import TypingError
from numba.core.types.common import Buffer

from hftpipe.strategy.compile.allowed import attribute_refusal, is_checked, refusal
from hftpipe.strategy.compile.record_types import MARK, StrategyRecord

_NO_VALUE = object()
_DIVISIONS = (operator.itruediv, operator.ifloordiv, operator.imod)
#: Functions being compiled, outermost first: their state. One thread compiles at a time (numba's lock).
_under_way: list[Any] = []


def _refuse(loc: Any, text: str) -> None:
    """The place stands in the text: numba's own is that of whoever asked for the function."""
    raise TypingError(f"{MARK}@{loc.filename}:{loc.line}@ {text}")


def _assignments(func_ir: Any) -> Iterator[ir.Assign]:
    for block in func_ir.blocks.values():
        yield from block.find_insts(ir.Assign)


def _refuse_recursion(code: CodeType, loc: Any) -> None:
    chain = [state.func_id for state in _under_way]
    at = next(number for number, one in enumerate(chain) if one.code is code)
    names = [one.func_name for one in chain[at:]]
    way = " calls ".join((*names, names[0]))
    _refuse(loc, f"{names[0]} calls itself ({way}): nothing bounds how deep; write a loop")


def _place_of_call(state: Any, name: str) -> Any:
    """Where the function being compiled in ``state`` uses the method ``name``."""
    uses = (one for one in _assignments(state.func_ir) if getattr(one.value, "op", "") == "getattr")
    return next((one.loc for one in uses if one.value.attr == name), state.func_ir.loc)


@contextmanager
def under_way(state: Any) -> Iterator[None]:
    """Keep the function of ``state`` on the list while it is compiled; refused if it is on it already."""
    code = state.func_id.code
    if any(one.func_id.code is code for one in _under_way):
        _refuse_recursion(code, _place_of_call(_under_way[-1], state.func_id.func_name))
    _under_way.append(state)
    try:
        yield
    finally:
        _under_way.pop()


@register_pass(mutates_CFG=False, analysis_only=True)
class CheckNames(AnalysisPass):
    """Every global, every variable of a function around it, and what is taken from a module."""

    _name = "strategy_names"

    def __init__(self) -> None:
        super().__init__()

    def run_pass(self, state: Any) -> bool:
        known: dict[str, tuple[str, Any]] = {}
        names = _names_in(state.func_id.code)
        for one in _assignments(state.func_ir):
            path, value = _named(one.value, names, known)
            if value is _NO_VALUE:
                continue
            if one.target.name.startswith("$"):
                known[one.target.name] = path, value
            if isinstance(value, Dispatcher) and any(s.func_id.code is value.py_func.__code__ for s in _under_way):
                _refuse_recursion(value.py_func.__code__, one.loc)
            if why := refusal(path, value):
                _refuse(one.loc, why)
        return False


def _named(value: Any, names: set[str], known: dict[str, tuple[str, Any]]) -> tuple[str, Any]:
    """Name and value of a global of the author's (not one that numba put in), or of an attribute of a module that is one."""
    if isinstance(value, ir.Global | ir.FreeVar):
        is_authors = value.name in names and value.value is not ir.UNDEFINED
        return value.name, value.value if is_authors else _NO_VALUE
    if getattr(value, "op", "") == "getattr":
        path, holder = known.get(value.value.name, ("", None))
        if isinstance(holder, ModuleType):
            return f"{path}.{value.attr}", getattr(holder, value.attr, _NO_VALUE)
    return "", _NO_VALUE


def _names_in(code: CodeType) -> set[str]:
    inner = (_names_in(one) for one in code.co_consts if isinstance(one, CodeType))
    return {*code.co_names, *code.co_freevars}.union(*inner)


@register_pass(mutates_CFG=False, analysis_only=True)
class CheckUses(AnalysisPass):
    """Every attribute by the type that has it, and what two arrays are used for together."""

    _name = "strategy_uses"

    def __init__(self) -> None:
        super().__init__()

    def run_pass(self, state: Any) -> bool:
        # What is named in the function itself has been looked at, and numba has put things of its own in its place.
        names = _names_in(state.func_id.code) - {*state.func_id.code.co_names, *state.func_id.code.co_freevars}
        for one in _assignments(state.func_ir):
            value, kind = one.value, state.typemap.get(one.target.name)
            why = None
            if isinstance(value, ir.Global | ir.FreeVar) and value.name in names:
                why = refusal(value.name, value.value)
            elif isinstance(kind, types.Dispatcher) and not is_checked(kind.dispatcher):
                why = "a function inside a function cannot be passed on; make it a function of the file"
            elif isinstance(value, ir.Expr):
                why = _use_refusal(value, state.typemap)
            if why:
                _refuse(one.loc, why)
        return False


def _use_refusal(expression: ir.Expr, typemap: dict[str, types.Type]) -> str | None:
    if expression.op == "getattr":
        kind = typemap[expression.value.name]
        return None if isinstance(kind, StrategyRecord) else attribute_refusal(kind, expression.attr)
    if expression.op == "inplace_binop":
        operands = [expression.lhs, expression.rhs]
        if expression.fn in _DIVISIONS and isinstance(typemap[expression.lhs.name], Buffer):
            return "an array is divided as a whole: that goes on with a number where it divides by zero; loop over an index"
    elif expression.op == "call" and _is_ufunc(typemap[expression.func.name]):
        operands = [*expression.args, *(one for _, one in expression.kws)]
    else:
        return None
    if sum(isinstance(typemap[one.name], Buffer) for one in operands) > 1:
        return "an operation on two arrays at once cannot be used: their lengths are not compared; loop over an index"
    return None


def _is_ufunc(kind: types.Type) -> bool:
    return isinstance(kind, types.Function) and isinstance(kind.typing_key, np.ufunc)
