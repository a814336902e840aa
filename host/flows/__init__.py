"""Projects for the flows of others: FuseSoC, LibreLane, Tiny Tapeout, LiteX."""
