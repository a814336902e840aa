"""The engines that run a program behind one link: exact, Amaranth, Verilator."""
