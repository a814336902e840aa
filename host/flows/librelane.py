"""LibreLane project of the machine, for all open processes."""

from __future__ import annotations

from typing import Any

from etchnet.hdl.isa.config import Config
from etchnet.hdl.targets.verilog import RAM_MODULE, TOP, generate
from etchnet.host.flows.processes import PDKS, TILE
from etchnet.host.flows.project import check_flip_flops, describe, memory_bits, split_memory
from etchnet.host.flows.yaml import to_yaml

__all__ = ["librelane"]


def librelane(config: Config = TILE, *, period: float | None = None, macros: bool = False) -> dict[str, str]:
    """Return the files of a LibreLane project for all processes of `PDKS`, as texts by name.

    Parameters
    ----------
    config
        Machine.
    period
        Clock period in ns; by default that of each process.
    macros
        Whether the user will replace the memories in `src/etchnet_ram.v` with macros.

    Raises
    ------
    ConfigError
        The memories are too large to be built from flip-flops, and `macros` is false.
    """
    design = generate(config)
    bits = memory_bits(design)
    if not macros:
        check_flip_flops(bits)
    logic, memory = split_memory(design)
    values: dict[str, Any] = {
        "meta": {"version": 2},
        "DESIGN_NAME": design.top,
        "VERILOG_FILES": [f"dir::src/{TOP}.v", f"dir::src/{RAM_MODULE}.v"],
        "CLOCK_PORT": "clk",
        "CLOCK_PERIOD": period or max(pdk.period for pdk in PDKS.values()),
        "PNR_SDC_FILE": f"dir::src/{TOP}.sdc",
        "SIGNOFF_SDC_FILE": f"dir::src/{TOP}.sdc",
        "FP_SIZING": "relative",
        "FP_CORE_UTIL": 45,
        "PL_TARGET_DENSITY_PCT": 55,
    }
    for pdk in PDKS.values():
        values[f"pdk::{pdk.name}"] = {"CLOCK_PERIOD": period or pdk.period}
    memories = (
        f"{bits:,} bits of memory: replace src/{RAM_MODULE}.v"
        if macros
        else f"{bits:,} bits of memory become flip-flops"
    )
    head = f"# {describe(config)}; {memories}.\n# librelane --pdk {next(iter(PDKS))} config.yaml\n"
    return {
        "config.yaml": head + to_yaml(values),
        f"src/{TOP}.v": logic,
        f"src/{RAM_MODULE}.v": memory,
        f"src/{TOP}.sdc": _sdc(values["CLOCK_PERIOD"]),
        f"{TOP}.json": design.files[f"{TOP}.json"],
    }


def _sdc(period: float) -> str:
    """Return the timing constraints of a machine for a clock period in ns."""
    return f"""\
# One clock; reset is synchronous, and an input like the others.
set period {period:g}
if {{[info exists ::env(CLOCK_PERIOD)]}} {{ set period $::env(CLOCK_PERIOD) }}
create_clock -name clk -period $period [get_ports clk]
set_clock_uncertainty 0.25 [get_clocks clk]
set inputs [list]
foreach port [all_inputs] {{
  if {{[get_property $port full_name] ne "clk"}} {{ lappend inputs $port }}
}}
# A third of the period for what is outside, on either side.
set_input_delay [expr {{$period / 3.0}}] -clock clk $inputs
set_output_delay [expr {{$period / 3.0}}] -clock clk [all_outputs]
if {{[info exists ::env(OUTPUT_CAP_LOAD)]}} {{ set_load [expr {{$::env(OUTPUT_CAP_LOAD) / 1000.0}}] [all_outputs] }}
"""
