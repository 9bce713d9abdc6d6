"""The one jit decorator, and the cache it is allowed to use.

Why not plain ``numba.njit`` (each line measured, see docs/decisions/0001-numba.md):

* ``nogil``: a stage loop must not hold the interpreter lock that a cold helper thread needs.
* ``_nrt=False``: an allocation, a list or a string becomes a compile error, and reference counting
  disappears from array code (10-20x on small helpers).
* ``error_model="numpy"``: no exception path behind a division.
* ``cache=True`` is only safe because the cache directory is named by a hash of every source file of the
  package: numba keys its cache by one file and would run old code when an imported helper changes.

The same hash, :data:`BUILD_HASH`, stands in every shared-memory header, so that a process of another build
refuses to attach.
"""

import os
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import llvmlite.binding as llvm
import numba
from numba import cfunc, types
from numba.core import compiler
from numba.core.codegen import JITCodeLibrary
from numba.core.compiler_lock import global_compiler_lock
from numba.core.dispatcher import _FunctionCompiler  # type: ignore[attr-defined]  # private: not in the stubs
from numba.core.registry import CPUDispatcher
from numba.core.sigutils import normalize_signature
from numba.core.typing.templates import make_concrete_template

from hftpipe.core.machine.build import BUILD_HASH

KEPT_CACHES = 6
KEPT_CACHE_S = 86_400


def _cache_root() -> Path:
    base = os.environ.get("HFTPIPE_CACHE_DIR") or os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache"
    return Path(base) / "hftpipe"


def _drop_old_caches(root: Path, current: str) -> None:
    """Drop caches of other builds, except the newest few and those of the last day (a run may be using one)."""
    others = [(path.stat().st_mtime, path) for path in root.glob("*") if path.is_dir() and path.name != current]
    newest = max((changed for changed, _ in others), default=0.0)
    for changed, path in sorted(others)[: max(0, len(others) - KEPT_CACHES + 1)]:
        if newest - changed > KEPT_CACHE_S:
            shutil.rmtree(path, ignore_errors=True)


#: Where compiled code of exactly this build is kept.
CACHE_DIR: Path = _cache_root() / BUILD_HASH[:20]


def _use_cache() -> None:
    CACHE_DIR.mkdir(parents=True, exist_ok=True)
    _drop_old_caches(CACHE_DIR.parent, CACHE_DIR.name)
    numba.config.CACHE_DIR = str(CACHE_DIR)  # type: ignore[attr-defined]  # numba makes its settings as it starts
    # Inline assembly aborts the process (not an exception) unless the parser is registered first.
    llvm.initialize_native_asmparser()


_use_cache()

_OPTIONS: dict[str, Any] = {"nopython": True, "nogil": True, "error_model": "numpy", "_nrt": False}


class _InnerLibrary(JITCodeLibrary):
    """The LLVM module of an inner function: simplified, so that it is small enough to inline, but never emitted.

    numba would optimise it in full at every level of the call tree, and turn it into machine code that nobody calls.
    Leaving it as it is costs 2.5x at run time: the inliner judges by size.
    """

    def _optimize_final_module(self) -> None:
        codegen = self._codegen
        passes, builder = codegen._module_pass_manager(
            loop_vectorize=False, slp_vectorize=False, opt=codegen._opt_level, cost="cheap"
        )
        passes.run(self._final_module, builder)

    def _finalize_final_module(self) -> None:
        self._finalize_dynamic_globals()
        self._finalized = True


class _InnerCompiler(_FunctionCompiler):  # type: ignore[misc]  # its base is Any to mypy, see the import
    """Compiles a function for its compiled callers only: no Python wrapper, no C wrapper, no machine code of its own.

    A caller links the callee's LLVM module and inlines it, so all of these would be thrown away; they are more than
    half of a cold start (measured: 66 s of CPU without this class).
    """

    def _customize_flags(self, flags: Any) -> Any:
        flags.no_cpython_wrapper = flags.no_cfunc_wrapper = flags.no_compile = True
        return flags

    def _compile_core(self, args: Any, return_type: Any) -> Any:
        flags = compiler.Flags()
        self.targetdescr.options.parse_as_flags(flags, self.targetoptions)
        target = self.targetdescr.target_context
        library = _InnerLibrary(target.codegen(), self.py_func.__qualname__)
        return compiler.compile_extra(
            self.targetdescr.typing_context, target, self.py_func, args=args, return_type=return_type,
            flags=self._customize_flags(flags), locals=self.locals, library=library, pipeline_class=self.pipeline_class,
        )  # fmt: skip


class HotFunction(CPUDispatcher):
    """A dispatcher with two kinds of overloads: those that compiled callers link, and those that Python calls."""

    #: What a call from Python is compiled with; left out of the stubs.
    _compiler: _FunctionCompiler

    def __init__(self, *args: Any, **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        options = (self.py_func, self.targetdescr, self.targetoptions, self.locals, compiler.Compiler)
        self._inner_compiler = _InnerCompiler(*options)
        self._inner: dict[tuple[Any, ...], Any] = {}

    def get_call_template(self, args: Any, kws: Any) -> Any:
        """Called while a caller is typed: what this function returns for these argument types."""
        pysig, folded = self._compiler.fold_argument_types(args, kws)
        # A constant argument would be a type of its own, and a version of its own.
        folded = tuple(types.unliteral(kind) for kind in folded)
        signature = self._compile_inner(folded).signature
        name = self.py_func.__name__
        template = make_concrete_template(f"CallTemplate({name})", key=name, signatures=[signature])
        return template, pysig, folded, {}

    def get_overload(self, sig: Any) -> Any:
        """Called while a caller is lowered: the key under which the inner overload was registered."""
        return self._inner[tuple(normalize_signature(sig)[0])].library

    def _compile_inner(self, args: tuple[Any, ...]) -> Any:
        with global_compiler_lock:
            known = self._inner.get(args)
            if known is None:
                with self._compiling_counter:
                    known = self._inner[args] = self._inner_compiler.compile(args, None)
                self.targetctx.insert_user_function(known.library, known.fndesc, [known.library])
            return known


def jit(function: Callable[..., Any]) -> HotFunction:
    """Compile ``function`` for the hot path: no GIL, no allocation, no reference counting, cached by build."""
    dispatcher = HotFunction(
        py_func=function, locals={}, targetoptions=dict(_OPTIONS), pipeline_class=compiler.Compiler
    )
    dispatcher.enable_caching()
    return dispatcher


def entry(signature: str) -> Callable[[Callable[..., Any]], Any]:
    """Compile a function with a C address (``.address``), to be called through a pointer.

    Args:
        signature: a numba signature string such as ``"int64(uint64, int64)"``.
    """
    return cfunc(signature, nogil=True, cache=True, error_model="numpy")
