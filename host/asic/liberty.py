"""Reader of Liberty files, which describe standard-cell libraries with non-linear delay tables.

The reader keeps only the data that areas and static timing need: areas of cells, whether they are sequential, and
direction, capacitance and timing groups of pins. Values are in the file's own units.
"""

from __future__ import annotations

import gzip
import re
from bisect import bisect_right
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from pathlib import Path

from etchnet.hdl.isa.errors import EtchnetError

__all__ = ["Arc", "Cell", "Liberty", "LibertyError", "Pin", "Table", "read_liberty"]

_TOKEN = re.compile(r'/\*.*?\*/|//[^\n]*|\\\n|"((?:[^"\\]|\\.)*)"|([(){};:,])|([^\s(){};:,"\\]+)', re.DOTALL)
_SETUP = ("setup_rising", "setup_falling")
_COMBINATIONAL = ("", "combinational", "combinational_rise", "combinational_fall")
_CLOCKED = ("rising_edge", "falling_edge")
_SLEW = ("input_net_transition", "input_transition_time", "constrained_pin_transition")


class LibertyError(EtchnetError, ValueError):
    """Error for a file that is not a Liberty library of cells; the message names the file."""


@dataclass(frozen=True)
class Table:
    """Look-up table over `slew` and `load`.

    `slew` is that of the input or, in a constraint, of the data pin. `load` is the output's capacitance or, in a
    constraint, the clock's slew. Values are interpolated linearly between points, constant below the first point of an
    axis, and extrapolated from its last two points above the last.
    """

    slew: Sequence[float]
    load: Sequence[float]
    values: Sequence[Sequence[float]]
    """by slew, then by load"""

    def __call__(self, slew: float, load: float) -> float:
        """Return the value at one point."""
        i, a = _locate(self.slew, slew)
        j, b = _locate(self.load, load)
        rows = self.values
        first = rows[i][j] if not b else rows[i][j] + b * (rows[i][j + 1] - rows[i][j])
        if not a:
            return first
        second = rows[i + 1][j] if not b else rows[i + 1][j] + b * (rows[i + 1][j + 1] - rows[i + 1][j])
        return first + a * (second - first)


def _locate(axis: Sequence[float], at: float) -> tuple[int, float]:
    """Return the index of the interval of `axis` that contains `at`, and the fraction of the interval below `at`."""
    if len(axis) == 1 or at <= axis[0]:
        return 0, 0.0
    i = min(bisect_right(axis, at) - 1, len(axis) - 2)
    return i, (at - axis[i]) / (axis[i + 1] - axis[i])


@dataclass(frozen=True)
class Arc:
    """Timing group: an arc from the pin `related` to the pin that contains the arc."""

    related: str
    kind: str
    """attribute timing_type; empty for a combinational arc"""
    sense: str
    """attribute timing_sense"""
    tables: dict[str, Table]
    """`cell_rise`, `cell_fall`, `rise_transition`, `fall_transition`, `rise_constraint`, `fall_constraint`"""

    @property
    def combinational(self) -> bool:
        """Whether a change of `related` propagates to the pin."""
        return self.kind in _COMBINATIONAL

    @property
    def clocked(self) -> bool:
        """Whether the pin changes after a clock edge of `related`."""
        return self.kind in _CLOCKED

    @property
    def setup(self) -> bool:
        """Whether the pin must be stable for some time before an edge of `related`."""
        return self.kind in _SETUP


@dataclass(frozen=True)
class Pin:
    """Pin of a cell."""

    direction: str
    capacitance: float = 0.0
    arcs: Sequence[Arc] = ()


@dataclass(frozen=True)
class Cell:
    """Cell of a library."""

    area: float
    sequential: bool
    pins: dict[str, Pin] = field(repr=False)


@dataclass(frozen=True)
class Liberty:
    """Library of standard cells."""

    name: str
    cells: dict[str, Cell] = field(repr=False)
    """cells by name"""
    nanoseconds: float = 1.0
    """the file's unit of time in nanoseconds"""


