"""A design of a few cells with the ports of a board's top module: a whole build of it takes three seconds."""

from __future__ import annotations

from typing import Any

from etchnet.hdl.isa.config import Config
from etchnet.hdl.targets.boards import BoardTop
from etchnet.hdl.targets.verilog import VerilogDesign

TOP = "etchnet_board_top"
_PLL_PORTS = {"ecp5": ("clkin", "clkout0")}

MEMORY = """\
  (* no_rw_check *) reg [8:0] words [0:2047];
  integer i;
  initial for (i = 0; i < 2048; i = i + 1) words[i] = 7 * i * i + 3;
  reg [10:0] address = 0;
  reg [8:0] word, registered;
  always @(posedge clk) begin
    address <= {address, rx};
    if (count == 5) words[address] <= {9{rx}};
    word <= words[{address[8:0], count[1:0]}];
    registered <= word;
  end
  assign more = ^registered;
"""
"""a memory of 2,048 words of 9 bits that is written, read, and registered after it is read"""


def blinky(family: str, body: str = "  assign more = 0;") -> VerilogDesign:
    """Return a counter that drives the LED and a register from `rx` to `tx`, both clocked by the board's PLL.

    Parameters
    ----------
    family
        The family of the device: it decides how the ports of the PLL are named.
    body
        More Verilog. The clock is `clk`, and `more` is a wire to the LED.
    """
    given, made = _PLL_PORTS.get(family, ("clock_in", "clock_out"))
    text = f"""\
module {TOP}(input clock, input rx, output reg tx, output led);
  wire clk, locked, more;
  {BoardTop.PLL} pll (.{given}(clock), .{made}(clk), .locked(locked));
  reg [3:0] count = 0;
  always @(posedge clk) begin
    count <= count + 1;
    tx <= rx;
  end
  assign led = count[3] ^ locked ^ more;
{body}
endmodule
"""
    return VerilogDesign(Config(), {"etchnet.v": text}, TOP)


def in_place_of_machines(monkeypatch: Any, family: str, *body: str) -> None:
    """Make `etchnet build` generate this design, whatever the machine is."""
    monkeypatch.setattr("etchnet.host.fpga.synthesis.generate", lambda config, **options: blinky(family, *body))
