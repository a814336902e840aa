"""The native library of a machine: generated, verilated and compiled once, and cached."""

from __future__ import annotations

import os
import tempfile
from collections.abc import Callable, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

from amaranth import __version__ as amaranth_version

from etchnet.hdl.isa.config import Config
from etchnet.hdl.targets.files import write_text
from etchnet.hdl.targets.verilog import GATEWARE, TOP, generate
from etchnet.sim.engines.verilated.cache import cache_folder, digest
from etchnet.sim.engines.verilated.toolchain import Toolchain

__all__ = ["build", "compiler_flags", "generated_verilog", "runtime_objects"]

_UNIT_BYTES = 500_000
"""bytes of generated C++ that are worth a compiler process"""
_HARNESS = Path(__file__).with_name("harness.cpp")


def _gateware_sources() -> list[str | bytes]:
    """Return everything that generated Verilog depends on: Amaranth's version, and paths and text of the gateware."""
    parts: list[str | bytes] = [amaranth_version]
    for path in sorted(GATEWARE.rglob("*.py")):
        parts += [path.relative_to(GATEWARE).as_posix(), path.read_bytes()]
    return parts


def generated_verilog(config: Config, report: Callable[[str], None] | None = None) -> str:
    """Return the Verilog of a machine, from the cache unless any file of the gateware has changed since.

    `report` is called with one line before the Verilog is generated.
    """
    path = cache_folder() / f"{digest(config.to_json(), *_gateware_sources())}.v"
    if not path.exists():
        if report is not None:
            report("generating Verilog")
        path.parent.mkdir(parents=True, exist_ok=True)
        write_text(path, generate(config).verilog)
    return path.read_text()


def build(
    config: Config,
    *,
    waveforms: bool = False,
    report: Callable[[str], None] | None = None,
    verilog: Mapping[str, str] | None = None,
) -> Path:
    """Return the native library of one machine, from the cache or compiled now (tens of seconds for large arrays).

    Parameters
    ----------
    config
        The machine.
    waveforms
        Whether the library can write waveforms. Such a library is slower even when it writes none.
    report
        Called with one line before each step that takes seconds.
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
    toolchain = Toolchain.find()
    files = verilog or {f"{TOP}.v": generated_verilog(config, report)}
    verilate = _verilator_arguments(files, waveforms)
    # A netlist gives code in proportion to its cells and is mostly run for one network, so compiling dominates.
    level = "-O1" if verilog else "-O3"
    flags = [*compiler_flags(level, waveforms=waveforms), f"-DLINK_BITS={config.link_bits}"]
    contents = [part for file in files.items() for part in file]
    key = digest(*verilate, *flags, _HARNESS.read_bytes(), *contents, *toolchain.identity())
    library = cache_folder() / f"{key}.so"
    if library.exists():
        return library
    say = report or (lambda line: None)
    library.parent.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory(dir=library.parent, prefix="build-") as name:
        folder = Path(name)
        for file, text in files.items():
            (folder / file).write_text(text)
        say("verilating")
        toolchain.verilate(verilate, folder)
        units = _units(folder, sorted((folder / "obj").glob("*.cpp")))
        say(f"compiling {len(units)} C++ files")

        def compile_unit(source: Path) -> Path:
            target = folder / f"{source.stem}.o"
            toolchain.compile(source, target, flags, folder)
            return target

        with ThreadPoolExecutor(os.cpu_count() or 1) as pool:
            runtime = pool.submit(runtime_objects, toolchain, level, waveforms=waveforms)
            objects = [*pool.map(compile_unit, units), *runtime.result()]
        toolchain.link(objects, folder / "machine.so", folder)
        # The library gets its final name only when it is complete, because other processes may build the same one.
        os.replace(folder / "machine.so", library)
    return library


def _verilator_arguments(files: Mapping[str, str], waveforms: bool) -> list[str]:
    """Return the arguments with which Verilator translates these files to C++ in the folder `obj`."""
    sources = [file for file in files if file.endswith(".v")]
    arguments = ["--cc", *sources, "--top-module", TOP, "--prefix", "Vetchnet", "--Mdir", "obj", "-O3"]
    # Nothing depends on unknown values, and nothing in the design waits for a time.
    arguments += ["--x-assign", "fast", "--x-initial", "fast", "--noassert", "--no-timing"]
    arguments += ["--output-split", "20000", "-Wno-fatal"]
    return [*arguments, "--trace-vcd"] if waveforms else arguments


def compiler_flags(level: str, *, waveforms: bool) -> list[str]:
    """Return the compiler's arguments for the code of a machine, at an optimisation level such as `-O3`."""
    flags = ["-std=c++17", level, "-fPIC", "-DVM_COVERAGE=0", "-DVM_SC=0", f"-DVM_TRACE={int(waveforms)}", "-w"]
    return [*flags, "-DVM_TRACE_VCD=1"] if waveforms else flags


def _units(folder: Path, sources: Sequence[Path]) -> list[Path]:
    """Merge generated files into one file for each compiler process that is worth starting; return the merged files.

    Each generated file includes the same large headers, which take longer to compile than the code of a small machine.
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


def runtime_objects(toolchain: Toolchain, level: str, *, waveforms: bool) -> list[Path]:
    """Return the object files of Verilator's own code, which serve every machine: from the cache, or compiled now."""
    flags = compiler_flags(level, waveforms=waveforms)
    objects = []
    for name in ("verilated.cpp", "verilated_threads.cpp", *(["verilated_vcd_c.cpp"] if waveforms else [])):
        source = toolchain.include / name
        target = cache_folder() / f"{digest(*flags, source.read_bytes(), toolchain.compiler_identity())}.o"
        if not target.exists():
            with tempfile.TemporaryDirectory(dir=target.parent, prefix="build-") as folder:
                partial = Path(folder) / "runtime.o"
                toolchain.compile(source, partial, flags, Path(folder))
                os.replace(partial, target)
        objects.append(target)
    return objects
