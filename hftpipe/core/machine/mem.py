"""Words in shared memory: atomics, fences, typed views of an address, time-stamp counter, calls by address.

Addresses are ``uint64`` arguments, never globals: numba would freeze them into cached code. Every word that
another process writes is read through an atomic; a plain load in a spin loop is hoisted out of it.
"""

from typing import Any

import numpy as np
from llvmlite import ir
from numba import types
from numba.extending import intrinsic

U64 = np.uint64
I64 = np.int64
ZERO = np.uint64(0)
ONE = np.uint64(1)

_I64 = ir.IntType(64)
_I128 = ir.IntType(128)


def _word(builder: Any, address: Any) -> Any:
    return builder.inttoptr(address, ir.PointerType(_I64))


@intrinsic
def view(typingctx: Any, address: Any, dtype: Any) -> Any:
    """``view(address, DTYPE)``: the structured record at ``address``; no copy, no bounds check."""
    if not isinstance(dtype, types.DType) or not isinstance(dtype.dtype, types.Record):
        return None
    record = dtype.dtype

    def codegen(context: Any, builder: Any, signature: Any, args: Any) -> Any:
        return builder.inttoptr(args[0], context.get_value_type(record))

    return record(types.uint64, dtype), codegen


@intrinsic
def address_of(typingctx: Any, record: Any) -> Any:
    """The address of a record made by :func:`view` (or of an array element)."""
    if not isinstance(record, types.Record):
        return None

    def codegen(context: Any, builder: Any, signature: Any, args: Any) -> Any:
        return builder.ptrtoint(args[0], _I64)

    return types.uint64(record), codegen


@intrinsic
def advance(typingctx: Any, address: Any, offset: Any) -> Any:
    """``address + offset`` (uint64) that cannot wrap: the compiler then knows that it is not 0.

    A caller's "is there a slot" test folds into the comparison that made the slot.
    """

    def codegen(context: Any, builder: Any, signature: Any, args: Any) -> Any:
        return builder.add(args[0], args[1], flags=("nuw",))

    return types.uint64(types.uint64, types.uint64), codegen


def _load(ordering: str, doc: str) -> Any:
    @intrinsic
    def load(typingctx: Any, address: Any) -> Any:
        def codegen(context: Any, builder: Any, signature: Any, args: Any) -> Any:
            return builder.load_atomic(_word(builder, args[0]), ordering, 8, typ=_I64)

        return types.uint64(types.uint64), codegen

    load.__doc__ = doc
    return load


def _store(ordering: str, doc: str) -> Any:
    @intrinsic
    def store(typingctx: Any, address: Any, value: Any) -> Any:
        def codegen(context: Any, builder: Any, signature: Any, args: Any) -> Any:
            builder.store_atomic(args[1], _word(builder, args[0]), ordering, 8)
            return context.get_dummy_value()

        return types.void(types.uint64, types.uint64), codegen

    store.__doc__ = doc
    return store


load_acquire = _load("acquire", "Read a uint64; nothing after it is read earlier.")
load_relaxed = _load("monotonic", "Read a uint64 without ordering, but never torn and never hoisted.")
store_release = _store("release", "Write a uint64; everything before it is visible first.")
store_relaxed = _store("monotonic", "Write a uint64 without ordering, but never torn.")


def _fence(ordering: str, doc: str) -> Any:
    @intrinsic
    def fence(typingctx: Any) -> Any:
        def codegen(context: Any, builder: Any, signature: Any, args: Any) -> Any:
            builder.fence(ordering)
            return context.get_dummy_value()

        return types.void(), codegen

    fence.__doc__ = doc
    return fence


fence_release = _fence("release", "Earlier accesses stay before later stores.")
fence_acquire = _fence("acquire", "Later accesses stay after earlier loads.")


@intrinsic
def load_i64(typingctx: Any, address: Any) -> Any:
    """Plain load of an int64 at ``address`` (memory owned by this process)."""

    def codegen(context: Any, builder: Any, signature: Any, args: Any) -> Any:
        return builder.load(_word(builder, args[0]), typ=_I64)

    return types.int64(types.uint64), codegen


