"""The machine on AXI4-Stream and AXI4-Lite, and the map of its registers."""
