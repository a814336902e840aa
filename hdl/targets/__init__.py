"""What gateware is emitted for: Verilog, boards, block RAMs, a Tiny Tapeout tile."""
