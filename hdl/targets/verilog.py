"""The machine as Verilog: one file in which every distinct module appears once, and a manifest."""

from __future__ import annotations

import dataclasses
import json
import re
import textwrap
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from amaranth import __version__ as amaranth_version
from amaranth.back import rtlil
from amaranth.hdl import ClockSignal, Instance, ResetSignal, Value
from amaranth.lib import wiring

from etchnet.hdl.blocks.amaranth_internals import mark_used, yosys
from etchnet.hdl.blocks.banked_ram import BankedRam
from etchnet.hdl.blocks.hierarchy import module_name
from etchnet.hdl.blocks.ram import Ram
from etchnet.hdl.blocks.technology import PORTABLE, Technology
from etchnet.hdl.core.machine import Machine
from etchnet.hdl.isa import COUNTER_BITS, Counter, Drain, Header, Parameters, Pass, RunCommand, Target, chunks
from etchnet.hdl.isa.config import Config
from etchnet.hdl.isa.numbers import ceil_div
from etchnet.hdl.isa.packets import word_bits
from etchnet.hdl.targets.files import write_text

__all__ = ["GATEWARE", "TOP", "VerilogDesign", "generate", "generate_component", "manifest"]

TOP = "etchnet"
GATEWARE = Path(__file__).parents[1]
"""the folder of all source that generated Verilog depends on"""
RAM_MODULE = "etchnet_ram"

_RAM = f"""\
// One write port, one read port. A read takes LATENCY cycles, 1 or 2; data stay until the next read with enable.
// write_lanes enables equal parts of the word. INIT names a $readmemh file of initial words, or is empty.
module {RAM_MODULE} #(
  parameter WIDTH = 8,
  parameter DEPTH = 2,
  parameter LANES = 1,
  parameter ADDRESS = 1,
  parameter LATENCY = 1,
  parameter INIT = ""
) (
  input clk,
  input [LANES-1:0] write_lanes,
  input [ADDRESS-1:0] write_address,
  input [WIDTH-1:0] write_data,
  input enable,
  input [ADDRESS-1:0] address,
  output [WIDTH-1:0] data
);
  localparam LANE = WIDTH / LANES;
  // A word is never read in the cycle that writes it: no logic need care for that (read by Yosys).
  (* no_rw_check *)
  reg [WIDTH-1:0] words [0:DEPTH-1];
  reg [WIDTH-1:0] read;
  integer lane;

`ifndef SYNTHESIS
  integer word;
  initial begin
    for (word = 0; word < DEPTH; word = word + 1) words[word] = {{WIDTH{{1'b0}}}};
    read = {{WIDTH{{1'b0}}}};
    if (INIT != "") $readmemh(INIT, words);
  end
`else
  generate
    if (INIT != "") begin : contents
      initial $readmemh(INIT, words);
    end
  endgenerate
`endif

  always @(posedge clk) begin
    for (lane = 0; lane < LANES; lane = lane + 1)
      if (write_lanes[lane])
        words[write_address][lane*LANE +: LANE] <= write_data[lane*LANE +: LANE];
    if (enable)
      read <= words[address];
  end

  generate
    if (LATENCY == 1) begin : direct
      assign data = read;
    end else begin : registered
      reg [WIDTH-1:0] behind;
      always @(posedge clk) behind <= read;
      assign data = behind;
    end
  endgenerate
endmodule
"""


def _port_name(path: tuple[str | int, ...]) -> str:
    return "_".join(map(str, path))


def _ports(component: wiring.Component) -> dict[str, tuple[Value, None]]:
    """The ports of a component by name; which are inputs follows from what drives them."""
    return {_port_name(path): (Value.cast(value), None) for path, _, value in component.signature.flatten(component)}


# Operands of unequal widths are meant to be extended, and results to be cut, as Verilog does it.
_LINT = "".join(
    f"/* verilator lint_off {warning} */\n"
    for warning in ("CASEOVERLAP", "DECLFILENAME", "UNUSEDSIGNAL", "WIDTHEXPAND", "WIDTHTRUNC")
)


