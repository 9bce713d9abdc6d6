"""Arithmetic without a right answer raises in an author's code: a sum or product beyond int64, a float no int64 is near.

Both have a result in machine code, and it is wrong by so much that nothing downstream can know: a product that wraps is a
small number, or a negative one, and passes the limit it was compared with. (A division by zero raises by numba's error
model.) Unsigned integers wrap, for who wants that: generators of random numbers do.
"""

import operator
from typing import Any

from llvmlite import ir
from numba import types

_NO_ROOM = ("the result does not fit an int64",)
_NO_INTEGER = ("NaN, infinity and floats beyond int64 have no integer",)
#: What the machine adds up with a flag that says whether it fitted.
_WITH_FLAG = {
    operator.add: "sadd_with_overflow", operator.iadd: "sadd_with_overflow",
    operator.sub: "ssub_with_overflow", operator.isub: "ssub_with_overflow",
    operator.mul: "smul_with_overflow", operator.imul: "smul_with_overflow",
}  # fmt: skip


def can_overflow(operation: Any, signature: Any) -> bool:
    """Whether this is a sum, difference or product of two int64."""
    return operation in _WITH_FLAG and all(kind == types.int64 for kind in (*signature.args, signature.return_type))


def exact(context: Any, builder: Any, operation: Any, left: Any, right: Any) -> Any:
    """The result of an operation that :func:`can_overflow`, or an OverflowError."""
    pair = getattr(builder, _WITH_FLAG[operation])(left, right)
    with builder.if_then(builder.extract_value(pair, 1), likely=False):
        context.call_conv.return_user_exc(builder, OverflowError, _NO_ROOM)
    return builder.extract_value(pair, 0)


def becomes_integer(source: types.Type, target: types.Type) -> bool:
    """Whether a float is made an integer."""
    return isinstance(source, types.Float) and isinstance(target, types.Integer)


def check_has_integer(context: Any, builder: Any, value: Any, target: Any) -> None:
    """A ValueError for a float that the 64-bit integers of this kind do not reach; comparisons are false of NaN."""
    low, high = (-(2.0**63), 2.0**63) if target.signed else (-1.0, 2.0**64)
    above = builder.fcmp_ordered(">=" if target.signed else ">", value, ir.Constant(value.type, low))
    below = builder.fcmp_ordered("<", value, ir.Constant(value.type, high))
    with builder.if_then(builder.not_(builder.and_(above, below)), likely=False):
        context.call_conv.return_user_exc(builder, ValueError, _NO_INTEGER)
