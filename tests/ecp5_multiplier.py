"""A model of the ECP5's MULT18X18D, of which Yosys ships the ports only: after Lattice's FPGA-TN-02205."""

WIDTH = 18


def model() -> str:
    """Verilog of the block as far as netlists of the machine use it: one clock, no enables, no resets."""
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