class _Platform:
    """Collects a module for every distinct component, and the contents of memories."""

    def __init__(self, technology: Technology) -> None:
        self.technology = technology
        self.modules: dict[str, str] = {}
        self.contents: dict[str, str] = {}

    def instance(self, name: str, component: wiring.Component, *, reset: Value | None = None) -> Instance:
        mark_used(component)  # its module is elaborated, not this instance of it
        parameters: dict[str, Any] = {}
        inside = component
        if isinstance(component, Ram):
            if BankedRam.suits(component):
                inside = BankedRam(component)
                name = module_name(inside, component.name)
            else:
                name, parameters = RAM_MODULE, self._ram(component)
        if name != RAM_MODULE and name not in self.modules:
            self.modules[name] = ""  # keeps its place: modules come out in the order in which they are met
            self.modules[name] = self.convert(name, inside)
        ports: dict[str, Any] = {}
        for path, member, value in component.signature.flatten(component):
            ports[f"{'i' if member.flow is wiring.In else 'o'}_{_port_name(path)}"] = value
        resets: Any = ResetSignal(allow_reset_less=True)
        if reset is not None:
            resets |= reset
        for port, signal in (("clk", ClockSignal()), ("rst", resets)):
            if self._has_port(name, port):
                ports[f"i_{port}"] = signal
        return Instance(name, **parameters, **ports)

    def convert(self, name: str, component: wiring.Component) -> str:
        """One module, as RTLIL; its children go to `modules`."""
        return rtlil.convert(component, name=name, platform=self, emit_src=False, ports=_ports(component))

    def _ram(self, ram: Ram) -> dict[str, Any]:
        file = ""
        if ram.init:
            file, digits = f"{ram.name}.hex", ceil_div(ram.bits, 4)
            self.contents[file] = "".join(f"{word:0{digits}x}\n" for word in ram.init)
        sizes = {
            "WIDTH": ram.bits,
            "DEPTH": ram.depth,
            "LANES": ram.lanes,
            "ADDRESS": len(ram.address),
            "LATENCY": ram.latency,
        }
        return {f"p_{key}": value for key, value in sizes.items()} | {"p_INIT": file}

    def _has_port(self, name: str, port: str) -> bool:
        if name == RAM_MODULE:
            return port == "clk"
        module = self.modules[name]
        body = module[module.index(f"module \\{name}\n") :]
        ports = body[: body.index("\nend\n")]
        return any(line.split()[-1:] == [f"\\{port}"] and " input " in line for line in ports.splitlines())


@dataclass(frozen=True)
class VerilogDesign:
    """Generated files, as name to text; the Verilog is `etchnet.v`."""

    config: Config
    files: Mapping[str, str] = field(repr=False)
    top: str = TOP
    """the name of the top module"""

    @property
    def verilog(self) -> str:
        """The text of `etchnet.v`."""
        return self.files[f"{TOP}.v"]

    def write(self, folder: Path) -> list[Path]:
        """Write all files to `folder`, each whole or not at all; returns their paths."""
        folder.mkdir(parents=True, exist_ok=True)
        return [write_text(folder / name, text) for name, text in self.files.items()]


def generate(
    config: Config,
    *,
    init: Mapping[Target, Sequence[int]] | None = None,
    run: RunCommand | None = None,
    wrapper: Callable[[Machine], wiring.Component] | None = None,
    technology: Technology = PORTABLE,
) -> VerilogDesign:
    """The machine of `config`, with `init` (see `Machine`) as initial memory contents.

    `run` is the command that starts the program inside; the manifest tells it.

    `wrapper` makes the top module out of the machine, for other interfaces than its two links; the module is called
    after the wrapper's class, `etchnet_` and its name in lower case.

    `technology` is what multipliers are made of; any tool takes the portable one.

    Memories with initial contents read them by `$readmemh` from files beside `etchnet.v`: tools run in that folder.
    """
    platform = _Platform(technology)
    top: wiring.Component = Machine(config, init=init, status=wrapper is not None)
    name = TOP
    if wrapper is not None:
        top = wrapper(top)
        name = module_name(top)
    platform.modules[name] = platform.convert(name, top)  # behind its children
    body = _to_verilog(list(platform.modules.values()), technology)
    header = (
        f"// Etchnet: {config.rows} x {config.columns} array, {config.requantisers} requantisers, "
        f"W = {config.weight_rows}. Generated; do not edit.\n// Top module: {name}.\n"
        f"{_LINT}\n"
    )
    described = manifest(
        config, top=top, name=name, contents=sorted(platform.contents), run=run, clocked=platform._has_port(name, "clk")
    )
    files = {
        f"{TOP}.v": header + _RAM + "\n" + body,
        f"{TOP}.json": json.dumps(described, indent=2) + "\n",
        **platform.contents,
    }
    return VerilogDesign(config, files, name)


def generate_component(component: wiring.Component, *, technology: Technology = PORTABLE) -> str:
    """One block of a machine as Verilog, for measurements; its module is called by `hierarchy.module_name`."""
    platform = _Platform(technology)
    top = platform.convert(module_name(component), component)
    return _LINT + "\n" + _RAM + "\n" + _to_verilog([*platform.modules.values(), top], technology)


