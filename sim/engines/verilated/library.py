"""The native library of a machine: generated, verilated and compiled once, and cached."""

from __future__ import annotations

import os
import time
from collections.abc import Callable, Mapping
from concurrent.futures import Future, as_completed
from contextlib import suppress
from dataclasses import dataclass, replace
from pathlib import Path
from threading import Lock

from amaranth import __version__ as amaranth_version

from etchnet.hdl.isa.config import Config
from etchnet.hdl.targets.files import write_text
from etchnet.hdl.targets.verilog import GATEWARE, TOP, generate
from etchnet.sim.engines.verilated.cache import cache_folder, digest
from etchnet.sim.engines.verilated.objects import (
    Unit,
    compiler_flags,
    merged_units,
    runtime_object,
    runtime_sources,
)
from etchnet.sim.engines.verilated.toolchain import Toolchain
from etchnet.sim.engines.verilated.workers import Workers, processors

__all__ = ["build", "generated_verilog", "timed_build"]

_HARNESS = Path(__file__).with_name("harness.cpp")
_BUILDING = Lock()
"""Held while a library is looked for and built, so that of several threads that need the same one, one builds it."""

Report = Callable[..., None]


def _verilog_path(config: Config) -> Path:
    """Return where the cache keeps the Verilog of a machine.

    The name depends on everything that the Verilog does: the config, Amaranth's version, and paths and text of the
    gateware.
    """
    parts: list[str | bytes] = [config.to_json(), amaranth_version]
    for path in sorted(GATEWARE.rglob("*.py")):
        parts += [path.relative_to(GATEWARE).as_posix(), path.read_bytes()]
    return cache_folder() / f"{digest(*parts)}.v"


def generated_verilog(config: Config, report: Report | None = None) -> str:
    """Return the Verilog of a machine, from the cache unless any file of the gateware has changed since.

    `report` is called with one line before the Verilog is generated.
    """
    path = _verilog_path(config)
    if not path.exists():
        if report is not None:
            report("generating Verilog")
        path.parent.mkdir(parents=True, exist_ok=True)
        write_text(path, generate(config).verilog)
    return path.read_text()


@dataclass(frozen=True)
class _Recipe:
    """What a library is made from, besides the tools."""

    files: Mapping[str, str]
    link_bits: int
    waveforms: bool
    level: str

    def verilator_arguments(self) -> list[str]:
        """Return the arguments with which Verilator translates the files to C++ in the folder `obj`."""
        sources = [file for file in self.files if file.endswith(".v")]
        arguments = ["--cc", *sources, "--top-module", TOP, "--prefix", "Vetchnet", "--Mdir", "obj", "-O3"]
        # Nothing depends on unknown values, and nothing in the design waits for a time.
        arguments += ["--x-assign", "fast", "--x-initial", "fast", "--noassert", "--no-timing", "-Wno-fatal"]
        # Compilers take much longer for few long functions than for many short ones, which are hardly slower.
        arguments += ["--output-split", "10000", "--output-split-cfuncs", "1000"]
        return [*arguments, "--trace-vcd"] if self.waveforms else arguments

    def flags(self, level: str) -> list[str]:
        """Return the compiler's arguments for code of one optimisation level."""
        return [*compiler_flags(level, waveforms=self.waveforms), f"-DLINK_BITS={self.link_bits}"]

    def library(self, toolchain: Toolchain) -> Path:
        """Return where the cache keeps the library."""
        contents = [part for file in self.files.items() for part in file]
        code = [path.read_bytes() for path in sorted(_HARNESS.parent.glob("*.*")) if path.is_file()]
        made_by = [*self.verilator_arguments(), *self.flags(self.level), *toolchain.identity()]
        return cache_folder() / f"{digest(*made_by, *contents, *code)}.so"


