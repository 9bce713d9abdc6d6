"""Call a compiled hook by address."""

from typing import Any

from llvmlite import ir
from numba import types
from numba.extending import intrinsic

_I64 = ir.IntType(64)


@intrinsic
def call_hook(typingctx: Any, function: Any, self_address: Any, ctx: Any, argument: Any) -> Any:
    """Call the C function ``int64 f(uint64 self, uint64 ctx, uint64 argument)`` at address ``function``."""

    def codegen(context: Any, builder: Any, signature: Any, args: Any) -> Any:
        kind = ir.FunctionType(_I64, [_I64, _I64, _I64])
        return builder.call(builder.inttoptr(args[0], ir.PointerType(kind)), args[1:])

    return types.int64(types.uint64, types.uint64, types.uint64, types.uint64), codegen
