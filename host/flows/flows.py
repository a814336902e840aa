"""Projects for other people's flows, written out of a machine: FuseSoC, LibreLane, Tiny Tapeout and LiteX.

Every function returns the files of a project, by name relative to its folder. All of them come out of the machine's
parameters and the manifest of its Verilog.
"""

from __future__ import annotations

import json
import re
import textwrap
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from importlib import metadata
from pathlib import Path
from typing import Any

import numpy as np

from etchnet.hdl.isa.config import Config, ConfigError
from etchnet.hdl.targets.files import write_text
from etchnet.hdl.targets.tinytapeout import PINS, TinyTapeout
from etchnet.hdl.targets.verilog import RAM_MODULE, TOP, VerilogDesign, generate
from etchnet.host.driver.driver import Accelerator
from etchnet.sim.engines.exact import ExactEngine
from etchnet.sim.engines.link import Engine, LinkTrace

__all__ = [
    "MOST_BITS",
    "PDKS",
    "TILE",
    "Pdk",
    "fusesoc",
    "librelane",
    "litex",
    "memory_bits",
    "testbench",
    "tinytapeout",
    "write_files",
]

TILE = Config(
    rows=2,
    columns=2,
    requantisers=1,
    weight_tiles=2,
    activation_words=2,
    input_words=2,
    output_words=4,
    accumulator_rows=4,
    passes=2,
    drains=2,
    parameter_tiles=1,
    residual_words=0,
)
"""About the smallest machine that multiplies matrices of any size: for silicon whose memories are flip-flops."""

MOST_BITS = 16384
"""memory bits that may become flip-flops"""


@dataclass(frozen=True)
class Pdk:
    """A process and what is known of the machine `TILE` in it."""

    name: str
    """as LibreLane and Tiny Tapeout call it"""
    about: str
    area: float
    """of the cells of `TILE` behind a tile's pins, in square micrometres, by `etchnet synth --tinytapeout`"""
    period: float
    """ns: twice the longest path that the same command found, for wires, clock tree and slow corners, up to whole 5"""
    tiles: Mapping[str, tuple[float, float]]
    """sizes of Tiny Tapeout's tiles in micrometres, by name"""


PDKS = {
    pdk.name: pdk
    for pdk in (
        Pdk(
            "sky130A",
            "SkyWater 130 nm",
            208_507,
            20,
            {
                "8x2": (1378.16, 225.76),
                "4x4": (682.64, 511.36),
                "5x4": (856.52, 511.36),
                "6x4": (1030.40, 511.36),
                "8x4": (1378.16, 511.36),
            },
        ),
        Pdk("gf180mcuD", "GlobalFoundries 180 nm", 675_033, 35, {"3x4": (1075.76, 736.96), "4x4": (1440.32, 736.96)}),
        Pdk(
            "ihp-sg13g2",
            "IHP 130 nm SiGe",
            427_660,
            15,
            {
                "8x2": (1724.16, 313.74),
                "4x4": (854.40, 710.64),
                "5x4": (1071.84, 710.64),
                "6x4": (1289.28, 710.64),
                "8x4": (1724.16, 710.64),
            },
        ),
    )
}
"""the open processes"""

_FULLEST = 0.71
"""share of a tile that cells may fill: clock tree and repairs come on top"""


def write_files(files: Mapping[str, str], folder: Path) -> list[Path]:
    """Write files to `folder`, each whole or not at all; returns their paths."""
    paths = []
    for name, text in files.items():
        path = folder / name
        path.parent.mkdir(parents=True, exist_ok=True)
        paths.append(write_text(path, text))
    return paths


# Verilog


def _modules(verilog: str) -> dict[str, str]:
    return dict(re.findall(r"^module (\w+)(.*?)^endmodule", verilog, re.MULTILINE | re.DOTALL))


def memory_bits(design: VerilogDesign) -> int:
    """Bits of all memories of a design, as their instances' parameters say."""
    modules = _modules(design.verilog)

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


def _split(design: VerilogDesign) -> tuple[str, str]:
    """The Verilog without its memory block, and the memory block."""
    found = re.search(
        rf"(?:^//[^\n]*\n)*^module {RAM_MODULE} .*?^endmodule\n", design.verilog, re.MULTILINE | re.DOTALL
    )
    assert found is not None
    return design.verilog.replace(found[0], ""), found[0]


