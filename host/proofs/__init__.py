"""Proofs about the gateware, on the netlist that becomes its Verilog."""
