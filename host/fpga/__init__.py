"""From a machine to a bitstream, by open tools."""