def _refuse_large(design: VerilogDesign, bits: int) -> None:
    if bits > MOST_BITS:
        raise ConfigError(
            f"memories of {bits:,} bits would become flip-flops, and at most {MOST_BITS:,} may: choose a "
            f"smaller machine, or memories of the process (--macros)"
        )


def _about(config: Config) -> str:
    return f"{config.rows} x {config.columns} int8 systolic array for matrix products and ReLU"


# Testbench


class _Recorder(Engine):
    """The exact engine, and what went over its link."""

    name = "recorder"

    def __init__(self, config: Config) -> None:
        super().__init__(config)
        self._exact = ExactEngine(config)
        self.sent: list[np.ndarray] = []
        self.received: list[np.ndarray] = []

    @property
    def cycle(self) -> int:
        return self._exact.cycle

    @property
    def record(self) -> LinkTrace:
        return self._exact.record

    def exchange(self, words: np.ndarray, count: int) -> np.ndarray:
        answer = self._exact.exchange(words, count)
        self.sent.append(np.asarray(words))
        self.received.append(answer)
        return answer


def testbench(config: Config) -> str:
    """A Verilog test bench: the link words of a product, and those that must come back, as the exact engine has them.

    It loads and runs a requantised product of random operands and reads the counters. It ends with `PASSED`, or with
    the first word that differs and a non-zero exit status.
    """
    random = np.random.default_rng(0)
    x, w = (
        random.integers(-128, 128, shape).astype(np.int8) for shape in ((3, config.rows), (config.rows, config.columns))
    )
    engine = _Recorder(config)
    Accelerator(config, engine=engine).matmul_relu(x, w, scale=1 / 512, relu=False)
    sent, expected = (_hex(words) for words in (engine.sent, engine.received))

    def assigned(name: str, words: Sequence[str]) -> str:
        return "".join(f"    {name}[{i}] = {config.link_bits}'h{word};\n" for i, word in enumerate(words))

    return f"""\
// Loads a product of two small matrices into the machine, runs it, and compares every word that comes back.
// Generated; do not edit.
module {TOP}_tb;
  localparam BITS = {config.link_bits};
  localparam SENT = {len(sent)};
  localparam EXPECTED = {len(expected)};

  reg clk = 0, rst = 1;
  reg [BITS-1:0] sent [0:SENT-1];
  reg [BITS-1:0] expected [0:EXPECTED-1];
  integer next = 0, got = 0, cycle = 0;
  wire link_in_valid = !rst && next < SENT;
  wire [BITS-1:0] link_in_payload = sent[next < SENT ? next : 0];
  wire link_in_ready, link_out_valid;
  wire [BITS-1:0] link_out_payload;

  {TOP} machine (
    .clk(clk), .rst(rst),
    .link_in_payload(link_in_payload), .link_in_valid(link_in_valid), .link_in_ready(link_in_ready),
    .link_out_payload(link_out_payload), .link_out_valid(link_out_valid), .link_out_ready(1'b1)
  );

  always #5 clk = !clk;

  always @(posedge clk) begin
    cycle <= cycle + 1;
    rst <= cycle < 3;
    if (link_in_valid && link_in_ready) next <= next + 1;
    if (!rst && link_out_valid) begin
      if (link_out_payload !== expected[got]) begin
        $display("FAILED: word %0d is %h, not %h", got, link_out_payload, expected[got]);
        $fatal(1);
      end
      got <= got + 1;
      if (got == EXPECTED - 1) begin
        $display("PASSED: %0d words, %0d cycles", EXPECTED, cycle);
        $finish;
      end
    end
    if (cycle > 1000000) begin
      $display("FAILED: only %0d of %0d words came back", got, EXPECTED);
      $fatal(1);
    end
  end

  initial begin
{assigned("sent", sent)}{assigned("expected", expected)}  end
endmodule
"""


