"""The wheel as a user gets it: built from the checkout, installed elsewhere, and used from there."""

import json
import os
import shutil
import subprocess
import sys
import sysconfig
import tomllib
import venv
import zipfile
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[1]
FOLDERS = ("hdl", "sim", "host")
DATA = {".cpp", ".npz", ".json", ".html", ".css", ".js", ".pyi"}


@pytest.fixture(scope="module")
def wheel(tmp_path_factory):
    """Build the wheel from a copy of the checkout, so that nothing is left in it."""
    folder = tmp_path_factory.mktemp("wheel")
    source = folder / "source"
    shutil.copytree(
        ROOT, source, ignore=shutil.ignore_patterns(".git", "__pycache__", "*.egg-info", "build", ".*cache", "tests")
    )
    command = [
        sys.executable,
        "-m",
        "pip",
        "wheel",
        "-q",
        "--no-deps",
        "--no-build-isolation",
        "-w",
        str(folder),
        str(source),
    ]
    subprocess.run(command, check=True, capture_output=True, text=True)
    (path,) = folder.glob("*.whl")
    return path


@pytest.fixture(scope="module")
def environment(wheel, tmp_path_factory):
    """Install the wheel in a new environment with the dependencies of this one; return its folder of commands."""
    folder = tmp_path_factory.mktemp("environment")
    venv.create(folder, with_pip=False)
    commands = folder / ("Scripts" if sys.platform == "win32" else "bin")
    install = [
        sys.executable,
        "-m",
        "pip",
        "--python",
        str(folder),
        "install",
        "-q",
        "--no-deps",
        "--no-index",
        str(wheel),
    ]
    subprocess.run(install, check=True, capture_output=True, text=True)
    (packages,) = folder.rglob("site-packages")
    # A plain folder after the environment's own packages: a checkout that is installed there stays unseen.
    (packages / "dependencies.pth").write_text(f"{sysconfig.get_path('purelib')}\n{sysconfig.get_path('platlib')}\n")
    return commands


def run(environment, command, *arguments):
    """Run a command of the environment, far from the checkout, and return its output."""
    clean = {name: value for name, value in os.environ.items() if name != "PYTHONPATH"}
    done = subprocess.run(
        [environment / command, *map(str, arguments)],
        cwd=environment,
        env=clean,
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    return done.stdout


def test_it_holds_every_source_and_data_file_and_nothing_else(wheel):
    with zipfile.ZipFile(wheel) as archive:
        names = {name for name in archive.namelist() if ".dist-info/" not in name}
    wanted = {f"etchnet/{name}" for name in ("__init__.py", "__init__.pyi", "py.typed")}
    for folder in FOLDERS:
        for path in (ROOT / folder).rglob("*"):
            if path.suffix in DATA | {".py"} or path.name.startswith("LICENSE."):
                wanted.add(f"etchnet/{path.relative_to(ROOT).as_posix()}")
    assert names == wanted


def test_the_public_names_come_from_it(environment):
    code = (
        "import etchnet, numpy as np; from etchnet import Accelerator, Config\n"
        "x = np.eye(4, dtype=np.int8)\n"
        "assert (Accelerator(Config(rows=4, columns=4)).matmul(x, 3 * x) == 3 * np.eye(4)).all()\n"
        "print(etchnet.__file__)\n"
        "print(etchnet.__version__)"
    )
    file, version = run(environment, "python", "-c", code).split()
    assert file.startswith(str(environment.parent))
    assert version == tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]["version"]


def test_the_main_commands_run_from_it(environment, tmp_path):
    demo = json.loads(run(environment, "etchnet", "demo", "--images", 16, "--json"))
    assert demo["accuracy"] > 0.5
    run(environment, "etchnet", "verilog", "--rows", 4, "--cols", 4, "-o", tmp_path / "v")
    assert (tmp_path / "v" / "etchnet.v").read_text().count("module ") > 10
    page = tmp_path / "run.html"
    run(environment, "etchnet", "trace", "gemm", "--size", 4, "--rows", 4, "--cols", 4, "-o", page)
    assert "<script" in page.read_text()
    assert json.loads(run(environment, "etchnet", "report", "demo", "--json"))["cycles"] > 10_000
    assert "amaranth" in run(environment, "etchnet", "doctor")
