"""Tasks of contributors: ``nox -l`` lists them, ``nox`` runs the quick checks.

Tasks run in the environment in which nox is installed (``pip install -e ".[dev]"``), so nothing is installed twice.
"""

import sys
import tempfile
from pathlib import Path

import nox

nox.options.default_venv_backend = "none"
nox.options.sessions = ["lint", "types", "quick"]

ROOT = Path(__file__).parent


@nox.session
def lint(session: nox.Session) -> None:
    """Check style and formatting of every file."""
    session.run("ruff", "check", ".")
    session.run("ruff", "format", "--check", ".")


@nox.session
def fix(session: nox.Session) -> None:
    """Fix what `lint` reports and ruff can fix."""
    session.run("ruff", "check", "--fix", ".")
    session.run("ruff", "format", ".")


@nox.session
def types(session: nox.Session) -> None:
    """Check the types of the package, in strict mode."""
    # mypy finds packages by name, so it needs a folder in which the checkout is called `etchnet`.
    with tempfile.TemporaryDirectory() as folder:
        (Path(folder) / "etchnet").symlink_to(ROOT, target_is_directory=True)
        packages = [f"-petchnet.{name}" for name in ("hdl", "sim", "host")]
        session.chdir(folder)
        options = [f"--config-file={ROOT / 'pyproject.toml'}", f"--cache-dir={ROOT / '.mypy_cache'}"]
        session.run("mypy", *options, *packages)


@nox.session
def quick(session: nox.Session) -> None:
    """Run the quick tests, in under a minute on two cores; arguments after ``--`` go to pytest."""
    session.run("pytest", "-q", "-n", "2", "-m", "not slow", *session.posargs)


@nox.session
def tests(session: nox.Session) -> None:
    """Run the default tests, in under five minutes on two cores."""
    session.run("pytest", "-q", "-n", "2", *session.posargs)


@nox.session
def docs(session: nox.Session) -> None:
    """Check the pages: tables against the code, links, and every Python block."""
    session.run("pytest", "-q", "tests/docs", *session.posargs)


@nox.session
def longest(session: nox.Session) -> None:
    """List the longest files and functions."""
    _figure(session, "longest", *session.posargs)


@nox.session
def figures(session: nox.Session) -> None:
    """Write the tables of the docs that follow from the code; see CONTRIBUTING for those that take hours."""
    for name in ("isa_tables", "register_tables", "uart_tables", "architecture_tables"):
        _figure(session, name)


def _figure(session: nox.Session, name: str, *arguments: str) -> None:
    with session.chdir(ROOT / "tests"):
        session.run(sys.executable, "-m", f"figures.{name}", *arguments)
