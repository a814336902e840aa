"""Traces of runs, cycle by cycle, as a web page or a Perfetto file."""
