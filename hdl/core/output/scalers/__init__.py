"""Scalers: multiplication and rounding of sums by each rounding contract."""