def _hex(parts: Sequence[np.ndarray]) -> list[str]:
    """Link words as hexadecimal digits."""
    words = np.concatenate([np.asarray(part, "<u4") for part in parts])
    return ["".join(f"{int(lane):08x}" for lane in word[::-1]) for word in words]


# YAML


def _yaml(value: Any, depth: int = 0) -> str:
    """A value as YAML in block style; strings in quotes where they need them."""
    pad = "  " * depth
    if isinstance(value, Mapping):
        return "".join(f"{pad}{_scalar(k)}:{_below(v, depth)}" for k, v in value.items())
    if isinstance(value, list):
        return "".join(f"{pad}-{_below(v, depth)}" for v in value)
    return f"{pad}{_scalar(value)}\n"


def _below(value: Any, depth: int) -> str:
    return "\n" + _yaml(value, depth + 1) if isinstance(value, Mapping | list) and value else f" {_scalar(value)}\n"


def _scalar(value: Any) -> str:
    plain = isinstance(value, str) and re.fullmatch(r"[A-Za-z_][\w./+-]*(?:::[\w*./-]+)?", value)
    return (
        value
        if plain and value.lower() not in ("yes", "no", "on", "off", "true", "false", "null")
        else json.dumps(value)
    )


# FuseSoC


def fusesoc(config: Config) -> dict[str, str]:
    """A FuseSoC core, CAPI2: targets default, lint, sim (with a test bench) and synth."""
    design = generate(config)
    core = {
        "name": f"::{TOP}:{metadata.version('etchnet')}",
        "description": _about(config),
        "filesets": {
            "rtl": {"files": [f"{TOP}.v"], "file_type": "verilogSource"},
            "bench": {"files": [f"{TOP}_tb.v"], "file_type": "verilogSource"},
        },
        "targets": {
            "default": {"filesets": ["rtl"], "toplevel": design.top},
            "lint": {
                "filesets": ["rtl"],
                "toplevel": design.top,
                "flow": "lint",
                "flow_options": {"tool": "verilator", "verilator_options": ["-Wall"]},
            },
            "sim": {
                "filesets": ["rtl", "bench"],
                "toplevel": f"{TOP}_tb",
                "flow": "sim",
                "flow_options": {"tool": "verilator", "mode": "binary", "verilator_options": ["--timing"]},
            },
            "synth": {
                "filesets": ["rtl"],
                "toplevel": design.top,
                "flow": "generic",
                "flow_options": {"tool": "yosys", "arch": "ecp5", "output_format": "json"},
            },
        },
    }
    return {**design.files, f"{TOP}_tb.v": testbench(config), f"{TOP}.core": "CAPI=2:\n\n" + _yaml(core)}


# LibreLane


def librelane(config: Config = TILE, *, period: float | None = None, macros: bool = False) -> dict[str, str]:
    """A LibreLane project for the processes of `PDKS`.

    Parameters
    ----------
    config
        The machine.
    period
        Clock period in ns; by default each process's own.
    macros
        The memories are modules of the user's own: `src/etchnet_ram.v` is what they must do.

    Raises
    ------
    ConfigError
        More memory than may become flip-flops.
    """
    design = generate(config)
    bits = memory_bits(design)
    if not macros:
        _refuse_large(design, bits)
    logic, memory = _split(design)
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
    what = (
        f"{bits:,} bits of memory: replace src/{RAM_MODULE}.v"
        if macros
        else f"{bits:,} bits of memory become flip-flops"
    )
    head = f"# {_about(config)}; {what}.\n# librelane --pdk {next(iter(PDKS))} config.yaml\n"
    return {
        "config.yaml": head + _yaml(values),
        f"src/{TOP}.v": logic,
        f"src/{RAM_MODULE}.v": memory,
        f"src/{TOP}.sdc": _sdc(values["CLOCK_PERIOD"]),
        f"{TOP}.json": design.files[f"{TOP}.json"],
    }


def _sdc(period: float) -> str:
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


# Tiny Tapeout