def build(
    config: Config,
    *,
    waveforms: bool = False,
    report: Report | None = None,
    verilog: Mapping[str, str] | None = None,
) -> Path:
    """Return the native library of one machine, from the cache or compiled now (seconds; a minute for large arrays).

    However a build ends, its temporary files are removed and none of its processes goes on. Threads build one by one.

    Parameters
    ----------
    config
        The machine.
    waveforms
        Whether the library can write waveforms. Such a library is slower even when it writes none.
    report
        Called with one line before each step that takes seconds; while C++ is compiled also with the finished share, 0
        to 1. Called with one line too if the library is in the cache.
    verilog
        Files by name to use instead of the generated file, such as a netlist of the same machine and models of its
        cells. Verilator is given those whose names end in `.v`; they may include the others.

    Raises
    ------
    MissingToolError
        Verilator or a C++ compiler is not installed.
    BuildError
        Verilator or the compiler failed.
    """
    return timed_build(config, waveforms=waveforms, report=report, verilog=verilog)[0]


def timed_build(
    config: Config,
    *,
    waveforms: bool = False,
    report: Report | None = None,
    verilog: Mapping[str, str] | None = None,
) -> tuple[Path, float | None]:
    """Do what `build` does; return the library, and how many seconds that took, or None if it was in the cache."""
    start = time.perf_counter()
    say = report or (lambda line, share=None: None)
    toolchain = Toolchain.find()

    def recipe() -> _Recipe:
        files = verilog or {f"{TOP}.v": generated_verilog(config, say)}
        # A netlist gives code in proportion to its cells and is mostly run for one network, so compiling dominates.
        return _Recipe(files, config.link_bits, waveforms, "-O1" if verilog else "-O2")

    with _BUILDING:
        if (verilog or _verilog_path(config).exists()) and (library := recipe().library(toolchain)).exists():
            say("the compiled machine is in the cache")
            return library, None
        cache_folder().mkdir(parents=True, exist_ok=True)
        with Workers(cache_folder()) as workers:
            toolchain = replace(toolchain, group=workers.group)
            # Verilator's runtime is compiled while the Verilog is generated and translated.
            runtime = [
                workers.submit(runtime_object, toolchain, name, workers.folder)
                for name in runtime_sources(waveforms=waveforms)
            ]
            chosen = recipe()
            library = chosen.library(toolchain)
            if not library.exists():
                _compile(chosen, toolchain, workers, runtime, say)
                # The library gets its final name only when it is complete, as other processes may build the same one.
                os.replace(workers.folder / "machine.so", library)
    return library, time.perf_counter() - start


def _compile(recipe: _Recipe, toolchain: Toolchain, workers: Workers, runtime: list[Future[Path]], say: Report) -> None:
    """Make `machine.so` in the folder of the workers."""
    folder = workers.folder
    for file, text in recipe.files.items():
        (folder / file).write_text(text)
    say("translating Verilog to C++")
    toolchain.verilate(recipe.verilator_arguments(), folder)
    units = merged_units(folder, [*sorted((folder / "obj").glob("*.cpp")), _HARNESS], recipe.level)

    def compile_unit(unit: Unit) -> Path:
        target = unit.source.with_suffix(".o")
        toolchain.compile(unit.source, target, recipe.flags(unit.level), folder)
        return target

    start, size = time.perf_counter(), sum(unit.size for unit in units)
    shared = compiler_flags(recipe.level, waveforms=recipe.waveforms)
    record = cache_folder() / f"{digest(*shared, *toolchain.identity(), str(processors()))}.pace"
    expected = ""
    with suppress(OSError, ValueError):
        expected = f", about {max(1, round(float(record.read_text()) * size))} s for all"
    objects = [workers.submit(compile_unit, unit) for unit in units]
    running = [*objects, *runtime]
    say(f"compiling {len(running)} C++ files{expected}", 0.0)
    for done, job in enumerate(as_completed(running), 1):
        job.result()
        say(f"compiled {done} of {len(running)} C++ files{expected}", done / len(running))
    toolchain.link([job.result() for job in running], folder / "machine.so", folder)
    write_text(record, f"{(time.perf_counter() - start) / size:.3g}\n")