@intrinsic
def store_i64(typingctx: Any, address: Any, value: Any) -> Any:
    """Plain store of an int64 at ``address`` (memory owned by this process)."""

    def codegen(context: Any, builder: Any, signature: Any, args: Any) -> Any:
        builder.store(args[1], _word(builder, args[0]))
        return context.get_dummy_value()

    return types.void(types.uint64, types.int64), codegen


@intrinsic
def load_u8(typingctx: Any, address: Any) -> Any:
    """Plain load of one byte, as uint8."""

    def codegen(context: Any, builder: Any, signature: Any, args: Any) -> Any:
        byte = ir.IntType(8)
        return builder.load(builder.inttoptr(args[0], ir.PointerType(byte)), typ=byte)

    return types.uint8(types.uint64), codegen


@intrinsic
def store_u8(typingctx: Any, address: Any, value: Any) -> Any:
    """Plain store of one byte."""

    def codegen(context: Any, builder: Any, signature: Any, args: Any) -> Any:
        builder.store(args[1], builder.inttoptr(args[0], ir.PointerType(ir.IntType(8))))
        return context.get_dummy_value()

    return types.void(types.uint64, types.uint8), codegen


@intrinsic
def load_u32(typingctx: Any, address: Any) -> Any:
    """Plain load of a uint32."""

    def codegen(context: Any, builder: Any, signature: Any, args: Any) -> Any:
        word = ir.IntType(32)
        return builder.load(builder.inttoptr(args[0], ir.PointerType(word)), typ=word)

    return types.uint32(types.uint64), codegen


@intrinsic
def store_u32(typingctx: Any, address: Any, value: Any) -> Any:
    """Plain store of a uint32."""

    def codegen(context: Any, builder: Any, signature: Any, args: Any) -> Any:
        builder.store(args[1], builder.inttoptr(args[0], ir.PointerType(ir.IntType(32))))
        return context.get_dummy_value()

    return types.void(types.uint64, types.uint32), codegen


@intrinsic
def copy_bytes(typingctx: Any, target: Any, source: Any, count: Any) -> Any:
    """``memmove``: the regions may overlap."""

    def codegen(context: Any, builder: Any, signature: Any, args: Any) -> Any:
        byte = ir.IntType(8).as_pointer()
        kind = ir.FunctionType(ir.VoidType(), [byte, byte, _I64, ir.IntType(1)])
        move = builder.module.declare_intrinsic("llvm.memmove", [byte, byte, _I64], fnty=kind)
        target_ptr, source_ptr = (builder.inttoptr(a, byte) for a in args[:2])
        builder.call(move, [target_ptr, source_ptr, args[2], ir.Constant(ir.IntType(1), 0)])
        return context.get_dummy_value()

    return types.void(types.uint64, types.uint64, types.int64), codegen


@intrinsic
def prefetch_write(typingctx: Any, address: Any) -> Any:
    """Have the cache line at ``address`` here, to be written soon; no effect but on time, whatever the address."""

    def codegen(context: Any, builder: Any, signature: Any, args: Any) -> Any:
        byte, word = ir.IntType(8).as_pointer(), ir.IntType(32)
        kind = ir.FunctionType(ir.VoidType(), [byte, word, word, word])
        prefetch = builder.module.declare_intrinsic("llvm.prefetch", [byte], fnty=kind)
        # For writing, to be kept in all caches, data.
        builder.call(prefetch, [builder.inttoptr(args[0], byte), *(ir.Constant(word, n) for n in (1, 3, 1))])
        return context.get_dummy_value()

    return types.void(types.uint64), codegen


@intrinsic
def rdtsc(typingctx: Any) -> Any:
    """The time-stamp counter. It may run ahead of earlier loads by a few ns; see :func:`rdtscp`."""

    def codegen(context: Any, builder: Any, signature: Any, args: Any) -> Any:
        kind = ir.FunctionType(_I64, [])
        return builder.call(builder.module.declare_intrinsic("llvm.readcyclecounter", fnty=kind), [])

    return types.uint64(), codegen


