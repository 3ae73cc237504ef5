"""What review would otherwise have to catch, as rules over the source: each takes a file and says what it found.

    for file in sources(ROOT): assert not long_functions(file)

All of them read the syntax tree and import nothing. tests/test_tidy.py applies them, and plants a violation of each.
"""

import ast
import functools
import re
from collections.abc import Iterator
from pathlib import Path

LONGEST_FUNCTION, LONGEST_MODULE = 60, 300
ROOMS = ("bitexact", "pong", "training", "rllib_worker", "world_model", "workload", "benchmarks", "examples")
# Where everything that is computed may reach a weight.
BESIDE_THE_WEIGHTS = {"training/referee.py"}  # it judges what is on the path to them, by other means
TO_THE_WEIGHTS = ("policy.py", "bitexact/determinism/", "training/", "pong/game.py", "pong/play.py")

_INSTEAD_OF_NUMPY = {
    **dict.fromkeys(("exp", "exp2", "expm1", "log", "log2", "log10", "log1p", "logaddexp"), "exact_math.sigmoid"),
    **dict.fromkeys(("tanh", "sin", "cos", "tan", "cbrt", "hypot"), "+ - * / and sqrt"),
    **dict.fromkeys(("power", "float_power"), "a running product"),
    **dict.fromkeys(("dot", "vdot", "inner", "matmul", "tensordot", "einsum"), "exact_math.dot, or a sparse product"),
    **dict.fromkeys(("mean", "average", "std", "var", "median"), "exact_math.standardise, or math.fsum over a count"),
    "linalg": "exact_math.norm",
    "fft": "a sum in a fixed order",
    "random": "streams.Stream",
}
_EXACT_IN_MATH = {
    *("sqrt", "fsum", "ldexp", "frexp", "copysign", "fabs", "floor", "ceil", "trunc", "isfinite", "isinf", "isnan"),
    *("inf", "nan", "pi", "prod", "gcd", "lcm", "comb", "factorial", "isqrt", "nextafter", "ulp"),
}
_METHODS = {name: _INSTEAD_OF_NUMPY[name] for name in ("dot", "mean", "std", "var")}


class Source:
    """A file: its path below the root, with slashes, and its syntax tree."""

    def __init__(self, path: str, text: str) -> None:
        self.path, self.text = path, text
        self.tree = ast.parse(text, path)

    @property
    def module(self) -> str:
        """Its name as it is imported."""
        return self.path.removesuffix(".py").removesuffix("/__init__").replace("/", ".")


@functools.cache
def sources(root: Path) -> tuple[Source, ...]:
    """The project's own files, without its tests."""
    paths = [*root.glob("*.py"), *(path for room in ROOMS for path in (root / room).rglob("*.py"))]
    return tuple(Source(path.relative_to(root).as_posix(), path.read_text()) for path in sorted(paths))


# ---- sizes --------------------------------------------------------------------------------------------------------


def long_functions(source: Source) -> list[str]:
    """Functions that do not fit on a screen."""
    return [
        f"{source.path}:{node.lineno} {name} has {lines} lines: split it, at most {LONGEST_FUNCTION}"
        for name, node in _functions(source.tree)
        if (lines := (node.end_lineno or 0) - node.lineno + 1) > LONGEST_FUNCTION
    ]


def is_long(source: Source) -> list[str]:
    """A module that holds more than one thing."""
    lines = len(source.text.splitlines())
    return [f"{source.path} has {lines} lines: split it, at most {LONGEST_MODULE}"] if lines > LONGEST_MODULE else []


def _functions(tree: ast.AST, within: str = "") -> Iterator[tuple[str, ast.FunctionDef | ast.AsyncFunctionDef]]:
    for node in ast.iter_child_nodes(tree):
        name = f"{within}{node.name}" if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef | ast.ClassDef) else ""
        if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef):
            yield name, node
        yield from _functions(node, f"{name}." if name else within)


# ---- imports ------------------------------------------------------------------------------------------------------


