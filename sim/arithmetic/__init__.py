"""Numbers without a machine: the rounding contracts and operators of the reference runtimes, in numpy."""
