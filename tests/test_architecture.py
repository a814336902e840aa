"""The rule of the house: a wing imports only wings below it."""

import ast
import importlib
import shutil
import subprocess

import pytest
from figures import longest
from support.wings import FOLDERS, LEVELS, ROOT, sources

LEVEL = {wing: number for number, wings in enumerate(LEVELS) for wing in wings}
SOURCES = sources()


def module(path):
    """Return the dotted name of a file, without `etchnet`."""
    name = ".".join(path.relative_to(ROOT).with_suffix("").parts)
    return name.removesuffix(".__init__")


def wing(name):
    """Return the wing of a module, the first two parts of its name; None for the packages above all wings."""
    parts = name.split(".")
    return ".".join(parts[:2]) if len(parts) > 1 else None


def imports(source):
    """Yield every module of the package that a file imports, also inside functions, with the line."""
    for node in ast.walk(ast.parse(source)):
        if isinstance(node, ast.Import):
            yield from ((alias.name, node.lineno) for alias in node.names if alias.name.split(".")[0] == "etchnet")
        elif isinstance(node, ast.ImportFrom):
            assert node.level == 0, f"line {node.lineno}: imports are absolute"
            if (node.module or "").split(".")[0] == "etchnet":
                # `from etchnet.host import tools` names a wing by what it imports.
                whole = node.module.count(".") < 2
                names = [f"{node.module}.{alias.name}" for alias in node.names] if whole else [node.module]
                yield from ((name, node.lineno) for name in names)


def violations(name, source):
    """Return what a module imports against the rule, one line each."""
    own = wing(name)
    found = []
    for imported, line in imports(source):
        other = wing(imported.removeprefix("etchnet").removeprefix("."))
        if other is None:
            # The public names, or a folder as a whole: they reach above every wing.
            found.append(f"{name}:{line} imports {imported}, not a wing")
        elif other != own and LEVEL[other] >= LEVEL[own]:
            found.append(f"{name}:{line} imports {imported}: {other} is not below {own}")
    return found


def test_every_folder_is_a_wing_and_every_file_is_in_one():
    folders = {
        f"{top}.{p.name}" for top in FOLDERS for p in (ROOT / top).iterdir() if p.is_dir() and p.name != "__pycache__"
    }
    assert folders == set(LEVEL)
    loose = [p for p in SOURCES if len(p.relative_to(ROOT).parts) == 2 and p.name != "__init__.py"]
    assert not loose, loose


def test_no_other_folder_is_in_version_control():
    """Outputs of commands that were tried in the checkout do not become part of it."""
    if not (ROOT / ".git").exists() or shutil.which("git") is None:
        pytest.skip("this is not a checkout, or git is not installed")
    done = subprocess.run(["git", "ls-files"], cwd=ROOT, capture_output=True, text=True)
    if done.returncode:
        pytest.skip(f"git does not list the files: {done.stderr.strip()}")
    folders = {line.split("/")[0] for line in done.stdout.splitlines() if "/" in line and line[0] != "."}
    assert folders == {*FOLDERS, "tests", "docs"}


@pytest.mark.parametrize("path", SOURCES, ids=module)
def test_a_wing_imports_only_wings_below_it(path):
    name = module(path)
    if wing(name) is None:
        assert not list(imports(path.read_text())), "the packages above the wings import nothing but by name"
        return
    assert not violations(name, path.read_text())


@pytest.mark.parametrize(
    ("name", "source"),
    [
        ("hdl.blocks.ram", "from etchnet.hdl.core.machine import Machine"),
        ("hdl.buses.axi", "from etchnet.hdl.serial.uart import Uart"),
        ("sim.timing.check", "def f():\n    from etchnet.sim.engines import link\n"),
        ("sim.state.machine", "from etchnet.host import compiler"),
        ("host.cli.main", "import etchnet"),
        ("host.cli.main", "from etchnet import Config"),
    ],
)
def test_the_rule_sees_what_breaks_it(name, source):
    assert violations(name, source)


def test_every_folder_with_a_source_is_a_package():
    """Packages are found by their `__init__.py`: without one, a wheel would lose the folder in silence."""
    assert not {path.parent for path in SOURCES} - {path.parent for path in SOURCES if path.name == "__init__.py"}


@pytest.mark.parametrize("package", ["etchnet", "etchnet.hdl", "etchnet.sim", "etchnet.host"])
def test_every_public_name_is_there(package):
    """The stub files list the public names; each is imported only when it is used, so each has to be tried."""
    public = importlib.import_module(package)
    assert len(public.__all__) > 20
    assert len(set(public.__all__)) == len(public.__all__)
    for name in public.__all__:
        assert getattr(public, name) is not None, name
    assert set(public.__all__) <= set(dir(public))


def test_no_file_is_over_400_lines_and_no_function_over_80():
    """`nox -s longest` lists them. An exception would be listed here, with its reason at the head of its file."""
    assert [(lines, where) for lines, where in longest.files() if lines > 400] == []
    assert [(lines, where) for lines, where in longest.functions() if lines > 80] == []
