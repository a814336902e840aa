"""A Tiny Tapeout project (info.yaml of version 6) of the machine behind a tile's pins."""

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
"""share of a tile that cells may fill: clock tree and timing repair need the rest"""
_USUAL_FILL = 0.6
"""share that is assumed for machines whose area is not known"""

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
"""settings of the template that do not depend on the machine"""


def tinytapeout(
    config: Config = TILE,
    *,
    pdk: str = "sky130A",
    period: float | None = None,
    author: str = "",
    tiles: str | None = None,
) -> dict[str, str]:
    """Return the files of a Tiny Tapeout project.

    Parameters
    ----------
    config
        The machine.
    pdk
        The shuttle's process, one of `PDKS`.
    period
        Clock period in ns; by default that of the process.
    author
        The author's name, for info.yaml.
    tiles
        The size in tiles, such as "4x4"; by default the smallest that `TILE` fits. Other machines must give it.

    Raises
    ------
    ConfigError
        The memories are too large to become flip-flops, or the process has no such tiles, or none were given.
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
    """Return the given tiles if the process has them; without any, the smallest that `TILE` fits."""
    if tiles is None:
        if config != TILE:
            raise ConfigError("tiles must be given for this machine: etchnet synth --tinytapeout reports its area")
        fitting = [name for name in process.tiles if process.area <= _FULLEST * _tile_area(process, name)]
        return min(fitting, key=lambda name: _tile_area(process, name))
    if tiles not in process.tiles:
        raise ConfigError(f"tiles must be one of {', '.join(process.tiles)} for {process.name}, not {tiles!r}")
    return tiles


def _tile_area(process: Pdk, tiles: str) -> float:
    """Return an area in square micrometres."""
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
    """Return the Verilog of the tile's top module around the machine's."""
    return f"""\
// The tile's own ports around the generated machine. Generated; do not edit.
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
  // The tile's reset may end at any time: two registers make it end with the clock.
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
    """Return the page about the project."""
    count = config.link_bits // 8
    return textwrap.dedent(f"""\
        ## How it works

        A weight-stationary systolic array of {config.rows} x {config.columns} processing elements multiplies int8
        matrices and adds into int32 accumulators. An output stage adds a bias, scales, rounds, adds a zero point and
        clamps, which is ReLU where the lower bound says so. Programs of passes, weights and inputs come over a link;
        results go back over another. Memories are flip-flops, {bits:,} bits in all.

        Each link word is {config.link_bits} bits, {count} bytes here, the lowest first. A byte moves to the machine in
        a clock cycle in which both uio[0] (valid) and uio[1] (ready) are high at the rising edge, and from the machine
        in one in which uio[2] (valid) and uio[3] (ready) are. All pins are synchronous to the clock. A side that has
        raised valid keeps it and the byte until the byte is taken.

        ## How to test

        Hold rst_n low for at least three clock cycles. Then send packets, as Etchnet's driver makes them: programs,
        parameters and weights, an input, and a command to run. The link words of a whole example, and what they mean,
        are in the documentation of Etchnet's instructions. The driver runs over these pins as over any other link: it
        takes an engine that moves link words, and these are made of bytes.

        ## External hardware

        None. The demonstration board's microcontroller makes the clock and moves the bytes.
        """)