@intrinsic
def rdtscp(typingctx: Any) -> Any:
    """The time-stamp counter after all earlier instructions have completed (for receive stamps)."""

    def codegen(context: Any, builder: Any, signature: Any, args: Any) -> Any:
        kind = ir.FunctionType(_I64, [])
        text = "rdtscp; shlq $$32, %rdx; orq %rdx, %rax"
        return builder.asm(kind, text, "={rax},~{rdx},~{rcx},~{dirflag},~{fpsr},~{flags}", [], True)

    return types.uint64(), codegen


@intrinsic
def pause(typingctx: Any) -> Any:
    """Tell the CPU that this is a spin loop."""

    def codegen(context: Any, builder: Any, signature: Any, args: Any) -> Any:
        builder.asm(ir.FunctionType(ir.VoidType(), []), "pause", "~{memory}", [], True)
        return context.get_dummy_value()

    return types.void(), codegen


@intrinsic
def mul_wide(typingctx: Any, a: Any, b: Any) -> Any:
    """Full product of two uint64 as ``(high, low)``."""
    pair = types.UniTuple(types.uint64, 2)

    def codegen(context: Any, builder: Any, signature: Any, args: Any) -> Any:
        product = builder.mul(*(builder.zext(x, _I128) for x in args))
        high = builder.trunc(builder.lshr(product, ir.Constant(_I128, 64)), _I64)
        return context.make_tuple(builder, pair, [high, builder.trunc(product, _I64)])

    return pair(types.uint64, types.uint64), codegen


@intrinsic
def div_wide(typingctx: Any, high: Any, low: Any, divisor: Any) -> Any:
    """``(high:low) / divisor`` as ``(quotient, remainder)``. The caller guarantees ``high < divisor``.

    The CPU's own 128/64 division: LLVM would call a helper that is not linked here.
    """
    pair = types.UniTuple(types.uint64, 2)

    def codegen(context: Any, builder: Any, signature: Any, args: Any) -> Any:
        both = ir.LiteralStructType([_I64, _I64])
        kind = ir.FunctionType(both, [_I64, _I64, _I64])
        constraints = "={rax},={rdx},{rdx},{rax},r,~{dirflag},~{fpsr},~{flags}"
        result = builder.asm(kind, "divq $4", constraints, list(args), False)
        return context.make_tuple(builder, pair, [builder.extract_value(result, i) for i in (0, 1)])

    return pair(types.uint64, types.uint64, types.uint64), codegen


@intrinsic
def call_step(typingctx: Any, function: Any, state: Any, now_ns: Any) -> Any:
    """Call the C function ``int64 f(uint64 state, int64 now_ns)`` at address ``function`` (about 1 ns)."""

    def codegen(context: Any, builder: Any, signature: Any, args: Any) -> Any:
        kind = ir.FunctionType(_I64, [_I64, _I64])
        return builder.call(builder.inttoptr(args[0], ir.PointerType(kind)), args[1:])

    return types.int64(types.uint64, types.uint64, types.int64), codegen


@intrinsic
def call_words(typingctx: Any, function: Any, words: Any) -> Any:
    """Call the C function ``int64 f(uint64, ...)`` at address ``function`` with a tuple of uint64."""
    if not isinstance(words, types.UniTuple) or words.dtype != types.uint64:
        return None

    def codegen(context: Any, builder: Any, signature: Any, args: Any) -> Any:
        kind = ir.FunctionType(_I64, [_I64] * words.count)
        values = [builder.extract_value(args[1], index) for index in range(words.count)]
        return builder.call(builder.inttoptr(args[0], ir.PointerType(kind)), values)

    return types.int64(types.uint64, words), codegen


#: C functions are named, not baked in as addresses: cacheable, and LD_PRELOAD (a kernel-bypass stack) is honoured.
sched_yield = types.ExternalFunction("sched_yield", types.int32())
usleep = types.ExternalFunction("usleep", types.int32(types.uint32))
clock_gettime = types.ExternalFunction("clock_gettime", types.int32(types.int32, types.uint64))
msync = types.ExternalFunction("msync", types.int32(types.uint64, types.uint64, types.int32))
