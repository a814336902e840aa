"""A copy of the package whose files can be changed, and a process that runs tests in it."""

from __future__ import annotations

import compileall
import contextlib
import json
import os
import py_compile
import shutil
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from pathlib import Path
from types import TracebackType
from typing import Any

from support.mutation.operators import Mutant

ROOT = Path(__file__).parents[3]
COPIED = ("hdl", "sim", "host", "tests", "docs", "__init__.py", "__init__.pyi", "pyproject.toml", "README.md")
IGNORED = shutil.ignore_patterns(".*", "*.pyc", "__pycache__")


def fast_folder() -> Path:
    """Return the folder for copies: in memory where there is one."""
    shared = Path("/dev/shm")
    return shared if os.access(shared, os.W_OK) else Path(tempfile.gettempdir())


class Worker:
    """A copy of the package in a temporary folder, with a compiler cache for each mutant.

    The cache of compiled machines names files after a digest of the gateware on the disk, which a mutant changes. It is
    a copy nevertheless, made of links: what a mutant adds is gone with it.
    """

    def __init__(self, cache: Path | None = None, root: Path = ROOT) -> None:
        self._folder = tempfile.TemporaryDirectory(prefix="etchnet-mutants-", dir=fast_folder())
        self.parent, self.root = Path(self._folder.name), Path(self._folder.name) / "etchnet"
        self._seed, self._cache = self.parent / "seed", self.parent / "cache"
        self._seed.mkdir()
        if cache is not None and cache.exists():
            shutil.copytree(cache, self._seed, dirs_exist_ok=True)
        for name in COPIED:
            if (root / name).is_dir():
                shutil.copytree(root / name, self.root / name, ignore=IGNORED)
            elif (root / name).exists():
                self.root.mkdir(exist_ok=True)
                shutil.copy(root / name, self.root / name)
        self._process: subprocess.Popen[str] | None = None
        # Bytecode is checked by content: by time and size, that of a file could be taken for that of its mutant.
        compileall.compile_dir(self.root, quiet=1, invalidation_mode=py_compile.PycInvalidationMode.CHECKED_HASH)

    def __enter__(self) -> Worker:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        if self._process is not None:
            with self._process:
                self._process.terminate()
        self._folder.cleanup()

    @property
    def log(self) -> str:
        """What the last tests printed."""
        return (self.parent / "log").read_text(errors="replace")

    def _server(self) -> subprocess.Popen[str]:
        if self._process is None or self._process.poll() is not None:
            environment = os.environ | {"PYTHONPATH": str(self.parent), "PYTHONDONTWRITEBYTECODE": "1"}
            environment |= {"OPENBLAS_NUM_THREADS": "1", "OMP_NUM_THREADS": "1"}
            self._process = subprocess.Popen(
                [sys.executable, "-m", "support.mutation.child"],
                cwd=self.root / "tests",
                env=environment,
                stdin=subprocess.PIPE,
                stdout=subprocess.PIPE,
                stderr=subprocess.DEVNULL,
                text=True,
                start_new_session=True,
            )
            assert self._process.stdout is not None
            assert json.loads(self._process.stdout.readline()) == {"ready": True}
        return self._process

    def run(self, tests: dict[str, float], *, seconds: float, doubts: int = 5, **request: Any) -> list[dict[str, Any]]:
        """Run tests, with the seconds that each took before, until one decides; return the events in their order.

        After `seconds` the last event says `overdue`; `idle` are the seconds since the event before. Other arguments:
        see `child.run`.
        """
        cache = request.pop("cache", None) or self._cache
        if cache == self._cache:
            shutil.rmtree(cache, ignore_errors=True)
            shutil.copytree(self._seed, cache, copy_function=os.link)
        asked = {"tests": tests, "files": list(tests), "options": [], "seconds": seconds, "doubts": doubts} | request
        asked |= {"environment": {"ETCHNET_CACHE": str(cache)}, "log": str(self.parent / "log")}
        server = self._server()
        assert server.stdin is not None
        assert server.stdout is not None
        print(json.dumps(asked), file=server.stdin, flush=True)
        events: list[dict[str, Any]] = []
        heard = time.monotonic()
        for line in server.stdout:
            event = json.loads(line)
            if "end" in event:
                break
            events.append(event | {"idle": time.monotonic() - heard})
            heard = time.monotonic()
        return events

    @contextlib.contextmanager
    def changed(self, mutant: Mutant) -> Iterator[None]:
        """Have the mutant in the copy."""
        file = self.root / mutant.path
        source = file.read_bytes()
        file.write_bytes(mutant.applied(source))
        try:
            yield
        finally:
            file.write_bytes(source)
