"""Mutants of one source file: small changes of its text, found in its syntax tree.

Not changed: docstrings and other text, annotations, imports, decorators, `assert` and `raise` statements, `__repr__`,
and arguments named in `NEUTRAL`, which cannot change what a register or a result holds.
"""

from __future__ import annotations

import ast
import functools
from dataclasses import dataclass

COMPARISONS = {"==": ["!="], "!=": ["=="], "<": ["<=", ">="], "<=": ["<", ">"], ">": [">=", "<="], ">=": [">", "<"]}
COMPARISONS |= {"is": ["is not"], "is not": ["is"], "in": ["not in"], "not in": ["in"]}
ARITHMETIC = {"+": "-", "-": "+", "*": "//", "//": "*", "/": "*", "%": "//", "**": "*", "@": "*"}
BITS = {"&": "|", "|": "&", "^": "|", "<<": ">>", ">>": "<<"}
CALLS = {"min": "max", "max": "min", "any": "all", "all": "any", "minimum": "maximum", "maximum": "minimum"}
SWAPPED = {"Mux": (1, 2), "where": (1, 2), "Cat": (0, 1)}
"""functions, and which two arguments are exchanged"""
NEUTRAL = {"name", "src_loc_at", "stacklevel", "attrs", "maxsize", "strict"}
_NODES = "Eq NotEq Lt LtE Gt GtE Is IsNot In NotIn Add Sub Mult FloorDiv Div Mod Pow MatMult BitAnd BitOr BitXor"
_NODES += " LShift RShift And Or"
_TEXTS = "== != < <= > >= is is_not in not_in + - * // / % ** @ & | ^ << >> and or"
TEXT = {getattr(ast, n): t.replace("_", " ") for n, t in zip(_NODES.split(), _TEXTS.split(), strict=True)}


@dataclass(frozen=True, order=True)
class Mutant:
    """One change: `path` with the bytes `start` to `stop` of its text replaced.

    `lines` are the first and last line of the statement that changes: tests that run one of them are tests of the
    mutant. `scope` is the function around them, empty for code that runs on import.
    """

    path: str
    start: int
    stop: int
    replacement: str
    operator: str
    lines: tuple[int, int]
    scope: str

    def applied(self, source: bytes) -> bytes:
        """Return the text of the file with the change."""
        return source[: self.start] + self.replacement.encode() + source[self.stop :]

    def diff(self, source: bytes) -> tuple[str, str]:
        """Return the changed lines before and after, without the indentation of the first."""
        first, last = source.rfind(b"\n", 0, self.start) + 1, source.find(b"\n", self.stop)
        changed = source[first : self.start] + self.replacement.encode() + source[self.stop : last]
        return source[first:last].decode().strip(), changed.decode().strip()

    def line(self, source: bytes) -> int:
        """Return the number of the line where the change starts."""
        return source.count(b"\n", 0, self.start) + 1