def tinytapeout(
    config: Config = TILE,
    *,
    pdk: str = "sky130A",
    period: float | None = None,
    author: str = "",
    tiles: str | None = None,
) -> dict[str, str]:
    """A Tiny Tapeout project (info.yaml of version 6), for `TinyTapeout` around the machine.

    Parameters
    ----------
    config
        The machine.
    pdk
        One of `PDKS`: the shuttle's process.
    period
        Clock period in ns; by default the process's own.
    author
        Goes into info.yaml.
    tiles
        How many tiles; by default the smallest that `TILE` fits. Other machines need to be told.

    Raises
    ------
    ConfigError
        More memory than may become flip-flops, or no such tile.
    """
    process = PDKS[pdk]
    if tiles is None:
        if config != TILE:
            raise ConfigError("tiles must be given for this machine: etchnet synth --tinytapeout says how large it is")
        tiles = min(
            (t for t in process.tiles if process.area <= _FULLEST * _area(process, t)), key=lambda t: _area(process, t)
        )
    if tiles not in process.tiles:
        raise ConfigError(f"tiles must be one of {', '.join(process.tiles)} for {pdk}, not {tiles!r}")
    design = generate(config, wrapper=TinyTapeout)
    bits = memory_bits(design)
    _refuse_large(design, bits)
    top = f"tt_um_{TOP}"
    period = period or process.period
    fill = process.area / _area(process, tiles) if config == TILE else 0.6
    info = {
        "project": {
            "title": f"Etchnet {config.rows}x{config.columns}",
            "author": author or "your name",
            "discord": "",
            "description": _about(config),
            "language": "Amaranth",
            "clock_hz": round(1e9 / period),
            "tiles": tiles,
            "top_module": top,
            "source_files": ["project.v", f"{TOP}.v"],
        },
        "pinout": {f"{port}[{i}]": what for port, pins in PINS.items() for i, what in enumerate(pins)},
        "yaml_version": 6,
    }
    hardening = {
        "PL_TARGET_DENSITY_PCT": min(90, round(100 * fill) + 12),
        "CLOCK_PERIOD": period,
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
    return {
        "info.yaml": _yaml(info),
        "src/project.v": _project(top, design.top),
        f"src/{TOP}.v": design.verilog,
        "src/config.json": json.dumps(hardening, indent=2) + "\n",
        "docs/info.md": _info(config, bits),
    }


def _area(process: Pdk, tiles: str) -> float:
    width, height = process.tiles[tiles]
    return width * height


def _project(top: str, machine: str) -> str:
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


def _info(config: Config, bits: int) -> str:
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


# LiteX


def litex(config: Config) -> dict[str, str]:
    """A LiteX module around the Verilog, with a stream to it and a stream from it; one file that needs only LiteX."""
    design = generate(config)
    ports = json.loads(design.files[f"{TOP}.json"])["ports"]
    endpoints = {"link_in": "sink", "link_out": "source"}
    wires = []
    for name, port in ports.items():
        way = "i" if port["direction"] == "input" else "o"
        link, _, part = name.rpartition("_")
        if link in endpoints:
            wires.append(f"{way}_{name}=self.{endpoints[link]}.{'data' if part == 'payload' else part},")
        else:
            wires.append(f"{way}_{name}={ {'clk': 'ClockSignal', 'rst': 'ResetSignal'}[name] }(domain),")
    lines = "\n".join(f"            {wire}" for wire in wires)
    text = f'''\
"""Etchnet, {_about(config)}, as a LiteX module. Generated; do not edit."""

import os

from litex.gen import LiteXModule
from litex.soc.interconnect import stream
from migen import ClockSignal, Instance, ResetSignal

LINK_BITS = {config.link_bits}


class Etchnet(LiteXModule):
    """The machine of etchnet.v: packets of link words go to `sink`, results come from `source`.

    Both are streams of `LINK_BITS` in `data`; `first` and `last` are not used. With `platform`, the Verilog that lies
    beside this file becomes one of its sources.
    """

    def __init__(self, platform=None, domain="sys"):
        self.sink = stream.Endpoint([("data", LINK_BITS)])
        self.source = stream.Endpoint([("data", LINK_BITS)])
        self.specials += Instance(
            "{design.top}",
{lines}
        )
        if platform is not None:
            platform.add_source(os.path.join(os.path.dirname(os.path.abspath(__file__)), "{TOP}.v"))
'''
    return {**design.files, f"{TOP}_litex.py": text}
