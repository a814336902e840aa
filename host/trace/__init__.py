"""Traces of runs: a web page, and files for other viewers."""
