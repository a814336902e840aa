"""The driver: arrays in, arrays out, on any engine or board."""
