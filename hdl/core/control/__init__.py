"""What decides: instruction fetch, the sequencer, the two ends of the link, the counters."""
