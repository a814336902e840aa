"""The C++ of a machine and of Verilator's runtime: files that are worth a compiler process each, and their objects."""

from __future__ import annotations

import os
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from etchnet.hdl.isa.numbers import ceil_div
from etchnet.sim.engines.verilated.cache import cache_folder, digest
from etchnet.sim.engines.verilated.toolchain import Toolchain

__all__ = ["RUNTIME_LEVEL", "Unit", "compiler_flags", "merged_units", "runtime_object", "runtime_sources"]

RUNTIME_LEVEL = "-O1"
"""optimisation of Verilator's runtime, of which a simulated cycle uses next to nothing"""
_COLD_LEVEL = "-O0"
"""optimisation of the code that runs once, before the first cycle"""
_UNIT_BYTES = 1_000_000
"""bytes of generated C++ for a compiler process: smaller ones spend most of their time on headers"""


@dataclass(frozen=True)
class Unit:
    """C++ that is compiled by one process."""

    source: Path
    level: str
    """optimisation level, such as `-O2`"""
    size: int
    """bytes of the generated files that it includes"""


def compiler_flags(level: str, *, waveforms: bool) -> list[str]:
    """Return the compiler's arguments for the code of a machine, at an optimisation level such as `-O2`."""
    flags = ["-std=c++17", level, "-fPIC", "-DVM_COVERAGE=0", "-DVM_SC=0", f"-DVM_TRACE={int(waveforms)}", "-w"]
    return [*flags, "-DVM_TRACE_VCD=1"] if waveforms else flags


def merged_units(folder: Path, sources: Sequence[Path], level: str) -> list[Unit]:
    """Merge generated files into units of about a megabyte, written to `folder`.

    Each generated file includes the same large headers, which take longer to compile than the code of a small machine.
    Verilator puts code that runs once into files of its own, with `Slow` in their names. These are not optimised; the
    others are at `level`. Units of the latter come first, as objects must when they are linked: of an inline function
    that several objects contain, linkers take the first copy.
    """
    cold = [source for source in sources if "__Slow" in source.name]
    units = []
    for kind, part, optimisation in (("hot", set(sources) - set(cold), level), ("cold", cold, _COLD_LEVEL)):
        sizes = {source: source.stat().st_size for source in part}
        groups: list[list[Path]] = [[] for _ in range(ceil_div(sum(sizes.values()), _UNIT_BYTES))]
        for source in sorted(part, key=lambda source: (-sizes[source], source.name)):
            min(groups, key=lambda group: sum(sizes[each] for each in group)).append(source)
        for index, group in enumerate(groups):
            path = folder / f"{kind}_{index}.cpp"
            path.write_text("".join(f'#include "{source}"\n' for source in group))
            units.append(Unit(path, optimisation, sum(sizes[source] for source in group)))
    return units


def runtime_sources(*, waveforms: bool) -> list[str]:
    """Return the names of the files of Verilator's runtime that a library needs."""
    return ["verilated.cpp", "verilated_threads.cpp", *(["verilated_vcd_c.cpp"] if waveforms else [])]


def runtime_object(toolchain: Toolchain, name: str, folder: Path) -> Path:
    """Return the object of one file of Verilator's runtime, from the cache, or compiled now in `folder`.

    It serves every machine that defines `vl_fatal`, with and without waveforms. The folder must be in the cache.
    """
    flags = [*compiler_flags(RUNTIME_LEVEL, waveforms=False), "-DVL_USER_FATAL"]
    source = toolchain.include / name
    target = cache_folder() / f"{digest(*flags, source.read_bytes(), *toolchain.identity())}.o"
    if not target.exists():
        partial = folder / f"{source.stem}.o"
        toolchain.compile(source, partial, flags, folder)
        os.replace(partial, target)
    return target
