"""What compiled code calls: read from the optimised IR (direct and indirect calls) and from the assembly (what the
code generator itself adds), one function at a time.

Run as a program it compiles every entry of the product into the cache directory of its environment and prints, as
JSON, what each of them calls that it should not; see test_machine_code.py.
"""

import importlib
import json
import pkgutil
import re
import sys
from collections.abc import Iterator
from typing import Any

from numba.core.ccallback import CFunc
from numba.core.errors import NumbaError

#: What LLVM itself may turn a copy or a fill into.
COPYING = frozenset({"memmove", "memcpy", "memset"})
#: Python's side of a compiled function; not run from compiled code.
PYTHON_WRAPPER = "_ZN7cpython"
#: The C entry: one direct call, and numba's report of an exception that checked functions cannot raise.
C_WRAPPER = "cfunc."

_DEFINE = re.compile(r'^define [^@]*@(?P<name>"[^"]*"|[\w.$]+)\(', re.M)
#: An argument may have that name, too.
_CALL = re.compile(r"(?<![\w.%])(?:call|invoke)\b(?P<rest>.*)")
_TARGET = re.compile(r'(?P<sigil>[@%])(?P<name>"[^"]*"|[\w.$]+)\(')
_LABEL = re.compile(r'^(?P<name>"[^"]*"|[A-Za-z_.$][\w.$]*):', re.M)
_OPERAND = re.compile(r'(?:\$|\b(?:callq?|jmpq?)\s+|[\s,(])(?P<name>"[^"]*"|[A-Za-z_.][\w.$]*)(?=[,@(+\s]|$)')


def plain_name(symbol: str) -> str:
    """``hftpipe.core.shared.ring.ring_pop`` of a mangled symbol; the symbol itself if it is not one of numba's."""
    rest, parts = symbol.removeprefix(C_WRAPPER).removeprefix("_ZN"), []
    while match := re.match(r"\d+", rest):
        length = int(match.group())
        parts.append(rest[match.end() : match.end() + length])
        rest = rest[match.end() + length :]
    return ".".join(parts) if parts else symbol


def is_checked(symbol: str) -> bool:
    """Whether a function is hot code, not a wrapper of numba's around it."""
    return not symbol.startswith((PYTHON_WRAPPER, C_WRAPPER))


def ir_functions(ir: str) -> Iterator[tuple[str, str]]:
    """(symbol, body) of every function defined in an IR module."""
    for match in _DEFINE.finditer(ir):
        yield match["name"].strip('"'), ir[match.end() : ir.index("\n}", match.end())]


def asm_functions(asm: str) -> Iterator[tuple[str, str]]:
    """(symbol, instructions) of every function in an assembly listing."""
    for match in re.finditer(r'^\s*\.type\s+(?P<name>"[^"]*"|[^,]+),@function$', asm, re.M):
        symbol = match["name"]
        start = asm.index(f"\n{symbol}:", match.end()) + len(symbol) + 2
        body = asm[start : asm.index(f"\t.size\t{symbol},", start)]
        yield symbol.strip('"'), "\n".join(line for line in body.splitlines() if not re.match(r"\s*\.", line))


def _ir_problems(body: str, defined: set[str], allowed: frozenset[str], by_address: bool) -> Iterator[str]:
    """What a function calls that it should not."""
    for call in _CALL.finditer(body):
        rest = call["rest"]
        if " asm " in f" {rest.split('(')[0]} ":
            continue
        target = _TARGET.search(rest)
        if target is None:
            yield f"unreadable call: {rest.strip()[:80]}"
        elif target["sigil"] == "%":
            if not by_address:
                yield "calls through a pointer"
        else:
            name = target["name"].strip('"')
            if not name.startswith("llvm.") and name not in defined | allowed:
                yield f"calls {name}"


def _asm_problems(body: str, defined: set[str], allowed: frozenset[str]) -> Iterator[str]:
    for line in body.splitlines():
        operands = line.strip().partition("\t")[2]
        is_jump = line.strip().startswith(("call", "jmp"))
        for match in _OPERAND.finditer(f" {operands}" if is_jump else operands):
            name = match["name"].strip('"')
            if not name.startswith(".L") and name not in defined | allowed:
                yield f"refers to {name}"


