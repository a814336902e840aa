"""ASIC estimates: area and timing of a machine in standard cells."""
