"""A run as a page to look at, or as a file for other viewers."""