def read_liberty(path: Path) -> Liberty:
    """Read a Liberty file, which is compressed with gzip if its name ends in `.gz`.

    Raises
    ------
    LibertyError
        The file cannot be read, is not a library, or contains no cell.
    """
    try:
        raw = path.read_bytes()
        text = (gzip.decompress(raw) if path.suffix == ".gz" else raw).decode(errors="replace")
    except (OSError, EOFError, gzip.zlib.error) as error:  # type: ignore[attr-defined]
        reason = getattr(error, "strerror", None) or error
        raise LibertyError(f"{path} cannot be read: {reason}") from None
    try:
        top = _group(_tokens(text), None)
    except (_SyntaxError, ValueError, RecursionError) as error:
        raise LibertyError(f"{path} is not a Liberty file: {error or 'it ends too early'}") from None
    if len(top.groups) != 1 or top.groups[0].kind != "library":
        raise LibertyError(f"{path} is not a Liberty file: it must contain one group 'library (NAME) {{ ... }}'")
    try:
        library = _library(top.groups[0])
    except (ValueError, IndexError) as error:
        raise LibertyError(f"{path}: {error}") from None
    if not library.cells:
        raise LibertyError(f"{path} contains no cell")
    return library


class _SyntaxError(Exception):
    """Error for text that does not follow the file format."""


@dataclass
class _Group:
    """Group of the file: `kind (args) { attributes; groups }`."""

    kind: str
    args: list[str]
    attributes: dict[str, str]
    complex: dict[str, list[str]]
    groups: list[_Group]

    def all(self, kind: str) -> Iterator[_Group]:
        """Return the groups of one kind that are direct children."""
        return (group for group in self.groups if group.kind == kind)


def _tokens(text: str) -> Iterator[tuple[str, int]]:
    """Yield each token with its position in the text; words and strings are marked by a space before their text."""
    end = 0
    for match in _TOKEN.finditer(text):
        if text[end : match.start()].strip():
            raise _SyntaxError(f"line {text.count(chr(10), 0, end) + 1}: {text[end : match.start()].strip()[:20]!r}")
        end = match.end()
        quoted, mark, word = match.groups()
        if mark:
            yield mark, match.start()
        elif word is not None or quoted is not None:
            yield " " + (word if word is not None else quoted), match.start()
    if text[end:].strip():
        raise _SyntaxError(f"line {text.count(chr(10), 0, end) + 1}: {text[end:].strip()[:20]!r}")


def _group(tokens: Iterator[tuple[str, int]], head: tuple[str, list[str]] | None) -> _Group:
    """Parse the body of a group, after its opening brace, up to its closing brace; without `head`, a whole file."""
    group = _Group(*(head or ("", [])), {}, {}, [])
    for token, at in tokens:
        if token == "}" and head:
            return group
        if token == ";":
            continue
        if token[0] != " ":
            raise _SyntaxError(f"expected a name at character {at}, not {token!r}")
        name = token[1:]
        mark, at = next(tokens, ("", at))
        if mark == ":":
            group.attributes[name], end = _attribute(tokens)
        elif mark == "(":
            args = _arguments(tokens, name, at)
            end, at = next(tokens, (";", at))
            if end == "{":
                group.groups.append(_group(tokens, (name, args)))
            else:
                group.complex[name] = args
                if end[0] == " ":
                    raise _SyntaxError(f"{name}: expected a semicolon at character {at}, not {end[1:]!r}")
        else:
            raise _SyntaxError(f"expected ':' or '(' after {name[:40]!r}")
        if end == "}" and head:
            return group
    if head:
        raise _SyntaxError(f"group {head[0]} has no end")
    return group


def _attribute(tokens: Iterator[tuple[str, int]]) -> tuple[str, str]:
    """Parse the value of a simple attribute; return it with the token that ends it."""
    value, _ = next(tokens, ("", 0))
    words = [value.strip()]
    for token, _ in tokens:
        if token in (";", "}"):
            return " ".join(words), token
        # Values may be expressions, such as voltages; their operators are kept as words.
        words.append(token.removeprefix(" "))
    return " ".join(words), ""


