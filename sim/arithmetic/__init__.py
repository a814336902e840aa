"""Arithmetic of the reference runtimes in numpy: rounding contracts and operators."""
