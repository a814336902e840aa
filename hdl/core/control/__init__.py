"""Control: instruction fetch, the sequencer, runs and tokens, the two ends of the link, the counters."""