def _arguments(tokens: Iterator[tuple[str, int]], name: str, at: int) -> list[str]:
    """Parse the arguments of a group or of a complex attribute, up to the parenthesis."""
    args = []
    for token, at in tokens:
        if token == ")":
            break
        if token[0] == " ":
            args.append(token[1:])
        elif token != ",":
            raise _SyntaxError(f"{name}: expected a parenthesis at character {at}, not {token!r}")
    return args


def _numbers(texts: Sequence[str]) -> list[float]:
    """Return all numbers in some texts, each of which contains numbers separated by commas."""
    return [float(number) for text in texts for number in text.replace(",", " ").split()]


def _library(group: _Group) -> Liberty:
    """Convert the outermost group to a library."""
    templates = {t.args[0]: t for t in group.all("lu_table_template") if t.args}
    unit = re.fullmatch(r"([\d.]*)\s*([pnfu]?)s", group.attributes.get("time_unit", "1ns"))
    if not unit:
        raise ValueError(f"time_unit must be a time such as 1ns, not {group.attributes['time_unit']!r}")
    scale = {"u": 1e3, "n": 1.0, "p": 1e-3, "f": 1e-6, "": 1e9}[unit[2]] * float(unit[1] or 1)
    cells = {}
    for cell in group.all("cell"):
        name = cell.args[0] if cell.args else ""
        try:
            sequential = any(g.kind in ("ff", "latch", "ff_bank", "latch_bank", "statetable") for g in cell.groups)
            area = float(cell.attributes.get("area", 0))
            pins = {name: _pin(pin, templates) for pin in cell.all("pin") for name in pin.args}
        except ValueError as error:
            raise ValueError(f"cell {name}: {error}") from None
        cells[name] = Cell(area, sequential, pins)
    return Liberty(group.args[0] if group.args else "", cells, scale)


def _pin(group: _Group, templates: dict[str, _Group]) -> Pin:
    """Convert a group to a pin with the arcs that timing needs."""
    arcs = []
    for timing in group.all("timing"):
        kind = timing.attributes.get("timing_type", "")
        if kind not in (*_COMBINATIONAL, *_CLOCKED, *_SETUP):
            continue
        tables = {t.kind: _table(t, templates) for t in timing.groups if "values" in t.complex}
        for related in timing.attributes.get("related_pin", "").split():
            arcs.append(Arc(related, kind, timing.attributes.get("timing_sense", "non_unate"), tables))
    return Pin(group.attributes.get("direction", ""), float(group.attributes.get("capacitance", 0)), arcs)


def _table(group: _Group, templates: dict[str, _Group]) -> Table:
    """Convert a group to a table over slew and load, in whichever order the file has these axes."""
    template = templates.get(group.args[0] if group.args else "")
    values = _numbers(group.complex["values"])

    def of_axis(number: int) -> tuple[str, list[float]]:
        texts = group.complex.get(f"index_{number}") or (
            template.complex.get(f"index_{number}", []) if template else []
        )
        return (template.attributes.get(f"variable_{number}", "") if template else ""), _numbers(texts)

    (first, outer), (second, inner) = of_axis(1), of_axis(2)
    if len(values) == 1:
        return Table([0.0], [0.0], [values])
    if len(values) != max(1, len(outer)) * max(1, len(inner)):
        raise ValueError(
            f"{group.kind} must have {max(1, len(outer)) * max(1, len(inner))} values, one per pair of its indices, "
            f"not {len(values)}"
        )
    if not inner:
        return Table(outer, [0.0], [[v] for v in values]) if first in _SLEW else Table([0.0], outer, [values])
    rows = [values[i * len(inner) : (i + 1) * len(inner)] for i in range(len(outer))]
    if second in _SLEW and first not in _SLEW:
        return Table(inner, outer, [list(column) for column in zip(*rows, strict=True)])
    return Table(outer, inner, rows)
