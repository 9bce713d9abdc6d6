"""Big-endian integers at any address: one load or store and a byte swap. All values are uint64 in registers."""

from typing import Any

from llvmlite import ir
from numba import types
from numba.extending import intrinsic

from hftpipe.core.machine.jit import jit
from hftpipe.core.machine.mem import U64

_I64 = ir.IntType(64)


def _swap(builder: Any, value: Any, kind: Any) -> Any:
    swap = builder.module.declare_intrinsic("llvm.bswap", [kind], fnty=ir.FunctionType(kind, [kind]))
    return builder.call(swap, [value])


def _reader(bits: int, doc: str) -> Any:
    @intrinsic
    def read(typingctx: Any, address: Any) -> Any:
        kind = ir.IntType(bits)

        def codegen(context: Any, builder: Any, signature: Any, args: Any) -> Any:
            pointer = builder.inttoptr(args[0], ir.PointerType(kind))
            value = _swap(builder, builder.load(pointer, align=1, typ=kind), kind)
            return value if bits == 64 else builder.zext(value, _I64)

        return types.uint64(types.uint64), codegen

    read.__doc__ = doc
    return read


def _writer(bits: int, doc: str) -> Any:
    @intrinsic
    def write(typingctx: Any, address: Any, value: Any) -> Any:
        kind = ir.IntType(bits)

        def codegen(context: Any, builder: Any, signature: Any, args: Any) -> Any:
            word = args[1] if bits == 64 else builder.trunc(args[1], kind)
            builder.store(_swap(builder, word, kind), builder.inttoptr(args[0], ir.PointerType(kind)), align=1)
            return context.get_dummy_value()

        return types.void(types.uint64, types.uint64), codegen

    write.__doc__ = doc
    return write


be16 = _reader(16, "Two bytes, big-endian, as uint64.")
be32 = _reader(32, "Four bytes, big-endian, as uint64.")
be64 = _reader(64, "Eight bytes, big-endian, as uint64.")
put_be16 = _writer(16, "Write the low two bytes of a uint64, big-endian.")
put_be32 = _writer(32, "Write the low four bytes of a uint64, big-endian.")
put_be64 = _writer(64, "Write a uint64, big-endian.")


@jit
def be48(address):
    """Six bytes, big-endian, as uint64; reads no seventh."""
    return (be16(address) << U64(32)) | be32(address + U64(2))


@jit
def put_be48(address, value):
    """Write the low six bytes of a uint64, big-endian."""
    put_be16(address, value >> U64(32))
    put_be32(address + U64(2), value)
