"""Projects for other tools' flows: FuseSoC, LibreLane, Tiny Tapeout and LiteX."""
