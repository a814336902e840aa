"""Networks as graphs of layers, and models: networks with the scales and names of a file."""
