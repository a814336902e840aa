"""Data files of the demonstration: its network and its images."""