def problems(
    ir: str, asm: str, libc: frozenset[str] = frozenset(), by_address: frozenset[str] = frozenset(), may_raise: str = ""
) -> set[str]:
    """What the functions of one linked module do that hot code must not.

    Args:
        ir: optimised IR of the module; asm: its assembly.
        libc: C functions that it may call, besides those of COPYING.
        by_address: Python modules whose functions may call through a pointer.
        may_raise: pattern of the names of functions that may raise.
    """
    allowed, found = COPYING | libc, set()
    functions = dict(ir_functions(ir))
    for symbol, body in filter(lambda item: is_checked(item[0]), functions.items()):
        name = plain_name(symbol)
        may_call = name.rpartition(".")[0] in by_address
        hot = {other for other in functions if is_checked(other)}
        found |= {f"{name}: {text}" for text in _ir_problems(body, hot, allowed, may_call)}
        if ".const.picklebuf" in body and not (may_raise and re.match(may_raise, name)):
            found.add(f"{name}: can raise an exception")
    labels = {match["name"].strip('"') for match in _LABEL.finditer(asm)}
    for symbol, body in filter(lambda item: is_checked(item[0]), asm_functions(asm)):
        found |= {f"{plain_name(symbol)}: {text}" for text in _asm_problems(body, labels, allowed)}
    return found


def instructions(asm: str, name: str) -> list[str]:
    """Instructions of the one function of Python name ``name``, its own symbol and local labels made neutral."""
    found = [(symbol, body) for symbol, body in asm_functions(asm) if plain_name(symbol).endswith(f".{name}")]
    ((symbol, body),) = [item for item in found if is_checked(item[0])]
    return [re.sub(r"\.L\w+", ".L", line.strip()) for line in body.replace(symbol, "SELF").splitlines()]


def _entries(packages: tuple[str, ...]) -> dict[str, Any]:
    """Every C entry of the packages, by name."""
    import hftpipe

    for module in pkgutil.walk_packages(hftpipe.__path__, "hftpipe."):
        if module.name.startswith(packages):
            importlib.import_module(module.name)
    found = {}
    for name, module in sorted(sys.modules.items()):
        if name.startswith(packages):
            entries = [value for value in vars(module).values() if isinstance(value, CFunc)]
            found |= {f"{entry._pyfunc.__module__}.{entry.__name__}": entry._library for entry in entries}
    return found


def _hooks(strategies: list[str]) -> dict[str, Any]:
    """Every hook of the strategies, by name."""
    from hftpipe.strategy.compile.loader import load

    loaded = {strategy: load(strategy).bound for strategy in strategies}
    return {
        f"strategy {strategy}.{hook}": entry._library
        for strategy, bound in loaded.items()
        for hook, entry in zip(bound.hooks, bound.keep, strict=True)
    }


def _root(name: str, signature: str) -> Any:
    module, _, function = name.rpartition(".")
    dispatcher = getattr(sys.modules[module], function)
    dispatcher.compile(signature)
    return dispatcher.overloads[dispatcher.signatures[0]].library


def main(table: dict[str, Any]) -> dict[str, dict[str, list[str]]]:
    """``{root: {"problems": [...], "functions": [...]}}`` for a table as in test_machine_code.py."""
    result: dict[str, dict[str, list[str]]] = {}
    libraries = _entries(tuple(table["packages"]))
    for name, signature in table["python_roots"].items():
        try:
            libraries[name] = _root(name, signature)
        except NumbaError as error:
            result[name] = {"problems": [f"does not compile: {str(error)[-2000:]}"], "functions": []}
    for root, library in (libraries | _hooks(table["strategies"])).items():
        ir, asm = library.get_llvm_str(), library.get_asm_str()
        libc, by_address = frozenset(table["libc"].get(root, [])), frozenset(table["by_address"])
        result[root] = {
            "problems": sorted(problems(ir, asm, libc, by_address, table["may_raise"])),
            "functions": sorted({plain_name(symbol) for symbol, _ in ir_functions(ir) if is_checked(symbol)}),
        }
    return result


if __name__ == "__main__":
    json.dump(main(json.load(sys.stdin)), sys.stdout)
