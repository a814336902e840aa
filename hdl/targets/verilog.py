"""The machine as Verilog: one file in which every distinct module appears once, and a manifest."""

from __future__ import annotations

import json
import re
import textwrap
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from amaranth.back import rtlil
from amaranth.hdl import ClockSignal, Instance, ResetSignal, Value
from amaranth.lib import wiring

from etchnet.hdl.blocks.amaranth_internals import mark_used, yosys
from etchnet.hdl.blocks.banked_ram import BankedRam
from etchnet.hdl.blocks.hierarchy import module_name, port_name, ports_of
from etchnet.hdl.blocks.ram import Ram
from etchnet.hdl.blocks.technology import PORTABLE, Technology
from etchnet.hdl.core.machine import Machine
from etchnet.hdl.isa import RunCommand, Target
from etchnet.hdl.isa.config import Config
from etchnet.hdl.isa.numbers import ceil_div
from etchnet.hdl.targets.files import write_text
from etchnet.hdl.targets.manifest import TOP, manifest

__all__ = ["GATEWARE", "TOP", "VerilogDesign", "generate", "generate_component"]

GATEWARE = Path(__file__).parents[1]
"""folder with all source that generated Verilog depends on"""
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
  // A word is never read in the cycle that writes it, so that Yosys need not add logic for that case.
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
      reg [WIDTH-1:0] last;
      always @(posedge clk) last <= read;
      assign data = last;
    end
  endgenerate
endmodule
"""


# Operands of unequal widths are extended and results truncated on purpose, by the rules of Verilog.
# Verilator 5.006 stops at the newer names WIDTHEXPAND and WIDTHTRUNC; WIDTH means both to every version.
_LINT = "".join(
    f"/* verilator lint_off {warning} */\n" for warning in ("CASEOVERLAP", "DECLFILENAME", "UNUSEDSIGNAL", "WIDTH")
)


class _Platform:
    """The collection of modules, one for every distinct component, and of the contents of memories."""

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
            self.modules[name] = ""  # before its parts, for the order in which Yosys reads modules
            self.modules[name] = self.convert(name, inside)
        ports: dict[str, Any] = {}
        for path, member, value in component.signature.flatten(component):
            ports[f"{'i' if member.flow is wiring.In else 'o'}_{port_name(path)}"] = value
        resets: Any = ResetSignal(allow_reset_less=True)
        if reset is not None:
            resets |= reset
        for port, signal in (("clk", ClockSignal()), ("rst", resets)):
            if self._has_port(name, port):
                ports[f"i_{port}"] = signal
        return Instance(name, **parameters, **ports)

    def convert(self, name: str, component: wiring.Component) -> str:
        """Return a module as RTLIL, and add its children to `modules`."""
        return rtlil.convert(component, name=name, platform=self, emit_src=False, ports=ports_of(component))

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
    """The generated files, as name to text; `etchnet.v` is the Verilog."""

    config: Config
    files: Mapping[str, str] = field(repr=False)
    top: str = TOP
    """the name of the top module"""

    @property
    def verilog(self) -> str:
        """The text of `etchnet.v`."""
        return self.files[f"{TOP}.v"]

    def write(self, folder: Path) -> list[Path]:
        """Write all files to `folder`, each whole or not at all, and return their paths."""
        folder.mkdir(parents=True, exist_ok=True)
        return [write_text(folder / name, text) for name, text in self.files.items()]


def generate(
    config: Config,
    *,
    init: Mapping[Target, Sequence[int]] | None = None,
    run: RunCommand | None = None,
    wrapper: Callable[[Machine], wiring.Component] | None = None,
    technology: Technology = PORTABLE,
    machine: type[Machine] = Machine,
) -> VerilogDesign:
    """Generate a machine as Verilog, with a manifest and the initial contents of its memories.

    Memories with initial contents read them by `$readmemh` from files beside `etchnet.v`, so tools must run in that
    folder.

    Parameters
    ----------
    config
        The machine.
    init
        Initial contents of its memories; see `Machine`.
    run
        The command that starts the program in `init`, for the manifest.
    wrapper
        Builds the top component around the machine, to give it an interface other than its two links. The top module is
        named after the wrapper's class: `etchnet_` and its name in lower case.
    technology
        Primitives for multipliers and registers; every tool accepts the portable ones.
    machine
        The class of the machine.
    """
    platform = _Platform(technology)
    top: wiring.Component = machine(config, init=init, status=wrapper is not None)
    name = TOP
    if wrapper is not None:
        top = wrapper(top)
        name = module_name(top)
    platform.modules[name] = platform.convert(name, top)  # after its children
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
    """Return one block of a machine as Verilog, for measurements; `hierarchy.module_name` names its module."""
    platform = _Platform(technology)
    top = platform.convert(module_name(component), component)
    return _LINT + "\n" + _RAM + "\n" + _to_verilog([*platform.modules.values(), top], technology)


def _to_verilog(modules: Sequence[str], technology: Technology) -> str:
    """Convert RTLIL modules to one Verilog text."""
    script = "\n".join(
        [
            "read_rtlil <<rtlil\n" + "\n".join(modules) + "\nrtlil",
            # Registers with enables and resets, no comparisons that are always true or always false, and no wires that
            # only rename others.
            "proc -norom",
            "opt_expr -fine",
            "opt_clean -purge",
            "opt_dff",
            "opt_clean -purge",
            # No initial values if registers are set by reset rather than at power-up, as in ASICs.
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
