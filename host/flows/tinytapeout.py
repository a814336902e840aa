"""Tiny Tapeout project (info.yaml version 6) of the machine with a tile's pins."""

from __future__ import annotations

import json
import textwrap
from typing import Any

from etchnet.hdl.isa.config import Config, ConfigError
from etchnet.hdl.targets.tinytapeout import PINS, TinyTapeout
from etchnet.hdl.targets.verilog import TOP, generate
from etchnet.host.flows.processes import PDKS, TILE, Pdk
from etchnet.host.flows.project import check_flip_flops, describe, memory_bits
from etchnet.host.flows.yaml import to_yaml

__all__ = ["tinytapeout"]

_FULLEST = 0.71
"""share of a tile that cells may fill; clock tree and timing repair need the rest"""
_USUAL_FILL = 0.6
"""share that is assumed to be filled by machines whose area is not known"""

_HARDENING = {
    "CLOCK_PORT": "clk",
    "PL_RESIZER_HOLD_SLACK_MARGIN": 0.1,
    "GRT_RESIZER_HOLD_SLACK_MARGIN": 0.05,
    "RUN_LINTER": 1,
    "LINTER_INCLUDE_PDK_MODELS": 1,
    "RUN_KLAYOUT_XOR": 0,
    "RUN_KLAYOUT_DRC": 0,
    "DESIGN_REPAIR_BUFFER_OUTPUT_PORTS": 0,
    "TOP_MARGIN_MULT": 1,
    "BOTTOM_MARGIN_MULT": 1,
    "LEFT_MARGIN_MULT": 6,
    "RIGHT_MARGIN_MULT": 6,
    "FP_SIZING": "absolute",
    "GRT_ALLOW_CONGESTION": 1,
    "RUN_CTS": 1,
    "MAGIC_DEF_LABELS": 0,
    "MAGIC_WRITE_LEF_PINONLY": 1,
}
"""settings of the shuttle's template that do not depend on the machine"""


def tinytapeout(
    config: Config = TILE,
    *,
    pdk: str = "sky130A",
    period: float | None = None,
    author: str = "",
    tiles: str | None = None,
) -> dict[str, str]:
    """Return the files of a Tiny Tapeout project, as texts by name.

    Parameters
    ----------
    config
        Machine.
    pdk
        Process of the shuttle, one of `PDKS`.
    period
        Clock period in ns; by default that of the process.
    author
        Name of the author, for info.yaml.
    tiles
        Size in tiles, such as "4x4"; by default the smallest that fits `TILE`. Required for other machines.

    Raises
    ------
    ConfigError
        The memories are too large to be built from flip-flops, the process does not offer the size, or the size is
        missing.
    """
    process = PDKS[pdk]
    tiles = _chosen_tiles(process, config, tiles)
    design = generate(config, wrapper=TinyTapeout)
    bits = memory_bits(design)
    check_flip_flops(bits)
    period = period or process.period
    fill = process.area / _tile_area(process, tiles) if config == TILE else _USUAL_FILL
    hardening = {"PL_TARGET_DENSITY_PCT": min(90, round(100 * fill) + 12), "CLOCK_PERIOD": period, **_HARDENING}
    top = f"tt_um_{TOP}"
    return {
        "info.yaml": to_yaml(_info(config, top, tiles, period, author)),
        "src/project.v": _project(top, design.top),
        f"src/{TOP}.v": design.verilog,
        "src/config.json": json.dumps(hardening, indent=2) + "\n",
        "docs/info.md": _page(config, bits),
    }


def _chosen_tiles(process: Pdk, config: Config, tiles: str | None) -> str:
    """Return the given size if the process offers it; without one, return the smallest that fits `TILE`."""
    if tiles is None:
        if config != TILE:
            raise ConfigError("--tiles is required for this machine: `etchnet synth --tinytapeout` reports its area")
        fitting = [name for name in process.tiles if process.area <= _FULLEST * _tile_area(process, name)]
        return min(fitting, key=lambda name: _tile_area(process, name))
    if tiles not in process.tiles:
        raise ConfigError(f"--tiles must be one of {', '.join(process.tiles)} for {process.name}, not {tiles!r}")
    return tiles


def _tile_area(process: Pdk, tiles: str) -> float:
    """Return the area of a size in tiles, in square micrometres."""
    width, height = process.tiles[tiles]
    return width * height


def _info(config: Config, top: str, tiles: str, period: float, author: str) -> dict[str, Any]:
    """Return the contents of info.yaml."""
    return {
        "project": {
            "title": f"Etchnet {config.rows}x{config.columns}",
            "author": author or "your name",
            "discord": "",
            "description": describe(config),
            "language": "Amaranth",
            "clock_hz": round(1e9 / period),
            "tiles": tiles,
            "top_module": top,
            "source_files": ["project.v", f"{TOP}.v"],
        },
        "pinout": {f"{port}[{i}]": use for port, pins in PINS.items() for i, use in enumerate(pins)},
        "yaml_version": 6,
    }


def _project(top: str, machine: str) -> str:
    """Return the Verilog of the tile's top module, which contains the module `machine`."""
    return f"""\
// Top module with a tile's ports, around the generated machine. Generated; do not edit.
`default_nettype none
module {top} (
  input  wire [7:0] ui_in,
  output wire [7:0] uo_out,
  input  wire [7:0] uio_in,
  output wire [7:0] uio_out,
  output wire [7:0] uio_oe,
  input  wire       ena,
  input  wire       clk,
  input  wire       rst_n
);
  // The tile's reset may be released at any time: two registers synchronise its release to the clock.
  reg [1:0] reset;
  always @(posedge clk) reset <= {{reset[0], !rst_n}};

  {machine} machine (
    .clk(clk), .rst(reset[1]), .ena(ena),
    .ui_in(ui_in), .uo_out(uo_out), .uio_in(uio_in), .uio_out(uio_out), .uio_oe(uio_oe)
  );
endmodule
`default_nettype wire
"""


def _page(config: Config, bits: int) -> str:
    """Return the project's documentation page, as Markdown."""
    count = config.link_bits // 8
    return textwrap.dedent(f"""\
        ## How it works

        A weight-stationary systolic array of {config.rows} x {config.columns} processing elements multiplies int8
        matrices and adds the products into int32 accumulators. An output stage adds a bias, scales, rounds, adds a zero
        point and clamps; with a suitable lower bound, the clamp is ReLU. Programs, weights and inputs arrive over one
        link; results leave over another. Memories are flip-flops, {bits:,} bits in total.

        Each link word has {config.link_bits} bits and is transferred as {count} bytes, lowest first. A byte moves to
        the machine at a rising clock edge at which both uio[0] (valid) and uio[1] (ready) are high, and from the
        machine at one at which both uio[2] (valid) and uio[3] (ready) are high. All pins are synchronous to the clock.
        A sender that has raised valid must hold it, and the byte, until the byte is taken.

        ## How to test

        Hold rst_n low for at least three clock cycles. Then send the packets that Etchnet's driver generates: program,
        parameters, weights, an input, and a command to run. The documentation of Etchnet's instruction set explains the
        link words of a complete example. To use the driver, implement an engine that moves link words over these pins,
        byte by byte.

        ## External hardware

        None. The microcontroller of the demonstration board generates the clock and moves the bytes.
        """)
