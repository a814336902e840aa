"""Synthesis of a machine for a standard-cell library or for generic gates: areas, memories, longest paths."""

from __future__ import annotations

import gzip
import json
import re
import tempfile
from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict, dataclass, field
from fnmatch import fnmatch
from pathlib import Path
from typing import Any

from etchnet.hdl.isa.config import Config
from etchnet.hdl.targets.files import write_bytes
from etchnet.hdl.targets.verilog import RAM_MODULE, VerilogDesign, generate
from etchnet.host.asic.liberty import Cell, Liberty, read_liberty
from etchnet.host.asic.netlist import Netlist
from etchnet.host.asic.sta import LogicPath, UnitCells, longest_paths
from etchnet.host.tools.yosys import SynthesisError, run_yosys, yosys_version

__all__ = ["Block", "Memory", "Synthesis", "find_module", "synthesise"]

ELEMENT, ARRAY = "processing_element", "systolic_array"
MACHINE = "machine"

# Isolation cells, level shifters and probes, which libraries describe like gates, by prefix of the cells' names.
NOT_FOR_LOGIC = {"sky130": ("sky130_*__lpflow_*", "sky130_*__probe*")}

_KEPT = ("yosys.log", "synth.ys", "abc.script", "design.v", "memory.v", "netlist.json")
_GATES = "AND,NAND,OR,NOR,XOR,XNOR,MUX"
# Like the default script of Yosys, but aware of loads: it maps, inserts buffers, and sizes gates for the longest path.
_ABC = (
    "strash",
    "&get -n",
    "&fraig -x",
    "&put",
    "scorr",
    "dc2",
    "strash",
    "&get -n",
    "&dch -f",
    "&nf",
    "&put",
    "buffer",
    "upsize",
    "dnsize",
)


@dataclass(frozen=True)
class Memory:
    """All memories of one size in one module."""

    name: str
    """module that contains them"""
    words: int
    bits: int
    """width of a word"""
    count: int

    @property
    def total_bits(self) -> int:
        """Bits of all these memories together."""
        return self.words * self.bits * self.count


@dataclass(frozen=True)
class Block:
    """Module of the design, without the modules inside it."""

    name: str
    instances: int
    cells: int
    """cells of one instance, flip-flops included"""
    flip_flops: int
    """flip-flops of one instance"""
    area: float
    """area of one instance, in the library's unit; 0 without a library"""

    @property
    def total_area(self) -> float:
        """Area of all instances."""
        return self.area * self.instances


@dataclass(frozen=True)
class Synthesis:
    """Result of a synthesis."""

    config: Config
    top: str
    """module that was synthesised"""
    tool: str
    """name and version of Yosys"""
    libraries: Sequence[str]
    """names of the libraries; empty for generic gates"""
    blocks: Sequence[Block]
    memories: Sequence[Memory]
    """memories that were left out"""
    paths: Sequence[LogicPath] = field(repr=False)
    """longest path that ends in each module, longest first"""
    nanoseconds: float = 0.0
    """the library's unit of time in nanoseconds; 0 without a library, where the unit is a level of logic"""

    @property
    def cells(self) -> int:
        """Number of cells of the design, flip-flops included."""
        return sum(b.cells * b.instances for b in self.blocks)

    @property
    def flip_flops(self) -> int:
        """Number of flip-flops of the design."""
        return sum(b.flip_flops * b.instances for b in self.blocks)

    @property
    def area(self) -> float:
        """Area of all cells, without memories that were left out."""
        return sum(b.total_area for b in self.blocks)

    @property
    def memory_bits(self) -> int:
        """Bits of the memories that were left out."""
        return sum(m.total_bits for m in self.memories)

    @property
    def path(self) -> LogicPath | None:
        """Longest path; None if there is none."""
        return self.paths[0] if self.paths else None

    @property
    def megahertz(self) -> float | None:
        """Clock in MHz that the longest path allows, before layout and without wires; None without a library."""
        return 1e3 / (self.path.delay * self.nanoseconds) if self.path and self.path.delay * self.nanoseconds else None

    def group(self, kind: str) -> Block | None:
        """Return the mean of all modules whose names start with `kind`, with the total number of their instances."""
        some = [b for b in self.blocks if b.name.startswith(kind)]
        count = sum(b.instances for b in some)
        if not count:
            return None

        def mean(what: str) -> float:
            return sum(getattr(b, what) * b.instances for b in some) / count

        return Block(kind, count, round(mean("cells")), round(mean("flip_flops")), mean("area"))

    def to_dict(self) -> dict[str, Any]:
        """Return the result as JSON-compatible values."""
        element, path = self.group(ELEMENT), self.path
        return {
            "config": self.config.to_dict(),
            "top": self.top,
            "tool": self.tool,
            "libraries": list(self.libraries),
            "cells": self.cells,
            "flip_flops": self.flip_flops,
            "area": self.area or None,
            "memory_bits": self.memory_bits,
            "memories": [asdict(m) for m in self.memories],
            "element": element
            and {"cells": element.cells, "flip_flops": element.flip_flops, "area": element.area or None},
            "path": path
            and {
                "delay_ns": path.delay * self.nanoseconds or None,
                "levels": path.levels,
                "from": path.start,
                "to": path.end,
                "steps": path.steps,
            },
            "megahertz_before_layout": self.megahertz,
            "blocks": [asdict(b) | {"longest_path_ending_here": self.ending_in(b.name)} for b in self.blocks],
        }

    def ending_in(self, block: str) -> float | None:
        """Return the longest path that ends in a block, in nanoseconds, or in levels of logic without a library."""
        for path in self.paths:
            if _plain(path.end_module) == block:
                return path.delay * self.nanoseconds if self.nanoseconds else float(path.levels)
        return None


