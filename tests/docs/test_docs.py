"""The documentation against the code: tables, links, and every Python block."""

import re
from pathlib import Path

import pytest
from figures import isa_tables
from figures.tables import found

ROOT = Path(__file__).parents[2]
PAGES = sorted([*(ROOT / "docs").glob("*.md"), *ROOT.glob("README.md")])
FENCED = re.compile(r"^```(\w*)\n(.*?)^```$", re.MULTILINE | re.DOTALL)
LINK = re.compile(r"!?\[[^\]]*\]\(\s*<?([^)\s>]+)>?[^)]*\)|\b(?:src|href)=[\"']([^\"']+)[\"']")


def name(path):
    return path.relative_to(ROOT).as_posix()


def anchors(page):
    """Return the anchors of a page's headings, as GitHub makes them."""
    text = FENCED.sub("", page.read_text(encoding="utf-8"))
    headings = re.findall(r"^#+ +(.*)$", text, re.MULTILINE)
    return {re.sub(r"[^\w\- ]", "", heading.lower()).replace(" ", "-") for heading in headings}


def links(page):
    text = FENCED.sub("", page.read_text(encoding="utf-8"))
    return [markdown or html for markdown, html in LINK.findall(text)]


def python_blocks(page):
    """Return the Python blocks of a page, each with the line that it starts on."""
    text = page.read_text(encoding="utf-8")
    blocks = [(match, match[2]) for match in FENCED.finditer(text) if match[1] == "python"]
    return [(text[: match.start()].count("\n") + 1, source) for match, source in blocks]


def test_there_are_pages():
    assert {"docs/index.md", "docs/isa.md"} <= {name(page) for page in PAGES}


@pytest.mark.parametrize("key", isa_tables.tables())
def test_table(key):
    written = found(isa_tables.PAGE.read_text(encoding="utf-8"))
    assert written[key].splitlines() == isa_tables.tables()[key].splitlines(), "run nox -s figures"


def test_no_other_tables():
    assert set(found(isa_tables.PAGE.read_text(encoding="utf-8"))) == set(isa_tables.tables())


@pytest.mark.parametrize("page", PAGES, ids=name)
def test_links(page):
    for link in links(page):
        if re.match(r"[a-z]+:", link):
            continue
        path, _, anchor = link.partition("#")
        target = (page.parent / path).resolve() if path else page
        assert target.exists(), link
        if anchor and target.suffix == ".md":
            assert anchor in anchors(target), link


@pytest.mark.parametrize("page", [page for page in PAGES if python_blocks(page)], ids=name)
def test_python_blocks(page, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    namespace = {"__name__": "__main__"}
    for line, source in python_blocks(page):
        # Lines of the block are those of the page, so that a failure points into it.
        exec(compile("\n" * line + source, str(page), "exec"), namespace)


@pytest.mark.parametrize("page", [*PAGES, ROOT / "CONTRIBUTING.md"], ids=name)
def test_pages_use_public_names(page):
    """Modules are the package's own affair; only the pages for contributors lead into them."""
    text = page.read_text(encoding="utf-8")
    assert not re.findall(r"(?:from|import) (etchnet\.(?:hdl|sim|host)\.[\w.]+)", text)
    if name(page) not in ("docs/architecture.md", "CONTRIBUTING.md"):
        # A name of a folder, of a class or of a function may follow; a path to a module may not.
        assert not re.findall(r"etchnet\.(?:hdl|sim|host)\.[a-z_]+\.[\w.]+", text)