def _to_verilog(modules: Sequence[str], technology: Technology) -> str:
    """RTLIL texts as one Verilog text."""
    script = "\n".join(
        [
            "read_rtlil <<rtlil\n" + "\n".join(modules) + "\nrtlil",
            # Registers with their enables and resets, and no wires that only rename others.
            "proc -norom",
            "opt_expr",
            "opt_clean -purge",
            "opt_dff",
            "opt_clean -purge",
            # Where reset, not power-up, sets registers, as in ASIC flows, there are no initial values.
            *([] if technology.powers_up else ["attrmap -remove init"]),
            "write_verilog -noattr",
        ]
    )
    text = yosys().run(["-q", "-"], script, ignore_warnings=True)
    return _compact(text[text.index("module ") :])


_REDECLARED = re.compile(r"^(  (?:input|output) (.*;)\n)  wire \2\n", re.MULTILINE)
"""a port, and the declaration of a wire that Yosys writes after it, which adds nothing"""
_NUMBERED = re.compile(r"^  wire (\[\d+:0\] )?(_\d+_);\n", re.MULTILINE)
"""a wire that Yosys numbered"""


def _compact(verilog: str) -> str:
    """Return modules with each port declared once, and all numbered wires of one width in one declaration."""
    return re.sub(
        r"^module .*?^endmodule\n",
        lambda module: _join_wires(module[0]),
        _REDECLARED.sub(r"\1", verilog),
        flags=re.MULTILINE | re.DOTALL,
    )


def _join_wires(module: str) -> str:
    """Return one module with its numbered wires, sorted by width, where the first of them was declared."""
    first = _NUMBERED.search(module)
    if first is None:
        return module
    names: dict[str, list[str]] = {}
    for wire in _NUMBERED.finditer(module):
        names.setdefault(wire[1] or "", []).append(wire[2])
    lines = [f"wire {width}{', '.join(names[width])};" for width in sorted(names)]
    fill = textwrap.TextWrapper(width=120, initial_indent="  ", subsequent_indent="    ").fill
    declarations = "".join(fill(line) + "\n" for line in lines)
    return module[: first.start()] + declarations + _NUMBERED.sub("", module[first.start() :])


def manifest(
    config: Config,
    *,
    top: wiring.Component | None = None,
    name: str = TOP,
    contents: Sequence[str] = (),
    run: RunCommand | None = None,
    clocked: bool = True,
) -> dict[str, Any]:
    """Parameters, ports and memory map of the machine, as written to `etchnet.json`.

    The ports are those of `top`, whose module is called `name`: of the machine itself, or of what it is wrapped in.
    `clocked` says that the module has `clk` and `rst`, and not a clock and a reset among the ports of `top`.
    """
    top = top or Machine(config)
    clock = {
        "clk": {"direction": "input", "width": 1},
        "rst": {"direction": "input", "width": 1, "note": "synchronous, active high"},
    }
    depths = {
        Target.PASSES: config.passes,
        Target.DRAINS: config.drains,
        Target.PARAMETERS: config.parameter_words,
        Target.WEIGHTS: config.weight_words,
        Target.INPUT: config.input_words,
    }

    def fields(layout: Any) -> dict[str, list[int]]:
        return {str(name): [f.offset, f.width] for name, f in layout}

    return {
        "generator": {"amaranth": amaranth_version},
        "top": name,
        "parameters": config.to_dict(),
        "ports": {
            **(clock if clocked else {}),
            **{
                _port_name(path): {
                    "direction": "input" if member.flow is wiring.In else "output",
                    "width": len(Value.cast(value)),
                }
                for path, member, value in top.signature.flatten(top)
            },
        },
        "packet": {
            "header": fields(Header.layout(config)),
            "targets": {t.name.lower(): int(t) for t in Target},
            "note": "fields as [first bit, bits]; the second link word is the number of memory words that follow",
        },
        "memories": {
            target.name.lower(): {
                "words": depth,
                "bits": word_bits(target, config),
                "link_words_per_word": chunks(word_bits(target, config), config),
            }
            for target, depth in depths.items()
        },
        "instructions": {
            "pass": fields(Pass.layout(config)),
            "drain": fields(Drain.layout(config)),
            "parameters": fields(Parameters.layout(config)),
        },
        "counters": {"names": [c.name.lower() for c in Counter], "bits": COUNTER_BITS},
        "contents": list(contents),
        "run": None if run is None else dataclasses.asdict(run),
    }
