"""The compiler: from a network to a program for one machine, stage by stage."""
