"""numba types of the records that strategy code sees: each its own class, so that methods belong to one of them.

A method registered on numba's plain Record would exist on every record and hide equally named fields (a parameter
called ``spread_bps``, say). An unknown attribute is reported with the names that do exist, and so is an assignment to a
field that is not the author's.
"""

import difflib
from collections.abc import Iterable
from typing import Any

import numpy as np
from numba import from_dtype, types
from numba.core.datamodel import models
from numba.core.datamodel.registry import register_default
from numba.core.errors import TypingError
from numba.core.imputils import lower_setattr_generic
from numba.extending import intrinsic, overload_method
from numba.np.arrayobj import record_setattr

#: For what is only ever called from compiled code: core.jit's options, without the wrappers that calls from Python or C
#: would need (a third of the compile time) and without a cache entry of its own (it is part of its caller's).
IN_CALLER: dict[str, Any] = {
    "_nrt": False,
    "error_model": "numpy",
    "nogil": True,
    "no_cpython_wrapper": True,
    "no_cfunc_wrapper": True,
}
#: Before every message of ours inside one of numba's.
MARK = "hftpipe: "


class StrategyRecord(types.Record):
    """A record that strategy code sees under a customary name.

    Attributes:
        label: that name (``self``, ``ctx``, ``book``, ``trade``, ``fill``, ``order``).
        methods: names callable on it, besides its fields.
        writable: fields that strategy code may assign to; all others are the engine's.
    """

    label = ""
    methods: tuple[str, ...] = ()
    writable: frozenset[str] = frozenset()

    def typeof(self, key: str) -> types.Type:
        """Type of a field; TypingError names the alternatives."""
        if key in self.fields:
            return super().typeof(key)
        names = [name for name in (*self.fields, *self.methods) if not name.startswith("_")]
        close = difflib.get_close_matches(key, names, n=1)
        hint = f"did you mean {close[0]!r}?" if close else f"it has: {', '.join(names)}"
        raise TypingError(f"{MARK}{self.label} has no attribute {key!r}; {hint}")


def _assign(context: Any, builder: Any, sig: Any, args: Any, attr: str) -> Any:
    """Assignment to a field, however it is written: refused when it is compiled, unless the field is the author's."""
    record = sig.args[0]
    if attr not in record.writable:
        owner = "a parameter, set from the configuration" if record.label == "self" else "the engine's"
        raise TypingError(f"{MARK}{record.label}.{attr} cannot be assigned to: it is {owner}")
    return record_setattr(context, builder, sig, args, attr)


lower_setattr_generic(StrategyRecord)(_assign)


def record_type(label: str, dtype: np.dtype, writable: Iterable[str] = ()) -> StrategyRecord:
    """A numba type of its own for ``dtype``; of its fields strategy code may assign to the ``writable`` ones."""
    kind = type(f"{label.capitalize()}Record", (StrategyRecord,), {"label": label, "writable": frozenset(writable)})
    register_default(kind)(models.RecordModel)
    plain = from_dtype(dtype)
    fields = [(name, {"type": f.type, "offset": f.offset}) for name, f in plain.fields.items()]
    made: StrategyRecord = kind(fields, plain.size, plain.aligned)
    # Short in messages; the first field tells the ``self`` records of two classes apart.
    made.name = f"self<{dtype.names[0]}>" if label == "self" and dtype.names else label
    return made


def method_of(record: StrategyRecord, name: str, *, strict: bool = True, options: dict[str, Any] = IN_CALLER) -> Any:
    """A decorator for the selector of a method that strategy code may call on a record.

    Args:
        strict: whether the selector has to have the signature of the function that it returns.
        options: numba's, for that function.
    """
    type(record).methods += (name,)
    # numba passes these options on to `overload`; its stubs do not know.
    return overload_method(type(record), name, strict=strict, jit_options=options)  # type: ignore[call-arg]


def viewer(kind: StrategyRecord) -> Any:
    """An intrinsic like core.mem.view for one record type: the record at a uint64 address."""

    @intrinsic
    def view_as(typingctx: Any, address: Any) -> Any:
        def codegen(context: Any, builder: Any, signature: Any, args: Any) -> Any:
            return builder.inttoptr(args[0], context.get_value_type(kind))

        return kind(types.uint64), codegen

    return view_as


def need_int(where: str, **arguments: Any) -> None:
    """Refuse anything but integers when a strategy is compiled."""
    for name, kind in arguments.items():
        if not isinstance(kind, types.Integer | types.Omitted | int):
            raise TypingError(f"{MARK}{where}: {name} must be an integer, not {kind}")
