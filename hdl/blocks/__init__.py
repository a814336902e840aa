"""Gateware that does not depend on the machine: memories, delay lines, semaphores, and the primitives of devices."""
