"""The table of folders and the picture of wings of docs/architecture.md, from the code.

``nox -s figures`` writes them.
"""

from __future__ import annotations

from html import escape

from figures.tables import DOCS, table, write
from support.wings import FOLDERS, LEVELS, ROOT, sources, summary

PAGE, PICTURE = DOCS / "architecture.md", DOCS / "architecture.svg"
COLOURS = {"hdl": "#dbe9f6", "sim": "#e2f0d9", "host": "#fdebd0"}
WIDTH, ROW, GAP = 960, 40, 6


def tree() -> str:
    """List every folder, with the first line of its docstring."""
    folders = sorted({path.parent for path in sources()})
    rows = [(f"`{folder.relative_to(ROOT).as_posix()}/`", summary(folder)) for folder in folders]
    order = {name: number for number, name in enumerate(FOLDERS)}
    rows.sort(key=lambda row: (order[row[0].strip("`").partition("/")[0]], row[0]))
    return table(("folder", "what is in it"), rows)


def tables() -> dict[str, str]:
    """Return every table by its name in the page."""
    return {"tree": tree()}


def picture() -> str:
    """Draw the wings as boxes, one row for each level with the lowest at the bottom, as SVG."""
    height = len(LEVELS) * (ROW + GAP) + GAP
    parts = [
        f'<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {WIDTH} {height}" font-family="sans-serif" '
        f'font-size="14" role="img" aria-label="Wings of the code, each importing only those below it">',
        f'<rect width="{WIDTH}" height="{height}" fill="#ffffff"/>',
    ]
    for level, wings in enumerate(reversed(LEVELS)):
        top = GAP + level * (ROW + GAP)
        width = (WIDTH - GAP * (len(wings) + 1)) / len(wings)
        for number, wing in enumerate(wings):
            folder = wing.partition(".")[0]
            left = GAP + number * (width + GAP)
            parts.append(
                f'<rect x="{left:g}" y="{top}" width="{width:g}" height="{ROW}" rx="4" fill="{COLOURS[folder]}" '
                f'stroke="#888888"/>'
            )
            parts.append(
                f'<text x="{left + width / 2:g}" y="{top + ROW / 2 + 5:g}" text-anchor="middle">'
                f"{escape(wing.replace('.', '/'))}</text>"
            )
    return "\n".join([*parts, "</svg>", ""])


if __name__ == "__main__":
    write(PAGE, tables())
    PICTURE.write_text(picture(), encoding="utf-8")
