"""The Verilator engine: the generated Verilog, compiled to a native library."""

from etchnet.sim.engines.verilated.cache import cache_folder
from etchnet.sim.engines.verilated.engine import VerilatorEngine
from etchnet.sim.engines.verilated.library import build, generated_verilog
from etchnet.sim.engines.verilated.toolchain import (
    BuildError,
    MissingToolError,
    find_compiler,
    find_verilator,
)

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
