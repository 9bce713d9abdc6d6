"""Compile a strategy's functions: checked (:mod:`.checks`, :mod:`.arithmetic`), and what they raise is known by its line.

numba notes the line of a ``raise`` statement beside the exception, but none for what it raises itself (an index out of
range). Here it notes the line of the instruction being lowered. Nothing of this is in the code that runs: an exception is a
constant beside it, and what is raised is its address.
"""

from typing import Any

from llvmlite import ir
from numba import types
from numba.core.callconv import CPUCallConv
from numba.core.compiler import CompilerBase, DefaultPassBuilder
from numba.core.compiler_machinery import PassManager, register_pass
from numba.core.cpu import CPUContext
from numba.core.lowering import Lower
from numba.core.typed_passes import NativeLowering, NopythonTypeInference
from numba.core.untyped_passes import IRProcessing
from numba.extending import intrinsic

from hftpipe.strategy.compile.arithmetic import becomes_integer, can_overflow, check_has_integer, exact
from hftpipe.strategy.compile.checks import CheckNames, CheckUses, under_way

_I64 = ir.IntType(64)


class _LocatedCallConv(CPUCallConv):
    """Where no place is given for an exception, it is that of the instruction being lowered."""

    def build_excinfo_struct(self, exc: Any, exc_args: Any, loc: Any, func_name: Any) -> Any:
        return super().build_excinfo_struct(exc, exc_args, loc or self.context.current_loc, func_name)


class _LocatedContext(CPUContext):
    """The context of one function's compilation; ``current_loc`` is the place of the instruction being lowered."""

    current_loc: Any = None

    @property
    def call_conv(self) -> CPUCallConv:
        return _LocatedCallConv(self)

    def subtarget(self, **options: Any) -> CPUContext:
        made: CPUContext = super().subtarget(**options)
        kind: Any = type(made.error_model)
        # What divides raises by the error model's own call convention, which would know the place of another context.
        made.error_model = kind(made.call_conv)
        return made

    def cast(self, builder: Any, val: Any, fromty: Any, toty: Any) -> Any:
        if becomes_integer(fromty, toty):
            check_has_integer(self, builder, val, toty)
        return super().cast(builder, val, fromty, toty)


class _LocatedLower(Lower):
    def notify_loc(self, loc: Any) -> None:
        self.context.current_loc = loc
        super().notify_loc(loc)

    def lower_binop(self, resty: Any, expr: Any, op: Any) -> Any:
        signature = self.fndesc.calltypes[expr]
        if not can_overflow(op, signature):
            return super().lower_binop(resty, expr, op)
        left, right = (
            self.context.cast(self.builder, self.loadvar(one.name), self.typeof(one.name), types.int64)
            for one in (expr.lhs, expr.rhs)
        )
        return self.context.cast(self.builder, exact(self.context, self.builder, op, left, right), types.int64, resty)

    def _lower_call_normal(self, fnty: Any, expr: Any, signature: Any) -> Any:
        # round, math.floor and their like, which make an integer of a float by themselves.
        is_builtin = isinstance(fnty, types.Function) and len(signature.args) == 1 == len(expr.args)
        if is_builtin and becomes_integer(signature.args[0], signature.return_type):
            given = expr.args[0].name
            value = self.context.cast(self.builder, self.loadvar(given), self.typeof(given), signature.args[0])
            check_has_integer(self.context, self.builder, value, signature.return_type)
        return super()._lower_call_normal(fnty, expr, signature)


@register_pass(mutates_CFG=True, analysis_only=False)
class _LocatedLowering(NativeLowering):
    _name = "located_lowering"

    @property
    def lowering_class(self) -> type[Lower]:
        return _LocatedLower


#: A look of ours right behind a pass of numba's.
_CHECKS = {IRProcessing: CheckNames, NopythonTypeInference: CheckUses}


class LocatedCompiler(CompilerBase):
    """numba's nopython compiler, with the lowering above in the place of its own, and our checks in between."""

    def _compile_core(self) -> Any:
        with under_way(self.state):
            return super()._compile_core()

    def define_pipelines(self) -> list[PassManager]:
        # This compilation's own context, as CompilerBase has just made it.
        self.state.targetctx.__class__ = _LocatedContext
        builder, manager = DefaultPassBuilder, PassManager("located")
        for define in (
            builder.define_untyped_pipeline,
            builder.define_typed_pipeline,
            builder.define_nopython_lowering_pipeline,
        ):
            for one, text in define(self.state).passes:
                manager.add_pass(_LocatedLowering if one is NativeLowering else one, text)
                if one in _CHECKS:
                    manager.add_pass(_CHECKS[one], "checking what the strategy uses")
        manager.finalize()
        return [manager]


def _caught(typingctx: Any, function: Any, arguments: tuple[Any, ...]) -> Any:
    """Signature and code of a call whose exception, if any, is the result: its address, 0 if there is none."""
    inner = function.get_call_type(typingctx, arguments, {})

    def codegen(context: Any, builder: Any, signature: Any, args: Any) -> Any:
        compiled = function.dispatcher.overloads[inner.args]
        context.add_linking_libs([compiled.library])
        status, _ = context.call_internal_no_propagate(builder, compiled.fndesc, inner, args[1:])
        return builder.select(status.is_error, builder.ptrtoint(status.excinfoptr, _I64), ir.Constant(_I64, 0))

    return types.int64(function, *arguments), codegen


@intrinsic
def caught_2(typingctx: Any, function: Any, self_record: Any, ctx: Any) -> Any:
    """``function(self, ctx)``: 0, or the address of what it raised (see :func:`hftpipe.strategy.faults.decode`)."""
    return _caught(typingctx, function, (self_record, ctx))


@intrinsic
def caught_3(typingctx: Any, function: Any, self_record: Any, ctx: Any, argument: Any) -> Any:
    """``function(self, ctx, argument)``, likewise."""
    return _caught(typingctx, function, (self_record, ctx, argument))
