"""The multiply-and-round of each rounding contract."""
