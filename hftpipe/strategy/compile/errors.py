"""Say in a line or two what numba says in fifty: file, line, hook, reason."""

import ast
import linecache
import re
from pathlib import Path
from typing import Any

from numba.core import errors

from hftpipe.strategy.compile.record_types import MARK

#: What compiling a strategy's functions can raise: numba's own errors, and what escapes from inside it.
COMPILE_ERRORS = (
    errors.NumbaError,
    errors.NumbaRuntimeError,
    errors.UnsupportedBytecodeError,
    KeyError,
    NotImplementedError,
    TypeError,
    ValueError,
    AttributeError,
    AssertionError,
    IndexError,
)

_ALLOCATES = "it allocates memory (a list, dict, set, string or new array); keep data in state() fields instead"
#: numba's text -> ours, first match wins; {0} is the first group.
_REASONS: tuple[tuple[str, str], ...] = (
    (re.escape(MARK) + r"(?:@.+?:\d+@ )?(.+)", "{0}"),
    (r"NRT required but not enabled", _ALLOCATES),
    (r"Only accept returning of array passed", _ALLOCATES),
    (r"imprecise type: (?:List|Dict|Set|list|dict|set|none)", _ALLOCATES),
    (r"NameError: (?:global )?(name '\w+' is not defined)", "{0}"),
    (r"[Vv]ariable '(\w+)' (?:is )?referenced before assignment", "variable '{0}' is used before it is given a value"),
    (r"Untyped global name '(\w+)': (.+)", "'{0}' cannot be used in compiled code: {1}"),
    (r"opcode \(IMPORT_NAME\)", "import inside a function; import at the top of the file"),
    (r"The '(.+?)' construct is not supported", "'{0}' cannot be compiled"),
    (r"Use of unsupported opcode \((\w+)\)", "a construct that cannot be compiled ({0})"),
    (r"Cannot unify (.+)", "a variable has two types: cannot unify {0}"),
    (r"(missing a required argument: '\w+')", "{0}"),
    (r"(too many positional arguments)", "{0}"),
    (r"(got an unexpected keyword argument '\w+')", "{0}"),
    (r"Unknown attribute '(\w+)' of type (\w+)", "no attribute '{0}'"),
    (r"Cannot cast (?:Literal\[)?(\w+).*? to (\w+)", "a {0} cannot be stored in a {1} field"),
    (r"(?:unicode_type|Literal\[str\])", _ALLOCATES),
    (
        r"No implementation of function Function\((.+?)\) found for signature:\s*(?:\n\s*)*>>> (.+)",
        "no such operation on these types: {1}",
    ),
)
_NOISE = ("Failed in nopython mode", "During:", "raised from", "File ")


def _numba_text(error: BaseException) -> str:
    return errors.strip_ansi(str(error)) if hasattr(errors, "strip_ansi") else re.sub(r"\x1b\[[\d;]*m", "", str(error))


def _plain_line(text: str) -> str:
    lines = (line.strip() for line in text.splitlines())
    return next((line for line in lines if line and not line.startswith(_NOISE)), "it cannot be compiled")


def _reason(text: str) -> str:
    for pattern, ours in _REASONS:
        match = re.search(pattern, text)
        if match:
            found = ours.format(*(group.strip() for group in match.groups()))
            return re.sub(r"self<\w+>", "self", found)
    return _plain_line(text)


def _line_from_text(text: str, path: Path, error: BaseException) -> int | None:
    """The first mention of the user's file: numba writes the innermost place first."""
    pattern = rf"(?:{re.escape(str(path))}|(?:[^\s\"(]*/)?{re.escape(path.name)})"
    for form in (rf"{pattern} \((\d+)\)", rf'File "{pattern}", line (\d+)', rf"{pattern}:(\d+)"):
        match = re.search(form, text)
        if match:
            return int(match[1])
    loc = getattr(error, "loc", None)
    if loc is not None and Path(loc.filename).name == path.name:
        return int(loc.line)
    return None


def _line_from_tree(text: str, source: str) -> int | None:
    """Where numba gives the wrong line or none: the first use of an undefined name, the first ``with``."""
    name = re.search(r"NameError: (?:global )?name '(\w+)' is not defined", text)
    for node in ast.walk(ast.parse(source)):
        if name and isinstance(node, ast.Name) and node.id == name[1]:
            return node.lineno
        if "with (context manager)" in text and isinstance(node, ast.With):
            return node.lineno
    return None


def explain(error: BaseException, function: Any, path: Path, source: str) -> str:
    """One readable message for a compile error.

    Args:
        error: what compiling raised.
        function: the hook as a plain Python function.
        path, source: the strategy's file and its text.
    """
    text = _numba_text(error)
    if given := re.search(re.escape(MARK) + r"@(.+?):(\d+)@ ", text):
        place, line = given[1], int(given[2])
        return f"{place}:{line}: {function.__name__}: {_reason(text)}{_quoted(linecache.getline(place, line))}"
    line = _line_from_tree(text, source) or _line_from_text(text, path, error) or function.__code__.co_firstlineno
    lines = source.splitlines()
    quoted = _quoted(lines[line - 1]) if 0 < line <= len(lines) else ""
    return f"{path}:{line}: {function.__name__}: {_reason(text)}{quoted}"


def _quoted(line: str) -> str:
    return f"\n    {line.strip()}" if line.strip() else ""
