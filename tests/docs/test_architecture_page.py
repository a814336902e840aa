"""The pages that lead contributors through the code: every file and name that they point to is there."""

import ast
import re

import pytest
from figures import architecture_tables
from figures.tables import found
from support.wings import ROOT

PAGES = [ROOT / "docs" / "architecture.md", ROOT / "CONTRIBUTING.md"]
PATH = r"`((?:hdl|sim|host|tests|docs)/[\w/]*(?:\.\w+)?)`"
NAMES = re.compile(PATH + r":\s+((?:`[\w.]+`(?:,\s+|\s+and\s+)?)+)")


def defined(path):
    """Return the names that a file defines, with those of classes as `Class.name`."""
    names = set()

    def walk(body, outer):
        for node in body:
            if isinstance(node, ast.FunctionDef | ast.ClassDef):
                names.add(outer + node.name)
            if isinstance(node, ast.ClassDef):
                walk(node.body, f"{outer}{node.name}.")
            for target in getattr(node, "targets", [getattr(node, "target", None)]):
                if isinstance(target, ast.Name):
                    names.add(outer + target.id)

    walk(ast.parse(path.read_text()).body, "")
    return names


@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.name)
def test_every_path_exists(page):
    paths = re.findall(PATH, page.read_text())
    assert len(paths) > 5
    for path in paths:
        assert (ROOT / path).exists(), path


def test_every_name_is_defined_where_the_page_says():
    pairs = [match for page in PAGES for match in NAMES.findall(page.read_text())]
    assert len(pairs) > 20
    missing = [
        f"{path}: {name}"
        for path, names in pairs
        for name in re.findall(r"`([\w.]+)`", names)
        if name not in defined(ROOT / path)
    ]
    assert not missing


def test_the_table_of_folders_is_that_of_the_code():
    assert found(architecture_tables.PAGE.read_text()) == architecture_tables.tables(), "run nox -s figures"


def test_the_picture_has_every_wing():
    assert architecture_tables.PICTURE.read_text() == architecture_tables.picture(), "run nox -s figures"