def imports(source: Source) -> set[str]:
    """The modules that a file imports, late imports too; of `from a import b` both a and a.b."""
    found = set()
    for node in ast.walk(source.tree):
        if isinstance(node, ast.Import):
            found |= {alias.name for alias in node.names}
        elif isinstance(node, ast.ImportFrom):
            found |= {node.module or ""} | {f"{node.module}.{alias.name}" for alias in node.names}
    return found


def unused(files: tuple[Source, ...]) -> list[str]:
    """Files that nobody imports, names in a string, or runs. What tests alone use is not used."""
    used = set()
    for source in files:
        room = source.module.rpartition(".")[0]
        words = {node.value for node in ast.walk(source.tree) if isinstance(node, ast.Constant)}
        words = {word for word in words if isinstance(word, str)}
        used |= (imports(source) | words | {f"{room}.{word}" for word in words}) - {source.module}
    return [
        f"{source.path} is imported by no file and is no program: delete it"
        for source in files
        if source.module not in used and not source.path.endswith("__init__.py") and not _is_program(source)
    ]


def _is_program(source: Source) -> bool:
    return any(isinstance(node, ast.If) and "__name__" in ast.unparse(node.test) for node in source.tree.body)


# ---- the path to the weights ---------------------------------------------------------------------------------------


def banned(source: Source) -> list[tuple[str, str]]:
    """Operations whose bits depend on processor, library or version: the file and the operation, and what to use."""
    found, inside = [], {}
    for name, function in _functions(source.tree):  # the innermost comes last
        inside |= dict.fromkeys(ast.walk(function), name)
    for node in ast.walk(source.tree):
        what, instead = _banned(node)
        if what:
            where = inside.get(node, "module")
            sentence = f"{source.path}:{getattr(node, 'lineno', 0)} {where}: {what} moves bits: use {instead}"
            found.append((f"{source.path}: {what}", sentence))
    return found


def _banned(node: ast.AST) -> tuple[str, str]:
    match node:
        case ast.Attribute(value=ast.Name(id="np" | "numpy"), attr=name) if name in _INSTEAD_OF_NUMPY:
            return f"np.{name}", _INSTEAD_OF_NUMPY[name]
        case ast.Attribute(value=ast.Attribute(value=ast.Name(id="np" | "numpy"), attr="add"), attr="reduce"):
            return "np.add.reduce", "exact_math.sum_rows: of one column it is a pairwise sum"
        case ast.Attribute(value=ast.Name(id="math" | "cmath"), attr=name) if name not in _EXACT_IN_MATH:
            return f"math.{name}", "exact_math, or + - * / and sqrt"
        case ast.ImportFrom(module="math" | "cmath" | "random" | "numpy" | "numpy.linalg"):
            return f"from {node.module}", "the module's own name, so that what is used of it can be seen"
        case ast.Call(func=ast.Attribute(value=receiver, attr=name)) if name in _METHODS and not _is_module(receiver):
            return f".{name}()", _METHODS[name]
        case ast.Call(func=ast.Attribute(value=receiver, attr="sum")) if not isinstance(receiver, ast.Compare):
            return ".sum()", "exact_math's sums in order, or math.fsum; np.count_nonzero for what is true"
        case ast.Call(func=ast.Name(id="sum")):
            return "sum()", "math.fsum, or a list of who sums whole numbers"
        case ast.Call(func=ast.Name(id="pow")) | ast.BinOp(op=ast.Pow()) if not _is_power_of_two(node):
            return "**", "a running product"
        case ast.BinOp(op=ast.MatMult()):
            return "@", "exact_math.dot, or a sparse product"
    return "", ""


def _is_module(receiver: ast.expr) -> bool:
    return isinstance(receiver, ast.Name) and receiver.id in ("np", "numpy", "exact_math")


def _is_power_of_two(node: ast.AST) -> bool:
    """2.0**-24 and the like, which is exact."""
    return bool(re.fullmatch(r"2(\.0)? \*\* (\d+|\(-\d+\))", ast.unparse(node)))
