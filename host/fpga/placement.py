"""Pictures of placed designs, which show where the parts of a machine are on the device."""

from __future__ import annotations

import json
import re
from collections import Counter, defaultdict
from html import escape
from pathlib import Path

__all__ = ["PARTS", "part_of", "placement_svg"]

PARTS = {
    "array": r"\bmachine\.array\b|^block\.",
    "weights": r"\bmachine\.weights\b",
    "accumulators": r"\bmachine\.bank_\d",
    "requantisers": r"\bmachine\.output\.requantisers\.requantiser_\d+\.",
    "output stage": r"\bmachine\.output\b",
    "activations, residuals": r"\bmachine\.(activation|residual)\b",
    "programs and control": r"\bmachine\.(passes|drains|sequencer|counters|tokens|runs)\b",
    "links": "",
}
"""parts of a machine and patterns of their cells' names; the first match counts, and the last pattern matches all"""

_COLOURS = ("#4e79a7", "#f28e2b", "#59a14f", "#e15759", "#ff9da7", "#b6992d", "#b07aa1", "#76b7b2")
_TILE = 6
"""size of a tile in pixels"""
_LEGEND = 190


def part_of(cell: str) -> str:
    """Return the part of the machine to which a cell belongs, from the cell's name."""
    return next(part for part, pattern in PARTS.items() if re.search(pattern, cell))


def placement_svg(netlist: Path, grid: tuple[int, int], title: str) -> str:
    """Return an SVG picture of a device whose tiles have the colour of the part to which most of their cells belong.

    Parameters
    ----------
    netlist
        JSON file of the placed design, written by nextpnr.
    grid
        Columns and rows of tiles; tile (0, 0) is at the top left.
    title
        Text above the picture.
    """
    modules = json.loads(netlist.read_text())["modules"]
    tiles: dict[tuple[int, int], Counter[str]] = defaultdict(Counter)
    cells: Counter[str] = Counter()
    for module in modules.values():
        for name, cell in module["cells"].items():
            if place := re.match(r"X(\d+)/?Y(\d+)/", cell["attributes"].get("NEXTPNR_BEL", "")):
                part = part_of(name)
                tiles[int(place[1]), int(place[2])][part] += 1
                cells[part] += 1
    squares: dict[str, list[tuple[int, int]]] = defaultdict(list)
    for tile, counts in sorted(tiles.items(), key=lambda item: item[0][::-1]):
        squares[counts.most_common(1)[0][0]].append(tile)

    columns, rows = grid
    top = 24
    width, height = columns * _TILE + _LEGEND, max(rows * _TILE, 20 * len(PARTS)) + top
    lines = [
        f'<svg xmlns="http://www.w3.org/2000/svg" width="{width}" height="{height}" viewBox="0 0 {width} {height}" '
        'font-family="sans-serif" font-size="12">',
        f'<rect width="{width}" height="{height}" fill="#ffffff"/>',
        f'<text x="2" y="15" font-weight="bold" fill="#222222">{escape(title)}</text>',
        f'<rect y="{top}" width="{columns * _TILE}" height="{rows * _TILE}" fill="#eeeeee"/>',
    ]
    for index, (part, colour) in enumerate(zip(PARTS, _COLOURS, strict=True)):
        if not cells[part]:
            continue
        path = "".join(f"M{x} {y}h1v1h-1z" for x, y in squares[part])
        lines.append(f'<path transform="translate(0 {top}) scale({_TILE})" fill="{colour}" d="{path}"/>')
        x, y = columns * _TILE + 10, top + 20 * index
        lines.append(f'<rect x="{x}" y="{y}" width="12" height="12" fill="{colour}"/>')
        lines.append(f'<text x="{x + 18}" y="{y + 11}" fill="#222222">{escape(part)}: {cells[part]:,}</text>')
    return "\n".join([*lines, "</svg>"]) + "\n"