class _Finder(ast.NodeVisitor):
    """Collects the changes of a file while it walks the tree."""

    def __init__(self, path: str, source: bytes) -> None:
        self.path, self.source, self.found = path, source, set[Mutant]()
        self.starts = [0, *(i + 1 for i, byte in enumerate(source) if byte == 10)]
        self.scopes: list[str] = []
        self.functions = 0
        self.lines = (0, 0)

    def span(self, node: ast.AST, last: ast.AST | None = None) -> tuple[int, int]:
        end = last or node
        return self.starts[node.lineno - 1] + node.col_offset, self.starts[end.end_lineno - 1] + end.end_col_offset

    def text(self, node: ast.AST) -> str:
        return self.source[slice(*self.span(node))].decode()

    def add(self, operator: str, span: tuple[int, int], replacement: str) -> None:
        scope = ".".join(self.scopes) if self.functions else ""
        self.found.add(Mutant(self.path, *span, replacement, operator, self.lines, scope))

    def token(self, operator: str, left: ast.AST, right: ast.AST, old: str, new: str) -> None:
        """Replace the operator between two operands."""
        start, stop = self.span(left)[1], self.span(right)[0]
        at = self.source.find(old.encode(), start, stop)
        if at >= 0:
            self.add(operator, (at, at + len(old)), new)

    # Statements.

    def visit(self, node: ast.AST) -> None:
        before = self.lines
        if isinstance(node, ast.stmt):
            simple = not getattr(node, "body", None)
            self.lines = node.lineno, (node.end_lineno or 0) if simple else max(node.body[0].lineno - 1, node.lineno)
            self.dropped(node)
        super().visit(node)
        self.lines = before

    def dropped(self, node: ast.stmt) -> None:
        """Leave out statements whose absence is not an error by itself."""
        match node:
            case ast.Expr(value=ast.Call(func=called)) if "super()" not in self.text(called):
                self.add("drop", self.span(node), "pass")
            case ast.AugAssign() | ast.Continue() | ast.Break():
                self.add("drop", self.span(node), "pass")
            case ast.Assign(targets=[ast.Attribute() | ast.Subscript()]) if self.scopes[-1:] != ["__init__"]:
                self.add("drop", self.span(node), "pass")
            case ast.With(items=[ast.withitem(context_expr=ast.Call(func=ast.Attribute()))], body=[first, *_, last]):
                self.add("drop", self.span(first, last), "pass")
            case ast.If(body=[first, *_, last]):
                self.add("drop", self.span(first, last), "pass")

    def visit_AugAssign(self, node: ast.AugAssign) -> None:
        match node:
            case ast.AugAssign(target=ast.Attribute(value=ast.Attribute(attr="d"), attr=domain)):
                if isinstance(node.value, ast.List) and len(node.value.elts) > 1:
                    for statement in node.value.elts:
                        self.add("drop", self.span(statement), "*()")
                if domain in ("comb", "sync"):
                    self.domain(node, domain)
            case _:
                operator = TEXT[type(node.op)]
                new = (ARITHMETIC | BITS).get(operator)
                if new and not isinstance(node.value, ast.List):
                    self.token("arithmetic", node.target, node.value, f"{operator}=", f"{new}=")
        self.generic_visit(node)

    def domain(self, node: ast.AugAssign, domain: str) -> None:
        """Move assignments to the other clock domain, if theirs are the only ones to these signals."""
        calls = [call for call in ast.walk(node.value) if isinstance(call, ast.Call)]
        driven = [call.func.value for call in calls if isinstance(call.func, ast.Attribute) and call.func.attr == "eq"]
        if all(self.source.count(f"{self.text(signal)}.eq(".encode()) == 1 for signal in driven):
            stop = self.span(node.target)[1]
            self.add("domain", (stop - len(domain), stop), "sync" if domain == "comb" else "comb")

    def visit_FunctionDef(self, node: ast.FunctionDef) -> None:
        if node.name in ("__repr__", "__str__"):
            return
        for default in [*node.args.defaults, *filter(None, node.args.kw_defaults)]:
            self.visit(default)
        self.scopes.append(node.name)
        self.functions += 1
        for statement in node.body:
            self.visit(statement)
        self.functions -= 1
        self.scopes.pop()

    def visit_ClassDef(self, node: ast.ClassDef) -> None:
        self.scopes.append(node.name)
        for statement in node.body:
            self.visit(statement)
        self.scopes.pop()

    def visit_AnnAssign(self, node: ast.AnnAssign) -> None:
        if node.value is not None:
            self.visit(node.value)

    def skip(self, node: ast.AST) -> None:
        """Change nothing below the node."""

    visit_Import = visit_ImportFrom = visit_Raise = visit_Assert = visit_JoinedStr = visit_TypeAlias = skip

    # Conditions.

    def negate(self, test: ast.expr) -> None:
        match test:
            case ast.UnaryOp(op=ast.Not()) | ast.Compare(ops=[_]):
                pass
            case _:
                self.add("negate", self.span(test), f"not ({self.text(test)})")

    def visit_If(self, node: ast.If | ast.While | ast.IfExp) -> None:
        if "TYPE_CHECKING" not in self.text(node.test):
            self.negate(node.test)
            self.generic_visit(node)

    visit_While = visit_IfExp = visit_If

    def visit_comprehension(self, node: ast.comprehension) -> None:
        for test in node.ifs:
            self.negate(test)
        self.generic_visit(node)

    # Expressions.

    def visit_Call(self, node: ast.Call) -> None:
        called = node.func.attr if isinstance(node.func, ast.Attribute) else getattr(node.func, "id", "")
        arguments = node.args
        if called in ("If", "Elif") and len(arguments) == 1 and not isinstance(arguments[0], ast.Compare):
            self.add("negate", self.span(arguments[0]), f"({self.text(arguments[0])}) == 0")
        if called in CALLS:
            stop = self.span(node.func)[1]
            self.add("call", (stop - len(called), stop), CALLS[called])
        if called in SWAPPED and len(arguments) > max(SWAPPED[called]):
            first, second = (arguments[index] for index in SWAPPED[called])
            between = self.source[self.span(first)[1] : self.span(second)[0]].decode()
            if not isinstance(first, ast.Starred) and not isinstance(second, ast.Starred):
                self.add("swap", self.span(first, second), self.text(second) + between + self.text(first))
        for child in [node.func, *arguments]:
            # Any negative size means the rest.
            if called != "reshape" or self.text(child) != "-1":
                self.visit(child)
        for keyword in node.keywords:
            # A register that also resets, to the value that it has at power-up, reaches no other state.
            resets = (keyword.arg, getattr(keyword.value, "value", None)) in (("reset_less", True), ("resets", False))
            if keyword.arg not in NEUTRAL and not resets:
                self.visit(keyword.value)

    def visit_Compare(self, node: ast.Compare) -> None:
        for left, operator, right in zip([node.left, *node.comparators], node.ops, node.comparators, strict=False):
            old = TEXT[type(operator)]
            for new in COMPARISONS[old]:
                self.token("compare", left, right, old, new)
        self.generic_visit(node)

    def visit_BinOp(self, node: ast.BinOp) -> None:
        old = TEXT[type(node.op)]
        sides = node.left, node.right
        if not any(isinstance(side, ast.JoinedStr | ast.List) or _is_text(side) for side in sides):
            self.token("arithmetic" if old in ARITHMETIC else "bits", *sides, old, (ARITHMETIC | BITS)[old])
        self.generic_visit(node)

    def visit_BoolOp(self, node: ast.BoolOp) -> None:
        old = TEXT[type(node.op)]
        for left, right in zip(node.values, node.values[1:], strict=False):
            self.token("bool", left, right, old, "or" if old == "and" else "and")
        self.generic_visit(node)

    def visit_UnaryOp(self, node: ast.UnaryOp) -> None:
        if not isinstance(node.op, ast.UAdd):
            self.add("unary", self.span(node), f"({self.text(node.operand)})")
        self.generic_visit(node)

    def visit_Slice(self, node: ast.Slice) -> None:
        for bound in (node.lower, node.upper):
            if bound is not None and not isinstance(bound, ast.Constant):
                self.add("slice", self.span(bound), f"{self.text(bound)} + 1")
                self.add("slice", self.span(bound), f"{self.text(bound)} - 1")
        self.generic_visit(node)

    def visit_Constant(self, node: ast.Constant) -> None:
        if isinstance(node.value, bool):
            self.add("constant", self.span(node), str(not node.value))
        elif isinstance(node.value, int | float):
            self.add("constant", self.span(node), repr(node.value + 1))
            self.add("constant", self.span(node), f"({node.value - 1!r})" if node.value < 1 else repr(node.value - 1))


def _is_text(node: ast.AST) -> bool:
    return isinstance(node, ast.Constant) and isinstance(node.value, str | bytes)


def mutants(path: str, source: bytes) -> list[Mutant]:
    """Return every change of a file, in the order of its text. A few may not be `valid`."""
    finder = _Finder(path, source)
    finder.visit(ast.parse(source))
    return sorted(finder.found)


@functools.lru_cache(maxsize=64)
def _meaning(source: bytes) -> str:
    return ast.dump(ast.parse(source))


def valid(mutant: Mutant, source: bytes) -> bool:
    """Return whether the changed text can be parsed and means something else than the text did."""
    try:
        return ast.dump(ast.parse(mutant.applied(source))) != _meaning(source)
    except SyntaxError:
        return False