def _plain(module: str) -> str:
    """Return a module's name without Yosys's prefix for parameters and without `etchnet_`."""
    return module.rsplit("\\", 1)[-1].removeprefix("etchnet_")


def find_module(design: VerilogDesign, top: str) -> str:
    """Return the full name of a module of a design.

    Parameters
    ----------
    top
        Name of a module, with or without `etchnet_`, or one of machine, array and element. If the design has several
        kinds of processing elements, element is the kind with the most instances.

    Raises
    ------
    SynthesisError
        The design has no such module.
    """
    names = re.findall(r"^module (\w+)", design.verilog, re.MULTILINE)
    if top == MACHINE:
        return design.top
    wanted = {"element": ELEMENT, "array": ARRAY}.get(top, top)
    found = [name for name in names if name in (wanted, f"etchnet_{wanted}")]
    if not found:
        found = [name for name in names if name.startswith(f"etchnet_{wanted}_")] if top in ("element", "array") else []
    if not found:
        known = ", ".join(name.removeprefix("etchnet_") for name in names if name not in (design.top, RAM_MODULE))
        raise SynthesisError(f"--top must be machine, array, element, or one of {known}; not {top!r}")
    return max(found, key=lambda name: len(re.findall(rf"^  {name} ", design.verilog, re.MULTILINE)))


def synthesise(
    config: Config,
    *,
    libraries: Sequence[Path] = (),
    top: str = MACHINE,
    flatten_memories: bool = False,
    unused: Sequence[str] = (),
    folder: Path | None = None,
    report: Callable[..., None] = lambda text, share=None: None,
    design: VerilogDesign | None = None,
) -> Synthesis:
    """Synthesise a machine, or a part of it.

    The hierarchy is kept: modules are synthesised one by one. Only constant and unused ports are optimised across it.

    Parameters
    ----------
    config
        Machine.
    libraries
        Liberty files of standard cells. Without any, the result counts Yosys's generic gates of two inputs, and levels
        of logic.
    top
        Part to synthesise, as for `find_module`.
    flatten_memories
        Whether to build memories from flip-flops. Otherwise they are left out, and their bits are counted.
    unused
        Patterns of library cells that must not be used, in addition to those known not to be logic.
    folder
        Folder in which log, scripts, Verilog and netlist are kept; if Yosys fails, only the log is kept.
    report
        Function that is called with each step and, where known, the share that is done.
    design
        Verilog of the machine, if it has been generated already.

    Raises
    ------
    MissingPackageError
        Yosys is not installed.
    SynthesisError
        Yosys failed, `top` or a pattern in `unused` matches nothing, or libraries have different units of time.
    LibertyError
        A library cannot be read.
    """
    read = []
    for path in libraries:
        report(f"reading {path.name}")
        read.append(read_liberty(path))
    if len({library.nanoseconds for library in read}) > 1:
        raise SynthesisError("libraries must all have the same time_unit")
    if design is None:
        report("generating Verilog")
        design = generate(config)
    module = find_module(design, top)
    # Keep all files or, after a failure of Yosys, only its log.
    with tempfile.TemporaryDirectory(prefix="etchnet-synth-") as temporary:
        work = Path(temporary)
        kept: Sequence[str] = _KEPT
        try:
            return _synthesise(config, design, module, read, libraries, flatten_memories, unused, work, report)
        except SynthesisError:
            kept = _KEPT[:1]
            raise
        except BaseException:
            kept = ()
            raise
        finally:
            if folder is not None and kept:
                folder.mkdir(parents=True, exist_ok=True)
                for name in kept:
                    if (work / name).exists():
                        write_bytes(folder / name, (work / name).read_bytes())


