"""The driver: numpy arrays in, numpy arrays out, on any simulator or board."""
