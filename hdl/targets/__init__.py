"""The targets of the gateware: Verilog, FPGA boards and their devices, block RAMs, a Tiny Tapeout tile."""
