"""Gateware that knows no machine: memories, delay lines, counters of tokens, and what devices make of them."""
