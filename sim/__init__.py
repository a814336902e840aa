"""Simulation: the numpy reference, the timing of programs, and the engines that run them."""
