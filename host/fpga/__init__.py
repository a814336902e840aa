"""FPGA builds: from a machine to a bitstream with open tools."""