def _synthesise(
    config: Config,
    design: VerilogDesign,
    top: str,
    read: Sequence[Liberty],
    libraries: Sequence[Path],
    flatten: bool,
    unused: Sequence[str],
    folder: Path,
    report: Callable[..., None],
) -> Synthesis:
    ram = re.search(rf"^module {RAM_MODULE} #\(.*?^endmodule\n", design.verilog, re.MULTILINE | re.DOTALL)
    files = {"design.v": design.verilog, "abc.script": "\n".join(_ABC) + "\n"}
    if ram and not flatten:
        # Keep ports and parameters of the memory module, so that the netlist contains the sizes of memories.
        files["design.v"] = design.verilog.replace(ram[0], "")
        files["memory.v"] = ram[0][: ram[0].index(");", ram[0].index("output")) + 2] + "\nendmodule\n"
    names = [f"library_{i}.lib" for i in range(len(read))]
    for name, path in zip(names, libraries, strict=True):
        files[name] = _text(path)
    files["synth.ys"] = script = _script(top, names, _unused(read, unused), black_box="memory.v" in files)
    for name, content in files.items():
        (folder / name).write_text(content)
    run_yosys(script, folder=folder, report=report)
    netlist = Netlist(json.loads((folder / "netlist.json").read_text()), top)
    cells: Mapping[str, Cell] = {k: c for library in read for k, c in library.cells.items()} or UnitCells(netlist)
    report("timing")
    try:
        paths = longest_paths(netlist, cells, report=report)
    except ValueError as error:
        raise SynthesisError(str(error)) from None
    return Synthesis(
        config=config,
        top=top,
        tool=yosys_version(),
        libraries=[library.name for library in read],
        blocks=_blocks(netlist, cells),
        memories=_memories(netlist),
        paths=paths,
        nanoseconds=read[0].nanoseconds if read else 0.0,
    )


def _text(path: Path) -> str:
    raw = path.read_bytes()
    return (gzip.decompress(raw) if path.suffix == ".gz" else raw).decode(errors="replace")


def _unused(read: Sequence[Liberty], given: Sequence[str]) -> list[str]:
    """Return the patterns of cells that must not be used; known ones that match no cell are left out.

    Raises SynthesisError if a given pattern matches no cell.
    """
    names = [name for library in read for name in library.cells]
    for pattern in given:
        if not any(fnmatch(name, pattern) for name in names):
            raise SynthesisError(
                f"--dont-use {pattern!r} matches no cell of {', '.join(x.name for x in read) or 'a --liberty library'}"
            )
    known = [p for prefix, some in NOT_FOR_LOGIC.items() for p in some if any(n.startswith(prefix) for n in names)]
    return [p for p in known if any(fnmatch(name, p) for name in names)] + list(given)


def _script(top: str, libraries: Sequence[str], unused: Sequence[str], *, black_box: bool) -> str:
    lines = ["read_verilog -lib memory.v"] if black_box else []
    lines += ["read_verilog design.v", f"hierarchy -check -top {top}"]
    # What is constant or unused at a port is known on its other side too, as in flows that flatten the hierarchy.
    lines += ["proc", "opt_hier", "opt_clean", "opt_hier", f"synth -noabc -top {top}"]
    areas = "".join(f" -liberty {name}" for name in libraries)
    if libraries:
        cells = areas + "".join(f" -dont_use {pattern}" for pattern in unused)
        lines += [f"dfflibmap{cells}", "opt", f"abc{cells} -script abc.script"]
    else:
        lines += [f"abc -g {_GATES}"]
    lines += ["opt_clean -purge", "check -noinit", f"stat{areas}", "write_json netlist.json"]
    return "\n".join(lines) + "\n"


def _blocks(netlist: Netlist, cells: Mapping[str, Cell]) -> list[Block]:
    merged: dict[str, list[tuple[int, int, int, float]]] = {}
    for module, instances in netlist.instances().items():
        counts = {k: n for k, n in netlist.counts(module).items() if k not in netlist.modules and k != RAM_MODULE}
        if missing := [kind for kind in counts if kind not in cells]:
            raise SynthesisError(f"{_plain(module)} needs a cell like {missing[0]}, which no library contains")
        flip_flops = sum(n for kind, n in counts.items() if cells[kind].sequential)
        area = sum(n * cells[kind].area for kind, n in counts.items())
        merged.setdefault(_plain(module), []).append((instances, sum(counts.values()), flip_flops, area))
    blocks = []
    for name, parts in merged.items():
        # Modules that differ only in parameters, such as memories of several sizes, are merged into one block.
        total = sum(p[0] for p in parts)
        mean = [sum(p[0] * p[i] for p in parts) / total for i in (1, 2, 3)]
        blocks.append(Block(name, total, round(mean[0]), round(mean[1]), mean[2]))
    return sorted(blocks, key=lambda b: (-b.total_area, -b.cells * b.instances))


def _memories(netlist: Netlist) -> list[Memory]:
    found: Counter[tuple[str, int, int]] = Counter()
    for module, instances in netlist.instances().items():
        for cell in netlist.modules[module]["cells"].values():
            if cell["type"] == RAM_MODULE:
                size = [int(str(cell["parameters"][name]), 2) for name in ("DEPTH", "WIDTH")]
                found[_plain(module), size[0], size[1]] += instances
    memories = [Memory(name, words, bits, count) for (name, words, bits), count in found.items()]
    return sorted(memories, key=lambda m: -m.total_bits)
