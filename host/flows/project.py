"""Functions that all projects share: writing of files, and memories in the Verilog."""

from __future__ import annotations

import re
from collections.abc import Mapping
from pathlib import Path

from etchnet.hdl.isa.config import Config, ConfigError
from etchnet.hdl.targets.files import write_text
from etchnet.hdl.targets.verilog import RAM_MODULE, VerilogDesign

__all__ = ["MOST_BITS", "check_flip_flops", "describe", "memory_bits", "split_memory", "write_files"]

MOST_BITS = 16384
"""largest number of memory bits that a project may build from flip-flops"""


def write_files(files: Mapping[str, str], folder: Path) -> list[Path]:
    """Write texts, given by relative name, to `folder` and return their paths; each file is written atomically."""
    paths = []
    for name, text in files.items():
        path = folder / name
        path.parent.mkdir(parents=True, exist_ok=True)
        paths.append(write_text(path, text))
    return paths


def describe(config: Config) -> str:
    """Return a one-line description of a machine."""
    return f"{config.rows} x {config.columns} int8 systolic array for matrix products and ReLU"


def memory_bits(design: VerilogDesign) -> int:
    """Return the bits of all memories of a design, from the parameters of their instances."""
    modules = dict(re.findall(r"^module (\w+)(.*?)^endmodule", design.verilog, re.MULTILINE | re.DOTALL))

    def inside(module: str) -> int:
        total = 0
        for kind, parameters in re.findall(
            r"^  (\w+) (?:#\((.*?)\n  \) )?\S+ +\(", modules[module], re.MULTILINE | re.DOTALL
        ):
            if kind == RAM_MODULE:
                sizes = dict(re.findall(r"\.(\w+)\(32'[sd]+(\d+)\)", parameters))
                total += int(sizes["WIDTH"]) * int(sizes["DEPTH"])
            elif kind in modules:
                total += inside(kind)
        return total

    return inside(design.top)


def split_memory(design: VerilogDesign) -> tuple[str, str]:
    """Return the Verilog without the memory module, and the memory module."""
    module = re.compile(rf"((?:^//[^\n]*\n)*^module {RAM_MODULE} .*?^endmodule\n)", re.MULTILINE | re.DOTALL)
    before, memory, after = module.split(design.verilog, maxsplit=1)
    return before + after, memory


def check_flip_flops(bits: int) -> None:
    """Check that memories of `bits` bits are small enough to be built from flip-flops.

    Raises
    ------
    ConfigError
        `bits` exceeds `MOST_BITS`.
    """
    if bits > MOST_BITS:
        raise ConfigError(
            f"memories that are built from flip-flops must have at most {MOST_BITS:,} bits, not {bits:,}: choose a "
            f"smaller machine, or memory macros (etchnet flow librelane --macros)"
        )
